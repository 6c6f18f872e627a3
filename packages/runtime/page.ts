// Lists in pages: `pageSize` and `pageToken` in either spelling, the token opaque to callers (contracts.md 1.a.6).
import { invalid } from '../core/failure.ts'

export type Query = Readonly<Record<string, string | string[] | undefined>>

/** A parameter that may stand once, in snake_case or camelCase. */
export function single(query: Query, name: string): string | undefined {
  const snake = name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)
  const values = [query[name], snake === name ? undefined : query[snake]].flat().filter(value => value !== undefined)
  if (values.length > 1) throw invalid(name, `expected one value, got ${values.length}`)
  return values[0]
}

/** A parameter that may be repeated; undefined when it is absent. */
export function several(query: Query, name: string): string[] | undefined {
  const snake = name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)
  const values = [query[name], snake === name ? undefined : query[snake]].flat().filter(value => value !== undefined)
  return values.length === 0 ? undefined : values
}

export function pageSize(query: Query, fallback: number, max: number): number {
  const text = single(query, 'pageSize')
  if (text === undefined) return fallback
  const size = /^\d{1,6}$/.test(text) ? Number(text) : 0
  if (size < 1) throw invalid('pageSize', `expected a whole number from 1 to ${max}, got ${text}`)
  return Math.min(size, max)
}

export function pageToken(query: Query): string | undefined {
  return decodeToken(single(query, 'pageToken'))
}

/** The place after which a page goes on, as it was given to `encodeToken`; undefined for the first page. */
export function decodeToken(token: string | undefined): string | undefined {
  if (token === undefined || token === '') return undefined
  const decoded = Buffer.from(token, 'base64url').toString('utf8')
  if (encodeToken(decoded) !== token) throw invalid('pageToken', 'expected the nextPageToken of an earlier page')
  return decoded
}

export function encodeToken(place: string): string {
  return Buffer.from(place, 'utf8').toString('base64url')
}
