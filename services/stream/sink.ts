// One subscriber's way out: bounded, so that a reader who stops reading harms nobody else (P5).
import type { ServerResponse } from 'node:http'
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

/** Writes frames to an HTTP response whose head has been sent. */
export function socketSink(response: ServerResponse, format: Format, frames: Frames): ByteSink {
  let ended = false
  const sink: ByteSink = {
    format,
    get closed() {
      return ended || response.destroyed || response.writableEnded
    },
    get full() {
      return response.writableLength > MAX_UNREAD_BYTES
    },
    write(bytes) {
      if (!sink.closed) response.write(bytes)
    },
    async drained(patienceMs) {
      if (sink.closed || !response.writableNeedDrain) return
      if (!(await drainOrClose(response, patienceMs)))
        sink.end(408, 'Request Timeout', 'too slow: nothing was read for a while; resume from the last frame')
    },
    gap(after, to) {
      sink.write(frames.gap(format, after, to))
    },
    end(code, status, message) {
      if (sink.closed) return
      ended = true
      response.end(errorFrame(format, code, status, message))
      setTimeout(() => response.destroy(), LINGER_MS).unref()
    },
  }
  return sink
}

/** False when neither happened in time. */
function drainOrClose(response: ServerResponse, patienceMs: number): Promise<boolean> {
  return new Promise(resolve => {
    const done = (inTime: boolean) => {
      clearTimeout(timer)
      response.off('drain', onEvent)
      response.off('close', onEvent)
      resolve(inTime)
    }
    const onEvent = () => done(true)
    const timer = setTimeout(() => done(false), patienceMs)
    response.on('drain', onEvent)
    response.on('close', onEvent)
  })
}
