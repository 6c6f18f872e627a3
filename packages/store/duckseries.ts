// Which events the DuckDB file already has, found without a key: an event newer than all of its series is new, the rest is looked up.
import type { DuckDBConnection } from '@duckdb/node-api'
import { BIGINT, INTEGER, LIST, listValue, VARCHAR } from '@duckdb/node-api'
import { append } from './duckfile.ts'
import type { Numbering } from './duckpast.ts'
import type { LogPlace, StoreEvent } from './store.ts'

// Far outside the years that a time can have, and within 64 bits.
const MAX_US = 2 ** 60

/** `newestUs`: no stored event of the series is newer. It may be too high (after a failed write), never too low. */
export type Series = { readonly id: number; newestUs: number }

// Neither a project nor an event type has a space in it.
export function seriesKey({ project, eventType, device }: Pick<StoreEvent, 'project' | 'eventType' | 'device'>): string {
  return `${project} ${eventType} ${device}`
}

function eventKey(series: number, timeUs: number, eventId: string): string {
  return `${series} ${timeUs} ${eventId}`
}

/** Whole microseconds, rounded up: with `from ≤ time < to` that changes no answer. */
export function timeParameter(timeUs: number): bigint {
  return BigInt(Math.ceil(Math.min(Math.max(timeUs, -MAX_US), MAX_US)))
}

/** Those of `unknown` that the file has. Their newest time is looked for from `oldestUs` on only: nothing older matters now. */
export async function storedSeries(
  connection: DuckDBConnection,
  unknown: ReadonlyMap<string, StoreEvent>,
  oldestUs: number,
): Promise<Map<string, Series>> {
  const devices = [...new Set(Array.from(unknown.values(), ({ device }) => device))]
  const found = await connection.runAndReadAll(
    'select id, project, device, event_type from series where device in (select unnest($devices))',
    { devices: listValue(devices) },
    { devices: LIST(VARCHAR) },
  )
  const stored = new Map<string, Series>()
  for (const [id, project, device, eventType] of found.getRows() as [number, string, string, string][]) {
    const key = seriesKey({ project, device, eventType })
    if (unknown.has(key)) stored.set(key, { id, newestUs: oldestUs - 1 })
  }
  const newest = await newestTimes(connection, [...stored.values()], oldestUs)
  for (const series of stored.values()) series.newestUs = newest.get(series.id) ?? series.newestUs
  return stored
}

// Not one query with the above: joined to the left of it, DuckDB reads all entries.
async function newestTimes(connection: DuckDBConnection, series: readonly Series[], fromUs: number): Promise<Map<number, number>> {
  if (series.length === 0) return new Map()
  const found = await connection.runAndReadAll(
    'select series, max(time) from entry where series in (select unnest($ids)) and time >= $from group by series',
    { ids: listValue(series.map(({ id }) => id)), from: timeParameter(fromUs) },
    { ids: LIST(INTEGER), from: BIGINT },
  )
  return new Map((found.getRows() as [number, bigint][]).map(([id, time]) => [id, Number(time)]))
}

export async function numberSeries(connection: DuckDBConnection, unnumbered: ReadonlyMap<string, StoreEvent>): Promise<[string, Series][]> {
  if (unnumbered.size === 0) return []
  const found = await connection.runAndReadAll('select coalesce(max(id), 0) from series')
  let id = found.getRows()[0]?.[0] as number
  const numbered: [string, Series][] = []
  await append(connection, 'series', appender => {
    for (const [key, { project, device, eventType }] of unnumbered) {
      id++
      appender.appendInteger(id)
      for (const name of [project, device, eventType]) appender.appendVarchar(name)
      appender.endRow()
      numbered.push([key, { id, newestUs: Number.NEGATIVE_INFINITY }])
    }
  })
  return numbered
}

/** `fresh`: 1 for each event to store, 0 for each that is in the file or earlier in `events`; `unplaced`: which the file has without place. */
export type Admitted = { readonly fresh: Uint8Array; readonly unplaced: readonly number[] }

export async function admit(connection: DuckDBConnection, events: readonly StoreEvent[], series: readonly Series[]): Promise<Admitted> {
  const fresh = new Uint8Array(events.length).fill(1)
  const suspects: number[] = []
  for (let i = 0; i < events.length; i++) {
    const { timeUs } = events[i] as StoreEvent
    const its = series[i] as Series
    // Newer than everything stored of its series: it cannot have been stored before.
    if (timeUs > its.newestUs) its.newestUs = timeUs
    else suspects.push(i)
  }
  if (suspects.length === 0) return { fresh, unplaced: [] }
  const unplaced: number[] = []
  const seen = await storedEvents(
    connection,
    suspects.map(i => [(series[i] as Series).id, (events[i] as StoreEvent).timeUs]),
  )
  for (let i = 0; i < events.length; i++) {
    const { timeUs, eventId, place } = events[i] as StoreEvent
    const key = eventKey((series[i] as Series).id, timeUs, eventId)
    const isPlaced = seen.get(key)
    if (isPlaced !== undefined) fresh[i] = 0
    if (isPlaced === false && place) unplaced.push(i)
    seen.set(key, isPlaced !== false || place !== undefined)
  }
  return { fresh, unplaced }
}

/** Gives events that the file has without place, from before it knew places, the one at which they come again. */
export async function placeKnown(
  connection: DuckDBConnection,
  events: readonly StoreEvent[],
  series: readonly Series[],
  unplaced: readonly number[],
  numbering: Numbering,
): Promise<void> {
  if (unplaced.length === 0) return
  const placed = unplaced.map(i => events[i] as StoreEvent)
  const numbers = placed.map(({ place }) => numbering.numbers(place as LogPlace))
  const times = placed.map(({ timeUs }) => timeUs)
  await connection.run(
    `update entry set log_ms = place.ms, log_sub = place.sub
     from (select unnest($series) as series, unnest($times) as time, unnest($ids) as id, unnest($ms) as ms, unnest($subs) as sub) place
     where entry.series = place.series and entry.time = place.time and entry.event_id = place.id
       and entry.log_ms is null and entry.time between $oldest and $newest`,
    {
      series: listValue(unplaced.map(i => (series[i] as Series).id)),
      times: listValue(times.map(timeParameter)),
      ids: listValue(placed.map(({ eventId }) => eventId)),
      ms: listValue(numbers.map(({ ms }) => ms)),
      subs: listValue(numbers.map(({ sub }) => sub)),
      oldest: timeParameter(times.reduce((a, b) => Math.min(a, b))),
      newest: timeParameter(times.reduce((a, b) => Math.max(a, b))),
    },
    {
      series: LIST(INTEGER),
      times: LIST(BIGINT),
      ids: LIST(VARCHAR),
      ms: LIST(BIGINT),
      subs: LIST(BIGINT),
      oldest: BIGINT,
      newest: BIGINT,
    },
  )
}

/** Keys of the stored events at the given places, and whether their place in the log is known. */
async function storedEvents(
  connection: DuckDBConnection,
  places: readonly [series: number, timeUs: number][],
): Promise<Map<string, boolean>> {
  const times = places.map(([, timeUs]) => timeUs)
  const found = await connection.runAndReadAll(
    `select e.series, e.time, e.event_id, e.log_ms is not null from entry e
     join (select distinct unnest($series) as series, unnest($times) as time) place on e.series = place.series and e.time = place.time
     where e.is_event and e.time between $oldest and $newest`,
    {
      series: listValue(places.map(([series]) => series)),
      times: listValue(times.map(timeParameter)),
      // The range lets DuckDB pass over all that lies outside without reading it.
      oldest: timeParameter(times.reduce((a, b) => Math.min(a, b))),
      newest: timeParameter(times.reduce((a, b) => Math.max(a, b))),
    },
    { series: LIST(INTEGER), times: LIST(BIGINT), oldest: BIGINT, newest: BIGINT },
  )
  return new Map(
    (found.getRows() as [number, bigint, string, boolean][]).map(([series, time, eventId, isPlaced]) => [
      eventKey(series, Number(time), eventId),
      isPlaced,
    ]),
  )
}
