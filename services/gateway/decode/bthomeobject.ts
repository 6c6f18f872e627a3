// The objects of BTHome v2 by their ids (bthome.io/format): what they are called here, how many bytes they have and what these stand for.
import type { Memory } from './format.ts'
import { channelOf } from './measure.ts'
import type { Parts } from './part.ts'
import { plainName, STATE_NAMES } from './quantity.ts'
import { isNewPacket } from './recent.ts'

/** Negative bytes: signed. */
type Row = readonly [id: number, name: string, bytes: number, factor: number, unit?: string]

const OBJECTS: ReadonlyMap<number, Row> = new Map(
  (
    [
      [0x01, 'battery', 1, 1],
      [0x02, 'temperature', -2, 0.01],
      [0x03, 'humidity', 2, 0.01],
      [0x04, 'pressure', 3, 0.01, 'hPa'],
      [0x05, 'illuminance', 3, 0.01],
      [0x06, 'mass', 2, 0.01, 'kg'],
      [0x07, 'mass', 2, 0.01, 'lb'],
      [0x08, 'dewPoint', -2, 0.01],
      [0x09, 'count', 1, 1],
      [0x0a, 'energy', 3, 0.001],
      [0x0b, 'power', 3, 0.01],
      [0x0c, 'voltage', 2, 0.001],
      [0x0d, 'pm25', 2, 1],
      [0x0e, 'pm10', 2, 1],
      [0x12, 'co2', 2, 1],
      [0x13, 'tvoc', 2, 1, 'µg/m³'],
      [0x14, 'moisture', 2, 0.01],
      [0x2e, 'humidity', 1, 1],
      [0x2f, 'moisture', 1, 1],
      [0x3d, 'count', 2, 1],
      [0x3e, 'count', 4, 1],
      [0x3f, 'rotation', -2, 0.1, '°'],
      [0x40, 'distance', 2, 1, 'mm'],
      [0x41, 'distance', 2, 0.1, 'm'],
      [0x42, 'duration', 3, 0.001, 's'],
      [0x43, 'current', 2, 0.001],
      [0x44, 'speed', 2, 0.01],
      [0x45, 'temperature', -2, 0.1],
      [0x46, 'uvIndex', 1, 0.1],
      [0x47, 'volume', 2, 0.1, 'L'],
      [0x48, 'volume', 2, 1, 'mL'],
      [0x49, 'flow', 2, 0.001],
      [0x4a, 'voltage', 2, 0.1],
      [0x4b, 'gasVolume', 3, 0.001],
      [0x4c, 'gasVolume', 4, 0.001],
      [0x4d, 'energy', 4, 0.001],
      [0x4e, 'volume', 4, 0.001, 'L'],
      [0x4f, 'waterConsumed', 4, 0.001, 'L'],
      [0x51, 'acceleration', 2, 0.001, 'm/s²'],
      [0x52, 'gyroscope', 2, 0.001, '°/s'],
      [0x55, 'volumeStorage', 4, 0.001, 'L'],
      [0x56, 'conductivity', 2, 1],
      [0x57, 'temperature', -1, 1],
      [0x58, 'temperature', -1, 0.35],
      [0x59, 'count', -1, 1],
      [0x5a, 'count', -2, 1],
      [0x5b, 'count', -4, 1],
      [0x5c, 'power', -4, 0.01],
      [0x5d, 'current', -2, 0.001],
      [0x5e, 'direction', 2, 0.01],
      [0x5f, 'precipitation', 2, 0.1],
      [0x61, 'rotationalSpeed', 2, 1, 'rpm'],
      [0x62, 'speed', -4, 0.000001],
      [0x63, 'acceleration', -4, 0.000001, 'm/s²'],
      [0x64, 'lightLevel', 1, 1],
    ] satisfies readonly Row[]
  ).map(row => [row[0], row]),
)

/** From 0x0f on, and from 0x15 on: one byte, yes or no. */
const STATES: ReadonlyMap<number, string> = new Map([
  ...['generic', 'powerOn', 'opening'].map((name, i) => [0x0f + i, name] as const),
  ...(
    'battery batterycharging carbonmonoxide cold connectivity door garagedoor gas heat lightDetected lock moisture motion moving occupancy ' +
    'plug presence problem running safety smoke sound tamper vibration window'
  )
    .split(' ')
    .map((name, i) => [0x15 + i, name] as const),
])

/** Of the packet and the device themselves: packet id, channel, device type, firmware. */
const SKIPPED: ReadonlyMap<number, number> = new Map([
  [0x00, 1],
  [0x60, 1],
  [0xf0, 2],
  [0xf1, 4],
  [0xf2, 3],
])

const [TIME, TEXT, RAW, BUTTON, DIMMER] = [0x50, 0x53, 0x54, 0x3a, 0x3c]
/** Also by the number that hold had before. */
export const PRESSES: Readonly<Record<number, string>> = {
  1: 'single',
  2: 'double',
  3: 'triple',
  4: 'long',
  5: 'long_double',
  6: 'long_triple',
  128: 'hold',
  254: 'hold',
}
const [SPEED, DIRECTION] = [0x44, 0x5e]
const WINDS = ['windSpeed', 'windGust'] as const

type Found = { readonly id: number; readonly bytes: Buffer }

/** @returns the time that it says, in µs. */
export function readObjects(parts: Parts, device: string, data: Buffer, memory: Memory): number | undefined {
  const counts = new Map<string, number>()
  const isNew = isNewPress(data, device, memory)
  const objects = objectsIn(data)
  const isWind = objects.some(({ id }) => id === DIRECTION)
  let timeUs: number | undefined
  for (const { id, bytes } of objects) {
    if (id === TIME) timeUs = bytes.readUInt32LE() * 1_000_000
    else if (id === BUTTON || id === DIMMER) {
      const own = numbered(counts, device, 'action')
      if (isNew) acted(parts, own, id, bytes)
    } else if (id === TEXT || id === RAW)
      parts.rest(device, id === TEXT ? 'text' : 'raw', bytes.subarray(1).toString(id === TEXT ? 'utf8' : 'hex'))
    else if (id === SPEED && isWind) blown(parts, counts, device, bytes)
    else measure(parts, counts, device, id, bytes)
  }
  return timeUs
}

/** Up to the first that is unknown, whose length nobody knows. */
function objectsIn(data: Buffer): Found[] {
  const objects: Found[] = []
  for (let at = 0; at < data.length; ) {
    const id = data[at] as number
    const size = sizeOf(id, data[at + 1] ?? 0)
    if (size === undefined || at + 1 + size > data.length) break
    objects.push({ id, bytes: data.subarray(at + 1, at + 1 + size) })
    at += 1 + size
  }
  return objects
}

/** Of a weather station, which says the direction beside it, the first speed is that of the wind and the second that of its gusts. */
function blown(parts: Parts, counts: Map<string, number>, device: string, bytes: Buffer): void {
  const count = counts.get('wind') ?? 0
  counts.set('wind', count + 1)
  const name = WINDS[count]
  if (name !== undefined) parts.measure(device, { name, value: Number((bytes.readUInt16LE() * 0.01).toPrecision(12)) })
}

function sizeOf(id: number, length: number): number | undefined {
  const row = OBJECTS.get(id)
  if (row) return Math.abs(row[2])
  if (id === TEXT || id === RAW) return 1 + length
  if (id === TIME) return 4
  if (id === DIMMER) return 2
  return id === BUTTON || STATES.has(id) ? 1 : SKIPPED.get(id)
}

/** An advertisement is sent several times, and several gateways may hear it: a press counts once. */
function isNewPress(data: Buffer, device: string, memory: Memory): boolean {
  if (data[0] !== 0 || !(data.includes(BUTTON) || data.includes(DIMMER))) return true
  return isNewPacket(memory, device, data[1])
}

/** The second of a kind is a device beside the first. */
function numbered(counts: Map<string, number>, device: string, name: string): string {
  const count = (counts.get(name) ?? 0) + 1
  counts.set(name, count)
  return count === 1 ? device : channelOf(device, count)
}

function acted(parts: Parts, device: string, id: number, bytes: Buffer): void {
  const [what = 0, steps = 0] = bytes
  if (what === 0) return
  const turn = what === 1 ? 'rotate_left' : 'rotate_right'
  parts.measure(device, { name: 'action', value: id === DIMMER ? turn : (PRESSES[what] ?? `press_${what}`) })
  if (id === DIMMER) parts.rest(device, 'steps', steps)
}

function measure(parts: Parts, counts: Map<string, number>, device: string, id: number, bytes: Buffer): void {
  const state = STATES.get(id)
  if (state !== undefined) parts.put(numbered(counts, device, STATE_NAMES.get(plainName(state))?.eventType ?? state), state, bytes[0] === 1)
  const row = OBJECTS.get(id)
  if (!row) return
  const [, name, size, factor, unit] = row
  const whole = size < 0 ? bytes.readIntLE(0, -size) : bytes.readUIntLE(0, size)
  parts.measure(numbered(counts, device, name), { name, value: Number((whole * factor).toPrecision(12)), unit })
}
