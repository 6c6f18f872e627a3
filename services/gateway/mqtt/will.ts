// Publishes wills, as their clients would: under their rights as they are then, through decoders, to the log and to whoever subscribed.
import type { Aedes, PublishPacket } from 'aedes'
import { Failure } from '../../../packages/core/failure.ts'
import type { Will } from '../broker/will.ts'
import { mayLeave } from './connect.ts'
import { type Door, isTransient, take } from './door.ts'
import type { Sender } from './publishing.ts'
import type { Deliveries } from './redelivery.ts'
import { clientIdOf, Session } from './session.ts'
import { type Deadline, endsWithin } from './turn.ts'

/** Accept and decoders give up well before. */
const PUBLISH_MS = 10_000
const TOO_SLOW = new Failure('unavailable', 'the will was not published in time', { retryAfterMs: 1000 })

/** Who left it. */
type Left = { readonly client: Sender; readonly session: Session }

/** Resolves when it is published, or may not be. Rejects when it cannot be now, or not in time. */
export async function publishWill(
  door: Door,
  broker: Aedes,
  { client, session }: Left,
  will: Will,
  deadline: Pick<Deadline, 'endsWithin'> = { endsWithin },
): Promise<void> {
  const { topic, payload, qos, retain } = will
  const packet = { cmd: 'publish', topic, payload, qos, retain, dup: false } as PublishPacket
  const taken = new Promise<void>((resolve, reject) => take(door, client, session, packet, settled(resolve, reject)))
  const published = taken.then(() => new Promise<void>((resolve, reject) => broker.publish(packet, settled(resolve, reject))))
  try {
    if (!(await deadline.endsWithin(published, PUBLISH_MS))) throw TOO_SLOW
  } catch (error) {
    if (!(error instanceof Error) || isTransient(error)) throw error
    refused(door, client, topic, error.message)
  }
}

/** Of a client that is gone since: as far as its rights still go. */
export async function publishLast(door: Door, broker: Aedes, id: string, will: Will): Promise<void> {
  const { identity } = door.ports
  const caller = await identity.renew({ ...will.author, roles: {} })
  if (!caller || !mayLeave(caller, will.topic)) {
    refused(door, { id }, will.topic, 'who left it may not publish it any more')
    return
  }
  const session = new Session({ identity, ended: () => {} }, caller, ONCE)
  session.close()
  await publishWill(door, broker, { client: { id }, session }, will)
}

/** Of a connection that never was. */
const ONCE: Deliveries = { mayRepeat: () => false, acknowledged: () => {}, endedCleanly: () => {} }

function settled(resolve: () => void, reject: (error: Error) => void): (error?: Error | null) => void {
  return error => (error ? reject(error) : resolve())
}

function refused({ ports: { log } }: Door, { id }: Sender, topic: string, reason: string): void {
  log.info({ client: clientIdOf(id), topic: topic.slice(0, 100), reason }, 'mqtt will refused')
}
