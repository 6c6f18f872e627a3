// Values by two names, for what the judge looks up for every rule of every event: a key joined of both would be built, hashed and
// thrown away each time, which cost more than the judging itself.

export class Pairs<T> {
  readonly #byFirst = new Map<string, Map<string, T>>()
  #size = 0

  get size(): number {
    return this.#size
  }

  has(first: string, second: string): boolean {
    return this.#byFirst.get(first)?.has(second) ?? false
  }

  get(first: string, second: string): T | undefined {
    return this.#byFirst.get(first)?.get(second)
  }

  set(first: string, second: string, value: T): void {
    let inner = this.#byFirst.get(first)
    if (!inner) {
      inner = new Map()
      this.#byFirst.set(first, inner)
    }
    const before = inner.size
    inner.set(second, value)
    this.#size += inner.size - before
  }

  delete(first: string, second: string): void {
    if (this.#byFirst.get(first)?.delete(second)) this.#size--
  }

  *[Symbol.iterator](): Generator<readonly [first: string, second: string, value: T]> {
    for (const [first, inner] of this.#byFirst) for (const [second, value] of inner) yield [first, second, value]
  }
}
