// Alarms in Redis: written by the judge together with its place, acknowledged by people beside it.
import type { Redis } from 'ioredis'
import { type Acknowledgement, type Alarm, alarmToJson } from '../core/alarm.ts'
import { Failure } from '../core/failure.ts'
import { asciiJson } from '../core/json.ts'
import { parseTime } from '../core/time.ts'
import { indexLine } from '../log/entry.ts'
import { projectKey } from '../log/key.ts'
import type { CommitCommand } from '../log/log.ts'

export type AlarmDocument = ReturnType<typeof alarmToJson>
export type AlarmPage = { readonly alarms: readonly AlarmDocument[]; readonly next: string }

/** Acknowledges only the alarm that was looked at: a change in between makes the caller look again. */
const ACKNOWLEDGE = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('XADD', KEYS[3], '*', 'i', ARGV[4], 'f', ARGV[5])
return 1`

type Scripts = { telltaleAcknowledge(keys: number, ...args: string[]): Promise<number> }

const SCAN_PAGE = 200

export class Alarms {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis) {
    redis.defineCommand('telltaleAcknowledge', { lua: ACKNOWLEDGE })
    this.#redis = redis as Redis & Scripts
  }

  /** As the judge keeps them, without acknowledgements. */
  async get(project: string, ids: readonly string[]): Promise<(Alarm | undefined)[]> {
    if (ids.length === 0) return []
    const rows = await this.#redis.hmget(projectKey(project, 'alarms'), ...ids)
    return rows.map(row => (row === null ? undefined : (JSON.parse(row) as Alarm)))
  }

  async acknowledgements(project: string, ids: readonly string[]): Promise<(Acknowledgement | undefined)[]> {
    if (ids.length === 0) return []
    const rows = await this.#redis.hmget(projectKey(project, 'acknowledgements'), ...ids)
    return rows.map(row => (row === null ? undefined : (JSON.parse(row) as Acknowledgement)))
  }

  async one(project: string, id: string): Promise<AlarmDocument> {
    const [document] = await this.#documents(project, [id])
    if (!document) throw new Failure('not_found', `alarm ${id} does not exist in project ${project}`, { field: 'alarm' })
    return document
  }

  /** Most recently changed first; `after` is the `next` of the page before. */
  async list(project: string, states: ReadonlySet<string> | undefined, after: string, limit: number): Promise<AlarmPage> {
    const found: AlarmDocument[] = []
    let from = after === '' ? 0 : Number(after)
    for (;;) {
      const ids = await this.#redis.zrevrange(projectKey(project, 'alarmIndex'), from, from + SCAN_PAGE - 1)
      for (const document of await this.#documents(project, ids)) {
        from++
        if (states && !states.has(document.state)) continue
        found.push(document)
        if (found.length === limit) return { alarms: found, next: String(from) }
      }
      if (ids.length < SCAN_PAGE) return { alarms: found, next: '' }
    }
  }

  /** Marks this episode as seen by somebody; again replaces who and why. */
  async acknowledge(project: string, id: string, by: string, comment: string, time: string): Promise<AlarmDocument> {
    const keys = ['alarms', 'acknowledgements', 'alarmlog'].map(name => projectKey(project, name))
    for (let attempt = 0; attempt < 20; attempt++) {
      const row = await this.#redis.hget(keys[0] as string, id)
      if (row === null) throw new Failure('not_found', `alarm ${id} does not exist in project ${project}`, { field: 'alarm' })
      const alarm = JSON.parse(row) as Alarm
      const acknowledgement: Acknowledgement = { episode: alarm.episode, by, time, comment }
      const document = alarmToJson(project, alarm, acknowledgement)
      const line = alarmLine(alarm)
      if ((await this.#redis.telltaleAcknowledge(3, ...keys, id, row, JSON.stringify(acknowledgement), line, asciiJson(document))) === 1)
        return document
    }
    throw new Failure('conflict', `alarm ${id} is changing too quickly: try again`)
  }

  async #documents(project: string, ids: readonly string[]): Promise<AlarmDocument[]> {
    const [alarms, acknowledgements] = await Promise.all([this.get(project, ids), this.acknowledgements(project, ids)])
    return alarms.flatMap((alarm, i) => (alarm ? [alarmToJson(project, alarm, acknowledgements[i])] : []))
  }
}

/** What the judge commits for one changed alarm: the document, its place in the list, and the frame for those who follow. */
export function alarmCommands(project: string, alarm: Alarm, acknowledgement: Acknowledgement | undefined): CommitCommand[] {
  return [
    ['HSET', projectKey(project, 'alarms'), alarm.alarmId, JSON.stringify(alarm)],
    ['ZADD', projectKey(project, 'alarmIndex'), parseTime(alarm.serverTime) ?? 0, alarm.alarmId],
    ['XADD', projectKey(project, 'alarmlog'), '*', 'i', alarmLine(alarm), 'f', asciiJson(alarmToJson(project, alarm, acknowledgement))],
  ]
}

function alarmLine(alarm: Alarm): string {
  return indexLine(alarm.device, alarm.rule, parseTime(alarm.updateTime) ?? 0)
}
