// The HTTP door: one event, an array or lines, answered when they are on disk.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Failure } from '../../packages/core/failure.ts'
import { contentKey } from '../../packages/core/id.ts'
import type { Caller } from '../../packages/identity/identity.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { type Clock, type Decoded, decodeJson, decodeLines, type Place } from './decode/json.ts'
import { type IngestPorts, ingest, type Outcome, refusal, setAside } from './ingest.ts'

export type HttpPorts = IngestPorts & { readonly clock: Clock }

type EventsRoute = { Params: { project: string } }
type PublishRoute = { Params: { project: string; device: string } }

const LINES = /^application\/(x-ndjson|ndjson|jsonl|x-jsonlines)$/
const JSON_TYPES: ReadonlySet<string> = new Set(['application/json', 'application/x-www-form-urlencoded', 'text/plain', ''])

export function addIngestRoutes(app: HttpApp, ports: HttpPorts): void {
  app.post<EventsRoute>('/v2/projects/:project/events', { config: { raw: true } }, (request, reply) =>
    take(ports, request, reply, { project: request.params.project }),
  )
  app.post<PublishRoute>(verb('/v2/projects/:project/devices/:device', 'publish'), { config: { raw: true } }, (request, reply) => {
    const { project, device } = request.params
    return take(ports, request, reply, { project, device })
  })
}

async function take(ports: HttpPorts, request: FastifyRequest, reply: FastifyReply, place: Place): Promise<FastifyReply> {
  const caller = callerIn(request, place.project, 'developer')
  const payload = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
  const from = sourceOf(ports, request, caller, place)
  const decoded = decode(ports, request, place, payload)
  if (decoded instanceof Failure) {
    const refused = [refusal(from, decoded, payload)]
    await new Promise<void>((resolve, reject) =>
      setAside(ports, place.project, refused, failure => (failure ? reject(failure) : resolve())),
    )
    throw decoded
  }
  const outcomes = await new Promise<readonly Outcome[]>((resolve, reject) =>
    ingest(ports, decoded, from, (failure, each) => (failure ? reject(failure) : resolve(each))),
  )
  return answer(reply, outcomes, place)
}

function sourceOf(ports: HttpPorts, request: FastifyRequest, caller: Caller, place: Place) {
  const idempotencyKey = request.headers['idempotency-key']
  const deliveryKey = (index: number) =>
    idempotencyKey === undefined ? ports.clock.newId() : contentKey(`${caller.keyId}\t${String(idempotencyKey)}\t${index}`)
  const source = `${request.method} ${request.originalUrl.split('?', 1)[0]}`
  return { project: place.project, source, keyId: caller.keyId, deliveryKey, mayRepeat: () => idempotencyKey !== undefined }
}

function decode(ports: HttpPorts, request: FastifyRequest, place: Place, payload: Buffer): Decoded[] | Failure {
  const type = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
  if (payload.length === 0)
    return new Failure('invalid', 'body: expected one event, an array of events, or one event per line', { field: 'body' })
  try {
    if (LINES.test(type)) return decodeLines(payload, place, ports.clock)
    if (JSON_TYPES.has(type)) return decodeJson(payload, place, ports.clock)
    return new Failure('unsupported', `content-type ${type}: expected application/json or application/x-ndjson`)
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}

/** 200 when all were accepted, 207 when some were, 400 when none. */
function answer(reply: FastifyReply, outcomes: readonly Outcome[], place: Place): FastifyReply {
  const errors = outcomes.flatMap((failure, index) =>
    failure ? [{ index, code: failure.code, field: failure.field, message: failure.message }] : [],
  )
  const accepted = outcomes.length - errors.length
  if (errors.length === 0 && place.device !== undefined) return reply.send({})
  if (accepted > 0 || errors.length === 0)
    return reply.status(errors.length === 0 ? 200 : 207).send({ accepted, rejected: errors.length, errors })
  const first = errors[0]
  return reply.status(400).send({
    error: first?.message,
    code: 400,
    help: 'https://www.rfc-editor.org/rfc/rfc9110#status.400',
    accepted: 0,
    rejected: errors.length,
    errors,
  })
}
