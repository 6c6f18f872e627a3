// A recording as drafts of events, with an account of every row and value: what became an event, what was missing, what malformed.
import type { Draft } from '../fleet/fleet.ts'
import { type Layout, type Missing, parseNumber, pointOf, type Series, timeOf } from './column.ts'
import { readRows } from './csv.ts'

const MAX_NOTED = 100

export type Malformed = { readonly line: number; readonly column?: string; readonly reason: string }

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

/** In the order of the file. Each row that is read is in the account before its drafts are. */
export async function* draftsOf(recording: Recording, account: Account): AsyncGenerator<Draft[]> {
  let header: readonly string[] | undefined
  for await (const row of readRows(recording.path, recording.delimiter)) {
    if (row.problem === undefined && header === undefined) {
      header = row.cells
      continue
    }
    account.rows++
    if (row.problem !== undefined) note(account, { line: row.line, reason: row.problem })
    else yield rowDrafts(recording, account, row.line, row.cells)
  }
}

function rowDrafts(recording: Recording, account: Account, line: number, cells: readonly string[]): Draft[] {
  const { layout, zone } = recording
  if (cells.every(text => text === '')) {
    account.emptyRows++
    return []
  }
  if (cells.length !== layout.header.length) {
    note(account, { line, reason: `expected ${layout.header.length} columns, found ${cells.length}` })
    return []
  }
  const timeUs = timeOf(cells, layout.time, zone)
  if (timeUs === undefined) {
    const { date, clock } = layout.time
    note(account, { line, reason: `not a time: "${[cells[date], clock === undefined ? '' : cells[clock]].join(' ').trim()}"` })
    return []
  }
  return layout.series.map(series => draft(recording, account, line, cells, series, timeUs)).filter(made => made !== undefined)
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
    else if (value === undefined) note(account, { line, column: name, reason: `not a number: "${text.slice(0, 40)}"` })
    else {
      account.values++
      fields[field] = value
    }
  }
  if (Object.keys(fields).length === 0) return undefined
  return { device: series.device, eventType: series.eventType, fields, timeUs }
}
