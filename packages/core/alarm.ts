// The alarm of one rule on one device, or on one group of them, as callers see it, and how each change of the engine moves it on.
import { kindOf } from './condition/condition.ts'
import type { Device } from './device.ts'
import type { Tally } from './group.ts'
import { hash, xid } from './id.ts'
import { renderMessage } from './message.ts'
import type { Rule, Severity } from './rule.ts'
import type { Change } from './step.ts'
import { formatTime } from './time.ts'

export type AlarmState = 'pending' | 'active' | 'cleared'

/** Why nobody is told of an alarm: `name` of the silence, of who snoozed it, or of the alarm that inhibits. */
export type Suppression = { readonly kind: 'silence' | 'snooze' | 'inhibition'; readonly name: string; readonly until: string | null }

/** JSON as it is stored; times are RFC 3339. */
export type Alarm = {
  readonly alarmId: string
  readonly rule: string
  /** Of a group: `key=value,key2=value2`, see groupNameOf. */
  readonly device: string
  readonly deviceType: string
  /** Of the device when this last changed; of a group those that its devices share. */
  readonly labels: Device['labels']
  readonly group: { readonly [key: string]: string } | null
  /** How many are in alarm. */
  readonly devices: number
  readonly state: AlarmState
  readonly severity: Severity
  readonly ruleVersion: number
  /** How many times it has left `cleared`, to pending or active. An acknowledgement is of one episode. */
  readonly episode: number
  /** How many changes there were; see changeIdOf. It grows with a change that corrects an earlier episode, too. */
  readonly version: number
  /** When the condition began to hold in this episode. */
  readonly since: string
  readonly activeSince: string | null
  readonly clearedAt: string | null
  /** Event time of this change, and when the server found it. */
  readonly updateTime: string
  readonly serverTime: string
  readonly value: number | string | null
  readonly limit: number | null
  readonly unit: string | null
  readonly reason: string
  readonly message: string
  /** Found long after the fact (LATE_AFTER_US). */
  readonly late: boolean
  readonly suppressedBy: Suppression | null
  /**
   * What channels know of this episode: nothing, that it is active, or that it is over. `held`: nothing yet, it was found late and may be
   * over already in what is still to be judged. Not shown.
   */
  readonly told: null | 'held' | 'active' | 'over'
  /** As how grave channels know it, while they know it to be active; left out by versions that told every step or lost it. Not shown. */
  readonly toldSeverity?: Severity | undefined
  /** While it was suppressed it was to be told once more that it is active. Not shown. */
  readonly owed?: boolean | undefined
  /** Of a group: its devices by what they are. Not shown. */
  readonly tally: Tally | null
}

/** What people did about one episode, kept beside the alarm: it changes without the engine. */
export type Attendance = {
  readonly episode: number
  readonly acknowledgement: Acknowledgement | null
  readonly assignee: { readonly to: string; readonly by: string; readonly time: string } | null
  readonly snooze: { readonly by: string; readonly time: string; readonly until: string } | null
}

/** `lapses`: when it ceases to count, if it does. */
export type Acknowledgement = { readonly by: string; readonly time: string; readonly comment: string; readonly lapses: string | null }

export const UNATTENDED: Omit<Attendance, 'episode'> = Object.freeze({ acknowledgement: null, assignee: null, snooze: null })

/** Devices batch, gateways retry and clocks differ by seconds, and nobody would call that late; a minute is an outage or a backlog. */
export const LATE_AFTER_US = 60_000_000

/** A change; of a group it may leave the beginning as it was. */
export type Facts = Omit<Change, 'sinceUs'> & { readonly sinceUs: number | undefined }

/**
 * The alarm after a change, from the alarm before it (undefined: there never was one). A change that corrects an episode says all there is
 * to know of it; for any other, what it leaves out is as before.
 */
export function nextAlarm(alarm: Alarm | undefined, rule: Rule, device: Device, change: Facts, nowUs: number): Alarm {
  const time = formatTime(change.atUs)
  const state = stateAfter(change)
  const goesOn = alarm !== undefined && (change.late ? alarm.episode === change.episode : alarm.state !== 'cleared')
  const before = goesOn ? alarm : undefined
  const facts = {
    alarmId: alarm?.alarmId ?? alarmIdOf(rule.name, device.id),
    rule: rule.name,
    device: device.id,
    deviceType: device.type,
    labels: device.labels,
    group: null,
    devices: state === 'active' ? 1 : 0,
    state,
    severity: change.severity,
    ruleVersion: rule.version,
    episode: change.episode,
    version: (alarm?.version ?? 0) + 1,
    since: timeOf(change.sinceUs) ?? before?.since ?? time,
    activeSince: activeSince(before, change),
    clearedAt: state === 'cleared' ? (timeOf(change.clearedUs) ?? time) : null,
    updateTime: time,
    serverTime: formatTime(nowUs),
    value: change.value ?? null,
    limit: change.limit ?? null,
    unit: kindOf(rule.when).unit(rule.when) ?? null,
    reason: change.reason,
    late: change.late || nowUs - change.atUs > LATE_AFTER_US,
    suppressedBy: before?.suppressedBy ?? null,
    told: before?.told ?? null,
    tally: null,
  }
  return { ...facts, message: renderMessage(rule.message, { ...facts, title: rule.title || rule.name, device }) }
}

/**
 * Which of the two the alarm is from now on, when a change was of an earlier episode than the one it is in: only one can be open at a time,
 * so one that is over leaves everything but the version as it was.
 * @param corrects it was brought to light by a late event; every other change is of the episode that is open, or begins one.
 */
export function currentAlarm(before: Alarm | undefined, after: Alarm, corrects: boolean): Alarm {
  if (before === undefined || !corrects || after.episode >= before.episode || after.state !== 'cleared') return after
  return { ...before, version: after.version, serverTime: after.serverTime }
}

/** What receivers know a change by: the same for every repetition of it. */
export function changeIdOf(alarm: Alarm): string {
  return `${alarm.alarmId}-${alarm.version}`
}

/** The resource of the API. What people did about an earlier episode does not count. */
export function alarmToJson(project: string, alarm: Alarm, attendance: Attendance | undefined) {
  const { told: _told, toldSeverity: _toldSeverity, owed: _owed, tally: _tally, suppressedBy, ...shown } = alarm
  const { acknowledgement, assignee, snooze } = attendanceOf(alarm, attendance)
  const snoozed = snooze && alarm.state !== 'cleared' ? ({ kind: 'snooze', name: snooze.by, until: snooze.until } as const) : null
  return {
    name: `projects/${project}/alarms/${alarm.alarmId}`,
    ...shown,
    acknowledgement,
    assignee,
    snooze,
    // The judge notes the beginning and the end of a snooze a moment after people see it.
    suppressedBy: suppressedBy === null || suppressedBy.kind === 'snooze' ? snoozed : suppressedBy,
  }
}

export function attendanceOf(alarm: Alarm, attendance: Attendance | undefined): Omit<Attendance, 'episode'> {
  return attendance !== undefined && attendance.episode === alarm.episode ? attendance : UNATTENDED
}

function stateAfter(change: Facts): AlarmState {
  switch (change.kind) {
    case 'pending':
      return 'pending'
    case 'active':
    case 'escalated':
    case 'deescalated':
      return 'active'
    case 'amended':
      return change.clearedUs !== undefined ? 'cleared' : change.activeUs !== undefined ? 'active' : 'pending'
    default:
      return 'cleared'
  }
}

function activeSince(before: Alarm | undefined, change: Facts): string | null {
  if (change.kind === 'withdrawn' || change.kind === 'dropped' || change.kind === 'pending') return null
  return timeOf(change.activeUs) ?? before?.activeSince ?? (change.kind === 'active' ? formatTime(change.atUs) : null)
}

function timeOf(timeUs: number | undefined): string | undefined {
  return timeUs === undefined ? undefined : formatTime(timeUs)
}

/**
 * Deterministic, so that a replay after a crash makes the same alarm: 96 bits of hash over both names in both orders, in
 * the form of an xid (20 characters of 0-9 a-v). It keeps alarms apart, not an attacker who may name devices at will.
 */
export function alarmIdOf(rule: string, device: string): string {
  const [high, middle] = hash(`${rule}\u0000${device}`)
  const [low] = hash(`${device}\u0000${rule}`)
  return xid(high, middle, low)
}
