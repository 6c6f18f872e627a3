// Long work on this thread in turns: a few milliseconds at a time, then whoever else waits for the thread, as long as somebody wants it.
import { setImmediate as othersGoFirst } from 'node:timers/promises'

/** How long others wait at most, beside the one step that is under way when it is over. */
const TURN_MS = 4

export class Turn {
  readonly #signal: AbortSignal
  #endMs = performance.now() + TURN_MS

  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  /** To be asked after every step: one event may take milliseconds. */
  isOver(): boolean {
    return performance.now() >= this.#endMs
  }

  /** Throws when nobody waits for the work any more. */
  async next(): Promise<void> {
    await othersGoFirst()
    this.#signal.throwIfAborted()
    this.#endMs = performance.now() + TURN_MS
  }
}
