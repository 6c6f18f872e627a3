// ESPHome nodes: `{node}/sensor/{name}/state` and the like, one bare value each (esphome.io, MQTT client component). Nodes announce their
// units for Home Assistant, and are decoded by that alone; this format is for nodes that announce nothing.
import { Type } from 'typebox'
import type { Format, Output } from './format.ts'
import { availability, channelOf, deviceOf, isKnown } from './measure.ts'
import { Parts } from './part.ts'
import { isObject, isScalar, objectOf, scalarOf, textOf } from './text.ts'

const NOTHING: Output = { decoded: [] }
const SENSORS: ReadonlySet<string> = new Set(['sensor', 'text_sensor', 'number', 'select'])
const SWITCHES: ReadonlySet<string> = new Set(['switch', 'light', 'fan', 'lock', 'output'])

export const esphome: Format = {
  name: 'esphome',
  version: 1,
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
    const [kind = '', name = ''] = topic.slice(-3)
    const last = topic.at(-1)
    if (bytes.length === 0 || topic.length < 2) return NOTHING
    const text = textOf(bytes)
    const parts = new Parts()
    if (last === 'status') online(parts, deviceOf(topic.slice(0, -1).join('/')), text)
    else if (last === 'state' && topic.length > 3) {
      const known = { units: options['units'] as Texts, names: options['names'] as Texts }
      state(parts, deviceOf(topic.slice(0, -3).join('/')), kind, name, text, known)
    }
    return { decoded: parts.reported(undefined, place.project, clock, text) }
  },
}

type Texts = Readonly<Record<string, string>>
type Known = { readonly units: Texts; readonly names: Texts }

function online(parts: Parts, device: string, text: string): void {
  if (text === 'online' || text === 'offline') parts.event(device, availability(text === 'online'))
}

function state(parts: Parts, device: string, kind: string, name: string, text: string, { units, names }: Known): void {
  const value = scalarOf(text)
  const own = Object.hasOwn(names, name) ? (names[name] as string) : name
  if (value === '' || value === 'nan' || value === 'unknown') return
  if (SENSORS.has(kind)) {
    const unit = typeof value === 'number' && Object.hasOwn(units, name) ? units[name] : undefined
    parts.measure(device, { name: own, value, unit })
  } else if (kind === 'binary_sensor' && (value === 'ON' || value === 'OFF')) {
    const isOn = value === 'ON'
    parts.measure(device, isKnown({ name: own, value: isOn }) ? { name: own, value: isOn } : { name: own, value })
  } else if (SWITCHES.has(kind)) switched(parts, channelOf(device, name), text)
}

/** A light says more than that it is on. */
function switched(parts: Parts, device: string, text: string): void {
  const { state: on, ...rest } = text.startsWith('{') ? objectOf(text) : { state: text }
  parts.put(device, 'switch', on)
  for (const [key, value] of Object.entries(rest)) if (isScalar(value) || isObject(value)) parts.rest(device, key, value)
}
