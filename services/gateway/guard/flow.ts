// What all connections together have under way to the log, so that many of them do not add up to more than the memory takes, or than the log
// can take soon: what is read and waits makes everybody wait, what is not read waits at its own sender.

/** As many as a slow log takes in a few tenths of a second. */
const MAX_PUBLISHES = 10_000
/** Of each, however many there are. */
const LEAST_SHARE = 4
const MAX_BYTES = 64 * 1024 * 1024

export class Flow {
  readonly #waiting = new Set<() => void>()
  #senders = 0
  #bytes = 0
  #isFull = false

  /** Too many bytes: nobody goes on until half of them are through. */
  get isFull(): boolean {
    return this.#isFull
  }

  /** How many publishes of one connection may be under way, while so many others send too. */
  get share(): number {
    return Math.max(LEAST_SHARE, Math.floor(MAX_PUBLISHES / Math.max(1, this.#senders)))
  }

  /** A connection has its first publish under way. */
  enter(): void {
    this.#senders++
  }

  /** It has none any more. */
  leave(): void {
    this.#senders--
  }

  add(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes >= MAX_BYTES) this.#isFull = true
  }

  remove(bytes: number): void {
    this.#bytes -= bytes
    if (!this.#isFull || this.#bytes > MAX_BYTES / 2) return
    this.#isFull = false
    if (this.#waiting.size > 0) setImmediate(() => this.#wake())
  }

  /** Calls this once, when there is room again: who waits longest comes first. */
  wait(go: () => void): true {
    this.#waiting.add(go)
    return true
  }

  #wake(): void {
    for (const go of this.#waiting) {
      if (this.#isFull) return
      this.#waiting.delete(go)
      go()
    }
  }
}
