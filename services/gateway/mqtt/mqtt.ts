// The MQTT door: aedes, authenticated. `authorizePublish` is the only hook that aedes awaits before it writes PUBACK, so accept is
// awaited there; a permanently wrong payload is acknowledged and quarantined, because MQTT 3.1.1 has no negative ack [MQTT-3.3.5-2].
import type { Duplex } from 'node:stream'
import { Aedes, type Client } from 'aedes'
import type { Identity } from '../../../packages/identity/identity.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { catchUp, catchUpAgain, cutOff, type Forwarded, forward } from '../broker/forward.ts'
import type { Lasting } from '../broker/lasting.ts'
import type { Message } from '../broker/message.ts'
import { Owners } from '../broker/owner.ts'
import { Persistence } from '../broker/persistence.ts'
import { projectOf } from '../broker/retained.ts'
import { announce, say } from '../broker/say.ts'
import { Storage } from '../broker/storage.ts'
import { type From, fromOf, type Inside as Guarded, sentOf, turnOf } from '../guard/inside.ts'
import type { Ingest, Inner } from '../guard/port.ts'
import { Sample } from '../guard/sample.ts'
import { type Connected, type Connecting, connectClient, mayLeave } from './connect.ts'
import { type Door, isTransient, type MqttPorts, take, toNobody } from './door.ts'
import { Listener } from './listener.ts'
import { Live } from './live.ts'
import { loginRefusal } from './login.ts'
import { publish, type Refused } from './publishing.ts'
import { Redeliveries } from './redelivery.ts'
import { clientIdOf, Session } from './session.ts'
import { rewrite } from './short.ts'
import { type Subscribing, subscribe } from './subscribing.ts'
import { fullTopic } from './topic.ts'
import { Deadline, Registered, Turns } from './turn.ts'
import { publishLast, publishWill } from './will.ts'

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

/** A client whose log is slow must not be dropped for silence before accept gives up (2 s). */
const QUEUE_LIMIT = 1000
/** aedes waits for each subscriber in turn: one that stops reading is cut off before it holds up the others for long (P5). */
const DRAIN_TIMEOUT_MS = 1000
/** For what a connection that ended has under way. */
const SETTLE_MS = 5000
/** What a retained message's author may is looked up once in this time. */
const RIGHTS_MS = 2000
/** MQTT 3.1 asks for at most 23 characters; its clients have more, and get in everywhere. */
const MAX_CLIENT_ID = 65_535
/** Keys that were warned of once; beyond it some are again. */
const MAX_WARNED = 10_000

export async function openMqtt(ports: MqttPorts, host: string, port: number): Promise<MqttDoor> {
  const { redis, subscriber, log, clock } = ports
  const sessions = new WeakMap<Client, Session>()
  const newId = () => clock.newId()
  const node = newId()
  const turns = new Turns()
  let broker: Aedes | undefined
  const behind = (lasting: Lasting) => {
    const client = broker && clientsOf(broker)[lasting.id]
    // One that takes the session over reads all of it.
    if (client && sessions.get(client)?.lasting === lasting) catchUpAgain(client, lasting, log)
  }
  const forgotten = (id: string) => broker && endForgotten(door, broker, id)
  const storage = await Storage.open({ ...ports, node, newId, forgotten }, behind)
  const owners = await Owners.open({
    redis,
    subscriber,
    node,
    log,
    newId,
    close: id => turns.close(id),
    publish: async (id, will) => publishLast(door, await opening, id, will),
  })
  const send = (project: string, topic: string, payload: Buffer) => {
    // Nobody waits for it: what it tells is told again, or stands in the quarantine.
    say(speaking(), `projects/${project}/${topic}`, payload).catch((error: Error) =>
      log.debug({ project, topic, reason: error.message }, 'not published'),
    )
  }
  const publishing = { ...ports, send }
  const door: Door = { ports, publishing, storage, owners, turns, sessions, refused: refusals(log), repeats: new WeakSet() }
  const opening = openBroker(door, node)
  const opened = await opening
  broker = opened
  const speaking = () => ({ broker: opened, storage, newId })
  const listener = new Listener({
    limits: ports.limits,
    say: (level, facts, message) => log[level](facts, message),
    counted: ports.cut,
    isTransient,
    open: guarded => inner(door, opened, guarded),
  })
  const bound = await listener.listen(host, port)
  return {
    port: bound,
    take: (stream, from) => listener.take(stream, from),
    announce: (topic, payload, order) => announce(speaking(), topic, Buffer.from(payload), order),
    send,
    hasSubscribers: topic => storage.hasSubscribers(topic),
    connections: () => opened.connectedClients,
    close: async () => {
      await close(listener, opened)
      await turns.over()
      await owners.stop()
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
    left: () => {
      const session = sessions.get(client)
      if (session) session.hasLeft = true
    },
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
  const { ports, storage, sessions, refused, owners, turns } = door
  const redeliveries = new Redeliveries(() => performance.now())
  const opened = new Map<string, Connected['lasting']>()
  const unnamed = new WeakSet<Client>()
  const refusedLogins = new Sample((facts, message) => ports.log.info(facts, message))
  let subscribing: Subscribing | undefined
  let hooks: Hooks | undefined
  let asking: Client | undefined
  const broker: Aedes = await Aedes.createBroker({
    id: node,
    mq: storage.bus,
    persistence: new Persistence({
      sessions: storage.sessions,
      retained: storage.retained,
      lastingOf: client => sessions.get(client as Client)?.lasting,
      opened: id => opened.get(id),
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
    preConnect: (client, { clientId, clean }, done) => {
      if (clientId === '' && !clean) unnamed.add(client)
      done(null, true)
    },
    authenticate: (client, username, password, done) => {
      const connecting = { ...ports, sessions: storage.sessions, owners, turns }
      const from = fromOf(client.conn)
      connectClient(connecting, client as Connecting, from, unnamed.has(client), username, password).then(
        connected => {
          if (connected && hooks && begin(hooks, client, connected)) done(null, true)
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
      // Only of wills of other gateways, which aedes knows nothing of.
      if (!client) return done(new Error('publish without a client'))
      const session = sessions.get(client)
      const drop = packet.qos === 0 ? () => toNobody(packet) : undefined
      const turned = turnOf(client.conn, packet.payload.length, done, drop)
      if (session) take(door, client, session, packet, turned)
      else turned(new Error('publish without a session'))
    },
    authorizeSubscribe: (client, subscription, done) => {
      const session = sessions.get(client)
      if (!session || !subscribing) return done(null, null)
      subscribe(subscribing, client, session, subscription).then(
        // aedes never ends a CONNECT whose client is gone while its subscriptions are restored.
        granted => done(null, client.closed && client.connecting ? null : granted),
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
  hooks = { door, broker, registered: new Registered(broker), opened, redeliveries }
  watch(broker, door)
  return broker
}

function clientsOf(broker: Aedes): Readonly<Record<string, Client>> {
  return (broker as Aedes & { readonly clients: Readonly<Record<string, Client>> }).clients
}

/** What the hooks of a connection share, from CONNECT to all that comes of its end. */
type Hooks = {
  readonly door: Door
  readonly broker: Aedes
  readonly registered: Registered
  /** By session id, for what aedes asks before it knows the client. */
  readonly opened: Map<string, Connected['lasting']>
  readonly redeliveries: Redeliveries
}

/** A client whose key or role is taken away is cut off; without a session its will is not published either (hazard 10). */
function begin(hooks: Hooks, client: Client, connected: Connected): boolean {
  const { door, broker, opened, redeliveries } = hooks
  const { identity, log } = door.ports
  const { caller, lasting } = connected
  // Gone meanwhile: aedes asks for no answer, and nobody would end what begins here.
  if (client.closed || client.conn.destroyed || broker.closed) {
    void over(hooks, connected, undefined)
    return false
  }
  const ended = (reason: string) => {
    log.info({ ...nameOf(client), reason }, 'mqtt client lost its rights')
    door.sessions.delete(client)
    client.close()
  }
  const session = new Session({ identity, ended }, caller, redeliveries.connect(client.id, !client.clean))
  session.lasting = lasting
  door.sessions.set(client, session)
  if (lasting) opened.set(client.id, lasting)
  client.conn.once('close', () => {
    session.close()
    void over(hooks, connected, { client, session })
  })
  return true
}

type Begun = { readonly client: Client; readonly session: Session }

/** What comes of the end of a connection; after it the next one of the session begins. Never fails. */
async function over({ door, broker, registered, opened }: Hooks, connected: Connected, begun: Begun | undefined): Promise<void> {
  const { lasting, owned, done } = connected
  const deadline = new Deadline()
  if (begun) {
    await registered.gone(begun.client)
    await deadline.endsWithin(begun.session.settled(), SETTLE_MS)
  }
  if (owned)
    await door.owners.leave(
      owned,
      begun && mayLeaveWill(door, begun) ? will => publishWill(door, broker, begun, will, deadline) : undefined,
    )
  if (lasting) {
    if (begun) begun.session.lasting = undefined
    if (opened.get(lasting.id) === lasting) opened.delete(lasting.id)
    const failed = (error: Error) => door.ports.log.debug({ reason: error.message }, 'mqtt session not left')
    await door.storage.sessions.leave(lasting).catch(failed)
  }
  done()
}

/** [MQTT-3.14.4-3] It is not published after DISCONNECT, however the connection ended then; nor for who has lost rights. */
function mayLeaveWill({ sessions }: Door, { client, session }: Begun): boolean {
  return !session.hasLeft && sessions.has(client)
}

/** Its session was one too many: what the client subscribed to stands nowhere any more. */
function endForgotten({ ports: { log }, sessions, storage }: Door, broker: Aedes, id: string): void {
  const client = clientsOf(broker)[id]
  const lasting = client && sessions.get(client)?.lasting
  if (!lasting) return
  storage.sessions.exists(id).then(
    exists => {
      if (exists || sessions.get(client)?.lasting !== lasting) return
      log.info({ ...nameOf(client), reason: 'its session was forgotten' }, 'mqtt client cut off')
      client.close()
    },
    (error: Error) => log.debug({ reason: error.message }, 'not known whether an mqtt session was forgotten'),
  )
}

/** Whether who retained a message may still do so; looked up once in a while, however many messages a filter finds. */
function mayStay(identity: MqttPorts['identity']): (message: Message) => Promise<boolean> {
  const known = new Map<string, { readonly caller: ReturnType<Identity['renew']>; readonly untilMs: number }>()
  return async ({ author, topic }) => {
    if (!author) return true
    const nowMs = performance.now()
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
