// Shelly devices. The second generation and later: notifications of their RPC on `{id}/events/rpc`, components on `{id}/status/{component}`
// (shelly-api-docs.shelly.cloud, Gen2+). The first: shelly1.ts. Channel 0 is the device, others are devices beside it: `{id}:1`.
import { Type } from 'typebox'
import type { Clock } from './event.ts'
import type { Format, Memory, Output, Payload } from './format.ts'
import { availability, channelOf, deviceOf, reported } from './measure.ts'
import { Parts } from './part.ts'
import { firstGeneration } from './shelly1.ts'
import { blu } from './shellyblu.ts'
import { type Fields, isObject, isScalar, objectOf, textOf } from './text.ts'
import { eventTime } from './time.ts'

const NOTHING: Output = { decoded: [] }
const COMPONENT = /^([a-z0-9]{1,20})(?::(\d{1,5}))?$/

export const shelly: Format = {
  name: 'shelly',
  version: 2,
  title: 'Shelly devices of all generations',
  options: Type.Object({
    temperatureUnit: Type.Union([Type.Literal('C'), Type.Literal('F')], {
      default: 'C',
      description: 'What sensors of the first generation are set to: they do not say it.',
    }),
  }),
  topics: ['shellies/#', '+/events/rpc'],
  contentTypes: [],
  claims(topic, memory) {
    const levels = topic.split('/')
    const prefix = levels.at(-1) === 'online' ? levels.slice(0, -1) : levels.at(-2) === 'status' ? levels.slice(0, -2) : []
    return prefix.length > 0 && isShelly(prefix, memory)
  },
  decode(payload, clock) {
    const { topic, bytes, memory } = payload
    const [last, before] = [topic.at(-1) ?? '', topic.at(-2)]
    if (bytes.length === 0 || topic.length < 2) return NOTHING
    if (last === 'rpc' && before === 'events') return notified(payload, clock)
    if (before === 'status' && COMPONENT.test(last)) return component(payload, clock)
    if (last === 'online' && isShelly(topic.slice(0, -1), memory)) return online(payload, clock)
    return topic[0] === 'shellies' ? firstGeneration(payload, clock) : NOTHING
  },
}

/** By default the topics of a device begin with its model and address. */
function isShelly(prefix: readonly string[], memory: Memory): boolean {
  return prefix[0] === 'shellies' || isShellyName(prefix[0]) || memory.get(`rpc/${prefix.join('/')}`) === true
}

/** Wall displays are `ShellyWallDisplay-…`. */
function isShellyName(name: unknown): name is string {
  return typeof name === 'string' && name.toLowerCase().startsWith('shelly')
}

/** @param prefix the topic of the device */
export function shellyOf(prefix: readonly string[]): string {
  const at = prefix.findIndex((level, i) => level !== 'shellies' || i === prefix.length - 1)
  return deviceOf(prefix.slice(Math.max(at, 0)).join('/'))
}

function online({ topic, bytes, place }: Payload, clock: Clock): Output {
  const text = textOf(bytes)
  if (text !== 'true' && text !== 'false') return NOTHING
  const report = { device: shellyOf(topic.slice(0, -1)), measures: [], more: [availability(text === 'true')] }
  return { decoded: reported(report, place.project, clock, text) }
}

/** Devices are set to publish either these or notifications; with both, the notifications count, which say their time. */
function component({ topic, bytes, memory, place }: Payload, clock: Clock): Output {
  const prefix = topic.slice(0, -2)
  if (!isShelly(prefix, memory) || memory.get(`rpc/${prefix.join('/')}`) === true) return NOTHING
  const text = textOf(bytes)
  if (!text.startsWith('{')) return NOTHING
  const parts = new Parts()
  read(parts, { device: shellyOf(prefix), model: prefix.at(-1) ?? '' }, topic.at(-1) as string, objectOf(text))
  return { decoded: parts.reported(undefined, place.project, clock, text) }
}

function notified({ topic, bytes, memory, place }: Payload, clock: Clock): Output {
  const text = textOf(bytes)
  if (!text.startsWith('{')) return NOTHING
  const { src, method, params } = objectOf(text)
  if (!isShellyName(src) || typeof method !== 'string' || !isObject(params)) return NOTHING
  const prefix = topic.slice(0, -2)
  const device = shellyOf(prefix)
  const parts = new Parts()
  if (method === 'NotifyEvent') return { decoded: events(device, params, memory).flatMap(part => part(place.project, clock, text)) }
  if (method !== 'NotifyStatus' && method !== 'NotifyFullStatus') return NOTHING
  if (memory.get(`rpc/${prefix.join('/')}`) !== true) memory.set(`rpc/${prefix.join('/')}`, true)
  for (const [name, fields] of Object.entries(params)) if (isObject(fields)) read(parts, { device, model: src }, name, fields)
  return { decoded: parts.reported(timeOf(params['ts']), place.project, clock, text) }
}

/** Before it has asked for the time, a device counts from its start. */
const EARLIEST_S = 1_000_000_000

function timeOf(ts: unknown): number | undefined {
  return typeof ts === 'number' && ts > EARLIEST_S ? eventTime(ts, 'params.ts') : undefined
}

type Reporting = (project: string, clock: Clock, text: string) => ReturnType<Parts['reported']>

function events(device: string, params: Fields, memory: Memory): Reporting[] {
  const list = Array.isArray(params['events']) ? params['events'].slice(0, 100) : []
  return list.flatMap(event => {
    if (!isObject(event)) return []
    const parts = new Parts()
    happened(parts, device, event, memory)
    return [(project: string, clock: Clock, text: string) => parts.reported(timeOf(event['ts'] ?? params['ts']), project, clock, text)]
  })
}

/** Settings that changed are events too. */
const PRESS = /^(?:\w{1,20}_push|btn_down|btn_up|hold\w{0,20}|rotate_\w{1,20})$/

function happened(parts: Parts, device: string, { component: name, event, data }: Fields, memory: Memory): void {
  if (typeof name !== 'string' || typeof event !== 'string') return
  // The script that Shelly offers for its Bluetooth devices.
  if (event === 'shelly-blu' && isObject(data) && typeof data['address'] === 'string') blu(parts, data['address'], data, memory)
  const [, kind, id] = COMPONENT.exec(name) ?? []
  const isButton = kind === 'input' || kind === 'bthomedevice' || kind === 'bthomesensor'
  if (isButton && PRESS.test(event))
    parts.measure(channelOf(device, `${kind}${id ?? ''}`), { name: 'action', value: event.replace(/_push$/, '') })
}

/** Of any component that measures: name here, in the vocabulary, unit. */
const MEASURES: ReadonlyMap<string, readonly [name: string, unit?: string]> = new Map([
  ['apower', ['power']],
  ['act_power', ['power']],
  ['aprt_power', ['apparentPower']],
  ['voltage', ['voltage']],
  ['current', ['current']],
  ['freq', ['frequency']],
  ['pf', ['powerFactor']],
  ['total_act_power', ['power']],
  ['total_aprt_power', ['apparentPower']],
  ['total_current', ['current']],
  ['total_act_energy', ['energy', 'Wh']],
  ['total_act_ret_energy', ['energyReturned', 'Wh']],
  ['total_act', ['energy', 'Wh']],
  ['total_act_ret', ['energyReturned', 'Wh']],
  ['rh', ['humidity']],
  ['lux', ['illuminance']],
  ['current_pos', ['position']],
])

const METERS: ReadonlySet<string> = new Set(
  'switch light cover rgb rgbw cct pm1 em em1 emdata em1data voltmeter humidity illuminance'.split(' '),
)
const ALARMS: ReadonlySet<string> = new Set(['smoke', 'flood', 'presence', 'motion'])

/** Of what measures energy the thermometer is that of its own electronics. */
const ENERGY_METER = /^shelly(?:pro)?\d?em/i

/** `model`: what it calls itself, `shellypro3em-…`. */
type Source = { readonly device: string; readonly model: string }

function read(parts: Parts, { device, model }: Source, name: string, fields: Fields): void {
  const [, kind = '', id = '0'] = COMPONENT.exec(name) ?? []
  const own = id === '0' ? device : channelOf(device, id)
  if (METERS.has(kind)) meter(parts, own, fields)
  else if (kind === 'temperature')
    parts.put(own, id === '0' && ENERGY_METER.test(model) ? 'deviceTemperature' : 'temperature', fields['tC'])
  else if (kind === 'input') input(parts, channelOf(device, `input${id}`), fields)
  else if (kind === 'devicepower') battery(parts, own, fields['battery'])
  else if (ALARMS.has(kind)) parts.put(own, kind, fields['alarm'] ?? fields['motion'] ?? fields['presence'])
  // 0 while it is not connected.
  else if (kind === 'wifi') parts.put(device, 'rssi', fields['rssi'] === 0 ? undefined : fields['rssi'])
  else if (kind === 'thermostat' || kind === 'blutrv') valve(parts, channelOf(device, `${kind}${id}`), fields)
  else if (kind === 'sys') parts.put(device, 'uptime', fields['uptime'])
  else if (kind === 'bthomesensor' && isScalar(fields['value']))
    parts.measure(channelOf(device, `${kind}${id}`), { name: 'value', value: fields['value'] })
  else if (kind === 'bthomedevice')
    for (const field of ['rssi', 'battery']) parts.put(channelOf(device, `${kind}${id}`), field, fields[field])
}

/** What a thermostat or a valve on a radiator measures, and what it is set to. */
function valve(parts: Parts, device: string, { current_C: degrees, pos, output, battery: percent, rssi, target_C: target }: Fields): void {
  parts.put(device, 'temperature', degrees)
  parts.put(device, 'position', pos)
  if (typeof output === 'boolean') parts.put(device, 'switch', output)
  parts.put(device, 'battery', percent)
  parts.put(device, 'rssi', rssi === 0 ? undefined : rssi)
  if (typeof target === 'number') parts.rest(device, 'target_C', target)
}

/** Meters of three phases say `a_voltage`, and of the neutral `n_current`. */
const PHASE = /^([abcn])_(.+)$/

function meter(parts: Parts, device: string, fields: Fields): void {
  for (const [key, value] of Object.entries(fields)) {
    const [, phase, rest] = PHASE.exec(key) ?? []
    const measure = MEASURES.get(rest ?? key)
    if (measure && isScalar(value)) parts.put(phase === undefined ? device : channelOf(device, phase), measure[0], value, measure[1])
    else if (key === 'output' && typeof value === 'boolean') parts.put(device, 'switch', value)
    else if (key === 'brightness' || (key === 'state' && typeof value === 'string')) parts.rest(device, key, value)
  }
  parts.put(device, 'energy', within(fields['aenergy'], 'total'), 'Wh')
  parts.put(device, 'energyReturned', within(fields['ret_aenergy'], 'total'), 'Wh')
  parts.put(device, 'deviceTemperature', within(fields['temperature'], 'tC'))
}

function within(value: unknown, field: string): unknown {
  return isObject(value) && typeof value[field] === 'number' ? value[field] : undefined
}

function input(parts: Parts, device: string, { state, percent, counts }: Fields): void {
  if (typeof state === 'boolean') parts.put(device, 'switch', state)
  if (typeof percent === 'number') parts.rest(device, 'percent', percent)
  const total = within(counts, 'total')
  if (total !== undefined) parts.rest(device, 'total', total)
}

function battery(parts: Parts, device: string, fields: unknown): void {
  parts.put(device, 'battery', within(fields, 'percent'))
  parts.put(device, 'batteryVoltage', within(fields, 'V'))
}
