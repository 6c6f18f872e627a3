// The MQTT door: aedes, authenticated. `authorizePublish` is the only hook that aedes awaits before it writes PUBACK, so accept is
// awaited there; a permanently wrong payload is acknowledged and quarantined, because MQTT 3.1.1 has no negative ack [MQTT-3.3.5-2].
import type { Duplex } from 'node:stream'
import { Aedes, type Client, type PublishPacket } from 'aedes'
import type { Redis } from 'ioredis'
import { Failure } from '../../../packages/core/failure.ts'
import type { Identity } from '../../../packages/identity/identity.ts'
import { translate } from '../../../packages/redis/index.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { catchUp, catchUpAgain, cutOff, type Forwarded, forward } from '../broker/forward.ts'
import type { Lasting } from '../broker/lasting.ts'
import type { Author, Message } from '../broker/message.ts'
import { Persistence } from '../broker/persistence.ts'
import { projectOf } from '../broker/retained.ts'
import { announce, say } from '../broker/say.ts'
import { Storage } from '../broker/storage.ts'
import { type From, fromOf, type Inside as Guarded, sentOf, turnOf } from '../guard/inside.ts'
import type { Cut, Ingest, Inner } from '../guard/port.ts'
import { Sample } from '../guard/sample.ts'
import { type Connected, type Connecting, connectClient, mayLeave } from './connect.ts'
import { Listener, type ListenerLimits } from './listener.ts'
import { type Follow, Live } from './live.ts'
import { type LoginPorts, loginRefusal } from './login.ts'
import { type PublishPorts, publish, type Refused } from './publishing.ts'
import { Redeliveries } from './redelivery.ts'
import { clientIdOf, Session } from './session.ts'
import { rewrite } from './short.ts'
import { type Subscribing, subscribe } from './subscribing.ts'
import { fullTopic, mounted } from './topic.ts'

export type MqttDoor = {
  readonly port: number
  /** A connection that came in another way. */
  take(stream: Duplex, from: From): void
  /** Publishes as Telltale itself and retains it, if it is not what stands there already. `order`: text; what is lower than what was said is not said. */
  announce(topic: string, payload: string, order: string): Promise<void>
  /** Publishes as Telltale itself under `projects/{project}/`, with QoS 1, to whoever may see the project. */
  send(project: string, topic: string, payload: Buffer): void
  /** Whether anybody wants what is published on this topic, in its long form: connected to any gateway, or away. */
  hasSubscribers(topic: string): boolean
  connections(): number
  /** Takes no more, then closes every connection. */
  close(): Promise<void>
}

export type MqttPorts = Omit<PublishPorts, 'send'> & {
  readonly identity: Pick<Identity, 'login' | 'certified' | 'renew' | 'watch'>
  readonly guesses: LoginPorts['guesses']
  readonly log: Logger
  readonly follow: Follow
  /** Fails at once while Redis is away. */
  readonly redis: Redis
  /** A connection of its own, for SUBSCRIBE. */
  readonly subscriber: Redis
  /** Told of each message that waited for a client which was away, and was dropped. */
  dropped(): void
  readonly limits: ListenerLimits
  /** Told of each connection that was cut off, and of each publish with QoS 0 that was dropped. */
  cut(why: Cut | 'shed'): void
}

/** A client whose log is slow must not be dropped for silence before accept gives up (2 s). */
const QUEUE_LIMIT = 1000
/** aedes waits for each subscriber in turn: one that stops reading is cut off before it holds up the others for long (P5). */
const DRAIN_TIMEOUT_MS = 1000
/** After four of them aedes looks for wills of gateways that are gone. */
const HEARTBEAT_MS = 15_000
/** What a retained message's author may is looked up once in this time. */
const RIGHTS_MS = 2000
/** MQTT 3.1 asks for at most 23 characters; its clients have more, and get in everywhere. */
const MAX_CLIENT_ID = 65_535
/** Keys that were warned of once; beyond it some are again. */
const MAX_WARNED = 10_000

/** One broker, and what its hooks share. */
type Door = {
  readonly ports: MqttPorts
  readonly publishing: PublishPorts
  readonly storage: Storage
  readonly sessions: WeakMap<Client, Session>
  readonly refused: Refused
  /** Publishes with QoS 2 that came before. */
  readonly repeats: WeakSet<object>
}

export async function openMqtt(ports: MqttPorts, host: string, port: number): Promise<MqttDoor> {
  const sessions = new WeakMap<Client, Session>()
  const node = ports.clock.newId()
  const behind = (lasting: Lasting) => {
    const client = clientsOf(broker)[lasting.id]
    // One that takes the session over reads all of it.
    if (client && sessions.get(client)?.lasting === lasting) catchUpAgain(client, lasting, ports.log)
  }
  const storage = await Storage.open({ ...ports, node, newId: () => ports.clock.newId() }, behind)
  const send = (project: string, topic: string, payload: Buffer) => {
    // Nobody waits for it: what it tells is told again, or stands in the quarantine.
    say(speaking(), `projects/${project}/${topic}`, payload).catch((error: Error) =>
      ports.log.debug({ project, topic, reason: error.message }, 'not published'),
    )
  }
  const speaking = () => ({ broker, storage, newId: () => ports.clock.newId() })
  const publishing = { ...ports, send }
  const door: Door = { ports, publishing, storage, sessions, refused: refusals(ports.log), repeats: new WeakSet() }
  const broker = await openBroker(door, node)
  const listener = new Listener({
    limits: ports.limits,
    say: (level, facts, message) => ports.log[level](facts, message),
    counted: ports.cut,
    isTransient,
    open: guarded => inner(door, broker, guarded),
  })
  const bound = await listener.listen(host, port)
  return {
    port: bound,
    take: (stream, from) => listener.take(stream, from),
    announce: (topic, payload, order) => announce(speaking(), topic, Buffer.from(payload), order),
    send,
    hasSubscribers: topic => storage.hasSubscribers(topic),
    connections: () => broker.connectedClients,
    close: async () => {
      await close(listener, broker)
      await storage.stop()
    },
  }
}

/** What the guard may do without the broker: publish events that nobody is subscribed to, which nobody can tell from the long way. */
function inner({ publishing, refused, storage, sessions }: Door, broker: Aedes, guarded: Guarded): Inner {
  const client = broker.handle(guarded)
  rewrite(client, one => sessions.get(one)?.project ?? '')
  return {
    name: () => clientIdOf(client.id ?? ''),
    isDirect: topic => {
      const place = sessions.get(client)?.placeOf(topic)
      return place !== undefined && !storage.hasSubscribers(fullTopic(place))
    },
    ingest: (packet: Ingest, done) => {
      const session = sessions.get(client)
      if (session) publish(publishing, refused, client, session, packet, done)
      else done(new Error('publish without a session'))
    },
  }
}

async function openBroker(door: Door, node: string): Promise<Aedes> {
  const { ports, storage, sessions, refused } = door
  const redeliveries = new Redeliveries(Date.now)
  const opened = new Map<string, Connected['lasting']>()
  const unnamed = new WeakSet<Client>()
  const refusedLogins = new Sample((facts, message) => ports.log.info(facts, message))
  let subscribing: Subscribing | undefined
  let asking: Client | undefined
  const broker: Aedes = await Aedes.createBroker({
    id: node,
    mq: storage.bus,
    persistence: new Persistence({
      sessions: storage.sessions,
      retained: storage.retained,
      wills: storage.wills,
      lastingOf: client => sessions.get(client as Client)?.lasting,
      opened: id => opened.get(id),
      authorOf: client => authorOf(sessions.get(client as Client)),
      takeTopic: (client, packetId) => sentOf((client as Client).conn)?.takeTopic(packetId),
      mayStay: mayStay(ports.identity),
      isRepeat: packet => door.repeats.has(packet),
      released: async (client, packetId) => sessions.get(client as Client)?.released(packetId),
      asking: () => {
        const lasting = asking && sessions.get(asking)?.lasting
        return { failed: cutOff(asking, ports.log), room: async () => lasting?.retainedRoom() }
      },
    }),
    queueLimit: QUEUE_LIMIT,
    maxClientsIdLength: MAX_CLIENT_ID,
    drainTimeout: DRAIN_TIMEOUT_MS,
    heartbeatInterval: HEARTBEAT_MS,
    preConnect: (client, { clientId, clean }, done) => {
      if (clientId === '' && !clean) unnamed.add(client)
      done(null, true)
    },
    authenticate: (client, username, password, done) => {
      const connecting = { ...ports, sessions: storage.sessions, connected: (id: string) => clientsOf(broker)[id] }
      const from = fromOf(client.conn)
      connectClient(connecting, client as Connecting, from, unnamed.has(client), username, password).then(
        connected => {
          if (connected && begin(door, opened, redeliveries, client, connected)) done(null, true)
        },
        (error: unknown) => {
          const { address } = from
          if (error instanceof Error)
            refusedLogins.add(address, { address, ...nameOf(client), reason: error.message }, 'mqtt login refused')
          done(loginRefusal(error), false)
        },
      )
    },
    authorizePublish: (client, packet, done) => {
      const session = client ? sessions.get(client) : undefined
      const drop = packet.qos === 0 ? () => toNobody(packet) : undefined
      const turned = client ? turnOf(client.conn, packet.payload.length, done, drop) : done
      if (client && session) take(door, client, session, packet, turned)
      else if (client) turned(new Error('publish without a session'))
      else takeLast(door, redeliveries, packet, done)
    },
    authorizeSubscribe: (client, subscription, done) => {
      const session = sessions.get(client)
      if (!session || !subscribing) return done(null, null)
      subscribe(subscribing, client, session, subscription).then(
        granted => done(null, granted),
        (error: Error) => done(error, null),
      )
    },
    authorizeForward: (client, packet) => {
      const session = sessions.get(client)
      return session ? (forward(client, session, packet as unknown as Forwarded, ports.log) as typeof packet | null) : null
    },
  })
  subscribing = { live: new Live(broker, ports.follow), sessions: storage.sessions, refused }
  // What is retained for a SUBSCRIBE is asked for right after this, and aedes does not say for whom.
  broker.on('subscribe', (_subscriptions, client) => {
    asking = client
    const lasting = sessions.get(client)?.lasting
    if (lasting) storage.subscribed(lasting)
  })
  watch(broker, door)
  return broker
}

function clientsOf(broker: Aedes): Readonly<Record<string, Client>> {
  return (broker as Aedes & { readonly clients: Readonly<Record<string, Client>> }).clients
}

/** A client whose key or role is taken away is cut off; without a session its will is not published either (hazard 10). */
function begin(
  { ports: { identity, log }, sessions, storage }: Door,
  opened: Map<string, Connected['lasting']>,
  redeliveries: Redeliveries,
  client: Client,
  { caller, lasting }: Connected,
): boolean {
  const left = () => {
    if (!lasting) return
    if (opened.get(client.id) === lasting) opened.delete(client.id)
    storage.sessions.leave(lasting).catch((error: Error) => log.debug({ reason: error.message }, 'mqtt session not left'))
  }
  // Gone meanwhile: aedes asks for no answer, and nobody would end what begins here.
  if (client.conn.destroyed) {
    left()
    return false
  }
  const ended = (reason: string) => {
    log.info({ ...nameOf(client), reason }, 'mqtt client lost its rights')
    sessions.delete(client)
    client.close()
  }
  const session = new Session({ identity, ended }, caller, redeliveries.connect(client.id, !client.clean))
  session.lasting = lasting
  sessions.set(client, session)
  if (lasting) opened.set(client.id, lasting)
  client.conn.once('close', () => {
    session.close()
    left()
  })
  return true
}

type Done = (error?: Error | null) => void

/** Done without an error, it is acknowledged: what it says is in the log, or kept for those who wait for it, or nobody's. */
function take(door: Door, client: Client, session: Session, packet: PublishPacket, done: Done): void {
  const { messageId, qos } = packet
  packet.topic = mounted(packet.topic, session.project)
  const from = session.lasting && qos === 2 && messageId !== undefined ? { id: client.id, packetId: messageId } : undefined
  const isPassedOn = !from || !door.storage.isUnsettled(packet, from)
  if (qos === 2 && messageId !== undefined && session.comesAgain(messageId) && isPassedOn) {
    door.repeats.add(packet)
    done(null)
    return
  }
  publish(door.publishing, door.refused, client, session, packet as PublishPacket & { payload: Buffer }, error => {
    if (error) return done(error)
    const kept = door.storage.keep(packet as PublishPacket & { payload: Buffer }, authorOf(session) as Author, from)
    if (!kept) return done(null)
    kept.then(isNew => {
      if (!isNew) door.repeats.add(packet)
      done(null)
    }, done)
  })
}

/** The will of a client whose gateway is gone: as far as its rights still go. */
function takeLast(door: Door, redeliveries: Redeliveries, packet: PublishPacket, done: Done): void {
  const { author } = packet as PublishPacket & { readonly author?: Author }
  const nowhere = () => {
    toNobody(packet)
    done(null)
  }
  const { identity } = door.ports
  const taken = async () => {
    const caller = author && (await identity.renew({ ...author, roles: {} }))
    if (!caller || !mayLeave(caller, packet.topic)) return nowhere()
    const client = { id: (packet as { readonly clientId?: string }).clientId ?? '' } as Client
    const session = new Session({ identity, ended: () => {} }, caller, redeliveries.connect(client.id, false))
    session.close()
    take(door, client, session, packet, done)
  }
  taken().catch(done)
}

/** Where a publish goes that was dropped, or a will that nobody may leave any more: nobody may subscribe to `$` topics. */
const NOWHERE = '$telltale/refused'

/** Also what Redis says itself: it passes. */
function isTransient(error: Error): boolean {
  const told = translate(error)
  return told instanceof Failure && told.code === 'unavailable'
}

function toNobody(packet: PublishPacket): void {
  packet.topic = NOWHERE
  packet.retain = false
}

function authorOf(session: Session | undefined): Author | undefined {
  if (!session) return undefined
  const { keyId, account, device } = session.caller
  return { keyId, account, ...(device ? { device } : {}) }
}

/** Whether who retained a message may still do so; looked up once in a while, however many messages a filter finds. */
function mayStay(identity: MqttPorts['identity']): (message: Message) => Promise<boolean> {
  const known = new Map<string, { readonly caller: ReturnType<Identity['renew']>; readonly untilMs: number }>()
  return async ({ author, topic }) => {
    if (!author) return true
    const nowMs = Date.now()
    let found = known.get(author.keyId)
    if (!found || found.untilMs < nowMs) {
      if (known.size >= MAX_WARNED) known.clear()
      found = { caller: identity.renew({ ...author, roles: {} }), untilMs: nowMs + RIGHTS_MS }
      known.set(author.keyId, found)
      // What cannot be told now is asked again.
      found.caller.catch(() => known.delete(author.keyId))
    }
    const caller = await found.caller
    // A device retains by a mapping; that it still is one is all that can be said here.
    return caller?.device ? caller.device.project === projectOf(topic) : caller !== undefined && mayLeave(caller, topic)
  }
}

function nameOf({ id }: { readonly id: string }): { readonly client: string } {
  return { client: clientIdOf(id) }
}

/** MQTT 3.1.1 has no words for a refusal (SUBACK 0x80, or the end of the connection): they go to the log. */
function refusals(log: Logger): Refused {
  const warned = new Set<string>()
  const said = new Sample((facts, message) => log.info(facts, message), 'keyId')
  return (client, { caller: { keyId } }, topic, reason) => {
    said.add(keyId, { ...nameOf(client), keyId, topic: topic.slice(0, 100), reason }, 'mqtt topic refused')
    // Whoever runs all of this has to know of a key that is asked for what it may not. Once a key, which may ask again and again.
    if (warned.has(keyId)) return
    if (warned.size >= MAX_WARNED) warned.clear()
    warned.add(keyId)
    log.warn({ ...nameOf(client), keyId, reason }, 'a topic was refused')
  }
}

function watch(broker: Aedes, { ports: { log }, sessions }: Door): void {
  const noted = new WeakSet<Client>()
  const cuts = new Sample((facts, message) => log.info(facts, message))
  broker.on('clientError', (client, error) => {
    // A login that was refused has its line already.
    if (noted.has(client) || Object.hasOwn(error, 'returnCode')) return
    noted.add(client)
    cuts.add(fromOf(client.conn).address, { ...nameOf(client), reason: error.message }, 'mqtt client cut off')
  })
  broker.on('connectionError', (_client, error) => log.debug({ reason: error.message }, 'mqtt connection refused'))
  broker.on('clientDisconnect', client => {
    // aedes tells us of every end alike; `disconnected` is set only by a DISCONNECT packet.
    if ((client as Client & { _disconnected?: boolean })._disconnected) sessions.get(client)?.deliveries.endedCleanly()
  })
  broker.on('unsubscribe', (filters, client) => {
    if (client.closed) return
    for (const filter of filters) sessions.get(client)?.grants.delete(filter)
  })
  broker.on('clientReady', client => {
    const lasting = sessions.get(client)?.lasting
    if (lasting) catchUp(client, lasting, log)
  })
  // Not in aedes' types: what its persistence could not do.
  ;(broker as unknown as NodeJS.EventEmitter).on('error', (error: Error) => log.error({ err: error }, 'mqtt broker error'))
}

async function close(listener: Listener, broker: Aedes): Promise<void> {
  const stopped = listener.stop()
  await new Promise<void>(resolve => broker.close(() => resolve()))
  // Those that never sent a CONNECT are not the broker's clients.
  listener.destroy()
  await stopped
}
