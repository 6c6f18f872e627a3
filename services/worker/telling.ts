// Who is told of what happened to alarms: the documents, frames, records and outbox entries of one commit, alarm by alarm.
import { type Alarm, type Attendance, alarmToJson, changeIdOf, type Suppression } from '../../packages/core/alarm.ts'
import { type Attention, attend, type Circumstances, type Known, knownOf } from '../../packages/core/attention.ts'
import type { Happening } from '../../packages/core/chain.ts'
import type { Rule } from '../../packages/core/rule.ts'
import type { ChangeKind } from '../../packages/core/step.ts'
import { formatTime } from '../../packages/core/time.ts'
import { projectKey } from '../../packages/log/key.ts'
import { type CommitCommand, chunked } from '../../packages/log/log.ts'
import { alarmCommands, frameCommand, happeningOf } from '../../packages/state/alarm.ts'
import { type OutboxEntry, outboxCommand } from './commit.ts'
import type { Draft, Step } from './draft.ts'
import type { Inhibitors } from './inhibit.ts'

/** Of a record: a condition may say more in words than anybody reads. */
const MAX_TEXT = 500

/** What is around all alarms of a commit. */
type Around = Omit<Circumstances, 'attendance' | 'rule' | 'inhibitors'> & { readonly inhibitors: Inhibitors }

/** Steps in the order in which they came about. */
export class Telling {
  readonly happenings: Happening[] = []
  readonly #project: string
  readonly #rules: ReadonlyMap<string, Rule>
  readonly #attendances: Map<string, Attendance | undefined>
  readonly #around: Around
  readonly #time: string
  readonly #frames: CommitCommand[] = []
  readonly #outbox: { readonly entry: OutboxEntry; readonly alarm: Alarm }[] = []
  /** As they are kept. */
  readonly #alarms = new Map<string, Alarm>()
  readonly #looks = new Map<string, number | undefined>()
  readonly #attended = new Set<string>()

  constructor(project: string, rules: ReadonlyMap<string, Rule>, attendances: Map<string, Attendance | undefined>, around: Around) {
    this.#project = project
    this.#rules = rules
    this.#attendances = attendances
    this.#around = around
    this.#time = formatTime(around.nowUs)
  }

  get notifies(): boolean {
    return this.#outbox.length > 0
  }

  step(step: Step): void {
    const id = step.alarm.alarmId
    const last = this.#alarms.get(id) ?? step.before
    const goesOn = last !== undefined && (step.corrects ? last.episode === step.alarm.episode : last.state !== 'cleared')
    const isCorrection = step.current.episode !== step.alarm.episode
    // What people did was about the episode before, or about one that never was.
    if ((!goesOn || step.kind === 'withdrawn') && !isCorrection && this.#attendances.get(id) !== undefined) {
      this.#attendances.set(id, undefined)
      this.#attended.add(id)
    }
    const known: Known = isCorrection ? { told: 'over' } : knownOf(last, step.alarm, step.kind, goesOn)
    const alarm: Alarm = { ...step.alarm, ...known, suppressedBy: goesOn ? last.suppressedBy : null }
    this.happenings.push(changeRecord(step, this.#time))
    const { rule, quiet } = step
    const attention = attend(alarm, step.kind, this.#aroundOf(alarm, quiet ? undefined : rule))
    if (isCorrection) this.#keep({ ...step.current, ...keptOf(last) })
    else this.#settle(alarm, { ...attention, told: quiet && alarm.state === 'cleared' ? null : attention.told })
    if (attention.tell !== undefined) this.#tell(attention.tell, rule, alarm)
  }

  /** Nothing happened to the alarm itself. */
  again(id: string, alarm: Alarm | undefined): void {
    this.#looks.set(id, undefined)
    if (alarm === undefined) return
    const rule = this.#rules.get(alarm.rule)
    const attention = attend(alarm, 'again', this.#aroundOf(alarm, rule))
    const { tell, lapsed, awake, suppressedBy } = attention
    // What was held back is told as it happened: nothing new has happened to the alarm.
    const isHeld = alarm.told === 'held' && tell !== undefined
    const changed = (tell !== undefined && !isHeld) || lapsed || awake || nameOf(suppressedBy) !== nameOf(alarm.suppressedBy)
    const next = changed ? { ...alarm, version: alarm.version + 1, serverTime: this.#time } : alarm
    this.#settle(next, attention, changed, tell === undefined ? undefined : changeIdOf(next))
    if (isHeld && !changed) this.#alarms.set(id, { ...alarm, told: attention.told, toldSeverity: attention.toldSeverity })
    if (tell !== undefined && rule !== undefined) this.#tell(tell, rule, next)
  }

  commands(draft: Draft): CommitCommand[] {
    const project = this.#project
    const recounted = [...draft.recounted].filter(id => !this.#alarms.has(id)).flatMap(id => draft.alarms.get(id) ?? [])
    const kept = [...this.#alarms].map(([id, alarm]) => ({ ...alarm, tally: draft.alarms.get(id)?.tally ?? alarm.tally }))
    const later = [...this.#looks].flatMap(([id, atUs]) => (atUs === undefined ? [] : [atUs, id]))
    const done = [...this.#looks].filter(([, atUs]) => atUs === undefined).map(([id]) => id)
    const attended = [...this.#attended].map((id): CommitCommand => {
      const attendance = this.#attendances.get(id)
      const key = projectKey(project, 'acknowledgements')
      return attendance === undefined ? ['HDEL', key, id] : ['HSET', key, id, JSON.stringify(attendance)]
    })
    return [
      ...alarmCommands(project, [...kept, ...recounted]),
      ...attended,
      ...this.#frames,
      ...chunked('ZADD', projectKey(project, 'attention'), later),
      ...chunked('ZREM', projectKey(project, 'attention'), done),
      ...this.#told().map(({ entry }) => outboxCommand(project, entry)),
    ]
  }

  /**
   * What began and ended while nobody could look is reported once: when both are late and come in one commit, the end alone, which
   * carries when it began.
   */
  #told() {
    const over = new Map<string, number>()
    for (const [i, { entry, alarm }] of this.#outbox.entries())
      if (alarm.late && alarm.state === 'cleared') over.set(`${entry.alarm.alarmId} ${alarm.episode}`, i)
    return this.#outbox.filter(
      ({ alarm }, i) => !alarm.late || alarm.state === 'cleared' || (over.get(`${alarm.alarmId} ${alarm.episode}`) ?? -1) < i,
    )
  }

  #aroundOf(alarm: Alarm, rule: Rule | undefined): Circumstances {
    const inhibitors = this.#around.inhibitors.near(rule, alarm)
    return { ...this.#around, inhibitors, attendance: this.#attendances.get(alarm.alarmId), rule }
  }

  #settle(before: Alarm, attention: Attention, shows = true, toldOf?: string): void {
    const id = before.alarmId
    const { suppressedBy, told, toldSeverity, owed } = attention
    const alarm: Alarm = { ...before, suppressedBy, told, toldSeverity, owed }
    const records = suppressionRecords(before, attention, this.#time)
    const last = records.at(-1)
    // Because of what these say channels are told: receipts find by it what became of that.
    if (toldOf && last) records[records.length - 1] = { ...last, changeId: toldOf }
    this.happenings.push(...records)
    const attendance = this.#attendances.get(id)
    if (attendance !== undefined && (attention.lapsed || attention.awake)) {
      const { lapsed, awake } = attention
      this.#attendances.set(id, {
        ...attendance,
        ...(lapsed ? { acknowledgement: null } : {}),
        ...(awake ? { snooze: null } : {}),
      })
      this.#attended.add(id)
    }
    this.#looks.set(id, attention.nextUs)
    if (shows) this.#keep(alarm)
  }

  #keep(alarm: Alarm): void {
    this.#alarms.set(alarm.alarmId, alarm)
    this.#frames.push(frameCommand(this.#project, alarm, this.#attendances.get(alarm.alarmId)))
  }

  #tell(kind: ChangeKind, rule: Rule, alarm: Alarm): void {
    const document = alarmToJson(this.#project, alarm, this.#attendances.get(alarm.alarmId))
    this.#outbox.push({ entry: { changeId: changeIdOf(alarm), kind, channels: rule.notify, alarm: document }, alarm })
  }
}

/** What a correction of an earlier episode leaves as it is. */
function keptOf({ told, toldSeverity, owed, suppressedBy }: Partial<Alarm> = {}): Known & Pick<Alarm, 'suppressedBy'> {
  return { told: told ?? null, toldSeverity, owed, suppressedBy: suppressedBy ?? null }
}

function changeRecord({ alarm, kind, device, eventId }: Step, time: string): Happening {
  const { state, severity, since, activeSince, clearedAt, updateTime, value, limit, unit, reason, late } = alarm
  return {
    ...happeningOf(alarm, time),
    kind,
    state,
    severity,
    since,
    ...(activeSince === null ? {} : { activeSince }),
    ...(clearedAt === null ? {} : { clearedAt }),
    at: updateTime,
    ...(value === null ? {} : { value: typeof value === 'string' ? value.slice(0, MAX_TEXT) : value }),
    ...(limit === null ? {} : { limit }),
    ...(unit === null ? {} : { unit }),
    reason: reason.slice(0, MAX_TEXT),
    ...(eventId === undefined ? {} : { eventId }),
    ...(late ? { late } : {}),
    changeId: changeIdOf(alarm),
    ...(alarm.group === null ? {} : { member: device, devices: alarm.devices }),
  }
}

/** What ended of people's doing, and what from now on keeps people from being told, or no longer does. A snooze is in the history already. */
function suppressionRecords(alarm: Alarm, { suppressedBy, lapsed, awake }: Attention, time: string): Happening[] {
  const common = happeningOf(alarm, time)
  const records: Happening[] = []
  if (lapsed) records.push({ ...common, kind: 'unacknowledged', reason: 'the acknowledgement has lapsed' })
  if (awake) records.push({ ...common, kind: 'unsnoozed', reason: 'the snooze is over' })
  if (alarm.state === 'cleared' || nameOf(suppressedBy) === nameOf(alarm.suppressedBy)) return records
  const { suppressedBy: was } = alarm
  if (was && was.kind !== 'snooze')
    records.push({ ...common, kind: was.kind === 'silence' ? 'unsilenced' : 'uninhibited', cause: was.name })
  if (suppressedBy && suppressedBy.kind !== 'snooze') {
    const kind = suppressedBy.kind === 'silence' ? 'silenced' : 'inhibited'
    records.push({ ...common, kind, cause: suppressedBy.name, ...(suppressedBy.until === null ? {} : { until: suppressedBy.until }) })
  }
  return records
}

function nameOf(suppression: Suppression | null): string {
  return suppression === null ? '' : `${suppression.kind} ${suppression.name} ${suppression.until}`
}
