// Silences in Redis: what people made, and a version by which the judge knows to look again.
import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import type { Happening } from '../core/chain.ts'
import { Failure } from '../core/failure.ts'
import { xid } from '../core/id.ts'
import type { Silence } from '../core/silence.ts'
import { formatTime } from '../core/time.ts'
import { projectKey } from '../log/key.ts'
import type { CommitCommand } from '../log/log.ts'
import { EVERY } from './attention.ts'
import { History } from './history.ts'

const MAX_SILENCES = 1000
/** Of a record: a thousand characters of matchers say enough. */
const MAX_REASON = 1000
/** Those that are over can be looked at for so long. */
const KEEP_US = 30 * 86_400_000_000

export class Silences {
  readonly #redis: Redis
  readonly #history: History

  constructor(redis: Redis) {
    this.#redis = redis
    this.#history = new History(redis)
  }

  /** The one that begins last comes first. */
  async list(project: string): Promise<Silence[]> {
    const rows = Object.values(await this.#redis.hgetall(projectKey(project, 'silences')))
    return rows.map(row => JSON.parse(row) as Silence).toSorted((a, b) => b.startUs - a.startUs || (a.id < b.id ? -1 : 1))
  }

  async one(project: string, id: string): Promise<Silence> {
    const row = await this.#redis.hget(projectKey(project, 'silences'), id)
    if (row === null) throw missing(project, id)
    return JSON.parse(row) as Silence
  }

  /** Makes one (its id is not there yet) or replaces one. */
  async save(project: string, silence: Silence, by: string, nowUs: number): Promise<Silence> {
    return this.#history.append(project, async () => {
      const known = await this.list(project)
      const over = known.filter(({ id, endUs }) => id !== silence.id && endUs < nowUs - KEEP_US).map(({ id }) => id)
      const isNew = !known.some(({ id }) => id === silence.id)
      if (isNew && known.length - over.length >= MAX_SILENCES)
        throw new Failure('conflict', `project ${project} has ${MAX_SILENCES} silences: delete some`)
      const key = projectKey(project, 'silences')
      const commands: CommitCommand[] = [['HSET', key, silence.id, JSON.stringify(silence)]]
      if (over.length > 0) commands.push(['HDEL', key, ...over])
      const happening = { ...happeningOf(silence, 'silenced', by, nowUs), until: formatTime(silence.endUs), comment: silence.reason }
      return { happenings: [happening], commands: [...commands, ...lookAgain(project)], result: silence }
    })
  }

  /** Whoever it kept from being told is told then. */
  async remove(project: string, id: string, by: string, nowUs: number): Promise<void> {
    await this.#history.append(project, async () => {
      const silence = await this.one(project, id)
      const commands: CommitCommand[] = [['HDEL', projectKey(project, 'silences'), id], ...lookAgain(project)]
      return { happenings: [happeningOf(silence, 'unsilenced', by, nowUs)], commands, result: undefined }
    })
  }

  /** Changes with every one that is made, changed or removed; empty before the first. */
  async version(project: string): Promise<string> {
    return (await this.#redis.get(projectKey(project, 'silencesVersion'))) ?? ''
  }
}

export function newSilenceId(nowUs: number): string {
  const random = randomBytes(8)
  return xid(Math.floor(nowUs / 1_000_000) >>> 0, random.readUInt32BE(0), random.readUInt32BE(4))
}

function lookAgain(project: string): CommitCommand[] {
  return [
    ['INCR', projectKey(project, 'silencesVersion')],
    ['ZADD', projectKey(project, 'attention'), 0, EVERY],
  ]
}

function happeningOf(silence: Silence, kind: 'silenced' | 'unsilenced', by: string, nowUs: number): Happening {
  const reason = silence.matchers
    .map(({ field, values }) => `${field}=${values.join('|')}`)
    .join(' ')
    .slice(0, MAX_REASON)
  const nothing = { alarmId: '', rule: '', ruleVersion: 0, device: '', episode: 0 }
  return { ...nothing, time: formatTime(nowUs), kind, by, cause: silence.id, reason }
}

function missing(project: string, id: string): Failure {
  return new Failure('not_found', `silence ${id} does not exist in project ${project}`, { field: 'silence' })
}
