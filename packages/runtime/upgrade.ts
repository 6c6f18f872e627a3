// WebSocket handshakes. A request to upgrade goes through the same routes as any other: who it is, what it may and what it asks for
// is checked there, and a refusal is a plain answer in the dialect's shape.
import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate as soon } from 'node:timers/promises'
import { type WebSocket, WebSocketServer } from 'ws'
import { Failure } from '../core/failure.ts'
import type { HttpApp } from './http.ts'
import { isOwnOrigin } from './peer.ts'

export type Upgrades = {
  /** Whether this request waits to become a WebSocket. */
  wants(request: IncomingMessage): boolean
  /** @throws Failure `forbidden` (another site's page), `invalid`; the request is then answered as usual. */
  check(request: IncomingMessage, byCookie: boolean): void
  /** Whether whoever asks has gone away meanwhile. */
  isGone(request: IncomingMessage): Promise<boolean>
  /**
   * Answers 101. From here on the raw socket carries frames. A longer message closes it with 1009, as other breaches of RFC 6455 do with
   * the codes of theirs. Of the subprotocols that are offered the first of `protocols` is taken, without these the first of all.
   */
  accept(request: IncomingMessage, maxMessageBytes?: number, protocols?: readonly string[]): Accepted
}

export type Accepted = { readonly peer: WebSocket; readonly socket: Socket }

type Waiting = { readonly socket: Socket; readonly head: Buffer; readonly response: ServerResponse }

/** Clients of a stream have nothing to say. */
const MAX_MESSAGE_BYTES = 1024
/** Pings in a row whose pongs are unsent: who asks on and takes no answer is cut off. */
const MAX_PONGS = 60
/** What a peer gets to answer a close frame. */
const CLOSE_MS = 5000

export function openUpgrades(app: HttpApp): Upgrades {
  const waiting = new WeakMap<IncomingMessage, Waiting>()
  const servers = new Map<string, WebSocketServer>()
  const serverFor = (maxPayload: number, protocols: readonly string[]) => {
    const name = [maxPayload, ...protocols].join(' ')
    const server = servers.get(name) ?? openServer(maxPayload, protocols)
    servers.set(name, server)
    return server
  }
  app.server.on('upgrade', (request, socket: Socket, head) => {
    socket.on('error', () => socket.destroy())
    if (request.headers.upgrade?.toLowerCase() !== 'websocket') return passOver(app, request, socket, head)
    const response = new ServerResponse(request)
    response.shouldKeepAlive = false
    response.assignSocket(socket)
    response.once('finish', () => goodbye(socket))
    waiting.set(request, { socket, head, response })
    app.routing(request, response)
  })
  return {
    wants: request => waiting.has(request),
    check: (request, byCookie) => {
      checkHandshake(request)
      if (byCookie) checkOrigin(request)
    },
    isGone: async ({ socket }) => {
      // Nobody reads it yet, so its end shows only to who looks.
      socket.read(0)
      await soon()
      return socket.destroyed || !socket.readable
    },
    accept: (request, maxMessageBytes = MAX_MESSAGE_BYTES, protocols = []) => {
      const { socket, head, response } = waiting.get(request) as Waiting
      waiting.delete(request)
      response.detachSocket(socket)
      let peer: WebSocket | undefined
      // Without verifyClient and for a checked handshake `ws` calls back at once.
      serverFor(maxMessageBytes, protocols).handleUpgrade(request, socket, head, opened => {
        peer = opened
      })
      if (!peer) throw new Failure('invalid', 'the WebSocket handshake failed')
      return { peer, socket }
    },
  }
}

function openServer(maxPayload: number, protocols: readonly string[]): WebSocketServer {
  const limits = { maxPayload, maxPendingAutoPongs: MAX_PONGS, closeTimeout: CLOSE_MS }
  const handleProtocols = (offered: ReadonlySet<string>) => protocols.find(one => offered.has(one)) ?? false
  const chosen = protocols.length === 0 ? {} : { handleProtocols }
  return new WebSocketServer({ noServer: true, clientTracking: false, perMessageDeflate: false, ...limits, ...chosen })
}

/** Also of a peer that never ends its side, or takes nothing: the server's sockets may stay half open, and nobody reads this one. */
function goodbye(socket: Socket): void {
  socket.setTimeout(CLOSE_MS, () => socket.destroy())
  socket.resume().destroySoon()
}

/** [RFC 6455 4.2.1], before `ws` answers in words of its own. */
function checkHandshake({ headers, httpVersion, method }: IncomingMessage): void {
  const bad = (field: string, expected: string) => new Failure('invalid', `header ${field}: ${expected}`, { field })
  if (method !== 'GET') throw bad('upgrade', 'WebSockets begin with GET')
  if (httpVersion !== '1.1') throw bad('upgrade', 'WebSockets begin with HTTP/1.1')
  if (headers['sec-websocket-version'] !== '13') throw bad('sec-websocket-version', 'expected 13')
  if (!/^[+/0-9A-Za-z]{22}==$/.test(headers['sec-websocket-key'] ?? '')) throw bad('sec-websocket-key', 'expected 16 bytes in base64')
}

/** A cookie travels with the handshakes of other sites' pages too, and no same-origin policy holds for WebSockets (hazard 35). */
function checkOrigin({ headers }: IncomingMessage): void {
  if (!isOwnOrigin(headers))
    throw new Failure('forbidden', 'header origin: expected that of this console; programs send a key or a token instead of its cookie')
}

/**
 * Another protocol (`h2c`, which some clients offer with every first request) is passed over, as RFC 9110 7.8 has it: the request
 * is put back without the offer.
 */
function passOver(app: HttpApp, request: IncomingMessage, socket: Socket, head: Buffer): void {
  const { rawHeaders, method, url, httpVersion } = request
  if (request.headers['transfer-encoding'] !== undefined) {
    socket.write('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
    goodbye(socket)
    return
  }
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let i = 0; i < rawHeaders.length; i += 2)
    if (!/^(upgrade|connection|http2-settings)$/i.test(rawHeaders[i] as string)) lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`)
  const body = request.read() as Buffer | null
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body ?? Buffer.alloc(0), head]))
  app.server.emit('connection', socket)
}
