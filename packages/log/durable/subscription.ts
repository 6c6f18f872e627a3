// Subscriptions: what is kept of them in Redis, apart from who consumes at the moment (dispatch.ts).
import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { Failure, invalid } from '../../core/failure.ts'
import { checkSubscriptionName, DEVICES, isOwnSubscription } from '../../core/stream.ts'
import { formatTime } from '../../core/time.ts'
import { ackedKey, streamKey, streamsKey, subscriptionKey } from './key.ts'
import { missing, type Ref } from './record.ts'
import { faded, Statistics, type StreamStats, type StreamSummary, type SubscriptionState } from './statistic.ts'
import type { DurableStreams } from './stream.ts'

/**
 * `exclusive`: one consumer · `failover`: one at a time, the next when it leaves · `shared`: each message to any one of them ·
 * `key_shared`: as shared, but messages of one key to one consumer, in order.
 */
export type SubscriptionType = 'exclusive' | 'shared' | 'failover' | 'key_shared'

export type Subscription = { readonly name: string; readonly uid: string; readonly type: SubscriptionType; readonly createTime: string }

/** `oldest`: of what nobody has acked yet · `latest`: what is appended from now on · after a place. */
export type Start = 'oldest' | 'latest' | { readonly seq: number }

export type SubscriptionStats = Subscription & {
  /** Not acked, given to a consumer or not. */
  readonly backlog: number
  /** Given to a consumer and not acked. */
  readonly unacked: number
  /** Held back until it is time to give them again, or to be acked by a time. */
  readonly timed: number
  /** Everything up to this place is acked. */
  readonly ackedTo: number
  /** Age of the oldest that is not acked; 0 when all are. */
  readonly backlogAgeMs: number
  readonly acked: number
  readonly redelivered: number
  readonly deadLettered: number
  /** Messages a second: an average that fades over 10 s. */
  readonly rateOut: number
  readonly consumers: readonly { readonly name: string; readonly id: string; readonly unacked: number; readonly active: boolean }[]
}

const MAX_SUBSCRIPTIONS = 1000
/** A look at each holds Redis up by some microseconds. */
const MAX_SUMMARISED = 2000

/** KEYS subscriptions, meta, subscription · ARGV name, record, `oldest`, `latest` or a place, most subscriptions, the meta keys of the others. */
const SUBSCRIBE = `
local meta = redis.call('HMGET', KEYS[2], 'last', 'first', 'acked')
if not meta[1] then return redis.error_reply('GONE') end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then return known end
local all = redis.call('HVALS', KEYS[1])
if #all >= tonumber(ARGV[4]) then return redis.error_reply('MANY') end
local place = tonumber(meta[1])
if ARGV[3] == 'oldest' then
  place = math.max(tonumber(meta[3]), tonumber(meta[2]) - 1)
  for _, text in ipairs(all) do
    place = math.max(place, tonumber(redis.call('HGET', KEYS[2] .. ':sub:' .. cjson.decode(text).uid, 'low') or 0))
  end
elseif ARGV[3] ~= 'latest' then
  place = math.max(tonumber(meta[2]) - 1, math.min(place, tonumber(ARGV[3])))
end
local order = redis.call('HINCRBY', KEYS[2], 'subscribed', 1)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[3], 'read', place, 'low', place, 'type', cjson.decode(ARGV[2]).type, 'order', order)
return ARGV[2]`

const PARTS = `
local function forget(S)
  for _, id in ipairs(redis.call('HKEYS', S .. ':members')) do redis.call('UNLINK', S .. ':open:' .. id, S .. ':wait:' .. id) end
  for _, key in ipairs(redis.call('SMEMBERS', S .. ':wait:keys')) do redis.call('UNLINK', S .. ':wait:key:' .. key) end
  redis.call('UNLINK', S .. ':open', S .. ':due', S .. ':wait', S .. ':wait:keys', S .. ':locks', S .. ':delayed')
end
`

/** KEYS subscriptions, meta, subscription · ARGV name, record, 1: also with consumers, silence after which one is gone (ms). */
const UNSUBSCRIBE = `${PARTS}
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return -1 end
local time = redis.call('TIME')
local since = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[4])
local there = redis.call('ZCOUNT', KEYS[3] .. ':seen', '(' .. since, '+inf')
if there > 0 and ARGV[3] ~= '1' then return there end
local low = tonumber(redis.call('HGET', KEYS[3], 'low') or 0)
if low > tonumber(redis.call('HGET', KEYS[2], 'acked') or 0) then redis.call('HSET', KEYS[2], 'acked', low) end
redis.call('HDEL', KEYS[1], ARGV[1])
forget(KEYS[3])
redis.call('UNLINK', KEYS[3], KEYS[3] .. ':seen', KEYS[3] .. ':members')
redis.call('PUBLISH', KEYS[2], 'gone')
return 0`

/** KEYS subscription, meta · ARGV place. */
const RESET = `${PARTS}
local meta = redis.call('HMGET', KEYS[2], 'first', 'last')
if not meta[1] or redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
forget(KEYS[1])
local place = math.max(tonumber(meta[1]) - 1, math.min(tonumber(meta[2]), tonumber(ARGV[1])))
redis.call('HSET', KEYS[1], 'read', place, 'low', place)
redis.call('PUBLISH', KEYS[2], 'back')
return place`

type Scripts = {
  streamSubscribe(keyCount: number, ...args: (string | number)[]): Promise<string>
  streamUnsubscribe(keyCount: number, ...args: (string | number)[]): Promise<number>
  streamReset(keyCount: number, ...args: (string | number)[]): Promise<number>
}

/** A consumer whose process has said nothing for so long is gone. */
export const GONE_MS = 5000
const TRIMMED_AT_ONCE = 50
/** Of what is refused. */
export const NACK_DELAY_MS = 60_000

export class Subscriptions {
  readonly #redis: Redis & Scripts
  readonly #streams: DurableStreams
  readonly #statistics: Statistics
  /** Where the next round of `trim` begins, of each project. */
  readonly #cursors = new Map<string, string>()
  readonly #needed: (project: string, start: 'oldest' | 'latest') => Promise<void>

  /** @param needed told before there is somebody who needs what the devices of a project send as a stream, and again and again meanwhile. */
  constructor(
    redis: Redis,
    streams: DurableStreams,
    needed: (project: string, start: 'oldest' | 'latest') => Promise<void> = async () => {},
  ) {
    redis.defineCommand('streamSubscribe', { lua: SUBSCRIBE })
    redis.defineCommand('streamUnsubscribe', { lua: UNSUBSCRIBE })
    redis.defineCommand('streamReset', { lua: RESET })
    this.#redis = redis as Redis & Scripts
    this.#streams = streams
    this.#statistics = new Statistics(redis)
    this.#needed = needed
  }

  /** The one of this name as it is, if there is one. @throws Failure `not_found` for the stream, `too_many`, `invalid`. */
  async create(ref: Ref, name: string, type: SubscriptionType, given?: Start, isOwn = false): Promise<Subscription> {
    checkSubscriptionName(name)
    if (isOwnSubscription(name) && !isOwn) throw invalid('subscription', 'expected a name that does not begin with "telltale."')
    const start = given ?? (ref.record.name === DEVICES ? 'latest' : 'oldest')
    await this.need(ref, start)
    const made: Subscription = { name, uid: randomBytes(6).toString('hex'), type, createTime: formatTime(Date.now() * 1000) }
    const keys = [streamKey(ref, 'subs'), streamKey(ref), subscriptionKey(ref, made.uid)]
    const from = typeof start === 'string' ? start : start.seq
    const text = await this.#redis.streamSubscribe(3, ...keys, name, JSON.stringify(made), from, MAX_SUBSCRIPTIONS).catch(refused(ref))
    return JSON.parse(text) as Subscription
  }

  /** Of the stream of the devices, which is fed only while somebody needs it; of all others nothing. */
  async need({ project, record }: Ref, start: Start): Promise<void> {
    if (record.name === DEVICES) await this.#needed(project, start === 'oldest' ? 'oldest' : 'latest')
  }

  async find(ref: Ref, name: string): Promise<Subscription | undefined> {
    const text = await this.#redis.hget(streamKey(ref, 'subs'), name)
    return text === null ? undefined : (JSON.parse(text) as Subscription)
  }

  /** @throws Failure `not_found`. */
  async get(ref: Ref, name: string): Promise<Subscription> {
    const found = await this.find(ref, name)
    if (!found) throw missingSubscription(name)
    return found
  }

  /** As `list`, without those that Telltale has for itself. */
  async listOfClients(ref: Ref): Promise<Subscription[]> {
    return (await this.list(ref)).filter(({ name }) => !isOwnSubscription(name))
  }

  /** In the order of their creation. */
  async list(ref: Ref): Promise<Subscription[]> {
    const all = Object.values(await this.#redis.hgetall(streamKey(ref, 'subs'))).map(text => JSON.parse(text) as Subscription)
    const orders = await Promise.all(all.map(async ({ uid }) => Number((await this.#redis.hget(subscriptionKey(ref, uid), 'order')) ?? 0)))
    const order = new Map(all.map((one, i) => [one.name, orders[i] as number]))
    return all.toSorted((a, b) => (order.get(a.name) as number) - (order.get(b.name) as number))
  }

  /** @throws Failure `not_found`. */
  async stats(ref: Ref, name: string): Promise<SubscriptionStats> {
    const [stats] = await this.statsOf(ref, [name])
    if (!stats) throw missingSubscription(name)
    return stats
  }

  /** Of those that are still there. @throws Failure `not_found` for the stream. */
  async statsOf(ref: Ref, names: readonly string[]): Promise<SubscriptionStats[]> {
    if (names.length === 0) return []
    const texts = await this.#redis.hmget(streamKey(ref, 'subs'), ...names)
    const found = texts.flatMap(text => (text === null ? [] : [JSON.parse(text) as Subscription]))
    const uids = found.map(({ uid }) => uid)
    const [stream, states] = await Promise.all([this.#streams.stats(ref), this.#statistics.subscriptions(ref, uids)])
    return found.flatMap((subscription, i) => {
      const state = states[i]
      return state ? [statsFrom(subscription, state, stream)] : []
    })
  }

  /** What it is for its consumers now, or was for the last. @throws Failure `not_found`. */
  async typeOf(ref: Ref, { name, uid }: Pick<Subscription, 'name' | 'uid'>): Promise<SubscriptionType> {
    const type = await this.#redis.hget(subscriptionKey(ref, uid), 'type')
    if (type === null) throw missingSubscription(name)
    return type as SubscriptionType
  }

  /** By name. */
  async names(ref: Ref): Promise<string[]> {
    return (await this.#redis.hkeys(streamKey(ref, 'subs'))).toSorted()
  }

  /** Of the first of these streams: as many as have few subscriptions enough to be looked at in one go, but one at least. */
  async summaries(refs: readonly Ref[]): Promise<(StreamSummary | undefined)[]> {
    let left = MAX_SUMMARISED
    const counts = await this.#statistics.subscriptionCounts(refs)
    const some = refs.filter((_, i) => {
      left -= counts[i] as number
      return i === 0 || left >= 0
    })
    return this.#statistics.summaries(some)
  }

  /** @throws Failure `not_found`; `conflict` with field `consumers` while there are any, unless forced: then they are ended. */
  async remove(ref: Ref, name: string, { force = false }: { readonly force?: boolean } = {}): Promise<void> {
    const text = await this.#redis.hget(streamKey(ref, 'subs'), name)
    if (text === null) throw missingSubscription(name)
    const { uid } = JSON.parse(text) as Subscription
    const keys = [streamKey(ref, 'subs'), streamKey(ref), subscriptionKey(ref, uid)]
    const left = await this.#redis.streamUnsubscribe(3, ...keys, name, text, force ? '1' : '0', GONE_MS)
    if (left === -1) throw missingSubscription(name)
    if (left > 0) throw new Failure('conflict', `subscription ${name} has ${left} connected consumers`, { field: 'consumers' })
  }

  /** Goes on after this place for all its consumers; what was unacked is forgotten. @throws Failure `not_found`. */
  async reset(ref: Ref, name: string, { seq }: { readonly seq: number }): Promise<void> {
    const { uid } = await this.get(ref, name)
    if ((await this.#redis.streamReset(2, subscriptionKey(ref, uid), streamKey(ref), seq)) === -1) throw missingSubscription(name)
  }

  /** As if everything so far were acked. */
  async clearBacklog(ref: Ref, name: string): Promise<void> {
    const { lastSeq } = await this.#streams.stats(ref)
    await this.reset(ref, name, { seq: lastSeq })
  }

  /**
   * One round over the streams of a project, to be made again and again: drops what every subscription has acked where that has become
   * more, and from some of them, others each time, also what is too old or too much. Returns how many messages were dropped.
   */
  async trim(project: string, nowMs: number): Promise<number> {
    const marked = await this.#redis.spop(ackedKey(project), TRIMMED_AT_ONCE)
    const [cursor, page] = await this.#redis.hscan(streamsKey(project), this.#cursors.get(project) ?? '0', 'COUNT', TRIMMED_AT_ONCE)
    if (cursor === '0') this.#cursors.delete(project)
    else this.#cursors.set(project, cursor)
    const names = [...new Set([...marked, ...page.filter((_, i) => i % 2 === 0)])]
    let dropped = 0
    for (const name of names) {
      const record = await this.#streams.find(project, name)
      if (record) dropped += await this.#trimOne({ project, record }, nowMs)
    }
    return dropped
  }

  async #trimOne(ref: Ref, nowMs: number): Promise<number> {
    try {
      return await this.#streams.trim(ref, await this.#streams.expired(ref, nowMs), ref.record.retention.untilAcked)
    } catch (error) {
      // It was removed in the meantime.
      if (error instanceof Failure && error.code === 'not_found') return 0
      throw error
    }
  }
}

function refused(ref: Ref): (error: unknown) => never {
  return error => {
    const { message } = error as Error
    if (/\bGONE$/.test(message)) throw missing(ref.record.name)
    if (/\bMANY$/.test(message))
      throw new Failure('too_many', `at most ${MAX_SUBSCRIPTIONS} subscriptions of one stream: remove some`, { retryAfterMs: 60_000 })
    throw error
  }
}

export function missingSubscription(name: string): Failure {
  return new Failure('not_found', `subscription ${name} does not exist`, { field: 'subscription' })
}

function statsFrom(subscription: Subscription, state: SubscriptionState, stream: StreamStats): SubscriptionStats {
  const { fields, open, timed, consumers, backlogAgeMs } = state
  const number = (field: string) => Number(fields[field] ?? 0)
  const type = (fields['type'] ?? subscription.type) as SubscriptionType
  const oneAtATime = type === 'exclusive' || type === 'failover'
  const backlog = Math.max(0, stream.lastSeq - Math.max(number('read'), stream.firstSeq - 1)) + open
  return {
    ...subscription,
    type,
    backlog,
    unacked: consumers.reduce((sum, { unacked }) => sum + unacked, 0),
    timed,
    ackedTo: number('low'),
    backlogAgeMs: backlog > 0 ? backlogAgeMs : 0,
    acked: number('acked'),
    redelivered: number('again'),
    deadLettered: number('dead'),
    rateOut: faded(fields['rate'], fields['ratems']),
    consumers: consumers.map(({ id, name, unacked }, i) => ({ id, name, unacked, active: !oneAtATime || i === 0 })),
  }
}
