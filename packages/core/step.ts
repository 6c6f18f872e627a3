// The rules engine: one rule, one device, one event or moment of event time in; the new state, what changed and why out.
// Live judging, backtests, rule tests and explanations all run this function; none has a copy of any decision in it.
import { type Change, changeOf } from './change.ts'
import { kindOf } from './condition/condition.ts'
import type { Cause, Memory, Verdict } from './condition/kind.ts'
import type { Device } from './device.ts'
import type { EventData } from './event.ts'
import type { Listening } from './listening.ts'
import { eventTypesOf, type Rule } from './rule.ts'
import { isOpen, nextEdgeUs } from './schedule.ts'
import { type Severity, severityAt } from './severity.ts'
import { formatDuration, formatTime } from './time.ts'

export type { Change, ChangeKind } from './change.ts'

/**
 * Times are event time, and inputs of one rule and device come in order (track.ts sees to that): no event is older than an input before
 * it, and two at the same time both count.
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
      /** As below, for a caller that does not step the time before each event. Without it: always. */
      readonly listeningSinceUs?: number
      readonly listening?: Listening | undefined
    }
  | {
      readonly kind: 'time'
      readonly timeUs: number
      /** Since when events of the device would have been received without a break. */
      readonly listeningSinceUs: number
      /** For the moments before `timeUs`, when there were breaks meanwhile. */
      readonly listening?: Listening | undefined
    }

export type EventInput = Extract<StepInput, { kind: 'event' }>

/** Plain JSON, kept per rule and device between steps; a device without one is clear and has not been seen. */
export type RuleState = {
  readonly v: 2
  readonly phase: 'clear' | 'pending' | 'active'
  /** How many episodes there were: each goes from clear over pending or active back to clear. */
  readonly episode: number
  /** Where the ladder stands, when the rule has one. */
  readonly severity?: Severity | undefined
  /** Since when the condition has held in this episode, and since when it is active. */
  readonly sinceUs?: number | undefined
  readonly activeUs?: number | undefined
  /** Active, and the condition has not held since then: `keepActive` is running. */
  readonly clearSinceUs?: number | undefined
  /** What made the condition begin, or in an active alarm stop, to hold. */
  readonly cause?: Cause | undefined
  /** Clear, and the condition holds: because of this it begins as soon as the schedule opens. */
  readonly waiting?: Cause | undefined
  /** The condition's own. */
  readonly memory?: Memory | undefined
  /** When the schedule opens or closes next, if anything hangs on it; by the schedule of which version of the rule. */
  readonly edgeUs?: number | undefined
  readonly edgeOf?: number | undefined
  /** When the next `time` input is wanted: the end of `for`, of `keepActive`, an edge of the schedule, or what the condition waits for. */
  readonly dueUs?: number | undefined
}

export type StepOutcome = {
  /** The object that was passed in (FRESH for none) when there is nothing to save. */
  readonly state: RuleState
  readonly changes: readonly Change[]
  /** Why there was a change, or none. May be put together when it is read: copy it by name, not by spreading. */
  readonly reason: string
}

/** What a verdict does to a state: a change, a timer started (`clearing`) or stopped (`resumed`), a schedule to wait for, or nothing. */
type Turn = 'pending' | 'active' | 'cleared' | 'dropped' | 'clearing' | 'resumed' | 'waiting' | 'none'

/** The state of a device that has none: a step that returns it left nothing to save. */
export const FRESH: RuleState = Object.freeze({
  v: 2,
  phase: 'clear',
  episode: 0,
  severity: undefined,
  sinceUs: undefined,
  activeUs: undefined,
  clearSinceUs: undefined,
  cause: undefined,
  waiting: undefined,
  memory: undefined,
  edgeUs: undefined,
  edgeOf: undefined,
  dueUs: undefined,
})
const NO_CAUSE: Cause = Object.freeze({ value: undefined, limit: undefined, eventId: undefined })
const NO_CHANGES: readonly Change[] = Object.freeze([])
const NEVER = Number.POSITIVE_INFINITY
/** Moments in a row, each at most a microsecond after the one before: no condition has as many. */
const MAX_CRAWLS = 1000

export function step(rule: Rule, state: RuleState | undefined, input: StepInput): StepOutcome {
  const from = state ?? FRESH
  if (input.kind === 'event') return stepEvent(rule, from, input)
  const moved = isAdrift(rule, from) ? passEdge(rule, from, input.timeUs) : undefined
  return stepTime(rule, moved?.state ?? from, input.timeUs, input.listeningSinceUs, input.listening, moved?.changes ?? NO_CHANGES)
}

/**
 * A state that an earlier version of the rule left, for this one: `step` takes it at its word when it is due. The same object when
 * this version waits for the same moment.
 */
export function renewed(rule: Rule, state: RuleState): RuleState {
  return (state.dueUs ?? NEVER) === nextDueUs(rule, state) ? state : noted(rule, state, state.memory)
}

/** What deleting (or disabling) a rule does to one device: an alarm clears, a pending one is dropped. */
export function retire(rule: Rule, state: RuleState | undefined, atUs: number, reason: string): StepOutcome {
  const from = state ?? FRESH
  const to = { ...FRESH, episode: from.episode }
  if (from.phase === 'clear') return { state: to, changes: NO_CHANGES, reason: 'it was clear' }
  return { state: to, changes: [changeOf(rule, from, to, atUs, NO_CAUSE, reason)], reason }
}

function stepEvent(rule: Rule, from: RuleState, event: EventInput): StepOutcome {
  if (!eventTypesOf(rule).includes(event.eventType))
    return { state: from, changes: NO_CHANGES, reason: 'the rule does not read this type of event' }
  const isDue = from.dueUs !== undefined && from.dueUs <= event.timeUs
  if (!isDue && !isAdrift(rule, from)) return judgeEvent(rule, from, event, NO_CHANGES)
  // What was due up to and including this moment has come about before the event.
  const passed = stepTime(rule, from, event.timeUs, event.listeningSinceUs ?? Number.NEGATIVE_INFINITY, event.listening)
  const moved = isAdrift(rule, passed.state) ? passEdge(rule, passed.state, event.timeUs) : undefined
  return judgeEvent(rule, moved?.state ?? passed.state, event, [...passed.changes, ...(moved?.changes ?? NO_CHANGES)])
}

function judgeEvent(rule: Rule, from: RuleState, event: EventInput, earlier: readonly Change[]): StepOutcome {
  const verdict = judge(rule, from, event)
  const turn = turnOf(rule, from, verdict.holds, event.timeUs)
  if (turn === 'none' && rule.ladder.length === 0)
    return new Quiet(rule, verdict.memory === from.memory ? from : noted(rule, from, verdict.memory), earlier, verdict)
  if (turn === 'none') return climb(rule, from, verdict, event, earlier)
  const cause: Cause = { value: verdict.value, limit: verdict.limit, eventId: event.eventId }
  const state = turned(rule, from, turn, event.timeUs, cause, verdict)
  // What resumes may resume on another rung.
  const climbs = turn === 'resumed' && state.severity !== from.severity
  if (isQuiet(turn) && !climbs) return new Quiet(rule, state, earlier, verdict)
  const found = kindOf(rule.when).describe(rule.when, verdict)
  const reason = climbs ? `${found}: ${state.severity}` : found
  return changed(state, [...earlier, changeOf(rule, from, state, event.timeUs, cause, reason)])
}

/** The condition says what it said before, and the ladder may be climbed. */
function climb(rule: Rule, from: RuleState, verdict: Verdict, event: EventInput, earlier: readonly Change[]): StepOutcome {
  const cause: Cause = { value: verdict.value, limit: verdict.limit, eventId: event.eventId }
  const severity = from.phase === 'clear' ? undefined : rungOf(rule, from, verdict, cause)
  const same = severity === from.severity
  const state = same && verdict.memory === from.memory ? from : noted(rule, from, verdict.memory, severity)
  if (same || state.phase !== 'active') return new Quiet(rule, state, earlier, verdict)
  const reason = `${kindOf(rule.when).describe(rule.when, verdict)}: ${severity}`
  return changed(state, [...earlier, changeOf(rule, from, state, event.timeUs, cause, reason)])
}

function changed(state: RuleState, changes: readonly Change[]): StepOutcome {
  return { state, changes, reason: changes.map(change => change.reason).join('; ') }
}

function stepTime(rule: Rule, from: RuleState, untilUs: number, sinceUs: number, heard?: Listening, earlier = NO_CHANGES): StepOutcome {
  const changes: Change[] = [...earlier]
  let state = from
  let found = ''
  let crawls = 0
  for (let dueUs = state.dueUs ?? NEVER; dueUs <= untilUs; ) {
    const outcome = passMoment(rule, state, dueUs, heard === undefined ? sinceUs : heard(dueUs))
    state = outcome.state
    found = outcome.reason
    changes.push(...outcome.changes)
    const nextUs = state.dueUs ?? NEVER
    crawls = nextUs - dueUs > 1 ? 0 : crawls + 1
    if (crawls > MAX_CRAWLS) throw new Error(`rule ${rule.name}: its ${rule.when.kind} is due at ${dueUs} µs again and again`)
    dueUs = nextUs
  }
  if (changes.length > 0) return changed(state, changes)
  return { state, changes, reason: found === '' ? 'nothing is due' : found }
}

/** A duration that ends at a moment is fulfilled, whatever else that moment brings: timers come first. Then the schedule. */
function passMoment(rule: Rule, from: RuleState, atUs: number, listeningSinceUs: number): StepOutcome {
  if (timerUs(rule, from) === atUs) return ring(rule, from, atUs)
  if (edgeUsOf(rule, from) === atUs) return passEdge(rule, from, atUs)
  return judgeTime(rule, from, atUs, listeningSinceUs)
}

/** The end of `for` or of `keepActive`. */
function ring(rule: Rule, from: RuleState, atUs: number): StepOutcome {
  const turn = from.phase === 'pending' ? 'active' : 'cleared'
  const cause = from.cause ?? NO_CAUSE
  const lastedMs = turn === 'active' ? rule.holdMs : rule.keepActiveMs
  const reason = kindOf(rule.when).lasting(rule.when, turn === 'active', cause, formatDuration(lastedMs))
  const state = turned(rule, from, turn, atUs, cause, undefined)
  return changed(state, [changeOf(rule, from, state, atUs, cause, reason)])
}

/** The schedule opens, and what holds begins; or it closes, and what had begun ends; or it was edited, and this is no edge any more. */
function passEdge(rule: Rule, from: RuleState, atUs: number): StepOutcome {
  const open = rule.schedule === undefined || isOpen(rule.schedule, atUs)
  const waits = from.waiting !== undefined
  if (open !== waits) return { state: noted(rule, { ...from, ...edgeAfter(rule, atUs) }, from.memory), changes: NO_CHANGES, reason: '' }
  const turn = waits ? (rule.holdMs === 0 ? 'active' : 'pending') : from.phase === 'active' ? 'cleared' : 'dropped'
  const held = heldBy(from)
  const state = turned(rule, from, turn, atUs, held ?? NO_CAUSE, undefined, waits ? undefined : held)
  const reason = waits ? 'its schedule begins, and the condition holds' : 'its schedule has ended'
  return changed(state, [changeOf(rule, from, state, atUs, held ?? NO_CAUSE, reason)])
}

/** An edit gave, took or changed the schedule while something was under way: the next event, or moment, tells what that means. */
function isAdrift(rule: Rule, { phase, waiting, edgeOf }: RuleState): boolean {
  if (rule.schedule === undefined) return waiting !== undefined
  return edgeOf !== rule.version && (phase !== 'clear' || waiting !== undefined)
}

/** Never again is written down too: in JSON it is the last moment there is. */
function edgeAfter({ schedule, version }: Rule, atUs: number): Pick<RuleState, 'edgeUs' | 'edgeOf'> {
  if (schedule === undefined) return { edgeUs: undefined, edgeOf: undefined }
  return { edgeUs: Math.min(nextEdgeUs(schedule, atUs), Number.MAX_SAFE_INTEGER), edgeOf: version }
}

function judgeTime(rule: Rule, from: RuleState, atUs: number, listeningSinceUs: number): StepOutcome {
  const verdict = judge(rule, from, { kind: 'time', timeUs: atUs, listeningSinceUs })
  const turn = turnOf(rule, from, verdict.holds, atUs)
  const reason = kindOf(rule.when).describe(rule.when, verdict)
  if (turn === 'none') return { state: goingOn(rule, noted(rule, from, verdict.memory), atUs), changes: NO_CHANGES, reason }
  const cause: Cause = { value: verdict.value, limit: verdict.limit, eventId: undefined }
  const state = goingOn(rule, turned(rule, from, turn, atUs, cause, verdict), atUs)
  return { state, changes: isQuiet(turn) ? NO_CHANGES : [changeOf(rule, from, state, atUs, cause, reason)], reason }
}

/** What rounding of parts of a microsecond makes due at the very moment that was judged is asked again a microsecond later. */
function goingOn(rule: Rule, state: RuleState, atUs: number): RuleState {
  if (conditionDueUs(rule, state) > atUs) return state
  return { ...state, dueUs: Math.min(laterThan(atUs), timerUs(rule, state), edgeUsOf(rule, state)) }
}

function laterThan(timeUs: number): number {
  return Math.floor(timeUs) + 1
}

export function judge(rule: Rule, state: RuleState, input: StepInput): Verdict {
  return kindOf(rule.when).judge(rule.when, memoryOf(rule, state), heldBy(state), input)
}

function turnOf(rule: Rule, state: RuleState, verdict: boolean | undefined, atUs: number): Turn {
  if (verdict === undefined || verdict === (heldBy(state) !== undefined)) return 'none'
  if (!verdict) {
    if (state.phase === 'clear') return 'waiting'
    return state.phase === 'pending' ? 'dropped' : rule.keepActiveMs === 0 ? 'cleared' : 'clearing'
  }
  if (state.phase === 'active') return 'resumed'
  if (rule.schedule !== undefined && !isOpen(rule.schedule, atUs)) return 'waiting'
  return rule.holdMs === 0 ? 'active' : 'pending'
}

function isQuiet(turn: Turn): boolean {
  return turn === 'clearing' || turn === 'resumed' || turn === 'waiting'
}

/**
 * @param verdict what the condition said, when it was asked.
 * @param waiting what still makes it hold, when its schedule ended it.
 */
function turned(
  rule: Rule,
  from: RuleState,
  turn: Turn,
  atUs: number,
  cause: Cause,
  verdict: Verdict | undefined,
  waiting?: Cause,
): RuleState {
  const memory = verdict === undefined ? memoryOf(rule, from) : verdict.memory
  if (turn === 'waiting') return atRest(rule, from, from.waiting === undefined ? cause : undefined, memory, atUs)
  if (turn === 'cleared' || turn === 'dropped') return atRest(rule, from, waiting, memory, atUs)
  const begins = from.phase === 'clear'
  const active = turn !== 'pending'
  return noteDue(rule, {
    v: 2,
    phase: active ? 'active' : 'pending',
    episode: from.episode + (begins ? 1 : 0),
    severity: rule.ladder.length === 0 ? undefined : rungOf(rule, from, verdict, cause),
    sinceUs: begins ? atUs : from.sinceUs,
    activeUs: active ? (from.activeUs ?? atUs) : undefined,
    clearSinceUs: turn === 'clearing' ? atUs : undefined,
    cause,
    waiting: undefined,
    memory,
    ...edgeAfter(rule, atUs),
    dueUs: undefined,
  })
}

function atRest(rule: Rule, { episode }: RuleState, waiting: Cause | undefined, memory: Memory | undefined, atUs: number): RuleState {
  return noteDue(rule, { ...FRESH, episode, waiting, memory, ...(waiting === undefined ? undefined : edgeAfter(rule, atUs)) })
}

/** The state after a verdict that turned nothing. Spelt out, not spread: several times as fast, and often run. */
function noted(rule: Rule, from: RuleState, memory: Memory | undefined, severity: Severity | undefined = from.severity): RuleState {
  return noteDue(rule, {
    v: 2,
    phase: from.phase,
    episode: from.episode,
    severity,
    sinceUs: from.sinceUs,
    activeUs: from.activeUs,
    clearSinceUs: from.clearSinceUs,
    cause: from.cause,
    waiting: from.waiting,
    memory,
    edgeUs: from.edgeUs,
    edgeOf: from.edgeOf,
    dueUs: undefined,
  })
}

/** Of a state that was just made here and nobody has seen yet. */
function noteDue(rule: Rule, made: { -readonly [key in keyof RuleState]: RuleState[key] }): RuleState {
  const dueUs = nextDueUs(rule, made)
  if (dueUs !== NEVER) made.dueUs = dueUs
  return made
}

function holds(state: RuleState): boolean {
  return state.phase === 'pending' || (state.phase === 'active' && state.clearSinceUs === undefined)
}

/** What makes the condition hold now, whether its schedule lets it count or not. */
export function heldBy(state: RuleState): Cause | undefined {
  return holds(state) ? (state.cause ?? NO_CAUSE) : state.waiting
}

/** The rung for what makes it hold; a value that does not hold, or is no number, leaves it where it stands. */
function rungOf(rule: Rule, from: RuleState, verdict: Verdict | undefined, cause: Cause): Severity | undefined {
  const value = verdict === undefined ? cause.value : verdict.value
  const stays = from.severity !== undefined && (verdict === undefined || verdict.holds === false || typeof value !== 'number')
  if (stays) return from.severity
  return severityAt(rule.ladder, kindOf(rule.when).worse(rule.when), value, from.severity)
}

/** What the condition of another kind remembered, before the rule was edited, is nothing to this one. */
export function memoryOf(rule: Rule, state: RuleState): Memory | undefined {
  return state.memory?.kind === rule.when.kind ? state.memory : undefined
}

export function timerUs(rule: Rule, { phase, sinceUs, clearSinceUs }: RuleState): number {
  if (phase === 'pending') return (sinceUs ?? 0) + rule.holdMs * 1000
  return clearSinceUs === undefined ? NEVER : clearSinceUs + rule.keepActiveMs * 1000
}

function nextDueUs(rule: Rule, state: RuleState): number {
  return Math.min(timerUs(rule, state), edgeUsOf(rule, state), conditionDueUs(rule, state))
}

function conditionDueUs(rule: Rule, state: RuleState): number {
  return kindOf(rule.when).dueUs(rule.when, memoryOf(rule, state), heldBy(state) !== undefined)
}

function edgeUsOf({ schedule, version }: Rule, { edgeUs, edgeOf }: RuleState): number {
  return schedule === undefined || edgeOf !== version ? NEVER : (edgeUs ?? NEVER)
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
    const { phase, clearSinceUs, waiting } = this.state
    const endUs = timerUs(this.rule, this.state)
    const running =
      clearSinceUs !== undefined ? `, clears at ${formatTime(endUs)}` : phase === 'pending' ? `, active at ${formatTime(endUs)}` : ''
    const closed = waiting === undefined ? '' : ', outside its schedule'
    const found = kindOf(this.rule.when).describe(this.rule.when, this.verdict)
    return [...this.changes.map(change => change.reason), `${found}${running}${closed}`].join('; ')
  }
}
