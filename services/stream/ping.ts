// Pings at each client's own interval (contracts.md 1.b.4), on one timer for all streams of a process.
import type { Format, Frames } from './frame.ts'
import type { ByteSink } from './sink.ts'

/** The cursor behind everything that has been written to a stream; undefined while that is not known. */
export type Reached = () => string | undefined

type Pinged = { readonly sink: ByteSink; readonly frames: Frames; readonly reached: Reached; readonly everyTurns: number; due: number }

/** How exact a ping is. The clients wait for two seconds more than their interval. */
const TURN_MS = 200

/** A timer wheel: each stream stands at the turn of its next ping, so that a turn costs only what is due. */
export class Pings {
  readonly #due = new Map<number, Set<Pinged>>()
  readonly #startedMs = performance.now()
  #timer: NodeJS.Timeout | undefined
  #turn = 0
  #count = 0

  /** The first ping goes out at once; the returned function stops them. */
  add(sink: ByteSink, frames: Frames, everyMs: number, reached: Reached): () => void {
    sink.write(frames.ping(sink.format, reached()))
    if (this.#count++ === 0) this.#start()
    const everyTurns = Math.max(1, Math.round(everyMs / TURN_MS))
    const pinged: Pinged = { sink, frames, reached, everyTurns, due: this.#now() + everyTurns }
    this.#place(pinged)
    let there = true
    return () => {
      if (!there) return
      there = false
      this.#due.get(pinged.due)?.delete(pinged)
      if (--this.#count === 0) clearInterval(this.#timer)
    }
  }

  #start(): void {
    this.#turn = this.#now()
    this.#timer = setInterval(() => this.#catchUp(), TURN_MS)
  }

  #now(): number {
    return Math.floor((performance.now() - this.#startedMs) / TURN_MS)
  }

  #place(pinged: Pinged): void {
    const known = this.#due.get(pinged.due)
    if (known) known.add(pinged)
    else this.#due.set(pinged.due, new Set([pinged]))
  }

  #catchUp(): void {
    const now = this.#now()
    for (; this.#turn < now; this.#turn++) {
      const due = this.#due.get(this.#turn + 1)
      this.#due.delete(this.#turn + 1)
      if (due) this.#ping(due)
    }
  }

  /** All that are due together, and have come as far, get the same bytes. One that reads nothing needs no sign of life either. */
  #ping(due: ReadonlySet<Pinged>): void {
    const rendered = new Map<Frames, Map<string, Buffer>>()
    for (const pinged of due) {
      const { sink, frames, reached } = pinged
      if (!sink.full && !sink.closed) sink.write(renderedOnce(rendered, frames, sink.format, reached()))
      pinged.due += pinged.everyTurns
      this.#place(pinged)
    }
  }
}

function renderedOnce(rendered: Map<Frames, Map<string, Buffer>>, frames: Frames, format: Format, cursor: string | undefined): Buffer {
  const ofProject = rendered.get(frames) ?? new Map<string, Buffer>()
  rendered.set(frames, ofProject)
  const key = `${format} ${cursor}`
  const bytes = ofProject.get(key) ?? frames.ping(format, cursor)
  ofProject.set(key, bytes)
  return bytes
}
