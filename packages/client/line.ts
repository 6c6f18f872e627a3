// The lines of one streaming response, and the watch over it: a reader that waits and hears nothing gives up.

const MAX_LINE_CHARS = 8 * 1024 * 1024

export class LineReader {
  readonly #controller = new AbortController()
  readonly #silenceMs: number
  readonly #stopped: AbortSignal
  readonly #stop = () => this.#abort()
  readonly #decoder = new TextDecoder()
  #chunks: ReadableStreamDefaultReader<Uint8Array> | undefined
  #rest = ''
  #timer: ReturnType<typeof setTimeout> | undefined
  /** When the waiting for the next bytes began; undefined while the consumer is at work, who may take its time. */
  #waitingSince: number | undefined = Date.now()
  isSilent = false

  constructor(silenceMs: number, stopped: AbortSignal) {
    this.#silenceMs = silenceMs
    this.#stopped = stopped
    this.#watch(silenceMs)
    stopped.addEventListener('abort', this.#stop)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** An answer has begun to come. */
  get isOpen(): boolean {
    return this.#chunks !== undefined
  }

  read(response: Response): void {
    this.#chunks = response.body?.getReader() as ReadableStreamDefaultReader<Uint8Array> | undefined
  }

  /** Whole lines, at least one; undefined at the end. What stands after the last line break is part of a line, and comes again. */
  async next(): Promise<readonly string[] | undefined> {
    for (;;) {
      this.#waitingSince = Date.now()
      const chunk = await this.#chunks?.read()
      this.#waitingSince = undefined
      if (this.isSilent) throw new Error('nothing has come for too long')
      if (chunk === undefined || chunk.done) return undefined
      const lines = (this.#rest + this.#decoder.decode(chunk.value, { stream: true })).split('\n')
      this.#rest = lines.pop() ?? ''
      if (this.#rest.length > MAX_LINE_CHARS) throw new Error(`a line of the stream is longer than ${MAX_LINE_CHARS} characters`)
      const whole = lines.filter(line => line.trim() !== '')
      if (whole.length > 0) return whole
    }
  }

  /** Lets go of the connection. */
  close(): void {
    clearTimeout(this.#timer)
    this.#stopped.removeEventListener('abort', this.#stop)
    this.#abort()
  }

  /** fetch holds on to its signal weakly: once its Request is collected, only cancelling the body ends a read that waits. */
  #abort(): void {
    this.#controller.abort()
    this.#chunks?.cancel().catch(() => {
      // Only a body that has failed before refuses, and `next` has thrown that.
    })
  }

  /** One timer that looks again, instead of one for every piece of data. */
  #watch(ms: number): void {
    this.#timer = setTimeout(() => {
      const leftMs = this.#waitingSince === undefined ? this.#silenceMs : this.#waitingSince + this.#silenceMs - Date.now()
      if (leftMs > 0) return this.#watch(leftMs)
      this.isSilent = true
      this.#abort()
    }, ms)
  }
}
