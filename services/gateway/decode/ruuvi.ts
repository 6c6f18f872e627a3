// Ruuvi Gateway: `ruuvi/{gateway}/{sensor}` over MQTT and the same by the dozen over HTTP; in it the advertisements of sensors in hex, in data
// formats 3, 5, 6 and E1, and of others those of BTHome (docs.ruuvi.com: gateway data formats, Bluetooth advertisements).
import { Type } from 'typebox'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { macOf, readServiceData } from './bthome.ts'
import type { Clock, Decoded } from './event.ts'
import type { Format, Output, Payload } from './format.ts'
import { Parts } from './part.ts'
import { readRuuvi } from './ruuvidata.ts'
import { type Fields, isObject, isScalar, objectOf, textOf } from './text.ts'
import { eventTime } from './time.ts'

const NOTHING: Output = { decoded: [] }
const MAC = /^(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i
const MAX_TAGS = 1000

export const ruuvi: Format = {
  name: 'ruuvi',
  version: 2,
  title: 'Ruuvi Gateway, over MQTT or HTTP',
  options: Type.Object({}),
  topics: ['ruuvi/+/+'],
  contentTypes: [],
  decode(payload, clock) {
    if (payload.bytes.length === 0) return NOTHING
    const text = textOf(payload.bytes)
    if (!text.startsWith('{')) return NOTHING
    const fields = objectOf(text)
    const batch = isObject(fields['data']) ? fields['data'] : fields
    if (isObject(batch['tags'])) return { decoded: tagsIn(batch['tags'], payload, clock) }
    const tag = payload.topic.at(-1) ?? ''
    // On the topic of the gateway itself there is its status.
    if (!MAC.test(tag) || (fields['gw_mac'] === undefined && fields['data'] === undefined)) return NOTHING
    return { decoded: tagOf(tag, fields, text, payload, clock) }
  },
}

function tagsIn(tags: Fields, payload: Payload, clock: Clock): Decoded[] {
  const entries = Object.entries(tags)
  if (entries.length > MAX_TAGS) throw new Failure('too_large', `tags: at most ${MAX_TAGS}, got ${entries.length}`)
  return entries.flatMap(([tag, fields]) => {
    const element = JSON.stringify({ [tag]: fields })
    if (MAC.test(tag) && isObject(fields)) return oneOf(tag, fields, element, payload, clock)
    return [{ failure: invalid('tags', 'expected sensors by their addresses'), element }]
  })
}

/** What is wrong with one sensor of many harms no other. */
function oneOf(tag: string, fields: Fields, element: string, payload: Payload, clock: Clock): Decoded[] {
  try {
    return tagOf(tag, fields, element, payload, clock)
  } catch (failure) {
    if (failure instanceof Failure) return [{ failure, element }]
    throw failure
  }
}

function tagOf(tag: string, fields: Fields, element: string, { memory, place }: Payload, clock: Clock): Decoded[] {
  const device = macOf(Buffer.from(tag.replaceAll(/[:-]/g, ''), 'hex'))
  const said = fields['ts'] ?? fields['timestamp']
  const toldUs = isScalar(said) ? eventTime(said, 'ts') : undefined
  const parts = new Parts()
  const { data } = fields
  let timeUs: number | undefined
  if (typeof data === 'string' && isWhole(data))
    for (const { type, bytes } of structuresIn(Buffer.from(data, 'hex'))) {
      if (type === 0xff && bytes.readUInt16LE() === RUUVI) readRuuvi(parts, device, bytes.subarray(2))
      if (type === 0x16 && bytes.readUInt16LE() === BTHOME) timeUs = readServiceData(parts, device, bytes.subarray(2), { keys: {}, memory })
    }
  else if (fields['dataFormat'] !== undefined) decodedBy(parts, device, fields)
  else throw invalid('data', 'expected an advertisement in hex')
  if (parts.isEmpty) return []
  parts.put(device, 'rssi', fields['rssi'])
  return parts.reported(timeUs ?? toldUs, place.project, clock, element)
}

const [RUUVI, BTHOME] = [0x0499, 0xfcd2]

function isWhole(hex: string): boolean {
  return hex.length % 2 === 0 && hex.length <= 4096 && /^[0-9a-f]+$/i.test(hex)
}

/** Length, type, data: Bluetooth Core, Supplement part A. */
function structuresIn(data: Buffer): { readonly type: number; readonly bytes: Buffer }[] {
  const structures: { type: number; bytes: Buffer }[] = []
  for (let at = 0; at + 1 < data.length; ) {
    const length = data[at] as number
    if (length === 0) break
    const bytes = data.subarray(at + 2, at + 1 + length)
    if (bytes.length >= 2) structures.push({ type: data[at + 1] as number, bytes })
    at += 1 + length
  }
  return structures
}

/** Newer gateways can decode themselves. */
const NAMES: Readonly<Record<string, string>> = {
  voltage: 'batteryVoltage',
  luminosity: 'illuminance',
  VOC: 'vocIndex',
  NOx: 'noxIndex',
  measurementSequenceNumber: 'measurementSequence',
}
const OTHERS: ReadonlySet<string> = new Set('gw_mac rssi gwts ts data dataFormat id coords aoa timestamp accelX accelY accelZ'.split(' '))

function decodedBy(parts: Parts, device: string, fields: Fields): void {
  const { accelX: x, accelY: y, accelZ: z } = fields
  if (typeof x === 'number' && typeof y === 'number' && typeof z === 'number')
    parts.event(device, { eventType: 'acceleration', data: { acceleration: { x, y, z, unit: 'gₙ' } } })
  for (const [field, value] of Object.entries(fields))
    if (!OTHERS.has(field)) parts.put(device, Object.hasOwn(NAMES, field) ? (NAMES[field] as string) : field, value)
}
