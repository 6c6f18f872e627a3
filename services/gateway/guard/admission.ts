// Lets CONNECTs in a few at a time, so that thousands of clients that come back at once (a storm after an outage) wait here, where they
// cost little, and not in the middle of their login, where everybody is slow together. Where they come from takes turns: many from one
// place are no reason for anybody else to wait.

/** Logins under way at one time: enough to keep a core busy while some of them ask Redis. */
const MAX_ENTERING = 64
/** Let in during one turn of the event loop. */
const PER_TURN = 16
const MAX_WAITING = 50_000
const MAX_WAITING_BYTES = 32 * 1024 * 1024
/** Whoever is told to go away after this had given up already. */
const MAX_WAIT_MS = 30_000

export type Entry = {
  readonly bytes: number
  /** Those of one source wait in line. */
  readonly source: string
  readonly enter: () => void
  readonly refuse: () => void
}

type Waiting = Entry & { readonly sinceMs: number; left: boolean; entered: boolean }

export type Ticket = {
  /** It is in, or gone. Idempotent. */
  leave(): void
}

/** In their order. */
class Line {
  bytes = 0
  readonly #queue: Waiting[] = []
  #head = 0

  get length(): number {
    return this.#queue.length - this.#head
  }

  push(waiting: Waiting): void {
    this.bytes += waiting.bytes
    this.#queue.push(waiting)
  }

  shift(): Waiting {
    const next = this.#queue[this.#head++] as Waiting
    this.bytes -= next.bytes
    if (this.#head > 1024 && this.#head > this.#queue.length / 2) {
      this.#queue.splice(0, this.#head)
      this.#head = 0
    }
    return next
  }
}

export class Admission {
  /** By source, the one whose turn is next first. None is empty. */
  readonly #lines = new Map<string, Line>()
  readonly #nowMs: () => number
  #waiting = 0
  #bytes = 0
  #entering = 0
  #turn: NodeJS.Immediate | undefined

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
  }

  get waiting(): number {
    return this.#waiting
  }

  /** Undefined: there are too many, and nothing will be called. */
  ask(entry: Entry): Ticket | undefined {
    const line = this.#lines.get(entry.source) ?? new Line()
    if (!this.#hasRoom(line, entry.bytes)) return undefined
    const waiting: Waiting = { ...entry, sinceMs: this.#nowMs(), left: false, entered: false }
    this.#lines.set(entry.source, line)
    line.push(waiting)
    this.#waiting++
    this.#bytes += entry.bytes
    this.#go()
    return {
      leave: () => {
        if (waiting.left) return
        waiting.left = true
        // One that still waits is passed over when its turn comes.
        if (!waiting.entered) return
        this.#entering--
        this.#go()
      },
    }
  }

  /** A source has as much as is left for others: one alone half of all, and never so much that there is nothing for the next. */
  #hasRoom(line: Line, bytes: number): boolean {
    return line.length < MAX_WAITING - this.#waiting && line.bytes + bytes <= MAX_WAITING_BYTES - this.#bytes
  }

  #go(): void {
    if (this.#waiting > 0 && this.#entering < MAX_ENTERING) this.#turn ??= setImmediate(() => this.#admit())
  }

  #admit(): void {
    this.#turn = undefined
    for (let admitted = 0; admitted < PER_TURN && this.#waiting > 0 && this.#entering < MAX_ENTERING; ) {
      const next = this.#next()
      if (next.left) continue
      if (this.#nowMs() - next.sinceMs > MAX_WAIT_MS) {
        next.left = true
        next.refuse()
        continue
      }
      admitted++
      this.#entering++
      next.entered = true
      next.enter()
    }
    this.#go()
  }

  #next(): Waiting {
    const [first] = this.#lines
    const [source, line] = first as [string, Line]
    const next = line.shift()
    this.#waiting--
    this.#bytes -= next.bytes
    this.#lines.delete(source)
    if (line.length > 0) this.#lines.set(source, line)
    return next
  }
}
