// Who sends a request, and where from: the credentials that it shows, looked at so that they cannot be guessed at without end.
import { normalizeIP } from '@fastify/rate-limit'
import type { FastifyRequest } from 'fastify'
import { Failure, invalid } from '../core/failure.ts'
import { type Caller, type Identity, type Role, requireActAs, requireRole } from '../identity/identity.ts'
import { deviceAsking } from './peer.ts'

export const SESSION_COOKIE = 'telltale_session'

/** Where a request comes from, as guesses are counted. A connection that is gone has no address any more, whatever the types say. */
export function addressOf({ ip = '' }: { readonly ip?: string | undefined }): string {
  return siteOf(ip)
}

/** Whom a site has for its own: of IPv6 the whole network. */
export function siteOf(ip: string): string {
  if (ip.startsWith('::ffff:')) return ip.slice('::ffff:'.length)
  return ip.includes(':') ? normalizeIP(ip, 64) : ip
}

/** Credentials are looked at in here, so that they cannot be guessed at without end; see guess.ts. */
export function guarded<T>(
  request: FastifyRequest,
  claim: string | undefined,
  check: () => Promise<T>,
  isGuess: (found: T) => boolean = found => found === undefined,
): Promise<T> {
  return request.server.guesses.attempt(addressOf(request), claim, check, isGuess)
}

const TAIL_CHARS = 40

/** Whose the credentials say they are: the key id of Basic; a token stands for itself, by the end of its signature. */
function claimOf(authorization: string): string {
  const basic = /^basic +(.+)$/i.exec(authorization)?.[1]
  return basic === undefined ? authorization.slice(-TAIL_CHARS) : (Buffer.from(basic, 'base64').toString('utf8').split(':', 1)[0] ?? '')
}

export async function authenticate(identity: Identity, request: FastifyRequest): Promise<Caller> {
  const { token } = request.query as { readonly token?: string | readonly string[] }
  if (Array.isArray(token)) throw invalid('token', 'expected one value, got several')
  const session = isSession(request) ? request.cookies[SESSION_COOKIE] : undefined
  const shown = { authorization: request.headers.authorization, token: typeof token === 'string' ? token : undefined, session }
  const proof = shown.authorization ?? shown.token ?? session
  const { devices } = request.routeOptions.config
  // Who shows nothing guesses nothing.
  const caller =
    proof === undefined
      ? await certified(identity, request)
      : await guarded(request, claimOf(proof), () => identity.authenticate(shown, devices))
  if (!caller && proof === undefined && !devices && deviceAsking(request.raw))
    throw new Failure('forbidden', 'a device publishes, and nothing else: this needs a key')
  if (!caller)
    throw new Failure('unauthenticated', 'credentials missing or wrong: send HTTP Basic with a key id and its secret, or a token')
  // A cookie travels with forged cross-site requests too, so what changes something must also carry a header that those cannot set.
  const changes = request.method !== 'GET' && request.method !== 'HEAD'
  if (session !== undefined && changes && request.headers['x-telltale-console'] === undefined)
    throw new Failure('forbidden', 'header x-telltale-console: expected with a session cookie on a request that changes something')
  return caller
}

/** By the certificate of the connection, where devices are let in. */
async function certified(identity: Identity, { raw, routeOptions }: FastifyRequest): Promise<Caller | undefined> {
  const device = routeOptions.config.devices ? deviceAsking(raw) : undefined
  return device && identity.certified(device.project, device.id)
}

/** By its cookie: where a key or a token stands beside it, that counts. */
export function isSession({ headers, query, cookies }: FastifyRequest): boolean {
  return headers.authorization === undefined && !Object.hasOwn(query as object, 'token') && cookies[SESSION_COOKIE] !== undefined
}

/** The projects that the wildcard `-` stands for. */
export function projectsOf(request: FastifyRequest): readonly string[] {
  return Object.keys(request.caller?.roles ?? {}).toSorted()
}

/** The caller of a request that passed authentication, holding at least this role in the project. */
export function callerIn(request: FastifyRequest, project: string, role: Role = 'user'): Caller {
  if (!request.caller) throw new Failure('unauthenticated', 'credentials missing')
  requireRole(request.caller, project, role)
  return request.caller
}

/** The caller of a request that brings events: a developer, or a device, if it is the one that is meant. */
export function publisherIn(request: FastifyRequest, project: string, device?: string): Caller {
  if (!request.caller) throw new Failure('unauthenticated', 'credentials missing')
  requireActAs(request.caller, project, device)
  return request.caller
}
