// Long stretches of the DuckDB file, for backtests: how many events stand where, and those of a stretch as columns.
import { setImmediate as othersGoFirst } from 'node:timers/promises'
import type { DuckDBConnection, DuckDBType, DuckDBValue } from '@duckdb/node-api'
import { BIGINT, INTEGER, LIST, listValue, VARCHAR } from '@duckdb/node-api'
import { timeParameter } from './duckseries.ts'
import type { ScanColumns, ScanCount, ScanQuery, ScanSeries } from './store.ts'

/** Rows are copied for about a millisecond at a time. */
const CHUNKS_AT_ONCE = 8

type Chosen = { readonly ids: readonly number[]; readonly series: readonly ScanSeries[] }
type Question = {
  readonly sql: string
  readonly parameters: Record<string, DuckDBValue>
  readonly types: Record<string, DuckDBType>
}

async function chosenSeries(connection: DuckDBConnection, { project, eventTypes, devices }: ScanQuery): Promise<Chosen> {
  const found = await connection.runAndReadAll(
    `select id, device, event_type from series
     where project = $project and list_contains($types, event_type) and ($all or device in (select unnest($devices)))`,
    { project, types: listValue([...eventTypes]), all: devices === undefined, devices: listValue([...(devices ?? [])]) },
    { types: LIST(VARCHAR), devices: LIST(VARCHAR) },
  )
  const rows = found.getRows() as [number, string, string][]
  return { ids: rows.map(([id]) => id), series: rows.map(([, device, eventType]) => ({ device, eventType })) }
}

const RANGE = 'e.series in (select unnest($ids)) and e.time >= $from and e.time < $to'

function ranged({ fromUs, toUs }: ScanQuery, ids: readonly number[], sql: string): Question {
  return {
    sql,
    parameters: { ids: listValue([...ids]), from: timeParameter(fromUs), to: timeParameter(toUs) },
    types: { ids: LIST(INTEGER), from: BIGINT, to: BIGINT },
  }
}

/** Windows begin at `fromUs`. */
export async function countEvents(connection: DuckDBConnection, query: ScanQuery, windowUs: number): Promise<ScanCount[]> {
  const { ids } = await chosenSeries(connection, query)
  if (ids.length === 0) return []
  const { sql, parameters, types } = ranged(
    query,
    ids,
    `select ((e.time - $from) // $window)::double as number, count(*)::double from entry e
     where ${RANGE} and e.is_event group by number order by number`,
  )
  const found = await connection.runAndReadAll(sql, { ...parameters, window: BigInt(windowUs) }, { ...types, window: BIGINT })
  return (found.getRows() as [number, number][]).map(([number, count]) => ({ startUs: query.fromUs + number * windowUs, count }))
}

/** With fields, neither ids nor frames come along: ids then only decide between two events of one microsecond. */
export async function scanEvents(connection: DuckDBConnection, query: ScanQuery, escaped: (field: string) => string): Promise<ScanColumns> {
  const { ids, series } = await chosenSeries(connection, query)
  if (ids.length === 0) return { series, of: new Uint32Array(0), timesUs: new Float64Array(0), values: undefined, events: undefined }
  const question = query.fields === undefined ? eventQuestion(query, ids) : readingQuestion(query, ids, series, escaped)
  const result = await connection.run(question.sql, question.parameters, question.types)
  const count = Number(result.rowCount)
  const numbers = new Map(ids.map((id, number) => [id, number]))
  const of = new Uint32Array(count)
  const timesUs = new Float64Array(count)
  const values = query.fields === undefined ? undefined : new Float64Array(count)
  const events = query.fields === undefined ? { ids: [] as string[], frames: [] as string[] } : undefined
  let row = 0
  for (let chunks = 0; row < count; chunks++) {
    if (chunks % CHUNKS_AT_ONCE === CHUNKS_AT_ONCE - 1) await othersGoFirst()
    const chunk = await result.fetchChunk()
    if (chunk === null) break
    const rows = chunk.rowCount
    const columns = Array.from({ length: chunk.columnCount }, (_, column) => chunk.getColumnVector(column))
    const [ofColumn, timeColumn, thirdColumn, fourthColumn] = columns
    for (let i = 0; i < rows; i++) {
      of[row + i] = numbers.get(ofColumn?.getItem(i) as number) as number
      timesUs[row + i] = timeColumn?.getItem(i) as number
    }
    if (values) for (let i = 0; i < rows; i++) values[row + i] = thirdColumn?.getItem(i) as number
    if (events)
      for (let i = 0; i < rows; i++) {
        events.ids.push(thirdColumn?.getItem(i) as string)
        events.frames.push(fourthColumn?.getItem(i) as string)
      }
    row += rows
  }
  return { series, of, timesUs, values, events }
}

function eventQuestion(query: ScanQuery, ids: readonly number[]): Question {
  return ranged(
    query,
    ids,
    `select e.series, e.time::double, e.event_id, e.frame from entry e where ${RANGE} and e.is_event order by e.time, e.event_id`,
  )
}

function readingQuestion(
  query: ScanQuery,
  ids: readonly number[],
  series: readonly ScanSeries[],
  escaped: (field: string) => string,
): Question {
  const fields = series.map(({ eventType }) => escaped(query.fields?.find(one => one.eventType === eventType)?.field ?? ''))
  const [field = '', ...others] = new Set(fields)
  const select = 'select e.series, e.time::double, e.value from entry e'
  const order = 'order by e.time, e.event_id'
  // Joined on the field as well, DuckDB compares two texts a row.
  if (others.length === 0) {
    const { sql, parameters, types } = ranged(query, ids, `${select} where ${RANGE} and e.field = $field ${order}`)
    return { sql, parameters: { ...parameters, field }, types }
  }
  const { sql, parameters, types } = ranged(
    query,
    ids,
    `${select} join (select unnest($ids) as id, unnest($fields) as field) s on e.series = s.id and e.field = s.field
     where e.time >= $from and e.time < $to ${order}`,
  )
  return { sql, parameters: { ...parameters, fields: listValue(fields) }, types: { ...types, fields: LIST(VARCHAR) } }
}
