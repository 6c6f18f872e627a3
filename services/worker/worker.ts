// The worker role: consumers of the log, each with a place of its own, woken by jobs (nobody talks to this).
import type { Redis } from 'ioredis'
import { DEVICES } from '../../packages/core/stream.ts'
import type { Identity } from '../../packages/identity/identity.ts'
import { missing } from '../../packages/log/durable/record.ts'
import type { DurableStreams } from '../../packages/log/durable/stream.ts'
import type { Subscriptions } from '../../packages/log/durable/subscription.ts'
import { Followers } from '../../packages/log/follow.ts'
import type { Log } from '../../packages/log/log.ts'
import type { Outbound } from '../../packages/outbound/outbound.ts'
import { Leases } from '../../packages/queue/lease.ts'
import { Deliveries, drainQueueName, type QueuePorts, startDrains, startSweep, type Wakes } from '../../packages/queue/queue.ts'
import type { Lifecycle } from '../../packages/runtime/lifecycle.ts'
import type { Logger } from '../../packages/runtime/logger.ts'
import type { WorkerMetrics } from '../../packages/runtime/metric.ts'
import { Alarms } from '../../packages/state/alarm.ts'
import { Attentions } from '../../packages/state/attention.ts'
import { Audit } from '../../packages/state/audit.ts'
import { type Channel, Channels } from '../../packages/state/channel.ts'
import { Connectors } from '../../packages/state/connector.ts'
import { Devices } from '../../packages/state/device.ts'
import { Reports } from '../../packages/state/devicereport.ts'
import { Feeds } from '../../packages/state/feed.ts'
import { History } from '../../packages/state/history.ts'
import { Judgements, judgementsOn } from '../../packages/state/judgement.ts'
import { Listening } from '../../packages/state/listening.ts'
import { Outbox } from '../../packages/state/outbox.ts'
import type { Projects } from '../../packages/state/project.ts'
import { Quarantine } from '../../packages/state/quarantine.ts'
import { type BrokenRule, Rules } from '../../packages/state/rule.ts'
import { Shadows } from '../../packages/state/shadow.ts'
import type { ReadingStore } from '../../packages/store/store.ts'
import { alarmingOn } from './alarming.ts'
import { Connecting } from './connector/connector.ts'
import type { ConnectorPorts } from './connector/project.ts'
import { syncPorts } from './connector/sync.ts'
import { type Consumer, Drain, type DrainPorts } from './drain.ts'
import { Judge } from './judge.ts'
import { drainOutbox, type NotifyPorts, startNotify } from './notify/notify.ts'
import { postWebhook, type Target } from './notify/webhook.ts'
import { reportConsumer } from './report.ts'
import { storeConsumer } from './store.ts'
import { Sweep } from './sweep.ts'

/** Consumers of the log, in the order in which they matter. */
export const CONSUMERS = ['judge', 'store', 'report'] as const
/**
 * Everything that is woken per project, and how often at most: alarms should be prompt, a store's transaction wants a batch, what
 * was reported last is only looked at by people.
 */
export const PACE_MS: Readonly<Record<string, number>> = { judge: 10, store: 50, report: 1000, notify: 0 }

/** Broken rules that are not complained of again. */
const MAX_KNOWN = 1000

export type WorkerPorts = {
  /** A connection that waits while Redis is away. */
  readonly redis: Redis
  readonly log: Log
  readonly wakes: Wakes
  readonly store: ReadingStore
  readonly projects: Projects
  readonly identity: Identity
  readonly outbound: Outbound
  /** For pushing events: see services/part.ts. */
  readonly connectorOutbound: Outbound
  readonly durable: { readonly streams: DurableStreams; readonly subscriptions: Subscriptions }
  /** A connection of its own, on which reading may block. */
  connect(name: string): Promise<Redis>
  readonly logger: Logger
  readonly metrics: WorkerMetrics
  readonly partitions: number
  readonly latenessMs: number
  readonly retentionMs: number
  readonly logRetentionMs: number
  readonly alarmHistoryMs: number
  readonly logMaxBytes: number
  readonly connectorGiveUpMs: number
  readonly quarantineMaxBytes: number
  /** 0: for ever. */
  readonly quarantineRetentionMs: number
}

/** The lease under which a partition's connectors are pushed to; no queue stands behind it. */
const PUSH = 'push'
const SWEEP_MS = 1000

export async function startWorker(ports: WorkerPorts, lifecycle: Lifecycle): Promise<void> {
  const { redis, log, wakes, logger } = ports
  const queue: QueuePorts = { redis, log: logger }
  const outbox = new Outbox(redis, ports.alarmHistoryMs)
  const deliveries = new Deliveries(queue)
  lifecycle.started('deliveries', () => deliveries.close())
  const notify = notifyPorts(ports, outbox, deliveries)
  const notifying = startNotify(notify)
  lifecycle.started('notify', () => notifying.stop())
  const drains = drainsOf(ports, notify)
  const connecting = new Connecting(connectorPorts(ports), ports.partitions)
  connecting.start()
  lifecycle.started('connectors', () => connecting.stop())
  // By partition: a process that holds a share of the names, from the front, holds some of each consumer.
  const held = [...Object.keys(PACE_MS), PUSH]
  const names = Array.from({ length: ports.partitions }, (_, i) => held.map(consumer => drainQueueName(consumer, i))).flat()
  const leases = new Leases(redis, logger, names, name => {
    const consumer = name.slice(0, name.lastIndexOf('-'))
    if (consumer === PUSH) return connecting.open(Number(name.slice(consumer.length + 1)))
    return startDrains(queue, name, drains.get(consumer) ?? unknown(name))
  })
  await leases.start()
  lifecycle.started('drains', () => leases.stop())
  const judgements = new Judgements(redis)
  const attentions = new Attentions(redis)
  const history = new History(redis)
  const alarms = new Alarms(redis)
  const quarantine = new Quarantine(redis, ports.quarantineMaxBytes)
  const sweep = new Sweep({
    log,
    projects: () => ports.projects.list(),
    nextDueUs: async project => {
      const [[timer], attentionUs] = await Promise.all([judgements.due(project, Number.MAX_SAFE_INTEGER, 1), attentions.nextDueUs(project)])
      return timer === undefined || attentionUs === undefined ? (timer?.dueUs ?? attentionUs) : Math.min(timer.dueUs, attentionUs)
    },
    hasOutbox: async project => !(await outbox.isEmpty(project)),
    wake: (project, consumer) => wakes.wake(project, consumer),
    lag: (consumer, seconds) => ports.metrics.lagSeconds.set({ consumer }, seconds),
    logBytes: bytes => ports.metrics.logBytes.set(bytes),
    nowMs: Date.now,
    trimStreams: project => ports.durable.subscriptions.trim(project, Date.now()),
    trimHistory: async project => {
      const beforeUs = ports.alarmHistoryMs === 0 ? 0 : (Date.now() - ports.alarmHistoryMs) * 1000
      const cut = await history.trim(project, beforeUs)
      if (cut > 0) logger.warn({ project, records: cut }, 'alarm history cut by number: its oldest records went before their time')
      await alarms.dropCleared(project, beforeUs)
    },
    troubled: (project, error) => logger.error({ project, err: error }, 'project not swept'),
    trimQuarantine: async project => {
      const { quarantineRetentionMs } = ports
      const lost = await quarantine.trim(project, quarantineRetentionMs === 0 ? 0 : Date.now() - quarantineRetentionMs)
      if (lost > 0) logger.warn({ project, records: lost }, 'quarantine is full: its oldest records went')
    },
    purge: (project, beforeUs) => ports.store.purge(project, beforeUs),
    consumers: CONSUMERS,
    retentionMs: ports.retentionMs,
    logRetentionMs: ports.logRetentionMs,
    maxLogBytes: ports.logMaxBytes,
  })
  const sweeping = await startSweep(queue, SWEEP_MS, () => sweep.run())
  lifecycle.started('sweep', () => sweeping.stop())
}

function unknown(name: string): (project: string) => Promise<void> {
  throw new Error(`no consumer drains ${name}`)
}

function drainsOf(ports: WorkerPorts, notify: NotifyPorts): Map<string, (project: string) => Promise<void>> {
  const { redis, metrics, store } = ports
  const drainPorts = drainPortsOf(ports)
  const devices = new Devices(redis)
  const judge = new Judge(judgePorts(ports, devices))
  const reports = new Reports(redis)
  const report = reportConsumer((project, values) => reports.write(project, values))
  const consumers: Consumer[] = [judge, storeConsumer(store, count => metrics.stored.inc(count)), report]
  const drains = new Map(
    consumers.map(consumer => {
      const drain = new Drain(drainPorts, consumer)
      return [consumer.name, (project: string) => drain.run(project)]
    }),
  )
  drains.set('notify', async project => {
    await ports.log.clearWake(project, 'notify')
    await drainOutbox(notify, project)
  })
  return drains
}

function drainPortsOf({ redis, log, wakes, logger, metrics, quarantineMaxBytes }: WorkerPorts): DrainPorts {
  const quarantine = new Quarantine(redis, quarantineMaxBytes)
  return {
    log,
    quarantine: async (project, refused) => void (await quarantine.add(project, refused)),
    again: (project, consumer) => wakes.again(project, consumer),
    committed: (consumer, events) => metrics.consumed.inc({ consumer }, events),
    poisoned: (consumer, event, error) => {
      metrics.poison.inc({ consumer })
      logger.error({ consumer, device: event.device, err: error }, 'event could not be digested')
    },
  }
}

function judgePorts({ redis, log, wakes, metrics, latenessMs, logger }: WorkerPorts, devices: Devices) {
  const rules = new Rules(redis)
  const shadows = new Shadows(redis)
  const listening = new Listening(redis)
  const known = new Set<string>()
  const complain = (project: string, { name, problem }: BrokenRule) => {
    const said = `${project} ${name} ${problem}`
    if (!known.has(said)) logger.error({ project, rule: name, problem }, 'rule is broken and not judged')
    if (known.size < MAX_KNOWN) known.add(said)
  }
  return {
    devices,
    rulesVersion: (project: string) => rules.version(project),
    rules: async (project: string) => {
      const found = await rules.all(project)
      for (const rule of found) if ('problem' in rule) complain(project, rule)
      const all = found.flatMap(rule => ('problem' in rule ? [] : [rule]))
      return [...all, ...(await shadows.of(project, all))]
    },
    ...judgementsOn(redis),
    alarming: alarmingOn(redis, kind => metrics.alarmChanges.inc({ kind })),
    breaks: () => listening.breaks(),
    nowUs: () => Date.now() * 1000,
    latenessMs,
    notify: async (project: string) => {
      if (await log.setWake(project, 'notify')) wakes.wake(project, 'notify')
    },
  }
}

function notifyPorts({ redis, identity, outbound, logger, metrics }: WorkerPorts, outbox: Outbox, deliveries: Deliveries): NotifyPorts {
  const channels = new Channels(redis)
  return {
    outbox,
    deliveries,
    channel: (project, name) => channels.find(project, name),
    send: (channel, id, entry) => postWebhook(outbound, opened(identity, channel), id, entry, new Date()),
    nowMs: Date.now,
    random: Math.random,
    attempted: outcome => metrics.deliveries.inc({ outcome }),
    gaveUp: facts => logger.error(facts, 'notification given up'),
  }
}

function opened(identity: Identity, { url, secret, signature, headers }: Channel): Target {
  return { url, secret: identity.unseal(secret), signature, headers: JSON.parse(identity.unseal(headers)) as Target['headers'] }
}

function connectorPorts(ports: WorkerPorts): ConnectorPorts {
  const { redis, log, store, identity, logger, metrics } = ports
  const devices = new Devices(redis)
  const audit = new Audit(redis)
  const followers = new Followers({
    log,
    connect: () => ports.connect('push'),
    troubled: (error, project) => logger.warn({ project, reason: error.message }, 'log not followed'),
  })
  return {
    log,
    store,
    connectors: new Connectors(redis),
    devices,
    outbound: ports.connectorOutbound,
    logger,
    sync: syncPorts(redis, log, store),
    follow: (project, follower) => followers.follow(project, 'log', follower),
    target: ({ url, headers, signatureSecret }) => ({
      url: new URL(url),
      secret: identity.unseal(signatureSecret),
      headers: JSON.parse(identity.unseal(headers)) as Target['headers'],
    }),
    attempted: ok => metrics.pushes.inc({ outcome: ok ? 'delivered' : 'failed' }),
    disabled: (project, connector) => {
      const resource = `projects/${project}/dataconnectors/${connector}`
      const nobody = { keyId: '', account: 'system', requestId: '' }
      return audit.add(`projects/${project}`, { ...nobody, method: 'PATCH', path: `/v2/${resource}`, resource, status: 200 })
    },
    ...copyPorts(ports),
    giveUpMs: ports.connectorGiveUpMs,
  }
}

function copyPorts({ redis, durable: { streams, subscriptions } }: WorkerPorts): Pick<ConnectorPorts, 'append' | 'isFed'> {
  const connectors = new Connectors(redis)
  const feeds = new Feeds(redis, project => connectors.touch(project))
  return {
    append: async (project, stream, messages, move) => {
      const record = await streams.find(project, stream)
      if (!record) throw missing(stream)
      return streams.appendMoving({ project, record }, messages, move)
    },
    isFed: project =>
      feeds.runs(project, async () => {
        const ref = { project, record: await streams.get(project, DEVICES) }
        return (await subscriptions.list(ref)).length > 0
      }),
  }
}
