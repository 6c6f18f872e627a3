// The outbox: changes committed with the judge's place, and the deliveries made of them, with what became of each.
import type { Redis } from 'ioredis'
import { projectKey } from '../log/key.ts'

export type Delivery = {
  /** `{changeId}~{channel}`: what the receiver knows it by. */
  readonly id: string
  readonly alarmId: string
  readonly channel: string
  readonly entry: unknown
  /** `dead`: given up. */
  readonly state: 'open' | 'delivered' | 'dead'
  readonly attempts: number
  readonly detail: string
  readonly createdMs: number
  readonly changedMs: number
}

/** One attempt, as receipts have it. */
export type DeliveryAttempt = {
  readonly startedMs: number
  readonly durationMs: number
  readonly outcome: 'delivered' | 'retry' | 'refused'
  /** Of the answer, where there was one that has such. */
  readonly status?: number | undefined
  /** What the receiver calls what it was told. */
  readonly providerId?: string | undefined
  readonly detail: string
}

/** What became of one change on one channel. */
export type Told = { readonly channel: string; readonly createdMs: number; readonly attempts: readonly DeliveryAttempt[] }

/** Attempts of a delivery that receipts have: the first, and the one that ended it. A dead channel is tried for a day, for each change. */
const MAX_ATTEMPTS = 20
/** Changes of one alarm of which receipts are kept, and deliveries of it to one channel that are over: it may flap. */
const MAX_KEPT = 1000
/** As long as the history of alarms, unless said. */
const KEEP_RECEIPTS_MS = 400 * 86_400_000

/** Finished deliveries are kept this long, so that a repeat is recognised and people can look. */
const KEEP_SECONDS = 7 * 86_400
const READ_COUNT = 100

/** Creates deliveries that do not exist; each waits behind the earlier ones of its alarm and channel. Returns those still open. */
const CREATE = `
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
if redis.call('HSETNX', KEYS[1], 'record', ARGV[1]) == 1 then
  redis.call('HSET', KEYS[1], 'state', 'open', 'attempts', 0, 'detail', '', 'createdMs', ms, 'changedMs', ms)
  redis.call('RPUSH', KEYS[2], ARGV[2])
  redis.call('RPUSH', KEYS[3], ARGV[3] .. '\\t' .. ms)
  redis.call('PEXPIRE', KEYS[3], ARGV[4])
  if redis.call('LLEN', KEYS[3]) == 1 then
    redis.call('RPUSH', KEYS[4], ARGV[5])
    redis.call('PEXPIRE', KEYS[4], ARGV[4])
    if redis.call('LLEN', KEYS[4]) > tonumber(ARGV[6]) then redis.call('UNLINK', ARGV[7] .. redis.call('LPOP', KEYS[4])) end
  end
end
return redis.call('HGET', KEYS[1], 'state')`

/** What is delivered or given up stays so: an attempt that hung may end after another one has succeeded. */
const RECORD = `
if redis.call('HGET', KEYS[1], 'state') ~= 'open' then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'attempts', ARGV[3], 'detail', ARGV[4], 'changedMs', ARGV[5])
if ARGV[2] ~= 'open' then
  redis.call('LREM', KEYS[2], 1, ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[6])
  redis.call('RPUSH', KEYS[5], ARGV[1])
  redis.call('EXPIRE', KEYS[5], ARGV[6])
  if redis.call('LLEN', KEYS[5]) > tonumber(ARGV[9]) then
    local oldest = ARGV[10] .. redis.call('LPOP', KEYS[5])
    if redis.call('HGET', oldest, 'state') ~= 'open' then redis.call('UNLINK', oldest) end
  end
  if ARGV[2] == 'dead' then redis.call('LPUSH', KEYS[3], ARGV[1]); redis.call('LTRIM', KEYS[3], 0, 9999) end
end
if ARGV[7] ~= '' then
  redis.call('RPUSHX', KEYS[4], ARGV[7])
  redis.call('PEXPIRE', KEYS[4], ARGV[8])
end
return 1`

type Scripts = {
  telltaleCreateDelivery(keys: number, ...args: (string | number)[]): Promise<string>
  telltaleRecordDelivery(keys: number, ...args: (string | number)[]): Promise<number>
}

export class Outbox {
  readonly #redis: Redis & Scripts
  readonly #keepReceiptsMs: number
  readonly #maxKept: number

  constructor(redis: Redis, keepReceiptsMs = KEEP_RECEIPTS_MS, maxKept = MAX_KEPT) {
    this.#maxKept = maxKept
    this.#keepReceiptsMs = keepReceiptsMs
    redis.defineCommand('telltaleCreateDelivery', { lua: CREATE })
    redis.defineCommand('telltaleRecordDelivery', { lua: RECORD })
    this.#redis = redis as Redis & Scripts
  }

  /** The oldest entries that are not done. */
  async read(project: string): Promise<{ id: string; entry: unknown }[]> {
    const rows = await this.#redis.xrange(projectKey(project, 'outbox'), '-', '+', 'COUNT', READ_COUNT)
    return rows.map(([id, fields]) => ({ id, entry: JSON.parse(fields[1] as string) as unknown }))
  }

  async done(project: string, ids: readonly string[]): Promise<void> {
    await this.#redis.xdel(projectKey(project, 'outbox'), ...ids)
  }

  async isEmpty(project: string): Promise<boolean> {
    return (await this.#redis.xlen(projectKey(project, 'outbox'))) === 0
  }

  /** In order. Returns those that are still to be delivered. */
  async create(project: string, deliveries: readonly Delivery[]): Promise<Delivery[]> {
    const open: Delivery[] = []
    for (const delivery of deliveries) {
      const record = JSON.stringify({ alarmId: delivery.alarmId, channel: delivery.channel, entry: delivery.entry })
      const state = await this.#redis.telltaleCreateDelivery(
        4,
        recordKey(project, delivery.id),
        lineKey(project, delivery),
        toldKey(project, changeOf(delivery)),
        projectKey(project, `toldOf:${delivery.alarmId}`),
        record,
        delivery.id,
        delivery.channel,
        this.#keepReceiptsMs,
        changeOf(delivery),
        this.#maxKept,
        toldKey(project, ''),
      )
      if (state === 'open') open.push(delivery)
    }
    return open
  }

  async delivery(project: string, id: string): Promise<Delivery | undefined> {
    const { record, state, attempts, detail, createdMs, changedMs } = await this.#redis.hgetall(recordKey(project, id))
    if (record === undefined) return undefined
    const kept = JSON.parse(record) as Pick<Delivery, 'alarmId' | 'channel' | 'entry'>
    return {
      id,
      ...kept,
      state: state as Delivery['state'],
      attempts: Number(attempts),
      detail: detail ?? '',
      createdMs: Number(createdMs),
      changedMs: Number(changedMs),
    }
  }

  /** The oldest open delivery of the same alarm to the same channel: the later ones wait for it. */
  async firstInLine(project: string, delivery: Delivery): Promise<string | undefined> {
    return (await this.#redis.lindex(lineKey(project, delivery), 0)) ?? undefined
  }

  async record(project: string, delivery: Delivery, attempt: DeliveryAttempt): Promise<void> {
    const { id, state, attempts, detail, changedMs } = delivery
    const told = toldKey(project, changeOf(delivery))
    const keys = [
      recordKey(project, id),
      lineKey(project, delivery),
      projectKey(project, 'deadLetters'),
      told,
      finishedKey(project, delivery),
    ]
    const isKept = attempts <= MAX_ATTEMPTS || state !== 'open'
    const line = isKept ? `${delivery.channel}\t${JSON.stringify({ ...attempt, detail: attempt.detail.slice(0, 1000) })}` : ''
    const facts = [
      id,
      state,
      attempts,
      detail.slice(0, 1000),
      changedMs,
      KEEP_SECONDS,
      line,
      this.#keepReceiptsMs,
      this.#maxKept,
      recordKey(project, ''),
    ]
    await this.#redis.telltaleRecordDelivery(keys.length, ...keys, ...facts)
  }

  /** Who was to be told of these changes, and how that went; in the order asked for. */
  async told(project: string, changeIds: readonly string[]): Promise<Told[][]> {
    if (changeIds.length === 0) return []
    const pipeline = this.#redis.pipeline()
    for (const id of changeIds) pipeline.lrange(toldKey(project, id), 0, -1)
    return ((await pipeline.exec()) ?? []).map(([error, lines]) => {
      if (error) throw error
      return toldOf(lines as string[])
    })
  }
}

/** Lines are a channel and, behind a tab, when its delivery was made, then an attempt each. */
function toldOf(lines: readonly string[]): Told[] {
  const byChannel = new Map<string, { channel: string; createdMs: number; attempts: DeliveryAttempt[] }>()
  for (const line of lines) {
    const tab = line.indexOf('\t')
    const channel = line.slice(0, tab)
    const known = byChannel.get(channel)
    if (known) known.attempts.push(JSON.parse(line.slice(tab + 1)) as DeliveryAttempt)
    else byChannel.set(channel, { channel, createdMs: Number(line.slice(tab + 1)), attempts: [] })
  }
  return [...byChannel.values()]
}

/** The change that a delivery tells of. */
function changeOf({ id, channel }: Pick<Delivery, 'id' | 'channel'>): string {
  return id.slice(0, -channel.length - 1)
}

export function toldKey(project: string, changeId: string): string {
  return projectKey(project, `told:${changeId}`)
}

function recordKey(project: string, id: string): string {
  return projectKey(project, `delivery:${id}`)
}

function finishedKey(project: string, { alarmId, channel }: Pick<Delivery, 'alarmId' | 'channel'>): string {
  return projectKey(project, `finished:${alarmId}~${channel}`)
}

function lineKey(project: string, { alarmId, channel }: Pick<Delivery, 'alarmId' | 'channel'>): string {
  return projectKey(project, `line:${alarmId}~${channel}`)
}
