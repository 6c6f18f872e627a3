// Which sensor of a Tasmota device measures something for the device itself, where several do: the first that did so. Remembered only where two
// have measured the same, so that most devices leave nothing behind, and as long as the sensor is there or nobody else measures it.
import { GROUP, type Memory } from './format.ts'
import { known, setIfRoom } from './recent.ts'
import type { Fields } from './text.ts'

/** More quantities have no owner that is remembered. */
const MAX_OWNED = 64
/** In a row without a sensor while another one measures the same: then it was replaced. */
const MAX_ABSENT = 5

type ByQuantity = Readonly<Record<string, string>>

/**
 * Of two sensors of a kind the first is the device, and the second has its own name. A sensor that fails says null, or is not there at all.
 * @param fields of the payload. @param measured what its sensors measure, by their names. @returns the sensors that are not the device.
 */
export function besideFirst(fields: Fields, measured: ReadonlyMap<string, readonly string[]>, memory: Memory, device: string): Set<string> {
  const counts = new Map<string, number>()
  for (const names of measured.values()) for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  const key = `first${GROUP}${device}`
  const before = (known(memory, key) ?? {}) as ByQuantity
  const gone = goneOf(fields, before, counts, memory, device)
  const owners = new Map(Object.entries(before).filter(([, sensor]) => !gone.has(sensor)))
  const beside = new Set<string>()
  for (const [sensor, names] of measured) {
    if (names.some(name => (owners.get(name) ?? sensor) !== sensor)) beside.add(sensor)
    else for (const name of names) owners.set(name, sensor)
  }
  keep(
    memory,
    key,
    before,
    [...owners].filter(([name]) => Object.hasOwn(before, name) || (counts.get(name) ?? 0) > 1),
  )
  return beside
}

/** Sensors that were there, and have not been for some payloads in which others measured what they did. Only this process counts. */
function goneOf(fields: Fields, owners: ByQuantity, counts: ReadonlyMap<string, number>, memory: Memory, device: string): Set<string> {
  const key = `absent${GROUP}${device}`
  const before = (memory.noted(key) ?? {}) as Readonly<Record<string, number>>
  const absent: Record<string, number> = {}
  for (const [name, sensor] of Object.entries(owners)) {
    const times = Object.hasOwn(before, sensor) ? (before[sensor] as number) : 0
    if (Object.hasOwn(fields, sensor)) continue
    if (counts.has(name)) absent[sensor] = times + 1
    else if (times > 0) absent[sensor] ??= times
  }
  const isAny = Object.keys(absent).length > 0
  if (isAny || Object.keys(before).length > 0) memory.note(key, isAny ? absent : undefined)
  return new Set(Object.keys(absent).filter(sensor => (absent[sensor] as number) >= MAX_ABSENT))
}

function keep(memory: Memory, key: string, before: ByQuantity, owners: readonly (readonly [string, string])[]): void {
  const now = Object.fromEntries(owners.slice(0, MAX_OWNED))
  if (JSON.stringify(now) === JSON.stringify(before)) return
  if (owners.length > 0) setIfRoom(memory, key, now)
  else {
    memory.set(key, undefined)
    memory.note(key, undefined)
  }
}
