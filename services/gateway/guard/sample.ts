// What is said of connections that are cut off, so seldom that whoever sends nonsense does not write our log: a few lines a second of
// each source, and one that says how many more there were.

const MAX_LINES = 8
const WINDOW_MS = 1000
/** More sources than this share one. */
const MAX_SOURCES = 100
const OTHERS = 'others'

type Counted = { lines: number; more: number }

export class Sample {
  readonly #say: (facts: object, message: string) => void
  readonly #sources = new Map<string, Counted>()
  #timer: NodeJS.Timeout | undefined

  constructor(say: (facts: object, message: string) => void) {
    this.#say = say
  }

  add(source: string, facts: object, message: string): void {
    const counted = this.#of(source)
    this.#timer ??= setTimeout(() => this.flush(), WINDOW_MS).unref()
    if (counted.lines >= MAX_LINES) {
      counted.more++
      return
    }
    counted.lines++
    this.#say(facts, message)
  }

  /** The window ends. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (const [address, { more }] of this.#sources) if (more > 0) this.#say({ address, more }, 'mqtt: more of the same')
    this.#sources.clear()
  }

  #of(source: string): Counted {
    const name = this.#sources.has(source) || this.#sources.size < MAX_SOURCES ? source : OTHERS
    const counted = this.#sources.get(name) ?? { lines: 0, more: 0 }
    this.#sources.set(name, counted)
    return counted
  }
}
