// For the tests of tracks: one rule on one device as a worker has it, and what its changes leave people to know.
import { type Alarm, currentAlarm, nextAlarm } from './alarm.ts'
import { Recent, type RecentEvent } from './recent.ts'
import { eventTypesOf, type Rule } from './rule.ts'
import { type Change, type EventInput, type RuleState, step } from './step.ts'
import { followEvent, followTime, NEW, restore, settle, type Track } from './track.ts'
import { parseTrackRow, trackToJson } from './trackrow.ts'

const DEVICE = { id: 'freezer-1', type: 'temperature', labels: {}, productNumber: '' }
export const MINUTE_US = 60_000_000
export const NOON_US = Date.UTC(2026, 10, 21, 12) * 1000
const LATENESS_US = 10 * MINUTE_US
const ALWAYS = Number.NEGATIVE_INFINITY
export const END_US = NOON_US + 5000 * MINUTE_US

type Reading = { readonly minute: number; readonly value: number; readonly type?: string }

export function eventOf({ minute, value, type = 'temperature' }: Reading, index: number): EventInput {
  const timeUs = NOON_US + minute * MINUTE_US
  return {
    kind: 'event',
    device: DEVICE,
    eventType: type,
    data: { [type]: { value } },
    timeUs,
    eventId: `e${String(index).padStart(4, '0')}`,
  }
}

/** One rule on one device, as a worker has it. */
export class Line {
  rule: Rule
  readonly told: Change[] = []
  track: Track = NEW
  reason = ''
  #recents: Recent[]

  constructor(rule: Rule) {
    this.rule = rule
    this.#recents = eventTypesOf(rule).map(() => new Recent())
  }

  event(event: EventInput): void {
    const recent = this.#recents[eventTypesOf(this.rule).indexOf(event.eventType)]
    if (!recent) return
    const arrival = recent.arrive(
      { ...event, entryId: '1-0', listeningSinceUs: event.listeningSinceUs ?? Number.NEGATIVE_INFINITY },
      LATENESS_US,
    )
    this.#take(followEvent(this.rule, this.track, event, arrival, this.#recents))
    const overdueUs = recent.overdueUs(LATENESS_US)
    if (overdueUs === undefined) return
    this.track = settle(this.rule, this.track, this.#recents, overdueUs, event)
    recent.drop(overdueUs)
  }

  get kept(): number {
    return this.#recents.reduce((sum, { events }) => sum + events.length, 0)
  }

  clock(timeUs: number): void {
    const { dueUs = Number.POSITIVE_INFINITY } = this.track.current
    if (dueUs <= timeUs) this.#take(followTime(this.rule, this.track, timeUs, ALWAYS))
  }

  /** Everything but what is written is lost. */
  restart(): void {
    const row = parseTrackRow(JSON.stringify(trackToJson(this.rule, this.track)))
    const events = this.#recents.map(recent => JSON.parse(JSON.stringify(recent.events)) as RecentEvent[])
    this.#recents = this.#recents.map((recent, i) => new Recent(events[i], recent.newestUs))
    this.track = restore(this.rule, row, this.#recents, { device: DEVICE }, () => false)
  }

  #take({ track, changes, reason }: { track: Track; changes: readonly Change[]; reason: string }): void {
    this.told.push(...changes)
    this.track = track
    this.reason = reason
  }
}

/** The alarms that were active, as whoever was told all this knows them. */
export function known(changes: readonly Change[]) {
  const episodes = new Map<number, Pick<Change, 'sinceUs' | 'activeUs' | 'clearedUs' | 'severity'>>()
  for (const { kind, episode, sinceUs, activeUs, clearedUs, severity } of changes)
    if (kind === 'withdrawn' || activeUs === undefined) episodes.delete(episode)
    else episodes.set(episode, { sinceUs, activeUs, clearedUs, severity })
  return [...episodes].sort(([a], [b]) => a - b)
}

/** The alarm document after all that was told. */
export function shownOf(rule: Rule, changes: readonly Change[]) {
  let alarm: Alarm | undefined
  for (const change of changes) alarm = currentAlarm(alarm, nextAlarm(alarm, rule, DEVICE, change, END_US), change.late)
  const { state, since, activeSince, severity } = alarm ?? {}
  return state === 'active' || state === 'pending' ? { state, since, activeSince, severity } : { state: 'cleared' }
}

export function inOrder(rule: Rule, events: readonly EventInput[]): { changes: Change[]; state: RuleState | undefined } {
  const changes: Change[] = []
  let state: RuleState | undefined
  const end = { kind: 'time', timeUs: END_US, listeningSinceUs: ALWAYS } as const
  for (const input of [...events, end]) {
    const outcome = step(rule, state, input)
    state = outcome.state
    changes.push(...outcome.changes)
  }
  return { changes, state }
}
