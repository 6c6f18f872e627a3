// What the hooks of one broker share, and what becomes of a publish that aedes has read, before it is acknowledged.
import type { Client, PublishPacket } from 'aedes'
import type { Redis } from 'ioredis'
import { Failure } from '../../../packages/core/failure.ts'
import type { Identity } from '../../../packages/identity/identity.ts'
import { translate } from '../../../packages/redis/index.ts'
import type { Logger } from '../../../packages/runtime/logger.ts'
import type { Owners } from '../broker/owner.ts'
import type { Storage } from '../broker/storage.ts'
import type { Cut } from '../guard/port.ts'
import type { ListenerLimits } from './listener.ts'
import type { Follow } from './live.ts'
import type { LoginPorts } from './login.ts'
import { NOWHERE, type PublishPorts, publish, type Refused, type Sender } from './publishing.ts'
import { authorOf, type Session } from './session.ts'
import { mounted } from './topic.ts'
import type { Turns } from './turn.ts'

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

/** One broker, and what its hooks share. */
export type Door = {
  readonly ports: MqttPorts
  readonly publishing: PublishPorts
  readonly storage: Storage
  readonly owners: Owners
  readonly turns: Turns
  readonly sessions: WeakMap<Client, Session>
  readonly refused: Refused
  /** Publishes with QoS 2 that came before. */
  readonly repeats: WeakSet<object>
}

type Done = (error?: Error | null) => void

/** Done without an error, it is acknowledged: what it says is in the log, or kept for those who wait for it, or nobody's. */
export function take(door: Door, client: Sender, session: Session, packet: PublishPacket, done: Done): void {
  const { messageId, qos } = packet
  // Also when the connection ends meanwhile.
  const { lasting } = session
  packet.topic = mounted(packet.topic, session.project)
  const from = lasting && qos === 2 && messageId !== undefined ? { id: client.id, packetId: messageId } : undefined
  if (from && lasting?.holdsTooMany(from.packetId)) {
    done(new Error('too many publishes with QoS 2 that wait for their PUBREL'))
    return
  }
  const isPassedOn = !from || !door.storage.isUnsettled(packet, from)
  if (qos === 2 && messageId !== undefined && session.comesAgain(messageId) && isPassedOn) {
    door.repeats.add(packet)
    done(null)
    return
  }
  publish(door.publishing, door.refused, client, session, packet as PublishPacket & { payload: Buffer }, error => {
    if (error) return done(error)
    const kept = door.storage.keep(packet as PublishPacket & { payload: Buffer }, authorOf(session), from)
    if (!kept) return done(null)
    kept.then(isNew => {
      if (!isNew) door.repeats.add(packet)
      done(null)
    }, done)
  })
}

export function toNobody(packet: PublishPacket): void {
  packet.topic = NOWHERE
  packet.retain = false
}

/** Also what Redis says itself: it passes. */
export function isTransient(error: Error): boolean {
  const told = translate(error)
  return told instanceof Failure && told.code === 'unavailable'
}
