// The MQTT door: aedes, authenticated. `authorizePublish` is the only hook that aedes awaits before it writes PUBACK, so accept is
// awaited there; a permanently wrong payload is acknowledged and quarantined, because MQTT 3.1.1 has no negative ack [MQTT-3.3.5-2].
import type { Duplex } from 'node:stream'
import { Aedes, type Client, type Subscription } from 'aedes'
import { Failure } from '../../packages/core/failure.ts'
import type { Caller, Identity } from '../../packages/identity/identity.ts'
import type { Logger } from '../../packages/runtime/logger.ts'
import { type From, fromOf, type Inside as Guarded, turnOf } from './guard/inside.ts'
import type { Cut, Ingest, Inner } from './guard/port.ts'
import { Sample } from './guard/sample.ts'
import { type Interest, watchInterest } from './interest.ts'
import { Kept } from './kept.ts'
import { Listener, type ListenerLimits } from './listener.ts'
import { type Follow, Live } from './live.ts'
import { type LoginPorts, login, loginRefusal } from './login.ts'
import { type PublishPorts, publish, type Refused } from './publishing.ts'
import { type Deliveries, Redeliveries } from './redelivery.ts'
import { clientIdOf, Session, sessionId } from './session.ts'
import { fullTopic, isShared, mayReceive, maySubscribe, refusalOf, streamTopic } from './topic.ts'

export type MqttDoor = {
  readonly port: number
  /** A connection that came in another way. */
  take(stream: Duplex, from: From): void
  /** Publishes as the broker itself, to this process' subscribers, retained. */
  announce(topic: string, payload: string): Promise<void>
  /** The same under `projects/{project}/`, not retained. */
  send(project: string, topic: string, payload: Buffer): void
  connections(): number
  /** Takes no more, then closes every connection. */
  close(): Promise<void>
}

export type MqttPorts = Omit<PublishPorts, 'send'> & {
  readonly identity: Pick<Identity, 'login' | 'certified' | 'renew' | 'watch'>
  readonly guesses: LoginPorts['guesses']
  readonly log: Logger
  readonly follow: Follow
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

/** MQTT 3.1 asks for at most 23 characters; its clients have more, and get in everywhere. */
const MAX_CLIENT_ID = 65_535

const TOO_MANY = 'too many stream topics of one connection, or it is gone'
/** Keys that were warned of once; beyond it some are again. */
const MAX_WARNED = 10_000

export async function openMqtt(ports: MqttPorts, host: string, port: number): Promise<MqttDoor> {
  const sessions = new WeakMap<Client, Session>()
  const refusedLogins = new Sample((facts, message) => ports.log.info(facts, message))
  const redeliveries = new Redeliveries(Date.now)
  const refused = refusals(ports.log)
  let inside: Inside | undefined
  const send = (project: string, topic: string, payload: Buffer) => sendBy(broker, ports.log, `projects/${project}/${topic}`, payload)
  const publishing = { ...ports, send }
  const broker: Aedes = await Aedes.createBroker({
    queueLimit: QUEUE_LIMIT,
    maxClientsIdLength: MAX_CLIENT_ID,
    drainTimeout: DRAIN_TIMEOUT_MS,
    authenticate: (client, username, password, done) => {
      const from = fromOf(client.conn)
      login(ports, from, { clientId: client.id, username, password }).then(
        caller => {
          // Gone meanwhile: aedes asks for no answer, and nobody would end what begins here.
          if (client.conn.destroyed) return
          client.id = sessionId(caller.keyId, client.id)
          const deliveries = redeliveries.connect(client.id, !client.clean)
          sessions.set(
            client,
            openSession(ports, client, caller, deliveries, () => sessions.delete(client)),
          )
          done(null, true)
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
      const session = client && sessions.get(client)
      const turned = client ? turnOf(client.conn, packet.payload.length, done) : done
      if (session) publish(publishing, refused, client, session, packet, turned)
      else turned(new Error('publish without a session'))
    },
    authorizeSubscribe: (client, subscription, done) => {
      const session = client && sessions.get(client)
      if (!session || !inside) return done(null, null)
      grant(inside, client, session, subscription).then(
        granted => done(null, granted ? subscription : null),
        (error: Error) => done(error, null),
      )
    },
    // What is live ends with the rights; only what waited is older than them.
    authorizeForward: (client, packet) => {
      if (client.connected) return packet
      const session = sessions.get(client)
      return session && mayReceive(session.caller, packet.topic, packet.payload as Buffer) ? packet : null
    },
  })
  const interest = watchInterest(broker)
  const kept = new Kept(broker, { log: ports.log, dropped: ports.dropped, nowMs: Date.now })
  inside = { live: new Live(broker, ports.follow), kept, refused }
  watch(broker, ports.log, client => sessions.get(client)?.deliveries.endedCleanly())
  const listener = new Listener({
    limits: ports.limits,
    say: (level, facts, message) => ports.log[level](facts, message),
    counted: ports.cut,
    isTransient: error => error instanceof Failure && error.code === 'unavailable',
    open: guarded => inner(publishing, refused, interest, broker, guarded, client => sessions.get(client)),
  })
  const bound = await listener.listen(host, port)
  return {
    port: bound,
    take: (stream, from) => listener.take(stream, from),
    announce: (topic, payload) => announce(broker, topic, payload),
    send,
    connections: () => broker.connectedClients,
    close: () => {
      kept.stop()
      return close(listener, broker)
    },
  }
}

/** A client whose key or role is taken away is cut off; without a session its will is not published either (hazard 10). */
function openSession({ identity, log }: MqttPorts, client: Client, caller: Caller, deliveries: Deliveries, forget: () => void): Session {
  const ended = (reason: string) => {
    log.info({ ...nameOf(client), reason }, 'mqtt client lost its rights')
    forget()
    client.close()
  }
  const session = new Session({ identity, ended }, caller, deliveries)
  client.conn.once('close', () => session.close())
  return session
}

function nameOf({ id }: { readonly id: string }): { readonly client: string } {
  return { client: clientIdOf(id) }
}

/** MQTT 3.1.1 has no words for a refusal (SUBACK 0x80, or the end of the connection): they go to the log. */
function refusals(log: Logger): Refused {
  const warned = new Set<string>()
  const said = new Sample((facts, message) => log.info(facts, message), 'keyId')
  return (client, { caller: { keyId } }, topic, reason) => {
    said.add(keyId, { ...nameOf(client), keyId, reason }, 'mqtt topic refused')
    // Whoever runs all of this has to know: this was granted to admins of any project once. Once a key, which may ask again and again.
    if (!isShared(topic) || warned.has(keyId)) return
    if (warned.size >= MAX_WARNED) warned.clear()
    warned.add(keyId)
    log.warn({ ...nameOf(client), keyId, reason }, 'a topic outside of projects/{project}/ was refused')
  }
}

/** What stands around the broker. */
type Inside = { readonly live: Live; readonly kept: Kept; readonly refused: Refused }

async function grant({ live, kept, refused }: Inside, client: Client, session: Session, subscription: Subscription): Promise<boolean> {
  const refusal = await subscribe(live, client, session, subscription)
  if (refusal === undefined) {
    kept.granted(subscription)
    return true
  }
  refused(client, session, subscription.topic, refusal)
  // A stream is had another time, and nothing is queued for it meanwhile.
  if (!streamTopic(subscription.topic)) await kept.refused(client, subscription)
  return false
}

/** @returns why not, or nothing. */
async function subscribe(live: Live, client: Client, session: Session, { topic, qos }: Subscription): Promise<string | undefined> {
  const wanted = streamTopic(topic)
  const caller = maySubscribe(session.caller, topic) ? session.caller : await session.renew()
  if (!wanted) return maySubscribe(caller, topic) ? undefined : refusalOf(topic)
  try {
    return (await live.enter(client, caller, topic, wanted, qos > 0 ? 1 : 0)) ? undefined : TOO_MANY
  } catch (error) {
    if (error instanceof Failure) return error.message
    throw error
  }
}

function watch(broker: Aedes, log: Logger, saidGoodbye: (client: Client) => void): void {
  const noted = new WeakSet<Client>()
  const said = new Sample((facts, message) => log.info(facts, message))
  broker.on('clientError', (client, error) => {
    // A login that was refused has its line already.
    if (noted.has(client) || Object.hasOwn(error, 'returnCode')) return
    noted.add(client)
    const { address } = fromOf(client.conn)
    said.add(address, { address, ...nameOf(client), reason: error.message }, 'mqtt client cut off')
  })
  broker.on('connectionError', (_client, error) => log.debug({ reason: error.message }, 'mqtt connection refused'))
  broker.on('clientDisconnect', client => {
    // aedes tells us of every end alike; `disconnected` is set only by a DISCONNECT packet.
    if ((client as Client & { _disconnected?: boolean })._disconnected) saidGoodbye(client)
  })
  // Not in aedes' types: persistence failing while a message is queued for an offline client.
  ;(broker as unknown as NodeJS.EventEmitter).on('error', (error: Error) => log.error({ err: error }, 'mqtt broker error'))
}

function announce(broker: Aedes, topic: string, payload: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const packet = { cmd: 'publish', topic, payload: Buffer.from(payload), qos: 1, retain: true, dup: false } as const
    broker.publish(packet, error => (error ? reject(error) : resolve()))
  })
}

/** Nobody waits for it: what it tells is told again, or stands in the quarantine. */
function sendBy(broker: Aedes, log: Logger, topic: string, payload: Buffer): void {
  const packet = { cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false } as const
  broker.publish(packet, error => {
    if (error) log.debug({ topic, reason: error.message }, 'not published')
  })
}

async function close(listener: Listener, broker: Aedes): Promise<void> {
  const stopped = listener.stop()
  await new Promise<void>(resolve => broker.close(() => resolve()))
  // Those that never sent a CONNECT are not the broker's clients.
  listener.destroy()
  await stopped
}

/** What the guard may do without the broker: publish events that nobody is subscribed to, which nobody can tell from the long way. */
function inner(
  ports: PublishPorts,
  refused: Refused,
  interest: Interest,
  broker: Aedes,
  guarded: Guarded,
  sessionOf: (client: Client) => Session | undefined,
): Inner {
  const client = broker.handle(guarded)
  return {
    name: () => clientIdOf(client.id ?? ''),
    isDirect: topic => {
      const place = sessionOf(client)?.placeOf(topic)
      return place !== undefined && !interest.has(place.project, fullTopic(place))
    },
    ingest: (packet: Ingest, done) => {
      const session = sessionOf(client)
      if (session) publish(ports, refused, client, session, packet, done)
      else done(new Error('publish without a session'))
    },
  }
}
