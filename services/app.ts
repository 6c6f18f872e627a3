// One process of Telltale: opens what its roles stand on, starts them, and knows how to stop everything in reverse.
import type { Redis } from 'ioredis'
import { Failure } from '../packages/core/failure.ts'
import { VERSION } from '../packages/core/version.ts'
import { Identity, newSecret } from '../packages/identity/identity.ts'
import type { Schemas } from '../packages/log/durable/checking.ts'
import { Dispatch } from '../packages/log/durable/dispatch.ts'
import type { DurableStreams } from '../packages/log/durable/stream.ts'
import type { Subscriptions } from '../packages/log/durable/subscription.ts'
import { Followers } from '../packages/log/follow.ts'
import { Log } from '../packages/log/log.ts'
import { Outbound } from '../packages/outbound/outbound.ts'
import { Wakes } from '../packages/queue/queue.ts'
import { lockDirectory, openRedis, translate } from '../packages/redis/index.ts'
import type { Certificates } from '../packages/runtime/certificate.ts'
import { type HttpApp, openHttp } from '../packages/runtime/http.ts'
import { newId } from '../packages/runtime/id.ts'
import { Lifecycle } from '../packages/runtime/lifecycle.ts'
import type { Logger } from '../packages/runtime/logger.ts'
import { type Metrics, openMetrics } from '../packages/runtime/metric.ts'
import { addOperationRoutes, type Check } from '../packages/runtime/operation.ts'
import { openUpgrades } from '../packages/runtime/upgrade.ts'
import { Accounts } from '../packages/state/account.ts'
import { Alarms } from '../packages/state/alarm.ts'
import { summarise } from '../packages/state/attempt.ts'
import { Audit } from '../packages/state/audit.ts'
import { Devices } from '../packages/state/device.ts'
import { Members } from '../packages/state/member.ts'
import { FIRST_ORGANIZATION, Organizations } from '../packages/state/organization.ts'
import { DEVICE_STREAM } from '../packages/state/presence.ts'
import { Projects } from '../packages/state/project.ts'
import { Quarantine } from '../packages/state/quarantine.ts'
import type { ReadingStore } from '../packages/store/store.ts'
import { recordChanges } from './audit.ts'
import type { Config } from './config.ts'
import { addConsole } from './console/console.ts'
import { TOKEN_PATH } from './console/token.ts'
import { startGateway } from './gateway/gateway.ts'
import type { Follow } from './gateway/mqtt/live.ts'
import { type Here, openHere } from './node.ts'
import {
  type Connect,
  connector,
  openConnectorOutbound,
  openDurableStreams,
  openStore,
  openWorker,
  type WorkerPart,
  type WorkerSettings,
} from './part.ts'
import { listen, listenMqtts, listenSecurely, openTlsCertificates, portTaken } from './port.ts'
import { consoleState } from './record.ts'
import { type Room, startRoom } from './room.ts'
import { type AdminKey, keepAdminKey, keptAdminKey, ownSecretKey } from './secret.ts'
import { addDialects } from './stream/dialects/dialects.ts'
import { addRed5 } from './stream/dialects/red5/red5.ts'
import { addStreamRoutes } from './stream/http.ts'
import { lineSink } from './stream/line.ts'
import { parseQueryText } from './stream/query.ts'
import { Streams } from './stream/stream.ts'
import { startWorkerThread } from './thread.ts'
import { CONSUMERS, PACE_MS } from './worker/worker.ts'

export type App = {
  readonly httpPort: number
  readonly httpsPort: number | undefined
  readonly mqttPort: number | undefined
  readonly mqttsPort: number | undefined
  /** The first key, when this start made it. */
  readonly newKey: AdminKey | undefined
  /** Idempotent; drains and stops in reverse order. */
  stop(): Promise<void>
  /** Looks at the certificates' files now. */
  reload(): void
}

/** Several parts are stopped one after the other, and a service manager waits for 15 s. */
const PART_STOP_MS = 5000

const nowUs = () => Date.now() * 1000

/** Rejects with a Failure `setup` that names the setting; whatever was started is stopped again. */
export async function startApp(config: Config, logger: Logger, progress: (text: string) => void): Promise<App> {
  const lifecycle = new Lifecycle(logger)
  try {
    return await start(config, logger, progress, lifecycle)
  } catch (error) {
    await lifecycle.stop(PART_STOP_MS)
    throw error
  }
}

async function start(config: Config, logger: Logger, progress: (text: string) => void, lifecycle: Lifecycle): Promise<App> {
  const metrics = openMetrics()
  const certificates = await openTlsCertificates(config, logger, lifecycle)
  const embedded = config.redisUrl === undefined || config.influx === undefined
  if (embedded) {
    const lock = await lockDirectory(config.dataDir)
    lifecycle.started('data directory', () => lock.release())
  }
  const redis = await openRedis({
    url: config.redisUrl,
    dir: config.dataDir,
    binary: config.redisBinary,
    fsync: config.fsync,
    maxMemoryBytes: config.redisMaxBytes,
    log: logger,
    progress,
  })
  lifecycle.started('redis', () => redis.close())
  const connect = connector(redis.target, logger, lifecycle)
  const quick = await connect('producer', 'producer')
  const secretKey = config.secretKey ?? (await ownSecretKey(config.dataDir))
  const identity = new Identity(quick, secretKey, troubledBy(logger))
  lifecycle.started('identity', () => identity.close())
  const projects = new Projects(quick)
  await new Organizations(quick).add({ id: FIRST_ORGANIZATION, displayName: 'Default' })
  await projects.recover()
  await projects.add(config.project)
  await agreeOnPartitions(quick, config.partitions)
  const wakes = new Wakes({ redis: await connect('wakes', 'worker'), log: logger }, PACE_MS, config.partitions)
  await wakes.prepare()
  lifecycle.started('wakes', () => wakes.close())
  const worker = await openWorkerOrStore({ config, target: redis.target, secretKey }, logger, lifecycle)
  const { store } = worker
  const { limits, trustedProxies, requestTimeoutMs } = config
  const app = await openHttp({ identity, log: logger, version: VERSION, limits, trustedProxies, requestTimeoutMs })
  let ready = false
  addOperationRoutes(app, [() => metrics.registry.metrics(), ...worker.metrics], checksOf(quick, store), () => ready)
  const outbound = new Outbound(config.allowPrivate)
  lifecycle.started('outbound', () => outbound.close())
  const room = startRoom(quick, logger)
  lifecycle.started('room', () => room.stop())
  const durable = openDurable(config, quick, connect, room, logger, lifecycle)
  const here = await openHere(quick, config, logger, () => durable.dispatch.consumers())
  const parts: Parts = {
    config,
    logger,
    metrics,
    quick,
    connect,
    identity,
    projects,
    store,
    wakes,
    outbound,
    room,
    durable,
    here,
    certificates,
  }
  const { mqttPort, mqttsPort, endStreams, connections } = await startRoles(parts, app, lifecycle)
  const httpPort = await listen(app, config, lifecycle)
  const httpsPort = await listenSecurely(app, config, certificates, logger, lifecycle)
  // Behind all that can fail: it is shown by this start and by no later one.
  const newKey = await firstKey(config, identity, embedded)
  // The first to stop: an open stream would keep the HTTP server from closing.
  lifecycle.started('streams', async () => void (await Promise.all([endStreams(), here.leave()])))
  await here.begin(connections)
  ready = true
  const reload = () => certificates?.look()
  return { httpPort, httpsPort, mqttPort, mqttsPort, newKey, stop: () => lifecycle.stop(PART_STOP_MS), reload }
}

/** The worker role, with the store it writes: on a thread of its own beside other roles. Without the role just the store. */
async function openWorkerOrStore(settings: WorkerSettings, logger: Logger, lifecycle: Lifecycle): Promise<WorkerPart> {
  const { roles } = settings.config
  if (roles.has('worker') && roles.size > 1) return startWorkerThread(settings, logger, lifecycle)
  if (roles.has('worker')) return openWorker(settings, logger, lifecycle)
  const store = await openStore(settings.config)
  lifecycle.started('store', () => store.close())
  return { store, metrics: [] }
}

type Parts = {
  readonly config: Config
  readonly logger: Logger
  readonly metrics: Metrics
  /** Fails at once while Redis is away. */
  readonly quick: Redis
  readonly connect: Connect
  readonly identity: Identity
  readonly projects: Projects
  readonly store: ReadingStore
  readonly wakes: Wakes
  readonly outbound: Outbound
  readonly room: Room
  readonly durable: Durable
  readonly here: Here
  readonly certificates: Certificates | undefined
}

/** Durable streams, and who consumes them here. */
type Durable = {
  readonly streams: DurableStreams
  readonly subscriptions: Subscriptions
  readonly dispatch: Dispatch
  readonly schemas: Schemas
}

function openDurable(config: Config, quick: Redis, connect: Connect, room: Room, logger: Logger, lifecycle: Lifecycle): Durable {
  const { streams, subscriptions, schemas } = openDurableStreams(quick, config, room)
  const troubled = (error: Error) => logger.warn({ reason: error.message }, 'durable streams not reachable')
  const dispatch = new Dispatch({ streams, subscriptions, connect: name => connect(name, 'worker'), troubled })
  lifecycle.started('dispatch', () => dispatch.stop())
  return { streams, subscriptions, dispatch, schemas }
}

type Doors = {
  readonly mqttPort: number | undefined
  readonly mqttsPort: number | undefined
  readonly endStreams: () => Promise<void>
  /** Open ones: streams, and MQTT clients. */
  readonly connections: () => number
}

async function startRoles(parts: Parts, app: HttpApp, lifecycle: Lifecycle): Promise<Doors> {
  const { config, logger, metrics, quick, connect, identity, projects, store, wakes, outbound, room, durable, here, certificates } = parts
  const log = new Log(quick, CONSUMERS)
  const devices = new Devices(quick, {
    consumers: CONSUMERS,
    nowUs,
    newId: () => newId(),
    wake: (project, consumer) => wakes.wake(project, consumer),
  })
  const alarms = new Alarms(quick)
  const quarantine = new Quarantine(quick, config.quarantine.maxBytes)
  const audit = new Audit(quick)
  recordChanges(app, audit)
  const streams = await openStreams(parts, devices)
  const upgrades = openUpgrades(app)
  if (config.roles.has('stream')) {
    addStreamRoutes(app, streams, upgrades)
    const troubled = (error: unknown) => logger.error({ err: error }, 'stream dialect failed')
    const produced = (project: string, stream: string) => here.presence.produced(project, stream)
    const connected = (project: string, stream: string) => here.presence.connected(project, stream)
    const followed = (project: string, stream: string) => here.presence.followed(project, stream)
    const dialects = {
      ...durable,
      produced,
      connected,
      followed,
      identity,
      audit,
      upgrades,
      redis: quick,
      cursorKey: await log.cursorKey(),
      nowUs,
      troubled,
    }
    addDialects(app, dialects, { ...config, root: !config.roles.has('console') })
    addDirectory(parts, app, audit)
  }
  if (config.roles.has('console')) {
    const state = consoleState(quick, devices)
    const tenants = { projects, accounts: new Accounts(quick), members: new Members(quick), organizations: new Organizations(quick) }
    const { publicUrl, tokenAudiences, labelFilters: labelMatch } = config
    const audiences = publicUrl === undefined ? tokenAudiences : [...tokenAudiences, `${publicUrl}${TOKEN_PATH}`]
    const connectorOutbound = openConnectorOutbound(config)
    lifecycle.started('connector outbound', () => connectorOutbound.close())
    const pushing = { connectorOutbound, attempts: (project: string, id: string) => summarise(quick, project, id, Date.now()) }
    const { retentionMs } = config
    const shared = { log, wakes, store, identity, outbound, consumers: CONSUMERS, latenessMs: config.latenessMs, retentionMs }
    const durables = { ...durable, durable: durable.streams }
    await addConsole(app, { ...shared, ...durables, audiences, labelMatch, ...pushing, ...state, alarms, audit, quarantine, ...tenants })
  }
  if (!config.roles.has('gateway'))
    return { mqttPort: undefined, mqttsPort: undefined, endStreams: () => streams.stop(), connections: () => streams.size }
  const gateway = {
    redis: quick,
    connect: (name: string) => connect(name, 'worker'),
    log,
    wakes,
    projects,
    devices,
    alarms,
    quarantine,
    identity,
    upgrades,
    follow: followBy(streams),
    durable,
    produced: (project: string) => here.presence.produced(project, DEVICE_STREAM),
    refusal: () => room.refusal(),
    mqttLimits: { packetBytes: config.mqttMaxPacketBytes, perAddress: config.mqttConnectionsPerAddress },
    logger,
    metrics,
  }
  const door = await startGateway(gateway, app, config.host, config.mqttPort, lifecycle).catch(
    portTaken(config.mqttPort, 'TELLTALE_MQTT_PORT'),
  )
  const mqttsPort = await listenMqtts(door, config, certificates, logger, lifecycle)
  const endStreams = async () => {
    door.endSockets()
    await streams.stop()
  }
  return { mqttPort: door.port, mqttsPort, endStreams, connections: () => streams.size + door.connections() }
}

function addDirectory({ config, identity, here }: Parts, app: HttpApp, audit: Audit): void {
  const { red5, project } = config
  if (red5) {
    const open = red5.open === 'first' ? [project] : red5.open
    addRed5(app, { directory: here.directory, identity, audit, open })
  }
}

async function openStreams({ config, logger, metrics, connect, identity, store, here }: Parts, devices: Devices): Promise<Streams> {
  const log = new Log(await connect('streams', 'worker'), CONSUMERS)
  const followers = new Followers({
    log,
    connect: () => connect('live', 'worker'),
    troubled: (error, project) => logger.warn({ project, reason: error.message }, 'log not followed'),
  })
  return new Streams({
    log,
    cursorKey: await log.cursorKey(),
    store,
    devices,
    follow: (project, stream, follower) => followers.follow(project, stream, follower),
    troubled: error => logger.warn({ err: error }, 'stream could not catch up'),
    opened: change => metrics.streams.inc(change),
    followed: project => here.presence.followed(project, DEVICE_STREAM),
    delivered: frames => metrics.streamed.inc(frames),
    nowUs,
    newId: () => newId(),
    renew: caller => identity.renew(caller),
    watch: (caller, ended, project) => identity.watch(caller, ended, project),
    maxAgeMs: config.streamMaxAgeMs,
    maxPerKey: config.streamLimit,
    patienceMs: config.streamPatienceMs,
    labelMatch: config.labelFilters,
  })
}

/** Followers that come by MQTT; their connections have an age of their own. */
function followBy(streams: Streams): Follow {
  return async (caller, { project, subject, device, query }, lines) => {
    const ready = await streams.open({ caller, project, subject, query: parseQueryText(query, device, streams.labelMatch), ageless: true })
    return ready.begin(lineSink(lines, ready.frames))
  }
}

function checksOf(redis: Redis, store: ReadingStore): Check[] {
  return [
    { name: 'redis', vital: true, run: () => redis.ping() },
    // While the store is away events are still accepted, judged and streamed; they are stored when it is back.
    { name: 'store', vital: false, run: () => store.ping() },
  ]
}

/** Redis says itself that it is away. */
function troubledBy(logger: Logger): (error: Error) => void {
  return error => {
    const known = translate(error)
    const passes = known instanceof Failure && known.code === 'unavailable'
    logger[passes ? 'debug' : 'error']({ err: known }, 'rights could not be read')
  }
}

/**
 * Makes the first key where there is none; a secret in the settings always holds. On a data directory of its own the key that is kept there
 * stays the first: those who use it go on when what Redis held is gone, or is of a version that kept keys in another way.
 */
async function firstKey({ admin, project, dataDir }: Config, identity: Identity, embedded: boolean): Promise<AdminKey | undefined> {
  if (admin.secret === undefined && (await identity.hasKeys())) return undefined
  const kept = embedded && admin.secret === undefined ? await keptAdminKey(dataDir) : undefined
  const key: AdminKey = {
    keyId: admin.keyId ?? kept?.keyId ?? (admin.secret === undefined ? newId() : 'admin'),
    secret: admin.secret ?? kept?.secret ?? newSecret(),
    project,
  }
  await identity.put(key.keyId, key.secret, admin.email, { [project]: 'admin' }, [FIRST_ORGANIZATION])
  await identity.settleAdminKey(key.keyId)
  if (embedded) await keepAdminKey(dataDir, key)
  return admin.secret === undefined && kept === undefined ? key : undefined
}

/** Two processes that disagree would drain one project twice. */
async function agreeOnPartitions(redis: Redis, partitions: number): Promise<void> {
  const key = 't:partitions'
  await redis.setnx(key, partitions)
  const agreed = Number(await redis.get(key))
  if (agreed !== partitions)
    throw new Failure('setup', `TELLTALE_PARTITIONS: this installation was first started with ${agreed}; set it to that, got ${partitions}`)
}
