// Reading what a person wrote, strictly: unknown keys, wrong types and values out of range are refused by path.
import { invalid } from '../failure.ts'
import { parseDuration } from '../time.ts'
import type { Schema } from './kind.ts'

export type Fields = { readonly [key: string]: unknown }

const MAX_DURATION_MS = 366 * 86_400_000
const MAX_LIST = 1000
// A refusal repeats the key it refuses; one of a megabyte should not fill the answer or the log.
export const MAX_SHOWN_KEY = 64
/** Every refusal of a key begins so, and no other does. */
export const UNKNOWN = 'is unknown here'

export const durationSchema: Schema = { type: 'string', pattern: '^\\d+(\\.\\d+)?(ms|s|m|h|d)$', examples: ['30s', '5m', '2h'] }

export function joinPath(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}

/** The object with none but these keys. `path` is empty for the whole document, then called `name` in a refusal. */
export function readObject(value: unknown, path: string, keys: readonly string[], name = path): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(name, `expected an object with some of ${keys.join(', ')}`)
  for (const key of Object.keys(value)) if (!keys.includes(key)) throw unknownKey(path, key, keys)
  return value as Fields
}

function unknownKey(path: string, key: string, valid: readonly string[]): Error {
  const shown = key.slice(0, MAX_SHOWN_KEY)
  const near = nearest(shown, valid)
  const hint = near === undefined ? '' : `did you mean "${near}"? `
  return invalid(joinPath(path, shown), `${UNKNOWN}; ${hint}Valid: ${valid.join(', ')}`)
}

export function readString(value: unknown, path: string, maxChars: number): string {
  if (typeof value !== 'string' || value === '' || value.length > maxChars)
    throw invalid(path, `expected a text of 1 to ${maxChars} characters`)
  return value
}

export function readNumber(value: unknown, path: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw invalid(path, 'expected a number')
  return value
}

export function readBoolean(value: unknown, path: string): boolean {
  if (typeof value !== 'boolean') throw invalid(path, 'expected true or false')
  return value
}

export function readDurationMs(value: unknown, path: string): number {
  const ms = typeof value === 'string' ? parseDuration(value) : undefined
  if (ms === undefined || ms > MAX_DURATION_MS) throw invalid(path, 'expected a duration such as "30s", "5m" or "2h", at most 366d')
  return ms
}

export function readChoice<T extends string>(value: unknown, path: string, choices: readonly T[]): T {
  const found = choices.find(choice => choice === value)
  if (found === undefined) throw invalid(path, `expected one of ${choices.join(', ')}`)
  return found
}

/** A list in which nothing stands twice. */
export function readList(value: unknown, path: string, readOne: (text: string, path: string) => string): readonly string[] {
  if (!Array.isArray(value) || value.length > MAX_LIST) throw invalid(path, `expected a list of at most ${MAX_LIST} texts`)
  const list = value.map((one: unknown, index) => readOne(readString(one, `${path}[${index}]`, 256), `${path}[${index}]`))
  const twice = list.findIndex((one, index) => list.indexOf(one) !== index)
  if (twice >= 0) throw invalid(`${path}[${twice}]`, 'expected each only once')
  return list
}

/** The valid name a person most likely meant, or undefined when none is near. Case, `_` and `-` make no difference. */
export function nearest(name: string, valid: readonly string[]): string | undefined {
  const plain = (text: string) => text.toLowerCase().replaceAll(/[_-]/g, '')
  const ranked = valid.map(one => ({ one, steps: distance(plain(name), plain(one)) })).sort((a, b) => a.steps - b.steps)
  const best = ranked[0]
  return best !== undefined && best.steps <= Math.max(2, best.one.length / 3) ? best.one : undefined
}

/** Levenshtein's: how many letters to insert, remove or exchange. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const exchange = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(exchange, (row[j] as number) + 1, (next[j - 1] as number) + 1))
    }
    row = next
  }
  return row[b.length] as number
}
