// Answers as clients of this dialect read them (contracts.md 2.a.2): one envelope for what went well, one for what did not.
import type { Failure } from '../../../../packages/core/failure.ts'
import type { Refusal } from '../../../../packages/runtime/http.ts'

export const PATHS = /^\/(_fabric|_open|_api|_ws|apid|datacenter)(\/|$)/

export type Envelope<Result> = { readonly error: false; readonly code: number; readonly result: Result }

/** Never with `errorNum`: one client takes its presence for a failure, whatever the status. */
export function envelope<Result>(result: Result, code = 200): Envelope<Result> {
  return { error: false, code, result }
}

/** Where it is not the status itself. */
const NUMBERS: Readonly<Record<number, number>> = { 409: 581 }

export function refuse({ code, field, message }: Failure, usual: number): Refusal {
  // In use, which is another thing than to exist.
  const status = code === 'conflict' && field === IN_USE ? 412 : usual
  return { status, body: { error: true, code: status, errorNum: NUMBERS[status] ?? status, errorMessage: message } }
}

/** The field by which the core says that consumers are connected. */
export const IN_USE = 'consumers'
