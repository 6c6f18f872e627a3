// Tokens of Memphis: a key and its secret for a pair of them, the next pair in any of the three ways that the original ever had, and who
// the caller of all other routes is (contracts.md 3.a.1-3.a.3).
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Failure } from '../../../../packages/core/failure.ts'
import type { Caller, Identity, Lifetimes, PairHolder } from '../../../../packages/identity/identity.ts'
import { guarded, type HttpApp } from '../../../../packages/runtime/http.ts'
import { readUser, settle } from '../home.ts'
import { type Fields, fieldsOf, integerOf, textOf } from './body.ts'

const COOKIE = 'jwt-refresh-token'
const MAX_BYTES = 32 * 1024
/** Of a token, as its signature ends: whose it says it is, to who counts guesses. */
const TAIL_CHARS = 40

export function addTokenRoutes(app: HttpApp, identity: Identity): void {
  const options = { config: { open: true, raw: true, limit: 'address' }, bodyLimit: MAX_BYTES } as const
  app.post('/auth/authenticate', options, async (request, reply) => {
    const fields = fieldsOf(request.body)
    const username = textOf(fields, 'username')
    // The successor calls it a password.
    const secret = textOf(fields, 'connection_token') ?? textOf(fields, 'password')
    const lifetimes = lifetimesOf(fields)
    const missing = [
      { field: 'Username', value: username },
      { field: 'ConnectionToken', value: secret },
    ].flatMap(({ field, value }) => (value === undefined ? [{ field, reason: 'required' }] : []))
    if (username === undefined || secret === undefined) return reply.status(400).send({ message: missing })
    const { keyId, project } = readUser(username)
    const caller = await guarded(request, keyId, () => identity.verify(keyId, secret))
    if (!caller || !settle(caller, project)) throw new Failure('unauthenticated', 'Wrong credentials')
    return answer(identity, request, reply, { caller, project }, lifetimes)
  })
  // The router is given addresses of Memphis in lower case.
  app.post('/auth/refreshtoken', options, async (request, reply) => {
    const fields = fieldsOf(request.body)
    const lifetimes = lifetimesOf(fields)
    const shown = [textOf(fields, 'jwt_refresh_token'), request.cookies[COOKIE], bearerOf(request)].filter(token => token !== undefined)
    const holder = shown.length > 0 ? await guarded(request, claimOf(shown), () => firstHolder(identity, shown)) : undefined
    if (!holder || holder === 'ended' || !settle(holder.caller, holder.project)) throw unauthorized()
    return answer(identity, request, reply, holder, lifetimes)
  })
}

/** What is out of date in one place does not spoil what is good in another; it is a guess where any of it is. */
async function firstHolder(identity: Identity, tokens: readonly string[]): Promise<PairHolder | 'ended' | undefined> {
  let guessed = false
  for (const token of tokens) {
    const holder = await identity.verifyRenewable(token)
    if (holder && holder !== 'ended') return holder
    guessed ||= holder === undefined
  }
  return guessed ? undefined : 'ended'
}

function claimOf([token = '']: readonly string[]): string {
  return token.slice(-TAIL_CHARS)
}

/** Durations in milliseconds, and not a key more: there are clients that fail on one that they do not know. */
async function answer(
  identity: Identity,
  request: FastifyRequest,
  reply: FastifyReply,
  { caller, project }: PairHolder,
  lifetimes: Lifetimes,
): Promise<object> {
  const { access, refresh, accessSeconds, refreshSeconds } = await identity.startPair(caller, project, lifetimes)
  const secure = request.protocol === 'https'
  void reply.setCookie(COOKIE, refresh, { httpOnly: true, sameSite: 'strict', secure, path: '/', maxAge: refreshSeconds })
  void reply.header('cache-control', 'no-store')
  return {
    expires_in: accessSeconds * 1000,
    jwt: access,
    jwt_refresh_token: refresh,
    refresh_token_expires_in: refreshSeconds * 1000,
  }
}

function lifetimesOf(fields: Fields): Lifetimes {
  return {
    accessMinutes: integerOf(fields, 'token_expiry_in_minutes'),
    refreshMinutes: integerOf(fields, 'refresh_token_expiry_in_minutes'),
  }
}

/** The caller by an access token; missing, malformed, forged and ended are all the same. */
export async function callerBy(identity: Identity, request: FastifyRequest): Promise<Caller> {
  const token = request.headers.authorization === undefined ? queried(request) : bearerOf(request)
  const holder = token === undefined ? undefined : await guarded(request, claimOf([token]), () => identity.verifyPair(token))
  const caller = holder && holder !== 'ended' ? settle(holder.caller, holder.project) : undefined
  if (!caller) throw unauthorized()
  return caller
}

/** Behind any one word: some write `Bearer:`. */
function bearerOf({ headers: { authorization = '' } }: FastifyRequest): string | undefined {
  return /^\S+ (\S+)$/.exec(authorization)?.[1]
}

function queried({ query }: FastifyRequest): string | undefined {
  const { authorization } = query as { readonly authorization?: unknown }
  return typeof authorization === 'string' ? authorization : undefined
}

export function unauthorized(): Failure {
  return new Failure('unauthenticated', 'Unauthorized')
}
