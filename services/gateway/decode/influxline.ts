// Where a line of the line protocol ends: at a newline that is neither escaped nor within the quotes of a field.
import { type LineEnds, type LineFormat, MAX_LINE_BYTES } from './format.ts'
import { isBlank } from './line.ts'

const NEWLINE = 10
const SPACE = 32
const QUOTE = 34
const HASH = 35
const EQUALS = 61
const BACKSLASH = 92

export const influxLines: LineFormat = {
  ends: () => new InfluxEnds(),
  isEmpty: (bytes, from, to) => {
    for (let at = from; at < to; at++) if ((bytes[at] as number) > SPACE) return bytes[at] === HASH
    return isBlank(bytes, from, to)
  },
}

class InfluxEnds implements LineEnds {
  readonly #look = new Look()
  #bytes: Buffer = Buffer.alloc(0)
  readonly #codeAt = (at: number) => this.#bytes[at] as number
  readonly #newlineFrom = (at: number) => this.#bytes.indexOf(NEWLINE, at)

  /** Most lines have neither quotes nor escapes: then it is the next newline. */
  next(bytes: Buffer, from: number, isLast: boolean): number {
    if (!this.#look.hasBegun) {
      const first = bytes.indexOf(NEWLINE, from)
      const end = first < 0 ? bytes.length : first
      if (isPlain(bytes, from, end)) return first < 0 && !isLast ? -1 : this.#look.ended(from, end)
    }
    this.#bytes = bytes
    return this.#look.next({ length: bytes.length, codeAt: this.#codeAt, newlineFrom: this.#newlineFrom }, from, isLast)
  }
}

/** As `LineEnds.next`, of a text that is there as a whole. */
export function endsOfInfluxLines(text: string): (from: number) => number {
  const look = new Look()
  const whole = { length: text.length, codeAt: (at: number) => text.charCodeAt(at), newlineFrom: (at: number) => text.indexOf('\n', at) }
  return from => {
    const first = text.indexOf('\n', from)
    const end = first < 0 ? text.length : first
    return isPlainText(text, from, end) ? look.ended(from, end) : look.next(whole, from, true)
  }
}

function isPlain(bytes: Buffer, from: number, to: number): boolean {
  let at = from
  while (at < to && (bytes[at] as number) <= SPACE) at++
  if (bytes[at] === HASH) return true
  for (; at < to; at++) if (bytes[at] === QUOTE || bytes[at] === BACKSLASH) return false
  return true
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

/** Bytes or characters. */
type Text = { readonly length: number; codeAt(at: number): number; newlineFrom(at: number): number }

/** How far a line was looked into, from where it begins; `cut`: its first newline within quotes, -1 for none. */
type Place = { at: number; inFields: boolean; inQuotes: boolean; cut: number }

/**
 * Quotes that are not closed within the length of a line: then that ends at the first newline in them. The lines behind it would each look as
 * far again, for the same quotes, unless it were remembered: a newline that two lines have within quotes is followed by the same for both.
 */
class Look {
  /** Into the line that is next. */
  #own: Place | undefined
  /** Into one before it, which has nothing but newlines within quotes until there. */
  #ahead: Place | undefined

  get hasBegun(): boolean {
    return this.#own !== undefined
  }

  next(text: Text, from: number, isLast: boolean): number {
    const limit = from + MAX_LINE_BYTES + 1
    this.#own ??= { at: 0, inFields: false, inQuotes: false, cut: -1 }
    const { length } = text
    const end = this.#endIn(text, this.#own, from, Math.min(limit, length))
    if (end >= 0) return this.ended(from, end)
    // It may still be closed.
    if (length < limit && !isLast) return -1
    const { inQuotes, cut } = this.#own
    if (cut >= 0 && (inQuotes || length >= limit)) return this.ended(from, from + cut)
    const next = length < limit ? -1 : text.newlineFrom(limit)
    return next < 0 && !isLast ? -1 : this.ended(from, next < 0 ? length : next)
  }

  /** @returns `end`. */
  ended(from: number, end: number): number {
    const length = end + 1 - from
    const last = this.#own && this.#own.at > length ? this.#own : this.#ahead
    this.#ahead = last && last.at > length ? { ...last, at: last.at - length } : undefined
    this.#own = undefined
    return end
  }

  /** Quotes count only where the value of a field begins: behind a space, and right behind an equals sign. */
  #endIn({ codeAt }: Text, place: Place, from: number, limit: number): number {
    let { inFields, inQuotes, cut } = place
    let at = from + place.at
    for (; at < limit; at++) {
      const code = codeAt(at)
      if (code === BACKSLASH) at++
      else if (inQuotes) {
        if (code === QUOTE) inQuotes = false
        else if (code === NEWLINE) {
          if (cut < 0) cut = at - from
          if (this.#ahead && from + this.#ahead.at > at) {
            ;({ inFields, inQuotes } = this.#ahead)
            at = from + this.#ahead.at - 1
          }
        }
      } else if (code === NEWLINE) return at
      else if (code === SPACE) inFields = true
      else if (inFields && code === QUOTE && codeAt(at - 1) === EQUALS) inQuotes = true
    }
    Object.assign(place, { at: at - from, inFields, inQuotes, cut })
    return -1
  }
}
