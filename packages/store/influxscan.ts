// Long stretches of the events in InfluxDB, for backtests: how many stand where, and those of a stretch as columns.
import { parseTime } from '../core/time.ts'
import type { InfluxClient } from './influxclient.ts'
import { boundary, fieldIdentifier, identifier, literal } from './line.ts'
import { unescapeName } from './name.ts'
import type { ScanColumns, ScanCount, ScanPage, ScanQuery, ScanRoom, ScanSeries } from './store.ts'

// A statement names so many devices, and one answer has about so many rows: it is parsed in one piece.
const DEVICES_PER_STATEMENT = 100
const ROWS_PER_ANSWER = 10_000
/** Of whole events, when there is not room for all: until it is known how large they are. */
const FIRST_ROWS = 500

type Row = {
  readonly series: ScanSeries
  readonly timeUs: number
  readonly eventId: string
  readonly content: readonly (number | string | null)[]
}

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

const NO_END: ScanRoom = { limit: Number.POSITIVE_INFINITY, maxBytes: Number.POSITIVE_INFINITY }

/** With room: all of one time at least, within which there is no place to go on from. */
export async function scanEvents(client: InfluxClient, asked: ScanPage): Promise<ScanColumns> {
  const { fields, eventTypes, room = NO_END } = asked
  const query = room.after === undefined ? asked : { ...asked, fromUs: Math.max(asked.fromUs, room.after.timeUs + 1) }
  let rows: Row[] = []
  const known = new Map<string, ScanSeries>()
  const measurements = eventTypes.flatMap(eventType =>
    places(query).map(where => ({ eventType, where, known, fields: fieldsOf(query, eventType) })),
  )
  for (const measurement of measurements)
    if (await hasOneOf(client, query, measurement))
      return { series: [], of: new Uint32Array(0), timesUs: new Float64Array(0), values: undefined, events: undefined }
  let endUs = query.toUs
  // What there is no room for in one needs not be read of the others.
  for (const measurement of measurements) endUs = await readRows(client, { ...query, toUs: endUs }, room, measurement, rows)
  rows.sort((a, b) => a.timeUs - b.timeUs || (a.eventId < b.eventId ? -1 : a.eventId > b.eventId ? 1 : 0))
  endUs = endOf(rows, room, endUs)
  rows = rows.filter(({ timeUs }) => timeUs < endUs)
  const series = [...known.values()]
  const numbers = new Map(series.map((one, number) => [one, number]))
  return {
    series,
    of: Uint32Array.from(rows, row => numbers.get(row.series) as number),
    timesUs: Float64Array.from(rows, row => row.timeUs),
    values: fields?.map(({ eventType, field }) => {
      const place = fieldsOf(query, eventType)?.indexOf(field) ?? 0
      return Float64Array.from(rows, row =>
        row.series.eventType === eventType ? ((row.content[place] as number | null) ?? Number.NaN) : Number.NaN,
      )
    }),
    events: fields ? undefined : { ids: rows.map(row => row.eventId), frames: rows.map(row => row.content[0] as string) },
    next: endUs < query.toUs ? { timeUs: endUs - 1 } : undefined,
  }
}

type Measurement = {
  readonly eventType: string
  /** Undefined: whole events. */
  readonly fields: readonly string[] | undefined
  readonly where: string
  readonly known: Map<string, ScanSeries>
}

function fieldsOf({ fields }: ScanQuery, eventType: string): readonly string[] | undefined {
  return fields?.filter(one => one.eventType === eventType).map(({ field }) => field)
}

async function hasOneOf(
  client: InfluxClient,
  { fields, unless = [], fromUs, toUs }: ScanQuery,
  { eventType, where }: Measurement,
): Promise<boolean> {
  if (fields === undefined || unless.length === 0) return false
  const has = unless.map(text => `"_event" =~ ${pattern(text)}`).join(' OR ')
  const [found = []] = await client.query([
    `SELECT "_id" FROM ${identifier(eventType)} WHERE ${where} AND (${has}) AND ${within(fromUs, toUs)} LIMIT 1`,
  ])
  return found.length > 0
}

/** No character but letters and digits is there as itself. */
function pattern(text: string): string {
  return `/${text.replace(/[^A-Za-z0-9]/gu, one => `\\x{${one.codePointAt(0)?.toString(16)}}`)}/`
}

/** Before the first time that there is no room for; for the first of all there is. */
function endOf(rows: readonly Row[], { limit, maxBytes }: ScanRoom, endUs: number): number {
  let bytes = 0
  for (const [i, row] of rows.entries()) {
    bytes += sizeOf(row)
    if ((i >= limit || bytes > maxBytes) && row.timeUs > (rows[0]?.timeUs ?? row.timeUs)) return Math.min(endUs, row.timeUs)
  }
  return endUs
}

function sizeOf({ content: [first] }: Row): number {
  return typeof first === 'string' ? first.length : 0
}

/**
 * Answer by answer; where one ends within a microsecond, all of that is asked for by itself. Resolves with the time before which all was
 * read.
 */
async function readRows(
  client: InfluxClient,
  { fromUs, toUs }: ScanQuery,
  { limit, maxBytes }: ScanRoom,
  measurement: Measurement,
  into: Row[],
): Promise<number> {
  const firstRow = into.length
  let most = Number.isFinite(maxBytes) ? FIRST_ROWS : ROWS_PER_ANSWER
  let bytes = 0
  for (let startUs = fromUs; startUs < toUs; ) {
    const rows = await ask(client, measurement, startUs, toUs, `ORDER BY time LIMIT ${most}`)
    const isLast = rows.length < most
    const lastUs = isLast ? toUs : (rows.at(-1)?.timeUs ?? toUs)
    for (const row of rows) if (row.timeUs < lastUs) into.push(row)
    if (isLast) return toUs
    into.push(...(await ask(client, measurement, lastUs, lastUs + 1, '')))
    bytes += rows.reduce((sum, row) => sum + sizeOf(row), 0)
    startUs = lastUs + 1
    if (into.length - firstRow >= limit || bytes >= maxBytes) return startUs
    // If the next are as large as these.
    const fit = Math.ceil(((maxBytes - bytes) * (into.length - firstRow)) / Math.max(1, bytes))
    if (Number.isFinite(maxBytes)) most = Math.min(4 * most, ROWS_PER_ANSWER, Math.max(1, fit))
  }
  return toUs
}

async function ask(
  client: InfluxClient,
  { eventType, fields, where, known }: Measurement,
  fromUs: number,
  toUs: number,
  rest: string,
): Promise<Row[]> {
  // Every event has an id, and so comes without any of the numbers too.
  const content = fields === undefined ? ['"_event"'] : fields.map(fieldIdentifier)
  const [found = []] = await client.query([
    `SELECT ${['"device"', '"_id"', ...content].join(',')} FROM ${identifier(eventType)} WHERE ${where} AND ${within(fromUs, toUs)} ${rest}`,
  ])
  return (found[0]?.values ?? []).map(([time, device, eventId, ...values]) => ({
    series: seriesOf(known, String(device), eventType),
    timeUs: timeOf(time),
    eventId: String(eventId),
    content: values as Row['content'],
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
