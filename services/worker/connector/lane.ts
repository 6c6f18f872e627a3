// A lane: events in their order, on their way to one connector. This one comes from the log, live or a range of it again.
import { compareIds, type LogEntry } from '../../../packages/log/entry.ts'
import type { Item, Prefix } from './open.ts'

export interface Lane {
  readonly prefix: Prefix
  /** The next event, undefined when none is at hand; it is the caller's from now on. */
  next(): Item | undefined
  /** Whether `fill` would help. */
  wantsMore(): boolean
  /** Reads on; resolves when it has. Rejects when it cannot, and may be asked again. */
  fill(): Promise<void>
  /** Everything has been handed out. */
  ended(): boolean
  /** Everything up to here has been handed out; what to begin again with. */
  place(): string
}

/** Entries after one, oldest first; everything before them up to the entry `gone` is gone for good. */
export type Stretch = { readonly entries: readonly LogEntry[]; readonly gone: string | undefined }

/** Everything up to `done` has been taken, and the first `taken` events of the entry `id`. */
type Position = { readonly done: string; readonly id: string; readonly taken: number }

type Queued = { readonly entry: LogEntry; readonly before: string; readonly index: number }

export type LogLanePorts = {
  readonly prefix: 'l' | 'r'
  read(after: string): Promise<Stretch>
  wants(eventType: string): boolean
  /** Said once of what cannot be pushed any more. */
  missed(after: string, to: string): void
  /** Undefined: goes on for ever. */
  readonly until: string | undefined
}

const LOW_EVENTS = 500

export class LogLane implements Lane {
  readonly prefix: 'l' | 'r'
  readonly #ports: LogLanePorts
  #queue: Queued[] = []
  #head = 0
  #position: Position
  #readTo: string
  #reading = false
  #atEnd = false
  #rung = false

  constructor(ports: LogLanePorts, place: string) {
    this.#ports = ports
    this.prefix = ports.prefix
    const [done = '0-0', id = '', taken = '0'] = place.split(' ')
    this.#position = { done, id, taken: Number(taken) }
    this.#readTo = done
  }

  next(): Item | undefined {
    const queued = this.#queue[this.#head]
    if (!queued) return undefined
    this.#head++
    const { entry, before, index } = queued
    this.#position = { done: before, id: entry.id, taken: index + 1 }
    if (this.#head === this.#queue.length) {
      this.#queue = []
      this.#head = 0
      this.#position = { done: this.#readTo, id: '', taken: 0 }
    }
    const { device, frame } = entry.events[index] as LogEntry['events'][number]
    return { key: `${this.prefix}${entry.id}:${index}`, device, frame, attempts: 0, firstMs: 0, dueMs: 0 }
  }

  wantsMore(): boolean {
    return !this.#reading && !this.#atEnd && this.#queue.length - this.#head < LOW_EVENTS
  }

  async fill(): Promise<void> {
    this.#reading = true
    this.#rung = false
    try {
      const { entries, gone } = await this.#ports.read(this.#readTo)
      if (gone !== undefined) this.#skip(gone)
      for (const entry of entries) this.#add(entry)
      if (entries.length === 0) this.#atEnd = this.#ports.until !== undefined || !this.#rung
    } finally {
      this.#reading = false
    }
  }

  /** There is more in the log. */
  ring(): void {
    this.#rung = true
    if (this.#ports.until === undefined) this.#atEnd = false
  }

  ended(): boolean {
    return this.#atEnd && this.#ports.until !== undefined && this.#queue.length === 0
  }

  place(): string {
    const { done, id, taken } = this.#position
    return id === '' ? done : `${done} ${id} ${taken}`
  }

  #skip(to: string): void {
    this.#ports.missed(this.#readTo, to)
    this.#readTo = to
    if (this.#queue.length === 0) this.#position = { done: to, id: '', taken: 0 }
  }

  #add(entry: LogEntry): void {
    const { until, wants } = this.#ports
    if (until !== undefined && compareIds(entry.id, until) > 0) {
      this.#atEnd = true
      return
    }
    const from = entry.id === this.#position.id ? this.#position.taken : 0
    for (let index = from; index < entry.events.length; index++)
      if (wants((entry.events[index] as LogEntry['events'][number]).eventType)) this.#queue.push({ entry, before: this.#readTo, index })
    this.#readTo = entry.id
    if (this.#queue.length === 0) this.#position = { done: entry.id, id: '', taken: 0 }
  }
}
