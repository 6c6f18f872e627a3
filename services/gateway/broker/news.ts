// Which changes of sessions are news to this gateway. Redis numbers them; it answers what this gateway did itself at once, and the common
// channel tells of every change, in their order, but late where there is much to do.

/** Whether a change is newer than what is known of a filter, or of the session. */
export type IsNews = (filter?: string) => boolean

type Ahead = { all: number; readonly filters: Map<string, number> }

const STALE: IsNews = () => false

export class News {
  /** All up to this change has been read or told of. */
  #known = 0
  #told = 0
  /** By session: changes that were answered, and that the common channel has still to tell of. */
  readonly #ahead = new Map<string, Ahead>()
  #furthest = 0

  /** All that there is was read as of that change, or later. */
  read(number: number): void {
    this.#known = Math.max(this.#known, number)
  }

  /** Redis says how it stands as of that change: of those filters, or of the whole session. */
  answered(id: string, number: number, filters?: readonly string[]): IsNews {
    if (number <= this.#known) return STALE
    const ahead = this.#ahead.get(id) ?? { all: 0, filters: new Map() }
    if (!filters) ahead.all = Math.max(ahead.all, number)
    for (const filter of filters ?? []) ahead.filters.set(filter, Math.max(ahead.filters.get(filter) ?? 0, number))
    this.#ahead.set(id, ahead)
    this.#furthest = Math.max(this.#furthest, number)
    return isNewer(number, ahead)
  }

  /** The common channel tells of a change, of this gateway or of another one. */
  told(id: string, number: number): IsNews {
    // Redis lost what it had, and numbers anew.
    if (number < this.#told) [this.#known, this.#furthest] = [0, 0]
    this.#told = number
    if (number <= this.#known) return STALE
    this.#known = number
    const ahead = this.#ahead.get(id)
    if (number >= this.#furthest) this.#ahead.clear()
    return ahead ? isNewer(number, ahead) : () => true
  }
}

function isNewer(number: number, { all, filters }: Ahead): IsNews {
  return filter => number >= Math.max(all, (filter !== undefined && filters.get(filter)) || 0)
}
