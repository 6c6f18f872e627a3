// The log's past in InfluxDB: a copy of each event at the time of its place, so that a page of them is one stretch of one series; and
// which spans of the log are complete. Event types begin with a letter: no measurement of theirs is called as these.
import { parseTime } from '../core/time.ts'
import type { InfluxClient, InfluxSeries } from './influxclient.ts'
import { literal, SLOTS, safeName, slotOf, text } from './line.ts'
import type { EntryId, Span } from './past.ts'
import { compareEntries, comparePlaces, entryIdOf, formatEntryId, mergeSpans } from './past.ts'
import type { LogPlace, LogSpan, PastEvent, PastQuery, StoreEvent } from './store.ts'
import { LAST_INDEX } from './store.ts'

const EVENTS = '_log'
const SPANS = '_span'
/** A millisecond has a million nanoseconds: so many entries of at most 1,000 events. What is beyond is in another series, by the tag. */
const ENTRIES_PER_MS = 1000
/** Few as they are, one of them may be an older and longer one. */
const MIN_SPANS = 100

/** `2.0` → entry 2, event 0: how an event's own point says where its copy is. */
export function formatPlace({ entryId, index }: LogPlace): string {
  return `${entryId}.${index}`
}

export function copyLine({ project, device, eventType, timeUs, frame }: StoreEvent, { entryId, index }: LogPlace): string {
  if (index >= SLOTS) throw new RangeError(`entry ${entryId} has an event ${index}`)
  return `${head(EVENTS, project, entryId)} _at=${text(`${timeUs} ${eventType} ${device}`)},_event=${text(frame)} ${timeAt(entryId, index)}`
}

export function spanLine({ project, after, to }: LogSpan): string {
  return `${head(SPANS, project, to)} after="${formatEntryId(entryIdOf(after))}" ${timeAt(to, 0)}`
}

function head(measurement: string, project: string, entryId: string): string {
  const series = seriesOf(entryIdOf(entryId))
  return `${measurement},${series === 0 ? '' : `n=${series},`}project=${safeName(project)}`
}

function seriesOf({ seq }: EntryId): number {
  return Math.floor(seq / ENTRIES_PER_MS)
}

function timeAt(entryId: string, index: number): string {
  const { ms, seq } = entryIdOf(entryId)
  return `${ms}${String((seq % ENTRIES_PER_MS) * SLOTS + index).padStart(6, '0')}`
}

/** The first events after a place, then the spans that speak of them: read after, so that neither tells more than the other. */
export async function readPast(
  client: InfluxClient,
  { project, after, to, limit }: PastQuery,
): Promise<{ found: PastEvent[]; spans: Span[] }> {
  const events = await pointsAfter(client, `SELECT "_at","_event" FROM "${EVENTS}"`, project, after, limit)
  const found = events
    .map(({ place, values: [, at, frame] }) => ({ place, ...parseAt(String(at)), frame: String(frame) }))
    .filter(({ place }) => comparePlaces(place, { entryId: to, index: LAST_INDEX }) <= 0)
    .slice(0, limit)
  // A span holds an event as a rule, so these reach as far as the page.
  return { found, spans: await readSpans(client, project, after, Math.max(limit, MIN_SPANS)) }
}

/** The first that end behind a place. */
async function readSpans(client: InfluxClient, project: string, { entryId, index }: LogPlace, limit: number): Promise<Span[]> {
  const from = { entryId, index: index < LAST_INDEX ? -1 : LAST_INDEX }
  const points = await pointsAfter(client, `SELECT "after" FROM "${SPANS}"`, project, from, limit)
  return points.map(({ place, values: [, after] }) => ({ after: entryIdOf(String(after)), to: entryIdOf(place.entryId) }))
}

type Point = { readonly place: LogPlace; readonly values: readonly unknown[] }

/** At least the first `limit` points after a place, in order. */
async function pointsAfter(client: InfluxClient, select: string, project: string, after: LogPlace, limit: number): Promise<Point[]> {
  const entry = entryIdOf(after.entryId)
  const from = `${select} WHERE "project" = ${literal(project)} AND`
  const series = seriesOf(entry)
  const own = series === 0 ? '' : String(series)
  const rest = `ORDER BY time LIMIT ${limit}`
  const [start, end] = [`${entry.ms}000000`, `${entry.ms + 1}000000`]
  const behind = after.index < 0 ? BigInt(timeAt(after.entryId, 0)) - 1n : BigInt(timeAt(after.entryId, Math.min(after.index, SLOTS - 1)))
  const answers = await client.query([
    `${from} "n" = '${own}' AND time > ${behind} AND time < ${end} ${rest}`,
    `${from} "n" != '${own}' AND time >= ${start} AND time < ${end} GROUP BY "n" ${rest}`,
    `${from} time >= ${end} GROUP BY "n" ${rest}`,
  ])
  const [same = [], other = [], later = []] = answers
  const points = [...same.flatMap(one => pointsOf(one, series)), ...[...other, ...later].flatMap(one => pointsOf(one))]
  return points.filter(({ place }) => comparePlaces(place, after) > 0).sort((a, b) => comparePlaces(a.place, b.place))
}

function pointsOf({ tags, values }: InfluxSeries, series = Number(tags?.n ?? 0)): Point[] {
  return values.map(row => ({ place: placeAt(String(row[0]), series), values: row }))
}

function placeAt(time: string, series: number): LogPlace {
  const timeUs = parseTime(time)
  if (timeUs === undefined) throw new Error(`InfluxDB answered with the time ${time}`)
  const seq = series * ENTRIES_PER_MS + (timeUs % 1000)
  return { entryId: `${Math.floor(timeUs / 1000)}-${seq}`, index: slotOf(time) }
}

function parseAt(at: string): Pick<PastEvent, 'device' | 'eventType' | 'timeUs'> {
  const first = at.indexOf(' ')
  const second = at.indexOf(' ', first + 1)
  return { timeUs: Number(at.slice(0, first)), eventType: at.slice(first + 1, second), device: at.slice(second + 1) }
}

/** Takes back what spans say of everything that was accepted before. The events themselves go with all others of the project. */
export async function forgetSpans(client: InfluxClient, project: string, beforeMs: number): Promise<void> {
  const before = `"project" = ${literal(project)} AND time < ${beforeMs}000000`
  const [found = []] = await client.query([`SELECT "_at" FROM "${EVENTS}" WHERE ${before} GROUP BY "n" ORDER BY time DESC LIMIT 1`])
  const [last] = found.flatMap(one => pointsOf(one)).sort((a, b) => comparePlaces(b.place, a.place))
  if (!last) return
  const gone = entryIdOf(last.place.entryId)
  const spans = await readSpans(client, project, { ...last.place, index: LAST_INDEX }, MIN_SPANS)
  const known = mergeSpans(spans).find(({ after, to }) => compareEntries(after, gone) <= 0 && compareEntries(gone, to) <= 0)
  const kept = spans.filter(({ to }) => to.ms >= beforeMs)
  // The first that stays goes on from the last event that goes, whatever of the spans between them had no events; as a rule they touch.
  const shortened = kept.filter(
    ({ after }, i) => compareEntries(after, gone) < 0 || (i === 0 && known && compareEntries(after, known.to) <= 0),
  )
  if (shortened.length > 0)
    await client.write(shortened.map(({ to }) => spanLine({ project, after: last.place.entryId, to: formatEntryId(to) })))
}
