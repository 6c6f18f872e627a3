// One message of a durable stream: what a producer gives, how it stands in Redis, and the ids by which clients name it.
import { Failure, invalid } from '../../core/failure.ts'
import { checkMessageWord } from '../../core/stream.ts'
import type { StreamRecord } from './stream.ts'

/** What a producer appends. */
export type NewMessage = {
  readonly payload: Buffer
  /** Messages of one key are kept in order by key-shared subscriptions. */
  readonly key?: string | undefined
  readonly properties?: Readonly<Record<string, string>> | undefined
  /** When the producer says that it happened. */
  readonly eventTimeUs?: number | undefined
  /** Messages of one name are numbered from 1, without gaps. */
  readonly name?: string | undefined
  /** Who produced it. */
  readonly producer?: string | undefined
  /** The same again is not appended again, and answered with the place of the first; remembered for the last 100,000 to 200,000 of a stream. */
  readonly idempotencyKey?: string | undefined
}

export type Message = {
  /** Place in the stream: 1, 2, 3 … without gaps. */
  readonly seq: number
  readonly publishMs: number
  readonly payload: Buffer
  readonly key: string | undefined
  readonly properties: Readonly<Record<string, string>>
  readonly eventTimeUs: number | undefined
  readonly name: string | undefined
  /** Among the messages of its name, from 1. */
  readonly number: number | undefined
  readonly producer: string | undefined
  /** Bytes of the stream up to and with this message, ever. */
  readonly bytesTo: number
}

export const MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
const MAX_PROPERTIES = 64
const MAX_PROPERTIES_CHARS = 16_384
/** What a message takes besides its payload, about. */
const OVERHEAD_BYTES = 64

/** As `XRANGE` gives it: `h` header, `k` key, `n` name, `p` payload, always in this order so that Redis keeps the field names once. */
export type Row = readonly [id: Buffer, fields: readonly Buffer[]]

/** Behind `[publishMs,bytesTo,number,`, which the script knows. */
type Tail = readonly [eventTimeUs: number | null, producer: string | null, properties: Properties | null]
/** Dead letters have further properties: where they are from. */
type Header = readonly [
  publishMs: number,
  bytesTo: number,
  number: number,
  eventTimeUs: number | null,
  producer: string | null,
  ...properties: (Properties | null)[],
]
type Properties = Readonly<Record<string, string>>

/** @throws Failure `invalid`, `too_large`, with the field. */
export function checkMessage(message: NewMessage, field = 'message'): void {
  const { payload, key, properties, name, producer, idempotencyKey } = message
  if (payload.length > MAX_PAYLOAD_BYTES)
    throw new Failure('too_large', `${field}.payload: at most ${MAX_PAYLOAD_BYTES} bytes, got ${payload.length}`, { field: 'payload' })
  const words = { key, name, producer, idempotencyKey }
  for (const [word, text] of Object.entries(words)) if (text !== undefined) checkMessageWord(text, `${field}.${word}`)
  if (properties !== undefined) checkProperties(properties, `${field}.properties`)
}

function checkProperties(properties: Readonly<Record<string, string>>, field: string): void {
  const entries = Object.entries(properties)
  if (entries.length > MAX_PROPERTIES) throw invalid(field, `expected at most ${MAX_PROPERTIES}, got ${entries.length}`)
  const chars = entries.reduce((sum, [name, value]) => sum + name.length + value.length, 0)
  if (chars > MAX_PROPERTIES_CHARS) throw invalid(field, `expected at most ${MAX_PROPERTIES_CHARS} characters in all, got ${chars}`)
}

/** Of payload and properties, about. */
export function sizeOf({ payload, properties = {} }: NewMessage): number {
  let size = payload.length
  for (const [name, value] of Object.entries(properties)) size += name.length + value.length
  return size
}

/** What a message counts for in the bytes of its stream. */
export function bytesOf({ payload, key = '', name = '' }: NewMessage, tail: string): number {
  return payload.length + key.length + name.length + tail.length + OVERHEAD_BYTES
}

export function tailOf({ eventTimeUs, producer, properties }: NewMessage): string {
  const isEmpty = properties === undefined || Object.keys(properties).length === 0
  const tail: Tail = [eventTimeUs ?? null, producer ?? null, isEmpty ? null : properties]
  return JSON.stringify(tail).slice(1)
}

export function parseRow([id, fields]: Row): Message {
  const [header, key, name, payload] = [fields[1], fields[3], fields[5], fields[7]]
  if (header === undefined || key === undefined || name === undefined || payload === undefined)
    throw new Failure('invalid', `message ${id.toString()} is not whole`)
  const [publishMs, bytesTo, number, eventTimeUs, producer, ...properties] = JSON.parse(header.toString()) as Header
  return {
    seq: Number.parseInt(id.toString('latin1'), 10),
    publishMs,
    payload,
    key: key.length === 0 ? undefined : key.toString(),
    properties: Object.fromEntries(properties.flatMap(some => Object.entries(some ?? {}))),
    eventTimeUs: eventTimeUs ?? undefined,
    name: name.length === 0 ? undefined : name.toString(),
    number: number === 0 ? undefined : number,
    producer: producer ?? undefined,
    bytesTo,
  }
}

/** When it was published, and the bytes of the stream up to and with it; undefined for none. */
export function parseHeader(header: Buffer): { readonly publishMs: number; readonly bytesTo: number } | undefined {
  if (header.length === 0) return undefined
  const [publishMs, bytesTo] = JSON.parse(header.toString()) as Header
  return { publishMs, bytesTo }
}

const ID_BYTES = 12
const UID_BYTES = 6

/** Opaque to clients: the stream, as it was made, and the place; base64 as Pulsar's ids are. */
export function formatMessageId({ uid }: StreamRecord, seq: number): string {
  const bytes = Buffer.alloc(ID_BYTES)
  bytes.write(uid, 'hex')
  bytes.writeUIntBE(seq, UID_BYTES, ID_BYTES - UID_BYTES)
  return bytes.toString('base64')
}

/** Undefined for what is no id of a message of this stream. */
export function parseMessageId({ uid }: StreamRecord, id: string): number | undefined {
  if (!/^[A-Za-z0-9+/]{16}$/.test(id)) return undefined
  const bytes = Buffer.from(id, 'base64')
  const seq = bytes.readUIntBE(UID_BYTES, ID_BYTES - UID_BYTES)
  return bytes.toString('hex', 0, UID_BYTES) === uid && seq > 0 ? seq : undefined
}
