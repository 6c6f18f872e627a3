// The port behind which readings are kept: what the worker writes and what history answers from. `contract.ts` is its test.
import type { DeviceEvent, EventData } from '../core/event.ts'

/** One accepted event on its way to the store. `frame` is the serialised DeviceEvent, `data` its parsed data. */
export type StoreEvent = {
  readonly project: string
  readonly device: string
  readonly eventType: string
  readonly eventId: DeviceEvent['eventId']
  readonly timeUs: number
  readonly frame: string
  readonly data: EventData
  /** Undefined: the event is not found by `past`. */
  readonly place?: LogPlace | undefined
}

/** Where an event stands in its project's log: `{ms}-{seq}` of its entry, and its number among the events of that. */
export type LogPlace = { readonly entryId: string; readonly index: number }

/** Greater than the index of any event: such a place is behind the whole entry. */
export const LAST_INDEX = 999_999

/** Of a project's log everything after the entry `after`, up to and with the entry `to`. */
export type LogSpan = { readonly project: string; readonly after: string; readonly to: string }

/** Up to and with the entry `to`. */
export type PastQuery = { readonly project: string; readonly after: LogPlace; readonly to: string; readonly limit: number }
export type PastEvent = {
  readonly place: LogPlace
  readonly device: string
  readonly eventType: string
  readonly timeUs: number
  readonly frame: string
}
/** Of everything between the query's place and `next`: the store lost track of what is in the gap, then come the events, all of them. */
export type Past = {
  readonly gap?: { readonly after: LogPlace; readonly to: LogPlace } | undefined
  readonly events: readonly PastEvent[]
  /** Where to go on; behind the entry `to` of the query when that is reached. */
  readonly next: LogPlace
}

/** Half-open in time: `fromUs ≤ time < toUs`. */
export type EventQuery = {
  readonly project: string
  readonly device: string
  /** Undefined: all types. */
  readonly eventTypes?: readonly string[] | undefined
  readonly fromUs: number
  readonly toUs: number
  readonly limit: number
  /** Go on after this place of an earlier answer (strictly older in the order of answers). */
  readonly after?: EventPlace | undefined
}

/** `eventType` tells apart two events of one device with one id at one time; without it the place is after both. */
export type EventPlace = { readonly timeUs: number; readonly eventId: string; readonly eventType?: string | undefined }
export type EventRecord = EventPlace & {
  readonly eventType: string
  readonly frame: string
  /** By its place in the log; undefined for an event that was written without one. */
  readonly acceptedMs?: number | undefined
}

export type ReadingQuery = {
  readonly project: string
  readonly device: string
  readonly eventType: string
  /** Dotted path below the event type, for example `value`. */
  readonly field: string
  readonly fromUs: number
  readonly toUs: number
  readonly limit: number
  /** Raw readings go on after this place of an earlier answer. */
  readonly after?: EventPlace | undefined
}

export type RawReading = { readonly timeUs: number; readonly eventId: string; readonly value: number }
/** Windows are aligned to 1970-01-01T00:00Z; empty windows are left out. */
export type WindowReading = {
  readonly startUs: number
  readonly count: number
  readonly mean: number
  readonly min: number
  readonly max: number
}

/** Half-open in time. */
export type ScanQuery = {
  readonly project: string
  readonly eventTypes: readonly string[]
  /** Undefined: all. */
  readonly devices?: readonly string[] | undefined
  /** In place of whole events these numbers of them: dotted paths as in readings. Events that have none of them come as well. */
  readonly fields?: readonly ScanField[] | undefined
  /** With fields: when an event of the range has one of these texts in its frame, nothing comes but that (`values` is undefined). */
  readonly unless?: readonly string[] | undefined
  readonly fromUs: number
  readonly toUs: number
}
type ScanField = { readonly eventType: string; readonly field: string }
export type ScanCount = { readonly startUs: number; readonly count: number }
export type ScanSeries = { readonly device: string; readonly eventType: string }
/** Events as columns: numbers that cross to another thread at little cost. */
export type ScanColumns = {
  readonly series: readonly ScanSeries[]
  /** Of each event its place in `series`. */
  readonly of: Uint32Array
  readonly timesUs: Float64Array
  /** Of a query with `fields`, for each of them: NaN where an event has no such number. */
  readonly values: readonly Float64Array[] | undefined
  /** Of a query without. */
  readonly events: { readonly ids: readonly string[]; readonly frames: readonly string[] } | undefined
}

/** What one write did: every event of the batch is in exactly one of the two counts. */
export type WriteOutcome = { readonly stored: number; readonly duplicates: number }

/** Why a write was refused for good: the rest of the batch may or may not be stored. */
export class RefusedEvents extends Error {
  readonly events: readonly StoreEvent[]

  constructor(message: string, events: readonly StoreEvent[]) {
    super(message)
    this.name = 'RefusedEvents'
    this.events = events
  }
}

/**
 * Order: none required between batches of different projects; one writer per project at a time.
 * Places: an event that was delivered to the log twice keeps its first place. A write may say which span of the log it completes:
 * `past` answers a gap for whatever no write has completed, or was purged since, and never leaves out anything in silence. It is to
 * be asked only up to a place that the writer has committed.
 * Repetition: an event (project, device, type, time, eventId) is stored once however often it is written, within a batch,
 * in later batches and after a crash; two events that differ only in eventId at the same time are both kept.
 * Failure: `write` resolves when the whole batch is durable and rejects (Failure `unavailable`) when the store cannot be
 * reached, in which case part of the batch may be stored and the same batch is written again later. Events that can never be
 * stored make it reject with Failure `invalid`, caused by `RefusedEvents`: write the batch again without them.
 * Hostile names (quotes, commas, spaces, line breaks, unicode) come back byte-equal and never reach a query as syntax.
 */
export interface ReadingStore {
  /** @param span with this batch everything in it was handed over, but for events that are refused. */
  write(batch: readonly StoreEvent[], span?: LogSpan): Promise<WriteOutcome>
  /** In the order of the log. */
  past(query: PastQuery): Promise<Past>
  /** Newest first; ties by eventId, then event type, descending. */
  events(query: EventQuery): Promise<EventRecord[]>
  /** Oldest first; `limit` keeps the oldest ones. Ties by eventId, ascending. */
  readings(query: ReadingQuery): Promise<RawReading[]>
  /** Oldest first; `limit` keeps the oldest windows. */
  windows(query: ReadingQuery & { readonly windowMs: number }): Promise<WindowReading[]>
  /**
   * How many events there are in each window from `fromUs` on, oldest first; empty windows are left out. Whoever scans much sees from
   * this in what stretches to do it.
   */
  counts(query: ScanQuery & { readonly windowUs: number }): Promise<ScanCount[]>
  /** All of the range, whatever it takes: oldest first, ties by eventId. */
  scan(query: ScanQuery): Promise<ScanColumns>
  /** Forgets events of the project older than `beforeUs`, those with a place once they were also accepted before then. */
  purge(project: string, beforeUs: number): Promise<void>
  /** Resolves when the store answers; rejects with a Failure that says what is wrong. */
  ping(): Promise<void>
  /** Idempotent; waits for a running write. */
  close(): Promise<void>
}
