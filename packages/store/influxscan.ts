// Long stretches of the events in InfluxDB, for backtests: how many stand where, and those of a stretch as columns.
import { parseTime } from '../core/time.ts'
import type { InfluxClient } from './influxclient.ts'
import { boundary, fieldIdentifier, identifier, literal } from './line.ts'
import { unescapeName } from './name.ts'
import type { ScanColumns, ScanCount, ScanQuery, ScanSeries } from './store.ts'

// A statement names so many devices, and one answer has about so many rows: it is parsed in one piece.
const DEVICES_PER_STATEMENT = 100
const ROWS_PER_ANSWER = 10_000

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

export async function scanEvents(client: InfluxClient, query: ScanQuery): Promise<ScanColumns> {
  const { fields, eventTypes } = query
  const rows: Row[] = []
  const known = new Map<string, ScanSeries>()
  const measurements = eventTypes.flatMap(eventType =>
    places(query).map(where => ({ eventType, where, known, fields: fieldsOf(query, eventType) })),
  )
  for (const measurement of measurements)
    if (await hasOneOf(client, query, measurement))
      return { series: [], of: new Uint32Array(0), timesUs: new Float64Array(0), values: undefined, events: undefined }
  for (const measurement of measurements) await readRows(client, query, measurement, rows)
  rows.sort((a, b) => a.timeUs - b.timeUs || (a.eventId < b.eventId ? -1 : a.eventId > b.eventId ? 1 : 0))
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

/** Answer by answer; where one ends within a microsecond, all of that is asked for by itself. */
async function readRows(client: InfluxClient, { fromUs, toUs }: ScanQuery, measurement: Measurement, into: Row[]): Promise<void> {
  for (let startUs = fromUs; startUs < toUs; ) {
    const rows = await ask(client, measurement, startUs, toUs, `ORDER BY time LIMIT ${ROWS_PER_ANSWER}`)
    if (rows.length < ROWS_PER_ANSWER) {
      into.push(...rows)
      return
    }
    const lastUs = rows.at(-1)?.timeUs ?? toUs
    for (const row of rows) if (row.timeUs < lastUs) into.push(row)
    into.push(...(await ask(client, measurement, lastUs, lastUs + 1, '')))
    startUs = lastUs + 1
  }
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
