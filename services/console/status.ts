// How the pipeline is doing, once a second as SSE: few frames to few people, so the plugin's stream does (libraries.md's wrapper
// rules apply: iterate, end on close, no exception leaves the generator).
import { setTimeout as pause } from 'node:timers/promises'
import { FastifySSEPlugin } from 'fastify-sse-v2'
import { Type } from 'typebox'
import type { Log } from '../../packages/log/log.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { ProjectId } from '../../packages/runtime/schema.ts'

export type StatusPorts = {
  readonly log: Log
  readonly consumers: readonly string[]
  devices(project: string): Promise<number>
  nowMs(): number
}

const EVERY_MS = 1000

const params = Type.Object({ project: ProjectId })
const StatusAnswer = Type.Object({
  log: Type.Object({ entries: Type.Integer(), bytes: Type.Integer() }),
  consumers: Type.Record(Type.String(), Type.Object({ lagMs: Type.Number() })),
  devices: Type.Integer(),
})

const STREAM = {
  operationId: 'streamStatus',
  summary: 'How the pipeline is doing, once a second as server-sent events',
  tags: ['status'],
  params,
  produces: ['text/event-stream'],
  response: { 200: StatusAnswer },
}

export async function addStatusRoutes(app: HttpApp, ports: StatusPorts): Promise<void> {
  await app.register(FastifySSEPlugin, { retryDelay: 2000 })
  const open = new Set<AbortController>()
  app.addHook('preClose', async () => {
    for (const ended of open) ended.abort()
  })
  app.get(
    '/v2/projects/:project/status',
    {
      schema: { operationId: 'getStatus', summary: 'How the pipeline is doing', tags: ['status'], params, response: { 200: StatusAnswer } },
    },
    async request => {
      callerIn(request, request.params.project)
      return status(ports, request.params.project)
    },
  )
  app.get(verb('/v2/projects/:project/status', 'stream'), { schema: STREAM }, (request, reply) => {
    const { project } = request.params
    callerIn(request, project)
    const ended = new AbortController()
    open.add(ended)
    reply.raw.once('close', () => {
      open.delete(ended)
      ended.abort()
    })
    reply.sse(frames(() => status(ports, project), ended.signal))
  })
}

async function* frames(read: () => Promise<object>, signal: AbortSignal): AsyncGenerator<{ data: string }> {
  const aborted = new Promise(resolve => signal.addEventListener('abort', resolve, { once: true }))
  while (!signal.aborted) {
    const data = await read().catch((error: Error) => ({ error: { code: 503, message: error.message } }))
    yield { data: JSON.stringify(data) }
    await Promise.race([pause(EVERY_MS, undefined, { ref: false }), aborted])
  }
}

/** Size of the log, and how far each consumer is behind its newest entry. */
async function status({ log, consumers, devices, nowMs }: StatusPorts, project: string) {
  const [size, places, last, count] = await Promise.all([log.size(project), log.places(project), log.last(project), devices(project)])
  const behind = consumers.map(async name => {
    const place = places[name]?.split(' ', 1)[0] ?? '0-0'
    if (place === last) return [name, { lagMs: 0 }] as const
    const [oldest] = await log.read(project, place, 1)
    return [name, { lagMs: oldest ? Math.max(0, nowMs() - Number(oldest.id.split('-', 1)[0])) : 0 }] as const
  })
  return { log: size, consumers: Object.fromEntries(await Promise.all(behind)), devices: count }
}
