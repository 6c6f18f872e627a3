// One subscriber's way out: bounded, so that a reader who stops reading harms nobody else (P5).
import { ServerResponse } from 'node:http'
import type { Writable } from 'node:stream'
import type { LogEvent } from '../../packages/log/entry.ts'
import { type Cursor, errorFrame, type Format, type Frames } from './frame.ts'

/** An event and its place in the stream. */
export type Placed = { readonly event: LogEvent; readonly entryId: string; readonly index: number }

type Outlet = {
  /** More is unread than a live subscriber may leave. */
  readonly full: boolean
  readonly closed: boolean
  /** Resolves when what was written is on its way, or when it is closed; a reader that takes nothing for this long is ended. */
  drained(patienceMs: number): Promise<void>
  /** Says that everything after `after` (a place, or all of an entry), up to and with the entry `to`, is missing. */
  gap(after: Cursor | string, to: string): void
  /** Ends the stream and says why. */
  end(code: number, status: string, message: string): void
}

/** Gets whole frames as bytes, which are shared with other sinks: nobody may change them. */
export type ByteSink = Outlet & {
  readonly format: Format
  write(bytes: Buffer): void
  /** Where an answer goes out in chunks of HTTP/1.1: as `write`, with the frames already wrapped as one. */
  readonly writeChunk?: ((chunk: Buffer) => void) | undefined
}

/** Gets events as they are, in order. */
export type EventSink = Outlet & { readonly format: 'events'; take(events: readonly Placed[]): void }

export type Sink = ByteSink | EventSink

/** What a live reader may leave unread; beyond it its policy holds. */
const MAX_UNREAD_BYTES = 256 * 1024
/** A reader that was cut off has this long to take the last frames. */
const LINGER_MS = 5000
/** How often in that time somebody looks whether a reader takes anything. */
const LOOKS = 5
const CHUNK_END = Buffer.from('\r\n')

/** How a door says goodbye: `last` is the error frame. */
export type Farewell = (last: Buffer, code: number, message: string) => void

export const TOO_SLOW = 'too slow: nothing was read for a while; resume from the last frame'

/** Writes frames to an HTTP response (of HTTP/2: its stream) whose head has been sent, or to the socket of a WebSocket. */
export function socketSink(out: Writable, format: Format, frames: Frames, farewell?: Farewell): ByteSink {
  return out instanceof ServerResponse ? new ResponseSink(out, format, frames) : new StreamSink(out, format, frames, farewell)
}

/** Twenty thousand of these may stand idle: it keeps nothing that it does not need. */
class StreamSink implements ByteSink {
  readonly format: Format
  readonly #out: Writable
  readonly #frames: Frames
  readonly #farewell: Farewell | undefined
  #ended = false

  constructor(out: Writable, format: Format, frames: Frames, farewell?: Farewell) {
    this.#out = out
    this.format = format
    this.#frames = frames
    this.#farewell = farewell
  }

  get closed(): boolean {
    return this.#ended || this.#out.destroyed || this.#out.writableEnded
  }

  get full(): boolean {
    return this.#out.writableLength > MAX_UNREAD_BYTES
  }

  write(bytes: Buffer): void {
    if (!this.closed) this.#out.write(bytes)
  }

  async drained(patienceMs: number): Promise<void> {
    if (this.closed || !this.full) return
    if (!(await drainOrClose(this.#out, patienceMs))) this.end(408, 'Request Timeout', TOO_SLOW)
  }

  gap(after: Cursor | string, to: string): void {
    this.write(this.#frames.gap(this.format, after, to))
  }

  end(code: number, status: string, message: string): void {
    if (this.closed) return
    this.#ended = true
    const out = this.#out
    const last = errorFrame(this.format, code, status, message)
    if (this.#farewell) this.#farewell(last, code, message)
    else out.end(last)
    setTimeout(() => out.destroy(), LINGER_MS).unref()
  }
}

/** An answer of HTTP/1. */
class ResponseSink extends StreamSink {
  readonly #response: ServerResponse

  constructor(response: ServerResponse, format: Format, frames: Frames) {
    super(response, format, frames)
    this.#response = response
  }

  /**
   * Past the response, straight to its socket: half the work of `write`, which would make three buffers of it. The head is out and
   * nothing else writes to this socket until `end`, so the bytes are the same.
   */
  writeChunk(chunk: Buffer): void {
    const { socket, chunkedEncoding } = this.#response
    if (this.closed) return
    if (socket && chunkedEncoding) socket.write(chunk)
    else this.#response.write(chunk.subarray(chunk.indexOf(CHUNK_END) + 2, -2))
  }
}

/** False when neither happened, and nothing at all was taken for so long. */
function drainOrClose(out: Writable, patienceMs: number): Promise<boolean> {
  const socket = out instanceof ServerResponse ? out.socket : out
  if (!socket || socket.destroyed) return Promise.resolve(true)
  return new Promise(resolve => {
    const done = (inTime: boolean) => {
      clearInterval(timer)
      socket.off('drain', onEvent).off('close', onEvent)
      resolve(inTime)
    }
    const onEvent = () => done(true)
    let unsent = unsentBy(socket)
    let waits = 0
    const timer = setInterval(() => {
      const before = unsent
      unsent = unsentBy(socket)
      waits = unsent === before ? waits + 1 : 0
      if (waits === LOOKS) done(false)
    }, patienceMs / LOOKS)
    socket.on('drain', onEvent).on('close', onEvent)
  })
}

/**
 * To the byte, where node tells how much of the write under way the system has not taken (as its own time-outs do). Without that,
 * a reader would have to take a whole write in time, and these are large.
 */
function unsentBy(socket: Writable): number {
  const { writeQueueSize = 0 } = (Reflect.get(socket, '_handle') ?? {}) as { writeQueueSize?: number }
  return socket.writableLength + writeQueueSize
}
