// Packets that go on as they are, in one piece where they lie side by side.

export class Run {
  readonly #push: (bytes: Buffer) => void
  #bytes: Buffer | undefined
  #from = 0
  #to = 0

  constructor(push: (bytes: Buffer) => void) {
    this.#push = push
  }

  add(bytes: Buffer, start: number, end: number): void {
    if (this.#bytes !== bytes || this.#to !== start) {
      this.flush()
      this.#bytes = bytes
      this.#from = start
    }
    this.#to = end
  }

  flush(): void {
    const bytes = this.#bytes
    this.#bytes = undefined
    if (bytes) this.#push(bytes.subarray(this.#from, this.#to))
  }
}
