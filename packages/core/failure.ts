// The one error class: what went wrong in a way a device, a caller or an operator can act on.

/**
 * `invalid` bad input · `unauthenticated` no or wrong credentials · `forbidden` known, not allowed · `not_found` ·
 * `conflict` exists or changed meanwhile · `too_large` over a limit · `quota_exceeded` over a budget of the project, which somebody may raise:
 * waiting does not help · `unsupported` media type or protocol ·
 * `too_many` over a rate: wait · `unavailable` try again later (nothing was lost) · `setup` a setting or the machine is wrong: say how to mend it.
 */
export type FailureCode =
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'too_large'
  | 'quota_exceeded'
  | 'unsupported'
  | 'too_many'
  | 'unavailable'
  | 'setup'

export type FailureDetail = {
  /** Dotted path of the offending field, for example `data.temperature.value`. */
  readonly field?: string
  /** For `unavailable` and `too_many`: when trying again makes sense. */
  readonly retryAfterMs?: number
  readonly cause?: unknown
}

export class Failure extends Error {
  readonly code: FailureCode
  readonly field: string | undefined
  readonly retryAfterMs: number | undefined

  constructor(code: FailureCode, message: string, detail: FailureDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.name = 'Failure'
    this.code = code
    this.field = detail.field
    this.retryAfterMs = detail.retryAfterMs
  }
}

/** A refusal of input that names the field and what was expected there. */
export function invalid(field: string, expected: string): Failure {
  return new Failure('invalid', `${field}: ${expected}`, { field })
}
