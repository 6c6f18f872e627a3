// A rule on a device through time: events may come late, twice or in any order, and the alarms are those of the right order.
// What happened lately is judged at once and may be taken back: the state before it is kept (`settled`) together with the events
// since (recent.ts), and a late event makes them be judged again, in order. What then differs is told as corrections.

import type { Device } from './device.ts'
import type { Listening } from './listening.ts'
import { type Arrival, compareEvents, type Recent, type RecentEvent } from './recent.ts'
import type { Rule } from './rule.ts'
import { type Change, type EventInput, FRESH, type RuleState, renewed, type StepOutcome, step } from './step.ts'
import { formatTime } from './time.ts'
import { isSameState, standing, type TrackRow } from './trackrow.ts'

/** What people were told of one episode. */
export type Episode = Pick<Change, 'episode' | 'severity' | 'sinceUs' | 'activeUs' | 'clearedUs'>

export type Track = {
  /** After all events before `settledUs`: none of those is judged any more. */
  readonly settled: RuleState
  readonly settledUs: number
  /** Of the events at that very moment those up to this id are settled too; undefined: none. */
  readonly settledId?: string | undefined
  /** After all events, and the time up to `clockUs`. */
  readonly current: RuleState
  /** The moment to which the passing of time alone has brought it, and since when was listened for that. */
  readonly clockUs: number
  readonly listeningSinceUs: number
  /** Those that were under way or began since `settled`, by number. */
  readonly episodes: readonly Episode[]
  /** Events beyond the allowed lateness, in a run of their own, when the rule amends. */
  readonly past?: Past | undefined
}

/** What an event that is judged again finds around it. */
export type Around = {
  readonly device: Device
  /** Of the moments before an event that the log has as this entry; undefined: what the event itself says counts for all. */
  readonly heard?: ((event: Pick<RecentEvent, 'timeUs' | 'entryId'>) => Listening) | undefined
}

export type Past = { readonly state: RuleState; readonly newestUs: number }

export type Followed = { readonly track: Track; readonly changes: readonly Change[]; readonly reason: string }

const NEVER = Number.NEGATIVE_INFINITY
export const NEW: Track = Object.freeze({
  settled: FRESH,
  settledUs: NEVER,
  current: FRESH,
  clockUs: NEVER,
  listeningSinceUs: NEVER,
  episodes: Object.freeze([]),
})
const NO_CHANGES: readonly Change[] = Object.freeze([])

/** An event as it came, and what that means for its kind (`Recent.arrive`). `recents`: of every type that the rule reads. */
export function followEvent(
  rule: Rule,
  track: Track,
  event: EventInput,
  arrival: Arrival,
  recents: readonly Recent[],
  around: Around = event,
): Followed {
  if (arrival === 'newest' && event.timeUs >= track.clockUs && isOpen(track, event) && isNewest(event, recents))
    return stepped(track.past === undefined ? track : { ...track, past: undefined }, step(rule, track.current, event))
  if (arrival === 'again') return { track, changes: NO_CHANGES, reason: 'this event has been judged already' }
  if (arrival === 'beyond' || !isOpen(track, event)) return followPast(rule, track, event)
  return corrected(rule, track, event, recents, around)
}

/** The passing of time alone. */
export function followTime(rule: Rule, track: Track, timeUs: number, listeningSinceUs: number, listening?: Listening): Followed {
  const { track: moved, changes, reason } = stepped(track, step(rule, track.current, { kind: 'time', timeUs, listeningSinceUs, listening }))
  if (moved === track) return { track, changes, reason }
  return { track: { ...moved, clockUs: Math.max(timeUs, track.clockUs), listeningSinceUs }, changes, reason }
}

/** Lets what came before a moment be final. The very same track when that changes nothing worth keeping. */
export function settle(rule: Rule, track: Track, recents: readonly Recent[], beforeUs: number, around: Around): Track {
  if (beforeUs <= track.settledUs || isSameState(track.settled, track.current)) return track
  let state = track.settled
  for (const event of eventsSince(track, recents)) if (event.timeUs < beforeUs) state = step(rule, state, inputOf(event, around)).state
  // A timer that ended before this moment has not ended in the settled state: replayed, the episode is found again, and must be known then.
  const over = state.phase === 'clear' ? state.episode : state.episode - 1
  const open = track.episodes.filter(({ episode }) => episode > over)
  return {
    ...track,
    settled: state,
    // More events of the last moment may come (Recent.drop).
    settledUs: Math.floor(beforeUs),
    settledId: undefined,
    episodes: open.length === track.episodes.length ? track.episodes : open,
  }
}

/** Lets everything be final: the device was relabelled, and what came before was judged as it was then. */
export function settleAll(rule: Rule, track: Track, recents: readonly Recent[]): Track {
  const settledUs = Math.max(track.settledUs, ...recents.map(({ newestUs }) => newestUs))
  const current = renewed(rule, track.current)
  return { ...track, settled: current, settledUs, settledId: undefined, current, episodes: openOf(rule, current) }
}

/**
 * As it was written (`trackToJson`), with the events since. What people were told stands: only what the condition remembers is made again
 * of the events. Foreign ones were judged by an earlier version of the rule, or by none: what that came to is final, and what the
 * condition remembers of them is made by the new version.
 */
export function restore(
  rule: Rule,
  row: TrackRow | undefined,
  recents: readonly Recent[],
  around: Around,
  isForeign: (event: RecentEvent) => boolean,
): Track {
  if (row === undefined && recents.every(({ events }) => events.length === 0)) return NEW
  const { k: clockUs = NEVER, l: listeningSinceUs = NEVER, p: past, u: settledUs = NEVER, i: settledId } = row ?? {}
  const foreign = recents
    .flatMap(({ events }) => events.filter(isForeign))
    .toSorted(compareEvents)
    .at(-1)
  const before: Settled = { settledUs, settledId }
  const since = foreign === undefined || !isOpen(before, foreign) ? before : { settledUs: foreign.timeUs, settledId: foreign.eventId }
  const kept = { ...since, clockUs, listeningSinceUs, past }
  const isEdited = row !== undefined && row.r !== rule.version
  if (!isEdited && row !== undefined) {
    const track: Track = { ...kept, settled: row.s ?? FRESH, current: FRESH, episodes: row.e ?? [] }
    return { ...track, current: standingAs(rule, standing(row), replay(rule, track, recents, around).state) }
  }
  // Of a rule that is new to the device, nothing; of an edited one, where it stood, with the memory of all events there are.
  const seen: Track = { ...NEW, settled: row?.s ?? FRESH, ...before }
  const remembered = row === undefined ? FRESH : replay(rule, seen, recents, around, isForeign).state
  const settled = row === undefined ? FRESH : renewed(rule, { ...FRESH, ...standing(row), memory: remembered.memory })
  const track: Track = { ...kept, clockUs: isEdited ? NEVER : clockUs, settled, current: settled, episodes: openOf(rule, settled) }
  return { ...track, current: standingAs(rule, settled, replay(rule, track, recents, around).state) }
}

/** What was told, with what the condition remembers by now. */
function standingAs(rule: Rule, told: RuleState, found: RuleState): RuleState {
  const same = told.phase === found.phase && told.episode === found.episode && told.clearSinceUs === found.clearSinceUs
  return same && told.waiting === undefined && found.waiting === undefined ? found : renewed(rule, { ...told, memory: found.memory })
}

function stepped(track: Track, outcome: StepOutcome): Followed {
  const { state, changes } = outcome
  if (state === track.current) return new Stepped(track, outcome)
  const { settled, settledUs, settledId, clockUs, listeningSinceUs, past } = track
  const episodes = changes.length === 0 ? track.episodes : toldAfter(track.episodes, changes)
  return new Stepped({ settled, settledUs, settledId, current: state, clockUs, listeningSinceUs, episodes, past }, outcome)
}

/** By far the most frequent: the reason costs only whoever asks. */
class Stepped implements Followed {
  readonly track: Track
  private readonly outcome: StepOutcome

  constructor(track: Track, outcome: StepOutcome) {
    this.track = track
    this.outcome = outcome
  }

  get changes(): readonly Change[] {
    return this.outcome.changes
  }

  get reason(): string {
    return this.outcome.reason
  }
}

/** All that is not settled, judged again in order with the late event among it. */
function corrected(rule: Rule, track: Track, event: EventInput, recents: readonly Recent[], around: Around): Followed {
  const { state, changes, reason } = replay(rule, track, recents, around, undefined, event)
  const episodes = toldAfter(openOf(rule, track.settled), changes)
  return {
    track: { ...track, current: state, episodes },
    changes: corrections(track.episodes, episodes, changes, event),
    reason: `late, put in order: ${reason}`,
  }
}

/** All that is not settled, in order. The reason is that of the event that is asked about. */
function replay(
  rule: Rule,
  track: Track,
  recents: readonly Recent[],
  around: Around,
  counts: (event: RecentEvent) => boolean = always,
  asked?: EventInput,
): StepOutcome {
  const changes: Change[] = []
  const events = eventsSince(track, recents).filter(counts)
  if (events.length === 0 && track.clockUs === NEVER) return { state: track.settled, changes, reason: '' }
  let state = track.settled
  let reason = ''
  for (const event of events) {
    const outcome = step(rule, state, inputOf(event, around))
    state = outcome.state
    changes.push(...outcome.changes)
    if (event.eventId === asked?.eventId && event.timeUs === asked.timeUs) reason = outcome.reason
  }
  if (track.clockUs === NEVER) return { state, changes, reason }
  const newest = recents
    .flatMap(({ events }) => events.slice(-1))
    .toSorted(compareEvents)
    .at(-1)
  const listening = newest && around.heard?.(newest)
  const passed = step(rule, state, { kind: 'time', timeUs: track.clockUs, listeningSinceUs: track.listeningSinceUs, listening })
  return { state: passed.state, changes: [...changes, ...passed.changes], reason }
}

function always(): boolean {
  return true
}

function inputOf(event: RecentEvent, { device, heard }: Around): EventInput {
  const { eventType, timeUs, eventId, data, listeningSinceUs } = event
  return { kind: 'event', device, eventType, timeUs, eventId, data, listeningSinceUs, listening: heard?.(event) }
}

type Settled = Pick<Track, 'settledUs' | 'settledId'>

/** Those that the rule reads and that are not settled, in order. */
function eventsSince(settled: Settled, recents: readonly Recent[]): RecentEvent[] {
  const events = recents.flatMap(recent => recent.events)
  return (recents.length > 1 ? events.sort(compareEvents) : events).filter(event => isOpen(settled, event))
}

function isOpen({ settledUs, settledId = '' }: Settled, { timeUs, eventId }: Pick<RecentEvent, 'timeUs' | 'eventId'>): boolean {
  return timeUs > settledUs || (timeUs === settledUs && eventId > settledId)
}

function isNewest(event: EventInput, recents: readonly Recent[]): boolean {
  if (recents.length === 1) return true
  return recents.every(({ events }) => {
    const last = events.at(-1)
    return last === undefined || compareEvents(last, event) <= 0
  })
}

/** The episode that is under way in a state. */
function openOf(rule: Rule, { phase, episode, severity = rule.severity, sinceUs = 0, activeUs }: RuleState): readonly Episode[] {
  return phase === 'clear' ? [] : [{ episode, severity, sinceUs, activeUs, clearedUs: undefined }]
}

function toldAfter(told: readonly Episode[], changes: readonly Change[]): readonly Episode[] {
  const byNumber = new Map(told.map(one => [one.episode, one]))
  for (const { episode, severity, sinceUs, activeUs, clearedUs } of changes)
    byNumber.set(episode, { episode, severity, sinceUs, activeUs, clearedUs })
  return [...byNumber.values()]
}

/** What people must be told so that they know the episodes as they are, from what they know. What never was is taken back first. */
function corrections(told: readonly Episode[], right: readonly Episode[], changes: readonly Change[], late: EventInput): readonly Change[] {
  const numbers = [...new Set([...told, ...right].map(({ episode }) => episode))].sort((a, b) => a - b)
  const isRight = (number: number) => right.some(({ episode }) => episode === number)
  return [...numbers.filter(number => !isRight(number)).reverse(), ...numbers.filter(isRight)].flatMap(number => {
    const is = ({ episode }: { readonly episode: number }) => episode === number
    const after = changes.filter(is).map(change => ({ ...change, late: true }))
    return correction(told.find(is), right.find(is), after, late)
  })
}

function correction(
  before: Episode | undefined,
  after: Episode | undefined,
  changes: readonly Change[],
  late: EventInput,
): readonly Change[] {
  if (before === undefined) return changes
  // Of what was only ever pending, and is known to be over, nothing is left to take back.
  if (after === undefined) return before.activeUs === undefined && before.clearedUs !== undefined ? NO_CHANGES : [takenBack(before, late)]
  if (isSame(before, after)) return []
  // It may still be pending.
  if (before.activeUs !== undefined && after.activeUs === undefined)
    return [takenBack(before, late), ...(after.clearedUs === undefined ? changes : [])]
  if (before.activeUs === undefined && after.activeUs !== undefined) return changes.filter(({ kind }) => kind !== 'pending')
  const because = becauseOf(late)
  const last = changes.at(-1)
  const sameEnd = (before.clearedUs === undefined) === (after.clearedUs === undefined) && before.severity === after.severity
  if (last !== undefined && !sameEnd) return [{ ...last, reason: `${because}: ${last.reason}` }]
  const facts = last ?? { atUs: late.timeUs, value: undefined, limit: undefined, eventId: late.eventId }
  return [{ ...facts, ...after, kind: 'amended', reason: `${because}: it was ${spanOf(after)}`, late: true }]
}

function takenBack(before: Episode, late: EventInput): Change {
  const was = before.activeUs === undefined ? 'pending' : 'active'
  const reason = `${becauseOf(late)}: it was not ${was}`
  const at = { atUs: late.timeUs, clearedUs: before.clearedUs ?? late.timeUs, eventId: late.eventId }
  return { ...before, ...at, kind: was === 'pending' ? 'dropped' : 'withdrawn', value: undefined, limit: undefined, reason, late: true }
}

function becauseOf({ timeUs }: EventInput): string {
  return `an event of ${formatTime(timeUs)} came late`
}

function isSame(a: Episode, b: Episode): boolean {
  return a.sinceUs === b.sinceUs && a.activeUs === b.activeUs && a.clearedUs === b.clearedUs && a.severity === b.severity
}

function spanOf({ sinceUs, activeUs, clearedUs }: Episode): string {
  const from = formatTime(activeUs ?? sinceUs)
  return `${activeUs === undefined ? 'pending' : 'active'} from ${from}${clearedUs === undefined ? '' : ` to ${formatTime(clearedUs)}`}`
}

/** Beyond the allowed lateness: left alone, or judged in a run of its own, which ends with the next event that is not late. */
function followPast(rule: Rule, track: Track, event: EventInput): Followed {
  const newest = `older than late events may be, it was of ${formatTime(event.timeUs)}`
  if (rule.late === 'ignore') return { track, changes: NO_CHANGES, reason: `${newest}: ignored` }
  const before = track.past !== undefined && track.past.newestUs <= event.timeUs ? track.past.state : FRESH
  const { state, changes, reason } = step(rule, renewed(rule, before), event)
  return {
    track: { ...track, past: { state, newestUs: event.timeUs } },
    changes: changes.flatMap(amendment),
    reason: `${newest}: ${reason}`,
  }
}

/** Only what was active counts, as an episode of the past (0): what is under way stays as it is. */
function amendment(change: Change): readonly Change[] {
  if (change.activeUs === undefined || (change.kind !== 'active' && change.kind !== 'cleared')) return []
  const reason = `found late: ${change.reason}`
  return [{ ...change, kind: 'amended', episode: 0, clearedUs: change.clearedUs ?? change.atUs, reason, late: true }]
}
