// The alarms the page knows: merged by version from the list and the stream, and put in the order a person needs.
import type { Alarm, Severity } from '../../../packages/client/index.ts'

export type Alarms = ReadonlyMap<string, Alarm>

/** The alarms with `changes` in them, and those that became active by it. An older version than the known one changes nothing. */
export function mergeAlarms(known: Alarms, changes: readonly Alarm[]): { alarms: Alarms; raised: Alarm[] } {
  const alarms = new Map(known)
  const raised: Alarm[] = []
  for (const alarm of changes) {
    const before = alarms.get(alarm.alarmId)
    if (before && !isNewer(alarm, before)) continue
    alarms.set(alarm.alarmId, alarm)
    if (alarm.state === 'active' && !(before?.state === 'active' && before.episode === alarm.episode)) raised.push(alarm)
  }
  return { alarms, raised }
}

/** An acknowledgement is not a version: it stands beside the alarm, and a later one replaces it. */
function isNewer(alarm: Alarm, before: Alarm): boolean {
  if (alarm.version !== before.version) return alarm.version > before.version
  return (alarm.acknowledgement?.time ?? '') > (before.acknowledgement?.time ?? '')
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
