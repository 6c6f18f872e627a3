// One subscriber's socket: bounded, so that a reader who stops reading harms nobody else (P5).
import type { ServerResponse } from 'node:http'
import { errorFrame, type Format, type Frames } from './frame.ts'
import type { Sink } from './hub.ts'

/** What a live reader may leave unread; beyond it goes on from the log. */
const MAX_UNREAD_BYTES = 256 * 1024
/** A reader that takes nothing for this long is cut off; it may resume from its last frame. */
const STALLED_MS = 10_000
/** A reader that was cut off has this long to take the last frames. */
const LINGER_MS = 5000

/** Writes frames to an HTTP response whose head has been sent. */
export function socketSink(response: ServerResponse, format: Format): Sink {
  let ended = false
  const sink: Sink = {
    format,
    get closed() {
      return ended || response.destroyed || response.writableEnded
    },
    get full() {
      return response.writableLength > MAX_UNREAD_BYTES
    },
    write(chunk) {
      if (!sink.closed) response.write(chunk)
    },
    async drained() {
      if (sink.closed || !response.writableNeedDrain) return
      if (!(await drainOrClose(response)))
        sink.end(408, 'Request Timeout', 'too slow: nothing was read for a while; resume from the last frame')
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
function drainOrClose(response: ServerResponse): Promise<boolean> {
  return new Promise(resolve => {
    const done = (inTime: boolean) => {
      clearTimeout(timer)
      response.off('drain', onEvent)
      response.off('close', onEvent)
      resolve(inTime)
    }
    const onEvent = () => done(true)
    const timer = setTimeout(() => done(false), STALLED_MS)
    response.on('drain', onEvent)
    response.on('close', onEvent)
  })
}

/** Pings at once and then at the client's interval (contracts.md 1.b.4); stops with the returned function. */
export function startPings(sink: Sink, frames: Frames, everyMs: number, now: () => number, newId: () => string): () => void {
  const ping = () => sink.write(Buffer.from(frames.ping(sink.format, newId(), now())))
  ping()
  const timer = setInterval(ping, everyMs)
  return () => clearInterval(timer)
}
