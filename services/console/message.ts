// Messages of durable streams over plain HTTP: appended, and looked at without touching any subscription.

import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { Static } from 'typebox'
import { invalid } from '../../packages/core/failure.ts'
import { checkTime, formatTime } from '../../packages/core/time.ts'
import { formatMessageId, type Message, type NewMessage } from '../../packages/log/durable/message.ts'
import type { DurableStreams, Ref, StreamRecord } from '../../packages/log/durable/stream.ts'
import { callerIn, type HttpApp, MAX_EVENTS_BYTES } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { described, listOf } from '../../packages/runtime/schema.ts'
import { ONE_STREAM, timeOf } from './stream.ts'
import { AppendAnswer, AppendBody, MessageAnswer, type MessageDraft, MessagesQuery, OneStream, tags } from './streamschema.ts'

const MAX_MESSAGES = 1000
const MAX_PAGE = 1000
const PAGE = 50
/** A page ends when it has this much, however few messages that are. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024
/** Payloads may be large: no more of them than these are held beyond what a page takes. */
const CHUNK = 16
const MAX_TEXT_CHARS = 10_000
const IDEMPOTENCY_KEY = /^[\x20-\x7e]{1,256}$/
const FIELDS: ReadonlySet<string> = new Set(['payload', 'text', 'json', 'key', 'properties', 'eventTime', 'name'])

export function addMessageRoutes(app: HttpApp, { durable }: { readonly durable: DurableStreams }): void {
  app.post(
    `${ONE_STREAM}/messages`,
    {
      config: { limit: 'ingest' },
      bodyLimit: MAX_EVENTS_BYTES,
      schema: {
        operationId: 'appendMessages',
        summary: 'Appends a message, or many in their order; with an Idempotency-Key it can be repeated without harm',
        tags,
        params: OneStream,
        body: described(AppendBody),
        response: { 200: AppendAnswer },
      },
    },
    async request => {
      const { project, stream } = request.params
      const { keyId } = callerIn(request, project, 'developer')
      const record = await durable.get(project, stream)
      const appended = await durable.append({ project, record }, draftsOf(request, keyId))
      return { messages: appended.map(({ seq, duplicate }) => ({ messageId: formatMessageId(record, seq), seq, duplicate })) }
    },
  )
  app.get(
    `${ONE_STREAM}/messages`,
    {
      schema: {
        operationId: 'listMessages',
        summary: 'Lists messages that are kept, newest first unless said; nothing is consumed by that',
        tags,
        params: OneStream,
        querystring: MessagesQuery,
        response: { 200: listOf('messages', MessageAnswer) },
      },
    },
    async request => {
      const { project, stream } = request.params
      callerIn(request, project)
      const record = await durable.get(project, stream)
      return listMessages(durable, { project, record }, request.query)
    },
  )
}

type Query = Static<typeof MessagesQuery>

/** From where messages are read, in which direction, and as far as what. */
type Way = {
  readonly start: number
  read(place: number, count: number): Promise<readonly Message[]>
  includes(message: Message): boolean
}

async function listMessages(durable: DurableStreams, stream: Ref, query: Query) {
  const { record } = stream
  const way = await wayThrough(durable, stream, query)
  const limit = Math.min(query.pageSize ?? PAGE, MAX_PAGE)
  const { messages, more } = await collect(way, placeOf(query.pageToken, record) ?? way.start, limit)
  const last = more ? messages.at(-1) : undefined
  return {
    messages: messages.map(message => messageToJson(record, message)),
    nextPageToken: last ? encodeToken(`${record.uid} ${last.seq}`) : '',
  }
}

async function wayThrough(durable: DurableStreams, stream: Ref, query: Query): Promise<Way> {
  const { after, before } = await rangeOf(durable, stream, query)
  const includes = ({ seq }: Message) => seq > after && seq < before
  if (query.order === 'oldest') return { start: after, includes, read: (place, count) => durable.read(stream, place, count) }
  return { start: before, includes, read: (place, count) => durable.readBack(stream, place, count) }
}

async function collect(way: Way, from: number, limit: number): Promise<{ readonly messages: readonly Message[]; readonly more: boolean }> {
  const messages: Message[] = []
  let bytes = 0
  while (messages.length < limit && bytes < MAX_PAGE_BYTES) {
    const read = await way.read(messages.at(-1)?.seq ?? from, Math.min(limit - messages.length, CHUNK))
    if (read.length === 0) return { messages, more: false }
    for (const message of read) {
      if (!way.includes(message)) return { messages, more: false }
      if (bytes >= MAX_PAGE_BYTES) break
      bytes += message.payload.length
      messages.push(message)
    }
  }
  return { messages, more: true }
}

/** Places between which messages lie; neither is among them. */
async function rangeOf(durable: DurableStreams, stream: Ref, query: Query) {
  const { startTime, endTime, afterSeq = 0, beforeSeq = Number.MAX_SAFE_INTEGER } = query
  const start = startTime === undefined ? 0 : await durable.placeAt(stream, Math.ceil(checkTime(startTime, 'startTime') / 1000))
  const end = endTime === undefined ? undefined : await durable.placeAt(stream, Math.ceil(checkTime(endTime, 'endTime') / 1000))
  return { after: Math.max(afterSeq, start), before: end === undefined ? beforeSeq : Math.min(beforeSeq, end + 1) }
}

/** A stream that was removed and made again is another one. */
function placeOf(pageToken: string | undefined, { uid }: StreamRecord): number | undefined {
  const token = decodeToken(pageToken)
  if (token === undefined) return undefined
  const [of, place = ''] = token.split(' ')
  if (of !== uid || !/^\d{1,15}$/.test(place)) throw invalid('pageToken', 'expected the nextPageToken of an earlier page of this stream')
  return Number(place)
}

// ---- what is appended

function draftsOf(request: FastifyRequest, keyId: string): NewMessage[] {
  const { body } = request
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw invalid('body', 'expected a message, or {"messages":[…]} with many')
  const { messages } = body as { readonly messages?: unknown }
  const drafts = messages === undefined ? [body] : messages
  if (!Array.isArray(drafts) || drafts.length === 0 || drafts.length > MAX_MESSAGES)
    throw invalid('messages', `expected 1 to ${MAX_MESSAGES} messages`)
  const surplus = messages === undefined ? undefined : Object.keys(body).find(name => name !== 'messages')
  if (surplus !== undefined) throw invalid(surplus.slice(0, 100), 'unknown field beside messages')
  const again = idempotencyOf(request, keyId)
  return drafts.map((draft, i) => ({
    ...messageOf(draft as unknown, messages === undefined ? '' : `messages.${i}.`),
    producer: keyId,
    ...(again === undefined ? {} : { idempotencyKey: again(i) }),
  }))
}

/** The same key of the same caller means the same request: the message at the same place in it is the same. */
function idempotencyOf({ headers }: FastifyRequest, keyId: string): ((index: number) => string) | undefined {
  const { 'idempotency-key': given } = headers
  if (given === undefined) return undefined
  if (typeof given !== 'string' || !IDEMPOTENCY_KEY.test(given))
    throw invalid('header idempotency-key', 'expected 1 to 256 printable ASCII characters')
  const hash = createHash('sha256').update(`${keyId}\n${given}`).digest('base64url').slice(0, 27)
  return index => `${hash}.${index}`
}

function messageOf(draft: unknown, at: string): NewMessage {
  if (typeof draft !== 'object' || draft === null || Array.isArray(draft)) throw invalid(at.replace(/\.$/, ''), 'expected an object')
  const unknown = Object.keys(draft).find(name => !FIELDS.has(name))
  if (unknown !== undefined) throw invalid(`${at}${unknown.slice(0, 100)}`, 'unknown field')
  const { key, properties, eventTime, name } = draft as Static<typeof MessageDraft>
  for (const [field, value] of Object.entries({ key, name }))
    if (value !== undefined && typeof value !== 'string') throw invalid(`${at}${field}`, 'expected a string')
  if (properties !== undefined) checkProperties(properties, `${at}properties`)
  return {
    payload: payloadOf(draft, at),
    ...(key === undefined ? {} : { key }),
    ...(properties === undefined ? {} : { properties }),
    ...(eventTime === undefined ? {} : { eventTimeUs: checkTime(eventTime, `${at}eventTime`) }),
    ...(name === undefined ? {} : { name }),
  }
}

function checkProperties(properties: unknown, field: string): void {
  if (typeof properties !== 'object' || properties === null || Array.isArray(properties))
    throw invalid(field, 'expected an object of strings')
  for (const [name, value] of Object.entries(properties))
    if (typeof value !== 'string') throw invalid(`${field}.${name.slice(0, 100)}`, 'expected a string')
}

function payloadOf(draft: object, at: string): Buffer {
  const given = (['payload', 'text', 'json'] as const).filter(name => Object.hasOwn(draft, name))
  const [kind] = given
  if (kind === undefined || given.length > 1) throw invalid(`${at}payload`, 'expected one of payload (base64), text and json')
  const value = (draft as Readonly<Record<string, unknown>>)[kind]
  if (kind === 'json') return Buffer.from(JSON.stringify(value))
  if (typeof value !== 'string') throw invalid(`${at}${kind}`, 'expected a string')
  if (kind === 'text') return Buffer.from(value)
  const payload = Buffer.from(value, 'base64')
  // What is no base64 is left out without a word.
  if (payload.toString('base64') !== value) throw invalid(`${at}payload`, 'expected base64')
  return payload
}

// ---- what is shown

export function messageToJson(record: StreamRecord, message: Message): Static<typeof MessageAnswer> {
  const { seq, publishMs, eventTimeUs, key, properties, name, number, producer, payload } = message
  return {
    messageId: formatMessageId(record, seq),
    seq,
    publishTime: timeOf(publishMs),
    eventTime: eventTimeUs === undefined ? null : formatTime(eventTimeUs),
    key: key ?? null,
    properties,
    name: name ?? null,
    number: number ?? null,
    producer: producer ?? null,
    size: payload.length,
    payload: payload.toString('base64'),
    text: textOf(payload),
  }
}

/** Text with control characters is more likely none. */
function textOf(payload: Buffer): string | null {
  if (!isUtf8(payload)) return null
  const text = payload
    .subarray(0, MAX_TEXT_CHARS * 4)
    .toString('utf8')
    .slice(0, MAX_TEXT_CHARS)
  return /[^\P{Cc}\t\r\n]/u.test(text) ? null : text
}
