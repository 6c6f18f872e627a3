// The log: one Redis Stream per project. Appending is what makes an event accepted; everything else reads from here.
import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { acceptedUs, type LogEntry, parseEntry } from './entry.ts'
import { projectKey } from './key.ts'

/** What a project has as streams of entries: its events, and the changes of its alarms. */
export type Stream = 'log' | 'alarmlog'

/** A batch on its way into the log: one line, frame and key per event, in order. */
export type AppendBatch = {
  readonly index: readonly string[]
  readonly frames: readonly string[]
  /** Content keys by which redeliveries are known. */
  readonly keys: readonly string[]
  /** One character per event: `c` drop it if its key was seen, `a` only remember the key. */
  readonly modes: string
}

export type AppendOutcome = {
  /** Undefined when every event of the batch was a redelivery. */
  readonly entryId: string | undefined
  readonly duplicates: number
  /** Consumers that nobody had woken yet. */
  readonly wake: readonly string[]
}

/** Keys remembered per generation; a redelivery is recognised for one to two generations. About 80 bytes a key. */
const SEEN_LIMIT = 250_000
/** A wake flag that outlives a lost wake for no longer than this; the sweep makes up for it. */
export const WAKE_MS = 1000

const APPEND = `
local n = tonumber(ARGV[4])
local index, frames = ARGV[1], ARGV[2]
local modes = ARGV[3]
local now = redis.call('SMISMEMBER', KEYS[2], unpack(ARGV, 7, 6 + n))
local old = redis.call('SMISMEMBER', KEYS[3], unpack(ARGV, 7, 6 + n))
local dropped, drop = 0, {}
for k = 1, n do
  if string.byte(modes, k) == 99 and (now[k] == 1 or old[k] == 1) then drop[k] = true; dropped = dropped + 1 end
end
if dropped == n then return {'', dropped} end
if dropped > 0 then
  local function keep(text)
    local kept, k = {}, 0
    for line in string.gmatch(text, '[^\\n]+') do
      k = k + 1
      if not drop[k] then kept[#kept + 1] = line end
    end
    return table.concat(kept, '\\n')
  end
  index, frames = keep(index), keep(frames)
end
if redis.call('SADD', KEYS[2], unpack(ARGV, 7, 6 + n)) > 0 and redis.call('SCARD', KEYS[2]) > tonumber(ARGV[5]) then
  redis.call('UNLINK', KEYS[3])
  redis.call('RENAME', KEYS[2], KEYS[3])
end
local reply = {redis.call('XADD', KEYS[1], '*', 'i', index, 'f', frames), dropped}
for k = 4, #KEYS do
  if redis.call('SET', KEYS[k], '1', 'NX', 'PX', ARGV[6]) then reply[#reply + 1] = k - 3 end
end
return reply`

/**
 * Runs the commands that stand in ARGV from `i` on, each as: argument count, name, key number, arguments. Redis takes nothing back when one
 * of them fails, so what can fail is looked for first: a key of another type than the command's stops all of it before anything is written,
 * and `commandArgs` refuses what is no number or too long. What is left is an XADD with an id of its own that is not the next one, which is
 * the first write of its commit; a place that a commit moves is written last, so whatever fails is done again and not lost.
 */
export const RUN = `
local families = {H = 'hash', Z = 'zset', X = 'stream', R = 'list', L = 'list', S = 'set', I = 'string'}
local checked, first = {}, i
while i <= #ARGV do
  local name, key = ARGV[i + 1], KEYS[tonumber(ARGV[i + 2])]
  if not checked[key] and name ~= 'DEL' and name ~= 'UNLINK' then
    checked[key] = true
    local family = (string.sub(name, 1, 3) == 'SET' or string.find(name, 'EXPIRE')) and 'any' or families[string.sub(name, 1, 1)] or 'any'
    local kind = redis.call('TYPE', key).ok
    if family ~= 'any' and kind ~= 'none' and kind ~= family then
      return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. kind .. ', ' .. name .. ' needs a ' .. family)
    end
  end
  i = i + tonumber(ARGV[i]) + 1
end
i = first
while i <= #ARGV do
  local n = tonumber(ARGV[i])
  redis.call(ARGV[i + 1], KEYS[tonumber(ARGV[i + 2])], unpack(ARGV, i + 3, i + n))
  i = i + n + 1
end`

/**
 * Moves a consumer's place and runs its writes with it, or does nothing when the place is not where this worker read it:
 * a worker that lost its partition cannot commit.
 */
const COMMIT = `
local place = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if place ~= ARGV[2] then return 0 end
local i = 4
while ARGV[i + 1] == 'EXPECT' do
  if (redis.call('GET', KEYS[tonumber(ARGV[i + 2])]) or '') ~= ARGV[i + 3] then return 0 end
  i = i + 4
end
${RUN}
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1`

/** In one step, so that a reader sees either the entries or how far they are gone. */
const TRIM = `
local row = redis.call('XREVRANGE', KEYS[1], '(' .. ARGV[1], '-', 'COUNT', 1)[1]
if not row then return 0 end
redis.call('SET', KEYS[2], row[1])
return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])`

type Scripts = {
  telltaleAppend(keyCount: number, ...args: (string | number)[]): Promise<[string, number, ...number[]]>
  telltaleCommit(keyCount: number, ...args: (string | readonly (string | number)[])[]): Promise<number>
  telltaleTrim(keyCount: number, log: string, trimmed: string, beforeId: string): Promise<number>
}

/** Not a command of Redis: nothing of a commit happens unless this key holds this value (empty: there is none). */
export const EXPECT = 'EXPECT'

/**
 * One Redis command of a commit, or EXPECT; the key stands apart because a Cluster wants to know it. Longer ones are split by the
 * caller (`chunked`).
 */
export type CommitCommand = readonly [command: string, key: string, ...args: (string | number)[]]

/** A consumer's place from where it was read to where it goes, with what is written then. */
export type Move = { readonly consumer: string; readonly from: string; readonly to: string; readonly commands: readonly CommitCommand[] }

type Row = [id: string, fields: string[]]

export class Log {
  readonly #redis: Redis & Scripts
  readonly #consumers: readonly string[]

  readonly #seenLimit: number

  /**
   * @param consumers those woken by an append.
   * @param seenLimit keys remembered per generation.
   */
  constructor(redis: Redis, consumers: readonly string[], seenLimit = SEEN_LIMIT) {
    redis.defineCommand('telltaleAppend', { lua: APPEND })
    redis.defineCommand('telltaleCommit', { lua: COMMIT })
    redis.defineCommand('telltaleTrim', { lua: TRIM })
    this.#seenLimit = seenLimit
    this.#redis = redis as Redis & Scripts
    this.#consumers = consumers
  }

  /**
   * Appends a batch as one entry, without the events whose key was seen before. Resolves when Redis has it on disk
   * (`appendfsync always`). At most 1,000 events.
   */
  async append(project: string, batch: AppendBatch): Promise<AppendOutcome> {
    const keys = ['log', 'seen', 'seen:old', ...this.#consumers.map(name => `wake:${name}`)].map(name => projectKey(project, name))
    const [entryId, duplicates, ...woken] = await this.#redis.telltaleAppend(
      keys.length,
      ...keys,
      batch.index.join('\n'),
      batch.frames.join('\n'),
      batch.modes,
      batch.keys.length,
      this.#seenLimit,
      WAKE_MS,
      ...batch.keys,
    )
    return { entryId: entryId === '' ? undefined : entryId, duplicates, wake: woken.map(number => this.#consumers[number - 1] as string) }
  }

  /** Entries strictly after an id (`0-0`: from the start), oldest first. */
  async read(project: string, after: string, count: number, stream: Stream = 'log'): Promise<LogEntry[]> {
    const rows = await this.#redis.xrange(projectKey(project, stream), `(${after}`, '+', 'COUNT', count)
    return rows.map(([id, fields]) => parseEntry(id, fields))
  }

  /** As `read`, and how far the log was trimmed at that moment. */
  async readFrom(project: string, after: string, count: number, stream: Stream = 'log'): Promise<{ entries: LogEntry[]; trimmed: string }> {
    const transaction = this.#redis.multi()
    transaction.xrange(projectKey(project, stream), `(${after}`, '+', 'COUNT', count)
    transaction.get(projectKey(project, `trimmed:${stream}`))
    const [[rowsError, rows], [trimmedError, trimmed]] = (await transaction.exec()) as [
      [Error | null, Row[]],
      [Error | null, string | null],
    ]
    if (rowsError ?? trimmedError) throw rowsError ?? trimmedError
    return { entries: rows.map(([id, fields]) => parseEntry(id, fields)), trimmed: trimmed ?? '0-0' }
  }

  /** A secret of this Redis, made at the first call: what cursors are sealed with by every process that stands on it. */
  async cursorKey(): Promise<string> {
    const key = 't:cursors'
    await this.#redis.setnx(key, randomBytes(32).toString('base64url'))
    return (await this.#redis.get(key)) as string
  }

  /** Ends the wait of a blocking command on another connection, if it waits. */
  async unblock(clientId: number): Promise<void> {
    await this.#redis.client('UNBLOCK', clientId)
  }

  /** The clock by which entries get their ids. */
  async clockMs(): Promise<number> {
    const [seconds, micros] = await this.#redis.time()
    return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000)
  }

  /** The entry with this id, if it is still there. */
  async entry(project: string, id: string, stream: Stream = 'log'): Promise<LogEntry | undefined> {
    const [row] = await this.#redis.xrange(projectKey(project, stream), id, id)
    return row && parseEntry(row[0], row[1])
  }

  /** Id of the newest entry, `0-0` for an empty log that never had one. */
  async last(project: string, stream: Stream = 'log'): Promise<string> {
    const [row] = await this.#redis.xrevrange(projectKey(project, stream), '+', '-', 'COUNT', 1)
    return row?.[0] ?? (await this.trimmed(project, stream))
  }

  /**
   * The id at this share of the time between the oldest and the newest entry, from 0 (the oldest) to 1. By time, because Redis
   * counts entries only by reading them all.
   */
  async idAt(project: string, share: number, stream: Stream = 'log'): Promise<string> {
    const key = projectKey(project, stream)
    const [[oldest], [newest]] = await Promise.all([
      this.#redis.xrange(key, '-', '+', 'COUNT', 1),
      this.#redis.xrevrange(key, '+', '-', 'COUNT', 1),
    ])
    if (!oldest || !newest) return '0-0'
    const [fromUs, toUs] = [acceptedUs(oldest[0]), acceptedUs(newest[0])]
    return `${Math.floor((fromUs + (toUs - fromUs) * share) / 1000)}-0`
  }

  /** Everything up to this id is gone from the log (`0-0`: nothing is). */
  async trimmed(project: string, stream: Stream = 'log'): Promise<string> {
    return (await this.#redis.get(projectKey(project, `trimmed:${stream}`))) ?? '0-0'
  }

  /** A consumer's committed place, exactly as committed; empty before its first commit. */
  async place(project: string, consumer: string): Promise<string> {
    return (await this.#redis.hget(projectKey(project, 'offsets'), consumer)) ?? ''
  }

  async places(project: string): Promise<Record<string, string>> {
    return this.#redis.hgetall(projectKey(project, 'offsets'))
  }

  /**
   * All or nothing: false when `from` is no longer the consumer's place (another worker has it now), or when what the commands expect is
   * not there any more: they were made of something that has changed since.
   */
  async commit(project: string, consumer: string, from: string, to: string, commands: readonly CommitCommand[] = []): Promise<boolean> {
    const keys = [projectKey(project, 'offsets')]
    const expected = commands.filter(([command]) => command === EXPECT)
    const written = commands.filter(([command]) => command !== EXPECT)
    const args = commandArgs([...expected, ...written], keys)
    // As lists, which ioredis flattens: spread, some hundred thousand would be more than the stack holds.
    return (await this.#redis.telltaleCommit(keys.length, keys, consumer, from, to, args)) === 1
  }

  /** Lets an append wake the consumer again: called before reading, so that no wake is lost. */
  async clearWake(project: string, consumer: string): Promise<void> {
    await this.#redis.del(projectKey(project, `wake:${consumer}`))
  }

  /** True when nobody had woken the consumer; the caller then does. */
  async setWake(project: string, consumer: string, forMs = WAKE_MS): Promise<boolean> {
    return (await this.#redis.set(projectKey(project, `wake:${consumer}`), '1', 'PX', forMs, 'NX')) === 'OK'
  }

  /** Drops entries before `beforeId`, and remembers how far, so that a reader who missed some is told. */
  async trim(project: string, beforeId: string, stream: Stream = 'log'): Promise<number> {
    return this.#redis.telltaleTrim(2, projectKey(project, stream), projectKey(project, `trimmed:${stream}`), beforeId)
  }

  /**
   * Entries and bytes. Of a sample Redis takes the oldest, and a log whose entries have grown would seem a tenth of what it is: it counts
   * all (`SAMPLES 0`), which holds it up for 5 ms with 256 MB of small entries.
   */
  async size(project: string, stream: Stream = 'log'): Promise<{ entries: number; bytes: number }> {
    const log = projectKey(project, stream)
    const [entries, bytes] = await Promise.all([this.#redis.xlen(log), this.#redis.memory('USAGE', log, 'SAMPLES', 0)])
    return { entries, bytes: Number(bytes ?? 0) }
  }
}

/** Lua unpacks some thousands of values, and fails in the middle of a commit when there are more. */
const MAX_ARGUMENTS = 4000

/** For RUN; adds what the commands write to the keys. Throws before anything is sent when one of them could not be run. */
export function commandArgs(commands: readonly CommitCommand[], keys: string[]): (string | number)[] {
  const numbers = new Map<string, number>()
  const args: (string | number)[] = []
  for (const [command, key, ...rest] of commands) {
    if (rest.length > MAX_ARGUMENTS) throw new Error(`${command} ${key}: at most ${MAX_ARGUMENTS} arguments at once, got ${rest.length}`)
    const bad = rest.find(value => typeof value !== 'string' && !Number.isFinite(value))
    if (bad !== undefined) throw new Error(`${command} ${key}: expected numbers that are finite, got ${bad}`)
    let number = numbers.get(key)
    if (number === undefined) {
      number = keys.push(key)
      numbers.set(key, number)
    }
    args.push(rest.length + 2, command, number, ...rest)
  }
  return args
}

/** Pairs per command: far below what Lua can unpack. */
const PAIRS = 1000

/** One command with many arguments, which come in pairs or alone, as several. */
export function chunked(command: string, key: string, args: readonly (string | number)[]): CommitCommand[] {
  const commands: CommitCommand[] = []
  for (let i = 0; i < args.length; i += PAIRS * 2) commands.push([command, key, ...args.slice(i, i + PAIRS * 2)])
  return commands
}
