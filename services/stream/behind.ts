// What is kept for a subscriber that cannot take more and does not go back to the log for it: little, and bounded.
import type { Cursor } from './frame.ts'
import type { Placed } from './sink.ts'

/** What a subscriber gets when it can take more again: first, that something is missing; then what was kept, in the log's order. */
export type Relief = { readonly gap: { readonly after: Cursor; readonly to: string } | undefined; readonly events: readonly Placed[] }

export interface Behind {
  /** An event that it was due, in order. */
  add(placed: Placed): void
  /** Everything up to this entry was missed. */
  miss(to: string): void
  relief(): Relief
}

/** Policy `drop`: keeps nothing but the range. @param after it has everything up to there. */
export class Dropped implements Behind {
  readonly #after: Cursor
  #to: string | undefined

  constructor(after: Cursor) {
    this.#after = after
  }

  add({ entryId }: Placed): void {
    this.#to = entryId
  }

  miss(to: string): void {
    this.#to = to
  }

  relief(): Relief {
    return { gap: this.#to === undefined ? undefined : { after: this.#after, to: this.#to }, events: [] }
  }
}

const MAX_KEPT_CHARS = 256 * 1024

/** Policy `latest`: the newest event of each device and event type. What is older is superseded, so its absence is no gap. */
export class Latest implements Behind {
  readonly #after: Cursor
  readonly #newest = new Map<string, Placed>()
  #chars = 0
  /** There are more devices than there is room for: the oldest go. */
  #lost: string | undefined

  constructor(after: Cursor) {
    this.#after = after
  }

  add(placed: Placed): void {
    const key = `${placed.event.device}\t${placed.event.eventType}`
    this.#take(key)
    // Behind all others: the map's order is the log's.
    this.#newest.set(key, placed)
    this.#chars += placed.event.frame.length
    while (this.#chars > MAX_KEPT_CHARS && this.#newest.size > 1) {
      const [oldest] = this.#newest.keys()
      this.#lost = this.#take(oldest as string)?.entryId
    }
  }

  miss(to: string): void {
    this.#lost = to
  }

  relief(): Relief {
    return { gap: this.#lost === undefined ? undefined : { after: this.#after, to: this.#lost }, events: [...this.#newest.values()] }
  }

  #take(key: string): Placed | undefined {
    const known = this.#newest.get(key)
    if (!known) return undefined
    this.#newest.delete(key)
    this.#chars -= known.event.frame.length
    return known
  }
}
