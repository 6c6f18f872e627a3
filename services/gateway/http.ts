// The HTTP door: one event, an array or lines, answered when they are on disk.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { isEmulated } from '../../packages/core/device.ts'
import { Failure } from '../../packages/core/failure.ts'
import { contentKey } from '../../packages/core/id.ts'
import type { Caller } from '../../packages/identity/identity.ts'
import { callerIn, type HttpApp, MAX_EVENTS_BYTES, verb } from '../../packages/runtime/http.ts'
import { DeviceId, described, Empty, ProjectId } from '../../packages/runtime/schema.ts'
import type { Clock, Decoded, Place } from './decode/event.ts'
import { decodeJson, decodeLines } from './decode/json.ts'
import { type IngestPorts, ingest, type Outcome, refusal, setAside } from './ingest.ts'

export type HttpPorts = IngestPorts & {
  readonly clock: Clock
  /** Fails with `not_found` when the device is not registered. */
  known(project: string, device: string): Promise<unknown>
}

const RAW = { config: { raw: true, limit: 'ingest' }, bodyLimit: MAX_EVENTS_BYTES } as const
const project = ProjectId
const EmulatedId = Type.String({ ...DeviceId, examples: ['emucr1tq0gd2kq0f5m3n780'] })
const tags = ['events']
const EventBody = Type.Object(
  {
    eventId: Type.Optional(Type.String({ description: 'yours; the same again is a repeat' })),
    targetName: Type.String({ description: 'projects/{project}/devices/{device}' }),
    eventType: Type.String(),
    data: Type.Record(Type.String(), Type.Unknown(), { description: 'keyed by the event type' }),
    timestamp: Type.Optional(Type.String({ description: 'RFC 3339; now unless said' })),
  },
  {
    description: 'one event, an array of them, or one per line with content type application/x-ndjson',
    examples: [{ targetName: 'projects/default/devices/freezer-1', eventType: 'temperature', data: { temperature: { value: -18.5 } } }],
  },
)
const DataBody = Type.Record(Type.String(), Type.Unknown(), {
  description: 'data of one event, keyed by its type; what is missing is filled in',
  examples: [{ temperature: { value: 21.5 } }],
})
const EventsAnswer = Type.Object({
  accepted: Type.Integer(),
  rejected: Type.Integer(),
  errors: Type.Array(
    Type.Object({ index: Type.Integer(), code: Type.String(), field: Type.Optional(Type.String()), message: Type.String() }),
  ),
})

const LINES = /^application\/(x-ndjson|ndjson|jsonl|x-jsonlines)$/
const JSON_TYPES: ReadonlySet<string> = new Set(['application/json', 'application/x-www-form-urlencoded', 'text/plain', ''])

export function addIngestRoutes(app: HttpApp, ports: HttpPorts): void {
  app.post(
    '/v2/projects/:project/events',
    {
      ...RAW,
      schema: {
        operationId: 'createEvents',
        summary: 'Accepts events; answers when they are on disk',
        tags,
        params: Type.Object({ project }),
        body: described(EventBody),
        response: { 200: EventsAnswer, 207: EventsAnswer },
      },
    },
    async (request, reply) => {
      await take(ports, request, reply, { project: request.params.project })
      return reply
    },
  )
  addPublish(app, ports, '/v2', 'publish')
  addPublish(app, ports, '/emulator/v2', 'publishEmulated')
}

function addPublish(app: HttpApp, ports: HttpPorts, base: string, operationId: string): void {
  app.post(
    verb(`${base}/projects/:project/devices/:device`, 'publish'),
    {
      ...RAW,
      schema: {
        operationId,
        summary: base === '/v2' ? 'Accepts one event of a device' : 'Lets an emulated device send an event',
        tags,
        params: Type.Object({ project, device: base === '/v2' ? DeviceId : EmulatedId }),
        body: described(DataBody),
        response: { 200: Empty },
      },
    },
    async (request, reply) => {
      const { project, device } = request.params
      callerIn(request, project, 'developer')
      // Devices that are there make themselves known; those of the emulator are made.
      if (isEmulated(device)) await ports.known(project, device)
      else if (base !== '/v2')
        throw new Failure('not_found', `emulated device ${device} does not exist in project ${project}`, { field: 'device' })
      await take(ports, request, reply, { project, device })
      return reply
    },
  )
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
  const delivery = idempotencyKey === undefined ? ports.clock.newId() : contentKey(`${caller.keyId}\t${String(idempotencyKey)}`)
  const deliveryKey = (index: number) => `${delivery}.${index}`
  const source = `${request.method} ${request.originalUrl.split('?', 1)[0]}`
  const { project, device } = place
  const sent = { contentType: mediaType(request), again: { place: { device } } }
  return { project, source, keyId: caller.keyId, ...sent, deliveryKey, mayRepeat: () => idempotencyKey !== undefined }
}

function decode(ports: HttpPorts, request: FastifyRequest, place: Place, payload: Buffer): Decoded[] | Failure {
  const type = mediaType(request)
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

function mediaType(request: FastifyRequest): string {
  return (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
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
