// MQTT over WebSocket at `/mqtt` [MQTT-6.0.0]: handshakes, and the bytes in binary frames as the stream that every connection is here.
// Pages of any site may connect: who they are stands in CONNECT, and a cookie or certificate that a browser adds counts for nothing.
import { Duplex } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { Failure, invalid } from '../../../packages/core/failure.ts'
import type { HttpApp } from '../../../packages/runtime/http.ts'
import { deviceAsking } from '../../../packages/runtime/peer.ts'
import type { Accepted, Upgrades } from '../../../packages/runtime/upgrade.ts'
import type { From } from '../guard/inside.ts'

export type WebSocketDoor = {
  /** Takes no more, and ends those that are open. */
  close(): void
}

/** [MQTT-6.0.0-3]; the second is that of MQTT 3.1. */
const PROTOCOLS = ['mqtt', 'mqttv3.1'] as const
/** Of RFC 6455: the server goes away, data of a kind that is not taken. */
const GOING_AWAY = 1001
const UNSUPPORTED_DATA = 1003
/** What clients get to close their side when this process stops. */
const CLOSE_MS = 1000

export function openWebSocket(
  app: HttpApp,
  upgrades: Upgrades,
  { maxFrameBytes }: { readonly maxFrameBytes: number },
  take: (stream: Duplex, from: From) => void,
): WebSocketDoor {
  const open = new Set<Accepted>()
  let closed = false
  app.get('/mqtt', { config: { open: true } }, async (request, reply) => {
    check(upgrades, request)
    if (closed) throw new Failure('unavailable', 'this process is stopping', { retryAfterMs: 1000 })
    void reply.hijack()
    const accepted = upgrades.accept(request.raw, maxFrameBytes, PROTOCOLS)
    open.add(accepted)
    accepted.peer.once('close', () => open.delete(accepted))
    take(new WebSocketStream(accepted), { address: addressIn(request), device: deviceAsking(request.raw) })
  })
  return {
    close: () => {
      closed = true
      for (const { peer } of open) peer.close(GOING_AWAY)
      setTimeout(() => {
        for (const { peer } of open) peer.terminate()
      }, CLOSE_MS).unref()
    },
  }
}

/** A connection that is gone has none any more, whatever the types say. */
function addressIn({ ip = '' }: { readonly ip?: string | undefined }): string {
  return ip
}

function check(upgrades: Upgrades, { raw, headers }: FastifyRequest): void {
  if (!upgrades.wants(raw)) throw invalid('header upgrade', 'expected websocket: this is MQTT over WebSocket, and no page')
  upgrades.check(raw, false)
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map(one => one.trim())
  if (!PROTOCOLS.some(known => offered.includes(known)))
    throw invalid('header sec-websocket-protocol', `expected ${PROTOCOLS.join(' or ')}, got ${offered.join(', ').slice(0, 100) || 'none'}`)
}

/** Packets may span frames, and a frame may hold several [MQTT-6.0.0-2]. Reading on the one side stops reading on the other. */
class WebSocketStream extends Duplex {
  readonly #peer: Accepted['peer']

  constructor({ peer }: Accepted) {
    super({ autoDestroy: true, emitClose: true })
    this.#peer = peer
    peer.on('message', (bytes: Buffer, isBinary: boolean) => {
      // [MQTT-6.0.0-1]
      if (!isBinary) this.#refuse(UNSUPPORTED_DATA)
      else if (!this.push(bytes)) peer.pause()
    })
    // The peer broke RFC 6455, or sent a longer frame: `ws` closes with the code that says so.
    peer.once('error', error => this.destroy(error))
    peer.once('close', () => {
      if (!this.destroyed) this.push(null)
      this.destroy()
    })
  }

  override _read(): void {
    if (this.#peer.isPaused) this.#peer.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#send(chunk, done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#send(Buffer.concat(chunks.map(({ chunk }) => chunk)), done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#peer.close()
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // Of one that closes already nothing happens; what it has still to say it may say.
    if (this.#peer.readyState === this.#peer.OPEN) this.#peer.terminate()
    done(error)
  }

  #send(bytes: Buffer, done: (error?: Error | null) => void): void {
    if (this.#peer.readyState === this.#peer.OPEN) this.#peer.send(bytes, { binary: true }, error => done(error ?? null))
    else done(new Error('the WebSocket is closed'))
  }

  #refuse(code: number): void {
    this.#peer.close(code)
    this.destroy()
  }
}
