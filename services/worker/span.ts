// What was read of the log, as the judge takes it: stretches in which no device changes its labels.
import { acceptedUs, type LogEntry, type LogEvent } from '../../packages/log/entry.ts'
import type { RuleSet } from './ruleset.ts'

export type Arrived = { readonly event: LogEvent; readonly entryId: string; readonly arrivedUs: number }

/** Events that any rule reads, all of which came after these devices were relabelled, and before any other was. */
type Span = { readonly relabelled: string[]; readonly arrived: Arrived[] }

/** What was read, cut where labels changed, so that each event meets the rules for the labels of its moment. */
export function spansOf(rules: RuleSet, entries: readonly LogEntry[]): Span[] {
  const spans: Span[] = []
  let span: Span = { relabelled: [], arrived: [] }
  for (const { id, events } of entries) {
    const arrivedUs = acceptedUs(id)
    for (const event of events)
      if (event.eventType === 'labelsChanged') {
        if (span.arrived.length > 0) {
          spans.push(span)
          span = { relabelled: [], arrived: [] }
        }
        span.relabelled.push(event.device)
      } else if (rules.reads(event.eventType) !== undefined) span.arrived.push({ event, entryId: id, arrivedUs })
  }
  return [...spans, span]
}
