// The log's past as a store has kept it: which spans of it are known to be complete, and what a page of events says with them.
import type { LogPlace, Past, PastEvent, PastQuery } from './store.ts'
import { LAST_INDEX } from './store.ts'

/** An entry id as numbers. Redis counts `seq` up while the clock is behind the last entry, so it may be large. */
export type EntryId = { readonly ms: number; readonly seq: number }
export type Span = { readonly after: EntryId; readonly to: EntryId }

const ENTRY_ID = /^(\d{1,15})-(\d{1,19})$/

export function entryIdOf(text: string): EntryId {
  const match = ENTRY_ID.exec(text)
  if (!match) throw new RangeError(`${text} is no id of a log entry`)
  return { ms: Number(match[1]), seq: Math.min(Number(match[2]), Number.MAX_SAFE_INTEGER) }
}

export function formatEntryId({ ms, seq }: EntryId): string {
  return `${ms}-${seq}`
}

export function compareEntries(a: EntryId, b: EntryId): number {
  return a.ms - b.ms || a.seq - b.seq
}

export function comparePlaces(a: LogPlace, b: LogPlace): number {
  return a.entryId === b.entryId ? a.index - b.index : compareEntries(entryIdOf(a.entryId), entryIdOf(b.entryId))
}

/** Spans that touch or overlap as one, in order. */
export function mergeSpans(spans: readonly Span[]): Span[] {
  const merged: Span[] = []
  for (const span of spans.toSorted((a, b) => compareEntries(a.after, b.after))) {
    const last = merged.at(-1)
    if (!last || compareEntries(last.to, span.after) < 0) merged.push(span)
    else if (compareEntries(last.to, span.to) < 0) merged[merged.length - 1] = { after: last.after, to: span.to }
  }
  return merged
}

/**
 * The answer to a query, of the first `limit` events that the store has after its place. The spans must be read after the events:
 * what is purged in between is then in a gap.
 */
export function pastOf({ after, to, limit }: PastQuery, found: readonly PastEvent[], spans: readonly Span[]): Past {
  const end: LogPlace = { entryId: to, index: LAST_INDEX }
  if (comparePlaces(after, end) >= 0) return { events: [], next: after }
  const entry = entryIdOf(after.entryId)
  // What is left of a half-read entry must be known too. No entry is 0-0.
  const isHalf = after.index < LAST_INDEX && entry.ms > 0
  const covers = (span: Span) =>
    isHalf
      ? compareEntries(span.after, entry) < 0 && compareEntries(entry, span.to) <= 0
      : compareEntries(span.after, entry) <= 0 && compareEntries(entry, span.to) < 0
  const known = mergeSpans(spans).find(span => covers(span) || compareEntries(span.after, entry) >= 0)
  if (!known || comparePlaces(behind(known.after), end) >= 0) return { gap: { after, to: end }, events: [], next: end }
  const gap = covers(known) ? undefined : { after, to: behind(known.after) }
  const from = gap?.to ?? after
  const limits = [end, behind(known.to)]
  const last = found.at(-1)
  if (found.length >= limit && last) limits.push(last.place)
  const next = limits.reduce((a, b) => (comparePlaces(a, b) <= 0 ? a : b))
  const events = found.filter(({ place }) => comparePlaces(place, from) > 0 && comparePlaces(place, next) <= 0)
  return { gap, events, next: comparePlaces(next, from) < 0 ? from : next }
}

function behind(entry: EntryId): LogPlace {
  return { entryId: formatEntryId(entry), index: LAST_INDEX }
}
