// WebSockets as programs use them: what comes is kept, what is refused is an answer, and how it ends is known.
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { type ClientOptions, WebSocket } from 'ws'
import { until } from './eventually.ts'
import type { Json } from './world.ts'

export type Opened = {
  readonly socket: WebSocket
  frames(): Json[]
  /** Resolves with all frames when there are so many. */
  have(count: number): Promise<Json[]>
  send(frame: unknown): void
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>
  close(): Promise<void>
}

/** Rejects with the status and body of the answer when it is refused. */
export async function openSocket(url: string, options: ClientOptions = {}): Promise<Opened> {
  const socket = new WebSocket(url, options)
  const frames: Json[] = []
  socket.on('message', (message: Buffer) => void frames.push(JSON.parse(message.toString('utf8')) as Json))
  const closed = once(socket, 'close').then(([code, reason]) => ({ code: code as number, reason: String(reason) }))
  await opened(socket)
  return {
    socket,
    frames: () => frames,
    have: async count => {
      await until(`${count} frames, of which there are ${frames.length}`, () => frames.length >= count)
      return frames
    },
    send: frame => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    closed,
    close: async () => {
      socket.close()
      await closed
    },
  }
}

function opened(socket: WebSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('error', reject)
    socket.once('unexpected-response', (_request, response: IncomingMessage) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      response.once('end', () => reject(new Error(`${response.statusCode} ${text}`)))
    })
  })
}

const MAX_KEPT_BYTES = 4096

export type RawSocket = {
  readonly socket: Socket
  /** A frame of exactly these bits. */
  write(first: number, payload: Buffer | string, options?: { readonly masked?: boolean; readonly length?: Buffer }): void
  /** The code of the close frame that came; undefined when the connection was cut without one. */
  closeCode(): Promise<number | undefined>
}

/** Past every library, to break the protocol. */
export async function openRaw(port: number, path: string, authorization: string): Promise<RawSocket> {
  const socket = connect(port, '127.0.0.1')
  let came = Buffer.alloc(0)
  // The end of it: all that anybody asks for.
  socket.on('data', (part: Buffer) => {
    came = Buffer.concat([came.subarray(-MAX_KEPT_BYTES), part])
  })
  // Cut off while it writes: `closeCode` says so.
  socket.on('error', () => socket.destroy())
  const handshake =
    'host: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=='
  socket.write(`GET ${path} HTTP/1.1\r\n${handshake}\r\nauthorization: ${authorization}\r\n\r\n`)
  await until('it is open', () => came.includes('\r\n\r\n'))
  if (!came.toString('latin1').startsWith('HTTP/1.1 101')) throw new Error(came.toString('utf8'))
  came = came.subarray(came.indexOf('\r\n\r\n') + 4)
  return {
    socket,
    write: (first, payload, { masked = true, length } = {}) => {
      const bytes = Buffer.from(payload)
      const size = length ?? sizeOf(bytes.length)
      size[0] = (size[0] as number) | (masked ? 0x80 : 0)
      // A mask of zeros leaves the payload as it is.
      socket.write(Buffer.concat([Buffer.from([first]), size, masked ? Buffer.alloc(4) : Buffer.alloc(0), bytes]))
    },
    closeCode: async () => {
      await until('it is closed', () => socket.destroyed || came.includes(0x88))
      const at = came.indexOf(0x88)
      socket.destroy()
      return at < 0 ? undefined : came.readUInt16BE(at + 2)
    },
  }
}

function sizeOf(length: number): Buffer {
  if (length < 126) return Buffer.from([length])
  return Buffer.from([126, length >> 8, length & 0xff])
}
