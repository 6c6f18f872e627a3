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
export type EventRecord = EventPlace & { readonly eventType: string; readonly frame: string }

export type ReadingQuery = {
  readonly project: string
  readonly device: string
  readonly eventType: string
  /** Dotted path below the event type, for example `value`. */
  readonly field: string
  readonly fromUs: number
  readonly toUs: number
  readonly limit: number
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
 * Repetition: an event (project, device, type, time, eventId) is stored once however often it is written, within a batch,
 * in later batches and after a crash; two events that differ only in eventId at the same time are both kept.
 * Failure: `write` resolves when the whole batch is durable and rejects (Failure `unavailable`) when the store cannot be
 * reached, in which case part of the batch may be stored and the same batch is written again later. Events that can never be
 * stored make it reject with Failure `invalid`, caused by `RefusedEvents`: write the batch again without them.
 * Hostile names (quotes, commas, spaces, line breaks, unicode) come back byte-equal and never reach a query as syntax.
 */
export interface ReadingStore {
  write(batch: readonly StoreEvent[]): Promise<WriteOutcome>
  /** Newest first; ties by eventId, then event type, descending. */
  events(query: EventQuery): Promise<EventRecord[]>
  /** Oldest first; `limit` keeps the oldest ones. Ties by eventId, ascending. */
  readings(query: ReadingQuery): Promise<RawReading[]>
  /** Oldest first; `limit` keeps the oldest windows. */
  windows(query: ReadingQuery & { readonly windowMs: number }): Promise<WindowReading[]>
  /** Forgets events of the project older than `beforeUs`. */
  purge(project: string, beforeUs: number): Promise<void>
  /** Resolves when the store answers; rejects with a Failure that says what is wrong. */
  ping(): Promise<void>
  /** Idempotent; waits for a running write. */
  close(): Promise<void>
}
