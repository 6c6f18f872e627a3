// What is said of what goes wrong again and again, of connections that are cut off first of all: so seldom that whoever sends nonsense does not write our log: a few lines a second of
// each source, and one that says how many more there were.

const MAX_LINES = 8
const WINDOW_MS = 1000
/** More sources than this share one. */
const MAX_SOURCES = 100
const OTHERS = 'others'

type Counted = { lines: number; more: number }

export class Sample {
  readonly #say: (facts: object, message: string) => void
  readonly #name: string
  readonly #sources = new Map<string, Counted>()
  #timer: NodeJS.Timeout | undefined

  /** @param name of the fact that is the source. */
  constructor(say: (facts: object, message: string) => void, name = 'address') {
    this.#say = say
    this.#name = name
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
    for (const [source, { more }] of this.#sources) if (more > 0) this.#say({ [this.#name]: source, more }, 'more of the same')
    this.#sources.clear()
  }

  #of(source: string): Counted {
    const name = this.#sources.has(source) || this.#sources.size < MAX_SOURCES ? source : OTHERS
    const counted = this.#sources.get(name) ?? { lines: 0, more: 0 }
    this.#sources.set(name, counted)
    return counted
  }
}
