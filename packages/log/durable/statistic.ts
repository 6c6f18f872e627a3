// How streams and subscriptions do: each looked at in one step in Redis, many of them in one trip, and no payload comes along.
import type { ChainableCommander, Redis } from 'ioredis'
import { streamKey, subscriptionKey } from './key.ts'
import { parseHeader } from './message.ts'
import type { Ref } from './record.ts'
import { STATS, type StatsReply } from './script.ts'

export type StreamStats = {
  /** Kept now. */
  readonly messages: number
  readonly bytes: number
  /** Place of the oldest kept; one more than `lastSeq` when none is. */
  readonly firstSeq: number
  /** How many were ever appended. */
  readonly lastSeq: number
  readonly oldestMs: number | undefined
  readonly newestMs: number | undefined
  /** Messages a second: an average that fades over 10 s. */
  readonly rateIn: number
  readonly byteRateIn: number
  readonly owner: string | undefined
}

/** All subscriptions of a stream together. */
export type StreamSummary = StreamStats & {
  readonly subscriptions: number
  readonly consumers: number
  readonly rateOut: number
  /** Of the subscription that is furthest behind. */
  readonly backlog: number
  readonly backlogAgeMs: number
}

export type SubscriptionState = {
  /** Of the subscription's hash. */
  readonly fields: Readonly<Record<string, string | undefined>>
  readonly open: number
  readonly timed: number
  readonly consumers: readonly { readonly id: string; readonly priority: number; readonly name: string; readonly unacked: number }[]
  /** Of the oldest message that is not acked; 0 when none is. */
  readonly backlogAgeMs: number
}

/**
 * KEYS meta, log, subscriptions. Nothing for a stream that is gone. Returns what STATS does, then subscriptions, consumers, rate out, backlog,
 * and the header of the oldest message that some subscription has not acked.
 */
const SUMMARY = `
local function stats()${STATS}
end
local reply = stats()
if #reply[1] == 0 then return nil end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = tonumber(redis.call('HGET', KEYS[1], 'last'))
local first = tonumber(string.match(reply[3], '^%d+')) or last + 1
local all, consumers, rate, most, low = redis.call('HVALS', KEYS[3]), 0, 0, 0, nil
for _, text in ipairs(all) do
  local S = KEYS[1] .. ':sub:' .. cjson.decode(text).uid
  local state = redis.call('HMGET', S, 'read', 'low', 'rate', 'ratems')
  consumers = consumers + redis.call('HLEN', S .. ':members')
  if state[3] then rate = rate + tonumber(state[3]) * math.exp(math.min(0, tonumber(state[4]) - now) / 10000) end
  local backlog = math.max(0, last - math.max(tonumber(state[1] or 0), first - 1)) + redis.call('HLEN', S .. ':open')
  if backlog > 0 then low = math.min(low or math.huge, tonumber(state[2] or 0)) end
  most = math.max(most, backlog)
end
local oldest = low and redis.call('XRANGE', KEYS[2], string.format('%.0f-0', low + 1), '+', 'COUNT', 1)[1]
for _, value in ipairs({#all, consumers, tostring(rate), most, oldest and oldest[2][2] or ''}) do reply[#reply + 1] = value end
return reply`

/**
 * KEYS subscription, log. Nothing for one that is gone. Returns its fields, how many messages are open, how many held back, its consumers, how
 * many each holds, and the header of the oldest message that is not acked.
 */
const STATE = `
local S = KEYS[1]
local fields = redis.call('HGETALL', S)
if #fields == 0 then return nil end
local members, held = redis.call('HGETALL', S .. ':members'), {}
for i = 1, #members, 2 do held[#held + 1] = redis.call('SCARD', S .. ':open:' .. members[i]) end
local low = tonumber(redis.call('HGET', S, 'low') or 0)
local oldest = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', low + 1), '+', 'COUNT', 1)[1]
return {fields, redis.call('HLEN', S .. ':open'), redis.call('ZCARD', S .. ':due'), members, held, oldest and oldest[2][2] or ''}`

type SummaryReply = readonly [...StatsReply, subscriptions: number, consumers: number, rate: Buffer, backlog: number, oldest: Buffer] | null
type StateReply = readonly [fields: Buffer[], open: number, timed: number, members: Buffer[], held: number[], oldest: Buffer] | null
type Scripts = {
  streamSummaryBuffer(keyCount: number, ...args: string[]): unknown
  streamSubscriptionStateBuffer(keyCount: number, ...args: string[]): unknown
}

export class Statistics {
  readonly #redis: Redis

  constructor(redis: Redis) {
    redis.defineCommand('streamSummary', { lua: SUMMARY })
    redis.defineCommand('streamSubscriptionState', { lua: STATE })
    this.#redis = redis
  }

  /** In the order of the streams; undefined for one that is gone. What it costs grows with all their subscriptions. */
  async summaries(refs: readonly Ref[]): Promise<(StreamSummary | undefined)[]> {
    const replies = await this.#together<Ref, SummaryReply>(refs, (pipeline, ref) =>
      pipeline.streamSummaryBuffer(3, streamKey(ref), streamKey(ref, 'log'), streamKey(ref, 'subs')),
    )
    return replies.map(reply => (reply ? summaryOf(reply) : undefined))
  }

  /** How many subscriptions each of them has. */
  async subscriptionCounts(refs: readonly Ref[]): Promise<number[]> {
    return this.#together(refs, (pipeline, ref) => pipeline.hlen(streamKey(ref, 'subs')))
  }

  /** Of subscriptions of one stream, by their uids, in that order; undefined for one that is gone. */
  async subscriptions(ref: Ref, uids: readonly string[]): Promise<(SubscriptionState | undefined)[]> {
    const log = streamKey(ref, 'log')
    const replies = await this.#together<string, StateReply>(uids, (pipeline, uid) =>
      pipeline.streamSubscriptionStateBuffer(2, subscriptionKey(ref, uid), log),
    )
    return replies.map(reply => (reply ? stateOf(reply) : undefined))
  }

  async #together<One, Reply>(all: readonly One[], ask: (pipeline: ChainableCommander & Scripts, one: One) => unknown): Promise<Reply[]> {
    if (all.length === 0) return []
    const pipeline = this.#redis.pipeline() as ChainableCommander & Scripts
    for (const one of all) ask(pipeline, one)
    const replies = (await pipeline.exec()) ?? []
    return replies.map(([error, reply]) => {
      if (error) throw error
      return reply as Reply
    })
  }
}

/** What was so many a second then, and nothing came since. */
export function faded(rate = '0', sinceMs = '0'): number {
  return Number(rate) * Math.exp(Math.min(0, Number(sinceMs) - Date.now()) / 10_000)
}

/** Undefined for a stream that is gone. */
export function statsOf([fields, messages, oldest, header, payload, newest]: Readonly<StatsReply>): StreamStats | undefined {
  const meta = fieldsOf(fields)
  if (meta['name'] === undefined) return undefined
  const lastSeq = Number(meta['last'] ?? 0)
  const [first, last] = [parseHeader(header), parseHeader(newest)]
  return {
    messages,
    bytes: first && last ? last.bytesTo - first.bytesTo + payload : 0,
    firstSeq: first ? Number.parseInt(oldest.toString('latin1'), 10) : lastSeq + 1,
    lastSeq,
    oldestMs: first?.publishMs,
    newestMs: last?.publishMs,
    rateIn: faded(meta['rate'], meta['ratems']),
    byteRateIn: faded(meta['byterate'], meta['ratems']),
    owner: meta['owner'],
  }
}

function summaryOf(reply: NonNullable<SummaryReply>): StreamSummary | undefined {
  const [fields, messages, oldest, header, payload, newest, subscriptions, consumers, rate, backlog, unacked] = reply
  const stats = statsOf([fields, messages, oldest, header, payload, newest])
  return (
    stats && { ...stats, subscriptions, consumers, rateOut: Number(rate), backlog, backlogAgeMs: ageOf(parseHeader(unacked)?.publishMs) }
  )
}

function stateOf([fields, open, timed, members, held, oldest]: NonNullable<StateReply>): SubscriptionState {
  const consumers = pairsOf(members).map(([id, member], i) => {
    const end = member.indexOf('|')
    return { id, priority: Number.parseInt(member, 10), name: member.slice(end + 1), unacked: held[i] as number }
  })
  const order = (a: (typeof consumers)[number], b: (typeof consumers)[number]) => a.priority - b.priority || Number(a.id) - Number(b.id)
  return {
    fields: fieldsOf(fields),
    open,
    timed,
    consumers: consumers.toSorted(order),
    backlogAgeMs: ageOf(parseHeader(oldest)?.publishMs),
  }
}

function ageOf(ms: number | undefined): number {
  return ms === undefined ? 0 : Math.max(0, Date.now() - ms)
}

function fieldsOf(flat: readonly Buffer[]): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(pairsOf(flat))
}

function pairsOf(flat: readonly Buffer[]): [string, string][] {
  return flat.flatMap((name, i) => (i % 2 === 0 ? [[name.toString(), String(flat[i + 1])] as [string, string]] : []))
}
