// Cayenne Low Power Payload: channel, type and value, one behind the other, in as few bytes as LoRa has. Also what the codecs of The Things
// Stack and ChirpStack make of it, by their names. The extended types are those of the IPSO registry (type = object id - 3200).
import { Type } from 'typebox'
import { mainField } from '../../../packages/core/event.ts'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { type Clock, checkedEvent, type Decoded, decodedFrom, type Place } from './event.ts'
import type { Format } from './format.ts'
import { channelOf, type Measure, type Measured, measured } from './measure.ts'

/** Numbers of several axes, or of one. */
type Value = number | boolean | Readonly<Record<string, number>>

/** One value on one channel. */
export type Channel = { readonly channel: number; readonly kind: Kind; readonly value: Value }

type Kind = {
  readonly type: number
  /** Event type where it has axes, else the name of what is measured. */
  readonly name: string
  readonly unit: string | undefined
  readonly parts: readonly Part[]
  /** What The Things Stack and ChirpStack call it, or have called it. */
  readonly ttn: string
  readonly chirpstack: string
}
/** Big-endian; `per` of the raw number are 1. */
type Part = { readonly axis: string; readonly bytes: number; readonly signed: boolean; readonly per: number }

const one = (bytes: number, per = 1, signed = false): readonly Part[] => [{ axis: '', bytes, signed, per }]
const axes = (names: string, bytes: number, per: number, signed = true): readonly Part[] =>
  names.split(' ').map(axis => ({ axis, bytes, signed, per }))

const PLACE: readonly Part[] = [...axes('latitude longitude', 3, 10_000), ...axes('altitude', 3, 100)]

const KINDS: readonly Kind[] = (
  [
    [0, 'digitalInput', undefined, one(1), 'digital_in', 'digitalInput'],
    [1, 'digitalOutput', undefined, one(1), 'digital_out', 'digitalOutput'],
    [2, 'analogInput', undefined, one(2, 100, true), 'analog_in', 'analogInput'],
    [3, 'analogOutput', undefined, one(2, 100, true), 'analog_out', 'analogOutput'],
    [100, 'genericSensor', undefined, one(4), 'generic', 'genericSensor'],
    [101, 'illuminance', 'lx', one(2), 'luminosity', 'illuminanceSensor'],
    [102, 'presence', undefined, one(1), 'presence', 'presenceSensor'],
    [103, 'temperature', '°C', one(2, 10, true), 'temperature', 'temperatureSensor'],
    [104, 'humidity', '%', one(1, 2), 'relative_humidity', 'humiditySensor'],
    [113, 'acceleration', 'gₙ', axes('x y z', 2, 1000), 'accelerometer', 'accelerometer'],
    [115, 'pressure', 'hPa', one(2, 10), 'barometric_pressure', 'barometer'],
    [116, 'voltage', 'V', one(2, 100), 'voltage', 'voltage'],
    [117, 'current', 'A', one(2, 1000), 'current', 'current'],
    [118, 'frequency', 'Hz', one(4), 'frequency', 'frequency'],
    [120, 'percentage', '%', one(1), 'percentage', 'percentage'],
    [121, 'altitude', 'm', one(2, 1, true), 'altitude', 'altitude'],
    [125, 'concentration', 'ppm', one(2), 'concentration', 'concentration'],
    [128, 'power', 'W', one(2), 'power', 'power'],
    [130, 'distance', 'm', one(4, 1000), 'distance', 'distance'],
    [131, 'energy', 'kWh', one(4, 1000), 'energy', 'energy'],
    [132, 'heading', '°', one(2), 'direction', 'direction'],
    [133, 'unixTime', undefined, one(4), 'unixtime unix_time', 'unix_time unixTime'],
    [134, 'angularVelocity', '°/s', axes('x y z', 2, 100), 'gyrometer', 'gyrometer'],
    [135, 'color', undefined, axes('red green blue', 1, 1, false), 'colour color', 'color colour'],
    [136, 'location', undefined, PLACE, 'gps', 'gpsLocation'],
    [142, 'switch', undefined, one(1), 'switch', 'switch'],
  ] as const
).map(([type, name, unit, parts, ttn, chirpstack]) => ({ type, name, unit, parts, ttn, chirpstack }))

const BY_TYPE: ReadonlyMap<number, Kind> = new Map(KINDS.map(kind => [kind.type, kind]))
const BY_TTN: ReadonlyMap<string, Kind> = new Map(KINDS.flatMap(kind => kind.ttn.split(' ').map(name => [name, kind])))
const BY_CHIRPSTACK: ReadonlyMap<string, Kind> = new Map(KINDS.flatMap(kind => kind.chirpstack.split(' ').map(name => [name, kind])))
/** Yes or no, where 0 is no. */
const STATES: ReadonlySet<string> = new Set(['presence', 'switch'])

export const cayenne: Format = {
  name: 'cayenne',
  version: 2,
  title: 'Cayenne LPP: values of LoRa devices in few bytes',
  options: Type.Object(
    {
      channels: Type.Optional(
        Type.Union([Type.Literal('fields'), Type.Literal('devices')], {
          default: 'devices',
          description:
            'devices: each channel is a device of its own, `device:3`; fields: the channels of one type stand in one event, for payloads that always have the same channels',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  topics: [],
  contentTypes: [],
  decode: ({ bytes, place, options }, clock) => ({ decoded: decodeCayenne(bytes, options['channels'] !== 'fields', place, clock) }),
}

function decodeCayenne(bytes: Buffer, apart: boolean, place: Place, clock: Clock): Decoded[] {
  const device = place.device ?? place.elseDevice
  if (device === undefined)
    throw invalid('device', 'missing: Cayenne LPP does not say it; set `device` in the mapping, such as "{2}" for the second level')
  const channels = readCayenne(bytes)
  const { timeUs, groups } = apart ? eachChannel(channels) : together(channels)
  return groups.flatMap(({ channel, events }) => {
    const whose = channel === undefined ? device : channelOf(device, channel)
    return events.map(event => decodedFrom(() => checkedEvent({ device: whose, timeUs, ...event }, place.project, clock), bytes))
  })
}

type Grouped = {
  readonly timeUs: number | undefined
  readonly groups: readonly { readonly channel: string | undefined; readonly events: readonly Measured[] }[]
}

/** The events of each channel, at the time that any of them says. The second of a kind on one channel is `3:2`. */
export function eachChannel(channels: readonly Channel[]): Grouped {
  const { timeUs } = channelEvents(channels)
  const counts = new Map<string, number>()
  const keyOf = ({ channel, kind }: Channel) => {
    const count = (counts.get(`${channel} ${kind.type}`) ?? 0) + 1
    counts.set(`${channel} ${kind.type}`, count)
    return count === 1 ? String(channel) : `${channel}:${count}`
  }
  const groups = [...grouped(channels, keyOf)].map(([channel, group]) => ({ channel, events: channelEvents(group).events }))
  return { timeUs, groups }
}

function together(channels: readonly Channel[]): Grouped {
  const { timeUs, events } = channelEvents(channels)
  return { timeUs, groups: [{ channel: undefined, events }] }
}

/** LoRa has 242 bytes. */
const MAX_CHANNELS = 256

/** @throws Failure `invalid` for an unknown type, and where it breaks off: behind either nothing can be read. */
export function readCayenne(bytes: Buffer): Channel[] {
  const channels: Channel[] = []
  let at = 0
  while (at < bytes.length) {
    const kind = BY_TYPE.get(bytes[at + 1] ?? -1)
    if (!kind) throw unknownType(bytes, at)
    const end = at + 2 + kind.parts.reduce((sum, part) => sum + part.bytes, 0)
    if (end > bytes.length)
      throw invalid('payload', `Cayenne LPP: ${kind.name} on channel ${bytes[at]} breaks off: ${end - bytes.length} bytes are missing`)
    if (channels.length === MAX_CHANNELS) throw new Failure('too_large', `payload: at most ${MAX_CHANNELS} channels`, { field: 'payload' })
    channels.push({ channel: bytes[at] as number, kind, value: valueAt(bytes, at + 2, kind) })
    at = end
  }
  if (channels.length === 0) throw invalid('payload', 'Cayenne LPP: expected at least one channel, got no bytes')
  return channels
}

function unknownType(bytes: Buffer, at: number): Failure {
  if (at + 1 >= bytes.length) return invalid('payload', `Cayenne LPP: channel ${bytes[at]} has no type: the payload breaks off`)
  return invalid('payload', `Cayenne LPP: type ${bytes[at + 1]} at byte ${at + 1} is unknown; valid: ${[...BY_TYPE.keys()].join(', ')}`)
}

function valueAt(bytes: Buffer, start: number, { parts, name }: Kind): Value {
  let at = start
  const numbers = parts.map(({ axis, bytes: length, signed, per }) => {
    const raw = signed ? bytes.readIntBE(at, length) : bytes.readUIntBE(at, length)
    at += length
    return [axis, raw / per] as const
  })
  const [only] = numbers
  if (only?.[0] !== '') return Object.fromEntries(numbers)
  return STATES.has(name) ? only[1] !== 0 : only[1]
}

/** What the codecs of network servers made of it: `temperature_1` (The Things Stack), or `temperatureSensor: {"1": …}` (ChirpStack). Undefined: of another codec. */
export function channelsIn(decoded: Readonly<Record<string, unknown>>): Channel[] | undefined {
  const channels: Channel[] = []
  for (const [key, value] of Object.entries(decoded)) {
    const found = numbered(key, value) ?? keyed(key, value)
    if (!found) return undefined
    channels.push(...found)
  }
  return channels.length === 0 ? undefined : channels
}

const NUMBERED = /^([a-z_]{1,20})_(\d{1,3})$/

function numbered(key: string, value: unknown): Channel[] | undefined {
  const [, name = '', channel] = NUMBERED.exec(key) ?? []
  return channelOfKind(BY_TTN.get(name), Number(channel), value)
}

function keyed(key: string, values: unknown): Channel[] | undefined {
  const kind = BY_CHIRPSTACK.get(key)
  if (!kind || typeof values !== 'object' || values === null) return undefined
  const found = Object.entries(values).map(([channel, value]) =>
    /^\d{1,3}$/.test(channel) ? channelOfKind(kind, Number(channel), value) : undefined,
  )
  return found.includes(undefined) || found.length === 0 ? undefined : found.flatMap(channel => channel ?? [])
}

function channelOfKind(kind: Kind | undefined, channel: number, value: unknown): Channel[] | undefined {
  if (!kind) return undefined
  const hasAxes = kind.parts[0]?.axis !== ''
  if (!hasAxes && (typeof value === 'number' || typeof value === 'boolean'))
    return [{ channel, kind, value: STATES.has(kind.name) ? value !== 0 && value !== false : Number(value) }]
  if (!hasAxes || typeof value !== 'object' || value === null) return undefined
  const given = value as Record<string, unknown>
  const axis = kind.parts.map(
    part => [part.axis, given[part.axis] ?? (kind.name === 'color' ? given[part.axis.slice(0, 1)] : undefined)] as const,
  )
  return axis.every(([, number]) => typeof number === 'number')
    ? [{ channel, kind, value: Object.fromEntries(axis) as Record<string, number> }]
    : undefined
}

/**
 * One event of each type: the first channel of a type is its value, and where there are several all stand in `channels` by their numbers. Of
 * a single one the number stands in `channel`, as text, so that it is no reading.
 */
export function channelEvents(channels: readonly Channel[]): { readonly timeUs: number | undefined; readonly events: readonly Measured[] } {
  const time = channels.find(({ kind }) => kind.name === 'unixTime')?.value
  const kinds = grouped(
    channels.filter(({ kind }) => kind.name !== 'unixTime'),
    ({ kind }) => kind,
  )
  const firsts = [...kinds.values()].map(([first]) => first as Channel)
  const events = [...measured(firsts.flatMap(measureOf)), ...firsts.flatMap(vectorOf)]
  return { timeUs: typeof time === 'number' ? time * 1_000_000 : undefined, events: events.map(event => withChannels(event, kinds)) }
}

function measureOf({ kind: { name, unit }, value }: Channel): Measure[] {
  return typeof value === 'object' ? [] : [{ name, value, unit }]
}

function vectorOf({ kind: { name, unit }, value }: Channel): Measured[] {
  return typeof value === 'object' ? [{ eventType: name, data: { [name]: unit === undefined ? value : { ...value, unit } } }] : []
}

function withChannels({ eventType, data }: Measured, kinds: ReadonlyMap<Kind, readonly Channel[]>): Measured {
  const all =
    [...kinds.values()].find(([first]) => first && typeOf(first) === (eventType === 'humidity' ? 'relativeHumidity' : eventType)) ?? []
  const fields = data[eventType] as Record<string, unknown>
  const [first, ...others] = all
  if (!first) return { eventType, data }
  const more =
    others.length === 0
      ? { channel: String(first.channel) }
      : { channels: Object.fromEntries(all.map(one => [one.channel, standard(one)])) }
  return { eventType, data: { [eventType]: { ...fields, ...more } } }
}

function alone(channel: Channel): Measured {
  return (measured(measureOf(channel))[0] ?? vectorOf(channel)[0]) as Measured
}

function typeOf(channel: Channel): string {
  return alone(channel).eventType
}

/** In the unit that the event has. */
function standard(channel: Channel): unknown {
  if (typeof channel.value === 'object') return channel.value
  const { eventType, data } = alone(channel)
  return (data[eventType] as Record<string, unknown>)[mainField(eventType)]
}

function grouped<Key>(channels: readonly Channel[], keyOf: (channel: Channel) => Key): Map<Key, Channel[]> {
  const groups = new Map<Key, Channel[]>()
  for (const channel of channels) {
    const key = keyOf(channel)
    const group = groups.get(key)
    if (group) group.push(channel)
    else groups.set(key, [channel])
  }
  return groups
}
