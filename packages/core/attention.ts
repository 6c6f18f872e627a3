// Who is told of an alarm, and when to look at it again: decided from the alarm, its change, what people did about it, silences, and the
// alarms that inhibit it. Suppressed alarms exist and change as ever; only nobody is told.
//
// What channels are told: that an alarm is active; that it escalated; that it is over, if they were told that it was active. Never that it
// is pending, has de-escalated, was amended, or that devices joined or left it: streams and the console show those. What was kept from
// people while it was suppressed they are told when that ends, if it still is so: that it is active, or, if they knew it to be active, that
// it is graver than they knew, that it is active once more (it began anew, or an acknowledgement lapsed), or that it is over. What began long
// ago they are told when the log is drained, lest it should be over in the next line: then they are told once, that it was, with when it
// began. An alarm that came and went unseen by them stays so. Inhibition keeps no all-clear back: who was told may stop looking.
import { type Alarm, type Attendance, attendanceOf, LATE_AFTER_US, type Suppression } from './alarm.ts'
import type { GroupKind } from './group.ts'
import type { Inhibitor, Rule } from './rule.ts'
import { SEVERITIES, type Severity } from './severity.ts'
import { isSilencedBy, type Silence } from './silence.ts'
import type { ChangeKind } from './step.ts'
import { formatTime, parseTime } from './time.ts'

/** What inhibition asks of an active alarm. */
export type Active = Pick<Alarm, 'alarmId' | 'rule' | 'device' | 'labels' | 'group'>

export type Circumstances = {
  readonly attendance: Attendance | undefined
  /** Of its project. */
  readonly silences: readonly Silence[]
  /** The active alarms of the rules that inhibit its own. */
  readonly inhibitors: readonly Active[]
  /** Undefined: the rule is gone. */
  readonly rule: Pick<Rule, 'inhibitedBy' | 'notify'> | undefined
  readonly nowUs: number
}

/** What channels know of an alarm, and what they are still owed. */
export type Known = Pick<Alarm, 'told' | 'toldSeverity' | 'owed'>

export type Attention = Known & {
  readonly suppressedBy: Suppression | null
  /** What channels are told now. */
  readonly tell: ChangeKind | undefined
  /** What of people's doing has come to its end by now. */
  readonly lapsed: boolean
  readonly awake: boolean
  /** When to look again though nothing has changed; undefined: there is no need. */
  readonly nextUs: number | undefined
}

/** @param kind of the change that `alarm` is after; `again` when nothing but time or what is around it has changed. */
export function attend(alarm: Alarm, kind: GroupKind | 'again', around: Circumstances): Attention {
  const { attendance, nowUs } = around
  const { acknowledgement, snooze } = attendanceOf(alarm, attendance)
  const lapsed = hasPassed(acknowledgement?.lapses, nowUs)
  const awake = hasPassed(snooze?.until, nowUs)
  const suppression = suppressionOf(alarm, around)
  const again = alarm.owed === true && (acknowledgement === null || lapsed)
  const owed = alarm.state === 'active' && alarm.told === 'active' && (kind === 'active' || lapsed || again)
  const tells = suppression === null && around.rule !== undefined && around.rule.notify.length > 0
  const news = tells ? tellOf(alarm, kind, owed) : undefined
  const held = news !== undefined && isHeld(alarm, kind, nowUs)
  const tell = held ? undefined : news
  const known = held ? HELD : tell === undefined ? { ...unknownAfter(alarm), owed } : knownAfter(alarm)
  const matters = alarm.state !== 'cleared' || known.told === 'active'
  return {
    suppressedBy: alarm.state === 'cleared' ? null : suppression,
    tell,
    ...known,
    lapsed,
    awake,
    nextUs: held ? nowUs : matters ? nextUs(alarm, around) : undefined,
  }
}

const HELD: Known = Object.freeze({ told: 'held', toldSeverity: undefined, owed: false })

/** It may be over already in what is still to be judged. */
function isHeld(alarm: Alarm, kind: GroupKind | 'again', nowUs: number): boolean {
  const isNews = alarm.state === 'active' && alarm.told !== 'active' && kind !== 'again'
  return isNews && nowUs - (parseTime(alarm.updateTime) ?? 0) > LATE_AFTER_US
}

/** What nobody was told of is over. */
function unknownAfter({ state, told, toldSeverity }: Alarm): Omit<Known, 'owed'> {
  return { told: told === 'held' && state === 'cleared' ? null : told, toldSeverity }
}

function tellOf(alarm: Alarm, kind: GroupKind | 'again', owed: boolean): ChangeKind | undefined {
  if (alarm.state === 'active') {
    if (alarm.told !== 'active' || owed) return 'active'
    return kind === 'escalated' || isGraver(alarm.severity, alarm.toldSeverity ?? alarm.severity) ? 'escalated' : undefined
  }
  if (alarm.state === 'pending' || alarm.told === null) return undefined
  if (kind === 'withdrawn') return alarm.told === 'held' ? undefined : 'withdrawn'
  return alarm.told === 'over' ? undefined : 'cleared'
}

function knownAfter({ state, severity }: Alarm): Known {
  return state === 'active'
    ? { told: 'active', toldSeverity: severity, owed: false }
    : { told: 'over', toldSeverity: undefined, owed: false }
}

/**
 * What channels know of an alarm after a change, before they are told of that.
 * @param last the alarm before.
 * @param goesOn it is in the same episode: of a new one they know nothing, unless they still take the one before to be active.
 */
export function knownOf(last: Alarm | undefined, alarm: Alarm, kind: GroupKind, goesOn: boolean): Known {
  if (last === undefined || (!goesOn && last.told !== 'active')) return { told: null, toldSeverity: undefined, owed: false }
  const { told, owed, toldSeverity = last.severity } = last
  // An edit of the rule made it graver, which is no news; what they did not know before they still do not.
  const isEdited = kind === 'amended' && isGraver(alarm.severity, last.severity) && !isGraver(last.severity, toldSeverity)
  return { told, owed, toldSeverity: isEdited ? alarm.severity : toldSeverity }
}

function isGraver(one: Severity, than: Severity): boolean {
  return SEVERITIES.indexOf(one) > SEVERITIES.indexOf(than)
}

/** Of several the one that does not end by itself, then the one that ends last: so long nobody is told. */
function suppressionOf(alarm: Alarm, around: Circumstances): Suppression | null {
  const inhibitor = alarm.state === 'cleared' ? undefined : inhibitorOf(alarm, around)
  if (inhibitor !== undefined) return { kind: 'inhibition', name: inhibitor.alarmId, until: null }
  const { snooze } = attendanceOf(alarm, around.attendance)
  const found = around.silences
    .filter(silence => silence.startUs <= around.nowUs && around.nowUs < silence.endUs && isSilencedBy(silence, alarm))
    .map(({ id, endUs }): Suppression & { until: string } => ({ kind: 'silence', name: id, until: formatTime(endUs) }))
  if (snooze && !hasPassed(snooze.until, around.nowUs)) found.push({ kind: 'snooze', name: snooze.by, until: snooze.until })
  return found.toSorted((a, b) => endOf(b) - endOf(a) || (a.name < b.name ? -1 : 1))[0] ?? null
}

function endOf({ until }: { readonly until: string }): number {
  return parseTime(until) ?? 0
}

function inhibitorOf(alarm: Alarm, { inhibitors, rule }: Circumstances): Active | undefined {
  return rule?.inhibitedBy
    .flatMap(by => inhibitors.filter(other => inhibits(by, other, alarm)))
    .reduce<Active | undefined>((least, other) => (least === undefined || other.alarmId < least.alarmId ? other : least), undefined)
}

/** Whether an active alarm keeps people from being told of another one. An alarm does not inhibit itself. */
export function inhibits({ rule, equal }: Inhibitor, other: Active, alarm: Active): boolean {
  if (other.rule !== rule || other.alarmId === alarm.alarmId) return false
  if (equal.length > 0) return equal.every(key => labelOf(other, key) === labelOf(alarm, key))
  if (other.group === null) return other.device === alarm.device
  return Object.keys(other.group).every(key => labelOf(other, key) === labelOf(alarm, key))
}

/** A label that is not there is the empty one, for both. */
function labelOf({ labels }: Active, key: string): string {
  return Object.hasOwn(labels, key) ? (labels[key] as string) : ''
}

/** The first moment at which the answer may be another one. */
function nextUs(alarm: Alarm, { attendance, silences, nowUs }: Circumstances): number | undefined {
  const { acknowledgement, snooze } = attendanceOf(alarm, attendance)
  const ends = [alarm.state === 'active' ? acknowledgement?.lapses : undefined, snooze?.until].flatMap(text => parseTime(text ?? '') ?? [])
  const silenced = silences.filter(silence => isSilencedBy(silence, alarm)).flatMap(({ startUs, endUs }) => [startUs, endUs])
  const next = Math.min(...[...ends, ...silenced].filter(atUs => atUs > nowUs))
  return Number.isFinite(next) ? next : undefined
}

function hasPassed(time: string | null | undefined, nowUs: number): boolean {
  return typeof time === 'string' && (parseTime(time) ?? 0) <= nowUs
}
