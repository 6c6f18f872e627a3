// Against guessing secrets: wrong credentials are counted by where they come from and whose they claim to be, in this process.
import { Failure } from '../core/failure.ts'

export type GuessLimits = {
  readonly windowMs: number
  /** Of one claimed key from one address. */
  readonly perKey: number
  /** Of one address, whatever it claims: many people can stand behind one, so this is far more. */
  readonly perAddress: number
}

export const GUESS_LIMITS: GuessLimits = { windowMs: 60_000, perKey: 20, perAddress: 1000 }

const MAX_REMEMBERED = 10_000
const MAX_CLAIM_CHARS = 100

/** How often something was seen in a window that begins when it is first seen. */
class Counts {
  readonly #windowMs: number
  readonly #counts = new Map<string, { count: number; readonly untilMs: number }>()

  constructor(windowMs: number) {
    this.#windowMs = windowMs
  }

  add(name: string, nowMs: number): void {
    const known = this.#counts.get(name)
    if (known && known.untilMs > nowMs) {
      known.count++
      return
    }
    // In the order of their windows: the first is the one that ends first.
    this.#counts.delete(name)
    const [oldest] = this.#counts.size >= MAX_REMEMBERED ? this.#counts.keys() : []
    if (oldest !== undefined) this.#counts.delete(oldest)
    this.#counts.set(name, { count: 1, untilMs: nowMs + this.#windowMs })
  }

  /** How long until it may be seen again, when it was seen this often; 0 when it may be now. */
  waitMs(name: string, most: number, nowMs: number): number {
    const known = this.#counts.get(name)
    return known && known.count >= most ? Math.max(0, known.untilMs - nowMs) : 0
  }
}

export class Guesses {
  readonly #limits: GuessLimits | undefined
  readonly #nowMs: () => number
  readonly #byKey: Counts
  readonly #byAddress: Counts
  readonly #welcome = new Set<string>()

  /** @param limits undefined: none. */
  constructor(limits: GuessLimits | undefined, nowMs: () => number = () => performance.now()) {
    this.#limits = limits
    this.#nowMs = nowMs
    this.#byKey = new Counts(limits?.windowMs ?? 0)
    this.#byAddress = new Counts(limits?.windowMs ?? 0)
  }

  /**
   * Lets `check` look at credentials and counts when what it finds is a guess. Refuses with `too_many`, and does not look, when that was
   * so too often: for this key from this address, or from this address for so many keys that whoever was never let in here waits too.
   *
   * @param claim whose the credentials say they are; nobody has checked that. Undefined: nobody's.
   */
  async attempt<T>(address: string, claim: string | undefined, check: () => Promise<T>, isGuess: (found: T) => boolean): Promise<T> {
    if (!this.#limits) return check()
    const pair = claim === undefined ? undefined : `${address} ${claim.slice(0, MAX_CLAIM_CHARS)}`
    const waitMs = this.#waitMs(address, pair, this.#limits)
    if (waitMs > 0) throw new Failure('too_many', 'too many wrong credentials from this address: try again later', { retryAfterMs: waitMs })
    const found = await check()
    if (isGuess(found)) this.#failed(address, pair)
    else this.#succeeded(pair)
    return found
  }

  #waitMs(address: string, pair: string | undefined, { perKey, perAddress }: GuessLimits): number {
    const nowMs = this.#nowMs()
    const ofAddress = this.#byAddress.waitMs(address, perAddress, nowMs)
    if (pair === undefined) return ofAddress
    const ofKey = this.#byKey.waitMs(pair, perKey, nowMs)
    return this.#welcome.has(pair) ? ofKey : Math.max(ofKey, ofAddress)
  }

  #failed(address: string, pair: string | undefined): void {
    const nowMs = this.#nowMs()
    if (pair !== undefined) this.#byKey.add(pair, nowMs)
    this.#byAddress.add(address, nowMs)
  }

  /**
   * Who was let in here once is not held up by those who guess at other keys behind the same address. It forgives nothing. Those are
   * forgotten who have not come for the longest: many come once, with a token that is new each time.
   */
  #succeeded(pair: string | undefined): void {
    if (pair === undefined) return
    this.#welcome.delete(pair)
    const [oldest] = this.#welcome.size >= MAX_REMEMBERED ? this.#welcome : []
    if (oldest !== undefined) this.#welcome.delete(oldest)
    this.#welcome.add(pair)
  }
}
