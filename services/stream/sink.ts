// One subscriber's way out: bounded, so that a reader who stops reading harms nobody else (P5).
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

/** How a door says goodbye: `last` is the error frame. */
export type Farewell = (last: Buffer, code: number, message: string) => void

export const TOO_SLOW = 'too slow: nothing was read for a while; resume from the last frame'

/** Writes frames to an HTTP response (or stream of HTTP/2) whose head has been sent, or to the socket of a WebSocket. */
export function socketSink(out: Writable, format: Format, frames: Frames, farewell: Farewell = last => void out.end(last)): ByteSink {
  let ended = false
  const sink: ByteSink = {
    format,
    get closed() {
      return ended || out.destroyed || out.writableEnded
    },
    get full() {
      return out.writableLength > MAX_UNREAD_BYTES
    },
    write(bytes) {
      if (!sink.closed) out.write(bytes)
    },
    async drained(patienceMs) {
      if (sink.closed || !out.writableNeedDrain) return
      if (!(await drainOrClose(out, patienceMs))) sink.end(408, 'Request Timeout', TOO_SLOW)
    },
    gap(after, to) {
      sink.write(frames.gap(format, after, to))
    },
    end(code, status, message) {
      if (sink.closed) return
      ended = true
      farewell(errorFrame(format, code, status, message), code, message)
      setTimeout(() => out.destroy(), LINGER_MS).unref()
    },
  }
  return sink
}

/** False when neither happened in time. */
function drainOrClose(out: Writable, patienceMs: number): Promise<boolean> {
  return new Promise(resolve => {
    const done = (inTime: boolean) => {
      clearTimeout(timer)
      out.off('drain', onEvent)
      out.off('close', onEvent)
      resolve(inTime)
    }
    const onEvent = () => done(true)
    const timer = setTimeout(() => done(false), patienceMs)
    out.on('drain', onEvent)
    out.on('close', onEvent)
  })
}
