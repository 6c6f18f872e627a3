// What is asked of Redis one by one and said together: all of one turn of the event loop is one call, in its order.

type Batch<T> = { readonly items: T[]; readonly send: () => void; readonly done: Promise<void> }

export class Gather<T> {
  readonly #run: (items: readonly T[]) => Promise<unknown>
  readonly #most: number
  #batch: Batch<T> | undefined

  /** @param most items of one call: meanwhile Redis does nothing else. */
  constructor(most: number, run: (items: readonly T[]) => Promise<unknown>) {
    this.#most = most
    this.#run = run
  }

  /** Resolves, or rejects, with all of its call. */
  add(item: T): Promise<void> {
    const batch = this.#batch ?? this.#begin()
    if (batch.items.push(item) === this.#most) this.#send(batch)
    return batch.done
  }

  #begin(): Batch<T> {
    const items: T[] = []
    let send = () => {}
    const sent = new Promise<void>(resolve => {
      send = resolve
    })
    const batch = { items, send, done: sent.then(() => this.#run(items)).then(() => {}) }
    setImmediate(() => this.#send(batch))
    this.#batch = batch
    return batch
  }

  #send(batch: Batch<T>): void {
    if (this.#batch === batch) this.#batch = undefined
    batch.send()
  }
}
