// Subscriptions for programs that can only ask. What is pulled is on lease: not acked in time, it is delivered again. All processes may
// pull from one subscription, and ack by any: a process is a consumer while somebody pulls (puller.ts), and what was pulled stays pulled.
import { Failure } from '../../packages/core/failure.ts'
import type { Delivery } from '../../packages/log/durable/dispatch.ts'
import type { Ref } from '../../packages/log/durable/stream.ts'
import type { Subscription } from '../../packages/log/durable/subscription.ts'
import { Puller, type PullerPorts, type PullOptions } from './puller.ts'

/** Each waits with a connection, and for up to a thousand messages. */
const MAX_PULLS_PER_KEY = 500
const MAX_PULLERS_PER_PROJECT = 1000
const STOP_MS = 1000

export class Pulls {
  readonly #ports: PullerPorts
  readonly #pullers = new Map<string, Puller>()
  readonly #perProject = new Counts()
  readonly #perKey = new Counts()

  constructor(ports: PullerPorts) {
    this.#ports = ports
  }

  /** Resolves when there is something, or when the wait is over, with what there is. @throws Failure `too_many`. */
  async pull(keyId: string, stream: Ref, subscription: Subscription, options: PullOptions): Promise<readonly Delivery[]> {
    if (this.#perKey.of(keyId) >= MAX_PULLS_PER_KEY)
      throw new Failure('too_many', `at most ${MAX_PULLS_PER_KEY} pulls of one key at the same time`, { retryAfterMs: 1000 })
    this.#perKey.change(keyId, 1)
    try {
      return await this.#puller(stream, subscription).pull(options)
    } finally {
      this.#perKey.change(keyId, -1)
    }
  }

  /** Whoever waits is answered. Resolves when nothing waits on lease here any more; while Redis is away that is not waited for. */
  async stop(): Promise<void> {
    const stopped = Promise.all([...this.#pullers.values()].map(puller => puller.stop()))
    let timer: NodeJS.Timeout | undefined
    const late = new Promise(resolve => {
      timer = setTimeout(resolve, STOP_MS)
    })
    await Promise.race([stopped, late])
    clearTimeout(timer)
  }

  #puller(stream: Ref, subscription: Subscription): Puller {
    const { project, record } = stream
    const key = `${project} ${record.uid} ${subscription.uid}`
    const known = this.#pullers.get(key)
    if (known) return known
    if (this.#perProject.of(project) >= MAX_PULLERS_PER_PROJECT)
      throw new Failure('too_many', `at most ${MAX_PULLERS_PER_PROJECT} subscriptions of one project are pulled from at the same time`, {
        retryAfterMs: 1000,
      })
    const puller = new Puller(this.#ports, stream, subscription, () => {
      if (this.#pullers.delete(key)) this.#perProject.change(project, -1)
    })
    this.#pullers.set(key, puller)
    this.#perProject.change(project, 1)
    return puller
  }
}

/** How many there are by name. */
class Counts {
  readonly #counts = new Map<string, number>()

  of(name: string): number {
    return this.#counts.get(name) ?? 0
  }

  change(name: string, by: 1 | -1): void {
    const count = this.of(name) + by
    if (count > 0) this.#counts.set(name, count)
    else this.#counts.delete(name)
  }
}
