// What an MQTT client says and hears, packet by packet, in the words of the statements about it.
import type { IPublishPacket, ISubackPacket } from 'mqtt-packet'
import type { Wire } from '../wire.ts'
import { until } from '../world.ts'

export type Qos = 0 | 1 | 2

let count = 0

/** A name that no other test uses. */
export const fresh = (what = 'c') => `${what}-${++count}`

export async function subscribe(wire: Wire, ...filters: readonly (readonly [topic: string, qos: Qos])[]): Promise<readonly number[]> {
  const messageId = 1000 + ++count
  wire.send({ cmd: 'subscribe', messageId, subscriptions: filters.map(([topic, qos]) => ({ topic, qos })) })
  const acks = () => wire.received.filter((packet): packet is ISubackPacket => packet.cmd === 'suback' && packet.messageId === messageId)
  await until('SUBACK', () => acks().length > 0)
  return acks()[0]?.granted as number[]
}

export async function unsubscribe(wire: Wire, ...filters: string[]): Promise<void> {
  const messageId = 1000 + ++count
  wire.send({ cmd: 'unsubscribe', messageId, unsubscriptions: filters })
  await until('UNSUBACK', () => wire.received.some(({ cmd, messageId: id }) => cmd === 'unsuback' && id === messageId))
}

export const publishes = ({ received }: Wire) => received.filter((packet): packet is IPublishPacket => packet.cmd === 'publish')
export const texts = (wire: Wire) => publishes(wire).map(({ payload }) => payload.toString())
export const has = (wire: Wire, cmd: string, messageId?: number) =>
  wire.received.some(packet => packet.cmd === cmd && (messageId === undefined || packet.messageId === messageId))

export function publish(wire: Wire, topic: string, payload: string, more: Partial<IPublishPacket> = {}): void {
  wire.send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false, ...more })
}

/** Published with QoS 2, the whole way. */
export async function exactlyOnce(
  wire: Wire,
  messageId: number,
  topic: string,
  payload: string,
  more: Partial<IPublishPacket> = {},
): Promise<void> {
  publish(wire, topic, payload, { qos: 2, messageId, ...more })
  await until('PUBREC', () => has(wire, 'pubrec', messageId))
  wire.send({ cmd: 'pubrel', messageId })
  await until('PUBCOMP', () => has(wire, 'pubcomp', messageId))
}

/** All that was on its way to this client is there: what is published now, by the same way, is. */
export async function settled(wire: Wire, sender: Wire): Promise<void> {
  const topic = fresh('fence')
  await subscribe(wire, [topic, 0])
  await sender.publish(9999, topic, 'fence')
  await until('all is there', () => publishes(wire).some(packet => packet.topic === topic))
}

export async function arrived(wire: Wire, many: number): Promise<IPublishPacket[]> {
  await until(`${many} messages`, () => publishes(wire).length >= many)
  return publishes(wire)
}
