// Record, provide, acknowledge: the three routes of the reference (contracts.md 4.a.1-4.a.3). What is wrong is found in the order
// 401, 400, 404, 423.
import type { FastifyRequest } from 'fastify'
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import { checkStreamName } from '../../../../packages/core/stream.ts'
import type { Caller } from '../../../../packages/identity/identity.ts'
import type { Message } from '../../../../packages/log/durable/message.ts'
import type { DurableStreams, Ref } from '../../../../packages/log/durable/stream.ts'
import type { HttpApp } from '../../../../packages/runtime/http.ts'
import { homeOf } from '../home.ts'
import { withStream } from '../stream.ts'
import { checkDocument, MAX_NAME_CHARS, withId } from './document.ts'
import { type EventserverPorts, type EventserverSettings, sendJson, sendText } from './eventserver.ts'
import { type EventIds, parseUuid } from './id.ts'

export type EventPorts = Pick<EventserverPorts, 'streams' | 'produced'> & { readonly ids: EventIds }
export type Authenticate = (request: FastifyRequest) => Promise<Caller>

/** Events are kept for ever. */
const SETTINGS = { retention: { maxAgeMs: 0, maxBytes: 0, untilAcked: false } }
const MAX_BYTES = 1024 * 1024
const MAX_FORM_BYTES = 4096
const MAX_KEY_CHARS = 200

type StreamRoute = { readonly Params: { readonly stream: string } }
type EventRoute = { readonly Params: { readonly stream: string; readonly event: string } }

export function addEventRoutes(app: HttpApp, ports: EventPorts, { strictDialects }: EventserverSettings, authenticate: Authenticate): void {
  const { streams, ids } = ports
  const config = { raw: true, limit: 'ingest', authenticate } as const
  app.post<StreamRoute>('/streams/:stream/events', { config, bodyLimit: MAX_BYTES }, async (request, reply) => {
    const project = homeOf(request, 'developer')
    const name = checkStreamName(request.params.stream)
    const producer = uuidOf(request, 'x-producer-id')
    if (strictDialects) checkType(request, JSON_TYPE, 'application/json; charset=utf-8')
    const payload = bodyOf(request)
    const message = { payload, name: checkDocument(payload), producer, idempotencyKey: idempotencyKeyOf(request) }
    const id = await withStream(streams, request, { project, name, settings: SETTINGS }, async stream => {
      const [appended] = await streams.append(stream, [message], { owner: producer })
      if (!appended) throw new Error('no place for what was appended')
      return ids.format(stream.record.uid, appended.seq)
    })
    ports.produced(project, name)
    return sendText(reply, id)
  })
  app.get<StreamRoute>('/streams/:stream/events', { config }, async (request, reply) => {
    const project = homeOf(request, 'user')
    const consumer = uuidOf(request, 'x-consumer-id')
    const eventName = queried(request, 'eventName')
    if (eventName.length > MAX_NAME_CHARS) throw invalid('eventName', `at most ${MAX_NAME_CHARS} characters`)
    const limit = queried(request, 'limit')
    if (!/^\d{1,9}$/.test(limit) || Number(limit) < 1) throw invalid('limit', 'expected a whole number from 1')
    const stream = await known(streams, project, request.params.stream)
    const after = await streams.offset(stream, consumer, eventName)
    const messages = await readSome(streams, stream, eventName, after, Number(limit))
    const documents = messages.map(({ payload, seq }) => withId(payload, eventName, ids.format(stream.record.uid, seq)))
    return sendJson(reply, `[${documents.join(',')}]`)
  })
  app.post<EventRoute>('/streams/:stream/events/:event', { config, bodyLimit: MAX_FORM_BYTES }, async (request, reply) => {
    const project = homeOf(request, 'developer')
    const consumer = uuidOf(request, 'x-consumer-id')
    const id = checkUuid(request.params.event, 'eventId')
    if (strictDialects) checkType(request, FORM_TYPE, 'application/x-www-form-urlencoded')
    if (actionOf(bodyOf(request).toString('utf8')) !== 'ACK') throw invalid('action', 'expected ACK')
    const stream = await known(streams, project, request.params.stream)
    const { name, number } = await find(ports, stream, id)
    const { moved, expected } = await streams.advance(stream, consumer, name, number)
    if (!moved) throw new Failure('invalid', `Consumer offset mismatch: ${expected}->${number}`, { field: 'eventId' })
    return sendText(reply, 'OK')
  })
}

const JSON_TYPE = /^application\/json; ?charset=utf-8$/i
const FORM_TYPE = /^application\/x-www-form-urlencoded(;|$)/i

function checkType({ headers }: FastifyRequest, type: RegExp, expected: string): void {
  if (!type.test(headers['content-type'] ?? '')) throw invalid('content-type', `expected ${expected}`)
}

function bodyOf({ body }: FastifyRequest): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.alloc(0)
}

/** The same again under the same `Idempotency-Key` is recorded once. */
function idempotencyKeyOf({ headers, caller }: FastifyRequest): string | undefined {
  const key = headers['idempotency-key']
  if (key === undefined) return undefined
  if (key.length > MAX_KEY_CHARS) throw invalid('idempotency-key', `at most ${MAX_KEY_CHARS} characters`)
  return `${caller?.keyId} ${String(key)}`
}

function uuidOf({ headers }: FastifyRequest, header: string): string {
  const value = headers[header]
  if (value === undefined) throw invalid(header, 'expected a UUID, but it is missing')
  return checkUuid(String(value), header)
}

/** In the one form in which ids are compared. */
export function checkUuid(text: string, field: string): string {
  const uuid = parseUuid(text)
  if (uuid === undefined) throw invalid(field, 'expected a UUID')
  return uuid
}

export function queried({ query }: FastifyRequest, name: string): string {
  const value = (query as Readonly<Record<string, unknown>>)[name]
  if (typeof value !== 'string' || value === '') throw invalid(name, `expected once${value === undefined ? ', but it is missing' : ''}`)
  return value
}

/** A form, or the same as JSON. */
function actionOf(text: string): unknown {
  if (!text.trimStart().startsWith('{')) return new URLSearchParams(text).get('action')
  try {
    return (JSON.parse(text) as { readonly action?: unknown }).action
  } catch (error) {
    throw invalid('body', `not JSON: ${(error as Error).message}`)
  }
}

/** @throws Failure `not_found`. */
export async function known(streams: DurableStreams, project: string, name: string): Promise<Ref> {
  return { project, record: await streams.get(project, name) }
}

/** By its id. @throws Failure `not_found` for one that is of another stream, or made up. */
export async function find(
  { streams, ids }: Pick<EventPorts, 'streams' | 'ids'>,
  stream: Ref,
  id: string,
): Promise<Message & { readonly name: string; readonly number: number }> {
  const seq = ids.parse(stream.record.uid, id)
  const [message] = seq === undefined ? [] : await streams.read(stream, seq - 1, 1)
  const { name, number } = message ?? {}
  if (!message || message.seq !== seq || name === undefined || number === undefined)
    throw new Failure('not_found', `event ${id} does not exist`, { field: 'eventId' })
  return { ...message, name, number }
}

const MAX_ANSWER_BYTES = 8 * 1024 * 1024
const MAX_EVENTS = 1000
/** Before it is known how large they are. */
const FIRST = 8

/** Fewer than asked for when they are many or large: the rest comes when these are acknowledged. */
async function readSome(streams: DurableStreams, stream: Ref, name: string, after: number, limit: number): Promise<Message[]> {
  const messages: Message[] = []
  const most = Math.min(limit, MAX_EVENTS)
  let bytes = 0
  for (let chunk = Math.min(FIRST, most); chunk > 0; ) {
    // Fewer may come although there are more, and what was dropped is left out.
    const read = await streams.readNamed(stream, name, messages.at(-1)?.number ?? after, chunk)
    if (read.length === 0) break
    messages.push(...read)
    bytes += read.reduce((sum, { payload }) => sum + payload.length, 0)
    const fitting = Math.floor(((MAX_ANSWER_BYTES - bytes) * messages.length) / Math.max(1, bytes))
    chunk = Math.min(most - messages.length, Math.max(0, fitting))
  }
  return messages
}
