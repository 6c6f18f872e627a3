// What the options of a mapping were made into (a schema, expressions), kept for its next payload: as long as the
// mapping itself is kept, and the newest ones of all besides, for who asks with the same options anew.

/** Beside those of mappings that are in memory, which catalog.ts bounds. */
const MAX_KEPT = 200

export class Compiled<T> {
  readonly #open: (options: Readonly<Record<string, unknown>>) => T
  /** A mapping's options are the same object from payload to payload. */
  readonly #byOptions = new WeakMap<object, T>()
  readonly #byText = new Map<string, T>()

  constructor(open: (options: Readonly<Record<string, unknown>>) => T) {
    this.#open = open
  }

  /** @throws what opening it throws. */
  of(options: Readonly<Record<string, unknown>>): T {
    const known = this.#byOptions.get(options)
    if (known !== undefined) return known
    const found = this.#ofText(JSON.stringify(options), options)
    this.#byOptions.set(options, found)
    return found
  }

  #ofText(text: string, options: Readonly<Record<string, unknown>>): T {
    const found = this.#byText.get(text) ?? this.#open(options)
    this.#byText.delete(text)
    this.#byText.set(text, found)
    const [oldest] = this.#byText.keys()
    if (oldest !== undefined && this.#byText.size > MAX_KEPT) this.#byText.delete(oldest)
    return found
  }
}
