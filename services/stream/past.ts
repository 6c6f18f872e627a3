// What lies behind the live end of a stream, piece by piece: whoever resumes reads it at their own pace, first from the reading
// store, then from the log.
import { compareIds, type LogEntry, type LogEvent } from '../../packages/log/entry.ts'
import type { Log, Stream } from '../../packages/log/log.ts'
import type { PastEvent, ReadingStore, Past as StoredPast } from '../../packages/store/store.ts'
import { type Cursor, LAST_INDEX } from './frame.ts'
import type { Turns } from './turn.ts'

/** The next piece of a stream after a cursor. */
export type Chunk = {
  /** Everything after `after` (a place, or all of an entry), up to and with the entry `to`, is gone; it lies before `entries`. */
  readonly gap?: { readonly after: Cursor | string; readonly to: string }
  readonly entries: readonly LogEntry[]
  /** Where in the first entry to begin: what it has before that is not looked at. */
  readonly firstIndex: number
  /** Where to go on: behind `entries`, and where there are none, at `upTo` or behind. */
  readonly next: Cursor
}

/** Whoever reads what is past. */
export type PastReader = {
  /** Can take nothing more now. */
  readonly full: boolean
  /** @returns how far it was taken. */
  take(chunk: Chunk): Promise<Cursor>
}

/** Of all that read in this process: each holds a few entries of up to 1 MiB, or a page of the store, while it has its turn. */
export type PastTurns = {
  readonly log: Turns
  /** Apart, so that a store that does not answer keeps nobody from the log. */
  readonly store: Turns
}

/** Of up to 1 MiB each. A reader takes a quarter of that at a time: what it leaves is read again. */
const ENTRIES = 5
/** How far a log is trimmed that never was. */
const NOTHING = '0-0'
/** Of the store about so much is read at a time. */
const PAGE_BYTES = 1024 * 1024
const [MIN_PAGE, MAX_PAGE] = [20, 1000]

export class Past {
  readonly #log: Log
  readonly #project: string
  readonly #stream: Stream
  readonly #turns: PastTurns
  readonly #store: Pick<ReadingStore, 'past'> | undefined
  readonly #reading = new Map<string, Promise<Chunk>>()
  /** How many events make a page, as the last one was. */
  #page = 200

  /** @param store what has all that was trimmed from the stream; undefined: it is gone. */
  constructor(log: Log, project: string, stream: Stream, turns: PastTurns, store?: Pick<ReadingStore, 'past'>) {
    this.#log = log
    this.#project = project
    this.#stream = stream
    this.#turns = turns
    this.#store = store
  }

  /**
   * Gives the reader what comes next, at most up to the entry `upTo`, except for the entry in which the cursor itself stands.
   * @returns where to go on.
   */
  async read(after: Cursor, upTo: string, reader: PastReader): Promise<Cursor> {
    const { log, store } = this.#turns
    const found = await log.take(async () => {
      if (reader.full) return after
      const chunk = await this.#readLog(after, upTo)
      return 'trimmed' in chunk ? chunk : reader.take(chunk)
    })
    if (!('trimmed' in found)) return found
    return store.take(async () => (reader.full ? after : reader.take(await this.#readTrimmed(after, found.trimmed))))
  }

  /** What the log has, or up to where it no longer has what comes next. */
  async #readLog(after: Cursor, upTo: string): Promise<Chunk | { readonly trimmed: string }> {
    const { entryId, index } = after
    const own = index === LAST_INDEX ? undefined : await this.#log.entry(this.#project, entryId, this.#stream)
    if (own) return { entries: [own], firstIndex: index + 1, next: { entryId, index: LAST_INDEX } }
    const { entries, trimmed } = await this.#log.readFrom(this.#project, entryId, ENTRIES, this.#stream)
    // The cursor may stand inside, or right before, an entry that is gone.
    const isLost = compareIds(entryId, trimmed) < 0 || (index !== LAST_INDEX && entryId === trimmed && trimmed !== NOTHING)
    if (isLost) return { trimmed }
    const due = entries.filter(({ id }) => compareIds(id, upTo) <= 0)
    // Before an entry that is not there: it may still come, as whoever begins in the millisecond of the next entry will see.
    const behind = index < 0 && entryId !== NOTHING ? idBefore(entryId) : entryId
    return { entries: due, firstIndex: 0, next: { entryId: due.at(-1)?.id ?? newest(behind, upTo), index: LAST_INDEX } }
  }

  /**
   * Nothing is trimmed that the store does not have, so that up to there its answer is whole; and what the log has begins right behind.
   * Readers who were cut off together come back to one place: they share the answer.
   */
  #readTrimmed(after: Cursor, trimmed: string): Promise<Chunk> {
    if (!this.#store) return Promise.resolve({ ...gapOf(after, trimmed), ...nothing(trimmed) })
    const key = `${after.entryId} ${after.index} ${trimmed}`
    const known = this.#reading.get(key)
    if (known) return known
    const reading = this.#readStored(this.#store, after, trimmed).finally(() => this.#reading.delete(key))
    this.#reading.set(key, reading)
    return reading
  }

  async #readStored(store: Pick<ReadingStore, 'past'>, after: Cursor, to: string): Promise<Chunk> {
    const past = await store.past({ project: this.#project, after, to, limit: this.#page })
    const bytes = past.events.reduce((sum, { frame }) => sum + frame.length, 0)
    if (bytes > 0) this.#page = Math.min(Math.max(Math.floor((PAGE_BYTES / bytes) * past.events.length), MIN_PAGE), MAX_PAGE)
    return chunkOf(past)
  }
}

/** Events that follow each other as in their entries; where one is missing among them, the next chunk begins. */
function chunkOf({ gap, events, next }: StoredPast): Chunk {
  const entries: { readonly id: string; readonly events: LogEvent[] }[] = []
  const firstIndex = events[0]?.place.index ?? 0
  let taken = 0
  for (const event of events) {
    const { entryId, index } = event.place
    const last = entries.at(-1)
    if (last?.id === entryId && last.events.length === index) last.events.push(logEvent(event))
    // The places before the first event are filled with it.
    else if (taken === 0) entries.push({ id: entryId, events: Array.from({ length: index + 1 }, () => logEvent(event)) })
    else if (last?.id !== entryId && index === 0) entries.push({ id: entryId, events: [logEvent(event)] })
    else break
    taken++
  }
  const place = taken < events.length ? (events[taken - 1] as PastEvent).place : next
  return { ...(gap && gapOf(gap.after, gap.to.entryId)), entries, firstIndex, next: place }
}

function logEvent({ device, eventType, timeUs, frame }: PastEvent): LogEvent {
  return { device, eventType, timeUs, frame }
}

function gapOf(after: Cursor, to: string): Pick<Chunk, 'gap'> {
  const { entryId, index } = after
  if (index < 0) return { gap: { after: idBefore(entryId), to } }
  return { gap: { after: index === LAST_INDEX ? entryId : after, to } }
}

/** What a place before a whole entry is behind. */
export function idBefore(entryId: string): string {
  const [ms, seq] = entryId.split('-').map(Number) as [number, number]
  return seq > 0 ? `${ms}-${seq - 1}` : `${Math.max(0, ms - 1)}-${Number.MAX_SAFE_INTEGER}`
}

function nothing(entryId: string): Omit<Chunk, 'gap'> {
  return { entries: [], firstIndex: 0, next: { entryId, index: LAST_INDEX } }
}

function newest(...ids: readonly string[]): string {
  return ids.reduce((one, other) => (compareIds(one, other) < 0 ? other : one))
}
