// The one way to connect to Redis: who fails fast, who waits, and what a lost connection leaves in the log.
import { Cluster, type ClusterOptions, Redis, type RedisOptions } from 'ioredis'
import { translate } from './failure.ts'
import type { Log } from './log.ts'
import { describeTarget, type RedisServers, type RedisTarget } from './target.ts'

export type RedisClient = Redis | Cluster

/**
 * `producer`: somebody waits for the answer. A command fails at once when Redis is away and after 2 s when it does not answer,
 *   and is never sent twice; a command that "timed out" may still be carried out later, so repeat only what is idempotent.
 *   Not for blocking commands.
 * `worker`: commands wait until Redis is back and are sent again if their answer was lost. For BullMQ workers and readers;
 *   a blocking command may block for up to 20 s (longer without any answer counts as a dead connection).
 * `subscriber`: as a worker, for SUBSCRIBE, and without that limit.
 */
export type Patience = 'producer' | 'worker' | 'subscriber'

export type ConnectOptions = { readonly name: string; readonly patience: Patience; readonly log: Log }

const COMMAND_TIMEOUT_MS = 2_000
const BLOCKING_LIMIT_MS = 30_000
const FIRST_READY_MS = 10_000
const MAX_RECONNECT_MS = 500
// Trying again with the same credentials is no use.
const REFUSED = /^(WRONGPASS|NOAUTH|NOPERM)/

const COMMON = {
  retryStrategy: (times: number) => Math.min(times * 25, MAX_RECONNECT_MS),
  connectTimeout: 5_000,
  // Node sends ten probes a second apart after this: a peer that vanished without a word is known in 20 s.
  keepAlive: 10_000,
  // How often it looks whether a server has loaded its data.
  maxLoadingRetryTime: MAX_RECONNECT_MS,
} as const

const POLICIES: Readonly<Record<Patience, RedisOptions>> = {
  // socketTimeout ends the connection of a frozen server, so that what is queued behind it does not grow in memory.
  producer: {
    commandTimeout: COMMAND_TIMEOUT_MS,
    socketTimeout: COMMAND_TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
  },
  worker: { maxRetriesPerRequest: null, socketTimeout: BLOCKING_LIMIT_MS },
  subscriber: { maxRetriesPerRequest: null },
}

/**
 * A producer resolves when it is connected, or rejects with a Failure after 10 s; the others resolve at once and connect in
 * the background. The client is the caller's to close (`quit` or `disconnect`). Do not `duplicate()` a producer.
 */
export async function connectRedis(target: RedisTarget, { name, patience, log }: ConnectOptions): Promise<RedisClient> {
  const client = create(target, { ...COMMON, ...POLICIES[patience], connectionName: `telltale-${name}` }, patience)
  report(client, name, describeTarget(target), log)
  if (patience !== 'producer') return client
  await firstReady(client)
  // Only now: refused from the start, the client's own and BullMQ's first INFO would fail too.
  client.options.enableOfflineQueue = false
  return client
}

function create(target: RedisTarget, options: RedisOptions, patience: Patience): RedisClient {
  if ('path' in target) return new Redis({ ...options, path: target.path })
  const { addresses, db } = target
  const access = { ...options, ...credentials(target) }
  if (addresses.length === 1) return new Redis({ ...access, ...addresses[0], db })
  return new Cluster([...addresses], clusterOptions(access, patience))
}

function credentials({ username, password, tls }: RedisServers): RedisOptions {
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: {} } : {}),
  }
}

function clusterOptions({ retryStrategy, ...redisOptions }: RedisOptions, patience: Patience): ClusterOptions {
  const waits = patience !== 'producer'
  return {
    redisOptions,
    clusterRetryStrategy: times => retryStrategy?.(times) ?? null,
    // Zero: do not send a command again whose connection was lost; it may have been carried out.
    ...(waits ? {} : { retryDelayOnFailover: 0, retryDelayOnClusterDown: 0 }),
    slotsRefreshTimeout: COMMAND_TIMEOUT_MS,
  }
}

function firstReady(client: RedisClient): Promise<void> {
  return new Promise((resolve, reject) => {
    let cause: Error = new Error('Connection is closed.')
    const settle = (act: () => void) => {
      clearTimeout(timer)
      client.off('error', note)
      client.off('ready', ready)
      act()
    }
    const giveUp = () => {
      client.disconnect()
      settle(() => reject(translate(cause)))
    }
    const note = (error: Error) => {
      cause = error
      if (REFUSED.test(error.message)) giveUp()
    }
    const ready = () => settle(resolve)
    const timer = setTimeout(giveUp, FIRST_READY_MS)
    client.on('error', note)
    client.on('ready', ready)
  })
}

/** One line when it goes and one when it is back, however often the attempts fail in between. */
function report(client: RedisClient, name: string, address: string, log: Log): void {
  let cause = 'closed by the server'
  let lostAt: number | undefined
  client.on('error', (error: Error) => {
    cause = error.message
  })
  // `reconnecting` and not `close`: that comes when we close it ourselves, too.
  client.on('reconnecting', () => {
    if (lostAt === undefined) log.warn({ client: name, address, cause }, 'redis connection lost, trying again')
    lostAt ??= performance.now()
  })
  client.on('ready', () => {
    if (lostAt !== undefined)
      log.info({ client: name, address, awayMs: Math.round(performance.now() - lostAt) }, 'redis connection is back')
    lostAt = undefined
    cause = 'closed by the server'
  })
}
