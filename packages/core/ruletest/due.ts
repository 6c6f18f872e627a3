// What waits for a moment, the next first: a test passes time from one such moment to the next.

/** `waitsUs`: what it waits for now; undefined: for nothing, or what it waited for has come. */
type Waits = { readonly order: number; waitsUs: number | undefined }
type Waiting<T> = { readonly one: T; readonly dueUs: number }

/** By the moment that they wait for, then in their own order: a heap, in which places that are out of date are passed over. */
export class Due<T extends Waits> {
  readonly #heap: Waiting<T>[] = []

  add(one: T, dueUs: number): void {
    const heap = this.#heap
    heap.push({ one, dueUs })
    for (let at = heap.length - 1; at > 0; ) {
      const above = (at - 1) >> 1
      if (!this.#isBefore(at, above)) return
      this.#exchange(at, above)
      at = above
    }
  }

  take(untilUs: number): T | undefined {
    for (let [first] = this.#heap; first !== undefined && first.dueUs <= untilUs; [first] = this.#heap) {
      this.#dropFirst()
      const { one, dueUs } = first
      if (one.waitsUs !== dueUs) continue
      one.waitsUs = undefined
      return one
    }
    return undefined
  }

  #dropFirst(): void {
    const heap = this.#heap
    this.#exchange(0, heap.length - 1)
    heap.pop()
    for (let at = 0; ; ) {
      const below = [2 * at + 1, 2 * at + 2].filter(one => one < heap.length)
      const [left, right] = below
      if (left === undefined) return
      const least = right !== undefined && this.#isBefore(right, left) ? right : left
      if (!this.#isBefore(least, at)) return
      this.#exchange(least, at)
      at = least
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [one, other] = [this.#heap[a], this.#heap[b]] as [Waiting<T>, Waiting<T>]
    return one.dueUs < other.dueUs || (one.dueUs === other.dueUs && one.one.order < other.one.order)
  }

  #exchange(a: number, b: number): void {
    const heap = this.#heap
    const one = heap[a] as Waiting<T>
    heap[a] = heap[b] as Waiting<T>
    heap[b] = one
  }
}
