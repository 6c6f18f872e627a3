// Payloads that are text, and mostly JSON: what is in them, or a failure that says what is wrong.
import { Failure } from '../../../packages/core/failure.ts'

export type Fields = Readonly<Record<string, unknown>>

const decoder = new TextDecoder('utf-8', { fatal: true })

/** @throws Failure `invalid`. */
export function textOf(bytes: Buffer): string {
  try {
    return decoder.decode(bytes)
  } catch (error) {
    throw new Failure('invalid', 'payload: not UTF-8 text', { field: 'payload', cause: error })
  }
}

/** @throws Failure `invalid`. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Failure('invalid', `payload: not JSON: ${(error as Error).message}`, { field: 'payload', cause: error })
  }
}

/** @throws Failure `invalid`. */
export function objectOf(text: string): Fields {
  const value = jsonOf(text)
  if (!isObject(value)) throw new Failure('invalid', 'payload: expected a JSON object', { field: 'payload' })
  return value
}

export function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function isScalar(value: unknown): value is number | string | boolean {
  return typeof value === 'number' || typeof value === 'boolean' || (typeof value === 'string' && value !== '')
}

/** What a sensor says while it has nothing to say. */
export const ABSENT: ReadonlySet<string> = new Set(['unknown', 'unavailable', 'none', 'null', 'nan', ''])

const NUMBER = /^-?\d{1,20}(\.\d{1,20})?([eE][+-]?\d{1,3})?$/

/** Of a text that is a plain decimal number, whatever blanks are around it. */
export function numberIn(text: string): number | undefined {
  const word = text.trim()
  const number = NUMBER.test(word) ? Number(word) : Number.NaN
  return Number.isFinite(number) ? number : undefined
}

/** Of a payload that is one value: a number, true, false, or a word. */
export function scalarOf(text: string): number | string | boolean {
  const word = text.trim()
  if (NUMBER.test(word)) return Number(word)
  return word === 'true' ? true : word === 'false' ? false : word
}
