// Whether this gateway knows all sessions: not after the connection was gone on which it hears of changes, until all of them are read again.
// Meanwhile nothing is promised that could miss one of them.
import { Failure } from '../../../packages/core/failure.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'

const WAIT_MS = 2000
const AGAIN_MS = 500

export class Fresh {
  readonly #read: () => Promise<void>
  readonly #log: Logger
  #stale: { readonly over: Promise<void>; readonly end: () => void } | undefined
  /** Of the readings: what is read before the connection is gone once more is stale too. */
  #round = 0
  #timer: NodeJS.Timeout | undefined
  #isStopped = false

  constructor(read: () => Promise<void>, log: Logger) {
    this.#read = read
    this.#log = log
  }

  get isStale(): boolean {
    return this.#stale !== undefined
  }

  /** Changes may be missed from now on. */
  lost(): void {
    this.#round++
    if (this.#stale) return
    let end = () => {}
    const over = new Promise<void>(resolve => {
      end = resolve
    })
    this.#stale = { over, end }
  }

  /** Changes are heard again: reads until it has read all. */
  async again(done: () => void): Promise<void> {
    const round = ++this.#round
    for (let isFirst = true; round === this.#round && !this.#isStopped; isFirst = false)
      try {
        await this.#read()
        if (round !== this.#round) return
        this.#stale?.end()
        this.#stale = undefined
        done()
        return
      } catch (error) {
        if (isFirst) this.#log.warn({ reason: (error as Error).message }, 'mqtt sessions not read, trying again')
        await new Promise(resolve => {
          this.#timer = setTimeout(resolve, AGAIN_MS)
        })
      }
  }

  /** @throws `unavailable` when it takes too long. */
  async wait(): Promise<void> {
    if (!this.#stale) return
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const failure = new Failure('unavailable', 'who waits for messages is being read again', { retryAfterMs: 1000 })
      timer = setTimeout(() => reject(failure), WAIT_MS)
    })
    try {
      await Promise.race([this.#stale.over, late])
    } finally {
      clearTimeout(timer)
    }
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }
}
