// What becomes of one MQTT publish: an event that is accepted or quarantined before its PUBACK, or ordinary broker traffic under the rights
// of its sender. Called by whoever has read the packet, in the order of the connection.
import { Failure } from '../../packages/core/failure.ts'
import { contentKey } from '../../packages/core/id.ts'
import { mayActAs, requireActAs } from '../../packages/identity/identity.ts'
import type { Clock, Decoded, Place } from './decode/event.ts'
import { decodeJson } from './decode/json.ts'
import { type IngestPorts, ingest, refusal, setAside } from './ingest.ts'
import { ownOnly } from './own.ts'
import type { Session } from './session.ts'
import { fullTopic, mayPublish, refusalOf } from './topic.ts'

export type PublishPorts = IngestPorts & { readonly clock: Clock }

/** A client by what the broker knows it as. */
export type Sender = { readonly id: string }

export type Publish = {
  /** Another one may be put in its place: the full form of a short one, or NOWHERE. */
  topic: string
  readonly payload: Buffer | string
  readonly qos: 0 | 1 | 2
  readonly dup: boolean
  readonly messageId?: number | undefined
}

/** Told of what is refused for its topic. */
export type Refused = (client: Sender, session: Session, topic: string, reason: string) => void

/** Where refused publishes go instead of to subscribers: nobody may subscribe to `$` topics. */
const NOWHERE = '$telltale/refused'

function maySend({ caller }: Session, place: Place | undefined, topic: string): boolean {
  return place ? mayActAs(caller, place.project, place.device ?? '') : mayPublish(caller, topic)
}

type Done = (error?: Error | null) => void

/** Done without an error: it may be acknowledged. */
export function publish(ports: PublishPorts, refused: Refused, client: Sender, session: Session, packet: Publish, done: Done): void {
  const { topic } = packet
  const place = session.placeOf(topic)
  if (maySend(session, place, topic)) {
    if (place) acceptFrom(ports, client, session, packet, place, done)
    else done(null)
    return
  }
  const renewed = () => {
    const now = session.placeOf(topic)
    // What is meant as an event is acknowledged, and set aside with the reason.
    if (now) acceptFrom(ports, client, session, packet, now, done)
    else if (mayPublish(session.caller, topic)) done(null)
    else {
      refused(client, session, topic, refusalOf(topic))
      done(new Error(refusalOf(topic)))
    }
  }
  session.renew().then(renewed).catch(done)
}

function acceptFrom(ports: PublishPorts, client: Sender, session: Session, packet: Publish, place: Place, done: Done): void {
  const { topic } = packet
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

function deliveryOf(ports: PublishPorts, client: Sender, session: Session, packet: Publish, topic: string, payload: Buffer): Delivery {
  const key = contentKey(`${client.id}\t${packet.messageId ?? ports.clock.newId()}\t${topic}\t${payload.toString('latin1')}`)
  return { key, mayRepeat: packet.qos > 0 && session.deliveries.mayRepeat(key, packet.dup) }
}

function decode(ports: PublishPorts, session: Session, place: Place, payload: Buffer): Decoded[] | Failure {
  try {
    requireActAs(session.caller, place.project, place.device)
    return ownOnly(session.caller, decodeJson(payload, place, ports.clock))
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}
