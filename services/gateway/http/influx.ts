// InfluxDB's write APIs of 1.x and 2.x, so that Telegraf and Influx clients can be pointed here as they are. A bucket or database is a
// project; a line is an event (decode/influx.ts).
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import { type Caller, type Identity, ownProject, requireRole, roleIn } from '../../../packages/identity/identity.ts'
import { guarded, type HttpApp, shapeErrors } from '../../../packages/runtime/http.ts'
import { addStreamed } from '../../../packages/runtime/upload.ts'
import { PRECISIONS } from '../decode/influx.ts'
import { partialWrite, refuseV1, refuseV2 } from './influxshape.ts'
import { type TakePorts, takeBody } from './take.ts'

export type InfluxPorts = TakePorts & { readonly identity: Pick<Identity, 'authenticate' | 'authenticateText'> }

/** What clients ask for before they choose what they can do. */
const VERSION = '1.8.10'
const HEADERS = { 'x-influxdb-version': VERSION, 'x-influxdb-build': 'Telltale' }
const OPEN = { config: { open: true } } as const

type Query = Readonly<Record<string, string | readonly string[] | undefined>>

export function addInflux(app: HttpApp, ports: InfluxPorts): void {
  shapeErrors(app, /^\/api\/v2\//, refuseV2)
  shapeErrors(app, /^\/(write|query)$/, refuseV1)
  app.addHook('onSend', async (request, reply) => {
    if (INFLUX.test(request.routeOptions.url ?? '')) void reply.headers(HEADERS)
  })
  app.get('/ping', OPEN, (request, reply) => ping(request, reply))
  app.get('/health', OPEN, () => ({
    name: 'influxdb',
    message: 'ready for writes',
    status: 'pass',
    checks: [],
    version: VERSION,
    commit: '',
  }))
  const config = { limit: 'ingest', authenticate: (request: FastifyRequest) => callerOf(ports, request) } as const
  app.route({
    method: ['GET', 'POST'],
    url: '/query',
    config: { ...config, raw: true },
    handler: (request, reply) => answerQuery(request, reply),
  })
  addStreamed(app, inner => {
    const streamed = { config: { ...config, streamed: true } }
    inner.post('/api/v2/write', streamed, (request, reply) => write(ports, request, reply, bucketOf(request)))
    inner.post('/write', streamed, (request, reply) => write(ports, request, reply, databaseOf(request)))
  })
}

const INFLUX = /^\/(api\/v2\/write|write|query|ping|health)$/

function ping(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const verbose = one(request, 'verbose') ?? ''
  return verbose === '' || verbose === '0' || verbose === 'false' ? reply.status(204).send() : reply.send({ version: VERSION })
}

async function write(ports: TakePorts, request: FastifyRequest, reply: FastifyReply, project: string): Promise<FastifyReply> {
  const { caller } = request
  if (!caller) throw new Failure('unauthenticated', 'credentials missing')
  requireRole(caller, project, 'developer')
  const precision = one(request, 'precision') || 'ns'
  if (!(PRECISIONS as readonly string[]).includes(precision)) throw invalid('precision', `expected one of ${PRECISIONS.join(', ')}`)
  const known = await ports.catalog.of(project)
  // Whatever else a project reads this content type with, these routes take lines.
  const { mapping, format } = known.mappings.ofFormat('influx')
  const options = { precision }
  const chosen = { format, mapping: { ...mapping, options: { ...mapping.options, ...options } } }
  const sent = { caller, place: { project }, decoder: undefined, chosen, again: { format: format.name, options } }
  const taken = await takeBody(ports, request, reply, sent)
  if (!taken) return reply.hijack()
  const { accepted, rejected, errors, badLine } = taken.tally
  if (taken.failure) throw told(taken.isLate ? late(taken.failure) : taken.failure, accepted)
  if (rejected > 0) throw new Failure('invalid', partialWrite(`line ${badLine ?? 1}: ${errors[0]?.message ?? ''}`, rejected))
  return reply.status(204).send()
}

/** Telegraf and the clients drop what is refused with any 4xx but 429, 408 too, and send again what is refused with 503. */
function late({ message, field }: Failure): Failure {
  return new Failure('unavailable', message, field === undefined ? {} : { field })
}

function told({ code, message, field, retryAfterMs }: Failure, accepted: number): Failure {
  const detail = { ...(field === undefined ? {} : { field }), ...(retryAfterMs === undefined ? {} : { retryAfterMs }) }
  return new Failure(code, accepted === 0 ? message : `${message}; the first ${accepted} lines are written`, detail)
}

/** `{project}` or `{project}/{anything}`. In 2.x somebody has made a bucket by hand before it is written to: one that is not there is a mistake. */
function bucketOf(request: FastifyRequest): string {
  const bucket = one(request, 'bucket') ?? ''
  if (bucket === '') throw invalid('bucket', 'expected the id of a project')
  const [project = ''] = bucket.split('/', 1)
  if (!request.caller || !roleIn(request.caller, project)) throw notFound(`bucket ${JSON.stringify(bucket.slice(0, 100))} not found`)
  return project
}

/**
 * A database of 1.x is made by whoever writes to it, by default under the name of the program: one that is no project of the caller's is the
 * caller's own project.
 */
function databaseOf(request: FastifyRequest): string {
  const database = one(request, 'db') ?? ''
  if (database === '') throw invalid('db', 'database is required')
  const [project = ''] = database.split('/', 1)
  const { caller } = request
  const own = caller && (roleIn(caller, project) ? project : ownProject(caller))
  if (own === undefined) throw notFound(`database not found: ${JSON.stringify(database.slice(0, 100))}`)
  return own
}

function notFound(message: string): Failure {
  return new Failure('not_found', message)
}

function one({ query }: FastifyRequest, name: string): string | undefined {
  const value = (query as Query)[name]
  if (typeof value === 'object') throw invalid(name, 'expected one value, got several')
  return value
}

/** Of what is trimmed, and so long at most: behind it are only parts that cannot stand for each other. */
const CREATE = /^CREATE\s+DATABASE\s+(?:"(?:[^"\\]|\\.)*"|\w+)(?:\s+WITH\s[\w\s"]*)?;?$/i
const MAX_QUERY_CHARS = 1000

/** Only what clients send before they write. A database is there as soon as it is written to. */
async function answerQuery(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const text = Buffer.isBuffer(request.body) ? request.body.toString('utf8') : ''
  const q = one(request, 'q') ?? new URLSearchParams(text).get('q') ?? ''
  if (q === '') throw invalid('q', 'missing required parameter "q"')
  if (q.length > MAX_QUERY_CHARS || !CREATE.test(q.trim()))
    throw invalid(
      'q',
      'only CREATE DATABASE is answered here: what was written is read by GET /v2/projects/{project}/devices/{device}/events',
    )
  return reply.send({ results: [{ statement_id: 0 }] })
}

const TOKEN = /^token +(\S+)$/i

/** `Token {keyId:secret}` or an access token; HTTP Basic, `Bearer`; in 1.x also `u` and `p` of the query. */
async function callerOf({ identity }: InfluxPorts, request: FastifyRequest): Promise<Caller> {
  const { authorization } = request.headers
  const token = TOKEN.exec(authorization ?? '')?.[1]
  const [user, password] = request.routeOptions.url === '/api/v2/write' ? [] : [one(request, 'u'), one(request, 'p')]
  const text = token ?? (authorization === undefined && user !== undefined ? `${user}:${password ?? ''}` : undefined)
  const caller =
    text === undefined
      ? authorization && (await guarded(request, claimOf(authorization), () => identity.authenticate({ authorization })))
      : await guarded(request, claimOf(text), () => identity.authenticateText(text))
  if (caller) return caller
  throw new Failure(
    'unauthenticated',
    'credentials missing or wrong: send a key id and its secret, as user and password or as token "keyId:secret"',
  )
}

const TAIL_CHARS = 40

/** Whose it says it is: a token stands for itself, by the end of its signature. */
function claimOf(text: string): string {
  const basic = /^basic +(.+)$/i.exec(text)?.[1]
  const shown = basic === undefined ? text : Buffer.from(basic, 'base64').toString('utf8')
  return shown.includes(':') ? (shown.split(':', 1)[0] ?? '') : shown.slice(-TAIL_CHARS)
}
