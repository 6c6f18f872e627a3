// InfluxDB's line protocol: `measurement,tag=value field=1,text="b" 1700000000000000000`, one event a line. The measurement is the event
// type, tags are the device (influxseries.ts); fields and tags are its data.
import { Type } from 'typebox'
import { checkDevice, mainField } from '../../../packages/core/event.ts'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { type Clock, checkSent, type Decoded, decodedFrom, type Found, type Place, toEvent } from './event.ts'
import type { Format, Payload } from './format.ts'
import { endsOfInfluxLines, influxLines } from './influxline.ts'
import { type Point, parsePoint } from './influxpoint.ts'
import { CHANNEL_TAGS, DEVICE_TAGS, type SeriesTags, seriesOf } from './influxseries.ts'
import { eventTypeOf } from './measure.ts'

const MAX_LINES = 100_000
const MAX_KEYS = 256

export const PRECISIONS = ['n', 'ns', 'u', 'us', 'µ', 'µs', 'ms', 's', 'm', 'h'] as const
export type Precision = (typeof PRECISIONS)[number]

const MICROSECONDS: Readonly<Record<Precision, number>> = {
  n: 0.001,
  ns: 0.001,
  u: 1,
  us: 1,
  µ: 1,
  µs: 1,
  ms: 1000,
  s: 1_000_000,
  m: 60_000_000,
  h: 3_600_000_000,
}

type Options = SeriesTags & { readonly precision?: Precision }

const tagsOf = (description: string) =>
  Type.Optional(Type.Array(Type.String({ minLength: 1, maxLength: 256 }), { maxItems: 32, description }))

export const influx: Format = {
  name: 'influx',
  version: 2,
  title: "InfluxDB's line protocol, as Telegraf and Influx clients write it",
  options: Type.Object({
    deviceTag: tagsOf(
      `tags that name the device, the first that a line has; without any the measurement does. Not given: ${DEVICE_TAGS.join(', ')}; for what Telegraf measures of its own host, that host`,
    ),
    channelTag: tagsOf(
      `tags that tell apart what one device measures several times: each value is a device of its own, \`host:eth0\`. Not given: those of Telegraf's plugins, else ${CHANNEL_TAGS.join(', ')}`,
    ),
    precision: Type.Optional(
      Type.Union(
        PRECISIONS.map(one => Type.Literal(one)),
        { description: 'unit of timestamps', default: 'ns' },
      ),
    ),
  }),
  topics: [],
  contentTypes: ['application/vnd.influx-line-protocol', 'text/x-influx-line-protocol'],
  lines: influxLines,
  separable: true,
  decode: (payload, clock) => ({ decoded: decodeInflux(payload, clock) }),
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function decodeInflux({ bytes, place, options }: Payload, clock: Clock): Decoded[] {
  const text = textOf(bytes)
  const { precision = 'ns', ...series } = options as Options
  const endOf = endsOfInfluxLines(text)
  const decoded: Decoded[] = []
  for (let from = 0; from < text.length; ) {
    const to = endOf(from)
    const line = text.slice(from, text.charCodeAt(to - 1) === CARRIAGE_RETURN ? to - 1 : to)
    from = to + 1
    if (isNothing(line)) continue
    if (decoded.length === MAX_LINES) throw new Failure('too_large', `lines: at most ${MAX_LINES} in one payload`)
    decoded.push(
      decodedFrom(() => {
        const found = foundOf(parsePoint(line), place, series, precision)
        // Its numbers were checked as what the line says they are: a float may be beyond 2^53.
        checkDevice(found.device)
        checkSent(found.eventType)
        return toEvent(found, place.project, clock)
      }, line),
    )
  }
  return decoded
}

/** Nothing has to be changed. */
const PLAIN = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/
const CARRIAGE_RETURN = 13
const HASH = 35

function isNothing(line: string): boolean {
  for (let at = 0; at < line.length; at++) {
    const code = line.charCodeAt(at)
    if (code > 32) return code === HASH
  }
  return true
}

function textOf(bytes: Buffer): string {
  try {
    return utf8.decode(bytes)
  } catch (error) {
    throw new Failure('invalid', 'line: not UTF-8 text', { field: 'line', cause: error })
  }
}

function foundOf(point: Point, place: Place, series: SeriesTags, precision: Precision): Found {
  const { measurement, tags, fields, time } = point
  if (tags.size + fields.size > MAX_KEYS) throw invalid('fields', `at most ${MAX_KEYS} with the tags, got ${tags.size + fields.size}`)
  const eventType = PLAIN.test(measurement) ? measurement : eventTypeOf(measurement)
  const { device, saidBy } = seriesOf(point, place, series)
  const data = new Map<string, unknown>(fields)
  for (const [key, value] of tags) if (key !== saidBy) data.set(freeName(data, key), value)
  // What had to be changed to be a name stands beside it as it was.
  if (eventType !== measurement) data.set(freeName(data, 'measurement'), measurement)
  const found = { device, eventType, data: { [eventType]: Object.fromEntries(mained(eventType, data)) } }
  return time === '' ? found : { ...found, ...timeOf(time, precision) }
}

/** A tag may have the name of a field: Influx answers with `name` and `name_1` then, and so it is here. */
function freeName(data: ReadonlyMap<string, unknown>, name: string): string {
  if (!data.has(name)) return name
  for (let i = 1; ; i++) if (!data.has(`${name}_${i}`)) return `${name}_${i}`
}

/** `value` stands for the type's own main field, as everywhere. */
function mained(eventType: string, data: Map<string, unknown>): Map<string, unknown> {
  const field = mainField(eventType)
  if (field === 'value' || data.has(field) || !data.has('value')) return data
  const { value } = Object.fromEntries(data)
  data.delete('value')
  return data.set(field, value)
}

/** Whole microseconds. What is finer tells two lines apart, so it is an id of theirs. */
function timeOf(time: string, precision: Precision): Pick<Found, 'timeUs' | 'eventId'> {
  const unitUs = MICROSECONDS[precision]
  const timeUs =
    unitUs < 1 ? Number(time.slice(0, -3) || '0') - (time.startsWith('-') && !time.endsWith('000') ? 1 : 0) : Number(time) * unitUs
  if (!Number.isSafeInteger(timeUs)) throw invalid('time', `expected a time until the year 2255 in ${precision}, got ${time.slice(0, 30)}`)
  return unitUs < 1 && !time.endsWith('000') ? { timeUs, eventId: time } : { timeUs }
}
