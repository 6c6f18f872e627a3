// The gateway role: devices and programs talk to this; it accepts their events into the log.
import type { Redis } from 'ioredis'
import type { Failure } from '../../packages/core/failure.ts'
import type { Identity } from '../../packages/identity/identity.ts'
import type { Log } from '../../packages/log/log.ts'
import type { Wakes } from '../../packages/queue/queue.ts'
import { translate } from '../../packages/redis/index.ts'
import type { HttpApp } from '../../packages/runtime/http.ts'
import { newId } from '../../packages/runtime/id.ts'
import type { Lifecycle } from '../../packages/runtime/lifecycle.ts'
import type { Logger } from '../../packages/runtime/logger.ts'
import type { Metrics } from '../../packages/runtime/metric.ts'
import type { Upgrades } from '../../packages/runtime/upgrade.ts'
import type { Alarms } from '../../packages/state/alarm.ts'
import { Budgets } from '../../packages/state/budget.ts'
import type { Devices } from '../../packages/state/device.ts'
import { DeviceClocks } from '../../packages/state/deviceclock.ts'
import { Removals } from '../../packages/state/deviceremoval.ts'
import { Listening } from '../../packages/state/listening.ts'
import type { Projects } from '../../packages/state/project.ts'
import type { Quarantine } from '../../packages/state/quarantine.ts'
import { Accept } from './accept.ts'
import { startAnnouncements } from './announce.ts'
import { Unpackers } from './body.ts'
import { Budget } from './budget.ts'
import { addBudgetRoutes } from './budgetroute.ts'
import { builtIn } from './chosen.ts'
import { ClockWatch } from './clockwatch.ts'
import { Decoding, type DecodingPorts } from './decoding.ts'
import type { Cut } from './guard/port.ts'
import { Sample } from './guard/sample.ts'
import { addIngestRoutes, type HttpPorts } from './http.ts'
import { addInflux } from './influx.ts'
import type { IngestPorts } from './ingest.ts'
import { type ListenerLimits, SOCKET_BYTES } from './listener.ts'
import type { Follow } from './live.ts'
import { type MqttDoor, openMqtt } from './mqtt.ts'
import { openWebSocket } from './websocket.ts'
import { Zstd } from './zstd.ts'

export type GatewayPorts = {
  /** A connection that fails at once while Redis is away, so that senders are told to wait. */
  readonly redis: Redis
  /** A connection for reading that may block. */
  connect(name: string): Promise<Redis>
  readonly log: Log
  readonly wakes: Wakes
  readonly projects: Projects
  readonly devices: Devices
  readonly alarms: Alarms
  readonly quarantine: Quarantine
  readonly identity: Identity
  readonly upgrades: Upgrades
  /** Streams, for those who follow them by MQTT. */
  readonly follow: Follow
  readonly durable: Pick<DecodingPorts, 'streams' | 'subscriptions' | 'dispatch'>
  /** Told of every batch: the project's device stream is alive. */
  produced(project: string): void
  /** Why nothing more is taken now: Redis is nearly full. */
  refusal(): Failure | undefined
  /** Of MQTT connections. */
  readonly mqttLimits: ListenerLimits
  readonly logger: Logger
  readonly metrics: Metrics
}

export type GatewayDoor = Pick<MqttDoor, 'port' | 'take' | 'connections'> & {
  /** Of the sockets that it is to be given. */
  readonly socketBytes: number
  /** Resolves when all that was taken is answered. */
  drain(): Promise<void>
  /** Ends what is open over WebSocket, and takes no more. */
  endSockets(): void
}

const BEAT_MS = 1000
/** What a packet is longer than its limit says, which counts without the header: so that a frame may hold the longest one. */
const FRAME_HEAD_BYTES = 16
const clock = { nowUs: () => Date.now() * 1000, newId: () => newId() }

export async function startGateway(
  ports: GatewayPorts,
  app: HttpApp,
  host: string,
  mqttPort: number,
  lifecycle: Lifecycle,
): Promise<GatewayDoor> {
  const { metrics, logger } = ports
  // While Redis takes nothing, each batch fails, and there may be one every millisecond.
  const failed = new Sample((facts, message) => logger.warn(facts, message), 'reason')
  const accept = new Accept({
    append: async (project, batch) => {
      const outcome = await ports.log.append(project, batch).catch(rethrow)
      ports.produced(project)
      // What cannot be written now is written with the next batch.
      budget.save(project).catch((error: Error) => logger.debug({ reason: error.message }, 'names of fields not written'))
      return outcome
    },
    register: (project, devices) => ports.devices.register(project, devices).catch(rethrow),
    wake: (project, consumer) => ports.wakes.wake(project, consumer),
    counted: (accepted, duplicates) => {
      metrics.accepted.inc(accepted)
      metrics.duplicates.inc(duplicates)
    },
    failed: error => {
      const reason = (error as Error).message
      failed.add(reason, { reason }, 'batch not accepted')
    },
  })
  const budgets = new Budgets(ports.redis)
  const budget: Budget = new Budget({ budgets, isKnown: (project, device) => accept.knows(project, device) })
  const clocks = new ClockWatch()
  const ingest: IngestPorts = {
    accept,
    budget,
    clocks,
    quarantine: (project, refused) => ports.quarantine.add(project, refused).catch(rethrow),
    rejected: count => metrics.rejected.inc(count),
  }
  const zstd = new Zstd()
  lifecycle.started('zstd', () => zstd.close())
  const { identity } = ports
  const http: HttpPorts = {
    ...ingest,
    clock,
    decoding: builtIn,
    unpackers: new Unpackers(zstd),
    watch: (caller, ended, project) => identity.watch(caller, ended, project),
    known: (project, device) => ports.devices.one(project, device),
  }
  addIngestRoutes(app, http)
  addInflux(app, { ...http, identity })
  addBudgetRoutes(app, { budgets, budget, clock })
  const dropped = () => metrics.mqttDropped.inc()
  const cut = (why: Cut | 'shed') => (why === 'shed' ? metrics.mqttShed.inc() : metrics.mqttCut.inc({ reason: why }))
  const { follow, mqttLimits: limits } = ports
  const { guesses } = app
  const door = await openMqtt({ ...ingest, identity, guesses, follow, clock, log: logger, dropped, cut, limits }, host, mqttPort)
  const maxFrameBytes = limits.packetBytes + FRAME_HEAD_BYTES
  const sockets = openWebSocket(app, ports.upgrades, { maxFrameBytes }, (stream, from) => door.take(stream, from))
  lifecycle.started('mqtt', async () => {
    await accept.drain()
    await door.close()
  })
  const decoding = new Decoding({ ingest, ...ports.durable, logger })
  decoding.start()
  lifecycle.started('decoding', () => decoding.stop())
  const announcing = await startAnnouncements({ ...ports, announce: (topic, payload) => door.announce(topic, payload) })
  lifecycle.started('alarm announcements', () => announcing.stop())
  const beat = startBeat(ports, accept, door, [() => budget.refresh(), () => tellClocks(clocks, new DeviceClocks(ports.redis))])
  lifecycle.started('beat', beat.stop)
  const { port, take, connections } = door
  return { port, take, connections, socketBytes: SOCKET_BYTES, drain: () => accept.drain(), endSockets: () => sockets.close() }
}

function rethrow(error: unknown): never {
  throw translate(error)
}

/** Once a second: says that events are being received, and looks whether devices were removed and whether there is room for more. */
function startBeat(
  { redis, refusal, logger, metrics }: GatewayPorts,
  accept: Accept,
  door: MqttDoor,
  more: readonly (() => Promise<void>)[],
): { stop(): Promise<void> } {
  const listening = new Listening(redis)
  let running: Promise<void> | undefined
  const removals = new Removals(redis)
  let newest = 0
  const round = async () => {
    try {
      await listening.beat()
      const removed = await removals.since(newest)
      accept.forget(removed.projects)
      newest = removed.newest
      accept.refusal = refusal()
      for (const one of more) await one()
    } catch (error) {
      logger.warn({ reason: (error as Error).message }, 'log not reachable')
    }
    metrics.connections.set(door.connections())
    running = undefined
  }
  const timer = setInterval(() => {
    running ??= round()
  }, BEAT_MS)
  running = round()
  return {
    stop: async () => {
      clearInterval(timer)
      await running
    },
  }
}

/** Writes whose clock is wrong, and learns what others have found. */
async function tellClocks(watch: ClockWatch, clocks: DeviceClocks): Promise<void> {
  for (const [project, changes] of watch.take())
    await clocks.save(project, changes).catch((error: unknown) => {
      watch.putBack(project, changes)
      throw error
    })
  for (const project of watch.due(performance.now())) watch.known(project, await clocks.all(project))
}
