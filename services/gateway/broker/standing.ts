// What stands retained in one project, as this gateway knows it: what was read, then each change, of its own and of others, by its number.
import { TopicTree } from './filter.ts'
import type { Message } from './message.ts'

/** What one takes in memory besides its topic and payload, about. */
const MESSAGE_BYTES = 500

export class Standing {
  /** What it takes in memory, about. */
  bytes = 0
  readonly #tree = new TopicTree<Message>()
  /** All up to this change has been read or told of. */
  #known: number
  #told = 0
  /** Changes that Redis answered to this gateway, and that the common channel has still to tell of: older ones are told of before. */
  readonly #ahead = new Map<string, number>()
  #furthest = 0

  /** @param version of before anything was read. */
  constructor(version: number) {
    this.#known = version
  }

  /** A part of what stands there, as of that change; the same may be read several times. */
  read(messages: readonly Message[], version: number): void {
    for (const message of messages)
      if (version > this.#known) this.answered(message.topic, message, version)
      else this.#set(message.topic, message)
  }

  get(topic: string): Message | undefined {
    return this.#tree.get(topic)
  }

  match(filter: string): Iterable<Message> {
    return this.#tree.match(filter)
  }

  /** Redis says that this stands there, or nothing, as of that change; what was read later is newer. */
  answered(topic: string, message: Message | undefined, version: number): void {
    if (version <= this.#known || version <= (this.#ahead.get(topic) ?? 0)) return
    this.#set(topic, message)
    this.#ahead.set(topic, version)
    this.#furthest = Math.max(this.#furthest, version)
  }

  /** The common channel tells of a change, in their order. @returns false if they are numbered anew, and nothing here is worth anything. */
  told(topic: string, message: Message | undefined, version: number): boolean {
    if (version <= this.#told) return false
    this.#told = version
    if (version <= this.#known) return true
    this.#known = version
    if (version >= (this.#ahead.get(topic) ?? 0)) this.#set(topic, message)
    if (version >= this.#furthest) this.#ahead.clear()
    return true
  }

  #set(topic: string, message: Message | undefined): void {
    this.bytes += sizeOf(message) - sizeOf(this.#tree.set(topic, message))
  }
}

function sizeOf(message: Message | undefined): number {
  return message ? MESSAGE_BYTES + message.topic.length + message.payload.length : 0
}
