// A lane: events in their order, on their way to one connector. This one comes from the log, live or a range of it again.
import { compareIds, type LogEvent } from '../../../packages/log/entry.ts'
import type { TaskName } from '../../../packages/state/connector.ts'
import { LAST_INDEX, type LogPlace } from '../../../packages/store/store.ts'
import { freshItem, type Item, type Prefix } from './open.ts'

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

/** Takes events out of its lanes to where one connector wants them: a program's URL, or a durable stream. */
export interface Carrier {
  /** Whether this task is under way, or has ended and that is not noted yet. */
  has(name: TaskName, id: string): boolean
  /** @param events carried in an earlier life. */
  addTask(name: TaskName, id: string, lane: Lane, events: number): void
  /** Events were gone before they could be carried. */
  missed(): void
  /** Anything has changed: goes on if it can. */
  pump(): void
  /** Notes how far it has come, and carries nothing more. Idempotent. */
  stop(): Promise<void>
}

/** What follows a place, in order. */
export type Stretch = {
  /** What lies before the events is gone for good, up to this entry. */
  readonly gone: string | undefined
  readonly events: readonly PlacedEvent[]
  /** Where to go on; no further than asked when there is nothing. */
  readonly next: LogPlace
}

export type PlacedEvent = { readonly place: LogPlace; readonly event: LogEvent }

export type LogLanePorts = {
  readonly prefix: 'l' | 'r'
  read(after: LogPlace): Promise<Stretch>
  wants(eventType: string): boolean
  /** Said once of what cannot be pushed any more. */
  missed(after: string, to: string): void
  /** The last entry; undefined: goes on for ever. */
  readonly until: string | undefined
}

const LOW_EVENTS = 500

export class LogLane implements Lane {
  readonly prefix: 'l' | 'r'
  readonly #ports: LogLanePorts
  #queue: PlacedEvent[] = []
  #head = 0
  /** Everything up to here has been handed out. */
  #place: LogPlace
  #readTo: LogPlace
  #reading = false
  #atEnd = false
  #rung = false

  /** @param place an entry, or an entry and the index of an event in it: what was handed out last. */
  constructor(ports: LogLanePorts, place: string) {
    this.#ports = ports
    this.prefix = ports.prefix
    const [entryId = '0-0', index] = place.split(' ')
    this.#place = { entryId, index: index === undefined ? LAST_INDEX : Number(index) }
    this.#readTo = this.#place
  }

  next(): Item | undefined {
    const next = this.#queue[this.#head]
    if (!next) return undefined
    this.#head++
    const { place, event } = next
    this.#place = place
    if (this.#head === this.#queue.length) {
      this.#queue = []
      this.#head = 0
      this.#place = this.#readTo
    }
    const { device, frame } = event
    return freshItem(`${this.prefix}${place.entryId}:${place.index}`, device, frame)
  }

  wantsMore(): boolean {
    return !this.#reading && !this.#atEnd && this.#queue.length - this.#head < LOW_EVENTS
  }

  async fill(): Promise<void> {
    this.#reading = true
    this.#rung = false
    try {
      this.#take(await this.#ports.read(this.#readTo))
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
    const { entryId, index } = this.#place
    return index === LAST_INDEX ? entryId : `${entryId} ${index}`
  }

  #take({ gone, events, next }: Stretch): void {
    const { until, wants, missed } = this.#ports
    if (gone !== undefined) missed(this.#readTo.entryId, gone)
    for (const placed of events) {
      if (until !== undefined && compareIds(placed.place.entryId, until) > 0) this.#atEnd = true
      else if (wants(placed.event.eventType)) this.#queue.push(placed)
    }
    const isNothing = next.entryId === this.#readTo.entryId && next.index === this.#readTo.index
    if (isNothing) this.#atEnd = until !== undefined || !this.#rung
    if (until !== undefined && compareIds(next.entryId, until) >= 0 && next.index === LAST_INDEX) this.#atEnd = true
    this.#readTo = next
    if (this.#queue.length === 0) this.#place = next
  }
}
