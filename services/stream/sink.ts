// One subscriber's socket: bounded, so that a reader who stops reading harms nobody else (P5).
import type { ServerResponse } from 'node:http'
import type { Format, Frames } from './frame.ts'
import { errorFrame } from './frame.ts'
import type { Sink } from './hub.ts'

/** What a reader may leave unread before it is cut off; it may resume from its last frame. */
const MAX_UNREAD_BYTES = 1024 * 1024
/** A reader that was cut off has this long to take the last frames. */
const LINGER_MS = 5000

export type SocketSink = Sink & {
  /** Ends the stream with an error frame. */
  end(code: number, status: string, message: string): void
}

/** Writes frames to an HTTP response whose head has been sent. */
export function socketSink(response: ServerResponse, format: Format): SocketSink {
  let ended = false
  const sink: SocketSink = {
    format,
    get closed() {
      return ended || response.destroyed || response.writableEnded
    },
    write(chunk) {
      if (sink.closed) return
      response.write(chunk)
      if (response.writableLength > MAX_UNREAD_BYTES)
        sink.end(408, 'Request Timeout', 'too slow: too much is unread; resume from the last frame')
    },
    async drained() {
      if (sink.closed || !response.writableNeedDrain) return
      await new Promise<void>(resolve => {
        const done = () => {
          response.off('drain', done)
          response.off('close', done)
          resolve()
        }
        response.on('drain', done)
        response.on('close', done)
      })
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

/** Pings at once and then at the client's interval (contracts.md 1.b.4); stops with the returned function. */
export function startPings(sink: Sink, frames: Frames, everyMs: number, now: () => number, newId: () => string): () => void {
  const ping = () => sink.write(Buffer.from(frames.ping(sink.format, newId(), now())))
  ping()
  const timer = setInterval(ping, everyMs)
  return () => clearInterval(timer)
}
