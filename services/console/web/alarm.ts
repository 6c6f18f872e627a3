// The alarms the page knows: merged by version from the list and the stream, and put in the order a person needs.
import type { Alarm, AlarmQuery, Severity } from '../../../packages/client/index.ts'

export type Alarms = ReadonlyMap<string, Alarm>

/**
 * The alarms with `changes` in them, and those that became active by it. An older version than the known one changes nothing.
 * `asked`: they were asked for just now, so that what people took back (which is no version) is gone as well.
 */
export function mergeAlarms(known: Alarms, changes: readonly Alarm[], asked = false): { alarms: Alarms; raised: Alarm[] } {
  const alarms = new Map(known)
  const raised: Alarm[] = []
  for (const alarm of changes) {
    const before = alarms.get(alarm.alarmId)
    if (before && !isNewer(alarm, before, asked)) continue
    alarms.set(alarm.alarmId, alarm)
    if (alarm.state === 'active' && !(before?.state === 'active' && before.episode === alarm.episode)) raised.push(alarm)
  }
  return { alarms, raised }
}

/** What people do is not a version: it stands beside the alarm, and what was done later replaces it. */
function isNewer(alarm: Alarm, before: Alarm, asked: boolean): boolean {
  if (alarm.version !== before.version) return alarm.version > before.version
  return asked || lastDone(alarm) > lastDone(before)
}

function lastDone({ acknowledgement, assignee, snooze }: Alarm): string {
  return (
    [acknowledgement, assignee, snooze]
      .map(done => done?.time ?? '')
      .sort()
      .at(-1) ?? ''
  )
}

const SEVERITIES: Readonly<Record<Severity, number>> = { critical: 0, warning: 1, info: 2 }
const STATES: Readonly<Record<Alarm['state'], number>> = { active: 0, pending: 2, cleared: 3 }

/** Active and unacknowledged first, then acknowledged, pending, cleared; within each the gravest, then the newest. */
export function orderAlarms(alarms: Alarms): Alarm[] {
  return [...alarms.values()].sort(
    (a, b) => urgency(a) - urgency(b) || SEVERITIES[a.severity] - SEVERITIES[b.severity] || lastChange(b).localeCompare(lastChange(a)),
  )
}

function urgency(alarm: Alarm): number {
  return STATES[alarm.state] + (alarm.state === 'active' && alarm.acknowledgement ? 1 : 0)
}

/** When the state it is in began, RFC 3339. */
export function lastChange(alarm: Alarm): string {
  if (alarm.state === 'cleared') return alarm.clearedAt ?? alarm.since
  return alarm.state === 'active' ? (alarm.activeSince ?? alarm.since) : alarm.since
}

/** What a screen reader says when alarms become active. */
export function announcement(raised: readonly Alarm[]): string {
  const [first] = raised
  if (!first) return ''
  const one = `${first.severity} alarm: ${first.message}`
  return raised.length === 1 ? one : `${raised.length} new alarms. First: ${one}`
}

export type AlarmFilter = {
  readonly state: 'open' | Alarm['state'] | ''
  readonly severity: Severity | ''
  readonly rule: string
  readonly unacknowledged: boolean
  /** Assigned to this account; '' to whomever. */
  readonly assignee: string
}

export const OPEN_ALARMS: AlarmFilter = { state: 'open', severity: '', rule: '', unacknowledged: false, assignee: '' }

export function isWanted(alarm: Alarm, { state, severity, rule, unacknowledged, assignee }: AlarmFilter): boolean {
  return (
    (state === '' || (state === 'open' ? alarm.state !== 'cleared' : alarm.state === state)) &&
    (severity === '' || alarm.severity === severity) &&
    (rule === '' || alarm.rule === rule) &&
    (!unacknowledged || !alarm.acknowledgement) &&
    (assignee === '' || alarm.assignee?.to === assignee)
  )
}

/** As the API asks for them. */
export function queryOf({ state, severity, rule, unacknowledged, assignee }: AlarmFilter): AlarmQuery {
  return {
    ...(state === '' ? {} : { state: state === 'open' ? (['pending', 'active'] as const) : [state] }),
    ...(severity === '' ? {} : { severity: [severity] }),
    ...(rule === '' ? {} : { rule: [rule] }),
    ...(unacknowledged ? { acknowledged: false } : {}),
    ...(assignee === '' ? {} : { assignee: [assignee] }),
  }
}

/** Why nobody is told of it, in words; '' when people are. */
export function suppressionWords({ suppressedBy }: Pick<Alarm, 'suppressedBy'>): string {
  if (!suppressedBy) return ''
  const { kind, name } = suppressedBy
  if (kind === 'snooze') return 'snoozed'
  return kind === 'silence' ? 'silenced' : `inhibited by ${name}`
}
