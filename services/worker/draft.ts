// What changes of the engine make of alarms, one after the other, before anybody is told: of devices that have their own, and of groups.
import { type Alarm, alarmIdOf, currentAlarm, nextAlarm } from '../../packages/core/alarm.ts'
import type { Device } from '../../packages/core/device.ts'
import {
  type GroupKind,
  groupOf,
  type Member,
  memberOf,
  nextGroup,
  nextMember,
  recounted,
  sharedAlarmIdOf,
} from '../../packages/core/group.ts'
import type { Rule } from '../../packages/core/rule.ts'
import type { Change } from '../../packages/core/step.ts'
import type { Changed } from './commit.ts'

/** One change of one alarm. */
export type Step = {
  /** As it is after the change; of an earlier episode when that was corrected. */
  readonly alarm: Alarm
  /** As it is kept: the same, but for a correction of an earlier episode. */
  readonly current: Alarm
  readonly before: Alarm | undefined
  readonly kind: GroupKind
  readonly rule: Rule
  /** Whose change it was. */
  readonly device: string
  readonly eventId: string | undefined
  readonly quiet: boolean
  /** A late event brought it to light: it may be of an episode that is over. */
  readonly corrects: boolean
}

const MOVED = 'the device belongs to another group now'

/** Everything read beforehand; it holds what it became. */
export class Draft {
  readonly steps: Step[] = []
  readonly alarms: Map<string, Alarm | undefined>
  /** `{alarm}\t{device}`. */
  readonly members: Map<string, Member | undefined>
  /** `{rule}\t{device}` → alarm of the group. */
  readonly homes: Map<string, string | undefined>
  /** Of which only the tally has changed. */
  readonly recounted = new Set<string>()
  readonly #nowUs: number

  constructor(
    alarms: Map<string, Alarm | undefined>,
    members: Map<string, Member | undefined>,
    homes: Map<string, string | undefined>,
    nowUs: number,
  ) {
    this.alarms = alarms
    this.members = members
    this.homes = homes
    this.#nowUs = nowUs
  }

  take({ rule, device, change, quiet }: Changed): void {
    this.#relocate(rule, device)
    if (change === undefined) return
    if (rule.groupBy.length > 0) this.#changeMember(rule, device, change, quiet)
    else this.#push(alarmIdOf(rule.name, device.id), rule, device, change, quiet)
  }

  /** A device whose labels, or whose rule, now put it elsewhere takes along what it is. */
  #relocate(rule: Rule, device: Device): void {
    const home = this.homes.get(homeKey(rule, device))
    const plainId = alarmIdOf(rule.name, device.id)
    const target = sharedAlarmIdOf(rule, device)
    if (home !== undefined && home !== target) {
      const member = this.members.get(memberKey(home, device))
      this.#leave(home, member, rule, device)
      if (member !== undefined) this.#join(member, rule, device)
    } else if (home === undefined && target !== plainId && this.alarms.get(plainId) !== undefined) {
      const own = this.alarms.get(plainId)
      const member = memberOf(own)
      if (own === undefined || member === undefined) return
      this.#push(plainId, rule, device, moving(own.state === 'pending' ? 'dropped' : 'cleared', member, this.#nowUs), true)
      this.#join(member, rule, device)
    }
  }

  #leave(home: string, member: Member | undefined, rule: Rule, device: Device): void {
    this.homes.set(homeKey(rule, device), undefined)
    const alarm = this.alarms.get(home)
    if (alarm?.group) this.#regroup(alarm, member, undefined, rule, device, moving('cleared', member, this.#nowUs), true)
  }

  #join(member: Member, rule: Rule, device: Device): void {
    const change = moving(member.state, member, this.#nowUs)
    if (rule.groupBy.length > 0) this.#changeMember(rule, device, change, false)
    else this.#push(alarmIdOf(rule.name, device.id), rule, device, change, false)
  }

  #changeMember(rule: Rule, device: Device, change: Change, quiet: boolean): void {
    const id = sharedAlarmIdOf(rule, device)
    const before = this.members.get(memberKey(id, device))
    const after = nextMember(before, change)
    this.homes.set(homeKey(rule, device), after && id)
    this.#regroup(this.alarms.get(id), before, after, rule, device, change, quiet)
  }

  #regroup(
    alarm: Alarm | undefined,
    before: Member | undefined,
    after: Member | undefined,
    rule: Rule,
    device: Device,
    change: Change,
    quiet: boolean,
  ): void {
    const group = alarm?.group ?? groupOf(rule, device) ?? {}
    const id = alarm?.alarmId ?? sharedAlarmIdOf(rule, device)
    this.members.set(memberKey(id, device), after)
    const next = nextGroup(alarm, before, after, rule, { type: device.type, group }, change, this.#nowUs)
    if (next !== undefined) this.#add(alarm, next.alarm, next.kind, rule, device, change, quiet)
    else if (alarm !== undefined && before?.state !== after?.state) {
      this.alarms.set(id, recounted(alarm, before, after))
      this.recounted.add(id)
    }
  }

  #push(id: string, rule: Rule, device: Device, change: Change, quiet: boolean): void {
    const before = this.alarms.get(id)
    this.#add(before, nextAlarm(before, rule, device, change, this.#nowUs), change.kind, rule, device, change, quiet)
  }

  #add(before: Alarm | undefined, alarm: Alarm, kind: GroupKind, rule: Rule, device: Device, change: Change, quiet: boolean): void {
    const current = currentAlarm(before, alarm, change.late)
    this.alarms.set(alarm.alarmId, current)
    this.steps.push({ alarm, current, before, kind, rule, device: device.id, eventId: change.eventId, quiet, corrects: change.late })
  }
}

function homeKey(rule: Rule, device: Device): string {
  return `${rule.name}\t${device.id}`
}

function memberKey(alarmId: string, device: Device): string {
  return `${alarmId}\t${device.id}`
}

function moving(kind: 'pending' | 'active' | 'cleared' | 'dropped', member: Member | undefined, atUs: number): Change {
  const { severity = 'warning', sinceUs = atUs, episode = 1 } = member ?? {}
  const activeUs = kind === 'active' || (kind === 'cleared' && member?.state === 'active') ? sinceUs : undefined
  const clearedUs = kind === 'cleared' || kind === 'dropped' ? atUs : undefined
  const facts = { episode, severity, sinceUs, activeUs, clearedUs, late: false }
  return { kind, atUs, ...facts, value: undefined, limit: undefined, reason: MOVED, eventId: undefined }
}
