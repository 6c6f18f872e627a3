// The filters of one SUBSCRIBE: aedes asks for each by itself. Here they come together again, and with those that came while the ones before
// were settled, so that all of them are settled in one step and in their order [MQTT-3.8.4-4].
import type { Grant } from '../broker/lasting.ts'

/** `grant` is absent where a filter is refused: what was granted before ends. It may be taken back when all are settled. */
export type Decision = { readonly topic: string; grant: Grant | undefined; readonly isRestored: boolean }

type Settle = (decisions: readonly Decision[]) => Promise<void>

export class Asking {
  /** In the order in which they were asked for; absent while it is not decided, and where nothing is to change. */
  readonly #decisions: (Decision | undefined)[] = []
  readonly #settled: Promise<void>
  #decided = () => {}
  #open = 0
  #hasBegun = false

  /** @param settle called once, when all are decided and those before are settled or have failed. */
  constructor(before: Asking | undefined, settle: Settle) {
    this.#settled = this.#run(before, settle)
  }

  /** Nothing may be added any more. */
  get hasBegun(): boolean {
    return this.#hasBegun
  }

  /** Resolves, or rejects, when all are settled. */
  async add(deciding: Promise<Decision | undefined>): Promise<Decision | undefined> {
    const at = this.#decisions.push(undefined) - 1
    this.#open++
    try {
      this.#decisions[at] = await deciding
    } finally {
      if (--this.#open === 0) this.#decided()
    }
    await this.#settled
    return this.#decisions[at]
  }

  async #run(before: Asking | undefined, settle: Settle): Promise<void> {
    // All of one packet are added first.
    await Promise.allSettled(before ? [before.#settled] : [])
    while (this.#open > 0)
      await new Promise<void>(resolve => {
        this.#decided = resolve
      })
    this.#hasBegun = true
    await settle(this.#decisions.filter(one => one !== undefined))
  }
}
