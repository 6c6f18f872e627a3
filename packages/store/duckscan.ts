// Long stretches of the DuckDB file, for backtests: how many events stand where, and those of a stretch as columns.
import { setImmediate as othersGoFirst } from 'node:timers/promises'
import type { DuckDBConnection, DuckDBMaterializedResult, DuckDBType, DuckDBValue, DuckDBVector } from '@duckdb/node-api'
import { BIGINT, INTEGER, LIST, listValue, VARCHAR } from '@duckdb/node-api'
import { timeParameter } from './duckseries.ts'
import type { ScanColumns, ScanCount, ScanQuery, ScanSeries } from './store.ts'

/** Rows are copied for less than a millisecond at a time: a chunk has 2,048. */
const CHUNKS_AT_ONCE = 2

type Chosen = { readonly ids: readonly number[]; readonly series: readonly ScanSeries[] }
type Question = {
  readonly sql: string
  readonly parameters: Record<string, DuckDBValue>
  readonly types: Record<string, DuckDBType>
}
type Vector = DuckDBVector<DuckDBValue>

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

export async function scanEvents(connection: DuckDBConnection, query: ScanQuery, escaped: (field: string) => string): Promise<ScanColumns> {
  const { fields } = query
  const chosen = await chosenSeries(connection, query)
  const { ids, series } = chosen
  if (ids.length === 0) return nothing(query)
  if (fields !== undefined && (await hasOneOf(connection, query, ids)))
    return { series, of: new Uint32Array(0), timesUs: new Float64Array(0), values: undefined, events: undefined }
  const names = [...new Set(fields?.map(({ field }) => escaped(field)))]
  const { sql, parameters, types } = fields === undefined ? eventQuestion(query, ids) : numberQuestion(query, ids, names)
  const result = await connection.run(sql, parameters, types)
  if (fields === undefined) return readEvents(result, chosen)
  return readNumbers(
    result,
    chosen,
    names,
    fields.map(({ eventType, field }) => `${eventType} ${escaped(field)}`),
  )
}

/** Of no series. */
function nothing({ fields }: ScanQuery): ScanColumns {
  const values = fields?.map(() => new Float64Array(0))
  return { series: [], of: new Uint32Array(0), timesUs: new Float64Array(0), values, events: fields ? undefined : { ids: [], frames: [] } }
}

async function hasOneOf(connection: DuckDBConnection, query: ScanQuery, ids: readonly number[]): Promise<boolean> {
  const { unless = [] } = query
  if (unless.length === 0) return false
  const texts = Object.fromEntries(unless.map((text, i) => [`text${i}`, text]))
  const has = unless.map((_, i) => `contains(e.frame, $text${i})`).join(' or ')
  const { sql, parameters, types } = ranged(query, ids, `select 1 from entry e where ${RANGE} and e.is_event and (${has}) limit 1`)
  return (await connection.runAndReadAll(sql, { ...parameters, ...texts }, types)).currentRowCount > 0
}

function eventQuestion(query: ScanQuery, ids: readonly number[]): Question {
  return ranged(
    query,
    ids,
    `select e.series, e.time::double, e.event_id, e.frame from entry e where ${RANGE} and e.is_event
     order by e.time, e.event_id, e.series`,
  )
}

async function readEvents(result: DuckDBMaterializedResult, { ids, series }: Chosen): Promise<ScanColumns> {
  const count = Number(result.rowCount)
  const numbers = new Map(ids.map((id, number) => [id, number]))
  const of = new Uint32Array(count)
  const timesUs = new Float64Array(count)
  const events = { ids: [] as string[], frames: [] as string[] }
  let row = 0
  for await (const { rows, columns } of chunksOf(result, count)) {
    const [ofColumn, timeColumn, idColumn, frameColumn] = columns as [Vector, Vector, Vector, Vector]
    for (let i = 0; i < rows; i++, row++) {
      of[row] = numbers.get(ofColumn.getItem(i) as number) as number
      timesUs[row] = timeColumn.getItem(i) as number
      events.ids.push(idColumn.getItem(i) as string)
      events.frames.push(frameColumn.getItem(i) as string)
    }
  }
  return { series, of, timesUs, values: undefined, events }
}

/**
 * A row of the table is a reading, the first one of an event also the event. `code`: the series, in it which of the names (0 none), in it
 * whether it is the first. The ids only decide between two events of one microsecond; without the series after them, readings of two
 * devices could stand between one another.
 */
function numberQuestion(query: ScanQuery, ids: readonly number[], names: readonly string[]): Question {
  // Looking through a list takes longer than one comparison.
  const [name = '', ...others] = names
  const single = others.length === 0
  const number = single ? '(e.field = $name)::bigint' : 'coalesce(list_position($names, e.field), 0)'
  const { sql, parameters, types } = ranged(
    query,
    ids,
    `select ((e.series * ${names.length + 1}::bigint + ${number}) * 2 + e.is_event::bigint)::double, e.time::double, e.value
     from entry e where ${RANGE} and (e.is_event or ${single ? 'e.field = $name' : 'list_contains($names, e.field)'})
     order by e.time, e.event_id, e.series, e.is_event desc`,
  )
  if (single) return { sql, parameters: { ...parameters, name }, types }
  return { sql, parameters: { ...parameters, names: listValue([...names]) }, types: { ...types, names: LIST(VARCHAR) } }
}

/** @param keys of the columns: event type and name. */
async function readNumbers(
  result: DuckDBMaterializedResult,
  { ids, series }: Chosen,
  names: readonly string[],
  keys: readonly string[],
): Promise<ScanColumns> {
  const most = Number(result.rowCount)
  const numbers = new Map(ids.map((id, number) => [id, number]))
  const of = new Uint32Array(most)
  const timesUs = new Float64Array(most)
  const values = keys.map(() => new Float64Array(most).fill(Number.NaN))
  const stride = names.length + 1
  // Of each series and name the column that it goes to.
  const targets = series.flatMap(({ eventType }) => [undefined, ...names.map(name => values[keys.indexOf(`${eventType} ${name}`)])])
  let event = -1
  for await (const { rows, columns } of chunksOf(result, most)) {
    const [codeColumn, timeColumn, valueColumn] = columns as [Vector, Vector, Vector]
    for (let i = 0; i < rows; i++) {
      const code = codeColumn.getItem(i) as number
      const place = (code - (code % 2)) / 2
      const name = place % stride
      const number = numbers.get((place - name) / stride) as number
      if (code % 2 === 1) {
        event++
        of[event] = number
        timesUs[event] = timeColumn.getItem(i) as number
      }
      const target = targets[number * stride + name]
      if (target !== undefined) target[event] = valueColumn.getItem(i) as number
    }
  }
  const count = event + 1
  const cut = values.map(column => column.subarray(0, count))
  return { series, of: of.subarray(0, count), timesUs: timesUs.subarray(0, count), values: cut, events: undefined }
}

async function* chunksOf(result: DuckDBMaterializedResult, count: number): AsyncGenerator<{ rows: number; columns: readonly Vector[] }> {
  for (let row = 0, chunks = 1; row < count; chunks++) {
    if (chunks % CHUNKS_AT_ONCE === 0) await othersGoFirst()
    const chunk = await result.fetchChunk()
    if (chunk === null) return
    const rows = chunk.rowCount
    yield { rows, columns: Array.from({ length: chunk.columnCount }, (_, column) => chunk.getColumnVector(column)) }
    row += rows
  }
}
