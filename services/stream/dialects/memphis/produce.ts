// Producing to a station: one message as the bytes that came, or a batch whose elements succeed and fail one by one (contracts.md 3.a.4, 3.a.5).
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import type { Caller } from '../../../../packages/identity/identity.ts'
import type { NewMessage } from '../../../../packages/log/durable/message.ts'
import type { Ref } from '../../../../packages/log/durable/stream.ts'
import { type HttpApp, STATUS } from '../../../../packages/runtime/http.ts'
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
    const [message] = messagesOf(request, [bodyOf(request)])
    await produce(request, request.params.station, async ref => (message ? (await ports.streams.append(ref, [message])).length : 0))
    return { error: null, success: true }
  })
  app.post<Route>('/stations/:station/produce/batch', options, async (request, reply) => {
    const type = request.headers['content-type'] ?? ''
    if (settings.strictDialects ? type !== JSON_TYPE : !type.includes(JSON_TYPE)) throw unsupported(settings, type)
    const messages = messagesOf(request, elementsOf(bodyOf(request)))
    const failures: Failure[] = []
    await produce(request, request.params.station, async ref => {
      failures.push(...(await appendEach(ports, ref, messages)))
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

function elementsOf(body: Buffer): Buffer[] {
  const elements = parseJson(body.toString('utf8'))
  if (!Array.isArray(elements) || elements.some(one => typeof one !== 'object' || one === null || Array.isArray(one)))
    throw new Failure('invalid', 'unsupported request: expected an array of JSON objects', { field: 'body' })
  return elements.map(one => Buffer.from(marshal(one)))
}

/** The same again under the same `Idempotency-Key` is stored once; the original knew no such thing. */
function messagesOf(request: FastifyRequest, payloads: readonly Buffer[]): NewMessage[] {
  const properties = propertiesOf(request.headers)
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

/** All together, and where the schema refuses some of them each for itself, in their order; why those failed that did. */
async function appendEach({ streams }: Pick<MemphisPorts, 'streams'>, ref: Ref, messages: readonly NewMessage[]): Promise<Failure[]> {
  const failures: Failure[] = []
  for (let at = 0; at < messages.length; at += MAX_AT_ONCE) {
    const part = messages.slice(at, at + MAX_AT_ONCE)
    const failure = await failureOf(streams.append(ref, part))
    if (failure?.code === 'not_found') throw failure
    if (failure?.field !== 'schema') failures.push(...(failure ? part.map(() => failure) : []))
    else failures.push(...(await Promise.all(part.map(one => failureOf(streams.append(ref, [one]))))).filter(one => one !== undefined))
  }
  return failures
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
