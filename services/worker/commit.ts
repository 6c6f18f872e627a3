// What one judgement changes, as commands that are committed together with the judge's place.
import type { Device } from '../../packages/core/device.ts'
import type { Rule } from '../../packages/core/rule.ts'
import type { Change, ChangeKind } from '../../packages/core/step.ts'
import { projectKey, stateKey } from '../../packages/log/key.ts'
import { type CommitCommand, chunked } from '../../packages/log/log.ts'
import type { AlarmDocument } from '../../packages/state/alarm.ts'
import { recentKey } from '../../packages/state/judgement.ts'
import type { Kind } from './seat.ts'

export type Judgement = {
  /** `{rule}\t{device}` → the row of its track. */
  readonly rows: Map<string, string>
  /** `{rule}\t{device}` → when time alone moves it, in server time; undefined: nothing does any more. */
  readonly timers: Map<string, number | undefined>
  /** `{event type}\t{device}` → lines that come to its recent events, or (`whole`) all there are. */
  readonly recents: Map<string, Lines>
  /** Whose `lines` are among these. */
  readonly kinds: Kind[]
  /** Rule → its version and the entry after which that judges. */
  readonly since: Map<string, string>
  readonly changes: Changed[]
  /** Rules that are gone or disabled, with the devices that had states. */
  readonly retired: { readonly rule: string; readonly devices: readonly string[] }[]
}

/** `whole`: they stand in place of those there were. */
export type Lines = { readonly lines: string[]; readonly whole: boolean }

export type Changed = {
  readonly rule: Rule
  readonly device: Device
  /** Undefined: only the labels of the device, or what the rule groups by, may have changed, and with them the alarm it belongs to. */
  readonly change: Change | undefined
  /** Nobody is told: the rule was deleted or disabled, or does not select the device any more. */
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
  return { rows: new Map(), timers: new Map(), recents: new Map(), kinds: [], since: new Map(), changes: [], retired: [] }
}

export function stateCommands(project: string, { rows, timers, recents, since, retired }: Judgement): CommitCommand[] {
  const byRule = new Map<string, string[]>()
  for (const [key, row] of rows) {
    const tab = key.indexOf('\t')
    const pairs = byRule.get(key.slice(0, tab))
    if (pairs) pairs.push(key.slice(tab + 1), row)
    else byRule.set(key.slice(0, tab), [key.slice(tab + 1), row])
  }
  const timerKey = projectKey(project, 'timers')
  const running = [...timers].flatMap(([key, dueUs]) => (dueUs === undefined ? [] : [dueUs, key]))
  const stopped = [...timers].flatMap(([key, dueUs]) => (dueUs === undefined ? [key] : []))
  return [
    ...[...recents].flatMap(([key, { lines, whole }]) => recentCommands(recentKey(project, key), lines, whole)),
    ...[...byRule].flatMap(([rule, pairs]) => chunked('HSET', stateKey(project, rule), pairs)),
    ...(byRule.size > 0 ? [['SADD', projectKey(project, 'ruleStates'), ...byRule.keys()] as const] : []),
    ...chunked('ZADD', timerKey, running),
    ...chunked('ZREM', timerKey, stopped),
    ...chunked('HSET', projectKey(project, 'ruleSince'), [...since].flat()),
    ...retired.flatMap(({ rule, devices }) => retireCommands(project, rule, devices)),
  ]
}

function recentCommands(key: string, lines: readonly string[], whole: boolean): CommitCommand[] {
  return [...(whole ? [['DEL', key] as const] : []), ...chunked('RPUSH', key, lines)]
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
    ['HDEL', projectKey(project, 'ruleSince'), rule],
  ]
}

export function outboxCommand(project: string, entry: OutboxEntry): CommitCommand {
  return ['XADD', projectKey(project, 'outbox'), '*', 'c', JSON.stringify(entry)]
}
