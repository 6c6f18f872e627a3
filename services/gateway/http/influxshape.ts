// How InfluxDB answers: what clients of its two HTTP APIs read in a refusal, and act on.
import type { Failure } from '../../../packages/core/failure.ts'
import type { Refusal } from '../../../packages/runtime/http.ts'

/** By status; the words are those of the API of 2.x. */
const CODES: ReadonlyMap<number, string> = new Map([
  [400, 'invalid'],
  [401, 'unauthorized'],
  [403, 'forbidden'],
  [404, 'not found'],
  [413, 'request too large'],
  [415, 'invalid'],
  [429, 'too many requests'],
  [503, 'unavailable'],
])

/** `/api/v2/…` */
export function refuseV2(failure: Failure, status: number): Refusal {
  const code = CODES.get(status) ?? 'internal error'
  return { status, body: { code, message: status === 401 ? `unauthorized access: ${failure.message}` : failure.message } }
}

/**
 * `/write`, `/query`. Clients of 1.x drop what is refused with any 4xx, and send again what is refused with a 5xx: whoever is to wait is told
 * so by that.
 */
export function refuseV1(failure: Failure, status: number): Refusal {
  const error = status === 401 ? `authorization failed: ${failure.message}` : failure.message
  return { status: status === 429 ? 503 : status, body: { error } }
}

/** Good lines are kept; the first reason stands for all. */
export function partialWrite(first: string, rejected: number): string {
  return `partial write: ${first} dropped=${rejected}`
}
