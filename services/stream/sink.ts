// One subscriber's way out: bounded, so that a reader who stops reading harms nobody else (P5).
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { LogEvent } from '../../packages/log/entry.ts'
import { errorFrame, type Format, type Frames } from './frame.ts'

/** An event and its place in the stream. */
export type Placed = { readonly event: LogEvent; readonly entryId: string; readonly index: number }

type Outlet = {
  /** More is unread than a live subscriber may leave. */
  readonly full: boolean
  readonly closed: boolean
  /** Resolves when what was written is on its way, or when it is closed; a reader that takes nothing for this long is ended. */
  drained(patienceMs: number): Promise<void>
  /** Says that everything after the entry `after`, up to and with the entry `to`, is missing. */
  gap(after: string, to: string): void
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

/** Writes frames to an HTTP response whose head has been sent. */
export function socketSink(response: ServerResponse, format: Format, frames: Frames): ByteSink {
  return new HttpSink(response, format, frames)
}

/** Twenty thousand of these may stand idle: it keeps nothing that it does not need. */
class HttpSink implements ByteSink {
  readonly format: Format
  readonly #response: ServerResponse
  readonly #frames: Frames
  #ended = false

  constructor(response: ServerResponse, format: Format, frames: Frames) {
    this.#response = response
    this.format = format
    this.#frames = frames
  }

  get closed(): boolean {
    return this.#ended || this.#response.destroyed || this.#response.writableEnded
  }

  get full(): boolean {
    return this.#response.writableLength > MAX_UNREAD_BYTES
  }

  write(bytes: Buffer): void {
    if (!this.closed) this.#response.write(bytes)
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

  async drained(patienceMs: number): Promise<void> {
    if (this.closed || !this.full) return
    if (!(await drainOrClose(this.#response, patienceMs)))
      this.end(408, 'Request Timeout', 'too slow: nothing was read for a while; resume from the last frame')
  }

  gap(after: string, to: string): void {
    this.write(this.#frames.gap(this.format, after, to))
  }

  end(code: number, status: string, message: string): void {
    if (this.closed) return
    this.#ended = true
    const response = this.#response
    response.end(errorFrame(this.format, code, status, message))
    setTimeout(() => response.destroy(), LINGER_MS).unref()
  }
}

/** False when neither happened, and nothing at all was taken for so long. */
function drainOrClose({ socket }: ServerResponse, patienceMs: number): Promise<boolean> {
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
function unsentBy(socket: Socket): number {
  const { writeQueueSize = 0 } = (Reflect.get(socket, '_handle') ?? {}) as { writeQueueSize?: number }
  return socket.writableLength + writeQueueSize
}
