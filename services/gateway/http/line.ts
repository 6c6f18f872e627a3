// From a body of any length to parts of whole lines, in memory for one part: what a line is, the format says.
import { type LineEnds, type LineFormat, MAX_LINE_BYTES } from '../decode/format.ts'

/** Whole lines, as they came. */
export type Part = {
  /** With all that stands between and behind them: the parts of a body together are the body, but for what of a line was too long. */
  readonly bytes: Buffer
  /** Where each line that says something begins and ends in it. */
  readonly lines: readonly Line[]
  /** The only line there is was longer than one may be: this is how it begins. */
  readonly isTooLong: boolean
  /** Which line of the body it begins with, from 1: the empty ones count, and those within quotes. */
  readonly number: number
}
export type Line = { readonly from: number; readonly to: number }

const MAX_KEPT_BYTES = 16 * 1024
/** What the log takes as one. */
const MAX_LINES = 500
const MAX_PART_BYTES = 256 * 1024

const NEWLINE = 10

/** @param format where its lines end. The last line needs no end, except that the body has to end as it should. */
export async function* partsOf(body: AsyncIterable<Buffer>, format: LineFormat): AsyncGenerator<Part, void, undefined> {
  const cutter = new Cutter(format)
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
    held = yield* cutter.parts(Buffer.concat([held, ...more]), false)
    more = []
    moreBytes = 0
    if (held.length <= MAX_LINE_BYTES) continue
    yield cutter.tooLong(held)
    skipping = true
    held = Buffer.alloc(0)
  }
  yield* cutter.parts(Buffer.concat([held, ...more]), true)
}

class Cutter {
  readonly #format: LineFormat
  #ends: LineEnds
  /** Of the line that is next. */
  #number = 1

  constructor(format: LineFormat) {
    this.#format = format
    this.#ends = format.ends()
  }

  /** @returns what is left, of one line. */
  *parts(bytes: Buffer, isLast: boolean): Generator<Part, Buffer> {
    let [start, from] = [0, 0]
    let lines: Line[] = []
    let number = this.#number
    const cut = (): Part => {
      const part = { bytes: bytes.subarray(start, from), lines, isTooLong: false, number }
      start = from
      lines = []
      number = this.#number
      return part
    }
    while (from < bytes.length) {
      const to = this.#ends.next(bytes, from, isLast)
      if (to < 0) break
      if (to - from > MAX_LINE_BYTES) {
        if (from > start) yield cut()
        yield this.#long(bytes.subarray(from, to + 1))
        start = to + 1
        number = this.#number
      } else {
        if (!this.#format.isEmpty(bytes, from, to)) lines.push({ from: from - start, to: to - start })
        this.#number += 1 + newlinesIn(bytes, from, to)
      }
      from = to + 1
      if (lines.length === MAX_LINES || from - start >= MAX_PART_BYTES) yield cut()
    }
    if (from > start) yield cut()
    return bytes.subarray(from)
  }

  /** Its rest is skipped until the next newline: a line begins behind that. */
  tooLong(bytes: Buffer): Part {
    this.#ends = this.#format.ends()
    return this.#long(bytes)
  }

  #long(bytes: Buffer): Part {
    const part = { bytes, lines: [{ from: 0, to: Math.min(bytes.length, MAX_KEPT_BYTES) }], isTooLong: true, number: this.#number }
    this.#number += 1 + newlinesIn(bytes, 0, bytes.length - 1)
    return part
  }
}

/** Which line of the body stands at `from` of the part. */
export function numberAt({ bytes, number }: Part, from: number): number {
  return number + newlinesIn(bytes, 0, from)
}

function newlinesIn(bytes: Buffer, from: number, to: number): number {
  let count = 0
  for (let at = bytes.indexOf(NEWLINE, from); at >= 0 && at < to; at = bytes.indexOf(NEWLINE, at + 1)) count++
  return count
}
