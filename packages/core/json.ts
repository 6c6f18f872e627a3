// JSON that every reader of lines can take, and what JSON.parse does not say of a text: that a key was given twice.

const NON_ASCII = /[\u007f-\uffff]/
const EACH_NON_ASCII = /[\u007f-\uffff]/g

/** Clients split lines at U+2028 or decode ASCII only, so everything beyond ASCII is escaped (contracts.md 1.b.3). */
export function asciiJson(value: unknown): string {
  const json = JSON.stringify(value)
  if (!NON_ASCII.test(json)) return json
  return json.replace(EACH_NON_ASCII, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const OPENING = 0x7b
const CLOSING = 0x7d
const OPENING_LIST = 0x5b
const CLOSING_LIST = 0x5d

/** The first key that an object has twice (`"\u0061"` is `"a"`), of a text that JSON.parse has taken: there the last one wins in silence. */
export function repeatedKey(json: string): string | undefined {
  const outer: Set<string>[] = []
  let keys = new Set<string>()
  for (let at = 0; at < json.length; at++) {
    const char = json.charCodeAt(at)
    if (char === OPENING) {
      outer.push(keys)
      keys = new Set()
    } else if (char === CLOSING) keys = outer.pop() ?? keys
    if (char !== QUOTE) continue
    const end = endOfString(json, at)
    if (isKey(json, end)) {
      const key = keyOf(json.slice(at, end))
      if (keys.has(key)) return key
      keys.add(key)
    }
    at = end - 1
  }
  return undefined
}

/** Behind the quote that closes the string which begins here. */
function endOfString(json: string, start: number): number {
  for (let at = start + 1; ; at++) {
    const char = json.charCodeAt(at)
    if (char === BACKSLASH) at++
    else if (char === QUOTE) return at + 1
  }
}

/** Where the value of this key begins in the object that the text is; undefined when it has none. Of a text that JSON.parse has taken. */
export function valueAt(json: string, key: string): number | undefined {
  let depth = 0
  for (let at = 0; at < json.length; at++) {
    const char = json.charCodeAt(at)
    if (char === OPENING || char === OPENING_LIST) depth++
    else if (char === CLOSING || char === CLOSING_LIST) depth--
    if (char !== QUOTE) continue
    const end = endOfString(json, at)
    if (depth === 1 && isKey(json, end) && keyOf(json.slice(at, end)) === key) return firstOf(json, json.indexOf(':', end) + 1)
    at = end - 1
  }
  return undefined
}

/** The next character that is no space. */
function firstOf(json: string, from: number): number {
  let at = from
  while (json.charCodeAt(at) <= SPACE) at++
  return at
}

function isKey(json: string, end: number): boolean {
  return json.charCodeAt(firstOf(json, end)) === COLON
}

const SPACE = 0x20

function keyOf(quoted: string): string {
  return quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1)
}

/**
 * The same on the way of every event: a scan costs as much as the parse, so first the colons that may stand behind a key are counted, and
 * the keys that came of them. More colons: one was given twice, or a text looks like it.
 */
export function repeatedKeyIn(json: string, parsed: unknown): string | undefined {
  return colonsOf(json) === keysOf(parsed, 0) ? undefined : repeatedKey(json)
}

/** At least as many as there are keys: a quote or white space is before each. */
function colonsOf(json: string): number {
  let count = 0
  for (let at = json.indexOf(':'); at >= 0; at = json.indexOf(':', at + 1)) {
    const before = json.charCodeAt(at - 1)
    if (before === QUOTE || before <= SPACE) count++
  }
  return count
}

/** Far deeper than anything that is taken, and no danger to the stack. */
const MAX_COUNTED_DEPTH = 100

function keysOf(value: unknown, depth: number): number {
  if (typeof value !== 'object' || value === null) return 0
  if (depth > MAX_COUNTED_DEPTH) return Number.NaN
  let count = 0
  if (Array.isArray(value)) for (const one of value) count += keysOf(one, depth + 1)
  else for (const key in value) count += 1 + keysOf((value as Record<string, unknown>)[key], depth + 1)
  return count
}

export type Altered = { readonly path: string; readonly why: string }

/** What was silently made another value when this text was parsed; undefined for nothing. `parsed` is what came of it. */
export function alteredIn(json: string, parsed: unknown): Altered | undefined {
  const integer = alteredInteger(json)
  // No recursion: the text may be as deep as it likes.
  const left: [path: string, parts: object][] = [['', { '': parsed }]]
  for (let next = left.pop(); next; next = left.pop()) {
    const [path, parts] = next
    for (const key in parts) {
      const part = (parts as Readonly<Record<string, unknown>>)[key]
      const why = SURROGATE.test(key) ? HALF : whyAltered(part, integer)
      const isObject = typeof part === 'object' && part !== null
      if (why === undefined && !isObject) continue
      const place = path === '' ? key : `${path}.${key}`
      if (why !== undefined) return { path: SURROGATE.test(key) ? path : place, why }
      if (isObject) left.push([place, part])
    }
  }
  return undefined
}

/** Quick, and true also of numbers as large as these that are kept. */
export function mayBeAltered(key: string, value: unknown): boolean {
  if (SURROGATE.test(key)) return true
  if (typeof value === 'number') return !Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))
  return typeof value === 'string' && SURROGATE.test(value)
}

/** Outside of a pair. */
const SURROGATE = /\p{Cs}/u
const HALF = 'it has half of a surrogate pair, which is no character'

type Integer = { readonly value: number; readonly written: string }

function whyAltered(value: unknown, integer: Integer | undefined): string | undefined {
  if (typeof value === 'string') return SURROGATE.test(value) ? HALF : undefined
  if (typeof value !== 'number') return undefined
  if (!Number.isFinite(value)) return 'it is larger than any number that can be kept'
  return value === integer?.value ? `${integer.written.slice(0, 50)} would be kept as ${value}` : undefined
}

const NUMBER = /-?\d+(\.\d+)?([eE][-+]?\d+)?/y
const SAFE_DIGITS = 15

/** The first that is kept as another. */
function alteredInteger(json: string): Integer | undefined {
  for (let at = 0; at < json.length; at++) {
    const char = json.charCodeAt(at)
    if (char === QUOTE) at = endOfString(json, at) - 1
    else if (isNumeric(char)) {
      const [written, fraction, exponent] = numberAt(json, at)
      at += written.length - 1
      if (fraction === undefined && exponent === undefined && isAltered(written)) return { value: Number(written), written }
    }
  }
  return undefined
}

function isNumeric(char: number): boolean {
  return char === MINUS || (char >= ZERO && char <= NINE)
}

const MINUS = 0x2d
const ZERO = 0x30
const NINE = 0x39

function numberAt(json: string, at: number): readonly [written: string, fraction?: string, exponent?: string] {
  NUMBER.lastIndex = at
  return (NUMBER.exec(json) ?? ['-']) as unknown as readonly [string, string?, string?]
}

function isAltered(written: string): boolean {
  if (written.length <= SAFE_DIGITS) return false
  const value = Number(written)
  return String(value) !== written && Number.isFinite(value) && BigInt(value) !== BigInt(written)
}
