// Starting in order and stopping in reverse: each stop is bounded and runs even if another fails.
import type { Logger } from './logger.ts'

type Part = { readonly name: string; readonly stop: () => Promise<void> }

export class Lifecycle {
  readonly #parts: Part[] = []
  readonly #log: Logger
  #stopping: Promise<void> | undefined

  constructor(log: Logger) {
    this.#log = log
  }

  /** Remembers how to stop what has just been started. */
  started(name: string, stop: () => Promise<void>): void {
    this.#parts.push({ name, stop })
  }

  /** Idempotent: later calls wait for the first. */
  stop(boundMs: number): Promise<void> {
    this.#stopping ??= this.#stopAll(boundMs)
    return this.#stopping
  }

  async #stopAll(boundMs: number): Promise<void> {
    for (const { name, stop } of this.#parts.toReversed()) {
      const startedMs = performance.now()
      await bounded(stop, boundMs).catch((error: Error) => this.#log.error({ part: name, err: error }, 'part did not stop cleanly'))
      this.#log.debug({ part: name, ms: Math.round(performance.now() - startedMs) }, 'part stopped')
    }
  }
}

async function bounded(stop: () => Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`still not stopped after ${ms} ms`)), ms)
  })
  await Promise.race([stop(), late]).finally(() => clearTimeout(timer))
}
