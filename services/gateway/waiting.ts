// What waits for MQTT sessions: messages with QoS 1 and 2 that are not acknowledged yet, in memory. When too many wait for a session,
// its oldest are dropped and counted: nobody who stays away may take the memory of all.
import { clientIdOf, keyIdOf } from './session.ts'

/** A packet as aedes makes it: a message, or the PUBREL that stands for one which was received. */
export type Message = {
  readonly cmd: string
  /** With the counter, which message it is, however often it is wrapped. */
  readonly brokerId?: string | undefined
  readonly brokerCounter?: number | undefined
  readonly topic?: string | undefined
  readonly payload?: Buffer | string | undefined
  /** Given when it is sent. */
  messageId?: number | undefined
}

export type Limits = {
  readonly messages: number
  readonly sessionBytes: number
  readonly keyBytes: number
  readonly allBytes: number
}

export type WaitingPorts = {
  /** Told of each message that is dropped. */
  dropped(): void
  /** Told once for a session, until nothing waits for it any more. */
  overfull(facts: { readonly client: string; readonly keyId: string }): void
}

type Queue = { readonly keyId: string; readonly messages: Message[]; bytes: number; isTold: boolean }

const MIB = 1024 * 1024
const LIMITS: Limits = { messages: 10_000, sessionBytes: 8 * MIB, keyBytes: 64 * MIB, allBytes: 256 * MIB }
/** What a message takes besides its topic and payload. */
const MESSAGE_BYTES = 250

export class Waiting {
  readonly #ports: WaitingPorts
  readonly #limits: Limits
  readonly #queues = new Map<string, Queue>()
  readonly #byKey = new Map<string, number>()
  #bytes = 0

  constructor(ports: WaitingPorts, limits: Limits = LIMITS) {
    this.#ports = ports
    this.#limits = limits
  }

  add(id: string, message: Message): void {
    const queue = this.#queues.get(id) ?? { keyId: keyIdOf(id), messages: [], bytes: 0, isTold: false }
    this.#queues.set(id, queue)
    // aedes brings it for each subscription that it matches, one after the other.
    const last = queue.messages.at(-1)
    if (last && isSame(last, message)) return
    const kept = { ...message, messageId: undefined }
    queue.messages.push(kept)
    this.#count(queue, sizeOf(kept))
    while (queue.messages.length > 0 && this.#isOver(queue)) this.#dropOldest(id, queue)
  }

  /** A message was given its packet id, or a PUBREL takes its place. One that was dropped meanwhile is no error: it is on its way. */
  sent(id: string, packet: Message): void {
    const queue = this.#queues.get(id)
    if (!queue) return
    const { messages } = queue
    if (packet.cmd === 'pubrel') {
      const pubrel = { cmd: 'pubrel', messageId: packet.messageId }
      const at = messages.findIndex(({ messageId }) => messageId === pubrel.messageId)
      if (at >= 0) this.#count(queue, sizeOf(pubrel) - sizeOf(messages.splice(at, 1, pubrel)[0] as Message))
      return
    }
    // What is sent now came last, most of the time.
    const same = messages.findLast(one => isSame(one, packet))
    if (same) same.messageId = packet.messageId
  }

  /** It is acknowledged. */
  take(id: string, messageId: number | undefined): Message | undefined {
    const queue = this.#queues.get(id)
    // Without a packet id nothing was sent: aedes asks for that when it delivers for the second subscription that a message matches.
    if (!queue || messageId === undefined) return undefined
    const at = queue.messages.findIndex(message => message.messageId === messageId)
    if (at < 0) return undefined
    const [taken] = queue.messages.splice(at, 1) as [Message]
    this.#count(queue, -sizeOf(taken))
    if (queue.messages.length === 0) this.#queues.delete(id)
    return taken
  }

  /** In the order in which they came. */
  all(id: string): readonly Message[] {
    return [...(this.#queues.get(id)?.messages ?? [])]
  }

  forget(id: string): void {
    const queue = this.#queues.get(id)
    if (queue) this.#count(queue, -queue.bytes)
    this.#queues.delete(id)
  }

  #isOver({ messages, bytes, keyId }: Queue): boolean {
    const { messages: most, sessionBytes, keyBytes, allBytes } = this.#limits
    return messages.length > most || bytes > sessionBytes || (this.#byKey.get(keyId) ?? 0) > keyBytes || this.#bytes > allBytes
  }

  #dropOldest(id: string, queue: Queue): void {
    this.#count(queue, -sizeOf(queue.messages.shift() as Message))
    this.#ports.dropped()
    if (queue.isTold) return
    queue.isTold = true
    this.#ports.overfull({ client: clientIdOf(id), keyId: queue.keyId })
  }

  #count(queue: Queue, bytes: number): void {
    queue.bytes += bytes
    this.#bytes += bytes
    const ofKey = (this.#byKey.get(queue.keyId) ?? 0) + bytes
    if (ofKey > 0) this.#byKey.set(queue.keyId, ofKey)
    else this.#byKey.delete(queue.keyId)
  }
}

function isSame(one: Message, other: Message): boolean {
  return one.brokerCounter === other.brokerCounter && one.brokerId === other.brokerId
}

function sizeOf({ topic = '', payload = '' }: Message): number {
  return MESSAGE_BYTES + topic.length + payload.length
}
