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
import type { Projects } from '../../packages/state/project.ts'
import type { Quarantine } from '../../packages/state/quarantine.ts'
import { Accept } from './accept.ts'
import { startBeat } from './beat.ts'
import { Budget } from './check/budget.ts'
import { addBudgetRoutes } from './check/budgetroute.ts'
import { ClockWatch } from './check/clockwatch.ts'
import { screen } from './check/eventschema.ts'
import { addSchemaRoutes } from './check/schemaroute.ts'
import type { Decoded } from './decode/event.ts'
import { FORMATS } from './decode/formats.ts'
import { Catalog, type Shelf } from './decoder/catalog.ts'
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

/** What a packet is longer than its limit says, which counts without the header: so that a frame may hold the longest one. */
const FRAME_HEAD_BYTES = 16
/** Of decoders that break, by name. */
const MAX_COMPLAINTS = 100
const SAID_AGAIN_MS = 60_000
const clock = { nowUs: () => Date.now() * 1000, newId: () => newId() }

export async function startGateway(
  ports: GatewayPorts,
  app: HttpApp,
  host: string,
  mqttPort: number,
  lifecycle: Lifecycle,
): Promise<GatewayDoor> {
  // There when the first event is refused: the doors open together.
  let door: MqttDoor | undefined
  const send: Send = (...what) => door?.send(...what)
  const inside = openInside(ports, send)
  const { accept, clocks, catalog, budget } = inside
  addRoutes(ports, app, inside, send, lifecycle)
  door = await openMqttDoor(ports, app, inside, host, mqttPort)
  const { port, take, connections, announce } = door
  const maxFrameBytes = ports.mqttLimits.packetBytes + FRAME_HEAD_BYTES
  const sockets = openWebSocket(app, ports.upgrades, { maxFrameBytes }, take)
  lifecycle.started('mqtt', async () => {
    await accept.drain()
    await door.close()
  })
  const decoding = new Decoding({ ingest: inside.ingest, ...ports.durable, logger: ports.logger })
  decoding.start()
  lifecycle.started('decoding', () => decoding.stop())
  const announcing = startAnnouncements({ ...ports, announce })
  lifecycle.started('alarm announcements', () => announcing.stop())
  const beat = startBeat({ ...ports, accept, clocks, connections, refresh: [() => catalog.refresh(), () => budget.refresh()] })
  lifecycle.started('beat', beat.stop)
  return { port, take, connections, socketBytes: SOCKET_BYTES, drain: () => accept.drain(), endSockets: () => sockets.close() }
}

type Send = MqttDoor['send']

/** What stands behind every door. */
type Inside = {
  readonly accept: Accept
  readonly ingest: IngestPorts
  readonly budgets: Budgets
  readonly budget: Budget
  readonly clocks: ClockWatch
  readonly decoders: Decoders
  readonly catalog: Catalog
  readonly check: Schemas['check']
  readonly run: RunPorts
}

function openInside(ports: GatewayPorts, send: Send): Inside {
  const { redis, metrics, logger, durable, quarantine } = ports
  const decoders = new Decoders(redis)
  const catalog = new Catalog({
    formats: FORMATS,
    decoders: shelfOf(decoders.decoders),
    schemas: shelfOf(decoders.schemas),
    changes: since => decoders.changes.since(since),
  })
  const check: Schemas['check'] = (project, schema, payloads) => durable.schemas.check(project, schema, payloads)
  const budgets = new Budgets(redis)
  const budget: Budget = new Budget({ budgets, isKnown: (project, device) => accept.knows(project, device) })
  const accept = openAccept(ports, budget)
  const clocks = new ClockWatch()
  const slow = onceInAWhile((project, eventType) =>
    logger.warn({ project, eventType }, 'the schema of an event type takes too long to check: its events go to the quarantine'),
  )
  const ingest: IngestPorts = {
    accept,
    budget,
    clocks,
    screen: (project, decoded) => screen({ catalog, check, slow }, project, decoded),
    quarantine: async (project, refused) => {
      const lost = await quarantine.add(project, refused).catch(rethrow)
      metrics.quarantineLost.inc(lost)
      for (const { device, payload } of rejectionsOf(refused, Date.now())) send(project, `devices/${device}/rejected`, payload)
    },
    rejected: count => metrics.rejected.inc(count),
  }
  return { accept, ingest, budgets, budget, clocks, decoders, catalog, check, run: runPorts(ports) }
}

/** Failures of Redis in words. */
function shelfOf<T>(documents: Shelf<T>): Shelf<T> {
  return {
    revisions: project => documents.revisions(project).catch(rethrow),
    some: (project, names) => documents.some(project, names).catch(rethrow),
  }
}

function openAccept({ log, devices, wakes, metrics, logger, produced }: GatewayPorts, budget: Budget): Accept {
  // While Redis takes nothing, each batch fails, and there may be one every millisecond.
  const failed = new Sample((facts, message) => logger.warn(facts, message), 'reason')
  return new Accept({
    append: async (project, batch) => {
      const outcome = await log.append(project, batch).catch(rethrow)
      produced(project)
      // What cannot be written now is written with the next batch.
      budget.save(project).catch((error: Error) => logger.debug({ reason: error.message }, 'names of fields not written'))
      return outcome
    },
    register: (project, fresh) => devices.register(project, fresh).catch(rethrow),
    wake: (project, consumer) => wakes.wake(project, consumer),
    counted: (accepted, duplicates) => {
      metrics.accepted.inc(accepted)
      metrics.duplicates.inc(duplicates)
    },
    failed: error => {
      const reason = (error as Error).message
      failed.add(reason, { reason }, 'batch not accepted')
    },
  })
}

function addRoutes(ports: GatewayPorts, app: HttpApp, inside: Inside, send: Send, lifecycle: Lifecycle): void {
  const { redis, identity, devices, quarantine } = ports
  const { accept, ingest, budgets, budget, decoders, catalog, check, run } = inside
  const zstd = new Zstd()
  lifecycle.started('zstd', () => zstd.close())
  const http: HttpPorts = {
    ...ingest,
    clock,
    catalog,
    run,
    send,
    unpackers: new Unpackers(zstd),
    watch: (caller, ended, project) => identity.watch(caller, ended, project),
    known: (project, device) => devices.one(project, device),
  }
  addIngestRoutes(app, http)
  addInflux(app, { ...http, identity })
  addBudgetRoutes(app, { budgets, budget, clock })
  const resource = { formats: FORMATS, decoders, catalog, memory: new DecoderMemory(redis) }
  addDecoderRoutes(app, resource)
  addDecoderTests(app, { ...resource, run, screen: ingest.screen, clock })
  addSchemaRoutes(app, { decoders, catalog, check })
  const decoded = (project: string, all: readonly Decoded[]) => checked(ingest, project, all)
  addReplayRoute(app, { quarantine, formats: FORMATS, catalog, run, accept, checked: decoded, screen: ingest.screen })
}

async function openMqttDoor(ports: GatewayPorts, { guesses }: HttpApp, inside: Inside, host: string, port: number): Promise<MqttDoor> {
  const { metrics, identity, follow, redis, logger: log, mqttLimits: limits } = ports
  const { ingest, catalog, run } = inside
  const subscriber = await ports.connect('mqtt')
  const dropped = () => metrics.mqttDropped.inc()
  const cut = (why: Cut | 'shed') => (why === 'shed' ? metrics.mqttShed.inc() : metrics.mqttCut.inc({ reason: why }))
  return openMqtt({ ...ingest, catalog, run, identity, guesses, follow, clock, log, redis, subscriber, dropped, cut, limits }, host, port)
}

function runPorts({ redis, logger }: GatewayPorts): RunPorts {
  const disk = new DecoderMemory(redis)
  const complained = new Set<string>()
  return {
    memories: new Memories({
      disk: {
        read: (id, known) => disk.read(id, known).catch(rethrow),
        save: (id, changes, known) => disk.save(id, changes, known).catch(rethrow),
        changedMs: (id, keys) => disk.changedMs(id, keys).catch(rethrow),
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

/** For each project and name of its own. */
function onceInAWhile(say: (project: string, name: string) => void): (project: string, name: string) => void {
  const said = new Map<string, number>()
  return (project, name) => {
    const [key, nowMs] = [`${project} ${name}`, performance.now()]
    if (nowMs - (said.get(key) ?? Number.NEGATIVE_INFINITY) < SAID_AGAIN_MS) return
    if (said.size >= MAX_COMPLAINTS) said.clear()
    said.set(key, nowMs)
    say(project, name)
  }
}

function rethrow(error: unknown): never {
  throw translate(error)
}
