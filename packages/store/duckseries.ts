// Which events the DuckDB file already has, found without a key: an event newer than all of its series is new, the rest is looked up.
import type { DuckDBConnection } from '@duckdb/node-api'
import { BIGINT, INTEGER, LIST, listValue, VARCHAR } from '@duckdb/node-api'
import { append } from './duckfile.ts'
import type { StoreEvent } from './store.ts'

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
): Promise<[string, Series][]> {
  const devices = [...new Set(Array.from(unknown.values(), ({ device }) => device))]
  const found = await connection.runAndReadAll(
    `select s.id, s.project, s.device, s.event_type, max(e.time) from series s
     left join entry e on e.series = s.id and e.time >= $oldest
     where s.device in (select unnest($devices)) group by all`,
    { devices: listValue(devices), oldest: timeParameter(oldestUs) },
    { devices: LIST(VARCHAR), oldest: BIGINT },
  )
  return (found.getRows() as [number, string, string, string, bigint | null][]).map(([id, project, device, eventType, newest]) => [
    seriesKey({ project, device, eventType }),
    { id, newestUs: newest === null ? oldestUs - 1 : Number(newest) },
  ])
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

/** 1 for each event to store, 0 for each that is in the file or earlier in `events`. */
export async function admit(connection: DuckDBConnection, events: readonly StoreEvent[], series: readonly Series[]): Promise<Uint8Array> {
  const fresh = new Uint8Array(events.length).fill(1)
  const suspects: number[] = []
  for (let i = 0; i < events.length; i++) {
    const { timeUs } = events[i] as StoreEvent
    const its = series[i] as Series
    // Newer than everything stored of its series: it cannot have been stored before.
    if (timeUs > its.newestUs) its.newestUs = timeUs
    else suspects.push(i)
  }
  if (suspects.length === 0) return fresh
  const seen = await storedEvents(
    connection,
    suspects.map(i => [(series[i] as Series).id, (events[i] as StoreEvent).timeUs]),
  )
  for (let i = 0; i < events.length; i++) {
    const { timeUs, eventId } = events[i] as StoreEvent
    const key = eventKey((series[i] as Series).id, timeUs, eventId)
    if (seen.has(key)) fresh[i] = 0
    else seen.add(key)
  }
  return fresh
}

/** Keys of the stored events at the given places. */
async function storedEvents(connection: DuckDBConnection, places: readonly [series: number, timeUs: number][]): Promise<Set<string>> {
  const times = places.map(([, timeUs]) => timeUs)
  const found = await connection.runAndReadAll(
    `select e.series, e.time, e.event_id from entry e
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
  return new Set((found.getRows() as [number, bigint, string][]).map(([series, time, eventId]) => eventKey(series, Number(time), eventId)))
}
