// Frames for doors that carry them one by one: JSON without its line end.
import { errorFrame, type Frames } from './frame.ts'
import { type ByteSink, TOO_SLOW } from './sink.ts'

/** Such a door. */
export type Lines = {
  /** More is unsent than may be. */
  readonly full: boolean
  readonly closed: boolean
  take(json: Buffer): void
  /** Resolves true when all is on its way, or it is closed; false when it has taken nothing for this long. Never rejects. */
  drained(patienceMs: number): Promise<boolean>
  /** Closes the door behind the last line. */
  end(): void
}

const LINE_FEED = 0x0a

export function lineSink(lines: Lines, frames: Frames): ByteSink {
  let ended = false
  const sink: ByteSink = {
    format: 'ndjson',
    get closed() {
      return ended || lines.closed
    },
    get full() {
      return lines.full
    },
    write(bytes) {
      for (let from = 0, to = bytes.indexOf(LINE_FEED); to >= 0 && !sink.closed; from = to + 1, to = bytes.indexOf(LINE_FEED, from))
        lines.take(bytes.subarray(from, to))
    },
    async drained(patienceMs) {
      if (!sink.closed && !(await lines.drained(patienceMs))) sink.end(408, 'Request Timeout', TOO_SLOW)
    },
    gap(after, to) {
      sink.write(frames.gap('ndjson', after, to))
    },
    end(code, status, message) {
      if (sink.closed) return
      sink.write(errorFrame('ndjson', code, status, message))
      ended = true
      lines.end()
    },
  }
  return sink
}
