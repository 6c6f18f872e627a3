// Fields of a JSON body, whatever its content type says; an empty one has none (contracts.md §0.4).
import { invalid } from '../../../../packages/core/failure.ts'

export type Fields = Readonly<Record<string, unknown>>

const MAX_CHARS = 16 * 1024

export function fieldsOf(body: unknown): Fields {
  const text = Buffer.isBuffer(body) ? body.toString('utf8') : ''
  if (text.trim() === '') return {}
  const value = parseJson(text)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('body', 'expected a JSON object')
  return value as Fields
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw invalid('body', `not JSON: ${(error as Error).message}`)
  }
}

/** Undefined when it is not there, or empty. */
export function textOf(fields: Fields, name: string): string | undefined {
  const value = own(fields, name) ?? ''
  if (typeof value !== 'string') throw invalid(name, 'expected a text')
  if (value.length > MAX_CHARS) throw invalid(name, `at most ${MAX_CHARS} characters`)
  return value === '' ? undefined : value
}

/** Undefined when it is not there. */
export function integerOf(fields: Fields, name: string): number | undefined {
  const value = own(fields, name) ?? undefined
  if (value === undefined) return undefined
  if (!Number.isSafeInteger(value)) throw invalid(name, 'expected a whole number')
  return value as number
}

function own(fields: Fields, name: string): unknown {
  return Object.hasOwn(fields, name) ? fields[name] : undefined
}
