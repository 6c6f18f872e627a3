// The HTTPS port: HTTP/1.1 and HTTP/2 on one port, chosen by ALPN, in front of the same fastify as the plain port. HTTP/1.1 goes to the
// plain port's own server, so that time limits, upgrades and shutdown are the same; HTTP/2 has its limits here.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer as createHttp2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Certificates } from './certificate.ts'
import type { HttpApp } from './http.ts'
import type { Logger } from './logger.ts'
import { openTls } from './tls.ts'

export type SecurePort = {
  readonly port: number
  /** Takes no more connections, tells HTTP/2 clients to go (GOAWAY), and closes what is idle; requests under way get a bound to end in. */
  stop(): Promise<void>
}

/** Open streams of one connection; a client that follows more opens another. */
const MAX_STREAMS = 128
const MAX_HEADER_BYTES = 16 * 1024
const MAX_HEADERS = 128
/** Of one connection, in MB: what its streams may hold unsent and unparsed (each stream is bounded by its own sink too). */
const MAX_SESSION_MB = 32
/** Frames of a broken or hostile client before its connection is cut (rapid reset and CONTINUATION floods are bounded by nghttp2 itself). */
const MAX_INVALID_FRAMES = 100
const MAX_REJECTED_STREAMS = 100
/** A connection without a stream is cut off, as a request is whose body does not come in the time that the plain port gives (hazard 15). */
const IDLE_MS = 30_000
const LOOK_EVERY_MS = 1000
/** What requests under way get to finish; a part of the process has 5 s to stop. */
const LINGER_MS = 3000

/** `app` must be ready. Rejects with the error of `listen`. */
export async function openSecure(
  app: HttpApp,
  certificates: Certificates,
  { host, port, project }: { readonly host: string; readonly port: number; readonly project: string },
  log: Logger,
): Promise<SecurePort> {
  const h2 = openHttp2(app)
  const h1 = openHttp1(app)
  const take = (socket: TLSSocket) => (socket.alpnProtocol === 'h2' ? h2 : h1).take(socket)
  const tls = await openTls({ certificates, host, port, project, alpn: ['h2', 'http/1.1'], take }, log)
  return { port: tls.port, stop: () => tls.stop(() => Promise.all([h1.stop(), h2.stop()])) }
}

type Door = { take(socket: TLSSocket): void; stop(): Promise<void> }

/** HTTP/1.1 on sockets that have shaken hands: the plain port's server takes them, and does not know when this port stops. */
function openHttp1(app: HttpApp): Door {
  const sockets = new Set<Socket>()
  const answers = new Set<ServerResponse>()
  const busy = (socket: Socket) => [...answers].some(answer => answer.req.socket === socket)
  app.server.on('request', (request: IncomingMessage, answer: ServerResponse) => {
    if (!sockets.has(request.socket)) return
    answers.add(answer)
    answer.once('close', () => answers.delete(answer))
  })
  return {
    take: socket => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      app.server.emit('connection', socket)
    },
    stop: () =>
      within(LINGER_MS, done => {
        const look = () => {
          // What has been written still goes out.
          for (const socket of sockets) if (!busy(socket)) socket.destroySoon()
          if (answers.size === 0) done()
        }
        for (const answer of answers) {
          if (!answer.headersSent) answer.setHeader('connection', 'close')
          answer.once('close', look)
        }
        look()
      }),
  }
}

/** Resolves when it is done, or after this time. */
function within(limitMs: number, begin: (done: () => void) => void): Promise<void> {
  return new Promise(resolve => {
    const late = setTimeout(resolve, limitMs)
    begin(() => {
      clearTimeout(late)
      resolve()
    })
  })
}

type Session = { readonly session: ServerHttp2Session; streams: number; idleSinceMs: number }

/** HTTP/2 on sockets that have shaken hands already. */
function openHttp2(app: HttpApp): Door {
  const server = createHttp2Server(
    {
      settings: { maxConcurrentStreams: MAX_STREAMS, maxHeaderListSize: MAX_HEADER_BYTES, enablePush: false },
      maxHeaderListPairs: MAX_HEADERS,
      maxSessionMemory: MAX_SESSION_MB,
      maxSessionInvalidFrames: MAX_INVALID_FRAMES,
      maxSessionRejectedStreams: MAX_REJECTED_STREAMS,
      maxSettings: 32,
      maxOutstandingPings: 10,
    },
    // fastify's router asks of a request only what the compatibility layer of HTTP/2 has too.
    (request, response) => app.routing(request as never, response as never),
  )
  const sessions = new Set<Session>()
  const unfinished = new Map<ServerHttp2Stream, number>()
  server.on('session', session => watchSession(session, sessions, unfinished))
  const timer = setInterval(() => cutOff(sessions, unfinished, app), LOOK_EVERY_MS).unref()
  return {
    take: socket => void server.emit('connection', socket),
    stop: async () => {
      clearInterval(timer)
      await Promise.all([...sessions].map(({ session }) => closeSession(session)))
    },
  }
}

function watchSession(session: ServerHttp2Session, sessions: Set<Session>, unfinished: Map<ServerHttp2Stream, number>): void {
  const watched: Session = { session, streams: 0, idleSinceMs: performance.now() }
  sessions.add(watched)
  session.once('close', () => sessions.delete(watched))
  // The connection broke, or its client broke the protocol: the session closes itself.
  session.on('error', () => session.destroy())
  session.on('stream', (stream, _headers, flags) => {
    watched.streams++
    if ((flags & END_STREAM) === 0) {
      unfinished.set(stream, performance.now())
      stream.once('end', () => unfinished.delete(stream))
    }
    stream.once('close', () => {
      unfinished.delete(stream)
      watched.idleSinceMs = performance.now()
      watched.streams--
    })
  })
}

const END_STREAM = 0x1

function cutOff(sessions: ReadonlySet<Session>, unfinished: ReadonlyMap<ServerHttp2Stream, number>, { server, uploads }: HttpApp): void {
  const nowMs = performance.now()
  for (const [stream, sinceMs] of unfinished) if (sinceMs < nowMs - server.requestTimeout && !uploads.isSlow(stream)) stream.close(CANCEL)
  for (const { session, streams, idleSinceMs } of sessions) if (streams === 0 && idleSinceMs < nowMs - IDLE_MS) session.close()
}

const CANCEL = 0x8

/** GOAWAY, and what is under way may end. */
function closeSession(session: ServerHttp2Session): Promise<void> {
  return new Promise(resolve => {
    const late = setTimeout(() => session.destroy(), LINGER_MS)
    session.once('close', () => {
      clearTimeout(late)
      resolve()
    })
    session.close()
  })
}
