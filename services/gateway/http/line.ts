// From a body of any length to parts of whole lines, in memory for one part: what a line is, the format says.
import type { LineFormat } from '../decode/format.ts'

/** Whole lines, as they came. */
export type Part = {
  /** With all that stands between and behind them: the parts of a body together are the body, but for what of a line was too long. */
  readonly bytes: Buffer
  /** Where each line that says something begins and ends in it. */
  readonly lines: readonly Line[]
  /** The only line there is was longer than one may be: this is how it begins. */
  readonly isTooLong: boolean
}
export type Line = { readonly from: number; readonly to: number }

/** An event is far smaller; this much is held until a line ends. */
export const MAX_LINE_BYTES = 256 * 1024
const MAX_KEPT_BYTES = 16 * 1024
/** What the log takes as one. */
const MAX_LINES = 500
const MAX_PART_BYTES = 256 * 1024

const NEWLINE = 10

/** @param format where its lines end. The last line needs no end, except that the body has to end as it should. */
export async function* partsOf(body: AsyncIterable<Buffer>, format: LineFormat): AsyncGenerator<Part, void, undefined> {
  let held: Buffer = Buffer.alloc(0)
  /** What came since, without the end of a line in it. */
  let more: Buffer[] = []
  let moreBytes = 0
  let skipping = false
  for await (const chunk of body) {
    const start = skipping ? chunk.indexOf(NEWLINE) + 1 : 0
    if (skipping && start === 0) continue
    skipping = false
    const bytes = chunk.subarray(start)
    const hasEnd = bytes.includes(NEWLINE)
    more.push(bytes)
    moreBytes += bytes.length
    if (!hasEnd && held.length + moreBytes <= MAX_LINE_BYTES) continue
    const looked = held.length + moreBytes - bytes.length
    held = Buffer.concat([held, ...more])
    more = []
    moreBytes = 0
    if (hasEnd) held = yield* wholeLines(held, format, looked)
    if (held.length <= MAX_LINE_BYTES) continue
    const end = held.indexOf(NEWLINE)
    yield tooLong(held.subarray(0, end < 0 ? held.length : end))
    // Of a quote that is never closed only its own line is lost.
    skipping = end < 0
    held = end < 0 ? Buffer.alloc(0) : held.subarray(end + 1)
  }
  held = Buffer.concat([held, ...more])
  while (held.length > 0) {
    held = yield* wholeLines(held, format, 0, true)
    const end = held.indexOf(NEWLINE)
    const line = held.subarray(0, end < 0 ? held.length : end + 1)
    if (line.length > 0) yield { bytes: line, lines: [{ from: 0, to: line.length }], isTooLong: false }
    held = held.subarray(line.length)
  }
}

function tooLong(bytes: Buffer): Part {
  return { bytes, lines: [{ from: 0, to: Math.min(bytes.length, MAX_KEPT_BYTES) }], isTooLong: true }
}

/** @param looked before this no line ends. @returns what is left. */
function* wholeLines(bytes: Buffer, format: LineFormat, looked: number, isLast = false): Generator<Part, Buffer> {
  let from = 0
  for (;;) {
    const part = take(bytes, from, format, Math.max(from, looked), isLast)
    if (!part) return bytes.subarray(from)
    from += part.bytes.length
    yield part
  }
}

function take(bytes: Buffer, start: number, format: LineFormat, looked: number, isLast: boolean): Part | undefined {
  const lines: Line[] = []
  let from = start
  while (from < bytes.length && lines.length < MAX_LINES && from - start < MAX_PART_BYTES) {
    const to = format.endOf(bytes, from, Math.max(from, looked), isLast)
    if (to < 0) break
    if (to - from > MAX_LINE_BYTES) return from === start ? tooLong(bytes.subarray(start, to + 1)) : partOf(bytes, start, from, lines)
    if (!format.isEmpty(bytes, from, to)) lines.push({ from: from - start, to: to - start })
    from = to + 1
  }
  return from === start ? undefined : partOf(bytes, start, from, lines)
}

function partOf(bytes: Buffer, from: number, to: number, lines: readonly Line[]): Part {
  return { bytes: bytes.subarray(from, to), lines, isTooLong: false }
}
