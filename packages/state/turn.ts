// Work on many things in turns, so that others on this thread wait a few milliseconds at most.
import { setImmediate as othersGoFirst } from 'node:timers/promises'

const TURN_MS = 4

export class Turn {
  #sinceMs = performance.now()

  get isOver(): boolean {
    return performance.now() - this.#sinceMs >= TURN_MS
  }

  /** Lets others go first. Rejects when the signal is aborted: nobody waits for this any more. */
  async next(signal?: AbortSignal): Promise<void> {
    await othersGoFirst()
    signal?.throwIfAborted()
    this.#sinceMs = performance.now()
  }
}

export async function inTurns<T, U>(all: readonly T[], one: (item: T, index: number) => U, signal?: AbortSignal): Promise<U[]> {
  const turn = new Turn()
  const done: U[] = []
  for (const [index, item] of all.entries()) {
    done.push(one(item, index))
    if (turn.isOver) await turn.next(signal)
  }
  return done
}
