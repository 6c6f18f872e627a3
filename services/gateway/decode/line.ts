// Lines that end with a newline, whatever they hold: of NDJSON, where a newline within a text is always written `\n`.
import type { LineEnds, LineFormat } from './format.ts'

const NEWLINE = 10
const SPACE = 32

export const plainLines: LineFormat = { ends: () => new PlainEnds(), isEmpty: isBlank }

class PlainEnds implements LineEnds {
  /** So much of the line that is next has no newline in it. */
  #looked = 0

  next(bytes: Buffer, from: number, isLast: boolean): number {
    const end = bytes.indexOf(NEWLINE, from + this.#looked)
    this.#looked = end < 0 ? bytes.length - from : 0
    return end < 0 && isLast ? bytes.length : end
  }
}

export function isBlank(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if ((bytes[at] as number) > SPACE) return false
  return true
}
