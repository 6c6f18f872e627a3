// Long stretches of the DuckDB file, for backtests: how many events stand where, and those of a stretch as columns.
import { setImmediate as othersGoFirst } from 'node:timers/promises'
import type { DuckDBConnection, DuckDBType, DuckDBValue } from '@duckdb/node-api'
import { BIGINT, INTEGER, LIST, listValue, VARCHAR } from '@duckdb/node-api'
import { timeParameter } from './duckseries.ts'
import type { ScanColumns, ScanCount, ScanPage, ScanQuery, ScanSeries } from './store.ts'

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

const ORDER = 'order by e.time, e.event_id, e.series'

/** What is behind the place of the question. */
function paged(query: ScanPage, { ids, series }: Chosen, limit: number, sql: (where: string) => string): Question {
  const { timeUs, of } = query.after ?? { timeUs: query.fromUs - 1, of: undefined }
  const { parameters, types } = ranged({ ...query, fromUs: Math.max(query.fromUs, of ? timeUs : timeUs + 1) }, ids, '')
  const tail = `${ORDER} limit ${Math.max(0, Math.floor(limit))}`
  if (of === undefined) return { sql: `${sql(RANGE)} ${tail}`, parameters, types }
  const at = series.findIndex(({ device, eventType }) => device === of.device && eventType === of.eventType)
  const behind = '(e.time > $placeTime or e.event_id > $placeId or (e.event_id = $placeId and e.series > $placeSeries))'
  return {
    sql: `${sql(`${RANGE} and ${behind}`)} ${tail}`,
    parameters: { ...parameters, placeTime: timeParameter(timeUs), placeId: of.eventId, placeSeries: ids[at] ?? -1 },
    types: { ...types, placeTime: BIGINT, placeId: VARCHAR, placeSeries: INTEGER },
  }
}

/** How many of the next events have room, at least one: they are measured before they are read. */
async function fitting(connection: DuckDBConnection, query: ScanPage, chosen: Chosen): Promise<number> {
  const size = (where: string) => `select strlen(e.frame)::double from entry e where ${where} and e.is_event`
  const { sql, parameters, types } = paged(query, chosen, query.limit, size)
  let bytes = 0
  const lengths = (await connection.runAndReadAll(sql, parameters, types)).getRows()
  for (const [limit, [length]] of lengths.entries()) {
    bytes += Number(length)
    if (limit > 0 && bytes > query.maxBytes) return limit
  }
  // Of those that are written meanwhile there may be a few more.
  return query.limit
}

/** With fields, neither ids nor frames come along: ids then only decide between two events of one microsecond. */
export async function scanEvents(connection: DuckDBConnection, query: ScanPage, escaped: (field: string) => string): Promise<ScanColumns> {
  const chosen = await chosenSeries(connection, query)
  const { ids, series } = chosen
  if (ids.length === 0)
    return { series, of: new Uint32Array(0), timesUs: new Float64Array(0), values: undefined, events: undefined, next: undefined }
  const limit = query.fields === undefined ? await fitting(connection, query, chosen) : query.limit
  const question = query.fields === undefined ? eventQuestion(query, chosen, limit) : readingQuestion(query, chosen, limit, escaped)
  const result = await connection.run(question.sql, question.parameters, question.types)
  const count = Number(result.rowCount)
  const numbers = new Map(ids.map((id, number) => [id, number]))
  const of = new Uint32Array(count)
  const timesUs = new Float64Array(count)
  const values = query.fields === undefined ? undefined : new Float64Array(count)
  const events = query.fields === undefined ? { ids: [] as string[], frames: [] as string[] } : undefined
  let lastId = ''
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
    lastId = (values ? fourthColumn : thirdColumn)?.getItem(rows - 1) as string
    if (events)
      for (let i = 0; i < rows; i++) {
        events.ids.push(thirdColumn?.getItem(i) as string)
        events.frames.push(fourthColumn?.getItem(i) as string)
      }
    row += rows
  }
  const last = series[of[row - 1] ?? -1]
  const next = last && row >= limit ? { timeUs: timesUs[row - 1] as number, of: { eventId: lastId, ...last } } : undefined
  return { series, of, timesUs, values, events, next }
}

function eventQuestion(query: ScanPage, chosen: Chosen, limit: number): Question {
  const sql = (where: string) => `select e.series, e.time::double, e.event_id, e.frame from entry e where ${where} and e.is_event`
  return paged(query, chosen, limit, sql)
}

function readingQuestion(query: ScanPage, chosen: Chosen, limit: number, escaped: (field: string) => string): Question {
  const fields = chosen.series.map(({ eventType }) => escaped(query.fields?.find(one => one.eventType === eventType)?.field ?? ''))
  const [field = '', ...others] = new Set(fields)
  const select = 'select e.series, e.time::double, e.value, e.event_id from entry e'
  // Joined on the field as well, DuckDB compares two texts a row.
  if (others.length === 0) {
    const { sql, parameters, types } = paged(query, chosen, limit, where => `${select} where ${where} and e.field = $field`)
    return { sql, parameters: { ...parameters, field }, types }
  }
  const { sql, parameters, types } = paged(
    query,
    chosen,
    limit,
    where =>
      `${select} join (select unnest($ids) as id, unnest($fields) as field) s on e.series = s.id and e.field = s.field where ${where}`,
  )
  return { sql, parameters: { ...parameters, fields: listValue(fields) }, types: { ...types, fields: LIST(VARCHAR) } }
}
