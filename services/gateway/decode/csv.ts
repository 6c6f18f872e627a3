// CSV on its way in: lines of readings, a column for each quantity or a line for each reading. A line that cannot be read is refused alone,
// with its number.
import { type Static, Type } from 'typebox'
import { mainField } from '../../../packages/core/event.ts'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { type Clock, checkedEvent, type Decoded, decodedFrom, type Place } from './event.ts'
import type { Format } from './format.ts'
import { gathered, type Sensed } from './gather.ts'
import { MAX_BATCH, tooMany, utf8 } from './json.ts'
import { deviceOf } from './measure.ts'
import { eventTime } from './time.ts'

const Name = Type.String({ minLength: 1, maxLength: 128 })
const Options = Type.Object({
  columns: Type.Optional(
    Type.Array(Name, { minItems: 1, maxItems: 256, description: 'Names of the columns, where the first line is not their header.' }),
  ),
  delimiter: Type.Optional(Type.Union([',', ';', '\t', '|'].map(one => Type.Literal(one)))),
  decimal: Type.Optional(Type.Union([Type.Literal('.'), Type.Literal(',')], { description: 'Before the fraction of numbers: . or ,' })),
  device: Type.Optional(Type.String({ minLength: 1, maxLength: 128, description: 'Of lines that do not name theirs.' })),
  eventType: Type.Optional(
    Type.String({ minLength: 1, maxLength: 64, description: 'One event of this type per line; the columns are its fields.' }),
  ),
  deviceColumn: Type.Optional(Name),
  timeColumn: Type.Optional(Name),
  typeColumn: Type.Optional(Type.String({ minLength: 1, maxLength: 128, description: 'Says what the value column of its line measured.' })),
  valueColumn: Type.Optional(Name),
  unitColumn: Type.Optional(Name),
  units: Type.Optional(Type.Record(Type.String(), Type.String({ maxLength: 32 }), { description: 'Unit of each column.' })),
  offsetMinutes: Type.Optional(Type.Integer({ minimum: -840, maximum: 840, description: 'East of UTC, of times that do not say it.' })),
  missing: Type.Optional(Type.Array(Type.String({ maxLength: 32 }), { maxItems: 16, description: 'What stands for no value.' })),
})
type Options = Static<typeof Options>

export const csv: Format = {
  name: 'csv',
  version: 1,
  title: 'Lines of readings: a column for each quantity, or a line for each reading',
  options: Options,
  topics: [],
  contentTypes: ['text/csv', 'text/tab-separated-values'],
  decode: ({ bytes, place, options }, clock) => ({ decoded: decodeCsv(bytes, place, options as Options, clock) }),
}

const MISSING: readonly string[] = ['NaN', 'nan', 'NA', 'N/A', 'null', 'NULL', '-']

function decodeCsv(bytes: Buffer, place: Place, options: Options, clock: Clock): Decoded[] {
  const lines = linesOf(bytes)
  const [first] = lines
  if (first === undefined) throw invalid('payload', 'expected at least one line')
  checkLength(first)
  const delimiter = options.delimiter ?? delimiterOf(first.text)
  const header = options.columns ?? cellsOf(first, delimiter)
  const rows = options.columns ? lines : lines.slice(1)
  if (rows.length === 0) throw invalid('payload', 'expected lines behind the header; without one set options.columns')
  if (rows.length > MAX_BATCH) throw tooMany()
  const table = layoutOf(header, options, place)
  return decodeRows(rows, { table, delimiter, options, place }, clock)
}

type Line = { readonly number: number; readonly text: string }

/** A line break ends the line also inside of quotes: one stray quote would swallow all that follows. */
function linesOf(bytes: Buffer): Line[] {
  const text = utf8(bytes)
  const lines: Line[] = []
  for (let start = 0, number = 1; start < text.length; number++) {
    const next = text.indexOf('\n', start)
    const end = next < 0 ? text.length : next
    const line = text.slice(start, text[end - 1] === '\r' ? end - 1 : end)
    if (line.trim() !== '') lines.push({ number, text: line })
    // The header is one more.
    if (lines.length > MAX_BATCH + 1) throw tooMany()
    start = end + 1
  }
  return lines
}

function delimiterOf(header: string): string {
  const count = (delimiter: string) => {
    let found = 0
    for (let at = header.indexOf(delimiter); at >= 0; at = header.indexOf(delimiter, at + 1)) found++
    return found
  }
  return [',', ';', '\t', '|'].reduce((best, one) => (count(one) > count(best) ? one : best))
}

function checkLength({ number, text }: Line): void {
  if (text.length > MAX_LINE_CHARS) throw invalid(`line ${number}`, `expected at most ${MAX_LINE_CHARS} characters`)
}

function cellsOf(line: Line, delimiter: string): readonly string[] {
  checkLength(line)
  const { number, text } = line
  if (!text.includes('"')) return text.split(delimiter).map(cell => cell.trim())
  const cells: string[] = []
  for (let at = 0; at <= text.length; ) {
    const found = QUOTED.test(text.slice(at, at + MAX_MARGIN))
      ? quotedAt(text, at, delimiter, number)
      : plainAt(text, at, delimiter, number)
    cells.push(found.cell.trim())
    at = found.end + 1
  }
  return cells
}

/** White space may stand before a quote. */
const QUOTED = /^ *"/
const MAX_MARGIN = 64

/** It ends at a delimiter, or where the line does. */
type Cell = { readonly cell: string; readonly end: number }

function plainAt(text: string, start: number, delimiter: string, number: number): Cell {
  const next = text.indexOf(delimiter, start)
  const end = next < 0 ? text.length : next
  const cell = text.slice(start, end)
  if (cell.includes('"')) throw invalid(`line ${number}`, 'a quote inside of an unquoted value')
  return { cell, end }
}

/** RFC 4180: two quotes stand for one. */
function quotedAt(text: string, start: number, delimiter: string, number: number): Cell {
  let cell = ''
  for (let from = text.indexOf('"', start) + 1; ; ) {
    const close = text.indexOf('"', from)
    if (close < 0) throw invalid(`line ${number}`, 'a quote is not closed on its line')
    cell += text.slice(from, close)
    from = close + 2
    if (text[close + 1] === '"') {
      cell += '"'
      continue
    }
    const next = text.indexOf(delimiter, close + 1)
    const end = next < 0 ? text.length : next
    if (text.slice(close + 1, end).trim() !== '') throw invalid(`line ${number}`, 'text after a closing quote')
    return { cell, end }
  }
}

const MAX_LINE_CHARS = 65_536

/** What a column without a role measures. */
type Column = { readonly at: number; readonly name: string; readonly unit: string | undefined }
type Layout = {
  readonly width: number
  readonly time: number | undefined
  readonly device: number | undefined
  /** Long form. */
  readonly type: number | undefined
  readonly value: number | undefined
  readonly unit: number | undefined
  readonly columns: readonly Column[]
}

const TIMES = /^(timestamp|time|datetime|date_?time|date[ -]time|ts)$/i
const DEVICES = /^(device|device_?id|device[ _]name|sensor|sensor_?id|dev_?eui|node)$/i
const TYPES = /^(event_?type|type|measurement|quantity|metric|parameter|name|variable)$/i
const UNIT = /^unit$/i
const MAX_COLUMNS = 256
const MAX_NAME_CHARS = 128

function layoutOf(header: readonly string[], options: Options, place: Place): Layout {
  if (header.length > MAX_COLUMNS) throw new Failure('too_large', `columns: at most ${MAX_COLUMNS}, got ${header.length}`)
  const long = header.find(name => name.length > MAX_NAME_CHARS)
  if (long !== undefined) throw invalid('columns', `expected names of at most ${MAX_NAME_CHARS} characters, got ${long.slice(0, 50)}…`)
  const twice = header.find((name, i) => name !== '' && header.indexOf(name) !== i)
  if (twice !== undefined) throw invalid('columns', `the name ${JSON.stringify(twice.slice(0, 100))} stands there twice`)
  const time = columnIn(header, 'timeColumn', options, TIMES)
  const device = columnIn(header, 'deviceColumn', options, DEVICES)
  const value = columnIn(header, 'valueColumn', options, /^value$/i)
  const isLong = value !== undefined && (options.eventType ?? place.eventType) === undefined
  const type = isLong ? columnIn(header, 'typeColumn', options, TYPES) : undefined
  const unit = type === undefined ? undefined : columnIn(header, 'unitColumn', options, UNIT)
  const taken = new Set(type === undefined ? [time, device] : [time, device, type, value, unit])
  const columns = header.flatMap((name, at) => (taken.has(at) || name === '' ? [] : [columnOf(name, at, options)]))
  if (type === undefined && columns.length === 0) throw invalid('columns', `expected one with readings, got ${shown(header)}`)
  return { width: header.length, time, device, type, value: type === undefined ? undefined : value, unit, columns }
}

function columnIn(
  header: readonly string[],
  option: 'timeColumn' | 'deviceColumn' | 'valueColumn' | 'typeColumn' | 'unitColumn',
  options: Options,
  usual: RegExp,
): number | undefined {
  const named = options[option]
  const at = named === undefined ? header.findIndex(name => usual.test(name)) : header.indexOf(named)
  if (named !== undefined && at < 0) throw invalid(`options.${option}`, `expected one of the columns ${shown(header)}, got ${named}`)
  return at < 0 ? undefined : at
}

function shown(header: readonly string[]): string {
  return header.join(', ').slice(0, 300)
}

/** `Temp (°C)` and `Temp [°C]` say their unit. */
function columnOf(header: string, at: number, { units = {} }: Options): Column {
  const match = /^(.*\S)\s*[([]([^()[\]]{1,32})[)\]]$/.exec(header)
  const [, name = header, unit] = match ?? []
  const given = Object.hasOwn(units, header) ? units[header] : Object.hasOwn(units, name) ? units[name] : undefined
  return { at, name, unit: given ?? unit }
}

type Reading = { readonly table: Layout; readonly delimiter: string; readonly options: Options; readonly place: Place }

function decodeRows(rows: readonly Line[], reading: Reading, clock: Clock): Decoded[] {
  const done: Decoded[] = []
  const sensed: Sensed[] = []
  const eventType = reading.options.eventType ?? reading.place.eventType
  for (const line of rows) {
    try {
      const cells = cellsOf(line, reading.delimiter)
      if (cells.length > reading.table.width)
        throw invalid(`line ${line.number}`, `expected ${reading.table.width} columns, got ${cells.length}`)
      if (eventType === undefined) sensed.push(...sensedIn(line, cells, reading))
      else done.push(decodedFrom(() => checkedEvent(eventIn(line, cells, reading, eventType), reading.place.project, clock), line.text))
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      done.push({ failure: error, element: line.text })
    }
    if (sensed.length > MAX_BATCH) throw tooMany()
  }
  return [...gathered(sensed, reading.place.project, clock), ...done]
}

function sensedIn(line: Line, cells: readonly string[], reading: Reading): Sensed[] {
  const { table, options } = reading
  const common = { ...placed(line, cells, reading), element: line.text }
  if (table.type === undefined)
    return table.columns.flatMap(({ at, name, unit }) => {
      const value = cellValue(cells[at], `line ${line.number}, ${name}`, options)
      return value === undefined ? [] : [{ ...common, measure: { name, value, unit } }]
    })
  const name = cells[table.type] ?? ''
  if (name === '') throw invalid(`line ${line.number}`, 'expected what was measured, got nothing')
  const value = cellValue(cells[table.value ?? -1], `line ${line.number}, ${name.slice(0, 64)}`, options)
  if (value === undefined) return []
  const unit = table.unit === undefined ? options.units?.[name] : cells[table.unit]
  return [{ ...common, measure: { name, value, unit: unit === '' ? undefined : unit } }]
}

function eventIn(line: Line, cells: readonly string[], reading: Reading, eventType: string) {
  const fields = reading.table.columns.flatMap(({ at, name }) => {
    const value = cellValue(cells[at], `line ${line.number}, ${name}`, reading.options)
    return value === undefined ? [] : [[name === 'value' ? mainField(eventType) : name, value] as const]
  })
  if (fields.length === 0) throw invalid(`line ${line.number}`, 'expected at least one value')
  return { ...placed(line, cells, reading), eventType, data: { [eventType]: Object.fromEntries(fields) } }
}

function placed(line: Line, cells: readonly string[], { table, options, place }: Reading): { device: string; timeUs: number | undefined } {
  const named = table.device === undefined ? '' : deviceOf(cells[table.device] ?? '')
  const device = place.device ?? (named === '' ? (options.device ?? place.elseDevice) : named)
  if (device === undefined) throw invalid(`line ${line.number}`, 'expected a device: a column of that name, or options.device')
  const time = table.time === undefined ? '' : (cells[table.time] ?? '')
  const timeUs = time === '' ? undefined : eventTime(time, `line ${line.number}, time`, options.offsetMinutes)
  return { device, timeUs }
}

// No digit can be of two parts: a cell of many digits that is no number after all would take the square of them.
const POINT = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/
const COMMA = /^[+-]?(\d+(,\d*)?|,\d+)([eE][+-]?\d+)?$/

/** Undefined: there is none. */
function cellValue(cell: string | undefined, field: string, { decimal = '.', missing }: Options): number | string | boolean | undefined {
  if (cell === undefined || cell === '' || (missing ?? MISSING).includes(cell)) return undefined
  const isNumber = decimal === '.' ? POINT.test(cell) : COMMA.test(cell)
  if (isNumber) {
    const value = Number(decimal === '.' ? cell : cell.replace(',', '.'))
    return Number.isInteger(value) && !Number.isSafeInteger(value) && /^[+-]?\d+$/.test(cell) ? cell : value
  }
  // As text it would be no reading, and nobody would notice.
  if (/^[+-]?\d*[.,]\d+$/.test(cell))
    throw invalid(field, `expected ${decimal} before the fraction, got ${cell.slice(0, 40)}: set options.decimal`)
  if (/^(true|false)$/i.test(cell)) return cell.toLowerCase() === 'true'
  return cell
}
