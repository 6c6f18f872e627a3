// What goes wrong between a program and the server, in one class, whichever of the dialect's shapes it came in.
import { Failure, type FailureCode } from '../core/failure.ts'

export type ErrorDetail = {
  readonly field?: string | undefined
  readonly help?: string | undefined
  readonly retryAfterMs?: number | undefined
  readonly cause?: unknown
}

const CODES: ReadonlyMap<number, FailureCode> = new Map([
  [0, 'unavailable'],
  [401, 'unauthenticated'],
  [403, 'forbidden'],
  [404, 'not_found'],
  [408, 'unavailable'],
  [409, 'conflict'],
  [413, 'too_large'],
  [415, 'unsupported'],
  [429, 'too_many'],
])
const MAX_MESSAGE_CHARS = 300

/**
 * A call that the server refused, or that got no answer. `message` is in the server's words.
 *
 * `code` says what can be done: `unavailable` and `too_many` (try again later), `unauthenticated`, `forbidden`, `not_found`, `conflict`, `too_large`,
 * `unsupported`, `invalid`.
 */
export class TelltaleError extends Failure {
  /** HTTP status; 0 when there was no answer. */
  readonly status: number
  /** Address of an explanation. */
  readonly help: string | undefined

  constructor(status: number, message: string, { field, help, retryAfterMs, cause }: ErrorDetail = {}) {
    super(CODES.get(status) ?? (status >= 500 ? 'unavailable' : 'invalid'), message, {
      cause,
      ...(field === undefined ? {} : { field }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    })
    this.name = 'TelltaleError'
    this.status = status
    this.help = help
  }
}

/** A part of the stream is gone from the server: what came after `from`, up to and with `to`. `stream.cursor` stands behind it. */
export class GapError extends TelltaleError {
  readonly from: string
  readonly to: string

  constructor(from: string, to: string) {
    super(0, 'events are missing: they are no longer kept by the server; go on after them with the cursor in `to`')
    this.name = 'GapError'
    this.from = from
    this.to = to
  }
}

/** `{"error":"…","code":409,"help":"…","field":"…"}`, `{"error":{"message":"…"}}`, or `{"error":"invalid_grant","error_description":"…"}`. */
export function errorOf(status: number, body: unknown, laterMs?: number): TelltaleError {
  const { help, field } = Object(body) as { readonly help?: unknown; readonly field?: unknown }
  return new TelltaleError(status, messageOf(body) || `the server answered ${status}`, {
    help: typeof help === 'string' ? help : undefined,
    field: typeof field === 'string' ? field : undefined,
    retryAfterMs: laterMs,
  })
}

/** The words in an error body, '' when there are none. */
export function messageOf(body: unknown): string {
  if (typeof body === 'string') return body.slice(0, MAX_MESSAGE_CHARS)
  const { message, error, error_description } = Object(body) as Readonly<Record<string, unknown>>
  for (const words of [message, error_description]) if (typeof words === 'string') return words.slice(0, MAX_MESSAGE_CHARS)
  return error === undefined || error === null ? '' : messageOf(error)
}

/** Why there was no answer, or none any more. Whoever aborts a signal may give anything as the reason. */
export function unreachable(url: string, error: unknown, opened = false): TelltaleError {
  const { name, cause } = Object(error) as Partial<Error>
  const inner = Object(cause) as { readonly code?: string; readonly message?: string }
  const why = name === 'TimeoutError' ? 'no answer in time' : (inner.code ?? inner.message ?? reasonOf(error))
  const where = url === '' ? 'the server' : url
  return new TelltaleError(0, opened ? `${where} hung up: ${why}` : `no answer from ${where} (${why})`, { cause: error })
}

/** In words, whatever was thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
