// Finding the addresses of names. The system does it on one of four threads that files and the reading store need too, and a name
// whose server never answers holds its thread for many seconds: so few are looked up at once, and each only once at a time.
import type { LookupAddress } from 'node:dns'
import { lookup } from 'node:dns/promises'

export type Find = (host: string) => Promise<LookupAddress[]>

const PARALLEL = 2
/** Nobody asks again for so long when a name was not found. What was found is not kept: it may change at any time. */
const FAILED_MS = 10_000
/** Or for so many times as long as it took to learn that: names that are never answered leave most of the time to others. */
const FAILED_TIMES = 3
const MAX_FAILED = 1000

export class Names {
  readonly #find: Find
  readonly #underWay = new Map<string, Promise<LookupAddress[]>>()
  readonly #failed = new Map<string, { readonly error: unknown; readonly untilMs: number }>()
  readonly #waiting: (() => void)[] = []
  #running = 0

  /** @param find as the system does it, with its hosts file. */
  constructor(find: Find = host => lookup(host, { all: true })) {
    this.#find = find
  }

  /** Rejects as the system does. */
  addresses(host: string, nowMs = performance.now()): Promise<LookupAddress[]> {
    const failed = this.#failed.get(host)
    if (failed && nowMs < failed.untilMs) return Promise.reject(failed.error)
    const found = this.#underWay.get(host) ?? this.#begin(host)
    this.#underWay.set(host, found)
    return found
  }

  async #begin(host: string): Promise<LookupAddress[]> {
    if (this.#running >= PARALLEL) await new Promise<void>(resolve => this.#waiting.push(resolve))
    else this.#running++
    const startedMs = performance.now()
    try {
      const found = await this.#find(host)
      this.#failed.delete(host)
      return found
    } catch (error) {
      if (this.#failed.size >= MAX_FAILED) this.#failed.clear()
      const nowMs = performance.now()
      this.#failed.set(host, { error, untilMs: nowMs + Math.max(FAILED_MS, FAILED_TIMES * (nowMs - startedMs)) })
      throw error
    } finally {
      this.#underWay.delete(host)
      // The next one takes the place of this one.
      const next = this.#waiting.shift()
      if (next) next()
      else this.#running--
    }
  }
}
