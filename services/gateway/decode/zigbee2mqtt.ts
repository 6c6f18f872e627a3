// Zigbee2MQTT: `zigbee2mqtt/{friendly_name}` with the state of a device as JSON, `/availability` beside it, and `bridge/devices`, which tells
// the units and endpoints of what devices send (zigbee2mqtt.io, MQTT topics and messages; Exposes).
import { Type } from 'typebox'
import type { Clock, Decoded } from './event.ts'
import type { Format, Memory, Output, Payload } from './format.ts'
import { availability, channelOf, deviceOf, isKnown, type Measure, type Report, reported } from './measure.ts'
import { readValue } from './quantity.ts'
import { type Fields, isObject, isScalar, jsonOf, objectOf, scalarOf, textOf } from './text.ts'
import { eventTime } from './time.ts'
import { type Definition, definitionOf, learnDevices, learnGroups, learnOutput, outputOf, seenJson } from './zigbee2mqttbridge.ts'

const NOTHING: Output = { decoded: [] }

export const zigbee2mqtt: Format = {
  name: 'zigbee2mqtt',
  version: 2,
  title: 'Zigbee2MQTT: states of devices as JSON, or one topic per attribute',
  options: Type.Object({
    baseTopic: Type.String({ default: 'zigbee2mqtt', description: 'As `mqtt.base_topic` of Zigbee2MQTT; may have several levels.' }),
  }),
  topics: ['zigbee2mqtt/#'],
  contentTypes: [],
  decode(payload, clock) {
    const base = (payload.options['baseTopic'] as string).split('/')
    if (!base.every((level, i) => payload.topic[i] === level)) return NOTHING
    const levels = payload.topic.slice(base.length)
    if (levels[0] === 'bridge') return learn(levels.slice(1).join('/'), payload)
    return ofDevice(levels, payload, clock)
  },
}

function learn(topic: string, { bytes, memory }: Payload): Output {
  if (topic === 'devices') learnDevices(jsonOf(textOf(bytes)), memory)
  else if (topic === 'groups') learnGroups(jsonOf(textOf(bytes)), memory)
  else if (topic === 'info') learnOutput(jsonOf(textOf(bytes)), memory)
  return NOTHING
}

function ofDevice(levels: readonly string[], { bytes, memory, place }: Payload, clock: Clock): Output {
  const last = levels.at(-1)
  const isCommand = levels.slice(1).some((level, i) => (level === 'set' || level === 'get') && i >= levels.length - 3)
  if (levels.length === 0 || last === '' || isCommand || bytes.length === 0) return NOTHING
  const text = textOf(bytes)
  if (last === 'availability' && levels.length > 1) {
    if (isGroup(levels.slice(0, -1).join('/'), memory)) return NOTHING
    const report = online(levels.slice(0, -1).join('/'), text)
    return report ? { decoded: reported(report, place.project, clock, text) } : NOTHING
  }
  if (isAttribute(levels, text, memory)) return { decoded: attribute(levels, text, memory, place.project, clock) }
  const name = levels.join('/')
  if (isGroup(name, memory)) return NOTHING
  seenJson(memory)
  return { decoded: states(name, objectOf(text), memory).flatMap(report => reported(report, place.project, clock, text)) }
}

function online(name: string, text: string): Report | undefined {
  // `online`, or with `legacy_availability_payload: false` {"state":"online"}.
  const value = text.startsWith('{') ? objectOf(text)['state'] : text
  if (value !== 'online' && value !== 'offline') return undefined
  return { device: deviceOf(name), measures: [], more: [availability(value === 'online')] }
}

function isGroup(name: string, memory: Memory): boolean {
  const groups = memory.get('groups')
  return isObject(groups) && Object.hasOwn(groups, name)
}

/** With `output: json` some topics repeat one attribute (`…/action`): the same would be said twice. */
function isAttribute(levels: readonly string[], text: string, memory: Memory): boolean {
  if (levels.length < 2 || text.startsWith('{')) return false
  return definitionOf(levels.join('/'), memory) === undefined
}

function attribute(levels: readonly string[], text: string, memory: Memory, project: string, clock: Clock): Decoded[] {
  if (outputOf(memory) !== 'attribute') return []
  const name = levels.slice(0, -1).join('/')
  if (isGroup(name, memory)) return []
  const value = scalarOf(text)
  if (value === '') return []
  return states(name, { [levels.at(-1) as string]: value }, memory).flatMap(report => reported(report, project, clock, text))
}

/** One report of the device, and one of each of its endpoints. */
function states(name: string, fields: Fields, memory: Memory): Report[] {
  const definition = definitionOf(name, memory)
  const timeUs = isScalar(fields['last_seen']) ? eventTime(fields['last_seen'], 'last_seen') : undefined
  const parts = new Map<string, { measures: Measure[]; rest: Record<string, unknown> }>()
  for (const [property, value] of Object.entries(fields)) {
    if (value === null || value === '' || SKIPPED.has(property)) continue
    const [field, endpoint] = own(definition?.endpoints, property) ?? split(property, definition)
    const part = parts.get(endpoint) ?? { measures: [], rest: {} }
    parts.set(endpoint, part)
    const measure = isScalar(value) ? measureOf(field, value, fields, own(definition?.units, property)) : undefined
    if (measure) part.measures.push(measure)
    else set(part.rest, field, value)
  }
  const device = deviceOf(name)
  return [...parts].map(([endpoint, part]) => ({ device: endpoint === '' ? device : channelOf(device, endpoint), timeUs, ...part }))
}

function own<T>(record: Readonly<Record<string, T>> | undefined, key: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, key) ? record[key] : undefined
}

/** Also under the name of `__proto__`, which is refused later. */
function set(rest: Record<string, unknown>, field: string, value: unknown): void {
  Object.defineProperty(rest, field, { value, enumerable: true, configurable: true, writable: true })
}

/** What Zigbee2MQTT itself knows of the device. */
const SKIPPED: ReadonlySet<string> = new Set(['last_seen', 'elapsed', 'device', 'update', 'update_available'])

/** Names of endpoints that converters give, and the second and third phase of meters. */
const ENDPOINT = /^(.+?)_((?:l|ch|phase_)?(?:\d{1,2}|[abc])|left|right|center|top|bottom|(?:top|bottom|center)_(?:left|right)|probe|usb)$/
const SPLIT: ReadonlySet<string> = new Set(
  (
    'state power voltage current energy power_factor power_apparent power_reactive energy_produced produced_energy temperature humidity contact ' +
    'occupancy brightness soil_moisture illuminance'
  ).split(' '),
)

function split(property: string, definition: Definition | undefined): readonly [field: string, endpoint: string] {
  const match = definition && Object.hasOwn(definition.known, property) && !property.includes('_phase_') ? null : ENDPOINT.exec(property)
  const [, field, endpoint] = match ?? []
  return field !== undefined && endpoint !== undefined && SPLIT.has(field) ? [field, endpoint] : [property, '']
}

/** Undefined: a setting, or something that only this device knows. */
function measureOf(field: string, value: number | string | boolean, all: Fields, unit: string | undefined): Measure | undefined {
  // Here true is a magnet that touches.
  if (field === 'contact' && typeof value === 'boolean') return { name: 'contact', value: !value }
  // Here what sees motion says `occupancy`; what sees people who sit still says `presence`.
  if (field === 'occupancy' && typeof value === 'boolean') return { name: 'motion', value }
  if (field === 'action') return { name: 'action', value }
  if (field === 'state') return stateOf(value)
  const number = readValue(field, value)
  if (typeof number === 'number') return numberOf(field, number, all, unit)
  const measure = { name: field, value }
  return isKnown(measure) ? measure : undefined
}

function stateOf(value: unknown): Measure | undefined {
  if (value === 'ON' || value === 'OFF') return { name: 'switch', value: value === 'ON' }
  if (value === 'LOCK' || value === 'UNLOCK') return { name: 'lock', value: value === 'UNLOCK' }
  return undefined
}

const UNITS: ReadonlyMap<string, string> = new Map([
  ['pressure', 'hPa'],
  ['energy', 'kWh'],
])

/** From here on it was mV: no plug in a home is at 1 kV. */
const MILLIVOLTS = 1000

function numberOf(field: string, value: number, all: Fields, told: string | undefined): Measure | undefined {
  if (field === 'voltage') {
    const unit = told ?? (value >= MILLIVOLTS || all['battery'] !== undefined ? 'mV' : 'V')
    return { name: unit === 'mV' ? 'batteryVoltage' : 'voltage', value, unit }
  }
  // Older converters send the raw value of the cluster beside it.
  if (field === 'illuminance' && all['illuminance_lux'] !== undefined) return undefined
  if (field === 'illuminance_lux') return { name: 'illuminance', value, unit: 'lx' }
  // `lqi` is what it is, and no unit.
  const measure = { name: field, value, unit: told === 'lqi' ? undefined : (told ?? UNITS.get(field)) }
  return isKnown(measure) ? measure : undefined
}
