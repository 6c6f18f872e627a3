// Alarms in Redis: written by the judge together with its place; what people do about them stands beside, and in the history.
import type { Redis } from 'ioredis'
import { type Alarm, type Attendance, alarmToJson, attendanceOf } from '../core/alarm.ts'
import type { Happening, HistoryRecord } from '../core/chain.ts'
import { Failure } from '../core/failure.ts'
import { asciiJson } from '../core/json.ts'
import { formatTime, parseTime } from '../core/time.ts'
import { indexLine } from '../log/entry.ts'
import { projectKey } from '../log/key.ts'
import { type CommitCommand, chunked } from '../log/log.ts'
import { History } from './history.ts'
import { readRule } from './rule.ts'

export type AlarmDocument = ReturnType<typeof alarmToJson>
export type AlarmPage = { readonly alarms: readonly AlarmDocument[]; readonly next: string }

/** `sinceUs`: changed then or later by the clock of the server. */
export type AlarmQuery = { readonly wanted?: (alarm: AlarmDocument) => boolean; readonly sinceUs?: number | undefined }

/** Somebody's act: by whom, when, and what they say about it. */
export type Act = { readonly by: string; readonly time: string; readonly comment: string }

/** What an act makes of what people did before, and says in the history. */
type Deed = Partial<Omit<Attendance, 'episode'>> & { readonly said: Pick<Happening, 'kind' | 'to' | 'until'> }

/** Unless one has changed since it was looked at. */
const DROP = `
for i = 1, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or -1) == tonumber(ARGV[i + 1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('HDEL', KEYS[3], ARGV[i])
    redis.call('ZREM', KEYS[4], ARGV[i])
  end
end`

type Scripts = { telltaleDropAlarms(keys: number, ...args: string[]): Promise<null> }

const DROP_AT_ONCE = 500
const SCAN_PAGE = 200
const MAX_SCANNED = 20_000

export class Alarms {
  readonly #redis: Redis & Scripts
  readonly #history: History

  constructor(redis: Redis) {
    redis.defineCommand('telltaleDropAlarms', { lua: DROP })
    this.#redis = redis as Redis & Scripts
    this.#history = new History(redis)
  }

  /** As the judge keeps them. */
  async get(project: string, ids: readonly string[]): Promise<(Alarm | undefined)[]> {
    if (ids.length === 0) return []
    const rows = await this.#redis.hmget(projectKey(project, 'alarms'), ...ids)
    return rows.map(row => (row === null ? undefined : parseAlarm(row)))
  }

  /** What people did about them. */
  async attendances(project: string, ids: readonly string[]): Promise<(Attendance | undefined)[]> {
    if (ids.length === 0) return []
    const rows = await this.#redis.hmget(projectKey(project, 'acknowledgements'), ...ids)
    return rows.map(row => (row === null ? undefined : parseAttendance(row)))
  }

  async one(project: string, id: string): Promise<AlarmDocument> {
    const [document] = await this.#documents(project, [id])
    if (!document) throw missing(project, id)
    return document
  }

  /**
   * Most recently changed first; `after` is the `next` of the page before. A page may hold fewer than the limit, or none: few that are
   * wanted are not looked for among all there are at once.
   */
  async list(project: string, { wanted = () => true, sinceUs = 0 }: AlarmQuery, after: string, limit: number): Promise<AlarmPage> {
    const found: AlarmDocument[] = []
    const first = after === '' ? 0 : Number(after)
    for (let from = first; from - first < MAX_SCANNED; from += SCAN_PAGE) {
      const ids = await this.#redis.zrevrange(projectKey(project, 'alarmIndex'), from, from + SCAN_PAGE - 1)
      const documents = await this.#documents(project, ids)
      for (const [i, document] of documents.entries()) {
        if ((parseTime(document.serverTime) ?? 0) < sinceUs) return { alarms: found, next: '' }
        if (wanted(document) && found.push(document) === limit) return { alarms: found, next: String(from + i + 1) }
      }
      if (ids.length < SCAN_PAGE) return { alarms: found, next: '' }
    }
    return { alarms: found, next: String(first + MAX_SCANNED) }
  }

  /** All that happened to one, oldest first; the newest `limit` of it. */
  async history(project: string, id: string, limit?: number): Promise<HistoryRecord[]> {
    if ((await this.#redis.hexists(projectKey(project, 'alarms'), id)) === 0) throw missing(project, id)
    return this.#history.read(project, id, limit)
  }

  /** Marks this episode as seen by somebody; again replaces who and why. It lapses when the rule says so (`unacknowledgeAfter`). */
  async acknowledge(project: string, id: string, by: string, comment: string, time: string): Promise<AlarmDocument> {
    return this.#act(project, id, { by, time, comment }, async alarm => {
      const lapseMs = await this.#lapseMs(project, alarm.rule)
      const lapses = lapseMs === 0 ? null : formatTime((parseTime(time) ?? 0) + lapseMs * 1000)
      return {
        acknowledgement: { by, time, comment, lapses },
        said: { kind: 'acknowledged', ...(lapses === null ? {} : { until: lapses }) },
      }
    })
  }

  /** Of a rule that is gone, or broken, an acknowledgement does not lapse. */
  async #lapseMs(project: string, rule: string): Promise<number> {
    const row = await this.#redis.hget(projectKey(project, 'rules'), rule)
    const kept = row === null ? undefined : readRule(row, rule)
    return kept === undefined || 'problem' in kept ? 0 : kept.unacknowledgeAfterMs
  }

  async unacknowledge(project: string, id: string, act: Act): Promise<AlarmDocument> {
    return this.#act(project, id, act, () => ({ acknowledgement: null, said: { kind: 'unacknowledged' } }))
  }

  /** `to` empty: nobody any more. */
  async assign(project: string, id: string, act: Act, to: string): Promise<AlarmDocument> {
    const assignee = to === '' ? null : { to, by: act.by, time: act.time }
    return this.#act(project, id, act, () => ({ assignee, said: { kind: 'assigned', to } }))
  }

  async comment(project: string, id: string, act: Act): Promise<AlarmDocument> {
    return this.#act(project, id, act, () => ({ said: { kind: 'commented' } }))
  }

  /** Nobody is told of this episode until then; null: ends that. */
  async snooze(project: string, id: string, act: Act, until: string | null): Promise<AlarmDocument> {
    return this.#act(project, id, act, alarm => {
      if (until === null) return { snooze: null, said: { kind: 'unsnoozed' } }
      if (alarm.state === 'cleared') throw new Failure('conflict', `alarm ${id} is cleared: there is nothing to snooze`)
      return { snooze: { by: act.by, time: act.time, until }, said: { kind: 'snoozed', until } }
    })
  }

  async #act(project: string, id: string, act: Act, deed: (alarm: Alarm) => Deed | Promise<Deed>): Promise<AlarmDocument> {
    return this.#history.append(project, async () => {
      const [[alarm], [before]] = await Promise.all([this.get(project, [id]), this.attendances(project, [id])])
      if (alarm === undefined) throw missing(project, id)
      const { said, ...changed } = await deed(alarm)
      const attendance: Attendance = { ...attendanceOf(alarm, before), ...changed, episode: alarm.episode }
      const document = alarmToJson(project, alarm, attendance)
      const happening: Happening = { ...happeningOf(alarm, act.time), by: act.by, ...said }
      const commands: CommitCommand[] = [
        ['HSET', projectKey(project, 'acknowledgements'), id, JSON.stringify(attendance)],
        frameCommand(project, alarm, attendance),
        // The judge looks again, which tells those who are to be told, and when to look next.
        ['ZADD', projectKey(project, 'attention'), 0, id],
      ]
      return { happenings: [act.comment === '' ? happening : { ...happening, comment: act.comment }], commands, result: document }
    })
  }

  /** Forgets alarms that were over before this time, with what people did about them; a bounded number at once. */
  async dropCleared(project: string, beforeUs: number): Promise<void> {
    if (beforeUs <= 0) return
    const rows = await this.#redis.zrange(
      projectKey(project, 'alarmIndex'),
      '-inf',
      `(${beforeUs}`,
      'BYSCORE',
      'LIMIT',
      0,
      DROP_AT_ONCE,
      'WITHSCORES',
    )
    const scores = new Map(rows.flatMap((id, i) => (i % 2 === 0 ? [[id, rows[i + 1] as string] as const] : [])))
    const found = await this.get(project, [...scores.keys()])
    const over = found.flatMap(alarm => (alarm?.state === 'cleared' ? [alarm.alarmId] : []))
    if (over.length === 0) return
    const keys = ['alarmIndex', 'alarms', 'acknowledgements', 'attention'].map(key => projectKey(project, key))
    await this.#redis.telltaleDropAlarms(keys.length, ...keys, ...over.flatMap(id => [id, scores.get(id) as string]))
  }

  async #documents(project: string, ids: readonly string[]): Promise<AlarmDocument[]> {
    const [alarms, attendances] = await Promise.all([this.get(project, ids), this.attendances(project, ids)])
    return alarms.flatMap((alarm, i) => (alarm ? [alarmToJson(project, alarm, attendances[i])] : []))
  }
}

/** What every record about an alarm says. */
export function happeningOf(alarm: Alarm, time: string): Omit<Happening, 'kind'> {
  const { alarmId, rule, ruleVersion, device, episode } = alarm
  return { time, alarmId, rule, ruleVersion, device, episode }
}

/** What the judge commits for alarms: the documents, their places in the list, and which of them are active. */
export function alarmCommands(project: string, alarms: readonly Alarm[]): CommitCommand[] {
  const active = new Map<string, string[]>()
  const others = new Map<string, string[]>()
  for (const { alarmId, rule, device, labels, group, state } of alarms)
    if (state === 'active') listOf(active, rule).push(alarmId, JSON.stringify({ alarmId, rule, device, labels, group }))
    else listOf(others, rule).push(alarmId)
  return [
    ...chunked(
      'HSET',
      projectKey(project, 'alarms'),
      alarms.flatMap(alarm => [alarm.alarmId, JSON.stringify(alarm)]),
    ),
    ...chunked(
      'ZADD',
      projectKey(project, 'alarmIndex'),
      alarms.flatMap(alarm => [parseTime(alarm.serverTime) ?? 0, alarm.alarmId]),
    ),
    ...[...active].flatMap(([rule, pairs]) => chunked('HSET', activeKey(project, rule), pairs)),
    ...[...others].flatMap(([rule, ids]) => chunked('HDEL', activeKey(project, rule), ids)),
  ]
}

function listOf(lists: Map<string, string[]>, key: string): string[] {
  const known = lists.get(key)
  if (known) return known
  const list: string[] = []
  lists.set(key, list)
  return list
}

/** For those who follow. */
export function frameCommand(project: string, alarm: Alarm, attendance: Attendance | undefined): CommitCommand {
  const line = indexLine(alarm.device, alarm.rule, parseTime(alarm.updateTime) ?? 0)
  return ['XADD', projectKey(project, 'alarmlog'), '*', 'i', line, 'f', asciiJson(alarmToJson(project, alarm, attendance))]
}

/** The active alarms of a rule, by id, with what inhibition asks of them. */
export function activeKey(project: string, rule: string): string {
  return projectKey(project, `active:${rule}`)
}

/** Alarms of before there were groups and suppressions say nothing of them. */
function parseAlarm(row: string): Alarm {
  const alarm = JSON.parse(row) as Alarm
  if (alarm.told !== undefined) return alarm
  const isActive = alarm.state === 'active'
  return { ...alarm, group: null, devices: isActive ? 1 : 0, suppressedBy: null, told: isActive ? 'active' : null, tally: null }
}

/** As above: there were only acknowledgements, which did not lapse. */
function parseAttendance(row: string): Attendance {
  const attendance = JSON.parse(row) as Attendance | { episode: number; by: string; time: string; comment: string }
  if (!('by' in attendance)) return attendance
  const { episode, ...acknowledgement } = attendance
  return { episode, acknowledgement: { ...acknowledgement, lapses: null }, assignee: null, snooze: null }
}

function missing(project: string, id: string): Failure {
  return new Failure('not_found', `alarm ${id} does not exist in project ${project}`, { field: 'alarm' })
}
