// The stream role: `devices:stream` and `alarms:stream`. It follows the log directly; no worker stands between.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { compareIds, type LogEntry } from '../../packages/log/entry.ts'
import type { Follow } from '../../packages/log/follow.ts'
import type { Log, Stream } from '../../packages/log/log.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { DeviceCache, type Devices } from '../../packages/state/device.ts'
import type { ReadingStore } from '../../packages/store/store.ts'
import { parseStreamQuery, type StreamQuery } from './filter.ts'
import { type Cursor, type Format, Frames, type Subject } from './frame.ts'
import { Hub } from './hub.ts'
import { Past } from './past.ts'
import { Pings } from './ping.ts'
import { socketSink } from './sink.ts'
import { Turns } from './turn.ts'

export type StreamPorts = {
  readonly log: Log
  /** Has what was trimmed from the log. */
  readonly store: Pick<ReadingStore, 'past'>
  readonly devices: Devices
  follow(project: string, stream: Stream, arrived: (entries: readonly LogEntry[]) => Promise<void>): Promise<Follow>
  opened(change: 1 | -1): void
  troubled(error: unknown): void
  delivered(frames: number): void
  nowUs(): number
  newId(): string
  /** 0: streams never end by age. */
  readonly maxAgeMs: number
}

export type StreamRole = { stop(): Promise<void> }

type Route = { Params: { project: string; device?: string }; Querystring: Record<string, string | string[]> }
type Open = { readonly hub: Hub; readonly frames: Frames }

const STREAM_OF: Readonly<Record<Subject, Stream>> = { event: 'log', alarm: 'alarmlog' }

/** Each holds a few entries of up to 1 MiB while it has its turn. */
const REPLAYS_AT_ONCE = 4

export function addStreamRoutes(app: HttpApp, ports: StreamPorts): StreamRole {
  const hubs = new Map<string, Promise<Open>>()
  const leaving = new Set<() => void>()
  const pings = new Pings()
  const turns = new Turns(REPLAYS_AT_ONCE)
  let stopping = false
  const open = (project: string, subject: Subject) => {
    const key = `${project}/${subject}`
    const known = hubs.get(key)
    if (known) return known
    const opening = openHub(ports, turns, project, subject)
    hubs.set(key, opening)
    // The next reader tries again.
    opening.catch(() => hubs.delete(key))
    return opening
  }
  const serve = (subject: Subject) => async (request: FastifyRequest<Route>, reply: FastifyReply) => {
    const { project, device } = request.params
    callerIn(request, project)
    if (stopping) throw new Failure('unavailable', 'the server is stopping: resume from the last frame', { retryAfterMs: 1000 })
    const query = parseStreamQuery(request.query, device)
    const { hub, frames } = await open(project, subject)
    const from = await startOf(ports, project, STREAM_OF[subject], request, frames, query)
    await run(ports, hub, frames, request, reply, query, from, leaving, pings)
  }
  app.get<Route>(verb('/v2/projects/:project/devices', 'stream'), serve('event'))
  app.get<Route>(verb('/v2/projects/:project/devices/:device', 'stream'), serve('event'))
  app.get<Route>(verb('/v2/projects/:project/alarms', 'stream'), serve('alarm'))
  return {
    async stop() {
      stopping = true
      for (const leave of leaving) leave()
      await Promise.all([...hubs.values()].map(async opening => (await opening).hub.stop()))
    },
  }
}

async function openHub(ports: StreamPorts, turns: Turns, project: string, subject: Subject): Promise<Open> {
  const frames = new Frames(project, subject, { nowUs: ports.nowUs, newId: ports.newId })
  const stream = STREAM_OF[subject]
  const past = new Past(ports.log, project, stream, subject === 'event' ? ports.store : undefined)
  const hub = new Hub({
    frames,
    // The alarm log does not say when labels change, so there each is looked up anew.
    devices: new DeviceCache(ports.devices, project, subject === 'alarm' ? 0 : undefined),
    toldOfChanges: subject === 'event',
    turns,
    read: (after, upTo) => past.read(after, upTo),
    trimmed: () => ports.log.trimmed(project, stream),
    follow: arrived => ports.follow(project, stream, arrived),
    delivered: ports.delivered,
    troubled: ports.troubled,
  })
  await hub.start()
  return { hub, frames }
}

/** Where to go on: the id that an SSE client resends, a cursor, a time, or now. */
async function startOf(
  { log, nowUs }: StreamPorts,
  project: string,
  stream: Stream,
  request: FastifyRequest,
  frames: Frames,
  { cursor, sinceUs }: StreamQuery,
): Promise<Cursor | undefined> {
  const lastId = request.headers['last-event-id']
  const text = typeof lastId === 'string' && lastId !== '' ? lastId : cursor
  if (text !== undefined) {
    const from = frames.parseCursor(text)
    // A log that was put back from a backup is behind its readers: they would hear nothing until it has caught up with them.
    if (compareIds(from.entryId, await log.last(project, stream)) <= 0) return from
    throw invalid('cursor', 'it lies ahead of everything in the log: begin again without one')
  }
  if (sinceUs === undefined || sinceUs > nowUs()) return undefined
  if (sinceUs < 0) throw invalid('since', 'expected a time after 1970')
  return { entryId: `${Math.floor(sinceUs / 1000)}-0`, index: -1 }
}

/** Anything that does not ask for SSE gets NDJSON; the header value is exact because some clients compare it (contracts.md 1.a.4). */
function formatOf(request: FastifyRequest): { format: Format; type: string } {
  const accept = request.headers.accept ?? ''
  if (accept.includes('text/event-stream')) return { format: 'sse', type: 'text/event-stream' }
  return { format: 'ndjson', type: accept.includes('application/x-ndjson') ? 'application/x-ndjson' : 'application/json' }
}

async function run(
  ports: StreamPorts,
  hub: Hub,
  frames: Frames,
  request: FastifyRequest,
  reply: FastifyReply,
  query: StreamQuery,
  from: Cursor | undefined,
  leaving: Set<() => void>,
  pings: Pings,
): Promise<void> {
  const { format, type } = formatOf(request)
  reply.hijack()
  reply.raw.writeHead(200, { ...headersOf(reply), 'content-type': type, 'cache-control': 'no-store', 'x-accel-buffering': 'no' })
  reply.raw.flushHeaders()
  reply.raw.socket?.setNoDelay(true)
  const sink = socketSink(reply.raw, format, frames)
  const stops: (() => void)[] = []
  const end = () => sink.end(408, 'Request Timeout', 'closing stream')
  leaving.add(end)
  ports.opened(1)
  reply.raw.once('close', () => {
    leaving.delete(end)
    ports.opened(-1)
    for (const stop of stops) stop()
  })
  if (query.pingMs !== undefined) stops.push(pings.add(sink, frames, query.pingMs))
  if (ports.maxAgeMs > 0) stops.push(stopTimer(setTimeout(end, ports.maxAgeMs)))
  try {
    stops.push(await hub.join(sink, { filter: query.filter, policy: 'disconnect' }, from))
  } catch (error) {
    request.log.warn({ err: error }, 'stream could not be joined')
    sink.end(503, 'Service Unavailable', 'the log cannot be read; resume from the last frame')
  }
  if (reply.raw.destroyed) for (const stop of stops) stop()
}

function stopTimer(timer: NodeJS.Timeout): () => void {
  return () => clearTimeout(timer)
}

function headersOf(reply: FastifyReply): Record<string, string> {
  return Object.fromEntries(Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]))
}
