// Which dead-band and hold time would have cut the flapping of a rule, and what that would have cost in time to detect.
import type { Episode, Findings } from './backtest.ts'
import { parseRule, type Rule, ruleToJson } from './rule.ts'
import { counted, durationWords, formatDuration } from './time.ts'

export type Candidate = { readonly rule: Rule; readonly deadBand: number | undefined }

export type Figures = {
  readonly alarms: number
  readonly alarmsPerWeek: number
  /** Alarms that came within FLAP_US after the last one of the same device. */
  readonly flaps: number
  readonly minutesInAlarm: number
  /** Of these, those that are more than all incidents of the present rule take, with the time between their alarms. */
  readonly extraMinutes: number
  /** Of the present rule's incidents: how much later these were found, and how many not at all. */
  readonly addedDelayMedianMs: number
  readonly addedDelayMaxMs: number
  readonly missed: number
  readonly longestMissedMinutes: number
  /**
   * Less is better: share of the flaps that is left + share of the incidents that is missed + median added delay in hours + minutes in alarm
   * outside of the incidents, as a share of theirs. Without the last, the best dead-band would be one that never clears.
   */
  readonly score: number
}

/** Alarms of one device that follow each other this closely are one incident. */
export const FLAP_US = 3_600_000_000
const WEEK_US = 7 * 86_400_000_000
const HOUR_MS = 3_600_000
const MINUTE_US = 60_000_000
const BANDS = [1, 2, 3, 5, 8]
const HOLDS_MS = [60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000]
/** From the median of absolute differences of neighbours to their standard deviation, if they are normal. */
const MAD = 1.4826

/** How much a value moves from one reading of a device to the next. */
export function noiseOf(differences: Float64Array): number {
  if (differences.length === 0) return 0
  const sorted = differences.toSorted()
  return (sorted[sorted.length >> 1] ?? 0) * MAD
}

/** The rule as it is first, then every pair of a dead-band and a hold time that makes a valid rule. */
export function candidatesOf(rule: Rule, noise: number): Candidate[] {
  const holds = [rule.holdMs, ...HOLDS_MS.filter(ms => ms > rule.holdMs)]
  const bands = [undefined, ...(noise > 0 ? BANDS.map(times => Number((noise * times).toPrecision(2))) : [])]
  const found: Candidate[] = []
  for (const deadBand of bands)
    for (const holdMs of holds) {
      const changed = deadBand === undefined ? rule : widened(rule, deadBand)
      if (changed) found.push({ rule: { ...changed, holdMs }, deadBand })
    }
  return found
}

/** Undefined: it would be no wider than it is, or no valid rule (both levels would meet). */
function widened(rule: Rule, band: number): Rule | undefined {
  const { when } = rule
  if (when.kind !== 'threshold') return undefined
  const { above, below, clearBelow = above, clearAbove = below } = when
  const levels = {
    clearBelow: above === undefined ? undefined : rounded(above - band),
    clearAbove: below === undefined ? undefined : rounded(below + band),
  }
  const wider =
    (above !== undefined && Number(levels.clearBelow) < Number(clearBelow)) ||
    (below !== undefined && Number(levels.clearAbove) > Number(clearAbove))
  if (!wider) return undefined
  if (
    above !== undefined &&
    below !== undefined &&
    (Number(levels.clearBelow) <= below || Number(levels.clearAbove) >= Number(levels.clearBelow))
  )
    return undefined
  const document = ruleToJson(rule)
  const { threshold } = document['when'] as { threshold: object }
  return parseRule({ ...document, when: { threshold: { ...threshold, ...levels } } })
}

function rounded(level: number): number {
  return Number(level.toPrecision(12))
}

/** Both findings are of the same events. */
export function figuresOf(present: Findings, candidate: Findings): Figures {
  const incidents = incidentsOf(present.episodes)
  const byDevice = new Map<string, { readonly episodes: Episode[]; at: number }>()
  for (const one of candidate.episodes) {
    const known = byDevice.get(one.device)
    if (known) known.episodes.push(one)
    else byDevice.set(one.device, { episodes: [one], at: 0 })
  }
  const delays: number[] = []
  let missed = 0
  let longestMissedUs = 0
  for (const { device, fromUs, toUs } of incidents) {
    const end = toUs ?? present.range.toUs
    const first = firstSince(byDevice.get(device), fromUs)
    if (first && first.activeUs <= end) delays.push(Math.max(0, first.activeUs - fromUs) / 1000)
    else {
      missed++
      longestMissedUs = Math.max(longestMissedUs, end - fromUs)
    }
  }
  delays.sort((a, b) => a - b)
  const median = delays[delays.length >> 1] ?? 0
  const flaps = flapsOf(candidate.episodes)
  const before = flapsOf(present.episodes)
  const incidentMinutes = incidents.reduce((sum, { fromUs, toUs = present.range.toUs }) => sum + (toUs - fromUs) / MINUTE_US, 0)
  const extraMinutes = Math.max(0, candidate.minutesInAlarm - incidentMinutes)
  return {
    alarms: candidate.alarms,
    alarmsPerWeek: (candidate.alarms * WEEK_US) / (candidate.range.toUs - candidate.range.fromUs),
    flaps,
    minutesInAlarm: candidate.minutesInAlarm,
    extraMinutes,
    addedDelayMedianMs: median,
    addedDelayMaxMs: delays.at(-1) ?? 0,
    missed,
    longestMissedMinutes: longestMissedUs / MINUTE_US,
    score:
      (before === 0 ? 0 : flaps / before) +
      (incidents.length === 0 ? 0 : missed / incidents.length) +
      median / HOUR_MS +
      (incidentMinutes === 0 ? 0 : extraMinutes / incidentMinutes),
  }
}

/** The first that had not cleared by then. Both episodes and questions come in order of time, so those before are never looked at again. */
function firstSince(of: { readonly episodes: readonly Episode[]; at: number } | undefined, fromUs: number): Episode | undefined {
  if (of === undefined) return undefined
  while ((of.episodes[of.at]?.clearedUs ?? Number.POSITIVE_INFINITY) < fromUs) of.at++
  return of.episodes[of.at]
}

function flapsOf(episodes: readonly Episode[]): number {
  return episodes.length - incidentsOf(episodes).length
}

type Incident = { readonly device: string; readonly fromUs: number; toUs: number | undefined }

function incidentsOf(episodes: readonly Episode[]): Incident[] {
  const incidents: Incident[] = []
  const last = new Map<string, Incident>()
  for (const { device, activeUs, clearedUs } of episodes) {
    const before = last.get(device)
    if (before?.toUs !== undefined && activeUs - before.toUs <= FLAP_US) before.toUs = clearedUs
    else {
      const incident = { device, fromUs: activeUs, toUs: clearedUs }
      incidents.push(incident)
      last.set(device, incident)
    }
  }
  return incidents
}

/** Best first: those that cut the flapping, each with what it is in words. */
export function ranked(present: Figures, all: readonly (Candidate & { readonly figures: Figures })[], most: number) {
  return all
    .filter(({ figures }) => figures.flaps < present.flaps && !all.some(other => isWorse(figures, other.figures)))
    .toSorted((a, b) => a.figures.score - b.figures.score || a.figures.addedDelayMaxMs - b.figures.addedDelayMaxMs)
    .slice(0, most)
    .map(({ rule, deadBand, figures }) => ({ rule, figures, words: wordsOf(rule, deadBand, figures, present) }))
}

/** In nothing better, and in something worse. */
function isWorse(one: Figures, other: Figures): boolean {
  const pairs = (['flaps', 'missed', 'addedDelayMedianMs', 'addedDelayMaxMs', 'extraMinutes'] as const).map(
    key => [one[key], other[key]] as const,
  )
  return pairs.every(([a, b]) => a >= b) && pairs.some(([a, b]) => a > b)
}

function wordsOf(rule: Rule, deadBand: number | undefined, figures: Figures, present: Figures): string {
  const band = deadBand === undefined ? 'the dead-band as it is' : `a dead-band of ${deadBand}`
  const cost = `found ${durationWords(figures.addedDelayMedianMs)} later (at most ${durationWords(figures.addedDelayMaxMs)})`
  const missed = figures.missed === 0 ? '' : `, ${figures.missed} of them not at all`
  const minutes = `${counted(Math.round(figures.minutesInAlarm), 'minute')} in alarm instead of ${Math.round(present.minutesInAlarm)}`
  return `${band} and for: ${formatDuration(rule.holdMs)}: ${counted(figures.flaps, 'flap')} instead of ${present.flaps}, ${minutes}, ${cost}${missed}`
}
