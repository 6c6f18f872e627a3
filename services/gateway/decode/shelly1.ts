// Shelly devices of the first generation: one topic per value, `shellies/{id}/relay/0/power` (shelly-api-docs.shelly.cloud, Gen1, MQTT).
import type { Clock } from './event.ts'
import type { Memory, Output, Payload } from './format.ts'
import { channelOf, deviceOf } from './measure.ts'
import { Parts } from './part.ts'
import { isRepeat, recent, setRecent } from './recent.ts'
import { type Fields, isObject, objectOf, scalarOf, textOf } from './text.ts'
import { eventTime } from './time.ts'

const NOTHING: Output = { decoded: [] }
const KINDS: ReadonlySet<string> = new Set(
  (
    'relay emeter roller light white color input input_event sensor ext_temperature ext_humidity ext_switch adc temperature ' +
    'overtemperature voltage status info'
  ).split(' '),
)

export function firstGeneration({ topic, bytes, memory, options, place }: Payload, clock: Clock): Output {
  const levels = topic.slice(topic[1] === 'shellies' ? 2 : 1)
  const at = levels.findIndex((level, i) => i > 0 && KINDS.has(level))
  if (at < 0 || levels.at(-1) === 'command') return NOTHING
  const text = textOf(bytes)
  const device = deviceOf(levels.slice(0, at).join('/'))
  const [kind = '', index = '', field = ''] = levels.slice(at)
  const parts = new Parts()
  const unit = options['temperatureUnit'] === 'F' ? 'F' : 'C'
  if (kind === 'sensor') sensor(parts, device, index, text, unit)
  else if (kind === 'input_event') pressed(parts, device, index, text, memory)
  else if (kind === 'info' || kind === 'status') return whole(device, kind, text, place.project, clock)
  else if (text.startsWith('{')) return NOTHING
  else value(parts, device, [kind, index, field], scalarOf(text), unit)
  return { decoded: parts.reported(undefined, place.project, clock, text) }
}

/** Name in the vocabulary and unit, by what ends the topic. */
const FIELDS: ReadonlyMap<string, readonly [name: string, unit?: string]> = new Map([
  ['power', ['power']],
  ['voltage', ['voltage']],
  ['current', ['current']],
  ['pf', ['powerFactor']],
  ['reactive_power', ['reactivePower']],
  ['total', ['energy', 'Wh']],
  ['total_returned', ['energyReturned', 'Wh']],
  ['pos', ['position']],
])

type Levels = readonly [kind: string, index: string, field: string]

function value(parts: Parts, device: string, [kind, index, field]: Levels, found: number | string | boolean, unit: string): void {
  const channel = index === '' || index === '0' ? device : channelOf(device, index)
  const measure = FIELDS.get(field)
  if (kind === 'temperature' && index === '') parts.put(device, 'deviceTemperature', found)
  else if (kind === 'overtemperature' && index === '') parts.put(device, 'overheat', found === 1)
  else if (kind === 'voltage' && index === '') parts.put(device, 'voltage', found)
  else if (kind === 'input' && (found === 0 || found === 1)) parts.put(channelOf(device, `input${index}`), 'switch', found === 1)
  else if (kind.startsWith('ext_')) external(parts, channelOf(device, `ext${index}`), kind, found, unit)
  else if (kind === 'adc') parts.put(channelOf(device, `adc${index}`), 'voltage', found)
  else if (field === 'energy') counted(parts, channel, kind, found)
  else if (measure) parts.put(channel, measure[0], found, measure[1])
  else if (field === '' && (found === 'on' || found === 'off')) parts.put(channel, 'switch', found)
  else if (field === '' && kind === 'roller') parts.rest(channel, 'state', found)
}

/** Watt-minutes; of meters with a `total`, only since the last report. */
function counted(parts: Parts, channel: string, kind: string, found: number | string | boolean): void {
  if (kind === 'emeter') parts.measure(channel, { name: 'energyCounter', value: found, unit: 'Wmin' })
  else parts.put(channel, 'energy', found, 'Wmin')
}

function external(parts: Parts, device: string, kind: string, found: number | string | boolean, unit: string): void {
  if (kind === 'ext_temperature') parts.put(device, 'temperature', found, unit)
  else if (kind === 'ext_humidity') parts.put(device, 'humidity', found)
  else if (found === 0 || found === 1) parts.put(device, 'switch', found === 1)
}

const SENSOR_NAMES: ReadonlyMap<string, string> = new Map([
  ['state', 'contact'],
  ['concentration', 'gasConcentration'],
  ['charger', 'charging'],
])

function sensor(parts: Parts, device: string, name: string, text: string, unit: string): void {
  const found = text.startsWith('[') || text.startsWith('{') ? '' : scalarOf(text)
  if (name === 'temperature') parts.put(device, 'temperature', found, unit)
  else if (name === 'state') parts.put(device, 'contact', found === 'open' ? true : found === 'close' ? false : found)
  else if (name === 'gas') parts.rest(device, 'gas', found)
  else if (name === 'concentration') parts.measure(device, { name: 'gasConcentration', value: found, unit: 'ppm' })
  else if (name === 'vibration' && (found === 0 || found === 1)) parts.put(device, name, found === 1)
  else if (name !== '' && found !== '') parts.put(device, SENSOR_NAMES.get(name) ?? name, found)
}

const PRESSES: Readonly<Record<string, string>> = {
  S: 'single',
  SS: 'double',
  SSS: 'triple',
  L: 'long',
  SL: 'single_long',
  LS: 'long_single',
}

/** The last press is repeated with every report: a new one has another count. Of the very first nobody knows how old it is. */
function pressed(parts: Parts, device: string, index: string, text: string, memory: Memory): void {
  const { event, event_cnt: count } = objectOf(text)
  if (typeof event !== 'string' || typeof count !== 'number') return
  const before = recent(memory, 'press', `${device}/${index}`)
  if (isRepeat(memory, 'press', `${device}/${index}`, count)) return
  setRecent(memory, 'press', `${device}/${index}`, count)
  if (event === '' || (before === undefined && count !== 1)) return
  const action = Object.hasOwn(PRESSES, event) ? PRESSES[event] : event
  parts.measure(channelOf(device, `input${index}`), { name: 'action', value: action ?? event })
}

/** Of `info` what has no topic of its own; motion sensors and valves say everything in these two. */
function whole(device: string, kind: string, text: string, project: string, clock: Clock): Output {
  if (!text.startsWith('{')) return NOTHING
  const fields = objectOf(text)
  const parts = new Parts()
  if (kind === 'status') {
    climate(parts, device, fields)
    return { decoded: [...motion(device, fields, project, clock, text), ...parts.reported(undefined, project, clock, text)] }
  }
  const { wifi_sta: wifi, uptime, unixtime, thermostats } = fields
  const rssi = isObject(wifi) ? wifi['rssi'] : undefined
  parts.put(device, 'rssi', rssi === 0 ? undefined : rssi)
  parts.put(device, 'uptime', uptime)
  if (Array.isArray(thermostats)) valves(parts, device, thermostats, fields)
  return { decoded: parts.reported(timeOf(unixtime, 'unixtime'), project, clock, text) }
}

function timeOf(seconds: unknown, field: string): number | undefined {
  return typeof seconds === 'number' && seconds > 0 ? eventTime(seconds, field) : undefined
}

/** `timestamp` is when something last moved: the time of that, and of nothing else that is told with it. */
function motion(device: string, { motion: moves, timestamp }: Fields, project: string, clock: Clock, text: string): Output['decoded'] {
  const parts = new Parts()
  parts.put(device, 'motion', moves)
  return parts.reported(moves === true ? timeOf(timestamp, 'timestamp') : undefined, project, clock, text)
}

function climate(parts: Parts, device: string, fields: Fields): void {
  for (const name of ['vibration', 'lux'] as const) parts.put(device, name, fields[name])
  battery(parts, device, fields['bat'])
  thermostat(parts, device, fields)
}

function battery(parts: Parts, device: string, bat: unknown): void {
  parts.put(device, 'battery', isObject(bat) ? bat['value'] : bat)
  parts.put(device, 'batteryVoltage', isObject(bat) ? bat['voltage'] : undefined)
}

function thermostat(parts: Parts, device: string, { tmp, pos, target_t: target }: Fields): void {
  if (isObject(tmp) && typeof tmp['value'] === 'number') parts.put(device, 'temperature', tmp['value'], tmp['units'] === 'F' ? 'F' : 'C')
  parts.put(device, 'position', pos)
  if (isObject(target) && typeof target['value'] === 'number') parts.rest(device, 'target_t', target['value'])
}

/** Nothing of a valve has a topic of its own. */
function valves(parts: Parts, device: string, all: readonly unknown[], { bat }: Fields): void {
  for (const [i, one] of all.slice(0, 8).entries()) if (isObject(one)) thermostat(parts, i === 0 ? device : channelOf(device, i), one)
  battery(parts, device, bat)
}
