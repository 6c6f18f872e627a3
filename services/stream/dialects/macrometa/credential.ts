// Who calls, in this dialect's clothes (contracts.md 2.a.1): an API key, an access token in a header, or in the query of a WebSocket; there also
// a one-time password.
import type { FastifyRequest } from 'fastify'
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import { type Caller, type Identity, ownProject, roleIn } from '../../../../packages/identity/identity.ts'
import { guarded } from '../../../../packages/runtime/http.ts'

/** `{project}.{keyId}.{secret}`: neither of the first two can hold a dot. */
const API_KEY = /^apikey +([^. ]+)\.([^. ]+)\.(.+)$/i
const BEARER = /^bearer +(\S+)$/i
/** What a token is told apart by: the end of its signature. */
const TAIL_CHARS = 40

type Authenticate = (request: FastifyRequest) => Promise<Caller>

/** Of REST. */
export function byHeader(identity: Identity): Authenticate {
  return async request => known(await headerCaller(identity, request))
}

/** Of a handshake: browsers can set no header on it. */
export function byHandshake(identity: Identity): Authenticate {
  return async request => {
    if (request.headers.authorization !== undefined) return known(await headerCaller(identity, request))
    const { otp, token } = request.query as Readonly<Record<string, unknown>>
    // It stands for nobody, and nobody shows it twice.
    if (otp !== undefined) return known(await guarded(request, undefined, () => identity.redeemOtp(textOf('otp', otp))))
    return known(token === undefined ? undefined : await byToken(identity, request, textOf('token', token)))
  }
}

function known(caller: Caller | undefined): Caller {
  if (caller) return caller
  throw new Failure('unauthenticated', 'credentials missing or wrong: send `Authorization: apikey {project}.{keyId}.{secret}`, or a token')
}

async function headerCaller(identity: Identity, request: FastifyRequest): Promise<Caller | undefined> {
  const { authorization = '' } = request.headers
  const apiKey = API_KEY.exec(authorization)
  if (apiKey) return byApiKey(identity, request, apiKey[1] as string, apiKey[2] as string, apiKey[3] as string)
  const token = BEARER.exec(authorization)?.[1]
  return token === undefined ? undefined : byToken(identity, request, token)
}

/** A key works in the project that stands before it, and there only with a role. */
async function byApiKey(identity: Identity, request: FastifyRequest, project: string, keyId: string, secret: string) {
  return guarded(request, keyId, async () => {
    const caller = await identity.verify(keyId, secret)
    return caller && roleIn(caller, project) ? caller : undefined
  })
}

function byToken(identity: Identity, request: FastifyRequest, token: string): Promise<Caller | undefined> {
  return guarded(request, tailOf(token), () => identity.verifyToken(token))
}

function textOf(field: string, value: unknown): string {
  if (typeof value !== 'string') throw invalid(field, 'expected one value, got several')
  return value
}

function tailOf(text: string): string {
  return text.slice(-TAIL_CHARS)
}

/** The project that a caller means who was let in by `byHeader`; undefined for one without any. */
export function tenantOf({ headers }: FastifyRequest, caller: Caller): string | undefined {
  const { authorization = '' } = headers
  const named = API_KEY.exec(authorization)?.[1] ?? claimedTenant(BEARER.exec(authorization)?.[1])
  return named !== undefined && roleIn(caller, named) ? named : ownProject(caller)
}

/** Of a token that was verified. */
function claimedTenant(token: string | undefined): string | undefined {
  if (token === undefined) return undefined
  const { tenant } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as { readonly tenant?: unknown }
  return typeof tenant === 'string' ? tenant : undefined
}
