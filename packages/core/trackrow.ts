// A track as it is written, and what earlier versions of it come to.
import type { Rule } from './rule.ts'
import { FRESH, type RuleState } from './step.ts'
import type { Episode, Past, Track } from './track.ts'

/** What has its first value is left out. */
export type TrackRow = {
  readonly v: 2
  /** Version of the rule; 0: one that is not known any more. */
  readonly r: number
  /** The settled state, and since when events count. */
  readonly s?: RuleState | undefined
  readonly u?: number | undefined
  readonly i?: string | undefined
  /** The current state, where it is another one: what an edit goes on from. */
  readonly c?: RuleState | undefined
  /** Clock, and since when was listened. */
  readonly k?: number | undefined
  readonly l?: number | undefined
  /** Episodes. */
  readonly e?: readonly Episode[] | undefined
  /** Of events beyond the allowed lateness. */
  readonly p?: Past | undefined
}

/** Before late events were ordered in, the state alone was written. */
type FirstRow = {
  readonly v: 1
  readonly phase: RuleState['phase']
  readonly seenUs?: number
  readonly sinceUs?: number
  readonly clearSinceUs?: number
  readonly cause?: RuleState['cause']
  readonly memory?: RuleState['memory']
  readonly dueUs?: number
}

export function trackToJson(
  rule: Rule,
  { settled, settledUs, settledId, current, clockUs, listeningSinceUs, episodes, past }: Track,
): TrackRow {
  const known = (timeUs: number) => (Number.isFinite(timeUs) ? timeUs : undefined)
  return {
    v: 2,
    r: rule.version,
    s: settled === FRESH ? undefined : settled,
    u: known(settledUs),
    i: settledId,
    c: isSameState(current, settled) ? undefined : current,
    k: known(clockUs),
    l: known(listeningSinceUs),
    e: episodes.length === 0 ? undefined : episodes,
    p: past,
  }
}

export function parseTrackRow(text: string): TrackRow {
  const row = JSON.parse(text) as TrackRow | FirstRow
  if (row.v === 2) return row
  const { phase, seenUs, sinceUs = seenUs, clearSinceUs, cause, memory, dueUs } = row
  const began = phase === 'clear' ? {} : { sinceUs, activeUs: phase === 'active' ? sinceUs : undefined }
  const state: RuleState = { ...FRESH, phase, episode: phase === 'clear' ? 0 : 1, ...began, clearSinceUs, cause, memory, dueUs }
  return { v: 2, r: 0, s: state, u: seenUs }
}

/** Where a track stood when it was written, but for what the condition has remembered since. */
export function standing({ c, s }: TrackRow): RuleState {
  return c ?? s ?? FRESH
}

/** Not only the same object: which ones those are hangs on when the worker was started. */
export function isSameState(a: RuleState, b: RuleState): boolean {
  return a === b || (a.phase === b.phase && a.episode === b.episode && JSON.stringify(a) === JSON.stringify(b))
}
