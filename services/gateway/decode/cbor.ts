// CBOR on its way in: what JSON may say, in fewer bytes; one item, or a sequence of them (RFC 8742).
import { Type } from 'typebox'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { CborReader } from './cboritem.ts'
import type { Clock, Decoded, Place } from './event.ts'
import type { Format } from './format.ts'
import { decodeOne, decodeValue, MAX_BATCH, tooMany } from './json.ts'

export const cbor: Format = {
  name: 'cbor',
  version: 1,
  title: 'As JSON, in CBOR: a value, the data of an event, a whole event, or an array of them',
  options: Type.Object({}),
  topics: [],
  contentTypes: ['application/cbor'],
  decode: ({ bytes, place }, clock) => ({ decoded: decodeCbor(bytes, place, clock) }),
}

export const cborSequence: Format = {
  name: 'cbor-seq',
  version: 1,
  title: 'One event after the other, each in CBOR',
  options: Type.Object({}),
  topics: [],
  contentTypes: ['application/cbor-seq'],
  decode: ({ bytes, place }, clock) => ({ decoded: decodeSequence(bytes, place, clock) }),
}

/** @throws Failure `invalid` where it is not one whole item. */
export function decodeCbor(bytes: Buffer, place: Place, clock: Clock): Decoded[] {
  return decodeValue(readItem(bytes), place, clock, bytes)
}

/** @param labels see CborReader. */
export function readItem(bytes: Buffer, labels?: ReadonlyMap<number, string>): unknown {
  const reader = new CborReader(bytes, labels)
  const value = reader.item()
  if (!reader.isAtEnd)
    throw invalid('payload', `CBOR: ${bytes.length - reader.offset} bytes behind the end of the item; a sequence is application/cbor-seq`)
  return value
}

/** Behind an item that cannot be read there is no way to find the next. */
function decodeSequence(bytes: Buffer, place: Place, clock: Clock): Decoded[] {
  const decoded: Decoded[] = []
  const reader = new CborReader(bytes)
  while (!reader.isAtEnd) {
    if (decoded.length === MAX_BATCH) throw tooMany()
    const start = reader.offset
    try {
      const value = reader.item()
      decoded.push(decodeOne(value, place, clock, bytes.subarray(start, reader.offset)))
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      decoded.push({ failure: error, element: bytes.subarray(start) })
      return decoded
    }
  }
  if (decoded.length === 0) throw invalid('events', 'expected at least one event, got an empty sequence')
  return decoded
}
