// What one judgement changes, as commands that are committed together with the judge's place.

import type { Device } from '../../packages/core/device.ts'
import type { Rule } from '../../packages/core/rule.ts'
import type { Change, ChangeKind, RuleState } from '../../packages/core/step.ts'
import { projectKey, stateKey } from '../../packages/log/key.ts'
import { type CommitCommand, chunked } from '../../packages/log/log.ts'
import type { AlarmDocument } from '../../packages/state/alarm.ts'
import { Pairs } from './pairs.ts'

export type Judgement = {
  /** `{rule}\t{device}` → the new state, and how far the device's clock is behind the server's. */
  readonly states: Map<string, { readonly state: RuleState | undefined; readonly offsetUs: number }>
  /** Newest judged time by event type and device. */
  readonly newest: Pairs<number>
  readonly changes: Changed[]
  /** Rules that are gone or disabled, with the devices that had states. */
  readonly retired: { readonly rule: string; readonly devices: readonly string[] }[]
}

export type Changed = {
  readonly rule: Rule
  readonly device: Device
  /** Undefined: only the labels of the device, or what the rule groups by, may have changed, and with them the alarm it belongs to. */
  readonly change: Change | undefined
  /** Nobody is told: the rule was deleted or disabled. */
  readonly quiet: boolean
}

/** One change to be told to channels, in the order in which they came about. */
export type OutboxEntry = {
  readonly changeId: string
  readonly kind: ChangeKind
  readonly channels: readonly string[]
  readonly alarm: AlarmDocument
}

export function newJudgement(): Judgement {
  return { states: new Map(), newest: new Pairs(), changes: [], retired: [] }
}

export function stateCommands(project: string, { states, newest, retired }: Judgement): CommitCommand[] {
  const saved = new Map<string, (string | number)[]>()
  const timers: (string | number)[] = []
  const stopped: string[] = []
  for (const [key, { state, offsetUs }] of states) {
    const tab = key.indexOf('\t')
    if (state) append(saved, key.slice(0, tab), key.slice(tab + 1), JSON.stringify(state))
    if (state?.dueUs === undefined || !Number.isFinite(state.dueUs)) stopped.push(key)
    else timers.push(state.dueUs + offsetUs, key)
  }
  const newestTimes: (string | number)[] = []
  for (const [eventType, device, timeUs] of newest) newestTimes.push(`${device}\t${eventType}`, timeUs)
  const timerKey = projectKey(project, 'timers')
  return [
    ...[...saved].flatMap(([rule, pairs]) => chunked('HSET', stateKey(project, rule), pairs)),
    ...(saved.size > 0 ? [['SADD', projectKey(project, 'ruleStates'), ...saved.keys()] as const] : []),
    ...chunked('ZADD', timerKey, timers),
    ...chunked('ZREM', timerKey, stopped),
    ...chunked('HSET', projectKey(project, 'newest'), newestTimes),
    ...retired.flatMap(({ rule, devices }) => retireCommands(project, rule, devices)),
  ]
}

function append(saved: Map<string, (string | number)[]>, rule: string, device: string, state: string): void {
  const pairs = saved.get(rule)
  if (pairs) pairs.push(device, state)
  else saved.set(rule, [device, state])
}

function retireCommands(project: string, rule: string, devices: readonly string[]): CommitCommand[] {
  return [
    ...chunked(
      'ZREM',
      projectKey(project, 'timers'),
      devices.map(device => `${rule}\t${device}`),
    ),
    ['DEL', stateKey(project, rule)],
    ['SREM', projectKey(project, 'ruleStates'), rule],
    ['HDEL', projectKey(project, 'removedRules'), rule],
  ]
}

export function outboxCommand(project: string, entry: OutboxEntry): CommitCommand {
  return ['XADD', projectKey(project, 'outbox'), '*', 'c', JSON.stringify(entry)]
}
