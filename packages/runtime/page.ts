// Page tokens: the place after which a list goes on, opaque to callers (contracts.md 1.a.6).
import { invalid } from '../core/failure.ts'

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
