// Where a line of the line protocol ends: at a newline that is neither escaped nor within the quotes of a field.
import type { LineFormat } from './format.ts'
import { isBlank } from './line.ts'

const NEWLINE = 10
const SPACE = 32
const QUOTE = 34
const HASH = 35
const EQUALS = 61
const BACKSLASH = 92

/** Most lines have neither quotes nor escapes: then it is the next newline. */
export const influxLines: LineFormat = {
  endOf: (bytes, from, _looked, isLast) => {
    const first = bytes.indexOf(NEWLINE, from)
    const end = first < 0 ? bytes.length : first
    if (isPlain(bytes, from, end)) return first < 0 && !isLast ? -1 : end
    const scanned = scan(bytes.length, at => bytes[at] as number, from)
    if (scanned.isOpen) return -1
    return scanned.end < bytes.length || isLast ? scanned.end : -1
  },
  isEmpty: (bytes, from, to) => {
    for (let at = from; at < to; at++) if ((bytes[at] as number) > SPACE) return bytes[at] === HASH
    return isBlank(bytes, from, to)
  },
}

function isPlain(bytes: Buffer, from: number, to: number): boolean {
  let at = from
  while (at < to && (bytes[at] as number) <= SPACE) at++
  if (bytes[at] === HASH) return true
  for (; at < to; at++) if (bytes[at] === QUOTE || bytes[at] === BACKSLASH) return false
  return true
}

/** As `endOf`, of a text that is there as a whole; of quotes that are never closed, only the first line is taken. */
export function endOfInfluxLine(text: string, from: number): number {
  const first = text.indexOf('\n', from)
  const end = first < 0 ? text.length : first
  if (isPlainText(text, from, end)) return end
  const scanned = scan(text.length, at => text.charCodeAt(at), from)
  return scanned.isOpen ? end : scanned.end
}

function isPlainText(text: string, from: number, to: number): boolean {
  let at = from
  while (at < to && text.charCodeAt(at) <= SPACE) at++
  if (text.charCodeAt(at) === HASH) return true
  for (; at < to; at++) {
    const code = text.charCodeAt(at)
    if (code === QUOTE || code === BACKSLASH) return false
  }
  return true
}

/** Quotes count only where the value of a field begins: behind a space, and right behind an equals sign. */
function scan(length: number, codeAt: (at: number) => number, from: number): { readonly end: number; readonly isOpen: boolean } {
  let [inFields, inQuotes] = [false, false]
  let at = from
  for (; at < length; at++) {
    const code = codeAt(at)
    if (code === BACKSLASH) at++
    else if (inQuotes) {
      if (code === QUOTE) inQuotes = false
    } else if (code === NEWLINE) return { end: at, isOpen: false }
    else if (code === SPACE) inFields = true
    else if (inFields && code === QUOTE && codeAt(at - 1) === EQUALS) inQuotes = true
  }
  return { end: Math.min(at, length), isOpen: inQuotes }
}
