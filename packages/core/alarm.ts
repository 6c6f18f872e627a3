// The alarm of one rule on one device as callers see it, and how each change of the engine moves it on.
import { kindOf } from './condition/condition.ts'
import type { Device } from './device.ts'
import { hash, xid } from './id.ts'
import { renderMessage } from './message.ts'
import type { Rule, Severity } from './rule.ts'
import type { Change } from './step.ts'
import { formatTime } from './time.ts'

export type AlarmState = 'pending' | 'active' | 'cleared'

/** JSON as it is stored and shown; times are RFC 3339. */
export type Alarm = {
  readonly alarmId: string
  readonly rule: string
  readonly device: string
  readonly deviceType: string
  /** Of the device when this last changed. */
  readonly labels: Device['labels']
  readonly state: AlarmState
  readonly severity: Severity
  readonly ruleVersion: number
  /** How many times it has left `cleared`, to pending or active. An acknowledgement is of one episode. */
  readonly episode: number
  /** How many changes there were; see changeIdOf. */
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
}

/** By whom, kept beside the alarm: it changes without the engine. */
export type Acknowledgement = { readonly episode: number; readonly by: string; readonly time: string; readonly comment: string }

/** Devices batch, gateways retry and clocks differ by seconds, and nobody would call that late; a minute is an outage or a backlog. */
export const LATE_AFTER_US = 60_000_000

/** The alarm after a change, from the alarm before it (undefined: there never was one). */
export function nextAlarm(alarm: Alarm | undefined, rule: Rule, device: Device, change: Change, nowUs: number): Alarm {
  const time = formatTime(change.atUs)
  const begins = alarm === undefined || alarm.state === 'cleared'
  const facts = {
    alarmId: alarm?.alarmId ?? alarmIdOf(rule.name, device.id),
    rule: rule.name,
    device: device.id,
    deviceType: device.type,
    labels: device.labels,
    state: stateAfter(change),
    severity: rule.severity,
    ruleVersion: rule.version,
    episode: (alarm?.episode ?? 0) + (begins ? 1 : 0),
    version: (alarm?.version ?? 0) + 1,
    since: begins ? time : alarm.since,
    activeSince: change.kind === 'active' ? time : begins ? null : alarm.activeSince,
    clearedAt: stateAfter(change) === 'cleared' ? time : null,
    updateTime: time,
    serverTime: formatTime(nowUs),
    value: change.value ?? null,
    limit: change.limit ?? null,
    unit: kindOf(rule.when).unit(rule.when) ?? null,
    reason: change.reason,
    late: nowUs - change.atUs > LATE_AFTER_US,
  }
  return { ...facts, message: renderMessage(rule.message, { ...facts, device }) }
}

/** What receivers know a change by: the same for every repetition of it. */
export function changeIdOf(alarm: Alarm): string {
  return `${alarm.alarmId}-${alarm.version}`
}

/** The resource of the API. An acknowledgement of an earlier episode does not count. */
export function alarmToJson(project: string, alarm: Alarm, acknowledgement: Acknowledgement | undefined) {
  const counts = acknowledgement !== undefined && acknowledgement.episode === alarm.episode
  return {
    name: `projects/${project}/alarms/${alarm.alarmId}`,
    ...alarm,
    acknowledgement: counts ? { by: acknowledgement.by, time: acknowledgement.time, comment: acknowledgement.comment } : null,
  }
}

function stateAfter(change: Change): AlarmState {
  if (change.clearedUs !== undefined) return 'cleared'
  return change.activeUs === undefined ? 'pending' : 'active'
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
