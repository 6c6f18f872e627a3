// One subscriber's way out: bounded, so that a reader who stops reading harms nobody else (P5).
import type { Writable } from 'node:stream'
import type { LogEvent } from '../../packages/log/entry.ts'
import { errorFrame, type Format, type Frames } from './frame.ts'

/** An event and its place in the stream. */
export type Placed = { readonly event: LogEvent; readonly entryId: string; readonly index: number }

type Outlet = {
  /** More is unread than a live subscriber may leave. */
  readonly full: boolean
  readonly closed: boolean
  /** Resolves when it is no longer full, or closed; a reader that has stopped reading is ended instead. Never rejects. */
  drained(): Promise<void>
  /** Says that everything after the entry `after`, up to and with the entry `to`, is missing. */
  gap(after: string, to: string): void
  /** Ends the stream and says why. */
  end(code: number, status: string, message: string): void
}

/** Gets whole frames as bytes, which are shared with other sinks: nobody may change them. */
export type ByteSink = Outlet & { readonly format: Format; write(bytes: Buffer): void }

/** Gets events as they are, in order. */
export type EventSink = Outlet & { readonly format: 'events'; take(events: readonly Placed[]): void }

export type Sink = ByteSink | EventSink

/** What a live reader may leave unread; beyond it its policy holds. */
const MAX_UNREAD_BYTES = 256 * 1024
/** A reader that takes nothing for this long is cut off; it may resume from its last frame. */
const STALLED_MS = 10_000
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
    async drained() {
      if (sink.closed || !out.writableNeedDrain) return
      if (!(await drainOrClose(out))) sink.end(408, 'Request Timeout', TOO_SLOW)
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
function drainOrClose(out: Writable): Promise<boolean> {
  return new Promise(resolve => {
    const done = (inTime: boolean) => {
      clearTimeout(timer)
      out.off('drain', onEvent)
      out.off('close', onEvent)
      resolve(inTime)
    }
    const onEvent = () => done(true)
    const timer = setTimeout(() => done(false), STALLED_MS)
    out.on('drain', onEvent)
    out.on('close', onEvent)
  })
}
