// The HTTP door of the stream role: NDJSON, SSE and WebSocket on the same addresses, over HTTP/1 and HTTP/2.
import type { Http2ServerResponse } from 'node:http2'
import type { Writable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import type { Caller } from '../../packages/identity/identity.ts'
import { type HttpApp, verb } from '../../packages/runtime/http.ts'
import { DeviceId, ProjectId } from '../../packages/runtime/schema.ts'
import type { Upgrades } from '../../packages/runtime/upgrade.ts'
import type { Format, Subject } from './frame.ts'
import { AlarmStreamParameters, parseStreamQuery, StreamParameters } from './query.ts'
import { type ByteSink, socketSink, TOO_SLOW } from './sink.ts'
import type { Ready, Streams } from './stream.ts'

type Route = { readonly project: string; readonly device?: string }
type Query = Static<typeof StreamParameters>

const tags = ['streams']
const project = Type.String({ ...ProjectId, description: 'id of a project; `-`: all that the caller may see' })
const Frame = Type.Object(
  {
    result: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    error: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  },
  {
    description:
      'one frame a line: `{"result":{"event":…,"cursor":…}}`, and at the end `{"error":…}`. With `Accept: text/event-stream` the same as ' +
      'server-sent events, with the cursor as their id; upgraded to a WebSocket, one frame a text message',
  },
)

export function addStreamRoutes(app: HttpApp, streams: Streams, upgrades: Upgrades): void {
  const response = { 200: Frame }
  const querystring = StreamParameters
  app.get(
    verb('/v2/projects/:project/devices', 'stream'),
    {
      schema: {
        operationId: 'streamEvents',
        summary: 'Follows the events of a project',
        tags,
        params: Type.Object({ project }),
        querystring,
        response,
      },
    },
    (request, reply) => serve(streams, upgrades, 'event', request, reply, request.params, request.query),
  )
  app.get(
    verb('/v2/projects/:project/devices/:device', 'stream'),
    {
      schema: {
        operationId: 'streamDeviceEvents',
        summary: 'Follows the events of one device',
        tags,
        params: Type.Object({ project, device: DeviceId }),
        querystring,
        response,
      },
    },
    (request, reply) => serve(streams, upgrades, 'event', request, reply, request.params, request.query),
  )
  app.get(
    verb('/v2/projects/:project/alarms', 'stream'),
    {
      schema: {
        operationId: 'streamAlarms',
        summary: 'Follows the changes of alarms of a project',
        tags,
        params: Type.Object({ project }),
        querystring: AlarmStreamParameters,
        response,
      },
    },
    (request, reply) => serve(streams, upgrades, 'alarm', request, reply, request.params, request.query),
  )
}

async function serve(
  streams: Streams,
  upgrades: Upgrades,
  subject: Subject,
  request: FastifyRequest,
  reply: FastifyReply,
  { project, device }: Route,
  given: Query,
): Promise<void> {
  // Signed in on every route of the API that is not open.
  const caller = request.caller as Caller
  const lastId = request.headers['last-event-id']
  const asked = typeof lastId === 'string' && lastId !== '' ? { ...given, lastEventId: lastId } : given
  const query = parseStreamQuery(asked, device, streams.labelMatch)
  const upgrading = upgrades.wants(request.raw)
  if (upgrading) upgrades.check(request.raw, cameByCookie(request))
  const ready = await streams.open({ caller, project, subject, query })
  reply.hijack()
  if (upgrading) beginWebSocket(upgrades, request, ready)
  else beginHttp(request, reply, ready)
}

/** The checked query holds no token any more. */
function cameByCookie({ headers, originalUrl }: FastifyRequest): boolean {
  return headers.authorization === undefined && !new URLSearchParams(originalUrl.split('?')[1]).has('token')
}

function beginHttp(request: FastifyRequest, reply: FastifyReply, ready: Ready): void {
  const { format, type } = formatOf(request)
  reply.raw.writeHead(200, { ...headersOf(reply), 'content-type': type, 'cache-control': 'no-store', 'x-accel-buffering': 'no' })
  if (request.method === 'HEAD') {
    reply.raw.end()
    return
  }
  // At once: clients wait for it no longer than for a ping (contracts.md 1.b.3).
  reply.raw.flushHeaders()
  if (request.raw.httpVersionMajor < 2) reply.raw.socket?.setNoDelay(true)
  const out = bodyOf(request, reply)
  const leave = ready.begin(socketSink(out, format, ready.frames))
  if (out.destroyed) leave()
  else out.once('close', leave)
}

function beginWebSocket(upgrades: Upgrades, request: FastifyRequest, ready: Ready): void {
  const { peer, socket } = upgrades.accept(request.raw)
  const sink: ByteSink = socketSink(socket, 'ws', ready.frames, (last, code, message) => {
    socket.write(last)
    peer.close(closeCode(code, message), message.slice(0, 120))
  })
  const leave = ready.begin(sink)
  peer.on('message', () => sink.end(400, 'Bad Request', 'nothing is expected here'))
  // The peer broke the protocol: `ws` closes with the code that says so.
  peer.on('error', leave)
  peer.once('close', leave)
}

/** 1008: not as things are · 1011: our fault · 1001: come back · 1003: we take no messages. */
function closeCode(code: number, message: string): number {
  if (code === 400) return 1003
  if (code === 503) return 1011
  return code === 408 && message !== TOO_SLOW ? 1001 : 1008
}

/** Anything that does not ask for SSE gets NDJSON; the header value is exact because some clients compare it (contracts.md 1.a.4). */
function formatOf(request: FastifyRequest): { format: Format; type: string } {
  const accept = request.headers.accept ?? ''
  if (accept.includes('text/event-stream')) return { format: 'sse', type: 'text/event-stream' }
  return { format: 'ndjson', type: accept.includes('application/x-ndjson') ? 'application/x-ndjson' : 'application/json' }
}

/** Of HTTP/2 the stream itself: its compatibility layer does not tell how much is unsent. */
function bodyOf(request: FastifyRequest, reply: FastifyReply): Writable {
  return request.raw.httpVersionMajor < 2 ? reply.raw : (reply.raw as unknown as Http2ServerResponse).stream
}

function headersOf(reply: FastifyReply): Record<string, string> {
  return Object.fromEntries(Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]))
}
