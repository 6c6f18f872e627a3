// One fastify per process: bodies as bytes, who the caller is, and every failure in the dialect's shape.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import fastifyCookie from '@fastify/cookie'
import fastifyCors from '@fastify/cors'
import fastifyHelmet from '@fastify/helmet'
import fastifyRateLimit from '@fastify/rate-limit'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { type FastifyError, type FastifyReply, type FastifyRequest, fastify, LogController } from 'fastify'
import type { TObject, TSchema } from 'typebox'
import { Failure, type FailureCode, invalid } from '../core/failure.ts'
import { alteredIn, mayBeAltered, repeatedKey } from '../core/json.ts'
import type { Caller, Identity } from '../identity/identity.ts'
import { translate } from '../redis/index.ts'
import { addressOf, authenticate, isSession } from './caller.ts'
import { GUESS_LIMITS, Guesses } from './guess.ts'
import { newId } from './id.ts'
import type { Logger } from './logger.ts'
import { addOpenApi } from './openapi.ts'
import { CORS, CSP } from './policy.ts'
import { checkOf, queryReader } from './schema.ts'
import { continueLate, stopLate, Uploads } from './upload.ts'
import { routedUrl } from './verb.ts'

export { callerIn, guarded, projectsOf, publisherIn, SESSION_COOKIE } from './caller.ts'
export { verb } from './verb.ts'

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller | undefined
    /** What is changed and where, if its route does not tell: it stands in the audit. */
    change: Change | undefined
  }
  interface FastifyInstance {
    guesses: Guesses
    shapes: Shape[]
    uploads: Uploads
  }
  interface FastifyContextConfig {
    /** Body as bytes; routes without it get parsed JSON. */
    raw?: boolean
    /** Body as it comes; see upload.ts. */
    streamed?: boolean
    /** No credentials needed. */
    open?: boolean
    /** Who the caller is, on routes of dialects whose clients show that in another way. Throws `unauthenticated`. */
    authenticate?: (request: FastifyRequest) => Promise<Caller>
    /** Devices are let in too, by their credentials and certificates; everywhere else they are refused. */
    devices?: boolean
    /** Which of the caller's limits a request counts against; `manage` unless said, and none on an open route but that of its address. */
    limit?: Limit | 'address'
  }
}

export type Limit = 'manage' | 'ingest'
export type Change = {
  readonly scopes: readonly (`projects/${string}` | `organizations/${string}`)[]
  /** Name of what was made or changed; unless said, the one that the answer begins with. */
  readonly resource?: string
}
/** What a refusal looks like to clients of a dialect. */
export type Refusal = { readonly status: number; readonly body: unknown }
export type Shape = { readonly path: RegExp; refuse(failure: Failure, status: number): Refusal }
/** Requests of one key; undefined: as many as it likes. */
export type Rate = { readonly requests: number; readonly windowMs: number }

export type HttpSettings = {
  readonly identity: Identity
  readonly log: Logger
  readonly version: string
  readonly limits: Readonly<Record<Limit, Rate | undefined>>
  /** Addresses and networks whose `X-Forwarded-*` is believed; none unless said. */
  readonly trustedProxies?: readonly string[]
  /** What a whole request has to come in, and its head unless that takes 15 s; 28 s. */
  readonly requestTimeoutMs?: number
}

export const STATUS: Readonly<Record<FailureCode, number>> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  too_large: 413,
  // 429 would be tried again for ever.
  quota_exceeded: 403,
  unsupported: 415,
  too_many: 429,
  unavailable: 503,
  setup: 500,
}

/** Of routes that take events; others need far less, and parse it in one piece. */
export const MAX_EVENTS_BYTES = 16 * 1024 * 1024
const MAX_BODY_BYTES = 1024 * 1024
/** Slow headers and a slow body are cut off, by default within 30 s, looked for every second (hazard 15). */
const HEADERS_TIMEOUT_MS = 15_000
const REQUEST_TIMEOUT_MS = 28_000
const LOOK_EVERY_MS = 1000
const MAX_PARAM_CHARS = 512

function create(log: Logger, trustedProxies: readonly string[], requestTimeout: number) {
  const uploads = new Uploads()
  return fastify({
    trustProxy: trustedProxies.length === 0 ? false : [...trustedProxies],
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    rewriteUrl: request => routedUrl(request.url ?? '/'),
    // Stands in the audit: not to be met again after a restart.
    genReqId: () => newId(),
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout,
    // Node itself would answer a request without a host, and without a word.
    http: {
      headersTimeout: Math.min(HEADERS_TIMEOUT_MS, requestTimeout),
      connectionsCheckingInterval: LOOK_EVERY_MS,
      requireHostHeader: false,
    },
    clientErrorHandler: (error, socket) => {
      if (error.code !== LATE || !uploads.isSlow(socket)) refuseClient(error, socket)
    },
    keepAliveTimeout: 65_000,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: MAX_PARAM_CHARS },
    // A URL that no route can be looked up for.
    frameworkErrors: (error, request, reply) => {
      // No hook has run: what they set for all other answers is set here.
      void reply.headers({ 'referrer-policy': 'no-referrer', 'x-content-type-options': 'nosniff' })
      void sendFailure(toFailure(error, request), request, reply)
    },
  })
    .decorate('shapes', [])
    .decorate('uploads', uploads)
    .withTypeProvider<TypeBoxTypeProvider>()
}

export type HttpApp = ReturnType<typeof create>

/** What is no HTTP, or comes too slowly. Nothing of it is repeated or logged: it may hold a token (hazards 17, 20). */
function refuseClient(error: { readonly code?: string }, socket: Socket): void {
  const [status, message] = CLIENT_ERRORS[error.code ?? ''] ?? ['400 Bad Request', 'the request is not HTTP as RFC 9112 has it']
  if (!socket.writable || isAnswering(socket)) {
    socket.destroy()
    return
  }
  const body = bodyOf(Number.parseInt(status, 10), message)
  const head = `content-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`
  socket.end(`HTTP/1.1 ${status}\r\n${head}\r\n\r\n${body}`)
  // Who goes on sending is not waited for.
  setTimeout(() => socket.destroy(), LOOK_EVERY_MS).unref()
}

/** `Expect` with anything but what Node knows. */
function refuseExpectation(_request: IncomingMessage, response: ServerResponse): void {
  const body = bodyOf(417, 'header expect: expected 100-continue')
  const headers = { 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(body), connection: 'close' }
  response.writeHead(417, headers).end(body)
}

function bodyOf(code: number, message: string): string {
  return JSON.stringify({ error: message, code, help: helpOn(code) })
}

/**
 * Whether what is written now would end up in an answer that has begun, or be read as the answer to a whole request that was sent before.
 * Node tells which answer a connection is at only by this field, and looks at it itself where nobody listens for the error.
 */
function isAnswering(socket: Socket): boolean {
  const { _httpMessage: answer } = socket as { readonly _httpMessage?: ServerResponse | null }
  return answer != null && (answer.headersSent || answer.req.complete)
}

const LATE = 'ERR_HTTP_REQUEST_TIMEOUT'
const CLIENT_ERRORS: Readonly<Record<string, readonly [status: string, message: string]>> = {
  [LATE]: ['408 Request Timeout', 'the request did not come in time'],
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'the headers are longer than 16 KiB'],
}

function helpOn(status: number): string {
  return `https://www.rfc-editor.org/rfc/rfc9110#status.${status}`
}

export async function openHttp(settings: HttpSettings): Promise<HttpApp> {
  const { identity, log, version, limits, trustedProxies = [], requestTimeoutMs = REQUEST_TIMEOUT_MS } = settings
  const app = create(log, trustedProxies, requestTimeoutMs)
  app.server.on('checkExpectation', refuseExpectation)
  continueLate(app)
  stopLate(app)
  await app.register(fastifyCookie)
  const headers = await safeHeaders()
  // On the answer itself: some routes write it by hand.
  app.addHook('onRequest', (_request, reply, done) => {
    for (const [name, value] of headers) reply.raw.setHeader(name, value)
    done()
  })
  await app.register(fastifyCors, CORS)
  await app.register(fastifyRateLimit, { global: false })
  app.setValidatorCompiler<TSchema>(({ schema, httpPart }) =>
    httpPart === 'querystring' ? queryReader(schema as TObject) : checkOf(schema, httpPart ?? 'body'),
  )
  app.setSerializerCompiler(() => data => JSON.stringify(data))
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  app.decorateRequest('caller', undefined)
  app.decorateRequest('change', undefined)
  app.decorate('guesses', new Guesses(limits.manage && GUESS_LIMITS))
  const limited = limiterOf(app, limits)
  app.addHook('onRequest', async request => {
    // [RFC 9112 3.2]
    if (request.headers.host === undefined && request.raw.httpVersion === '1.1')
      throw invalid('header host', 'expected the address that was asked, but it is missing')
    const { open, limit, authenticate: authenticateThere } = request.routeOptions.config
    if (!open) request.caller = await (authenticateThere ? authenticateThere(request) : authenticate(identity, request))
    if (!open || limit === 'address') await limited(request)
  })
  app.addHook('preValidation', async request => {
    // Its body is nobody's.
    if (request.is404) return
    const { 'content-encoding': encoding = 'identity' } = request.headers
    if (encoding !== 'identity' && request.body !== undefined && !request.routeOptions.config.streamed)
      throw new Failure('unsupported', `header content-encoding: expected identity, got ${encoding.slice(0, 50)}: send the body as it is`)
    if (!request.routeOptions.config.raw && !request.routeOptions.config.streamed) request.body = parseBody(request.body)
  })
  app.setErrorHandler((error: FastifyError, request, reply) => sendFailure(toFailure(error, request), request, reply))
  await addOpenApi(app, version)
  app.setNotFoundHandler((request, reply) =>
    sendFailure(new Failure('not_found', `no route ${request.method} ${pathOf(request)}`), request, reply),
  )
  return app
}

/** The same in every answer. The plugin would put them together anew for each, of its settings. */
async function safeHeaders(): Promise<readonly (readonly [name: string, value: string])[]> {
  const bare = fastify()
  await bare.register(fastifyHelmet, { contentSecurityPolicy: { useDefaults: false, directives: CSP }, strictTransportSecurity: false })
  const names: string[] = []
  bare.get('/', (_request, reply) => {
    names.push(...reply.raw.getHeaderNames())
    return reply.send()
  })
  const { headers } = await bare.inject('/')
  await bare.close()
  return names.map(name => [name, String(headers[name])] as const)
}

/** Of one address, to sign in and to get tokens: a whole site may be behind it. */
const ADDRESS_RATE: Rate = { requests: 600, windowMs: 60_000 }

type Limiter = (request: FastifyRequest) => Promise<void>

/** Counts per key and kind, in this process (contracts.md 1.b.8). */
function limiterOf(app: HttpApp, limits: HttpSettings['limits']): Limiter {
  const counter = (kind: string, rate: Rate | undefined, who: (request: FastifyRequest) => string) =>
    rate && app.createRateLimit({ max: rate.requests, timeWindow: rate.windowMs, keyGenerator: request => `${kind} ${who(request)}` })
  // Whoever works in the console is not held up by programs that use the same key.
  const key = (request: FastifyRequest) => `${isSession(request) ? 'session' : 'key'} ${request.caller?.keyId ?? ''}`
  const counters = {
    manage: counter('manage', limits.manage, key),
    ingest: counter('ingest', limits.ingest, key),
    address: counter('address', limits.manage && ADDRESS_RATE, request => `${addressOf(request)} ${request.routeOptions.url ?? ''}`),
  }
  return async request => {
    const count = counters[request.routeOptions.config.limit ?? 'manage']
    const found = await count?.(request)
    if (!found || found.isAllowed || !found.isExceeded) return
    throw new Failure('too_many', `at most ${found.max} requests in ${found.timeWindow / 1000} s`, { retryAfterMs: found.ttl })
  }
}

/** The path without the query, which may hold a token (hazard 20). */
function pathOf(request: FastifyRequest): string {
  return request.originalUrl.split('?', 1)[0] as string
}

function parseBody(body: unknown): unknown {
  if (!Buffer.isBuffer(body) || body.length === 0) return undefined
  const text = body.toString('utf8')
  let value: unknown
  let suspicious = false
  try {
    value = JSON.parse(text, (key, part) => {
      suspicious ||= mayBeAltered(key, part)
      if (key === '__proto__') throw new SyntaxError('"__proto__" is not a field name')
      return part as unknown
    })
  } catch (error) {
    throw new Failure('invalid', `body: not JSON: ${(error as Error).message}`, { field: 'body', cause: error })
  }
  const repeated = repeatedKey(text)
  if (repeated !== undefined) throw invalid('body', `the key ${JSON.stringify(repeated.slice(0, 100))} is given twice in one object`)
  const altered = suspicious ? alteredIn(text, value) : undefined
  if (altered) throw invalid(altered.path.slice(0, 200) || 'body', `${altered.why}: send it as text; as a message also as payload`)
  return value
}

/** What went wrong, in words for the caller; dialects put them into their own shapes. */
export function toFailure(error: FastifyError, request: FastifyRequest): Failure {
  const known = translate(error)
  if (known instanceof Failure) return known
  // The framework's own words repeat the address with its query, which may hold a token (hazard 20).
  if (error.code === 'FST_ERR_BAD_URL') return new Failure('invalid', `${pathOf(request)} is not a valid address`)
  if (error.code === 'FST_ERR_MAX_PARAM_LENGTH')
    return new Failure('invalid', `address: at most ${MAX_PARAM_CHARS} characters in each part`)
  if (error.statusCode === 413) return new Failure('too_large', `body: at most ${request.routeOptions.bodyLimit ?? MAX_BODY_BYTES} bytes`)
  if (error.statusCode === 415) return new Failure('unsupported', error.message)
  if (error.statusCode !== undefined && error.statusCode < 500) return new Failure('invalid', error.message)
  request.log.error({ err: error, method: request.method, path: pathOf(request) }, 'request failed')
  return new Failure('setup', 'internal error')
}

/** Every refusal under these paths has this shape, also of what is no route (contracts.md 6.0). */
export function shapeErrors(app: HttpApp, path: RegExp, refuse: Shape['refuse']): void {
  app.shapes.push({ path, refuse })
}

function sendFailure(failure: Failure, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const path = pathOf(request)
  const shape = request.server.shapes.find(one => one.path.test(path))
  const { status, body } = shape?.refuse(failure, STATUS[failure.code]) ?? refusalOf(failure, path)
  sayWhen(failure, reply)
  if (failure.code === 'unauthenticated') reply.header('www-authenticate', `${schemeFor(request)} realm="telltale"`)
  return reply.status(status).send(body)
}

function refusalOf(failure: Failure, path: string): Refusal {
  const status = STATUS[failure.code]
  return { status, body: failureBody(failure, status, path.endsWith(':stream')) }
}

/** When to try again, where that makes sense. */
export function sayWhen(failure: Failure, reply: FastifyReply): void {
  if (failure.code === 'unavailable' || failure.code === 'too_many')
    reply.header('retry-after', Math.max(1, Math.ceil((failure.retryAfterMs ?? 1000) / 1000)))
}

/** A browser asks its user for Basic credentials, in a dialog of its own, even when it was a script of our page that was refused. */
function schemeFor({ headers }: FastifyRequest): 'Basic' | 'Session' {
  const script = headers['user-agent']?.startsWith('Mozilla/') === true && headers.accept?.includes('text/html') !== true
  return script ? 'Session' : 'Basic'
}

/** Clients read `error` as an object on streams and as a text elsewhere (contracts.md 1.a.4, 1.a.11). */
export function failureBody(failure: Failure, status: number, stream = false): object {
  const help = helpOn(status)
  if (!stream) return { error: failure.message, code: status, help, ...(failure.field === undefined ? {} : { field: failure.field }) }
  return { error: { code: status, message: failure.message, details: [] }, code: status, help }
}
