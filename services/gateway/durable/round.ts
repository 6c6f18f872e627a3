// What is looked at again and again, a few at a time: who is new at once, the others in turn. Of decoding.ts.

export class Round {
  readonly #most: number
  #known: ReadonlySet<string> = new Set()
  #at = 0

  /** @param most of those that are known, in one round. */
  constructor(most: number) {
    this.#most = most
  }

  /** Whose turn it is among all there are now. */
  next(all: readonly string[]): string[] {
    const fresh = all.filter(one => !this.#known.has(one))
    const known = all.filter(one => this.#known.has(one)).toSorted()
    this.#known = new Set(all)
    if (this.#at >= known.length) this.#at = 0
    const due = known.slice(this.#at, this.#at + this.#most)
    this.#at += due.length
    return [...fresh, ...due]
  }

  /** It is new the next time. */
  forget(one: string): void {
    this.#known = new Set([...this.#known].filter(other => other !== one))
  }
}
