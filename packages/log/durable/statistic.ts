// How streams and subscriptions do: each looked at in one step in Redis, many of them in one trip, and no payload comes along.
import type { ChainableCommander, Redis } from 'ioredis'
import { streamKey, subscriptionKey } from './key.ts'
import type { Ref } from './record.ts'

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
  readonly fields: Readonly<Record<string, string>>
  readonly open: number
  readonly timed: number
  readonly consumers: readonly { readonly id: string; readonly priority: number; readonly name: string; readonly unacked: number }[]
  /** Of the oldest message that is not acked, if it is kept. */
  readonly oldestMs: number | undefined
}

const PARTS = `
local function header(row) return row and row[2][2] or '' end
local function place(row) return row and string.match(row[1], '^%d+') or '' end
`

/**
 * KEYS meta, log, subscriptions · ARGV 1: also of its subscriptions. Nothing for a stream that is gone. Returns last, rate, byte rate, when that
 * was, owner, messages, place and header of the first and the last, bytes of the first, then subscriptions, consumers, rate out, backlog, and the
 * header of the oldest message that some subscription has not acked.
 */
const SUMMARY = `${PARTS}
local meta = redis.call('HMGET', KEYS[1], 'name', 'last', 'rate', 'byterate', 'ratems', 'owner')
if not meta[1] then return nil end
local first, last = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1], redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local reply = {meta[2], meta[3], meta[4], meta[5], meta[6] or '', redis.call('XLEN', KEYS[2]), place(first), header(first), header(last),
  first and #first[2][8] or 0}
if ARGV[1] ~= '1' then return reply end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = first and tonumber(place(first)) or tonumber(meta[2]) + 1
local all, consumers, rate, most, low = redis.call('HVALS', KEYS[3]), 0, 0, 0, nil
for _, text in ipairs(all) do
  local S = KEYS[1] .. ':sub:' .. cjson.decode(text).uid
  local state = redis.call('HMGET', S, 'read', 'low', 'rate', 'ratems')
  consumers = consumers + redis.call('HLEN', S .. ':members')
  if state[3] then rate = rate + tonumber(state[3]) * math.exp(math.min(0, tonumber(state[4]) - now) / 10000) end
  local backlog = math.max(0, tonumber(meta[2]) - math.max(tonumber(state[1] or 0), kept - 1)) + redis.call('HLEN', S .. ':open')
  if backlog > 0 then low = math.min(low or math.huge, tonumber(state[2] or 0)) end
  most = math.max(most, backlog)
end
local oldest = low and redis.call('XRANGE', KEYS[2], string.format('%.0f-0', low + 1), '+', 'COUNT', 1)[1]
for _, value in ipairs({#all, consumers, tostring(rate), most, header(oldest)}) do reply[#reply + 1] = value end
return reply`

/** KEYS subscription, log. Nothing for one that is gone. */
const STATE = `${PARTS}
local S = KEYS[1]
local fields = redis.call('HGETALL', S)
if #fields == 0 then return nil end
local members, held = redis.call('HGETALL', S .. ':members'), {}
for i = 1, #members, 2 do held[#held + 1] = redis.call('SCARD', S .. ':open:' .. members[i]) end
local low = tonumber(redis.call('HGET', S, 'low') or 0)
local oldest = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', low + 1), '+', 'COUNT', 1)[1]
return {fields, redis.call('HLEN', S .. ':open'), redis.call('ZCARD', S .. ':due'), members, held, header(oldest)}`

type SummaryReply = readonly (string | number | null)[] | null
type StateReply = readonly [fields: string[], open: number, timed: number, members: string[], held: number[], oldest: string] | null
type Scripts = {
  streamSummary(keyCount: number, ...args: string[]): ChainableCommander
  streamSubscriptionState(keyCount: number, ...args: string[]): ChainableCommander
}

export class Statistics {
  readonly #redis: Redis

  constructor(redis: Redis) {
    redis.defineCommand('streamSummary', { lua: SUMMARY })
    redis.defineCommand('streamSubscriptionState', { lua: STATE })
    this.#redis = redis
  }

  /** In the order of the streams; undefined for one that is gone. */
  async streams(refs: readonly Ref[]): Promise<(StreamStats | undefined)[]> {
    return (await this.#summarise(refs, '0')).map(reply => (reply ? statsOf(reply) : undefined))
  }

  /** As `streams`. What it costs grows with all their subscriptions. */
  async summaries(refs: readonly Ref[]): Promise<(StreamSummary | undefined)[]> {
    return (await this.#summarise(refs, '1')).map(reply => (reply ? summaryOf(reply) : undefined))
  }

  /** How many subscriptions each of them has. */
  async subscriptionCounts(refs: readonly Ref[]): Promise<number[]> {
    return this.#together(refs, (pipeline, ref) => pipeline.hlen(streamKey(ref, 'subs')))
  }

  /** Of subscriptions of one stream, by their uids, in that order; undefined for one that is gone. */
  async subscriptions(ref: Ref, uids: readonly string[]): Promise<(SubscriptionState | undefined)[]> {
    const log = streamKey(ref, 'log')
    const replies = await this.#together<string, StateReply>(uids, (pipeline, uid) =>
      pipeline.streamSubscriptionState(2, subscriptionKey(ref, uid), log),
    )
    return replies.map(reply => (reply ? stateOf(reply) : undefined))
  }

  #summarise(refs: readonly Ref[], all: string): Promise<SummaryReply[]> {
    return this.#together(refs, (pipeline, ref) =>
      pipeline.streamSummary(3, streamKey(ref), streamKey(ref, 'log'), streamKey(ref, 'subs'), all),
    )
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
export function faded(rate: unknown, sinceMs: unknown): number {
  return Number(rate ?? 0) * Math.exp(Math.min(0, Number(sinceMs ?? 0) - Date.now()) / 10_000)
}

type Header = readonly [publishMs: number, bytesTo: number]

function headerOf(text: string | number | null | undefined): Header | undefined {
  return typeof text === 'string' && text !== '' ? (JSON.parse(text) as Header) : undefined
}

function statsOf(reply: NonNullable<SummaryReply>): StreamStats {
  const [lastSeq, rate, byteRate, sinceMs, owner, messages, firstSeq, firstHeader, lastHeader, firstBytes] = reply
  const [first, last] = [headerOf(firstHeader), headerOf(lastHeader)]
  return {
    messages: Number(messages),
    bytes: first && last ? last[1] - first[1] + Number(firstBytes) : 0,
    firstSeq: first ? Number(firstSeq) : Number(lastSeq) + 1,
    lastSeq: Number(lastSeq),
    oldestMs: first?.[0],
    newestMs: last?.[0],
    rateIn: faded(rate, sinceMs),
    byteRateIn: faded(byteRate, sinceMs),
    owner: owner === '' ? undefined : String(owner),
  }
}

function summaryOf(reply: NonNullable<SummaryReply>): StreamSummary {
  const [subscriptions, consumers, rateOut, backlog, oldest] = reply.slice(10)
  const oldestMs = headerOf(oldest)?.[0]
  return {
    ...statsOf(reply),
    subscriptions: Number(subscriptions),
    consumers: Number(consumers),
    rateOut: Number(rateOut),
    backlog: Number(backlog),
    backlogAgeMs: oldestMs === undefined ? 0 : Math.max(0, Date.now() - oldestMs),
  }
}

function stateOf([flat, open, timed, members, held, oldest]: NonNullable<StateReply>): SubscriptionState {
  const consumers = pairsOf(members).map(([id, member], i) => {
    const end = member.indexOf('|')
    return { id, priority: Number.parseInt(member, 10), name: member.slice(end + 1), unacked: held[i] as number }
  })
  const order = (a: (typeof consumers)[number], b: (typeof consumers)[number]) => a.priority - b.priority || Number(a.id) - Number(b.id)
  const fields = Object.fromEntries(pairsOf(flat))
  return { fields, open, timed, consumers: consumers.toSorted(order), oldestMs: headerOf(oldest)?.[0] }
}

function pairsOf(flat: readonly string[]): [string, string][] {
  return flat.flatMap((text, i) => (i % 2 === 0 ? [[text, flat[i + 1] as string] as [string, string]] : []))
}
