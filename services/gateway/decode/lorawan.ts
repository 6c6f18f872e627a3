// What LoRaWAN network servers have in common: an uplink with bytes that some codec decodes, values under names that every maker chooses
// anew, and the gateways that heard it.
import { type Static, Type } from 'typebox'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { type Channel, channelsIn, eachChannel, readCayenne } from './cayenne.ts'
import { shown } from './element.ts'
import type { Clock, Decoded, Place } from './event.ts'
import { channelOf, type Measured, reported } from './measure.ts'
import { MAX_CODE_CHARS, type Sandbox } from './sandbox.ts'
import { HARD_LIMIT_MS } from './sandboxruntime.ts'
import { type Fields, isObject } from './text.ts'
import { eventTime } from './time.ts'
import { type Renamed, typeOf, type Values, valuesIn } from './value.ts'

export const codecOptions = {
  codec: Type.Optional(
    Type.Union([Type.Literal('cayenne'), Type.Literal('javascript')], {
      description: 'decodes the bytes where the network server did not',
    }),
  ),
  code: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: MAX_CODE_CHARS,
      description: 'for the codec javascript: decodeUplink(input) as makers publish it, and normalizeUplink(input) if there is one',
      examples: ['function decodeUplink(input) { return { data: { temperature: input.bytes[0] / 10 } } }'],
    }),
  ),
  timeoutMs: Type.Optional(
    Type.Integer({ minimum: 1, maximum: HARD_LIMIT_MS, default: 50, description: 'the time that the code may take' }),
  ),
  fields: Type.Optional(
    Type.Record(
      Type.String(),
      Type.Object({ name: Type.Optional(Type.String()), unit: Type.Optional(Type.String()) }, { additionalProperties: false }),
      {
        description: 'what decoded values are really called, and their units',
        examples: [{ battery: { name: 'batteryVoltage', unit: 'V' } }],
      },
    ),
  ),
}

const Options = Type.Object(codecOptions)
type CodecOptions = Static<typeof Options>

export type Uplink = {
  readonly device: string
  readonly timeUs: number | undefined
  readonly fPort: number | undefined
  readonly payload: Buffer
  /** By the codec of the network server; undefined where there is none. */
  readonly decoded: Fields | undefined
  /** In the units of The Things Stack. */
  readonly normalized: readonly Fields[]
  readonly signals: readonly Signal[]
  /** What it is about, for who is told that nothing was decoded. */
  readonly field: string
}

/** One gateway that heard it. */
export type Signal = { readonly gateway: string; readonly rssi: number; readonly snr?: number | undefined }

/** @throws Failure `invalid` that names the option. */
export async function checkCodec(sandbox: Sandbox, given: Fields): Promise<void> {
  const { codec, code } = given as CodecOptions
  if (codec === 'javascript' && code === undefined)
    throw invalid('options.code', 'missing: the codec javascript needs a function decodeUplink(input)')
  if (code === undefined) return
  if (codec !== 'javascript') throw invalid('options.codec', 'expected javascript, for which there is code')
  await sandbox.check(code, 'uplink', 'options.code')
}

/** The events of an uplink: one for each thing measured, and `networkStatus`. @throws Failure `invalid` where nothing can be decoded. */
export async function decodeUplink(
  uplink: Uplink,
  given: Fields,
  sandbox: Sandbox,
  place: Place,
  clock: Clock,
  element: Buffer,
): Promise<Decoded[]> {
  const options = given as CodecOptions
  const made = await decodedBy(uplink, options, sandbox, place.project)
  const { device, timeUs } = uplink
  const report = (values: Values, ownUs: number | undefined, more: readonly Measured[], channel?: string) => {
    const whose = channel === undefined ? device : channelOf(device, channel)
    return reported({ device: whose, timeUs: ownUs ?? timeUs, ...values, more: [...values.more, ...more] }, place.project, clock, element)
  }
  const [first, ...later] = made
  return [
    ...report(first?.values ?? NOTHING, first?.timeUs, signalOf(uplink.signals)),
    ...later.flatMap(one => report(one.values, one.timeUs, [], one.channel)),
  ]
}

const NOTHING: Values = { measures: [], rest: {}, more: [] }

/** Values of one time. */
type Made = { readonly values: Values; readonly timeUs: number | undefined; readonly channel?: string | undefined }

async function decodedBy(uplink: Uplink, options: CodecOptions, sandbox: Sandbox, project: string): Promise<Made[]> {
  const { decoded, normalized, payload, fPort } = uplink
  if (decoded !== undefined || normalized.length > 0) return madeOf(decoded ?? {}, normalized, options.fields)
  // Port 0 carries commands of the network.
  if (payload.length === 0 || fPort === 0) return []
  if (options.codec === 'cayenne') return madeOfChannels(readCayenne(payload))
  if (options.codec === 'javascript' && options.code !== undefined) {
    const found = await runCodec(uplink, options.code, options.timeoutMs, sandbox, project)
    return madeOf(found.decoded, found.normalized, options.fields)
  }
  throw invalid(
    uplink.field,
    'missing: the network server did not decode the payload; give it a codec there, or this decoder the option codec',
  )
}

/** Each channel is a device beside the first report, which is that of the device itself. */
function madeOfChannels(channels: readonly Channel[]): Made[] {
  const { timeUs, groups } = eachChannel(channels)
  return [
    { values: NOTHING, timeUs },
    ...groups.map(({ channel, events }) => ({ values: { measures: [], rest: {}, more: events }, timeUs, channel })),
  ]
}

/** What is normalized comes first, and the rest of what was decoded with it. */
function madeOf(decoded: Fields, normalized: readonly Fields[], fields: Renamed | undefined): Made[] {
  const channels = channelsIn(decoded)
  if (channels && normalized.length === 0) return madeOfChannels(channels)
  const standard = normalized.map(({ time, ...values }) => ({
    values: valuesIn(values, NORMALIZED),
    timeUs: time === undefined ? undefined : eventTime(time, 'normalized_payload.time'),
  }))
  const known = new Set<string | undefined>(standard.flatMap(({ values }) => values.measures.map(typeOf)))
  const others = valuesIn(decoded, fields ?? {}, known)
  const [first, ...later] = standard
  if (!first) return [{ values: others, timeUs: undefined }]
  if (first.timeUs !== undefined) return [{ values: others, timeUs: undefined }, first, ...later]
  const values = {
    measures: [...first.values.measures, ...others.measures],
    rest: others.rest,
    more: [...first.values.more, ...others.more],
  }
  return [{ values, timeUs: undefined }, ...later]
}

/** The schema of normalized payloads says the units; names are joined by `_`. */
const NORMALIZED: Renamed = {
  air_temperature: { name: 'temperature', unit: '°C' },
  air_relativeHumidity: { name: 'humidity', unit: '%' },
  air_pressure: { name: 'pressure', unit: 'hPa' },
  air_co2: { name: 'co2', unit: 'ppm' },
  battery: { name: 'batteryVoltage', unit: 'V' },
  action_motion_detected: { name: 'motion' },
  action_motion_count: { name: 'motionCount' },
  action_contactState: { name: 'contact' },
  water_leak: { name: 'waterLeak' },
  air_lightIntensity: { name: 'illuminance', unit: 'lx' },
  wind_speed: { name: 'windSpeed', unit: 'm/s' },
  wind_direction: { name: 'windDirection', unit: '°' },
  soil_depth: { name: 'soilDepth', unit: 'cm' },
  soil_moisture: { name: 'soilMoisture', unit: '%' },
  soil_temperature: { name: 'soilTemperature', unit: '°C' },
  soil_ec: { name: 'soilConductivity', unit: 'dS/m' },
  soil_pH: { name: 'soilPh' },
  soil_n: { name: 'soilNitrogen', unit: 'ppm' },
  soil_p: { name: 'soilPhosphorus', unit: 'ppm' },
  soil_k: { name: 'soilPotassium', unit: 'ppm' },
}

async function runCodec(
  { payload, fPort, timeUs }: Uplink,
  code: string,
  timeoutMs: number | undefined,
  sandbox: Sandbox,
  project: string,
): Promise<{ decoded: Fields; normalized: readonly Fields[] }> {
  const recvTime = timeUs === undefined ? {} : { recvTime: new Date(timeUs / 1000).toISOString() }
  const found = await sandbox.run(project, code, 'uplink', { bytes: [...payload], fPort, ...recvTime, variables: {} }, timeoutMs)
  if (!isObject(found)) throw invalid('code', `decodeUplink() gave ${shown(found)}; expected { data: { … } }`)
  refuseErrors('decodeUplink()', found['errors'])
  if (!isObject(found['data'])) throw invalid('code', `decodeUplink() gave ${shown(found)}; expected an object as its data`)
  const standard = found['normalized']
  if (!isObject(standard)) return { decoded: found['data'], normalized: [] }
  refuseErrors('normalizeUplink()', standard['errors'])
  return { decoded: found['data'], normalized: [standard['data']].flat().filter(isObject) }
}

function refuseErrors(by: string, errors: unknown): void {
  if (!Array.isArray(errors) || errors.length === 0) return
  throw new Failure('invalid', `payload: ${by} refuses it: ${errors.slice(0, 5).map(shown).join(', ')}`, { field: 'payload' })
}

const MAX_GATEWAYS = 8
const [WEAKEST_DBM, STRONGEST_DBM] = [-130, -50]

/** By the gateway that heard it best. Strength in percent: 0 at -130 dBm, 100 at -50 dBm. */
function signalOf(signals: readonly Signal[]): Measured[] {
  const best = signals.toSorted((a, b) => b.rssi - a.rssi || (b.snr ?? -100) - (a.snr ?? -100)).slice(0, MAX_GATEWAYS)
  const [first] = best
  if (!first) return []
  const { rssi, snr } = first
  const cloudConnectors = best.map(one => ({ id: one.gateway, signalStrength: strengthOf(one.rssi), rssi: one.rssi }))
  const networkStatus = { signalStrength: strengthOf(rssi), rssi, ...(snr === undefined ? {} : { snr }), cloudConnectors }
  return [{ eventType: 'networkStatus', data: { networkStatus } }]
}

function strengthOf(rssi: number): number {
  const share = (rssi - WEAKEST_DBM) / (STRONGEST_DBM - WEAKEST_DBM)
  return Math.round(Math.min(1, Math.max(0, share)) * 100)
}

/** One that did not measure says nothing. */
export function signalIn(gateway: unknown, { rssi, snr }: Fields): Signal[] {
  if (typeof rssi !== 'number') return []
  return [{ gateway: typeof gateway === 'string' ? gateway : '', rssi, snr: typeof snr === 'number' ? snr : undefined }]
}

/** @throws Failure `invalid` that names the field. */
export function base64In(value: unknown, field: string): Buffer {
  if (value === undefined || value === null) return Buffer.alloc(0)
  if (typeof value !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(value)) throw invalid(field, 'expected base64')
  return Buffer.from(value, 'base64')
}
