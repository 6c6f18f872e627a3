// Turns: whoever reads what is past waits until few enough others do, so that a crowd of resuming readers needs bounded memory.

export class Turns {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(atOnce: number) {
    this.#free = atOnce
  }

  async take<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>(resolve => this.#waiting.push(resolve))
    try {
      return await work()
    } finally {
      // Handed on directly, so that nobody comes in between.
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }
}
