// What stands retained in one project, as this gateway knows it: what was read, then each change, of its own and of others, by its number.
import { TopicTree } from './filter.ts'
import type { Message } from './message.ts'

export class Standing {
  readonly #tree = new TopicTree<Message>()
  /** All up to this change has been read or told of. */
  #known: number
  #told = 0
  /** Changes that Redis answered to this gateway, and that the common channel has still to tell of: older ones are told of before. */
  readonly #ahead = new Map<string, number>()
  #furthest = 0

  constructor(messages: readonly Message[], version: number) {
    for (const message of messages) this.#tree.set(message.topic, message)
    this.#known = version
  }

  get(topic: string): Message | undefined {
    return this.#tree.get(topic)
  }

  match(filter: string): Iterable<Message> {
    return this.#tree.match(filter)
  }

  /** Redis says that this stands there, or nothing, as of that change. */
  answered(topic: string, message: Message | undefined, version: number): void {
    if (version <= this.#known || version <= (this.#ahead.get(topic) ?? 0)) return
    this.#tree.set(topic, message)
    this.#ahead.set(topic, version)
    this.#furthest = Math.max(this.#furthest, version)
  }

  /** The common channel tells of a change, in their order. @returns false if they are numbered anew, and nothing here is worth anything. */
  told(topic: string, message: Message | undefined, version: number): boolean {
    if (version <= this.#told) return false
    this.#told = version
    if (version <= this.#known) return true
    this.#known = version
    if (version >= (this.#ahead.get(topic) ?? 0)) this.#tree.set(topic, message)
    if (version >= this.#furthest) this.#ahead.clear()
    return true
  }
}
