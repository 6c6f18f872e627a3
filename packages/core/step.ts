// The rules engine: one rule, one device, one event or moment of event time in; the new state, what changed and why out.
// Live judging, backtests, rule tests and explanations all run this function; none has a copy of any decision in it.
import { kindOf } from './condition/condition.ts'
import type { Cause, Memory, Verdict } from './condition/kind.ts'
import type { Device } from './device.ts'
import type { EventData } from './event.ts'
import { eventTypesOf, type Rule, type Severity } from './rule.ts'
import { formatDuration, formatTime } from './time.ts'

/**
 * Times are event time. Inputs of one device come in the order of the log; an event older than the newest one judged is
 * ignored, two at the same time both count.
 */
export type StepInput =
  | {
      readonly kind: 'event'
      /** As it is at that moment. */
      readonly device: Device
      readonly eventType: string
      readonly data: EventData
      readonly timeUs: number
      readonly eventId: string
      /**
       * The newest time judged before of this device and event type (this event's own, if none was), from a caller that
       * keeps it anyway. Then the state need not, and an event that changes nothing returns the very same state object.
       */
      readonly newestUs?: number
      /** As below, for a caller that does not step the time before each event. Without it: always. */
      readonly listeningSinceUs?: number
    }
  | {
      readonly kind: 'time'
      readonly timeUs: number
      /** Since when events of the device would have been received without a break. */
      readonly listeningSinceUs: number
    }

type EventInput = Extract<StepInput, { kind: 'event' }>

/** Plain JSON, kept per rule and device between steps; a device without one is clear and has not been seen. */
export type RuleState = {
  readonly v: 1
  readonly phase: 'clear' | 'pending' | 'active'
  /** The newest moment that left a trace in this state: nothing before it is judged any more. */
  readonly seenUs?: number | undefined
  /** Pending: since when the condition has held. */
  readonly sinceUs?: number | undefined
  /** Active, and the condition has not held since then: `keepActive` is running. */
  readonly clearSinceUs?: number | undefined
  /** What made the condition begin, or in an active alarm stop, to hold. */
  readonly cause?: Cause | undefined
  /** The condition's own. */
  readonly memory?: Memory | undefined
  /** When the next `time` input is wanted: the end of `for`, of `keepActive`, or what the condition waits for. */
  readonly dueUs?: number | undefined
}

/**
 * `pending` it has begun to hold and `for` runs · `active` from pending, or at once without `for` · `escalated`, `deescalated` another rung
 * of the ladder while active · `cleared` no longer active · `dropped` no longer pending, and never was active · `amended` a late event moved
 * the interval of an episode · `withdrawn` a late event showed that an episode never was active.
 */
export type ChangeKind = 'pending' | 'active' | 'escalated' | 'deescalated' | 'cleared' | 'dropped' | 'amended' | 'withdrawn'

/** The facts of the episode are those after the change; undefined: as the alarm before it has them. */
export type Change = {
  readonly kind: ChangeKind
  /** When it came about in event time, whenever it was found. */
  readonly atUs: number
  /** How many times this rule has left `clear` for this device. */
  readonly episode?: number | undefined
  readonly severity?: Severity | undefined
  /** When the condition began to hold in this episode, and when it became active. */
  readonly sinceUs?: number | undefined
  readonly activeUs?: number | undefined
  /** Of an episode that is over, for `amended`. */
  readonly clearedUs?: number | undefined
  readonly value: number | string | undefined
  readonly limit: number | undefined
  readonly reason: string
  /** The event that made the condition begin or stop to hold; undefined when silence did. */
  readonly eventId: string | undefined
  /** Found after the fact, whatever the clock says. */
  readonly late?: boolean | undefined
}

export type StepOutcome = {
  /** The object that was passed in (FRESH for none) when there is nothing to save. */
  readonly state: RuleState
  readonly changes: readonly Change[]
  /** Why there was a change, or none. May be put together when it is read: copy it by name, not by spreading. */
  readonly reason: string
}

/** What a verdict does to a state: a change, a timer started (`clearing`) or stopped (`resumed`), or nothing. */
type Turn = 'pending' | 'active' | 'cleared' | 'dropped' | 'clearing' | 'resumed' | 'none'

/** The state of a device that has none: a step that returns it left nothing to save. */
export const FRESH: RuleState = Object.freeze({
  v: 1,
  phase: 'clear',
  seenUs: undefined,
  sinceUs: undefined,
  clearSinceUs: undefined,
  cause: undefined,
  memory: undefined,
  dueUs: undefined,
})
const NO_CAUSE: Cause = Object.freeze({ value: undefined, limit: undefined, eventId: undefined })
const NO_CHANGES: readonly Change[] = Object.freeze([])

export function step(rule: Rule, state: RuleState | undefined, input: StepInput): StepOutcome {
  return input.kind === 'event'
    ? stepEvent(rule, state ?? FRESH, input)
    : stepTime(rule, state ?? FRESH, input.timeUs, input.listeningSinceUs)
}

/** What deleting (or disabling) a rule does to one device: an alarm clears, a pending one is dropped. */
export function retire(_rule: Rule, state: RuleState | undefined, atUs: number, reason: string): StepOutcome {
  if (state === undefined || state.phase === 'clear') return { state: state ?? FRESH, changes: NO_CHANGES, reason: 'it was clear' }
  const kind = state.phase === 'active' ? 'cleared' : 'dropped'
  const change: Change = { kind, atUs, value: undefined, limit: undefined, reason, eventId: undefined }
  return { state: { v: 1, phase: 'clear', seenUs: Math.max(atUs, state.seenUs ?? atUs) }, changes: [change], reason }
}

function stepEvent(rule: Rule, from: RuleState, event: EventInput): StepOutcome {
  if (!eventTypesOf(rule).includes(event.eventType))
    return { state: from, changes: NO_CHANGES, reason: 'the rule does not read this type of event' }
  const newestUs = Math.max(from.seenUs ?? event.timeUs, event.newestUs ?? event.timeUs)
  if (event.timeUs < newestUs) return { state: from, changes: NO_CHANGES, reason: 'late: a newer moment has been judged already, ignored' }
  if (nextDueUs(rule, from) > event.timeUs) return judgeEvent(rule, from, event, NO_CHANGES)
  // What was due up to and including this moment has come about before the event.
  const passed = stepTime(rule, from, event.timeUs, event.listeningSinceUs ?? Number.NEGATIVE_INFINITY)
  return judgeEvent(rule, passed.state, event, passed.changes)
}

function judgeEvent(rule: Rule, from: RuleState, event: EventInput, earlier: readonly Change[]): StepOutcome {
  const verdict = judge(rule, from, event)
  const turn = turnOf(rule, from, verdict.holds)
  if (turn === 'none') return new Quiet(rule, afterQuiet(rule, from, verdict, event), earlier, verdict)
  const cause: Cause = { value: verdict.value, limit: verdict.limit, eventId: event.eventId }
  const state = turned(rule, from, turn, event.timeUs, cause, verdict.memory)
  if (turn === 'clearing' || turn === 'resumed') return new Quiet(rule, state, earlier, verdict)
  const reason = kindOf(rule.when).describe(rule.when, verdict)
  const changes = [...earlier, changeOf(turn, event.timeUs, cause, reason)]
  return { state, changes, reason: changes.map(change => change.reason).join('; ') }
}

function stepTime(rule: Rule, from: RuleState, untilUs: number, listeningSinceUs: number): StepOutcome {
  const changes: Change[] = []
  let state = from
  let found = ''
  for (let dueUs = nextDueUs(rule, state); dueUs <= untilUs; dueUs = nextDueUs(rule, state)) {
    // A duration that ends at a moment is fulfilled, whatever else that moment brings: timers come first.
    const outcome = timerUs(rule, state) === dueUs ? ring(rule, state, dueUs) : judgeTime(rule, state, dueUs, listeningSinceUs)
    state = outcome.state
    found = outcome.reason
    changes.push(...outcome.changes)
  }
  // An edited rule may wait for another moment than the one that was noted.
  if (state === from && (from.dueUs ?? Number.POSITIVE_INFINITY) !== nextDueUs(rule, from))
    state = noted(rule, from, from.seenUs, from.memory)
  const reasons = changes.map(change => change.reason)
  return { state, changes, reason: reasons.length > 0 ? reasons.join('; ') : found === '' ? 'nothing is due' : found }
}

/** The end of `for` or of `keepActive`. */
function ring(rule: Rule, from: RuleState, atUs: number): StepOutcome {
  const turn = from.phase === 'pending' ? 'active' : 'cleared'
  const cause = from.cause ?? NO_CAUSE
  const lastedMs = turn === 'active' ? rule.holdMs : rule.keepActiveMs
  const reason = kindOf(rule.when).lasting(rule.when, turn === 'active', cause, formatDuration(lastedMs))
  const state = turned(rule, from, turn, atUs, cause, memoryOf(rule, from))
  return { state, changes: [changeOf(turn, atUs, cause, reason)], reason }
}

function judgeTime(rule: Rule, from: RuleState, atUs: number, listeningSinceUs: number): StepOutcome {
  const verdict = judge(rule, from, { kind: 'time', timeUs: atUs, listeningSinceUs })
  const turn = turnOf(rule, from, verdict.holds)
  const reason = kindOf(rule.when).describe(rule.when, verdict)
  if (turn === 'none') return { state: noted(rule, from, from.seenUs, verdict.memory), changes: NO_CHANGES, reason }
  const cause: Cause = { value: verdict.value, limit: verdict.limit, eventId: undefined }
  const state = turned(rule, from, turn, atUs, cause, verdict.memory)
  return { state, changes: turn === 'clearing' || turn === 'resumed' ? NO_CHANGES : [changeOf(turn, atUs, cause, reason)], reason }
}

function judge(rule: Rule, state: RuleState, input: StepInput): Verdict {
  const held = holds(state) ? (state.cause ?? NO_CAUSE) : undefined
  return kindOf(rule.when).judge(rule.when, memoryOf(rule, state), held, input)
}

function turnOf(rule: Rule, state: RuleState, verdict: boolean | undefined): Turn {
  if (verdict === undefined || verdict === holds(state)) return 'none'
  if (verdict) return state.phase === 'active' ? 'resumed' : rule.holdMs === 0 ? 'active' : 'pending'
  return state.phase === 'pending' ? 'dropped' : rule.keepActiveMs === 0 ? 'cleared' : 'clearing'
}

function turned(rule: Rule, from: RuleState, turn: Turn, atUs: number, cause: Cause, memory: Memory | undefined): RuleState {
  const clear = turn === 'cleared' || turn === 'dropped'
  return noteDue(rule, {
    v: 1,
    phase: clear ? 'clear' : turn === 'pending' ? 'pending' : 'active',
    // A shortened `for` may end before what has been judged since.
    seenUs: Math.max(atUs, from.seenUs ?? atUs),
    sinceUs: turn === 'pending' ? atUs : undefined,
    clearSinceUs: turn === 'clearing' ? atUs : undefined,
    cause: clear ? undefined : cause,
    memory,
    dueUs: undefined,
  })
}

/** The state after a verdict that changed nothing else. Spelt out, not spread: several times as fast, and often run. */
function noted(rule: Rule, from: RuleState, seenUs: number | undefined, memory: Memory | undefined): RuleState {
  const { phase, sinceUs, clearSinceUs, cause } = from
  return noteDue(rule, { v: 1, phase, seenUs, sinceUs, clearSinceUs, cause, memory, dueUs: undefined })
}

/** Of a state that was just made here and nobody has seen yet. */
function noteDue(rule: Rule, made: { -readonly [key in keyof RuleState]: RuleState[key] }): RuleState {
  const dueUs = nextDueUs(rule, made)
  if (dueUs !== Number.POSITIVE_INFINITY) made.dueUs = dueUs
  return made
}

/** The state after an event that changed no verdict: the same one unless there is something to remember. */
function afterQuiet(rule: Rule, from: RuleState, { memory }: Verdict, event: EventInput): RuleState {
  const sameMemory = memory === from.memory
  const seenUs = sameMemory && event.newestUs !== undefined ? from.seenUs : event.timeUs
  return sameMemory && seenUs === from.seenUs ? from : noted(rule, from, seenUs, memory)
}

function holds(state: RuleState): boolean {
  return state.phase === 'pending' || (state.phase === 'active' && state.clearSinceUs === undefined)
}

/** What the condition of another kind remembered, before the rule was edited, is nothing to this one. */
function memoryOf(rule: Rule, state: RuleState): Memory | undefined {
  return state.memory?.kind === rule.when.kind ? state.memory : undefined
}

function timerUs(rule: Rule, state: RuleState): number {
  if (state.sinceUs !== undefined) return state.sinceUs + rule.holdMs * 1000
  return state.clearSinceUs === undefined ? Number.POSITIVE_INFINITY : state.clearSinceUs + rule.keepActiveMs * 1000
}

/** From the rule as it is now, not from `state.dueUs`: the rule may have been edited since. */
function nextDueUs(rule: Rule, state: RuleState): number {
  return Math.min(timerUs(rule, state), kindOf(rule.when).dueUs(rule.when, memoryOf(rule, state), holds(state)))
}

function changeOf(kind: ChangeKind, atUs: number, { value, limit, eventId }: Cause, reason: string): Change {
  return { kind, atUs, value, limit, reason, eventId }
}

/** An event that changed nothing by itself, by far the most frequent outcome: its reason costs only whoever asks. */
class Quiet implements StepOutcome {
  private readonly rule: Rule
  readonly state: RuleState
  readonly changes: readonly Change[]
  private readonly verdict: Verdict

  constructor(rule: Rule, state: RuleState, changes: readonly Change[], verdict: Verdict) {
    this.rule = rule
    this.state = state
    this.changes = changes
    this.verdict = verdict
  }

  get reason(): string {
    const { phase, clearSinceUs } = this.state
    const endUs = timerUs(this.rule, this.state)
    const running =
      clearSinceUs !== undefined ? `, clears at ${formatTime(endUs)}` : phase === 'pending' ? `, active at ${formatTime(endUs)}` : ''
    const found = kindOf(this.rule.when).describe(this.rule.when, this.verdict)
    return [...this.changes.map(change => change.reason), `${found}${running}`].join('; ')
  }
}
