// What the engine tells: how an alarm of one rule on one device moved on.
import { kindOf } from './condition/condition.ts'
import type { Cause } from './condition/kind.ts'
import type { Rule } from './rule.ts'
import { type Severity, severityAt } from './severity.ts'
import type { RuleState } from './step.ts'

/**
 * `pending` it has begun to hold and `for` runs · `active` from pending, or at once without `for` · `escalated`, `deescalated` another
 * rung of the ladder, still active · `cleared` no longer active · `dropped` no longer pending, and never was active. Late events make
 * two more (track.ts): `amended` an episode was another one than it seemed · `withdrawn` it never was active. An edit that gives an active
 * alarm a ladder, or another one, amends it too: nobody is told of a step that only the edit made.
 */
export type ChangeKind = 'pending' | 'active' | 'escalated' | 'deescalated' | 'cleared' | 'dropped' | 'amended' | 'withdrawn'

export type Change = {
  readonly kind: ChangeKind
  /** When it came about in event time, whenever it was found. */
  readonly atUs: number
  readonly episode: number
  readonly severity: Severity
  /** Of the episode, after this change. */
  readonly sinceUs: number
  readonly activeUs: number | undefined
  readonly clearedUs: number | undefined
  readonly value: number | string | undefined
  readonly limit: number | undefined
  readonly reason: string
  /** The event that made the condition begin or stop to hold; undefined when silence did. */
  readonly eventId: string | undefined
  /** A late event brought it to light, or took it back. */
  readonly late: boolean
}

/** Of two states and what lies between them; the facts are those of the episode that the change is about. */
export function changeOf(
  rule: Rule,
  from: RuleState,
  to: RuleState,
  atUs: number,
  { value, limit, eventId }: Cause,
  reason: string,
): Change {
  const ended = to.phase === 'clear'
  const { episode, severity, sinceUs = atUs, activeUs } = ended ? from : to
  const kind = kindOfChange(rule, from, to, value)
  const clearedUs = ended ? atUs : undefined
  return {
    kind,
    atUs,
    episode,
    severity: severity ?? rule.severity,
    sinceUs,
    activeUs,
    clearedUs,
    value,
    limit,
    reason,
    eventId,
    late: false,
  }
}

function kindOfChange({ ladder, when }: Rule, from: RuleState, to: RuleState, value: Cause['value']): ChangeKind {
  if (to.phase === 'clear') return from.phase === 'active' ? 'cleared' : 'dropped'
  if (to.phase === 'pending' || from.phase !== 'active') return to.phase
  const height = (severity: Severity | undefined) => ladder.findIndex(rung => rung.severity === severity)
  const [before, after] = [height(from.severity), height(to.severity)]
  if (before >= 0) return after > before ? 'escalated' : 'deescalated'
  // It stood on no rung of this ladder. What began it may stand lower than what is now, and that rise is news.
  const began = height(severityAt(ladder, kindOf(when).worse(when), from.cause?.value, undefined))
  return typeof value === 'number' && typeof from.cause?.value === 'number' && after > began ? 'escalated' : 'amended'
}
