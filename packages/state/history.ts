// The history of alarms in Redis: one chain per project, appended to by the judge's commits and by people's actions, read by whoever asks
// what happened. Nothing rewrites it; what is too old is cut off at the start, and the hash before that is kept.
import { createHash } from 'node:crypto'
import type { Redis } from 'ioredis'
import { canonicalJson, chained, GENESIS, type Happening, type Head, type HistoryRecord } from '../core/chain.ts'
import { Failure } from '../core/failure.ts'
import { parseTime } from '../core/time.ts'
import { projectKey } from '../log/key.ts'
import { type CommitCommand, commandArgs, EXPECT, RUN } from '../log/log.ts'
import { toldKey } from './outbox.ts'

/** Runs the commands if the chain ends where it was read to end: nothing changes an alarm without moving that. Not while it is the judge's turn. */
const APPEND = `
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
local i = 2
${RUN}
return 1`

/** Cuts off everything before a record, which the lists of the alarms (from the fourth key on) forget, and what was told of it (behind those). */
const TRIM = `
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
for k = 4, #KEYS do
  if ARGV[k + 1] then redis.call('LPOP', KEYS[k], ARGV[k + 1]) else redis.call('UNLINK', KEYS[k]) end
end
if tonumber(ARGV[4]) > 0 then redis.call('INCRBY', KEYS[3], ARGV[4]) end
return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[3])`

type Scripts = {
  telltaleAppendHistory(keys: number, ...args: (string | number)[]): Promise<number>
  telltaleTrimHistory(keys: number, ...args: (string | number)[]): Promise<number>
}

/** What somebody does: what the history says of it, and what it changes, in one step. */
export type Action<T> = {
  readonly happenings: readonly Happening[]
  readonly commands: readonly CommitCommand[]
  readonly result: T
}

export type HistoryPage = {
  readonly records: readonly HistoryRecord[]
  /** What is before the first one: with it the page can be verified by itself. */
  readonly base: Head
  /** The `fromSeq` of the next page; undefined at the end. */
  readonly next: number | undefined
}

/** People's acts come between two commits of the judge, each of which may take so long under a storm of alarms. */
const PATIENCE_MS = 8000
const FIRST_WAIT_MS = 4
const MAX_WAIT_MS = 100
/** Of a judge that dies in its turn. */
const TURN_MS = 2000
const TRIM_AT_ONCE = 1000
const TRIM_ROUNDS = 20
/** Of one project, however young they are: a record takes 700 bytes, and an alarm that flaps must not take the memory of all. */
const MAX_RECORDS = 200_000
const MAX_READ = 1000
/** An alarm that has so many flaps: it must not push what happened to all others out of the history. */
const FLAPPING = 2000
const KEEP_ONE_OF = 100

export function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

export class History {
  readonly #redis: Redis & Scripts
  readonly #flapping: number

  constructor(redis: Redis, flapping = FLAPPING) {
    this.#flapping = flapping
    redis.defineCommand('telltaleAppendHistory', { lua: APPEND })
    redis.defineCommand('telltaleTrimHistory', { lua: TRIM })
    this.#redis = redis as Redis & Scripts
  }

  /** Where the chain ends. */
  async head(project: string): Promise<Head> {
    return parseHead(await this.#redis.get(projectKey(project, HEAD)))
  }

  /** What is before the oldest record that is kept. */
  async base(project: string): Promise<Head> {
    return parseHead(await this.#redis.get(projectKey(project, BASE)))
  }

  /** @param plan reads what it needs, and is asked again when the alarms have changed since. */
  async append<T>(project: string, plan: () => Promise<Action<T>>): Promise<T> {
    const endMs = performance.now() + PATIENCE_MS
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 2, MAX_WAIT_MS)) {
      const head = await this.head(project)
      const { happenings, commands, result } = await plan()
      const keys = [projectKey(project, HEAD), projectKey(project, TURN)]
      const written = historyCommands(project, chained(head, happenings, digest))
      const args = [formatHead(head), ...commandArgs([...commands, ...written], keys)]
      if ((await this.#redis.telltaleAppendHistory(keys.length, ...keys, ...args)) === 1) return result
      if (performance.now() > endMs) break
      // Not all at once again.
      await new Promise(resolve => setTimeout(resolve, waitMs * (0.5 + Math.random())))
    }
    throw new Failure('unavailable', 'the alarms of this project are changing too quickly: try again', { retryAfterMs: 1000 })
  }

  /**
   * Lets nobody else append for a moment: for the judge, whose commits are long in the making and would be outrun again and again. Returns
   * what ends its turn, to be committed with what it was for.
   */
  async takeTurn(project: string): Promise<CommitCommand> {
    const key = projectKey(project, TURN)
    await this.#redis.set(key, '1', 'PX', TURN_MS)
    return ['DEL', key]
  }

  /** The newest records of one alarm, oldest first. */
  async read(project: string, alarmId: string, limit = MAX_READ): Promise<HistoryRecord[]> {
    const numbers = await this.#redis.lrange(listKey(project, alarmId), -Math.min(limit, MAX_READ), -1)
    const pipeline = this.#redis.pipeline()
    for (const seq of numbers) pipeline.xrange(projectKey(project, STREAM), `${seq}-0`, `${seq}-0`)
    const replies = (await pipeline.exec()) ?? []
    return replies.flatMap(([error, rows]) => {
      if (error) throw error
      return (rows as Row[]).map(parseRow)
    })
  }

  /**
   * Without most of what the engine says of alarms that flap: of one that has FLAPPING records in the history already only each hundredth
   * change is written, by its version, which shows how many were left out between two records. What people did is always written.
   */
  async thinned(project: string, happenings: readonly Happening[]): Promise<Happening[]> {
    const changes = happenings.filter(({ changeId, alarmId }) => changeId !== undefined && alarmId !== '')
    const ids = [...new Set(changes.map(({ alarmId }) => alarmId))]
    const pipeline = this.#redis.pipeline()
    for (const id of ids) pipeline.llen(listKey(project, id))
    const replies = ids.length === 0 ? [] : ((await pipeline.exec()) ?? [])
    const flapping = new Set<string>()
    for (const [i, [error, count]] of replies.entries()) {
      if (error) throw error
      if ((count as number) >= this.#flapping) flapping.add(ids[i] as string)
    }
    if (flapping.size === 0) return [...happenings]
    return happenings.filter(one => one.changeId === undefined || !flapping.has(one.alarmId) || versionOf(one.changeId) % KEEP_ONE_OF === 0)
  }

  /** How many records were cut off only because there were too many, ever. */
  async surplus(project: string): Promise<number> {
    return Number((await this.#redis.get(projectKey(project, SURPLUS))) ?? 0)
  }

  /** Oldest first, from this number on or from the oldest one that is kept. */
  async page(project: string, fromSeq: number, limit: number): Promise<HistoryPage> {
    const [base, rows] = await Promise.all([this.base(project), this.#rows(project, fromSeq, limit + 1)])
    const records = rows.slice(0, limit).map(parseRow)
    const next = rows.length > limit ? (records.at(-1)?.seq ?? 0) + 1 : undefined
    if (fromSeq <= base.seq + 1) return { records, base, next }
    const [before] = await this.#rows(project, fromSeq - 1, 1)
    return { records, base: before ? headOf(parseRow(before)) : base, next }
  }

  /**
   * Cuts off what was written before this time, and whatever is too much; a bounded part of it at once. Returns how many records went only
   * because there were too many.
   */
  async trim(project: string, beforeUs: number, maxRecords = MAX_RECORDS): Promise<number> {
    let surplus = 0
    for (let round = 0; round < TRIM_ROUNDS; round++) {
      const cut = await this.#trimSome(project, beforeUs, maxRecords)
      surplus += cut.surplus
      if (cut.records < TRIM_AT_ONCE) break
    }
    return surplus
  }

  async #trimSome(project: string, beforeUs: number, maxRecords: number): Promise<{ records: number; surplus: number }> {
    const [base, head, [first]] = await Promise.all([
      this.#redis.get(projectKey(project, BASE)),
      this.head(project),
      this.#rows(project, 0, 1),
    ])
    const isKept = ({ time, seq }: HistoryRecord) => (parseTime(time) ?? 0) >= beforeUs && seq > head.seq - maxRecords
    // Most of the time there is nothing to cut off.
    if (first === undefined || isKept(parseRow(first))) return { records: 0, surplus: 0 }
    const oldest = (await this.#rows(project, 0, TRIM_AT_ONCE)).map(parseRow)
    const kept = oldest.findIndex(isKept)
    const gone = kept < 0 ? oldest : oldest.slice(0, kept)
    const last = gone.at(-1)
    if (last === undefined) return { records: 0, surplus: 0 }
    const perAlarm = new Map<string, number>()
    for (const { alarmId } of gone) if (alarmId !== '') perAlarm.set(alarmId, (perAlarm.get(alarmId) ?? 0) + 1)
    const told = gone.flatMap(({ changeId }) => (changeId === undefined ? [] : [toldKey(project, changeId)]))
    const surplus = gone.filter(({ time }) => (parseTime(time) ?? 0) >= beforeUs).length
    const lists = [...perAlarm.keys()].map(id => listKey(project, id))
    const keys = [projectKey(project, STREAM), projectKey(project, BASE), projectKey(project, SURPLUS), ...lists, ...told]
    const args = [base ?? '', formatHead(headOf(last)), `${last.seq + 1}-0`, surplus, ...perAlarm.values()]
    const cut = await this.#redis.telltaleTrimHistory(keys.length, ...keys, ...args)
    return cut === 0 ? { records: 0, surplus: 0 } : { records: gone.length, surplus }
  }

  async #rows(project: string, fromSeq: number, count: number): Promise<Row[]> {
    return this.#redis.xrange(projectKey(project, STREAM), `${Math.max(1, fromSeq)}-0`, '+', 'COUNT', count)
  }
}

/** For a commit of the judge: these happenings (if any) follow upon the head, or nothing of the commit happens. */
export function chain(project: string, head: Head, happenings: readonly Happening[]): { commands: CommitCommand[]; head: Head } {
  const records = chained(head, happenings, digest)
  const last = records.at(-1)
  const expected = [EXPECT, projectKey(project, HEAD), formatHead(head)] as const
  return { commands: [expected, ...historyCommands(project, records)], head: last === undefined ? head : headOf(last) }
}

function historyCommands(project: string, records: readonly HistoryRecord[]): CommitCommand[] {
  const stream = projectKey(project, STREAM)
  const commands: CommitCommand[] = records.flatMap(({ hash, ...record }) => {
    const add: CommitCommand = ['XADD', stream, `${record.seq}-0`, 'r', canonicalJson(record), 'h', hash]
    return record.alarmId === '' ? [add] : [add, ['RPUSH', listKey(project, record.alarmId), record.seq]]
  })
  const last = records.at(-1)
  if (last !== undefined) commands.push(['SET', projectKey(project, HEAD), formatHead(last)])
  return commands
}

const STREAM = 'history'
const HEAD = 'history:head'
const BASE = 'history:base'
const TURN = 'history:turn'
/** How many records went though they were young. */
const SURPLUS = 'history:surplus'

/** See changeIdOf. */
function versionOf(changeId: string): number {
  return Number(changeId.slice(changeId.lastIndexOf('-') + 1))
}

function listKey(project: string, alarmId: string): string {
  return projectKey(project, `history:${alarmId}`)
}

type Row = [id: string, fields: string[]]

function parseRow([, fields]: Row): HistoryRecord {
  return { ...(JSON.parse(fields[1] as string) as Omit<HistoryRecord, 'hash'>), hash: fields[3] as string }
}

function headOf({ seq, hash }: HistoryRecord): Head {
  return { seq, hash }
}

/** Nothing is kept of a chain that has not begun. */
function formatHead({ seq, hash }: Head): string {
  return seq === 0 ? '' : `${seq} ${hash}`
}

function parseHead(text: string | null): Head {
  if (text === null || text === '') return GENESIS
  const [seq, hash] = text.split(' ') as [string, string]
  return { seq: Number(seq), hash }
}
