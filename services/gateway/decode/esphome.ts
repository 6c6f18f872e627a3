// ESPHome nodes: `{node}/sensor/{name}/state` and the like, one bare value each (esphome.io, MQTT client component). Nodes announce their
// units for Home Assistant, and are decoded by that alone; this format is for nodes that announce nothing.
import { Type } from 'typebox'
import type { Format, Output } from './format.ts'
import { availability, channelOf, deviceOf, isKnown } from './measure.ts'
import { Parts } from './part.ts'
import { airPressureUnit } from './quantity.ts'
import { ABSENT, isObject, isScalar, objectOf, scalarOf, textOf } from './text.ts'

const NOTHING: Output = { decoded: [] }
const SENSORS: ReadonlySet<string> = new Set(['sensor', 'text_sensor', 'number', 'select', 'text'])
const SWITCHES: ReadonlySet<string> = new Set(['switch', 'light', 'fan', 'output'])
const OTHERS: ReadonlySet<string> = new Set(['binary_sensor', 'lock', 'cover', 'valve', 'climate', 'event', 'alarm_control_panel'])
/** Those with more states than one: `cover/blind/position/state`. */
const MANIFOLD: ReadonlySet<string> = new Set(['cover', 'valve', 'climate', 'fan'])

export const esphome: Format = {
  name: 'esphome',
  version: 2,
  title: 'ESPHome nodes without discovery',
  options: Type.Object({
    units: Type.Record(Type.String(), Type.String({ maxLength: 32 }), {
      default: {},
      description: 'Of sensors by their names in the topic, `{"supply": "mV"}`: the states are bare numbers.',
    }),
    names: Type.Record(Type.String(), Type.String({ maxLength: 64 }), {
      default: {},
      description: 'What sensors measure, by their names in the topic: `{"living_room_temperature": "temperature"}`.',
    }),
  }),
  topics: [],
  contentTypes: [],
  decode({ topic, bytes, options, place }, clock) {
    const last = topic.at(-1)
    if (bytes.length === 0 || topic.length < 2) return NOTHING
    const text = textOf(bytes)
    const parts = new Parts()
    if (last === 'status') online(parts, deviceOf(topic.slice(0, -1).join('/')), text)
    else if (last === 'state') {
      const entity = entityOf(topic)
      if (entity) state(parts, entity, text, { units: options['units'] as Texts, names: options['names'] as Texts })
    }
    return { decoded: parts.reported(undefined, place.project, clock, text) }
  },
}

type Texts = Readonly<Record<string, string>>
type Known = { readonly units: Texts; readonly names: Texts }

function online(parts: Parts, device: string, text: string): void {
  if (text === 'online' || text === 'offline') parts.event(device, availability(text === 'online'))
}

/** `aspect`: which of its states, where it has some. */
type Entity = { readonly node: string; readonly kind: string; readonly name: string; readonly aspect: string }

function entityOf(topic: readonly string[]): Entity | undefined {
  const [kind = '', name = '', aspect = ''] = topic.slice(-4)
  if (topic.length > 4 && MANIFOLD.has(kind)) return { node: deviceOf(topic.slice(0, -4).join('/')), kind, name, aspect }
  const [own = '', only = ''] = topic.slice(-3)
  const isKind = SENSORS.has(own) || SWITCHES.has(own) || OTHERS.has(own)
  return topic.length > 3 && isKind ? { node: deviceOf(topic.slice(0, -3).join('/')), kind: own, name: only, aspect: '' } : undefined
}

function state(parts: Parts, { node, kind, name, aspect }: Entity, text: string, known: Known): void {
  const value = scalarOf(text)
  if (typeof value === 'string' && ABSENT.has(value.toLowerCase())) return
  const own = Object.hasOwn(known.names, name) ? (known.names[name] as string) : name
  const device = channelOf(node, name)
  if (SENSORS.has(kind)) parts.measure(node, { name: own, value, unit: unitOf(name, own, value, known) })
  else if (kind === 'binary_sensor') binary(parts, node, own, value)
  else if (aspect !== '') parts.put(device, MEASURED.get(aspect) ?? aspect, value)
  else if (kind === 'event') event(parts, device, text)
  else if (kind === 'lock') parts.put(device, 'lock', text)
  else if (SWITCHES.has(kind)) switched(parts, device, text)
  else parts.rest(device, 'state', text)
}

/** Bare numbers; a pressure is in hPa, as its sensors have it. */
function unitOf(name: string, own: string, value: unknown, { units }: Known): string | undefined {
  if (typeof value !== 'number') return undefined
  return Object.hasOwn(units, name) ? units[name] : airPressureUnit(own, value)
}

function binary(parts: Parts, device: string, name: string, value: unknown): void {
  if (value !== 'ON' && value !== 'OFF') return
  const isOn = value === 'ON'
  parts.measure(device, isKnown({ name, value: isOn }) ? { name, value: isOn } : { name, value })
}

/** What a thermostat measures, beside what it is set to. */
const MEASURED: ReadonlyMap<string, string> = new Map([
  ['current_temperature', 'temperature'],
  ['current_humidity', 'humidity'],
])

function event(parts: Parts, device: string, text: string): void {
  const { event_type: type } = objectOf(text)
  if (typeof type === 'string' && type !== '') parts.measure(device, { name: 'action', value: type })
}

/** A light says more than that it is on. */
function switched(parts: Parts, device: string, text: string): void {
  const { state: on, ...rest } = text.startsWith('{') ? objectOf(text) : { state: text }
  parts.put(device, 'switch', on)
  for (const [key, value] of Object.entries(rest)) if (isScalar(value) || isObject(value)) parts.rest(device, key, value)
}
