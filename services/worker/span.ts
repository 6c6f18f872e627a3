// What was read of the log, cut where labels of devices change: the judge judges each part with the labels of its moment.
import type { LogEntry, LogEvent } from '../../packages/log/entry.ts'

/** Devices whose labels changed that are looked at together. */
const RELABELS_AT_ONCE = 100

export type Arrived = { readonly event: LogEvent; readonly entryId: string }

/** Events that any rule reads, all of which came after these devices were relabelled, and before any other was. */
export type Span = { readonly relabelled: LogEvent[]; readonly arrived: Arrived[] }

/** What was read, cut where labels changed, so that each event meets the rules for the labels of its moment. */
export function spansOf(eventTypes: ReadonlySet<string>, entries: readonly LogEntry[]): Span[] {
  const spans: Span[] = []
  let span: Span = { relabelled: [], arrived: [] }
  for (const { id, events } of entries)
    for (const event of events)
      if (event.eventType === 'labelsChanged') {
        if (span.arrived.length > 0 || span.relabelled.length === RELABELS_AT_ONCE) {
          spans.push(span)
          span = { relabelled: [], arrived: [] }
        }
        span.relabelled.push(event)
      } else if (eventTypes.has(event.eventType)) span.arrived.push({ event, entryId: id })
  return [...spans, span]
}
