// The gateway role: devices and programs talk to this; it accepts their events into the log.
import type { Redis } from 'ioredis'
import type { Failure } from '../../packages/core/failure.ts'
import type { Identity } from '../../packages/identity/identity.ts'
import type { Schemas } from '../../packages/log/durable/checking.ts'
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
import { Decoders } from '../../packages/state/decoder.ts'
import { DecoderMemory } from '../../packages/state/decodermemory.ts'
import type { Devices } from '../../packages/state/device.ts'
import { DeviceClocks } from '../../packages/state/deviceclock.ts'
import { Removals } from '../../packages/state/deviceremoval.ts'
import { Listening } from '../../packages/state/listening.ts'
import type { Projects } from '../../packages/state/project.ts'
import type { Quarantine } from '../../packages/state/quarantine.ts'
import { Accept } from './accept.ts'
import { Budget } from './check/budget.ts'
import { addBudgetRoutes } from './check/budgetroute.ts'
import { ClockWatch } from './check/clockwatch.ts'
import { screen } from './check/eventschema.ts'
import { addSchemaRoutes } from './check/schemaroute.ts'
import type { Decoded } from './decode/event.ts'
import { FORMATS } from './decode/formats.ts'
import { Catalog } from './decoder/catalog.ts'
import { addDecoderRoutes } from './decoder/decoderroute.ts'
import { addDecoderTests } from './decoder/decodertest.ts'
import type { RunPorts } from './decoder/decoderun.ts'
import { Memories } from './decoder/memory.ts'
import { Decoding, type DecodingPorts } from './durable/decoding.ts'
import type { Cut } from './guard/port.ts'
import { Sample } from './guard/sample.ts'
import { Unpackers } from './http/body.ts'
import { addIngestRoutes, type HttpPorts } from './http/http.ts'
import { addInflux } from './http/influx.ts'
import { Zstd } from './http/zstd.ts'
import type { IngestPorts } from './ingest.ts'
import { checked } from './ingest.ts'
import { startAnnouncements } from './mqtt/announce.ts'
import { type ListenerLimits, SOCKET_BYTES } from './mqtt/listener.ts'
import type { Follow } from './mqtt/live.ts'
import { type MqttDoor, openMqtt } from './mqtt/mqtt.ts'
import { openWebSocket } from './mqtt/websocket.ts'
import { rejectionsOf } from './quarantine/rejection.ts'
import { addReplayRoute } from './quarantine/replayroute.ts'

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
  readonly durable: Pick<DecodingPorts, 'streams' | 'subscriptions' | 'dispatch'> & { readonly schemas: Schemas }
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
/** Of decoders that break, by name. */
const MAX_COMPLAINTS = 100
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
  const decoders = new Decoders(ports.redis)
  const catalog = new Catalog({
    formats: FORMATS,
    decoders: project => decoders.decoders.list(project).catch(rethrow),
    schemas: project => decoders.schemas.list(project).catch(rethrow),
    changes: since => decoders.changes.since(since),
  })
  const run = runPorts(ports)
  const { schemas } = ports.durable
  const check: Schemas['check'] = (project, schema, payloads) => schemas.check(project, schema, payloads)
  let sender: Pick<MqttDoor, 'send'> | undefined
  const budgets = new Budgets(ports.redis)
  const budget: Budget = new Budget({ budgets, isKnown: (project, device) => accept.knows(project, device) })
  const clocks = new ClockWatch()
  const ingest: IngestPorts = {
    accept,
    budget,
    clocks,
    screen: (project, decoded) => screen({ catalog, check }, project, decoded),
    quarantine: async (project, refused) => {
      const lost = await ports.quarantine.add(project, refused).catch(rethrow)
      metrics.quarantineLost.inc(lost)
      for (const { device, payload } of rejectionsOf(refused, Date.now())) sender?.send(project, `devices/${device}/rejected`, payload)
    },
    rejected: count => metrics.rejected.inc(count),
  }
  const zstd = new Zstd()
  lifecycle.started('zstd', () => zstd.close())
  const { identity } = ports
  const http: HttpPorts = {
    ...ingest,
    clock,
    catalog,
    run,
    send: (...what) => sender?.send(...what),
    unpackers: new Unpackers(zstd),
    watch: (caller, ended, project) => identity.watch(caller, ended, project),
    known: (project, device) => ports.devices.one(project, device),
  }
  addIngestRoutes(app, http)
  addInflux(app, { ...http, identity })
  addBudgetRoutes(app, { budgets, budget, clock })
  const resource = { formats: FORMATS, decoders, catalog, memory: new DecoderMemory(ports.redis) }
  addDecoderRoutes(app, resource)
  addDecoderTests(app, { ...resource, run, screen: ingest.screen, clock })
  addSchemaRoutes(app, { decoders, catalog, check })
  const { quarantine } = ports
  const decoded = (project: string, all: readonly Decoded[]) => checked(ingest, project, all)
  addReplayRoute(app, { quarantine, formats: FORMATS, catalog, run, accept, checked: decoded, screen: ingest.screen })
  const dropped = () => metrics.mqttDropped.inc()
  const cut = (why: Cut | 'shed') => (why === 'shed' ? metrics.mqttShed.inc() : metrics.mqttCut.inc({ reason: why }))
  const { follow, mqttLimits: limits, redis } = ports
  const { guesses } = app
  const subscriber = await ports.connect('mqtt')
  const door = await openMqtt(
    { ...ingest, catalog, run, identity, guesses, follow, clock, log: logger, redis, subscriber, dropped, cut, limits },
    host,
    mqttPort,
  )
  const maxFrameBytes = limits.packetBytes + FRAME_HEAD_BYTES
  const sockets = openWebSocket(app, ports.upgrades, { maxFrameBytes }, (stream, from) => door.take(stream, from))
  sender = door
  lifecycle.started('mqtt', async () => {
    await accept.drain()
    await door.close()
  })
  const decoding = new Decoding({ ingest, ...ports.durable, logger })
  decoding.start()
  lifecycle.started('decoding', () => decoding.stop())
  const announcing = await startAnnouncements({ ...ports, announce: (topic, payload, order) => door.announce(topic, payload, order) })
  lifecycle.started('alarm announcements', () => announcing.stop())
  const beat = startBeat(ports, accept, door, [
    () => catalog.refresh(),
    () => budget.refresh(),
    () => tellClocks(clocks, new DeviceClocks(ports.redis)),
  ])
  lifecycle.started('beat', beat.stop)
  const { port, take, connections } = door
  return { port, take, connections, socketBytes: SOCKET_BYTES, drain: () => accept.drain(), endSockets: () => sockets.close() }
}

function runPorts({ redis, logger }: GatewayPorts): RunPorts {
  const disk = new DecoderMemory(redis)
  const complained = new Set<string>()
  return {
    memories: new Memories({
      disk: {
        revision: id => disk.revision(id).catch(rethrow),
        load: id => disk.load(id).catch(rethrow),
        save: (id, changes) => disk.save(id, changes).catch(rethrow),
      },
      nowMs: () => performance.now(),
      troubled: error => logger.warn({ reason: error.message }, 'what decoders remember was not looked at'),
    }),
    broke: ({ mapping, format }, error) => {
      // It is as likely to break on the next payload; the quarantine has them all.
      if (complained.has(mapping.name) || complained.size >= MAX_COMPLAINTS) return
      complained.add(mapping.name)
      logger.error({ decoder: mapping.name, format: format.name, err: error }, 'decoder broke on a payload')
    },
  }
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
      // Each by itself: what one of them cannot do keeps none of the others from it.
      const done = await Promise.allSettled(more.map(one => one()))
      for (const one of done) if (one.status === 'rejected') throw one.reason
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
  const untold = new Map(watch.take())
  try {
    for (const [project, changes] of untold) {
      await clocks.save(project, changes)
      untold.delete(project)
    }
  } finally {
    for (const [project, changes] of untold) watch.putBack(project, changes)
  }
  for (const project of watch.due(performance.now())) watch.known(project, await clocks.all(project))
}
