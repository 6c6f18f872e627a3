// What came last from one device of one type, in the order of event time: what a late event is put in order with.
import type { EventData } from './event.ts'

export type RecentEvent = {
  readonly eventType: string
  readonly timeUs: number
  readonly eventId: string
  readonly data: EventData
  /** Of the log, in whose order it was judged. */
  readonly entryId: string
  /** Since when events of the device would have been received without a break, as it was judged then. */
  readonly listeningSinceUs: number
}

/** `newest` behind all others · `within` among them · `again` it is one of them · `beyond` older than what late events may be. */
export type Arrival = 'newest' | 'within' | 'again' | 'beyond'

/** More than these are only kept for a moment: late events are ordered in among as many, at least, as half of them. */
export const MAX_RECENT = 128
/** Not worth the trouble of letting go of. */
const FEW = 3

/** Order of two events: by time, and at the same time by id, so that it does not hang on how they came. */
export function compareEvents(a: Pick<RecentEvent, 'timeUs' | 'eventId'>, b: Pick<RecentEvent, 'timeUs' | 'eventId'>): number {
  return a.timeUs - b.timeUs || (a.eventId < b.eventId ? -1 : a.eventId > b.eventId ? 1 : 0)
}

export class Recent {
  /** In order. */
  readonly events: RecentEvent[]
  /** No event older than this is taken any more. */
  #floorUs: number
  #newestUs: number

  /** @param newestUs of the newest event there was, if it has been let go of. */
  constructor(events: readonly RecentEvent[] = [], newestUs = Number.NEGATIVE_INFINITY) {
    this.events = events.toSorted(compareEvents)
    this.#newestUs = Math.max(newestUs, this.events.at(-1)?.timeUs ?? newestUs)
    this.#floorUs = this.events.length === 0 ? newestUs : Number.NEGATIVE_INFINITY
  }

  get newestUs(): number {
    return this.#newestUs
  }

  /** Takes an event in, unless it is `again` or `beyond`. */
  arrive(event: RecentEvent, latenessUs: number): Arrival {
    const { events } = this
    const last = events[events.length - 1]
    if (event.timeUs > this.#newestUs || (last !== undefined && compareEvents(event, last) > 0)) {
      events.push(event)
      this.#newestUs = event.timeUs
      return 'newest'
    }
    return this.#arriveLate(event, latenessUs)
  }

  #arriveLate(event: RecentEvent, latenessUs: number): Arrival {
    const { events } = this
    let at = events.length
    while (at > 0 && compareEvents(event, events[at - 1] as RecentEvent) < 0) at--
    const before = events[at - 1]
    if (before !== undefined && compareEvents(event, before) === 0) return 'again'
    if (event.timeUs < Math.max(this.#floorUs, this.#newestUs - latenessUs)) return 'beyond'
    events.splice(at, 0, event)
    return at === events.length - 1 ? 'newest' : 'within'
  }

  /** The moment before which events should go into the settled states: undefined while there are few, or none is so old. */
  overdueUs(latenessUs: number): number | undefined {
    const { events } = this
    if (events.length <= FEW) return undefined
    if (events.length > MAX_RECENT) return this.#halfUs(latenessUs)
    return (events[0] as RecentEvent).timeUs < this.#newestUs - 2 * latenessUs ? this.#newestUs - latenessUs : undefined
  }

  /** So that about half of them go; where all are of one moment (a clock that stands still), all of them. */
  #halfUs(latenessUs: number): number {
    const [oldest] = this.events as [RecentEvent]
    const halfUs = Math.max((this.events[MAX_RECENT / 2] as RecentEvent).timeUs, this.#newestUs - latenessUs)
    return halfUs > oldest.timeUs ? halfUs : halfUs + 0.5
  }

  /** Lets go of what was settled. More of the last moment that was let go of may come. */
  drop(beforeUs: number): void {
    const keep = this.events.findIndex(({ timeUs }) => timeUs >= beforeUs)
    this.events.splice(0, keep < 0 ? this.events.length : keep)
    this.#floorUs = Math.max(this.#floorUs, Math.floor(beforeUs))
  }
}
