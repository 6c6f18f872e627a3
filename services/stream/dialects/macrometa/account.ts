// What clients ask before they come to a stream: who they are, where this is, and a password for one WebSocket.
import type { FastifyRequest } from 'fastify'
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import { type Caller, type Identity, ownProject, roleIn } from '../../../../packages/identity/identity.ts'
import { guarded, type HttpApp } from '../../../../packages/runtime/http.ts'
import { byHeader, tenantOf } from './credential.ts'
import { envelope } from './shape.ts'
import { FABRIC } from './topic.ts'

export type AccountPorts = {
  readonly identity: Identity
  /** As people outside call this installation. */
  readonly publicUrl: string | undefined
}

const MAX_BYTES = 16 * 1024

export function addAccountRoutes(app: HttpApp, { identity, publicUrl }: AccountPorts): void {
  // Asked for before every WebSocket, by every device of a fleet that shares a key.
  const config = { raw: true, limit: 'ingest', authenticate: byHeader(identity) } as const
  app.post('/_open/auth', { config: { raw: true, open: true, limit: 'address' }, bodyLimit: MAX_BYTES }, request =>
    signIn(identity, request),
  )
  app.get('/_api/user', { config }, request => envelope([userOf(request)]))
  app.post('/_fabric/:fabric/_api/key/validate', { config, bodyLimit: MAX_BYTES }, request => envelope(userOf(request)))
  app.post('/apid/otp', { config, bodyLimit: MAX_BYTES }, async request => ({ otp: await identity.issueOtp(callerOf(request)) }))
  app.get('/datacenter/local', { config }, request => datacenter(hostOf(request, publicUrl)))
  // Of the vendor's API there is far more: callers who are known here are told so, and not that they are nobody.
  for (const prefix of ['_fabric', '_api', '_ws', 'apid', 'datacenter'])
    app.all(`/${prefix}/*`, { config }, () => {
      throw new Failure('not_found', 'there is no such route')
    })
}

/** Signed in on every route that is not open. */
export function callerOf(request: FastifyRequest): Caller {
  if (!request.caller) throw new Failure('unauthenticated', 'credentials missing')
  return request.caller
}

type SignIn = { readonly name: string; readonly password: string; readonly tenant: string | undefined }

async function signIn(identity: Identity, request: FastifyRequest): Promise<object> {
  const { name, password, tenant } = parseSignIn(request.body)
  const caller = await guarded(request, name, async () => {
    const found = await identity.verify(name, password)
    return found && (tenant === undefined || roleIn(found, tenant)) ? found : undefined
  })
  if (!caller) throw new Failure('unauthenticated', 'name or password wrong: send the id of a key and its secret')
  const project = tenant ?? ownProject(caller)
  if (project === undefined) throw nowhere()
  // One client reads the tenant in the token.
  const { token } = await identity.startAccess(caller, { tenant: project })
  return { jwt: token, tenant: project, username: caller.keyId }
}

function nowhere(): Failure {
  return new Failure('forbidden', 'this key has no role in its own project: name the tenant')
}

function parseSignIn(body: unknown): SignIn {
  const fields = objectOf(body)
  const text = (name: string) => {
    const value = fields[name]
    if (value !== undefined && typeof value !== 'string') throw invalid(name, 'expected a string')
    return value
  }
  const [name, password] = [text('email') ?? text('username'), text('password')]
  if (name === undefined || password === undefined) throw invalid('body', 'expected email and password, or username and password')
  const tenant = text('tenant')
  return { name, password, tenant: tenant === '' ? undefined : tenant }
}

function objectOf(body: unknown): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(Buffer.isBuffer(body) ? body.toString('utf8') : '')
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
  }
  throw invalid('body', 'expected a JSON object')
}

function userOf(request: FastifyRequest): object {
  const caller = callerOf(request)
  const tenant = tenantOf(request, caller)
  if (tenant === undefined) throw nowhere()
  return { tenant, username: caller.keyId, email: caller.account, active: true, dbName: FABRIC }
}

/** Clients put `api-` before it: where one came by such a name, that is one it can find. */
function hostOf({ headers }: FastifyRequest, publicUrl: string | undefined): string {
  const { host = 'localhost' } = headers
  if (host.startsWith('api-')) return host.slice('api-'.length)
  return publicUrl === undefined ? host : new URL(publicUrl).host.replace(/^api-/, '')
}

function datacenter(url: string): object {
  const host = url.replace(/:\d+$/, '')
  return {
    _key: host,
    name: host,
    host,
    local: true,
    status: 0,
    spot_region: false,
    tags: { url, api: `api-${url}` },
    locationInfo: { city: '', countrycode: '', countryname: '', latitude: 0, longitude: 0, url },
  }
}
