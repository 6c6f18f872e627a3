// Room for large frames: what has come of a frame that is not whole yet is in memory, and whoever sends half of one may leave it there. So
// only some large ones come at a time, and the others wait for their turn.

export type Guest = {
  /** There is room now. */
  enter(): void
  /** It took so long that others cannot wait any more: it has none from now on. */
  leave(): void
}

/** Each for a frame of any size: 90 MiB. */
const MAX_ROOMS = 16
/** What a frame may take while others wait: the largest one comes in this time at 100 KB/s. */
const MAX_MS = 60_000

export class Rooms {
  readonly #most: number
  readonly #maxMs: number
  /** Since when each is in; the first has been so for the longest. */
  readonly #inside = new Map<Guest, number>()
  readonly #waiting = new Set<Guest>()
  #timer: NodeJS.Timeout | undefined

  constructor(most = MAX_ROOMS, maxMs = MAX_MS) {
    this.#most = most
    this.#maxMs = maxMs
  }

  /** False: it has to wait until it is let in. Asking again changes nothing. */
  ask(guest: Guest): boolean {
    if (this.#inside.has(guest)) return true
    if (this.#inside.size < this.#most) {
      this.#inside.set(guest, performance.now())
      return true
    }
    this.#waiting.add(guest)
    this.#hurry()
    return false
  }

  /** Its frame is whole, or it is gone. */
  done(guest: Guest): void {
    this.#waiting.delete(guest)
    if (!this.#inside.delete(guest)) return
    const [next] = this.#waiting
    if (!next) return
    this.#waiting.delete(next)
    this.#inside.set(next, performance.now())
    next.enter()
  }

  #hurry(): void {
    const [oldest] = this.#inside
    if (this.#timer || !oldest) return
    const look = () => {
      this.#timer = undefined
      if (this.#waiting.size === 0) return
      const lateMs = performance.now() - this.#maxMs
      // Those who come in as others leave are not late.
      for (const [guest, sinceMs] of this.#inside) {
        if (this.#waiting.size === 0) return
        if (sinceMs > lateMs) continue
        guest.leave()
        this.done(guest)
      }
      if (this.#waiting.size > 0) this.#hurry()
    }
    // Not at once, for a clock that counts parts of a millisecond.
    this.#timer = setTimeout(look, Math.max(1, oldest[1] + this.#maxMs - performance.now())).unref()
  }
}
