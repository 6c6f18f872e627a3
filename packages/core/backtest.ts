// A rule over stored history: every event of every device through the engine, and what would have come of it. Nothing here decides
// anything about a rule; it only counts what `step` says.
import type { Device } from './device.ts'
import type { EventData } from './event.ts'
import type { Rule, Severity } from './rule.ts'
import { type Change, FRESH, type RuleState, step } from './step.ts'
import { formatTime } from './time.ts'

/** One time that an alarm was active. */
export type Episode = {
  /** Id of the device, or `key=value,…` of the group. */
  readonly device: string
  /** The gravest that it had. */
  readonly severity: Severity
  /** When the condition began to hold, when the alarm became active, when it cleared (undefined: it is active at the end). */
  readonly sinceUs: number
  readonly activeUs: number
  readonly clearedUs: number | undefined
  readonly value: number | string | undefined
  readonly limit: number | undefined
  readonly reason: string
}

export type Range = { readonly fromUs: number; readonly toUs: number }
export type Day = { alarms: number; minutesInAlarm: number; notifications: number }
export type DeviceFigures = { readonly device: string; readonly alarms: number; readonly minutesInAlarm: number }

export type Findings = {
  readonly rule: Rule
  readonly range: Range
  readonly events: number
  readonly devices: number
  readonly alarms: number
  /** Began to hold, and stopped before `for` was over. */
  readonly dropped: number
  readonly activeAtEnd: number
  readonly minutesInAlarm: number
  /** Changes that people would have been told of, once per channel; before silences, snoozes and inhibition. */
  readonly notifications: number
  /** By day of UTC, those on which something happened. */
  readonly days: ReadonlyMap<string, Day>
  /** Those with most alarms first. */
  readonly worst: readonly DeviceFigures[]
  /** In order of time, at most MAX_EPISODES. */
  readonly episodes: readonly Episode[]
  /** There were more episodes than are kept: figures are of all, the list is not. */
  readonly truncated: boolean
}

export const MAX_EPISODES = 100_000
const MOST_DAYS = 4000
const WORST = 20
const DAY_US = 86_400_000_000
const MINUTE_US = 60_000_000
/** Of the kinds of changes, those that people are told of. */
const TOLD: ReadonlySet<string> = new Set(['active', 'escalated', 'deescalated', 'cleared'])

type Run = { readonly device: Device; readonly key: string; state: RuleState; open: Episode | undefined }

export class Backtest {
  readonly #rule: Rule
  readonly #range: Range
  readonly #runs = new Map<string, Run>()
  readonly #episodes: Episode[] = []
  readonly #days = new Map<string, Day>()
  readonly #figures = new Map<string, { alarms: number; us: number }>()
  #events = 0
  #alarms = 0
  #dropped = 0
  #told = 0
  #truncated = false

  constructor(rule: Rule, range: Range) {
    this.#rule = rule
    this.#range = range
  }

  /** Events of one device come in order of time; those of several in any. */
  take(device: Device, eventType: string, timeUs: number, eventId: string, data: EventData): void {
    this.#events++
    const run = this.#runOf(device)
    const { state, changes } = step(this.#rule, run.state, { kind: 'event', device, eventType, data, timeUs, eventId })
    run.state = state
    if (changes.length > 0) this.#note(run, changes)
  }

  #runOf(device: Device): Run {
    const known = this.#runs.get(device.id)
    if (known) return known
    const run: Run = { device, key: groupKey(this.#rule, device), state: FRESH, open: undefined }
    this.#runs.set(device.id, run)
    return run
  }

  #note(run: Run, changes: readonly Change[]): void {
    for (const change of changes) {
      if (TOLD.has(change.kind)) this.#tell(change)
      if (change.kind === 'active') run.open = begun(run.key, change)
      else if (change.kind === 'escalated' && run.open) run.open = { ...run.open, severity: change.severity }
      else if (change.kind === 'cleared' && run.open) this.#end(run, run.open, change.atUs)
      else if (change.kind === 'dropped') this.#dropped++
    }
  }

  #tell(change: Change): void {
    this.#told++
    const day = this.#day(change.atUs)
    if (day) day.notifications += this.#rule.notify.length
  }

  #end(run: Run, open: Episode, clearedUs: number | undefined): void {
    run.open = undefined
    if (this.#episodes.length < MAX_EPISODES) this.#episodes.push({ ...open, clearedUs })
    else this.#truncated = true
    if (this.#rule.groupBy.length === 0) this.#count(open, clearedUs)
  }

  #count({ device, activeUs }: Episode, clearedUs: number | undefined): void {
    const endUs = Math.min(clearedUs ?? this.#range.toUs, this.#range.toUs)
    this.#alarms++
    const figures = this.#figures.get(device) ?? { alarms: 0, us: 0 }
    this.#figures.set(device, figures)
    figures.alarms++
    figures.us += endUs - activeUs
    const first = this.#day(activeUs)
    if (first) first.alarms++
    for (let fromUs = activeUs; fromUs < endUs; ) {
      const untilUs = Math.min(endUs, (Math.floor(fromUs / DAY_US) + 1) * DAY_US)
      const day = this.#day(fromUs)
      if (day === undefined) return
      day.minutesInAlarm += (untilUs - fromUs) / MINUTE_US
      fromUs = untilUs
    }
  }

  #day(timeUs: number): Day | undefined {
    const name = formatTime(timeUs).slice(0, 10)
    const known = this.#days.get(name)
    if (known || this.#days.size >= MOST_DAYS) return known
    const day = { alarms: 0, minutesInAlarm: 0, notifications: 0 }
    this.#days.set(name, day)
    return day
  }

  /** Time goes on to the end of the range; nothing can be taken afterwards. */
  finish(): Findings {
    const { toUs, fromUs } = this.#range
    let activeAtEnd = 0
    for (const run of this.#runs.values()) {
      const due = run.state.dueUs !== undefined && run.state.dueUs < toUs
      if (due) this.#note(run, step(this.#rule, run.state, { kind: 'time', timeUs: toUs - 1, listeningSinceUs: fromUs }).changes)
      if (run.open === undefined) continue
      activeAtEnd++
      this.#end(run, run.open, undefined)
    }
    const grouped = this.#rule.groupBy.length > 0
    const episodes = (grouped ? mergeEpisodes(this.#episodes) : this.#episodes).toSorted((a, b) => a.activeUs - b.activeUs)
    if (grouped) for (const episode of episodes) this.#count(episode, episode.clearedUs)
    const figures = [...this.#figures].map(([device, { alarms, us }]) => ({ device, alarms, minutesInAlarm: us / MINUTE_US }))
    return {
      rule: this.#rule,
      range: this.#range,
      events: this.#events,
      devices: this.#runs.size,
      alarms: this.#alarms,
      dropped: this.#dropped,
      activeAtEnd: grouped ? episodes.filter(({ clearedUs }) => clearedUs === undefined).length : activeAtEnd,
      minutesInAlarm: figures.reduce((sum, { minutesInAlarm }) => sum + minutesInAlarm, 0),
      notifications: this.#told * this.#rule.notify.length,
      days: this.#days,
      worst: figures.toSorted((a, b) => b.alarms - a.alarms || b.minutesInAlarm - a.minutesInAlarm).slice(0, WORST),
      episodes,
      truncated: this.#truncated,
    }
  }
}

function begun(device: string, { atUs, sinceUs, severity, value, limit, reason }: Change): Episode {
  return { device, severity, sinceUs, activeUs: atUs, clearedUs: undefined, value, limit, reason }
}

/** Of whom an alarm is: the device, or all that have the same values of the rule's labels. */
export function groupKey({ groupBy }: Rule, { id, labels }: Device): string {
  return groupBy.length === 0 ? id : groupBy.map(key => `${key}=${Object.hasOwn(labels, key) ? labels[key] : ''}`).join(',')
}

/** One alarm is active as long as any of its devices is. */
export function mergeEpisodes(episodes: readonly Episode[]): Episode[] {
  const merged: Episode[] = []
  const last = new Map<string, number>()
  for (const one of episodes.toSorted((a, b) => a.activeUs - b.activeUs)) {
    const at = last.get(one.device)
    const before = at === undefined ? undefined : merged[at]
    const goesOn = before !== undefined && (before.clearedUs === undefined || before.clearedUs >= one.activeUs)
    if (goesOn && at !== undefined) {
      const open = before.clearedUs === undefined || one.clearedUs === undefined
      merged[at] = { ...before, clearedUs: open ? undefined : Math.max(before.clearedUs ?? 0, one.clearedUs ?? 0) }
    } else last.set(one.device, merged.push(one) - 1)
  }
  return merged
}
