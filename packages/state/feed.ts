// The device events of a project as a durable stream, which every project has: it is fed only while somebody needs it, so that nobody
// pays for it otherwise (docs/decisions/0018).
import type { Redis } from 'ioredis'
import { DEVICES } from '../core/stream.ts'
import { projectKey } from '../log/key.ts'
import { consumerOf } from './connector.ts'

/** What feeds it, by its id among the data connectors. */
export const FEED = DEVICES

/** Where a feed that nobody needed until now begins: with the next event, or where it ended, or with what the log still has. */
export type FeedStart = 'latest' | 'oldest'

/** Whoever needs it says so again before this is over. */
const NEEDED_MS = 90_000

const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`

/** Begins it unless it runs. The place behind which it goes on gets another number: what copied until then cannot commit any more. */
const NEED = `${NOW}
local runs = redis.call('EXISTS', KEYS[1])
redis.call('SET', KEYS[1], now + tonumber(ARGV[1]))
if runs == 1 then return 0 end
local function behind(a, b)
  local aMs, aSeq = string.match(a, '(%d+)-(%d+)')
  local bMs, bSeq = string.match(b, '(%d+)-(%d+)')
  if aMs == bMs then return tonumber(aSeq) < tonumber(bSeq) end
  return tonumber(aMs) < tonumber(bMs)
end
local place = redis.call('HGET', KEYS[2], ARGV[2])
local entry, number = '0-0', 0
if place then entry, number = string.match(place, '^(.*) (%d+)$') end
local trimmed = redis.call('GET', KEYS[4]) or '0-0'
if behind(entry, trimmed) then entry = trimmed end
if ARGV[3] == 'latest' then
  local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
  entry = last and last[1] or trimmed
end
redis.call('HSET', KEYS[2], ARGV[2], entry .. ' ' .. string.format('%d', number + 1))
return 1`

/** 1: it runs. 0: it does not. 2: nobody has said lately that it is needed. */
const LOOK = `${NOW}
local untilMs = redis.call('GET', KEYS[1])
if not untilMs then return {0, ''} end
if tonumber(untilMs) > now then return {1, untilMs} end
return {2, untilMs}`

/** Lets it run on, or ends it; nothing, when somebody has said meanwhile that it is needed. */
const SETTLE = `${NOW}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], now + tonumber(ARGV[2]))
return 0`

type Scripts = {
  telltaleNeedFeed(keys: 4, feed: string, offsets: string, log: string, trimmed: string, ...args: (string | number)[]): Promise<number>
  telltaleLookAtFeed(keys: 1, feed: string): Promise<[state: number, untilMs: string]>
  telltaleSettleFeed(keys: 1, feed: string, untilMs: string, forMs: number): Promise<number>
}

export class Feeds {
  readonly #redis: Redis & Scripts
  readonly #touch: (project: string) => Promise<void>

  /** @param touch makes those who copy look at a project. */
  constructor(redis: Redis, touch: (project: string) => Promise<void>) {
    redis.defineCommand('telltaleNeedFeed', { lua: NEED })
    redis.defineCommand('telltaleLookAtFeed', { lua: LOOK })
    redis.defineCommand('telltaleSettleFeed', { lua: SETTLE })
    this.#redis = redis as Redis & Scripts
    this.#touch = touch
  }

  /** It is needed from now on, for NEEDED_MS: said before a subscription is made, and again and again by who reads without one. */
  async need(project: string, start: FeedStart): Promise<void> {
    if ((await this.#redis.exists(feedKey(project))) === 0) {
      // First, because whoever copies looks only into these projects.
      await this.#touch(project)
    }
    const keys = [feedKey(project), projectKey(project, 'offsets'), projectKey(project, 'log'), projectKey(project, 'trimmed:log')] as const
    if ((await this.#redis.telltaleNeedFeed(4, ...keys, NEEDED_MS, consumerOf(FEED), start)) === 1) await this.#touch(project)
  }

  /**
   * Whether it is to run; asked now and then by those who feed it.
   * @param isSubscribed asked when nobody has said lately that it is needed.
   */
  async runs(project: string, isSubscribed: () => Promise<boolean>): Promise<boolean> {
    const [state, untilMs] = await this.#redis.telltaleLookAtFeed(1, feedKey(project))
    if (state !== 2) return state === 1
    return (await this.#redis.telltaleSettleFeed(1, feedKey(project), untilMs, (await isSubscribed()) ? NEEDED_MS : 0)) === 0
  }
}

function feedKey(project: string): string {
  return projectKey(project, 'feed')
}
