// Lines that end with a newline, whatever they hold: of NDJSON, where a newline within a text is always written `\n`.
import type { LineFormat } from './format.ts'

const NEWLINE = 10
const SPACE = 32

export const plainLines: LineFormat = {
  endOf: (bytes, _from, looked, isLast) => {
    const end = bytes.indexOf(NEWLINE, looked)
    return end < 0 && isLast ? bytes.length : end
  },
  isEmpty: isBlank,
}

export function isBlank(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if ((bytes[at] as number) > SPACE) return false
  return true
}
