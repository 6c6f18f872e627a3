// The audit: every answered request that changes something is recorded before its answer goes out, and admins can read it.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { invalid } from '../../packages/core/failure.ts'
import { type Caller, roleIn } from '../../packages/identity/identity.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import { type Audit, isRecordId } from '../../packages/state/audit.ts'
import type { Scope } from '../../packages/state/registry.ts'
import { administratorOf, MAX_PAGE, OrganizationId } from './organization.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Where a change is recorded, if not in the project or organisation of its path. */
    auditScopes: readonly Scope[] | undefined
  }
}

const AuditAnswer = Type.Object({
  id: Type.String(),
  time: Type.String(),
  keyId: Type.String(),
  account: Type.String({ description: 'e-mail address of the service account' }),
  method: Type.String(),
  path: Type.String(),
  resource: Type.String({ description: 'name of what was made or changed, where the answer said it' }),
  status: Type.Integer(),
  requestId: Type.String(),
})
const tags = ['audit']
const KINDS = [
  { word: 'Project', path: 'projects', id: ProjectId },
  { word: 'Organization', path: 'organizations', id: OrganizationId },
] as const

/** Before the routes that it is to record. */
export function addAudit(app: HttpApp, audit: Audit): void {
  app.decorateRequest('auditScopes', undefined)
  const recorded = new WeakSet<FastifyRequest>()
  app.addHook('onSend', async (request, reply, payload) => {
    // Redis being away makes the record fail, and that failure's answer comes here again.
    // What the rate limit refuses changes nothing, and writing it down would undo the limit.
    if (!request.caller || reply.statusCode === 429 || !changesSomething(request) || recorded.has(request)) return payload
    recorded.add(request)
    await record(audit, request.caller, request, reply, payload)
    return payload
  })
  for (const kind of KINDS)
    app.get(
      `/v2/${kind.path}/:parent/audit`,
      {
        schema: {
          operationId: `list${kind.word}Audit`,
          summary: 'Lists who changed what, newest first; for admins',
          tags,
          params: Type.Object({ parent: kind.id }),
          querystring: Type.Object(PageQuery),
          response: { 200: listOf('records', AuditAnswer) },
        },
      },
      async request => {
        const { parent } = request.params
        if (kind.path === 'projects') callerIn(request, parent, 'admin')
        else administratorOf(request, parent)
        const { pageSize = MAX_PAGE, pageToken } = request.query
        const before = decodeToken(pageToken) ?? ''
        if (before !== '' && !isRecordId(before)) throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
        const limit = Math.min(pageSize, MAX_PAGE)
        const records = await audit.list(`${kind.path}/${parent}`, before, limit)
        const last = records.length === limit ? records.at(-1) : undefined
        return { records, nextPageToken: last ? encodeToken(last.id) : '' }
      },
    )
}

/** Events are no management, and there are too many of them; that a device introduces itself is. */
function changesSomething({ method, routeOptions }: FastifyRequest): boolean {
  const { config, url = '' } = routeOptions
  return (
    !['GET', 'HEAD', 'OPTIONS'].includes(method) &&
    /^\/(emulator\/)?v2/.test(url) &&
    !config.raw &&
    (config.limit !== 'ingest' || method === 'PUT')
  )
}

async function record(audit: Audit, caller: Caller, request: FastifyRequest, reply: FastifyReply, payload: unknown): Promise<void> {
  const path = request.originalUrl.split('?', 1)[0] as string
  const { keyId, account } = caller
  const entry = {
    keyId,
    account,
    method: request.method,
    path,
    resource: resourceIn(payload),
    status: reply.statusCode,
    requestId: request.id,
  }
  for (const scope of request.auditScopes ?? scopesOf(caller, request))
    await audit.add(scope, entry, request.routeOptions.config.limit === 'ingest')
}

/**
 * By what the handler saw, because a path can be written in many ways. Nobody writes into the audit of a project that is not theirs, not
 * even that they were refused.
 */
function scopesOf(caller: Caller, { routeOptions, params }: FastifyRequest): Scope[] {
  const [, kind, name = ''] = /^\/(?:emulator\/)?v2\/(projects|organizations)\/:(\w+)/.exec(routeOptions.url ?? '') ?? []
  const id = (params as Readonly<Record<string, string | undefined>>)[name]
  if (kind === undefined || id === undefined) return []
  if (kind === 'projects') return roleIn(caller, id) === undefined ? [] : [`projects/${id}`]
  return caller.organizations?.includes(id) ? [`organizations/${id}`] : []
}

/** The name that an answer begins with: `{"name":"projects/…` or `{"key":{"name":"projects/…`. */
function resourceIn(payload: unknown): string {
  if (typeof payload !== 'string') return ''
  return /^\{(?:"key":\{)?"name":"((?:projects|organizations)\/[^"\\]{1,300})"/.exec(payload)?.[1] ?? ''
}
