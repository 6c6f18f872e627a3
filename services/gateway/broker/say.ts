// What Telltale itself publishes: alarms, which stand retained, and what is told to devices. It is queued for sessions before it is sent.
import type { Aedes, PublishPacket } from 'aedes'
import { contentKey } from '../../../packages/core/id.ts'
import type { Message } from './message.ts'
import { projectOf } from './retained.ts'
import type { Storage } from './storage.ts'

export type Speaking = { readonly broker: Aedes; readonly storage: Storage; newId(): string }

/** Retained, if it is not what stands there already, and nothing that is later in the order (inorder.ts) was said there. */
export async function announce({ broker, storage }: Speaking, topic: string, payload: Buffer, order: string): Promise<void> {
  const { retained } = storage
  const project = projectOf(topic)
  if (project === undefined) return
  const there = await retained.get(topic)
  if (there?.payload.equals(payload) || (there?.order ?? '') > order) return
  const message = { id: contentKey(`${topic}\t${payload.toString('utf8')}`), topic, qos: 1 as const, payload, order }
  // Each gateway announces. What another one has announced is queued already; a session that has acknowledged it would have it once more.
  if ((await retained.stands(message)) || !(await storage.queue(message))) return
  // The one that changed something publishes.
  if (await retained.store(project, message)) await emit(broker, message, true)
}

export async function say({ broker, storage, newId }: Speaking, topic: string, payload: Buffer): Promise<void> {
  const message = { id: newId(), topic, qos: 1 as const, payload }
  await storage.queue(message)
  await emit(broker, message, false)
}

function emit(broker: Aedes, { id, order: _order, ...message }: Message, retain: boolean): Promise<void> {
  const packet = { cmd: 'publish' as const, ...message, retain, dup: false, properties: { id } }
  return new Promise((resolve, reject) => broker.publish(packet as unknown as PublishPacket, error => (error ? reject(error) : resolve())))
}
