// Whether a receiver is up, and when to try again: decisions without a clock of their own.

const FIRST_MS = 1000
/** A receiver that is down is asked this often in the end, so it has everything soon after it is back. */
const MAX_PAUSE_MS = 30_000
/** One event that a receiver refuses while it takes others is in no hurry. */
const MAX_RETRY_MS = 10 * 60_000
const MAX_RETRY_AFTER_MS = 10 * 60_000
/** Failures in a row, of whatever events, after which the receiver counts as down. */
const DOWN_AFTER = 5

/** 1 s, 2 s, 4 s … `maxMs`, each between half and the whole. */
export function backoffMs(attempts: number, maxMs: number, random: number): number {
  return Math.min(maxMs, FIRST_MS * 2 ** Math.min(attempts - 1, 30)) * (0.5 + random / 2)
}

/** When an event that has failed this often is due again. */
export function retryMs(attempts: number, random: number): number {
  return backoffMs(attempts, MAX_RETRY_MS, random)
}

export class Circuit {
  #failures = 0
  #probes = 0
  #down = false
  #untilMs = 0
  #sinceMs: number | undefined

  /** @param sinceMs since when nothing has succeeded, of an earlier life. */
  constructor(sinceMs: number | undefined) {
    this.#sinceMs = sinceMs
  }

  get down(): boolean {
    return this.#down
  }

  /** Nothing is tried before this. */
  get untilMs(): number {
    return this.#untilMs
  }

  /** Since when no attempt has succeeded. */
  get sinceMs(): number | undefined {
    return this.#sinceMs
  }

  /** How many attempts there may be at once: one is enough to learn whether a receiver is back. */
  limit(nowMs: number, parallel: number): number {
    if (nowMs < this.#untilMs) return 0
    return this.#down ? 1 : parallel
  }

  /** True when the receiver had been down. */
  succeeded(): boolean {
    this.#sinceMs = undefined
    return this.#answered()
  }

  /** It will not have one event, which says that it is up: also true when it had been down. */
  refused(nowMs: number, retryAfterMs: number | undefined): boolean {
    this.#sinceMs ??= nowMs
    if (retryAfterMs !== undefined) this.#pause(nowMs + Math.min(retryAfterMs, MAX_RETRY_AFTER_MS))
    return this.#answered()
  }

  #answered(): boolean {
    const { down } = this
    this.#failures = 0
    this.#probes = 0
    this.#down = false
    return down
  }

  failed(startedMs: number, nowMs: number, retryAfterMs: number | undefined, random: number): void {
    this.#sinceMs ??= nowMs
    this.#failures++
    if (retryAfterMs !== undefined) this.#pause(nowMs + Math.min(retryAfterMs, MAX_RETRY_AFTER_MS))
    // Those that were under way when it went down say nothing new.
    const probed = this.#down && startedMs >= this.#untilMs
    if (this.#down ? !probed : this.#failures < DOWN_AFTER) return
    this.#down = true
    this.#pause(nowMs + backoffMs(++this.#probes, MAX_PAUSE_MS, random))
  }

  #pause(untilMs: number): void {
    this.#untilMs = Math.max(this.#untilMs, untilMs)
  }
}
