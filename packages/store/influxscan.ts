// Long stretches of the events in InfluxDB, for backtests: how many stand where, and those of a stretch as columns.
import { parseTime } from '../core/time.ts'
import type { InfluxClient } from './influxclient.ts'
import { boundary, fieldIdentifier, identifier, literal } from './line.ts'
import { unescapeName } from './name.ts'
import type { ScanColumns, ScanCount, ScanPage, ScanQuery, ScanSeries } from './store.ts'

// A statement names so many devices, and one answer has about so many rows, the first so many: it is parsed in one piece.
const DEVICES_PER_STATEMENT = 100
const ROWS_PER_ANSWER = 10_000
const FIRST_ROWS = 500

type Row = { readonly series: ScanSeries; readonly timeUs: number; readonly eventId: string; readonly content: number | string }

/** Windows begin at `fromUs`. */
export async function countEvents(client: InfluxClient, query: ScanQuery, windowUs: number): Promise<ScanCount[]> {
  const found = new Map<number, number>()
  const offset = ((query.fromUs % windowUs) + windowUs) % windowUs
  for (const eventType of query.eventTypes)
    for (const where of places(query)) {
      const [series = []] = await client.query([
        `SELECT count("_id") FROM ${identifier(eventType)} WHERE ${where} AND ${within(query.fromUs, query.toUs)}
         GROUP BY time(${windowUs}u,${offset}u) fill(none)`,
      ])
      for (const [time, count] of series[0]?.values ?? []) found.set(timeOf(time), (found.get(timeOf(time)) ?? 0) + Number(count))
    }
  return [...found].map(([startUs, count]) => ({ startUs, count })).sort((a, b) => a.startUs - b.startUs)
}

/** One time at least: within one there is no place to go on from. */
export async function scanEvents(client: InfluxClient, query: ScanPage): Promise<ScanColumns> {
  const { after } = query
  const fromUs = after === undefined ? query.fromUs : Math.max(query.fromUs, after.timeUs + 1)
  let rows: Row[] = []
  let endUs = query.toUs
  const known = new Map<string, ScanSeries>()
  for (const eventType of query.eventTypes) {
    const field = query.fields?.find(one => one.eventType === eventType)?.field
    if (query.fields && field === undefined) continue
    // What one has no room for needs not be read of the others.
    for (const where of places(query))
      endUs = await readRows(client, { ...query, fromUs, toUs: endUs }, { eventType, field, where, known }, rows)
  }
  rows.sort((a, b) => a.timeUs - b.timeUs || (a.eventId < b.eventId ? -1 : a.eventId > b.eventId ? 1 : 0))
  endUs = endOf(rows, query, endUs)
  rows = rows.filter(({ timeUs }) => timeUs < endUs)
  const series = [...known.values()]
  const numbers = new Map(series.map((one, number) => [one, number]))
  return {
    series,
    of: Uint32Array.from(rows, row => numbers.get(row.series) as number),
    timesUs: Float64Array.from(rows, row => row.timeUs),
    values: query.fields && Float64Array.from(rows, row => row.content as number),
    events: query.fields ? undefined : { ids: rows.map(row => row.eventId), frames: rows.map(row => row.content as string) },
    next: endUs < query.toUs ? { timeUs: endUs - 1 } : undefined,
  }
}

/** Before the first time that has no room; the first of all has. */
function endOf(rows: readonly Row[], { limit, maxBytes }: ScanPage, endUs: number): number {
  let bytes = 0
  for (const [i, row] of rows.entries()) {
    bytes += sizeOf(row)
    if ((i >= limit || bytes > maxBytes) && row.timeUs > (rows[0]?.timeUs ?? row.timeUs)) return Math.min(endUs, row.timeUs)
  }
  return endUs
}

function sizeOf({ content }: Row): number {
  return typeof content === 'string' ? content.length : 0
}

type Measurement = {
  readonly eventType: string
  readonly field: string | undefined
  readonly where: string
  readonly known: Map<string, ScanSeries>
}

/**
 * Answer by answer; where one ends within a microsecond, all of that is asked for by itself. Answers with the time before which all
 * was read.
 */
async function readRows(
  client: InfluxClient,
  { fromUs, toUs, limit, maxBytes, fields }: ScanPage,
  measurement: Measurement,
  into: Row[],
): Promise<number> {
  let most = fields ? ROWS_PER_ANSWER : FIRST_ROWS
  let count = 0
  let bytes = 0
  for (let startUs = fromUs; startUs < toUs; ) {
    const rows = await ask(client, measurement, startUs, toUs, `ORDER BY time LIMIT ${most}`)
    const whole = rows.length < most
    const lastUs = rows.at(-1)?.timeUs ?? toUs
    const kept = whole ? rows : rows.filter(row => row.timeUs < lastUs)
    if (!whole) kept.push(...(await ask(client, measurement, lastUs, lastUs + 1, '')))
    for (const row of kept) {
      into.push(row)
      bytes += sizeOf(row)
    }
    if (whole) return toUs
    count += kept.length
    startUs = lastUs + 1
    if (count >= limit || bytes >= maxBytes) return startUs
    // As large as these, so many have room.
    if (!fields) most = Math.min(4 * most, ROWS_PER_ANSWER, Math.max(1, Math.ceil(((maxBytes - bytes) * count) / Math.max(1, bytes))))
  }
  return toUs
}

async function ask(
  client: InfluxClient,
  { eventType, field, where, known }: Measurement,
  fromUs: number,
  toUs: number,
  rest: string,
): Promise<Row[]> {
  const content = field === undefined ? '"_event"' : fieldIdentifier(field)
  // The comparison leaves out events without this reading.
  const has = field === undefined ? '' : ` AND (${content} >= 0 OR ${content} < 0)`
  const [found = []] = await client.query([
    `SELECT "device","_id",${content} FROM ${identifier(eventType)} WHERE ${where}${has} AND ${within(fromUs, toUs)} ${rest}`,
  ])
  return (found[0]?.values ?? []).map(([time, device, eventId, value]) => ({
    series: seriesOf(known, String(device), eventType),
    timeUs: timeOf(time),
    eventId: String(eventId),
    content: value as number | string,
  }))
}

function seriesOf(known: Map<string, ScanSeries>, safe: string, eventType: string): ScanSeries {
  const key = `${eventType} ${safe}`
  const before = known.get(key)
  if (before) return before
  const series = { device: unescapeName(safe), eventType }
  known.set(key, series)
  return series
}

function places({ project, devices }: ScanQuery): string[] {
  const ofProject = `"project" = ${literal(project)}`
  if (devices === undefined) return [ofProject]
  const found: string[] = []
  const names = [...new Set(devices)]
  for (let at = 0; at < names.length; at += DEVICES_PER_STATEMENT) {
    const some = names.slice(at, at + DEVICES_PER_STATEMENT)
    found.push(`${ofProject} AND (${some.map(device => `"device" = ${literal(device)}`).join(' OR ')})`)
  }
  return found
}

function within(fromUs: number, toUs: number): string {
  return `time >= ${boundary(fromUs)} AND time < ${boundary(toUs)}`
}

function timeOf(time: unknown): number {
  const timeUs = parseTime(String(time))
  if (timeUs === undefined) throw new Error(`InfluxDB answered with the time ${String(time)}`)
  return timeUs
}
