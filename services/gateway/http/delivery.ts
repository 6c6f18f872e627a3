// What makes a repeat of an HTTP delivery harmless: events that carry neither id nor time of their own are known again by the key that the
// sender gave, and by the body up to where they stand in it. The same key with another body is another delivery: nothing of it is dropped.
import { createHash, type Hash } from 'node:crypto'
import { invalid } from '../../../packages/core/failure.ts'
import type { Part } from './line.ts'

const KEY = /^[\x20-\x7e]{1,256}$/
const FIELD = 'header idempotency-key'
const DIGEST_CHARS = 22

/** Undefined: the sender promises nothing. @throws Failure `invalid`. */
export function idempotencyKeyOf(header: string | readonly string[] | undefined): string | undefined {
  if (header === undefined) return undefined
  if (typeof header !== 'string' || !KEY.test(header)) throw invalid(FIELD, 'expected 1 to 256 printable ASCII characters, once')
  return header
}

/** Keys for the events of one body. */
export class DeliveryKeys {
  readonly #hash: Hash

  /** @param parts whose delivery, where to, and the sender's key. */
  constructor(...parts: readonly string[]) {
    this.#hash = createHash('sha256').update(`${parts.join('\t')}\n`)
  }

  /** Keys by index for a body that is there as a whole. */
  ofWhole(body: Buffer): (index: number) => string {
    const digest = digestOf(this.#hash.update(body))
    return index => `${digest}.${index}`
  }

  /** Keys by index for the lines of the next part, asked for in their order. */
  ofPart({ bytes, lines, isTooLong }: Part): { readonly keyOf: (index: number) => string; done(): void } {
    let at = 0
    const to = (end: number) => {
      this.#hash.update(bytes.subarray(at, end))
      at = end
    }
    const keyOf = (index: number) => {
      to(lines[index]?.to ?? bytes.length)
      return digestOf(this.#hash.copy())
    }
    // Of a line that is too long not all is there.
    return { keyOf, done: () => to(isTooLong ? (lines[0]?.to ?? 0) : bytes.length) }
  }
}

function digestOf(hash: Hash): string {
  return hash.digest('base64url').slice(0, DIGEST_CHARS)
}
