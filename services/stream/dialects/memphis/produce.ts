// Producing to a station: one message as the bytes that came, or a batch whose elements succeed and fail one by one (contracts.md 3.a.4, 3.a.5).
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import type { Caller } from '../../../../packages/identity/identity.ts'
import type { NewMessage } from '../../../../packages/log/durable/message.ts'
import type { DurableStreams, Ref } from '../../../../packages/log/durable/stream.ts'
import { type HttpApp, STATUS } from '../../../../packages/runtime/http.ts'
import { goneOf } from '../gone.ts'
import { homeOf } from '../home.ts'
import { withStream } from '../stream.ts'
import { parseJson } from './body.ts'
import { propertiesOf } from './header.ts'
import { marshal } from './marshal.ts'
import type { MemphisPorts, MemphisSettings } from './memphis.ts'
import { stationOf } from './station.ts'

/** As the original's framework has it. */
const MAX_BYTES = 4 * 1024 * 1024
/** The core takes so many at once. */
const MAX_AT_ONCE = 1000
/** As small as two bytes they may be, and each costs far more than that. */
const MAX_ELEMENTS = 10_000
/** The headers stand in each message. */
const MAX_PROPERTIES_BYTES = 16 * 1024 * 1024
const MAX_KEY_CHARS = 200

const JSON_TYPE = 'application/json'
const VERBATIM = ['text', JSON_TYPE, 'application/x-protobuf']

type Route = { readonly Params: { readonly station: string } }

export function addProduce(
  app: HttpApp,
  ports: Pick<MemphisPorts, 'streams' | 'produced'>,
  settings: Pick<MemphisSettings, 'createStations' | 'strictDialects'>,
  authenticate: (request: FastifyRequest) => Promise<Caller>,
): void {
  const options = { config: { raw: true, limit: 'ingest', authenticate }, bodyLimit: MAX_BYTES } as const
  const produce = async (request: FastifyRequest, station: string, work: (ref: Ref) => Promise<number>) => {
    const project = homeOf(request, 'developer')
    const appended = await withStream(ports.streams, request, stationOf(project, station, settings), work)
    if (appended > 0) ports.produced(project, station)
  }
  app.post<Route>('/stations/:station/produce/single', options, async request => {
    const type = request.headers['content-type'] ?? ''
    if (!VERBATIM.some(known => type.includes(known))) throw unsupported(settings, type)
    const [message] = messagesOf(request, propertiesOf(request.headers), [bodyOf(request)])
    await produce(request, request.params.station, async ref => (message ? (await ports.streams.append(ref, [message])).length : 0))
    return { error: null, success: true }
  })
  app.post<Route>('/stations/:station/produce/batch', options, async (request, reply) => {
    const type = request.headers['content-type'] ?? ''
    if (settings.strictDialects ? type !== JSON_TYPE : !type.includes(JSON_TYPE)) throw unsupported(settings, type)
    const properties = propertiesOf(request.headers)
    const messages = messagesOf(request, properties, await payloadsOf(elementsOf(bodyOf(request), properties)))
    const failures: Failure[] = []
    const gone = goneOf(reply)
    await produce(request, request.params.station, async ref => {
      failures.push(...(await appendEach(ports, ref, messages, gone)))
      return messages.length - failures.length
    })
    return answerBatch(reply, messages.length, failures)
  })
}

function unsupported({ strictDialects }: Pick<MemphisSettings, 'strictDialects'>, type: string): Failure {
  const message = type === '' ? 'unsupported content type' : `unsupported content type ${type.slice(0, 100)}`
  return new Failure(strictDialects ? 'unsupported' : 'invalid', message)
}

function bodyOf({ body }: FastifyRequest): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.alloc(0)
}

type Properties = Readonly<Record<string, string>>

function elementsOf(body: Buffer, properties: Properties): readonly unknown[] {
  const elements: unknown = parseJson(body.toString('utf8'))
  if (!Array.isArray(elements)) throw notObjects()
  if (elements.length > MAX_ELEMENTS) throw new Failure('too_large', `body: at most ${MAX_ELEMENTS} elements, got ${elements.length}`)
  const bytes = elements.length * Buffer.byteLength(JSON.stringify(properties))
  if (bytes > MAX_PROPERTIES_BYTES)
    throw new Failure('too_large', `headers: at most ${MAX_PROPERTIES_BYTES} bytes with all elements, got ${bytes}: send fewer at once`)
  if (elements.some(one => typeof one !== 'object' || one === null || Array.isArray(one))) throw notObjects()
  return elements
}

function notObjects(): Failure {
  return new Failure('invalid', 'unsupported request: expected an array of JSON objects', { field: 'body' })
}

/** Others have their turn between parts of them. */
async function payloadsOf(elements: readonly unknown[]): Promise<Buffer[]> {
  const payloads: Buffer[] = []
  for (let at = 0; at < elements.length; at += MAX_AT_ONCE) {
    if (at > 0) await new Promise(resolve => setImmediate(resolve))
    for (const one of elements.slice(at, at + MAX_AT_ONCE)) payloads.push(Buffer.from(marshal(one)))
  }
  return payloads
}

/** The same again under the same `Idempotency-Key` is stored once; the original knew no such thing. */
function messagesOf(request: FastifyRequest, properties: Properties, payloads: readonly Buffer[]): NewMessage[] {
  const producer = request.caller?.keyId
  const given = request.headers['idempotency-key']
  const key = given === undefined ? undefined : String(given)
  if (key !== undefined && key.length > MAX_KEY_CHARS) throw invalid('idempotency-key', `at most ${MAX_KEY_CHARS} characters`)
  return payloads.map((payload, index) => ({
    payload,
    properties,
    producer,
    idempotencyKey: key === undefined ? undefined : `${producer} ${index} ${key}`,
  }))
}

/**
 * Part by part, and where some of a part are refused each of it for itself, in their order. Returns why those failed that did; when the
 * client has gone, so have those that were not begun.
 */
export async function appendEach(
  { streams }: { readonly streams: Pick<DurableStreams, 'append'> },
  ref: Ref,
  messages: readonly NewMessage[],
  gone: AbortSignal,
): Promise<Failure[]> {
  const failures: Failure[] = []
  for (let at = 0; at < messages.length; at += MAX_AT_ONCE) {
    const part = messages.slice(at, at + MAX_AT_ONCE)
    const failure = gone.aborted ? new Failure('unavailable', 'the client has gone') : await failureOf(streams.append(ref, part))
    if (failure?.code === 'not_found') throw failure
    if (failure && isOfOne(failure))
      failures.push(...(await Promise.all(part.map(one => failureOf(streams.append(ref, [one]))))).filter(one => one !== undefined))
    else if (failure) failures.push(...part.map(() => failure))
  }
  return failures
}

/** What one message is refused for is no fault of its neighbours; nor is it theirs when they are too large only together. */
function isOfOne({ code }: Failure): boolean {
  return code === 'invalid' || code === 'too_large'
}

async function failureOf(work: Promise<unknown>): Promise<Failure | undefined> {
  try {
    await work
    return undefined
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}

/** 400 for what was wrong with the elements; where it was not their fault, what they met (contracts.md 7, row 16). */
function answerBatch(reply: FastifyReply, count: number, failures: readonly Failure[]): FastifyReply {
  if (failures.length === 0) return reply.send({ error: null, success: true })
  const ours = failures.find(({ code }) => STATUS[code] >= 500)
  return reply
    .status(ours ? STATUS[ours.code] : 400)
    .send({ success: false, sent: count - failures.length, fail: failures.length, errors: failures.map(({ message }) => message) })
}
