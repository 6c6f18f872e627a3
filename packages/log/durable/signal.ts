// Signals: who waits for a stream hears when something happened to it, from whichever process did it.
import type { Redis } from 'ioredis'
import { streamKey } from './key.ts'
import type { Ref } from './stream.ts'

/** May come for nothing, and come once for several times. */
export type Heard = () => void

/** On one connection that does nothing else; opened when first needed. */
export class Signals {
  readonly #connect: () => Promise<Redis>
  readonly #troubled: (error: Error) => void
  readonly #heard = new Map<string, Set<Heard>>()
  #connection: Promise<Redis> | undefined

  constructor(connect: () => Promise<Redis>, troubled: (error: Error) => void) {
    this.#connect = connect
    this.#troubled = troubled
  }

  /** From when it resolves on, everything is heard. Returns what ends it. */
  async listen(ref: Ref, heard: Heard): Promise<() => void> {
    const channel = streamKey(ref)
    const redis = await this.#open()
    const listeners = this.#heard.get(channel) ?? new Set()
    this.#heard.set(channel, listeners)
    listeners.add(heard)
    // Of several that come at the same time each waits until the subscription stands.
    await redis.subscribe(channel)
    return () => {
      if (!listeners.delete(heard) || listeners.size > 0 || this.#heard.get(channel) !== listeners) return
      this.#heard.delete(channel)
      redis.unsubscribe(channel).catch(this.#troubled)
    }
  }

  #open(): Promise<Redis> {
    this.#connection ??= this.#connect().then(
      redis => {
        redis.on('message', (channel: string) => this.#hear(this.#heard.get(channel)))
        // What was said meanwhile was said to nobody.
        redis.on('ready', () => {
          for (const listeners of this.#heard.values()) this.#hear(listeners)
        })
        return redis
      },
      (error: unknown) => {
        this.#connection = undefined
        throw error
      },
    )
    return this.#connection
  }

  #hear(listeners: ReadonlySet<Heard> | undefined): void {
    if (listeners) for (const heard of listeners) heard()
  }
}
