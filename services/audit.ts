// Every answered request that changes something is recorded before its answer goes out, whichever role answers it.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Caller, roleIn } from '../packages/identity/identity.ts'
import type { HttpApp } from '../packages/runtime/http.ts'
import type { Audit } from '../packages/state/audit.ts'
import type { Scope } from '../packages/state/registry.ts'

/** Before the routes that it is to record. */
export function recordChanges(app: HttpApp, audit: Audit): void {
  const recorded = new WeakSet<FastifyRequest>()
  app.addHook('onSend', async (request, reply, payload) => {
    // Redis being away makes the record fail, and that failure's answer comes here again.
    // What the rate limit refuses changes nothing, and writing it down would undo the limit.
    if (!request.caller || reply.statusCode === 429 || !changesSomething(request) || recorded.has(request)) return payload
    recorded.add(request)
    await record(audit, request.caller, request, reply, payload)
    return payload
  })
}

/** Events are no management, and there are too many of them; that a device introduces itself is. */
function changesSomething({ method, routeOptions, change }: FastifyRequest): boolean {
  const { config, url = '' } = routeOptions
  if (change) return true
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
  const { method, change, routeOptions } = request
  const resource = change?.resource ?? resourceIn(payload)
  const entry = { keyId, account, method, path, resource, status: reply.statusCode, requestId: request.id }
  const isFrequent = !change && routeOptions.config.limit === 'ingest'
  for (const scope of change?.scopes ?? scopesOf(caller, request)) await audit.add(scope, entry, isFrequent)
}

/**
 * By what the handler saw, because a path can be written in many ways. Nobody writes into the audit of a project that is not theirs, not
 * even that they were refused.
 */
function scopesOf(caller: Caller, { routeOptions, params }: FastifyRequest): Scope[] {
  const [, kind, name = ''] = /^\/(?:emulator\/)?v2(?:alpha)?\/(projects|organizations)\/:(\w+)/.exec(routeOptions.url ?? '') ?? []
  const id = (params as Readonly<Record<string, string | undefined>>)[name]
  if (kind === undefined || id === undefined) return []
  if (kind === 'projects') return roleIn(caller, id) === undefined ? [] : [`projects/${id}`]
  return caller.organizations?.includes(id) ? [`organizations/${id}`] : []
}

const NAMED = /^\{(?:"name":"(?:[^"\\]|\\.)*","resource":|(?:"key":\{)?"name":)"((?:projects|organizations)\/[^"\\]{1,3000})"/

/** The name that an answer begins with: `{"name":"projects/…`, `{"key":{"name":"projects/…` or `{"name":"plant-a","resource":"projects/…`. */
function resourceIn(payload: unknown): string {
  return typeof payload === 'string' ? (NAMED.exec(payload)?.[1] ?? '') : ''
}
