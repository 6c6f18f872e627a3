// What the columns of a recording are: its time, the series to send, and what is left out.
import { basename, extname } from 'node:path'
import { checkDevice, checkEventType, mainField } from '../../core/event.ts'
import { invalid } from '../../core/failure.ts'
import { readRows } from './csv.ts'
import { parseMoment } from './moment.ts'

/** One event per row: each cell becomes a field of it. */
export type Series = { readonly device: string; readonly eventType: string; readonly cells: readonly Cell[] }
type Cell = { readonly column: number; readonly name: string; readonly field: string }
export type TimeColumns = { readonly date: number; readonly clock: number | undefined }

export type Layout = {
  readonly header: readonly string[]
  readonly time: TimeColumns
  readonly series: readonly Series[]
  /** Columns without a majority of numbers. */
  readonly ignored: readonly string[]
  readonly rows: number
}

export type Mapping = { readonly column: string; readonly device: string; readonly eventType: string; readonly field: string }
export type LayoutOptions = { readonly mappings: readonly Mapping[]; readonly device?: string | undefined; readonly missing: Missing }
export type Missing = (text: string) => boolean

const TIMESTAMP = /^(timestamp|time|datetime|date_?time|date[ -]time)$/i

/** `COLUMN=device:eventType[.field]` */
export function parseMapping(text: string): Mapping {
  const match = /^(.+?)=(.+):([^:.]+)(?:\.([A-Za-z][\w-]*))?$/.exec(text)
  if (match === null) throw invalid('--map', `expected COLUMN=device:eventType[.field], got "${text}"`)
  const [, column, device, eventType, field] = match as unknown as [string, string, string, string, string | undefined]
  return {
    column,
    device: checkDevice(device, '--map'),
    eventType: checkEventType(eventType, '--map'),
    field: field ?? mainField(eventType),
  }
}

/** An empty cell, and a cell equal to one of the values, as text or as a number. */
export function missingWhen(values: readonly string[]): Missing {
  const texts = new Set(['', ...values])
  const numbers = new Set(values.map(value => parseNumber(value, '.')).filter(value => value !== undefined))
  return text => {
    if (texts.has(text)) return true
    if (numbers.size === 0) return false
    const number = parseNumber(text, '.')
    return number !== undefined && numbers.has(number)
  }
}

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/

/** `point` is the decimal separator besides which none is understood. */
export function parseNumber(text: string, point: string): number | undefined {
  const plain = point === ',' ? text.replace(',', '.') : text
  const value = NUMBER.test(plain) ? Number(plain) : Number.NaN
  return Number.isFinite(value) ? value : undefined
}

/** Files that separate by `;` may write decimals with a comma. */
export function pointOf(delimiter: string): string {
  return delimiter === ';' ? ',' : '.'
}

/** Reads the file once: which columns hold numbers cannot be known from its first rows. */
export async function surveyFile(path: string, delimiter: string, options: LayoutOptions): Promise<Layout> {
  let header: readonly string[] | undefined
  let rows = 0
  const filled: number[] = []
  const numeric: number[] = []
  for await (const row of readRows(path, delimiter)) {
    if (row.problem === undefined && header === undefined) header = row.cells
    else rows++
    if (row.problem !== undefined || header === row.cells) continue
    row.cells.forEach((text, column) => {
      if (text === '') return
      filled[column] = (filled[column] ?? 0) + 1
      if (options.missing(text) || parseNumber(text, pointOf(delimiter)) !== undefined) numeric[column] = (numeric[column] ?? 0) + 1
    })
  }
  if (header === undefined) throw invalid('--replay', `expected a header line in ${path}`)
  const isNumeric = (column: number) => (numeric[column] ?? 0) * 2 > (filled[column] ?? 0)
  return { header, rows, ...layoutOf(path, header, isNumeric, options) }
}

function layoutOf(path: string, header: readonly string[], isNumeric: (column: number) => boolean, options: LayoutOptions) {
  const time = timeColumns(header)
  const device = checkDevice(options.device ?? deviceOf(path), '--device')
  for (const { column } of options.mappings)
    if (!header.includes(column)) throw invalid('--map', `expected one of the columns ${header.join(', ')}, got "${column}"`)
  const found: (Cell & { readonly device: string; readonly eventType: string })[] = []
  const ignored: string[] = []
  header.forEach((name, column) => {
    if (column === time.date || column === time.clock || name === '') return
    const mappings = options.mappings.filter(mapping => mapping.column === name)
    found.push(...mappings.map(mapping => ({ ...mapping, column, name })))
    if (mappings.length > 0) return
    if (isNumeric(column)) found.push({ column, name, device, eventType: eventTypeOf(name), field: 'value' })
    else ignored.push(name)
  })
  if (found.length === 0) throw invalid('--replay', `expected at least one column of numbers in ${path}, found ${header.join(', ')}`)
  return { time, series: grouped(found), ignored }
}

/** Columns of the same device and event type are fields of one event. */
function grouped(cells: readonly (Cell & { readonly device: string; readonly eventType: string })[]): Series[] {
  const series = new Map<string, { device: string; eventType: string; cells: Cell[] }>()
  for (const { device, eventType, ...cell } of cells) {
    const key = `${device}:${eventType}`
    const group = series.get(key) ?? { device, eventType, cells: [] }
    const other = group.cells.find(({ field }) => field === cell.field)
    if (other !== undefined)
      throw invalid('--map', `expected different targets, but "${other.name}" and "${cell.name}" are both ${key}.${cell.field}`)
    group.cells.push(cell)
    series.set(key, group)
  }
  return [...series.values()]
}

function timeColumns(header: readonly string[]): TimeColumns {
  const date = header.findIndex(name => /^date$/i.test(name))
  const clock = header.findIndex(name => /^time$/i.test(name))
  if (date >= 0 && clock >= 0) return { date, clock }
  const timestamp = header.findIndex(name => TIMESTAMP.test(name))
  const only = timestamp >= 0 ? timestamp : date
  if (only < 0) throw invalid('--replay', `expected a column timestamp, time or datetime, or Date and Time, found ${header.join(', ')}`)
  return { date: only, clock: undefined }
}

export function timeOf(cells: readonly string[], { date, clock }: TimeColumns, zone: string): number | undefined {
  const text = cells[date] ?? ''
  return parseMoment(clock === undefined ? text : `${text} ${cells[clock]}`, zone)
}

/** `PT08.S1(CO)` → `PT08.S1_CO`: what an event type may not contain becomes `_`, and it starts with a letter. */
export function eventTypeOf(column: string): string {
  const plain = column.replace(/[^A-Za-z0-9_.-]+/g, '_').replace(/^_+|_+$/g, '')
  const named = /^[A-Za-z]/.test(plain) ? plain : `column_${plain}`
  return named.slice(0, 64)
}

function deviceOf(path: string): string {
  const name = basename(path, extname(path))
  return name.replace(/[^\p{L}\p{N}._ -]+/gu, '_')
}
