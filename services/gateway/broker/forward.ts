// What a connected client is sent of what its filters match: once, with the lower of both QoS, in the form of topic it asked for; and in the
// order in which it came, behind what waited for it.
import type { Client } from 'aedes'
import type { Logger } from '../../../packages/runtime/logger.ts'
import { clientIdOf, type Session } from '../mqtt/session.ts'
import { mayReceive, streamTopic, unmounted } from '../mqtt/topic.ts'
import type { Marks, Packet } from './bus.ts'
import { type Lasting, MAX_PACKET_ID } from './lasting.ts'
import type { Qos } from './message.ts'
import { waitingPacket } from './persistence.ts'

export type Forwarded = Packet & { topic: string; qos: Qos; messageId?: number }

/** Changes the packet, which is this client's alone. @returns nothing when it is not to be sent. */
export function forward(client: Client, session: Session, packet: Forwarded, log: Logger): Forwarded | null {
  const { topic, properties } = packet
  if (!properties && !packet.retain) return streamFrame(client, session, packet)
  // aedes brings a message for each filter that it matches; all of them at once.
  if (properties && !properties.queued) {
    if (session.forwarded === properties) return null
    session.forwarded = properties
  }
  const grant = session.grants.of(topic)
  // What had been started is completed, whatever was unsubscribed since [MQTT-3.10.4-3]; but not when it may not be had any more (hazard 9).
  const isOurs = (grant !== undefined || packet.dup) && (client.connected || mayReceive(session.caller, topic, packet.payload))
  if (!isOurs) return discarded(session, packet, log)
  // What was sent before is sent as it was, whatever was granted since [MQTT-3.3.1-2].
  const qos = properties?.sentQos ?? (grant && grant.qos < packet.qos ? grant.qos : packet.qos)
  const { lasting } = session
  if (lasting && qos > 0 && !packet.retain && !isInTurn(lasting, properties)) {
    if (lasting.isCurrent && lasting.isFull) catchUp(client, lasting, log)
    return null
  }
  if (qos === 0 && properties?.queued) discarded(session, packet, log)
  if (lasting && qos > 0 && packet.retain && !numbered(client, lasting, packet, log)) return null
  packet.qos = qos
  if (grant ? grant.short : topic.startsWith(`projects/${session.project}/topics/`)) packet.topic = unmounted(topic)
  return packet
}

/** aedes would give a retained message the next packet id, also one that a message of the session is under way with [MQTT-2.3.1-4]. */
function numbered(client: Client, lasting: Lasting, packet: Forwarded, log: Logger): boolean {
  const numbering = client as Client & { _nextId: number }
  try {
    packet.messageId = lasting.passesRetained(numbering._nextId)
    numbering._nextId = packet.messageId + 1 > MAX_PACKET_ID ? 1 : packet.messageId + 1
    return true
  } catch (error) {
    cutOff(client, log)(error as Error)
    return false
  }
}

function isInTurn(lasting: Lasting, { id, queued }: Marks = {}): boolean {
  if (id === undefined) return true
  if (queued) lasting.early(id)
  else if (lasting.wasEarly(id)) return false
  else if (!lasting.isCurrent) lasting.isBehind = true
  if (queued) return true
  if (!lasting.isCurrent || lasting.isFull) return false
  if (lasting.packetIdOf(id) === undefined) lasting.leaves(id)
  return true
}

/** What is live ends with the rights; only what waited is older than them. */
function streamFrame(client: Client, { caller }: Session, packet: Forwarded): Forwarded | null {
  return client.connected || (streamTopic(packet.topic) && mayReceive(caller, packet.topic, packet.payload)) ? packet : null
}

function discarded({ lasting }: Session, { properties }: Forwarded, log: Logger): null {
  if (lasting && properties?.queued && properties.id !== undefined)
    lasting.discard(properties.id).catch((error: Error) => log.debug({ reason: error.message }, 'message not discarded'))
  return null
}

type Sending = Client & { deliverQoS(packet: object, done: () => void): void }

/** Sends what waits until nothing is left, as fast as it is acknowledged: from then on messages go to the client as they come. */
export function catchUp(client: Client, lasting: Lasting, log: Logger): void {
  lasting.isCurrent = false
  lasting.isBehind = true
  if (lasting.isReading) return
  lasting.isReading = true
  sendWaiting(client, lasting).catch(error => {
    lasting.isReading = false
    cutOff(client, log)(error)
  })
}

/** Something waits that was not passed on, wherever in the queue it stands. */
export function catchUpAgain(client: Client, lasting: Lasting, log: Logger): void {
  lasting.rewind()
  catchUp(client, lasting, log)
}

async function sendWaiting(client: Client, lasting: Lasting): Promise<void> {
  while (lasting.isBehind && !client.closed) {
    lasting.isBehind = false
    for await (const { id, message, packetId } of lasting.waiting()) {
      if (client.closed) return
      if (packetId !== undefined) continue
      const packet = { ...message, ...waitingPacket(id), retain: false, dup: false }
      await new Promise<void>(resolve => (client as Sending).deliverQoS(packet, resolve))
    }
    if (lasting.isFull) await lasting.room()
  }
  // Together: what comes in between would wait for a reader that is about to end.
  lasting.caughtUp()
}

/** What a client is to have cannot be read: it comes back and asks again. */
export function cutOff(client: Client | undefined, log: Logger): (error: Error) => void {
  return ({ message }) => {
    log.info({ client: clientIdOf(client?.id ?? ''), reason: message }, 'mqtt client cut off: what it is to have cannot be read')
    client?.close()
  }
}
