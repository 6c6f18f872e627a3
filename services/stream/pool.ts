// What is opened once for all who use it, and closed some time after the last of them has gone.

export type Held<T> = {
  readonly value: Promise<T>
  /** Idempotent. */
  release(): void
}

type Kept<T> = { readonly value: Promise<T>; users: number; timer: NodeJS.Timeout | undefined }

export class Pool<T> {
  readonly #open: (key: string) => Promise<T>
  readonly #close: (value: T) => Promise<void>
  readonly #lingerMs: number
  readonly #kept = new Map<string, Kept<T>>()
  readonly #closing = new Set<Promise<void>>()

  constructor(open: (key: string) => Promise<T>, close: (value: T) => Promise<void>, lingerMs: number) {
    this.#open = open
    this.#close = close
    this.#lingerMs = lingerMs
  }

  /** It stays open at least until it is released. Synchronous: between taking and closing nobody comes in between. */
  hold(key: string): Held<T> {
    const kept = this.#kept.get(key) ?? this.#keep(key)
    kept.users++
    clearTimeout(kept.timer)
    let held = true
    return {
      value: kept.value,
      release: () => {
        if (!held) return
        held = false
        if (--kept.users === 0) kept.timer = setTimeout(() => this.#drop(key, kept), this.#lingerMs)
      },
    }
  }

  /** How many are open. */
  get size(): number {
    return this.#kept.size
  }

  /** Closes all, used or not. */
  async stop(): Promise<void> {
    for (const [key, kept] of this.#kept) this.#drop(key, kept)
    await Promise.all(this.#closing)
  }

  #keep(key: string): Kept<T> {
    const kept: Kept<T> = { value: this.#open(key), users: 0, timer: undefined }
    this.#kept.set(key, kept)
    // Whoever waits for it is told; the next one tries again.
    kept.value.catch(() => this.#forget(key, kept))
    return kept
  }

  #drop(key: string, kept: Kept<T>): void {
    if (!this.#forget(key, kept)) return
    const closing = kept.value.then(this.#close).finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
  }

  #forget(key: string, kept: Kept<T>): boolean {
    clearTimeout(kept.timer)
    return this.#kept.get(key) === kept && this.#kept.delete(key)
  }
}
