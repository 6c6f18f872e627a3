// Devices that share one alarm (`groupBy`): what each of them contributes, and the alarm of all from the change of one.
import { type Alarm, alarmIdOf, type Facts, nextAlarm } from './alarm.ts'
import type { Device } from './device.ts'
import { contentKey } from './id.ts'
import type { Rule, Severity } from './rule.ts'
import { SEVERITIES } from './severity.ts'
import type { Change, ChangeKind } from './step.ts'
import { parseTime } from './time.ts'

/** One device of a group that is pending or active. */
export type Member = {
  readonly state: 'pending' | 'active'
  readonly severity: Severity
  readonly sinceUs: number
  /** Its own, not that of the group. */
  readonly episode: number
}

/** How many are pending, and how many active by severity: the alarm of thousands moves on without reading them. */
export type Tally = { readonly pending: number } & Readonly<Record<Severity, number>> & {
    /** When the last of those cleared that were active in this episode, and are not withdrawn. */
    readonly endedUs?: number
  }

export type GroupKind = ChangeKind | 'joined' | 'left'

const MAX_NAME = 1000
const EMPTY: Tally = { pending: 0, info: 0, warning: 0, critical: 0 }
/** What separates, what a topic of MQTT gives a meaning to, and what a line may not hold. */
const RESERVED = /[%,=/+#\p{Cc}]/gu

/** The labels by which a device belongs to a group; of a label that it does not have the empty value. Null: the rule groups nothing. */
export function groupOf(rule: Rule, device: Device): { readonly [key: string]: string } | null {
  if (rule.groupBy.length === 0) return null
  return Object.fromEntries(rule.groupBy.map(key => [key, Object.hasOwn(device.labels, key) ? (device.labels[key] as string) : '']))
}

/** `key=value,key2=value2`; what would be mistaken for a separator is percent-encoded, and a name that is too long for a topic is cut. */
export function groupNameOf(group: { readonly [key: string]: string }): string {
  const name = Object.entries(group)
    .map(([key, value]) => `${escaped(key)}=${escaped(value)}`)
    .join(',')
  return name.length <= MAX_NAME ? name : `${name.slice(0, MAX_NAME - 20)}~${contentKey(name)}`
}

/** The alarm that a change of this device belongs to. */
export function sharedAlarmIdOf(rule: Rule, device: Device): string {
  const group = groupOf(rule, device)
  return alarmIdOf(rule.name, group === null ? device.id : groupNameOf(group))
}

/** What the device contributes after a change; undefined: nothing any more. Corrections of earlier episodes change nothing. */
export function nextMember(
  member: Member | undefined,
  { kind, episode, severity, sinceUs, activeUs, clearedUs }: Change,
): Member | undefined {
  if (episode === 0 || (member !== undefined && episode < member.episode)) return member
  if (kind === 'withdrawn' || clearedUs !== undefined) return undefined
  return { state: activeUs === undefined ? 'pending' : 'active', severity, sinceUs, episode }
}

/** The alarm of the group after a change of one of its devices; undefined: what is seen of it is as before. */
export function nextGroup(
  alarm: Alarm | undefined,
  before: Member | undefined,
  after: Member | undefined,
  rule: Rule,
  { type, group }: { readonly type: string; readonly group: { readonly [key: string]: string } },
  change: Change,
  nowUs: number,
): { readonly alarm: Alarm; readonly kind: GroupKind } | undefined {
  const tally = withEnd(counted(counted(alarm?.tally ?? EMPTY, before, -1), after, 1), alarm, before, after, change)
  const devices = tally.info + tally.warning + tally.critical
  const was = alarm?.state ?? 'cleared'
  const severity = SEVERITIES.findLast(one => tally[one] > 0) ?? after?.severity ?? alarm?.severity ?? rule.severity
  const kind = kindOf(alarm, was, stateOf(was, tally, devices, change), severity, tally, before, after, change)
  if (kind === undefined) return undefined
  const shared: Device = { id: groupNameOf(group), type, labels: group, productNumber: '' }
  const begins = was === 'cleared'
  const sinceUs = begins ? (after?.sinceUs ?? change.atUs) : undefined
  const moved: Facts = {
    ...change,
    kind: kind === 'joined' || kind === 'left' || kind === 'amended' ? (was === 'pending' ? 'pending' : 'escalated') : kind,
    episode: (alarm?.episode ?? 0) + (begins ? 1 : 0),
    severity,
    sinceUs,
    activeUs: undefined,
    // A late event that withdraws the last one is of any time: the group ended with those that truly were active.
    clearedUs: kind === 'cleared' && change.kind === 'withdrawn' ? tally.endedUs : undefined,
  }
  return { alarm: { ...nextAlarm(alarm, rule, shared, moved, nowUs), group, devices, tally }, kind }
}

/** Only a change of the tally is left to be kept, of a group that is not in alarm. */
export function recounted(alarm: Alarm, before: Member | undefined, after: Member | undefined): Alarm {
  return { ...alarm, tally: counted(counted(alarm.tally ?? EMPTY, before, -1), after, 1) }
}

/** Those that are pending do not keep a group in alarm whose last active device has cleared. */
function stateOf(was: Alarm['state'], tally: Tally, devices: number, change: Change): Alarm['state'] {
  if (devices > 0) return 'active'
  return was !== 'active' && tally.pending > 0 && (was === 'pending' || change.kind === 'pending') ? 'pending' : 'cleared'
}

function kindOf(
  alarm: Alarm | undefined,
  was: Alarm['state'],
  is: Alarm['state'],
  severity: Severity,
  { endedUs }: Tally,
  before: Member | undefined,
  after: Member | undefined,
  change: Change,
): GroupKind | undefined {
  if (was !== is) return is === 'cleared' ? endOf(was, endedUs, change) : is
  if (is === 'cleared') return undefined
  const graver = SEVERITIES.indexOf(severity) - SEVERITIES.indexOf(alarm?.severity ?? severity)
  if (is === 'active' && graver !== 0 && change.kind !== 'amended') return graver > 0 ? 'escalated' : 'deescalated'
  const counts = (member: Member | undefined) => member !== undefined && (is === 'pending' || member.state === 'active')
  if (counts(before) !== counts(after)) return counts(after) ? 'joined' : 'left'
  // Late events leave the severity, so where one is amended an edit of the rule did it.
  return change.kind === 'amended' ? 'amended' : undefined
}

/** Withdrawn only if nobody was active in this episode who is not withdrawn as well. */
function endOf(was: Alarm['state'], endedUs: number | undefined, { kind }: Change): GroupKind {
  if (was === 'pending') return 'dropped'
  return kind === 'withdrawn' && endedUs === undefined ? 'withdrawn' : 'cleared'
}

function withEnd(tally: Tally, alarm: Alarm | undefined, before: Member | undefined, after: Member | undefined, change: Change): Tally {
  const { endedUs, ...counts } = tally
  const known = alarm?.state === 'active' ? endedUs : undefined
  const isEnd = before?.state === 'active' && after === undefined && change.kind !== 'withdrawn'
  const last = isEnd ? Math.max(known ?? Number.NEGATIVE_INFINITY, change.clearedUs ?? change.atUs) : known
  return last === undefined ? counts : { ...counts, endedUs: last }
}

function counted(tally: Tally, member: Member | undefined, by: 1 | -1): Tally {
  if (member === undefined) return tally
  const key = member.state === 'pending' ? 'pending' : member.severity
  return { ...tally, [key]: tally[key] + by }
}

function escaped(text: string): string {
  return text.replace(RESERVED, char => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
}

/** What a device contributes whose own alarm becomes part of a group's; undefined when that is over. */
export function memberOf(alarm: Alarm | undefined): Member | undefined {
  if (alarm === undefined || alarm.state === 'cleared') return undefined
  return { state: alarm.state, severity: alarm.severity, sinceUs: parseTime(alarm.since) ?? 0, episode: alarm.episode }
}
