// A recording as drafts of events, with an account of every row and value: what became an event, what was missing, what malformed.
import type { Draft } from '../fleet/fleet.ts'
import { type Layout, type Missing, parseNumber, pointOf, type Series, timeOf } from './column.ts'
import { readRows } from './csv.ts'

const MAX_NOTED = 100
const MAX_SHOWN = 40

type Malformed = { readonly line: number; readonly column?: string; readonly reason: string }

/** What was read so far. `values` became part of an event; of `malformed` the first hundred are kept. */
export type Account = {
  rows: number
  emptyRows: number
  malformedRows: number
  values: number
  missing: number
  malformedValues: number
  readonly malformed: Malformed[]
}

export function openAccount(): Account {
  return { rows: 0, emptyRows: 0, malformedRows: 0, values: 0, missing: 0, malformedValues: 0, malformed: [] }
}

function note(account: Account, entry: Malformed): void {
  if (entry.column === undefined) account.malformedRows++
  else account.malformedValues++
  if (account.malformed.length < MAX_NOTED) account.malformed.push(entry)
}

export type Recording = {
  readonly path: string
  readonly delimiter: string
  readonly layout: Layout
  readonly zone: string
  readonly missing: Missing
}

/** A row that will be sent at its time. Only `take` puts it into the account: what is never taken counts as unread. */
export type TimedRow = { readonly timeUs: number; take(): Draft[] }

/** In the order of the file; empty and malformed rows are accounted for on the way. */
export async function* timedRows(recording: Recording, account: Account): AsyncGenerator<TimedRow> {
  let header: readonly string[] | undefined
  for await (const row of readRows(recording.path, recording.delimiter)) {
    if (row.problem === undefined && header === undefined) {
      header = row.cells
      continue
    }
    const timeUs = row.problem === undefined ? rowTime(recording, row.cells) : row.problem
    if (typeof timeUs === 'number' && row.problem === undefined) {
      yield { timeUs, take: () => takeRow(recording, account, row, timeUs) }
      continue
    }
    account.rows++
    if (timeUs === undefined) account.emptyRows++
    else note(account, { line: row.line, reason: String(timeUs) })
  }
}

/** When the row was recorded, or why it cannot be used; undefined: it is empty. */
function rowTime({ layout, zone }: Recording, cells: readonly string[]): number | string | undefined {
  if (cells.every(text => text === '')) return undefined
  if (cells.length !== layout.header.length) return `expected ${layout.header.length} columns, found ${cells.length}`
  const { date, clock } = layout.time
  const text = `${cells[date]} ${clock === undefined ? '' : cells[clock]}`.trim()
  return timeOf(cells, layout.time, zone) ?? `not a time: "${text.slice(0, MAX_SHOWN)}"`
}

function takeRow(recording: Recording, account: Account, row: { line: number; cells: readonly string[] }, timeUs: number): Draft[] {
  account.rows++
  return recording.layout.series
    .map(series => draft(recording, account, row.line, row.cells, series, timeUs))
    .filter(made => made !== undefined)
}

function draft(
  recording: Recording,
  account: Account,
  line: number,
  cells: readonly string[],
  series: Series,
  timeUs: number,
): Draft | undefined {
  const fields: { [field: string]: number } = {}
  for (const { column, name, field } of series.cells) {
    const text = cells[column] ?? ''
    const value = parseNumber(text, pointOf(recording.delimiter))
    if (recording.missing(text)) account.missing++
    else if (value === undefined) note(account, { line, column: name, reason: `not a number: "${text.slice(0, MAX_SHOWN)}"` })
    else {
      account.values++
      fields[field] = value
    }
  }
  if (Object.keys(fields).length === 0) return undefined
  return { device: series.device, eventType: series.eventType, fields, timeUs }
}
