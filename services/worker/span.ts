// What was read of the log, cut where labels of devices change: the judge judges each part with the labels of its moment.
import { acceptedUs, type LogEntry, type LogEvent } from '../../packages/log/entry.ts'
import type { RuleSet } from './ruleset.ts'

/** Devices whose labels changed that are looked at together. */
const RELABELS_AT_ONCE = 100

export type Arrived = { readonly event: LogEvent; readonly entryId: string; readonly arrivedUs: number }

/** Events that any rule reads, all of which came after these devices were relabelled, and before any other was. */
export type Span = { readonly relabelled: LogEvent[]; readonly arrived: Arrived[] }

/** What was read, cut where labels changed, so that each event meets the rules for the labels of its moment. */
export function spansOf(rules: RuleSet, entries: readonly LogEntry[]): Span[] {
  const spans: Span[] = []
  let span: Span = { relabelled: [], arrived: [] }
  for (const { id, events } of entries) {
    const arrivedUs = acceptedUs(id)
    for (const event of events)
      if (event.eventType === 'labelsChanged') {
        if (span.arrived.length > 0 || span.relabelled.length === RELABELS_AT_ONCE) {
          spans.push(span)
          span = { relabelled: [], arrived: [] }
        }
        span.relabelled.push(event)
      } else if (rules.reads(event.eventType) !== undefined) span.arrived.push({ event, entryId: id, arrivedUs })
  }
  return [...spans, span]
}
