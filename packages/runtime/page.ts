// Page tokens: the place after which a list goes on, opaque to callers (contracts.md 1.a.6).
import { invalid } from '../core/failure.ts'

const MAX_PAGE = 100

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

/** One page of what is held as a whole, in the order of its places, such as names. */
export function pageIn<Item>(
  all: readonly Item[],
  placeOf: (one: Item) => string,
  { pageSize = MAX_PAGE, pageToken }: { readonly pageSize?: number; readonly pageToken?: string },
): { page: Item[]; nextPageToken: string } {
  const after = decodeToken(pageToken) ?? ''
  const left = all.filter(one => placeOf(one) > after).toSorted((a, b) => (placeOf(a) < placeOf(b) ? -1 : 1))
  const page = left.slice(0, Math.min(pageSize, MAX_PAGE))
  const last = left.length > page.length ? page.at(-1) : undefined
  return { page, nextPageToken: last === undefined ? '' : encodeToken(placeOf(last)) }
}
