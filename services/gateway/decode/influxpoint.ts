// One line of the line protocol, by its specification: names with escapes, fields of five kinds, a timestamp or none.
import { type Failure, invalid } from '../../../packages/core/failure.ts'

export type Value = number | string | boolean
export type Point = {
  readonly measurement: string
  readonly tags: ReadonlyMap<string, string>
  readonly fields: ReadonlyMap<string, Value>
  /** An integer; empty: none. */
  readonly time: string
}

const SPACE = 32
const TAB = 9
const QUOTE = 34
const COMMA = 44
const EQUALS = 61
const BACKSLASH = 92
const TIME = /^-?\d{1,19}$/
const INTEGER = /^[+-]?\d{1,30}[iu]$/
const FLOAT = /^[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,4})?$/
const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...['t', 'T', 'true', 'True', 'TRUE'].map(word => [word, true] as const),
  ...['f', 'F', 'false', 'False', 'FALSE'].map(word => [word, false] as const),
])
const MAX_U64 = 18446744073709551615n
const MAX_I64 = 9223372036854775807n

/** @throws Failure `invalid` that names the part of the line. */
export function parsePoint(line: string): Point {
  let at = skipSpaces(line, 0)
  let end = endOfName(line, at, COMMA, SPACE)
  const measurement = unescaped(line, at, end)
  if (measurement === '') throw invalid('measurement', `missing in ${shown(line)}`)
  const tags = new Map<string, string>()
  for (at = end; line.charCodeAt(at) === COMMA; at = end) {
    const equals = endOfName(line, at + 1, EQUALS, COMMA, SPACE)
    if (line.charCodeAt(equals) !== EQUALS) throw invalid('tags', `expected name=value after ${shown(line.slice(0, at))}`)
    const key = nameOf(line, at + 1, equals, 'tags')
    end = endOfName(line, equals + 1, COMMA, SPACE)
    const value = unescaped(line, equals + 1, end)
    if (value === '') throw missing(`tags.${shown(key)}`)
    if (tags.has(key)) throw invalid(`tags.${shown(key)}`, 'given twice')
    tags.set(key, value)
  }
  const fields = new Map<string, Value>()
  at = parseFields(line, skipSpaces(line, at), fields)
  const time = line.slice(skipSpaces(line, at)).trimEnd()
  if (time !== '' && !TIME.test(time)) throw invalid('time', `expected an integer, got ${shown(time)}`)
  return { measurement, tags, fields, time }
}

/** @returns where they end. */
function parseFields(line: string, start: number, fields: Map<string, Value>): number {
  let at = start
  if (at >= line.length) throw invalid('fields', 'missing: expected name=value after the measurement and its tags')
  for (;;) {
    const equals = endOfName(line, at, EQUALS, COMMA, SPACE)
    if (line.charCodeAt(equals) !== EQUALS) throw invalid('fields', `expected name=value, got ${shown(line.slice(at, equals))}`)
    const key = nameOf(line, at, equals, 'fields')
    const isText = line.charCodeAt(equals + 1) === QUOTE
    const end = isText ? endOfText(line, equals + 2, key) : endOfName(line, equals + 1, COMMA, SPACE)
    const value = isText ? textOf(line.slice(equals + 2, end - 1)) : plainValue(line.slice(equals + 1, end), key)
    if (fields.has(key)) throw invalid(`fields.${shown(key)}`, 'given twice')
    fields.set(key, value)
    const next = line.charCodeAt(end)
    if (next !== COMMA) {
      if (end < line.length && next !== SPACE && next !== TAB)
        throw invalid(`fields.${shown(key)}`, 'expected a comma or a space behind it')
      return end
    }
    at = end + 1
  }
}

function missing(field: string): Failure {
  return invalid(field, 'expected a value, got none')
}

function nameOf(line: string, from: number, to: number, part: string): string {
  const name = unescaped(line, from, to)
  if (name === '') throw invalid(part, `expected a name before "=" in ${shown(line)}`)
  if (name === '__proto__') throw invalid(`${part}.${name}`, 'not a field name')
  return name
}

function skipSpaces(line: string, from: number): number {
  let at = from
  while (line.charCodeAt(at) === SPACE || line.charCodeAt(at) === TAB) at++
  return at
}

/** The first of these that no backslash stands before: encoders put one there whatever stands before it, another backslash too. */
function endOfName(line: string, from: number, one: number, two: number, three = two): number {
  for (let at = from; at < line.length; at++) {
    const code = line.charCodeAt(at)
    if ((code === one || code === two || code === three) && (at === from || line.charCodeAt(at - 1) !== BACKSLASH)) return at
  }
  return line.length
}

/** Behind the closing quote. */
function endOfText(line: string, from: number, key: string): number {
  for (let at = from; at < line.length; at++) {
    const code = line.charCodeAt(at)
    if (code === BACKSLASH) at++
    else if (code === QUOTE) return at + 1
  }
  throw invalid(`fields.${shown(key)}`, 'a closing quote is missing')
}

/** In names a backslash makes a comma, an equals sign, a space or a newline part of the name, and else stands for itself. */
function unescaped(line: string, from: number, to: number): string {
  const name = line.slice(from, to)
  return name.includes('\\') ? name.replace(/\\([,= \n])/g, '$1') : name
}

/** In texts it does so with a quote and a backslash. */
function textOf(text: string): string {
  return text.includes('\\') ? text.replace(/\\(["\\])/g, '$1') : text
}

function plainValue(text: string, key: string): Value {
  if (FLOAT.test(text)) return finite(text, key)
  if (INTEGER.test(text)) return integer(text, key)
  const known = BOOLEANS.get(text)
  if (known !== undefined) return known
  if (text === '') throw missing(`fields.${shown(key)}`)
  throw invalid(`fields.${shown(key)}`, `expected a number, 1i, 1u, true, false or a text in quotes, got ${shown(text)}`)
}

function finite(text: string, key: string): number {
  const value = Number(text)
  if (!Number.isFinite(value)) throw invalid(`fields.${shown(key)}`, 'expected a finite number')
  return value
}

/** As JSON is read: what a number does not hold exactly is refused rather than changed. */
function integer(text: string, key: string): number {
  const digits = text.slice(0, -1)
  const value = Number(digits)
  if (Number.isSafeInteger(value)) {
    if (value < 0 && text.endsWith('u'))
      throw invalid(`fields.${shown(key)}`, `expected an integer from 0 to ${MAX_U64}, got ${shown(text)}`)
    return value
  }
  const big = BigInt(digits.replace(/^\+/, ''))
  const limit = text.endsWith('u') ? MAX_U64 : MAX_I64
  if (big > limit || big < -limit - 1n) throw invalid(`fields.${shown(key)}`, `expected an integer of 64 bits, got ${shown(text)}`)
  throw invalid(
    `fields.${shown(key)}`,
    `expected an integer within ±${Number.MAX_SAFE_INTEGER}, beyond which they are not exact: send it as text`,
  )
}

function shown(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}
