// What the bridge of Zigbee2MQTT tells of its devices, kept for their states: units and endpoints of properties, names of groups, whether
// attributes have topics of their own.
import { invalid } from '../../../packages/core/failure.ts'
import { GROUP, type Memory } from './format.ts'
import { type Fields, isObject } from './text.ts'

export type Definition = {
  readonly units: Readonly<Record<string, string>>
  /** `state_l1` → `state` of `l1`. */
  readonly endpoints: Readonly<Record<string, readonly [property: string, endpoint: string]>>
  readonly known: Readonly<Record<string, true>>
}

/** With the name of the device. */
const DEVICE = `device${GROUP}`

/** A coordinator can have some hundred; each has some dozen properties. */
const MAX_DEVICES = 1000
const MAX_PROPERTIES = 200
const MAX_CHARS = 64

export function definitionOf(name: string, memory: Memory): Definition | undefined {
  return memory.get(DEVICE + name) as Definition | undefined
}

/** `bridge/devices`: those that are no longer in it are forgotten. @throws Failure `invalid`. */
export function learnDevices(list: unknown, memory: Memory): void {
  if (!Array.isArray(list)) throw invalid('payload', 'expected the list of devices')
  const kept = new Set<string>()
  for (const device of list.slice(0, MAX_DEVICES)) {
    const name = isObject(device) ? nameOf(device['friendly_name']) : undefined
    if (name === undefined) continue
    const definition = (device as Fields)['definition']
    remember(DEVICE + name, isObject(definition) ? definitionIn(definition['exposes']) : undefined, memory)
    kept.add(DEVICE + name)
  }
  for (const [key] of memory.entries(DEVICE)) if (!kept.has(key)) memory.set(key, undefined)
}

/** `bridge/groups`: what is said of a group is said of its members as well. @throws Failure `invalid`. */
export function learnGroups(list: unknown, memory: Memory): void {
  if (!Array.isArray(list)) throw invalid('payload', 'expected the list of groups')
  const names = list.slice(0, MAX_DEVICES).flatMap(group => nameOf(isObject(group) ? group['friendly_name'] : undefined) ?? [])
  remember('groups', Object.fromEntries(names.map(name => [name, true])), memory)
}

/** `bridge/info` has the configuration. */
export function learnOutput(info: unknown, memory: Memory): void {
  const config = isObject(info) ? info['config'] : undefined
  const advanced = isObject(config) ? config['advanced'] : undefined
  const output = isObject(advanced) ? advanced['output'] : undefined
  if (output === 'json' || output === 'attribute' || output === 'attribute_and_json') remember('output', output, memory)
}

/** As the bridge said; else attributes, until the first JSON. */
export function outputOf(memory: Memory): string {
  const output = memory.get('output')
  return typeof output === 'string' ? output : 'attribute'
}

export function seenJson(memory: Memory): void {
  if (memory.get('output') === undefined) memory.set('output', 'json')
}

/** What did not change is not written again: the bridge repeats the whole list whenever a device joins. */
function remember(key: string, value: unknown, memory: Memory): void {
  const before = memory.get(key)
  if (before === undefined ? value !== undefined : JSON.stringify(before) !== JSON.stringify(value)) memory.set(key, value)
}

function nameOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && value.length <= 256 ? value : undefined
}

function definitionIn(exposes: unknown): Definition {
  const found = {
    units: new Map<string, string>(),
    endpoints: new Map<string, readonly [string, string]>(),
    known: new Map<string, true>(),
  }
  for (const expose of leavesOf(exposes, 0)) {
    const { property, name, unit, endpoint } = expose
    if (typeof property !== 'string' || property.length > MAX_CHARS || found.known.size === MAX_PROPERTIES) continue
    found.known.set(property, true)
    if (typeof unit === 'string' && unit !== '' && unit.length <= MAX_CHARS) found.units.set(property, unit)
    if (typeof endpoint !== 'string' || !property.endsWith(`_${endpoint}`) || endpoint.length > MAX_CHARS) continue
    const short = property.slice(0, -endpoint.length - 1)
    found.endpoints.set(property, [typeof name === 'string' && name.length <= MAX_CHARS && name !== '' ? name : short, endpoint])
  }
  return {
    units: Object.fromEntries(found.units),
    endpoints: Object.fromEntries(found.endpoints),
    known: Object.fromEntries(found.known),
  }
}

/** A light, switch, cover … has no property and holds those that have; a composite is one property with parts. */
function leavesOf(exposes: unknown, depth: number): Fields[] {
  if (!Array.isArray(exposes) || depth > 3) return []
  return exposes.slice(0, MAX_PROPERTIES).flatMap(expose => {
    if (!isObject(expose)) return []
    if (expose['property'] !== undefined) return [expose]
    return leavesOf(expose['features'], depth + 1)
  })
}
