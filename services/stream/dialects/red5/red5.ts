// The dialect of Red5 Pro's Stream Manager (contracts.md 5): a directory of live streams and of the nodes that serve them.
// Its clients send no credentials for what they ask, so what they are shown is a setting (docs/decisions/0017).
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import { type Caller, type Identity, kindOfText, roleIn } from '../../../../packages/identity/identity.ts'
import { guarded, type HttpApp, shapeErrors } from '../../../../packages/runtime/http.ts'
import type { Audit } from '../../../../packages/state/audit.ts'
import type { Directory } from '../../../../packages/state/directory.ts'
import type { Scope } from '../../../../packages/state/registry.ts'
import { answerAdmin } from './admin.ts'
import { answerEvent } from './event.ts'
import { oneOf, type Query } from './query.ts'
import { isVersion, refuse, type Version } from './shape.ts'

export type Red5Ports = {
  readonly directory: Directory
  readonly identity: Identity
  readonly audit: Audit
  /** Projects whose live streams anybody sees. */
  readonly open: 'all' | readonly string[]
}

type Asked = { readonly version: Version; readonly kind: string; readonly path: readonly string[]; readonly method: string }

export function addRed5(app: HttpApp, ports: Red5Ports): void {
  shapeErrors(app, /^\/streammanager(\/|$)/, refuse)
  // One route: what is asked for stands in any number of pieces, and what nobody knows is refused to whoever asks.
  app.route({
    method: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
    url: '/streammanager/*',
    config: { open: true, raw: true, limit: 'address' },
    handler: (request, reply) => answer(ports, request, reply),
  })
}

async function answer(ports: Red5Ports, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { version, kind, path, method } = parsePath(request)
  const query = request.query as Query
  void reply.header('cache-control', 'no-store')
  if (kind === 'event' && method === 'GET') {
    const caller = await callerOf(ports.identity, request, query)
    return reply.send(await answerEvent(ports.directory, { version, path, query, sees: project => mayKnow(ports, caller, project) }))
  }
  if (kind !== 'admin') throw new Failure('not_found', `no route ${method} /${kind.slice(0, 100)}`)
  const caller = await callerOf(ports.identity, request, query)
  if (!caller) throw invalid('accessToken', 'expected an access token, or the secret of a key')
  const { body, changed = [] } = await answerAdmin(ports.directory, { version, method, path, query, caller })
  await record(ports.audit, changed, caller, request)
  return reply.send(body)
}

function decoded(piece: string): string {
  try {
    return decodeURIComponent(piece)
  } catch (error) {
    throw new Failure('invalid', 'address: not valid percent-encoding', { cause: error })
  }
}

/** Pieces are told apart before they are decoded: `%2F` is part of a name. Empty ones come from scopes written with their slash. */
function parsePath({ method, originalUrl }: FastifyRequest): Asked {
  const [path = ''] = originalUrl.split('?', 1)
  const [, api, version = '', kind = '', ...rest] = path.split('/').flatMap(piece => (piece === '' ? [] : [decoded(piece)]))
  if (api !== 'api' || !isVersion(version)) throw new Failure('not_found', 'expected /streammanager/api/ and a version from 1.0 to 4.0')
  return { version, kind, path: rest, method: method === 'HEAD' ? 'GET' : method }
}

/** Undefined for who shows nothing; who shows something that is wrong is told. */
async function callerOf(identity: Identity, request: FastifyRequest, query: Query): Promise<Caller | undefined> {
  const { authorization } = request.headers
  const accessToken = oneOf(query, 'accessToken') || undefined
  if (accessToken === undefined && authorization === undefined) return undefined
  const caller =
    accessToken === undefined
      ? await guarded(request, claimOfHeader(authorization ?? ''), () => identity.authenticate({ authorization }))
      : await guarded(request, claimOfText(accessToken), () => identity.authenticateText(accessToken))
  if (!caller) throw invalid(accessToken === undefined ? 'header authorization' : 'accessToken', 'nobody has this')
  return caller
}

const TAIL_CHARS = 40

/** A key id where there is one; a token stands for itself; and all guesses at the bare secret of the first key count together. */
function claimOfText(text: string): string {
  const kind = kindOfText(text)
  if (kind === 'secret') return ''
  return kind === 'key' ? (text.split(':', 1)[0] as string) : text.slice(-TAIL_CHARS)
}

function claimOfHeader(authorization: string): string {
  const basic = /^basic +(.+)$/i.exec(authorization)?.[1]
  return basic === undefined ? authorization.slice(-TAIL_CHARS) : claimOfText(Buffer.from(basic, 'base64').toString('utf8'))
}

function mayKnow({ open }: Red5Ports, caller: Caller | undefined, project: string): boolean {
  return open === 'all' || open.includes(project) || (caller !== undefined && roleIn(caller, project) !== undefined)
}

async function record(audit: Audit, scopes: readonly Scope[], { keyId, account }: Caller, request: FastifyRequest): Promise<void> {
  const path = request.originalUrl.split('?', 1)[0] as string
  const entry = { keyId, account, method: request.method, path, resource: '', status: 200, requestId: request.id }
  for (const scope of scopes) await audit.add(scope, entry)
}
