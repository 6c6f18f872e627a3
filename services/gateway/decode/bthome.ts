// BTHome v2 (bthome.io/format): service data of small Bluetooth sensors, as OpenMQTTGateway and Theengs Gateway relay it, and what these
// two have decoded themselves. The objects stand in bthomeobject.ts.
import { createDecipheriv } from 'node:crypto'
import { Type } from 'typebox'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { readObjects } from './bthomeobject.ts'
import type { Format, Memory, Output, Payload } from './format.ts'
import { Parts } from './part.ts'
import { type Fields, objectOf, textOf } from './text.ts'
import { relayed } from './theengs.ts'

const NOTHING: Output = { decoded: [] }
const HEX = /^(?:[0-9a-f]{2}){2,256}$/i
const MAC = /^(?:[0-9a-f]{2}[:-]?){5}[0-9a-f]{2}$/i

type Keys = Readonly<Record<string, string>>

export const bthome: Format = {
  name: 'bthome',
  version: 2,
  title: 'BTHome v2, and what OpenMQTTGateway and Theengs Gateway publish of Bluetooth sensors',
  options: Type.Object({
    keys: Type.Record(Type.String({ pattern: MAC.source }), Type.String({ pattern: '^[0-9A-Fa-f]{32}$' }), {
      default: {},
      description: 'Of devices that encrypt: the bind key in hex by the address, `{"A4:C1:38:8D:18:B2": "231d39c1…"}`.',
    }),
  }),
  topics: ['home/+/BTtoMQTT/+'],
  contentTypes: [],
  decode({ topic, bytes, memory, options, place }, clock) {
    if (bytes.length === 0) return NOTHING
    const text = bytes[0] === BRACE ? textOf(bytes) : bytes.toString('hex')
    const fields: Fields = bytes[0] === BRACE ? objectOf(text) : { servicedata: asHex(bytes) }
    const device = addressOf(fields['id'] ?? fields['mac'], topic.at(-1))
    if (device === undefined) return NOTHING
    const parts = new Parts()
    const data = serviceDataIn(fields)
    const timeUs = data ? readServiceData(parts, device, data, { keys: keysOf(options), memory }) : undefined
    if (!data) relayed(parts, device, fields, memory)
    parts.put(device, 'rssi', fields['rssi'])
    return { decoded: parts.reported(timeUs, place.project, clock, bytes[0] === BRACE ? text : bytes.toString('latin1')) }
  },
}

const BRACE = 0x7b

function asHex(bytes: Buffer): string {
  const text = bytes.toString('latin1').trim()
  return HEX.test(text) ? text : bytes.toString('hex')
}

/** `a4:c1:38:8d:18:b2`, by whichever name it came. */
function addressOf(given: unknown, level: string | undefined): string | undefined {
  const text = [given, level].find(one => typeof one === 'string' && MAC.test(one)) as string | undefined
  return text === undefined ? undefined : macOf(Buffer.from(text.replaceAll(/[:-]/g, ''), 'hex'))
}

export function macOf(bytes: Buffer): string {
  return [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join(':')
}

function keysOf(options: Payload['options']): Keys {
  const entries = Object.entries((options['keys'] ?? {}) as Keys)
  return Object.fromEntries(entries.map(([mac, key]) => [macOf(Buffer.from(mac.replaceAll(/[:-]/g, ''), 'hex')), key]))
}

const ENCRYPTED_BTHOME = 2

/** Theengs takes what is encrypted apart, and tells the way of encryption. */
function serviceDataIn(fields: Fields): Buffer | undefined {
  const { servicedatauuid: uuid, servicedata: data, encr, cipher, ctr, mic } = fields
  if (encr !== undefined && encr !== ENCRYPTED_BTHOME) return undefined
  if (data === undefined && encr !== undefined) {
    const text = `${UNTOLD}${String(cipher)}${String(ctr)}${String(mic)}`
    if (!HEX.test(text)) throw invalid('cipher', 'expected cipher, ctr and mic in hex')
    return Buffer.from(text, 'hex')
  }
  const isOther = typeof uuid === 'string' && !/^(0x)?(0000)?fcd2(-|$)/i.test(uuid)
  if (data === undefined || isOther) return undefined
  if (typeof data !== 'string' || !HEX.test(data)) throw invalid('servicedata', 'expected 2 to 256 bytes in hex')
  return Buffer.from(data, 'hex')
}

/** The first byte where it was left out: version 2, encrypted, sent at times or when something happens. */
const UNTOLD = '41'
const OTHERWISE = 0x45

type Reading = { readonly keys: Keys; readonly memory: Memory }

/** @returns the time that it says. @throws Failure `unsupported` of another version or an unknown key, `invalid` of a wrong one. */
export function readServiceData(parts: Parts, device: string, data: Buffer, { keys, memory }: Reading): number | undefined {
  const info = data[0] ?? 0
  if (info >> 5 !== 2)
    throw new Failure('unsupported', `servicedata: expected BTHome version 2, got ${info >> 5}`, { field: 'servicedata' })
  const hasAddress = (info & 2) !== 0
  if (hasAddress && data.length < 7) throw invalid('servicedata', 'too short for the address that it announces')
  const address = hasAddress ? macOf(Buffer.from(data.subarray(1, 7)).reverse()) : device
  const body = data.subarray(hasAddress ? 7 : 1)
  return readObjects(parts, address, (info & 1) === 0 ? body : decrypted(body, info, address, keys[address]), memory)
}

/** Ciphertext, counter (4), tag (4); nonce: address, UUID, info, counter. */
function decrypted(body: Buffer, info: number, address: string, key: string | undefined): Buffer {
  if (key === undefined)
    throw new Failure('unsupported', `servicedata: encrypted, and the decoder's option keys has none for ${address}`, {
      field: 'servicedata',
    })
  if (body.length < 9) throw invalid('servicedata', 'too short for something encrypted')
  // Where Theengs has left the first byte out, the tag says which one it was.
  const opened = deciphered(body, info, address, key)
  const plain = Buffer.isBuffer(opened) || info === OTHERWISE ? opened : deciphered(body, OTHERWISE, address, key)
  if (Buffer.isBuffer(plain)) return plain
  throw new Failure('invalid', `servicedata: not encrypted with the key of ${address}`, { field: 'servicedata', cause: plain })
}

function deciphered(body: Buffer, info: number, address: string, key: string): Buffer | Error {
  const [end, counter] = [body.length - 8, body.subarray(-8, -4)]
  const nonce = Buffer.concat([Buffer.from(address.replaceAll(':', ''), 'hex'), Buffer.from([0xd2, 0xfc, info]), counter])
  const decipher = createDecipheriv('aes-128-ccm', Buffer.from(key, 'hex'), nonce, { authTagLength: 4 })
  decipher.setAuthTag(body.subarray(-4))
  try {
    const plain = decipher.update(body.subarray(0, end))
    decipher.final()
    return plain
  } catch (error) {
    return error as Error
  }
}
