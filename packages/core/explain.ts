// Why a rule did (or did not) fire on a device at a moment: the newest events through the engine, and what it said of each.
import { groupKey } from './backtest.ts'
import { kindOf } from './condition/condition.ts'
import type { Device } from './device.ts'
import type { EventData } from './event.ts'
import { eventTypesOf, type Rule, selects } from './rule.ts'
import { isOpen, nextEdgeUs } from './schedule.ts'
import { type Change, FRESH, heldBy, judge, memoryOf, type RuleState, type StepInput, step, timerUs } from './step.ts'
import { formatDuration, formatTime } from './time.ts'

export type SeenEvent = { readonly eventType: string; readonly timeUs: number; readonly eventId: string; readonly data: EventData }

/** `holds` undefined: it could not be told from this event, and the last verdict stood. */
export type SeenValue = {
  readonly timeUs: number
  readonly eventType: string
  readonly eventId: string
  readonly value: number | string | undefined
  readonly limit: number | undefined
  readonly holds: boolean | undefined
  readonly reason: string
}

/** `for` and `keepActive` of the rule; `schedule`: it opens or closes; `condition`: what the condition itself waits for. */
export type Timer = { readonly kind: 'for' | 'keepActive' | 'schedule' | 'condition'; readonly endUs: number; readonly leftMs: number }

export type Explanation = {
  readonly atUs: number
  readonly selected: boolean
  /** Whether its schedule lets it count then; true without one. */
  readonly open: boolean
  /** Of the alarm: the device itself, or its group. */
  readonly alarmOf: string
  readonly phase: RuleState['phase']
  /** Newest first, at most SHOWN. */
  readonly values: readonly SeenValue[]
  readonly timers: readonly Timer[]
  /** Newest first, at most SHOWN. */
  readonly changes: readonly Change[]
  /** What would have turned it over; empty when there is nothing to name. */
  readonly nearest: string
  /** All of it in sentences. */
  readonly words: readonly string[]
}

const SHOWN = 20

type Seen = { readonly event: SeenEvent; readonly before: RuleState; readonly reason: () => string }

/** @param events oldest first, none after `atUs`; what was before them is not known. */
export function explain(rule: Rule, device: Device, events: readonly SeenEvent[], atUs: number): Explanation {
  const read = events.filter(({ eventType }) => eventTypesOf(rule).includes(eventType))
  const seen: Seen[] = []
  const changes: Change[] = []
  let state = FRESH
  for (const [i, event] of read.entries()) {
    const passed = stepTo(rule, state, event.timeUs, changes)
    const outcome = step(rule, passed, inputOf(device, event))
    changes.push(...outcome.changes)
    if (i >= read.length - SHOWN) seen.push({ event, before: passed, reason: () => outcome.reason })
    state = outcome.state
  }
  state = stepTo(rule, state, atUs, changes)
  const facts = {
    atUs,
    selected: selects(rule, device),
    open: rule.schedule === undefined || isOpen(rule.schedule, atUs),
    alarmOf: groupKey(rule, device),
    phase: state.phase,
    values: seen.map(one => seenValue(rule, device, one)).reverse(),
    timers: timersOf(rule, state, atUs),
    changes: changes.slice(-SHOWN).reverse(),
    nearest: nearestOf(rule, device, seen.at(-1), state),
  }
  return { ...facts, words: wordsOf(rule, device, facts) }
}

/** What comes about at a moment comes about before the events of that moment. */
function stepTo(rule: Rule, state: RuleState, timeUs: number, changes: Change[]): RuleState {
  if (state.dueUs === undefined || state.dueUs > timeUs) return state
  const outcome = step(rule, state, { kind: 'time', timeUs, listeningSinceUs: Number.NEGATIVE_INFINITY })
  changes.push(...outcome.changes)
  return outcome.state
}

function inputOf(device: Device, { eventType, data, timeUs, eventId }: SeenEvent): StepInput {
  return { kind: 'event', device, eventType, data, timeUs, eventId }
}

function verdictOf(rule: Rule, device: Device, { event, before }: Seen) {
  return judge(rule, before, inputOf(device, event))
}

function seenValue(rule: Rule, device: Device, seen: Seen): SeenValue {
  const { value, limit, holds } = verdictOf(rule, device, seen)
  const { timeUs, eventType, eventId } = seen.event
  return { timeUs, eventType, eventId, value, limit, holds, reason: seen.reason() }
}

function nearestOf(rule: Rule, device: Device, last: Seen | undefined, state: RuleState): string {
  if (last === undefined) return ''
  return kindOf(rule.when).nearest(rule.when, verdictOf(rule, device, last), heldBy(state))
}

function timersOf(rule: Rule, state: RuleState, atUs: number): Timer[] {
  const conditionUs = kindOf(rule.when).dueUs(rule.when, memoryOf(rule, state), heldBy(state) !== undefined)
  const ends: [Timer['kind'], number][] = [
    ['condition', conditionUs],
    [state.phase === 'pending' ? 'for' : 'keepActive', timerUs(rule, state)],
  ]
  if (rule.schedule) ends.push(['schedule', nextEdgeUs(rule.schedule, atUs)])
  return ends
    .filter(([, endUs]) => Number.isFinite(endUs))
    .map(([kind, endUs]) => ({ kind, endUs, leftMs: Math.round((endUs - atUs) / 1000) }))
}

function wordsOf(rule: Rule, device: Device, facts: Omit<Explanation, 'words'>): string[] {
  const { atUs, selected, open, phase, values, timers, nearest } = facts
  const words = [`At ${formatTime(atUs)} rule ${rule.name} (version ${rule.version}) is ${phase} on ${device.id}.`]
  if (!rule.enabled) words.push('The rule is disabled: it is not judged.')
  if (!selected) words.push('The rule does not select the device.')
  if (!open) words.push('Its schedule is closed: it cannot be pending or active then.')
  const [newest] = values
  if (newest === undefined) words.push(`There is no event of ${eventTypesOf(rule).join(' or ')} to judge.`)
  else words.push(`Newest event, at ${formatTime(newest.timeUs)}: ${newest.reason}.`)
  for (const { kind, leftMs, endUs } of timers) words.push(`${TIMERS[kind]} ${formatDuration(leftMs)}, at ${formatTime(endUs)}.`)
  if (nearest !== '') words.push(`${phase === 'clear' ? 'It would begin to hold with' : 'It would stop to hold with'} ${nearest}.`)
  if (rule.notify.length === 0) words.push('The rule names no channel: nobody is notified.')
  return words
}

const TIMERS: { readonly [kind in Timer['kind']]: string } = {
  for: 'Held long enough to become active in',
  keepActive: 'Clear long enough to clear in',
  schedule: 'Its schedule opens or closes in',
  condition: 'The passing of time alone changes the condition in',
}
