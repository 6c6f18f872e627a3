// The MQTT door: aedes, authenticated. `authorizePublish` is the only hook that aedes awaits before it writes PUBACK, so accept is
// awaited there; a permanently wrong payload is acknowledged and quarantined, because MQTT 3.1.1 has no negative ack [MQTT-3.3.5-2].
import { createServer, type Server, type Socket } from 'node:net'
import { Aedes, type AuthenticateError, type Client, type PublishPacket, type Subscription } from 'aedes'
import { Failure } from '../../packages/core/failure.ts'
import { contentKey } from '../../packages/core/id.ts'
import { type Caller, type Identity, requireRole } from '../../packages/identity/identity.ts'
import type { Logger } from '../../packages/runtime/logger.ts'
import { type Clock, type Decoded, decodeJson, type Place } from './decode/json.ts'
import { type IngestPorts, ingest, refusal, setAside } from './ingest.ts'
import { type Follow, Live } from './live.ts'
import { type Deliveries, Redeliveries } from './redelivery.ts'
import { fullTopic, ingestPlace, mayPublish, maySubscribe, streamTopic } from './topic.ts'

export type MqttDoor = {
  readonly port: number
  /** Publishes as the broker itself, to this process' subscribers, retained. */
  announce(topic: string, payload: string): Promise<void>
  connections(): number
  /** Takes no more, then closes every connection. */
  close(): Promise<void>
}

export type MqttPorts = IngestPorts & {
  readonly identity: Identity
  readonly clock: Clock
  readonly log: Logger
  readonly follow: Follow
}

const MAX_PLACES = 50
/** Where refused publishes go instead of to subscribers: nobody may subscribe to `$` topics. */
const NOWHERE = '$telltale/refused'
const NOT_AUTHORISED = 5
const SERVER_UNAVAILABLE = 3
/** A client whose log is slow must not be dropped for silence before accept gives up (2 s). */
const QUEUE_LIMIT = 1000
/** A socket that says nothing holds its place no longer (hazard 3). */
const CONNECT_TIMEOUT_MS = 10_000
/** aedes waits for each subscriber in turn: one that stops reading is cut off before it holds up the others for long (P5). */
const DRAIN_TIMEOUT_MS = 1000

type Session = {
  readonly caller: Caller
  readonly project: string
  readonly deliveries: Deliveries
  readonly places: Map<string, Place | undefined>
}

export async function openMqtt(ports: MqttPorts, host: string, port: number): Promise<MqttDoor> {
  const sessions = new WeakMap<Client, Session>()
  const redeliveries = new Redeliveries(Date.now)
  let live: Live | undefined
  const broker = await Aedes.createBroker({
    queueLimit: QUEUE_LIMIT,
    connectTimeout: CONNECT_TIMEOUT_MS,
    drainTimeout: DRAIN_TIMEOUT_MS,
    authenticate: (client, username, password, done) => {
      login(ports, username, password).then(
        caller => {
          sessions.set(client, {
            caller,
            project: homeOf(caller),
            deliveries: redeliveries.connect(client.id, !client.clean),
            places: new Map(),
          })
          endWithRights(ports, client, caller, () => sessions.delete(client))
          done(null, true)
        },
        (error: unknown) => done(loginRefusal(error), false),
      )
    },
    authorizePublish: (client, packet, done) => {
      const session = client && sessions.get(client)
      if (session) publish(ports, client, session, packet, done)
      else done(new Error('publish without a session'))
    },
    authorizeSubscribe: (client, subscription, done) => {
      const session = client && sessions.get(client)
      if (!session || !live) return done(null, null)
      subscribe(ports, live, client, session, subscription).then(
        granted => done(null, granted ? subscription : null),
        (error: Error) => done(error, null),
      )
    },
  })
  live = new Live(broker, ports.follow)
  watch(broker, ports.log, client => sessions.get(client)?.deliveries.endedCleanly())
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, socket => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    broker.handle(socket)
  })
  await listen(server, host, port)
  return {
    port: (server.address() as { port: number }).port,
    announce: (topic, payload) => announce(broker, topic, payload),
    connections: () => broker.connectedClients,
    close: () => close(server, broker, sockets),
  }
}

async function login(ports: MqttPorts, username: Readonly<string | undefined>, password: Readonly<Buffer | undefined>): Promise<Caller> {
  const caller = username && password ? await ports.identity.verify(username, password.toString('utf8')) : undefined
  if (!caller) throw new Failure('unauthenticated', 'user name and password: expected a key id and its secret')
  return caller
}

function loginRefusal(error: unknown): AuthenticateError {
  const known = error instanceof Failure && error.code === 'unauthenticated'
  const returnCode = known ? NOT_AUTHORISED : SERVER_UNAVAILABLE
  return Object.assign(error instanceof Error ? error : new Error('login failed'), { returnCode }) as AuthenticateError
}

/** The project that short topics (`d/{device}/{eventType}`) mean. */
function homeOf(caller: Caller): string {
  return Object.keys(caller.roles)[0] ?? ''
}

/** A client whose key or role is taken away is cut off; without a session its will is not published either (hazard 10). */
function endWithRights({ identity, log }: MqttPorts, client: Client, caller: Caller, forget: () => void): void {
  const unwatch = identity.watch(caller, reason => {
    log.info({ client: client.id, reason }, 'mqtt client lost its rights')
    forget()
    client.close()
  })
  client.conn.once('close', unwatch)
}

/** A refusal is SUBACK 0x80, which has no words; they go to the log. */
async function subscribe(ports: MqttPorts, live: Live, client: Client, { caller }: Session, subscription: Subscription): Promise<boolean> {
  const { topic, qos } = subscription
  const wanted = streamTopic(topic)
  if (!wanted) return maySubscribe(caller, topic)
  try {
    return await live.enter(client, caller, topic, wanted, qos > 0 ? 1 : 0)
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    ports.log.info({ client: client.id, reason: error.message }, 'mqtt subscription refused')
    return false
  }
}

function publish(ports: MqttPorts, client: Client, session: Session, packet: PublishPacket, done: (error?: Error | null) => void): void {
  const { topic } = packet
  const place = placeOf(session, topic)
  if (place === undefined) {
    if (mayPublish(session.caller, topic)) done(null)
    else done(new Error(`topic ${topic.slice(0, 100)} is not this key's to publish to`))
    return
  }
  const payload = Buffer.isBuffer(packet.payload) ? packet.payload : Buffer.from(packet.payload)
  // Once per packet and only when asked for: a payload may hold thousands of events.
  let delivery: Delivery | undefined
  const ofDelivery = () => {
    delivery ??= deliveryOf(ports, client, session, packet, topic, payload)
    return delivery
  }
  const from = {
    project: place.project,
    source: topic,
    keyId: session.caller.keyId,
    deliveryKey: (index: number) => `${ofDelivery().key}.${index}`,
    mayRepeat: () => ofDelivery().mayRepeat,
  }
  const settled = (failure: Failure | undefined) => done(failure ?? null)
  const decoded = decode(ports, session, place, payload)
  if (decoded instanceof Failure) {
    packet.topic = NOWHERE
    // A project that is not the caller's own holds no quarantine of theirs.
    const project = decoded.code === 'not_found' ? session.project : place.project
    setAside(ports, project, [refusal(from, decoded, payload)], settled)
    return
  }
  packet.topic = decoded.some(one => 'failure' in one) ? NOWHERE : fullTopic(place)
  ingest(ports, decoded, from, settled)
}

type Delivery = { readonly key: string; readonly mayRepeat: boolean }

function deliveryOf(ports: MqttPorts, client: Client, session: Session, packet: PublishPacket, topic: string, payload: Buffer): Delivery {
  const key = contentKey(`${client.id}\t${packet.messageId ?? ports.clock.newId()}\t${topic}\t${payload.toString('latin1')}`)
  return { key, mayRepeat: packet.qos > 0 && session.deliveries.mayRepeat(key, packet.dup) }
}

/** A client publishes to the same few topics again and again. */
function placeOf({ places, project }: Session, topic: string): Place | undefined {
  if (places.has(topic)) return places.get(topic)
  const place = ingestPlace(topic, project)
  if (places.size < MAX_PLACES) places.set(topic, place)
  return place
}

function decode(ports: MqttPorts, session: Session, place: Place, payload: Buffer): Decoded[] | Failure {
  try {
    requireRole(session.caller, place.project, 'developer')
    return decodeJson(payload, place, ports.clock)
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}

function watch(broker: Aedes, log: Logger, saidGoodbye: (client: Client) => void): void {
  const noted = new WeakSet<Client>()
  broker.on('clientError', (client, error) => {
    if (noted.has(client)) return
    noted.add(client)
    log.info({ client: client.id, reason: error.message }, 'mqtt client cut off')
  })
  broker.on('connectionError', (_client, error) => log.debug({ reason: error.message }, 'mqtt connection refused'))
  broker.on('clientDisconnect', client => {
    // aedes tells us of every end alike; `disconnected` is set only by a DISCONNECT packet.
    if ((client as Client & { _disconnected?: boolean })._disconnected) saidGoodbye(client)
  })
  // Not in aedes' types: persistence failing while a message is queued for an offline client.
  ;(broker as unknown as NodeJS.EventEmitter).on('error', (error: Error) => log.error({ err: error }, 'mqtt broker error'))
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => resolve())
  })
}

function announce(broker: Aedes, topic: string, payload: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const packet = { cmd: 'publish', topic, payload: Buffer.from(payload), qos: 1, retain: true, dup: false } as const
    broker.publish(packet, error => (error ? reject(error) : resolve()))
  })
}

async function close(server: Server, broker: Aedes, sockets: ReadonlySet<Socket>): Promise<void> {
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  await new Promise<void>(resolve => broker.close(() => resolve()))
  // Those that never sent a CONNECT are not the broker's clients.
  for (const socket of sockets) socket.destroy()
  await closed
}
