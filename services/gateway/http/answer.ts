// What a sender of events is told: how many are on disk, what is wrong with the others, and how far it got.
import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Failure } from '../../../packages/core/failure.ts'
import { failureBody, STATUS, sayWhen } from '../../../packages/runtime/http.ts'
import { MAX_ERRORS, type Tally } from './upload.ts'

/** 200 when all were accepted, 207 when some were, 400 when none. `failure`: why there was no more. */
export function answerTally(
  reply: FastifyReply,
  tally: Tally,
  failure?: Failure,
  status = failure ? STATUS[failure.code] : undefined,
): FastifyReply {
  const { accepted, rejected, errors } = tally
  const omitted = rejected > errors.length ? { omitted: rejected - errors.length } : {}
  const counts = { accepted, rejected, errors, ...omitted }
  if (failure) {
    sayWhen(failure, reply)
    return reply.status(status ?? 500).send({ ...failureBody(failure, status ?? 500), ...counts })
  }
  if (accepted > 0 || rejected === 0) return reply.status(rejected === 0 ? 200 : 207).send(counts)
  return reply
    .status(400)
    .send({ error: errors[0]?.message, code: 400, help: 'https://www.rfc-editor.org/rfc/rfc9110#status.400', ...counts })
}

/** What is not read yet of an answer that goes on; beyond it several parts are told as one. */
const MAX_UNREAD_BYTES = 64 * 1024

/** An answer that grows with the body: one line for each part when it is on disk, and a last one with the totals. */
export class Progress {
  readonly #reply: FastifyReply
  #lines: Readable | undefined
  #untold: Tally = { accepted: 0, rejected: 0, errors: [] }

  constructor(reply: FastifyReply) {
    this.#reply = reply
  }

  get hasBegun(): boolean {
    return this.#lines !== undefined
  }

  told({ accepted, rejected, errors }: Tally): void {
    this.#untold.accepted += accepted
    this.#untold.rejected += rejected
    for (const error of errors) if (this.#untold.errors.length < MAX_ERRORS) this.#untold.errors.push(error)
    this.#lines ??= this.#begin()
    // Who sends and does not read is not waited for: they would wait for us.
    if (this.#lines.readableLength < MAX_UNREAD_BYTES) this.#tell()
  }

  /** The last line. */
  end({ accepted, rejected }: Tally, failure: Failure | undefined): void {
    this.#lines ??= this.#begin()
    if (this.#untold.accepted + this.#untold.rejected > 0) this.#tell()
    const refused = failure && { error: failure.message, code: STATUS[failure.code], ...retryOf(failure) }
    this.#push({ total: true, accepted, rejected, ...refused })
    this.#lines.push(null)
  }

  #begin(): Readable {
    const lines = new Readable({ read: () => undefined })
    void this.#reply.status(200).header('content-type', 'application/x-ndjson').header('cache-control', 'no-store').send(lines)
    return lines
  }

  #tell(): void {
    this.#push(this.#untold)
    this.#untold = { accepted: 0, rejected: 0, errors: [] }
  }

  #push(line: object): void {
    if (this.#lines?.destroyed === false) this.#lines.push(`${JSON.stringify(line)}\n`)
  }
}

function retryOf({ code, retryAfterMs = 1000 }: Failure): { readonly retryAfter?: number } {
  return code === 'unavailable' || code === 'too_many' ? { retryAfter: Math.max(1, Math.ceil(retryAfterMs / 1000)) } : {}
}
