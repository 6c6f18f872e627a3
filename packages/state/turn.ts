// Long work on the main thread in short turns, so that whoever publishes meanwhile does not feel it.
import { setImmediate as othersGoFirst } from 'node:timers/promises'

/** What a request is answered by. */
export const REQUEST_TURN_MS = 4
/** A round of the event loop in which others did so little was an idle one. */
const IDLE_MS = 0.3
/** Under constant load it goes on nevertheless, at about a twentieth. */
const MOST_MS = 20

export class Turns {
  readonly #turnMs: number
  #beganMs = performance.now()

  /** @param turnMs longer for work that somebody waits for with a deadline. */
  constructor(turnMs = 1) {
    this.#turnMs = turnMs
  }

  /** Whether it is time to `giveWay`. */
  get isOver(): boolean {
    return performance.now() - this.#beganMs >= this.#turnMs
  }

  /**
   * An event that is accepted takes several rounds: it has them all before the next turn, unless others never come to an end. Rejects
   * when the signal is aborted: nobody waits for this any more.
   */
  async giveWay(signal?: AbortSignal): Promise<void> {
    const beganMs = performance.now()
    let lastMs = beganMs
    for (;;) {
      await othersGoFirst()
      const nowMs = performance.now()
      if (nowMs - lastMs < IDLE_MS || nowMs - beganMs >= MOST_MS) break
      lastMs = nowMs
    }
    signal?.throwIfAborted()
    this.#beganMs = performance.now()
  }
}

export async function inTurns<T, U>(all: readonly T[], one: (item: T, index: number) => U, signal?: AbortSignal): Promise<U[]> {
  const turns = new Turns(REQUEST_TURN_MS)
  const done: U[] = []
  for (const [index, item] of all.entries()) {
    done.push(one(item, index))
    if (turns.isOver) await turns.giveWay(signal)
  }
  return done
}
