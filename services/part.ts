// What roles stand on: connections, the reading store, and the worker role itself, on whichever thread.
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import { Identity } from '../packages/identity/identity.ts'
import { Schemas } from '../packages/log/durable/checking.ts'
import { DurableStreams } from '../packages/log/durable/stream.ts'
import { Subscriptions } from '../packages/log/durable/subscription.ts'
import { Log } from '../packages/log/log.ts'
import { Names } from '../packages/outbound/name.ts'
import { Outbound } from '../packages/outbound/outbound.ts'
import { Wakes } from '../packages/queue/queue.ts'
import { connectRedis, type Patience, type RedisTarget } from '../packages/redis/index.ts'
import type { Lifecycle } from '../packages/runtime/lifecycle.ts'
import type { Logger } from '../packages/runtime/logger.ts'
import { openWorkerMetrics } from '../packages/runtime/metric.ts'
import { Connectors } from '../packages/state/connector.ts'
import { Feeds } from '../packages/state/feed.ts'
import { Projects } from '../packages/state/project.ts'
import { openDuckStore } from '../packages/store/duckdb.ts'
import { openInfluxStore } from '../packages/store/influx.ts'
import type { ReadingStore } from '../packages/store/store.ts'
import type { Config } from './config.ts'
import { type Room, startRoom } from './room.ts'
import { CONSUMERS, PACE_MS, startWorker } from './worker/worker.ts'

/** What the worker role needs wherever it runs; everything in it can be handed to a thread. */
export type WorkerSettings = { readonly config: Config; readonly target: RedisTarget; readonly secretKey: string }

export type WorkerPart = { readonly store: ReadingStore; readonly metrics: readonly (() => Promise<string>)[] }

/** The worker role on this thread. */
export async function openWorker({ config, target, secretKey }: WorkerSettings, logger: Logger, lifecycle: Lifecycle): Promise<WorkerPart> {
  const { partitions, latenessMs, retentionMs, logRetentionMs, alarmHistoryMs, logMaxBytes } = config
  const metrics = openWorkerMetrics()
  const store = await openStore(config)
  lifecycle.started('store', () => store.close())
  const connect = connector(target, logger, lifecycle)
  const redis = await connect('worker', 'worker')
  const names = new Names()
  const outbound = new Outbound(config.allowPrivate, undefined, undefined, names)
  lifecycle.started('outbound', () => outbound.close())
  const connectorOutbound = openConnectorOutbound(config, names)
  lifecycle.started('connector outbound', () => connectorOutbound.close())
  const wakes = new Wakes({ redis, log: logger }, PACE_MS, partitions)
  lifecycle.started('wakes', () => wakes.close())
  const log = new Log(redis, CONSUMERS)
  const room = startRoom(redis, logger)
  lifecycle.started('room', () => room.stop())
  const parts = {
    redis,
    log,
    wakes,
    store,
    projects: new Projects(redis),
    identity: new Identity(redis, secretKey),
    outbound,
    connectorOutbound,
    connect: (name: string) => connect(name, 'worker'),
    durable: openDurableStreams(redis, config, room),
    logger,
    metrics,
  }
  await startWorker(
    {
      ...parts,
      partitions,
      latenessMs,
      retentionMs,
      logRetentionMs,
      alarmHistoryMs,
      logMaxBytes,
      connectorGiveUpMs: config.connectorGiveUpMs,
      quarantineMaxBytes: config.quarantine.maxBytes,
      quarantineRetentionMs: config.quarantine.retentionMs,
    },
    lifecycle,
  )
  return { store, metrics: [() => metrics.registry.metrics()] }
}

/** Durable streams as every role has them. */
export function openDurableStreams(
  redis: Redis,
  config: Config,
  room: Room,
): { streams: DurableStreams; subscriptions: Subscriptions; schemas: Schemas } {
  // A copy of the log is kept no longer than the log.
  const devices = { maxAgeMs: config.logRetentionMs, maxBytes: config.logMaxBytes, untilAcked: true }
  const schemas = new Schemas()
  const streams = new DurableStreams(redis, { refusal: () => room.refusal(), check: schemas.check.bind(schemas), devices })
  const connectors = new Connectors(redis)
  const feeds = new Feeds(redis, project => connectors.touch(project))
  return { streams, subscriptions: new Subscriptions(redis, streams, (project, start) => feeds.need(project, start)), schemas }
}

/** Data connectors push over TLS, but for hosts that the operator has named (contracts.md 1.a.9). */
export function openConnectorOutbound({ allowPrivate, connectorTimeoutMs }: Config, names?: Names): Outbound {
  return new Outbound(allowPrivate, connectorTimeoutMs, 'allowed', names)
}

export type Connect = (name: string, patience: Patience) => Promise<Redis>

/** Whatever is opened, and when: its connections are closed when everything that was started after this has stopped. */
export function connector(target: RedisTarget, logger: Logger, lifecycle: Lifecycle): Connect {
  const clients = new Set<{ disconnect(): void }>()
  lifecycle.started('redis connections', async () => {
    for (const client of clients) client.disconnect()
  })
  return async (name, patience) => {
    const client = await connectRedis(target, { name, patience, log: logger })
    clients.add(client)
    // Followers come and go with what they follow for.
    client.once('end', () => clients.delete(client))
    // A Cluster client has the same commands; only its own management differs.
    return client as Redis
  }
}

export async function openStore({ influx, dataDir }: Config): Promise<ReadingStore> {
  return influx ? openInfluxStore(influx) : openDuckStore({ path: join(dataDir, 'readings.duckdb') })
}
