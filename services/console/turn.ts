// Long work on the main thread in short turns, so that whoever publishes meanwhile does not feel it.
import { setImmediate as othersGoFirst } from 'node:timers/promises'

const TURN_MS = 1
/** A round of the event loop in which others did so little was an idle one. */
const IDLE_MS = 0.3
/** Under constant load it goes on nevertheless, at about a twentieth. */
const MOST_MS = 20

export class Turns {
  #beganMs = performance.now()

  /** Whether it is time to `giveWay`. */
  get isOver(): boolean {
    return performance.now() - this.#beganMs >= TURN_MS
  }

  /** An event that is accepted takes several rounds: it has them all before the next turn, unless others never come to an end. */
  async giveWay(): Promise<void> {
    const beganMs = performance.now()
    let lastMs = beganMs
    for (;;) {
      await othersGoFirst()
      const nowMs = performance.now()
      if (nowMs - lastMs < IDLE_MS || nowMs - beganMs >= MOST_MS) break
      lastMs = nowMs
    }
    this.#beganMs = performance.now()
  }
}
