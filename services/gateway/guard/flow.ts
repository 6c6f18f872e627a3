// What all connections together have under way to the log, so that many of them do not add up to more than the memory takes.

const MAX_PUBLISHES = 50_000
const MAX_BYTES = 64 * 1024 * 1024

export class Flow {
  readonly #waiting = new Set<() => void>()
  #publishes = 0
  #bytes = 0

  get isFull(): boolean {
    return this.#publishes >= MAX_PUBLISHES || this.#bytes >= MAX_BYTES
  }

  add(bytes: number): void {
    this.#publishes++
    this.#bytes += bytes
  }

  remove(bytes: number): void {
    this.#publishes--
    this.#bytes -= bytes
    if (this.#waiting.size > 0 && this.#publishes <= MAX_PUBLISHES / 2 && this.#bytes <= MAX_BYTES / 2) this.#wake()
  }

  /** Calls this once, when there is room again. */
  wait(go: () => void): void {
    this.#waiting.add(go)
  }

  #wake(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const go of waiting) setImmediate(go)
  }
}
