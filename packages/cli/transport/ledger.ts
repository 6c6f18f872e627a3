// The account of a run: every event handed to a transport is acked, refused, unconfirmed (QoS 0) or still outstanding.
import type { Failure } from '../../core/failure.ts'

const MAX_REASONS = 20

export class Ledger {
  /** Handed over by the command. */
  offered = 0
  /** Put on the wire at least once. */
  sent = 0
  acked = 0
  /** Sent with QoS 0, for which there is no ack. */
  unconfirmed = 0
  refused = 0
  /** Put on the wire once more, because a connection or an answer was lost or the server asked for it. */
  retried = 0
  reconnects = 0
  worstAckMs = 0
  readonly refusals = new Map<string, number>()
  readonly #maxOutstanding: number
  readonly #stopped: AbortSignal
  #failure: Failure | undefined
  #waiting = new Set<() => void>()

  /** `stopped` ends the waiting for room, not the waiting for acks. */
  constructor(maxOutstanding: number, stopped: AbortSignal) {
    this.#maxOutstanding = maxOutstanding
    this.#stopped = stopped
    stopped.addEventListener('abort', () => this.#wake(), { once: true })
  }

  get outstanding(): number {
    return this.offered - this.acked - this.unconfirmed - this.refused
  }

  /** What ended the run for good, such as revoked credentials. */
  get failure(): Failure | undefined {
    return this.#failure
  }

  /** Counts one event in. Undefined: there is room for more. A promise: resolves when there is, when stopped, or when the transport has failed. */
  offer(): Promise<void> | undefined {
    this.offered++
    return this.#hasRoom() ? undefined : this.#until(() => this.#hasRoom() || this.#stopped.aborted)
  }

  ack(events: number, tookMs: number): void {
    this.acked += events
    this.worstAckMs = Math.max(this.worstAckMs, tookMs)
    this.#wake()
  }

  release(events: number): void {
    this.unconfirmed += events
    this.#wake()
  }

  /** `reason` is kept once with its count; past twenty different ones they are counted together. */
  refuse(events: number, reason: string): void {
    const key = this.refusals.has(reason) || this.refusals.size < MAX_REASONS ? reason : 'other reasons'
    this.refusals.set(key, (this.refusals.get(key) ?? 0) + events)
    this.refused += events
    this.#wake()
  }

  /** Only the first failure counts: the later ones follow from it. */
  fail(failure: Failure): void {
    this.#failure ??= failure
    this.#wake()
  }

  /** Resolves when nothing is outstanding, when the transport has failed, when the signal is aborted or after `limitMs`. */
  async settle(limitMs: number, cut?: AbortSignal): Promise<void> {
    let ended = cut?.aborted === true
    const end = () => {
      ended = true
      this.#wake()
    }
    const timer = setTimeout(end, limitMs)
    cut?.addEventListener('abort', end)
    await this.#until(() => this.outstanding === 0 || ended)
    clearTimeout(timer)
    cut?.removeEventListener('abort', end)
  }

  #hasRoom(): boolean {
    return this.outstanding < this.#maxOutstanding
  }

  async #until(condition: () => boolean): Promise<void> {
    while (!condition() && this.#failure === undefined) await new Promise<void>(resolve => this.#waiting.add(resolve))
  }

  #wake(): void {
    if (this.#waiting.size === 0) return
    const waiting = this.#waiting
    this.#waiting = new Set()
    for (const resolve of waiting) resolve()
  }
}
