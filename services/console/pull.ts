// Subscriptions for programs that can only ask: a consumer of ours takes messages from the dispatcher and hands them to whoever pulls.
// What is pulled is on lease: not acked in time, it is delivered again. All processes may pull from one subscription, and ack by any.
import { Failure } from '../../packages/core/failure.ts'
import type { Consumer, Delivery, Dispatch } from '../../packages/log/durable/dispatch.ts'
import type { Ref } from '../../packages/log/durable/stream.ts'
import type { Subscription, Subscriptions } from '../../packages/log/durable/subscription.ts'

export type PullPorts = { readonly dispatch: Pick<Dispatch, 'join'>; readonly subscriptions: Pick<Subscriptions, 'stats'> }
export type PullOptions = { readonly most: number; readonly waitMs: number; readonly leaseMs: number; readonly gone: AbortSignal }

const DEFAULT_LEASE_MS = 30_000
/** Unacked by all who pull here with the same lease. */
const WINDOW = 10_000
const MAX_PULLERS = 1000
/** Even who does not want to wait waits for the way to Redis and back. */
const LEAST_WAIT_MS = 250
/** For more to come behind the first. */
const GATHER_MS = 10
/** How much of its lease a message may have waited for somebody to pull it. */
const STALE_SHARE = 0.5

export class Pulls {
  readonly #ports: PullPorts
  readonly #pullers = new Map<string, Puller>()

  constructor(ports: PullPorts) {
    this.#ports = ports
  }

  /** Resolves when there is something, or when the wait is over, with what there is. */
  pull(stream: Ref, subscription: Subscription, options: PullOptions): Promise<readonly Delivery[]> {
    return this.#puller(stream, subscription, options.leaseMs).pull(options)
  }

  async ack(stream: Ref, subscription: Subscription, seqs: readonly number[]): Promise<void> {
    const consumer = await this.#any(stream, subscription).consumer()
    consumer.ack(seqs)
    await consumer.settled()
  }

  async nack(stream: Ref, subscription: Subscription, seqs: readonly number[], delayMs: number): Promise<void> {
    const consumer = await this.#any(stream, subscription).consumer()
    consumer.nack(seqs, delayMs)
    await consumer.settled()
  }

  /** Whoever waits is answered. */
  stop(): void {
    for (const puller of this.#pullers.values()) puller.stop()
    this.#pullers.clear()
  }

  /** Who acks may have pulled from another process, or with another lease. */
  #any(stream: Ref, subscription: Subscription): Puller {
    const prefix = keyOf(stream, subscription)
    for (const [key, puller] of this.#pullers) if (key.startsWith(prefix)) return puller
    return this.#puller(stream, subscription, DEFAULT_LEASE_MS)
  }

  #puller(stream: Ref, subscription: Subscription, leaseMs: number): Puller {
    const key = `${keyOf(stream, subscription)}${leaseMs}`
    const known = this.#pullers.get(key)
    if (known) return known
    if (this.#pullers.size >= MAX_PULLERS)
      throw new Failure('unavailable', 'too many subscriptions are pulled from at the same time', { retryAfterMs: 10_000 })
    const puller = new Puller(this.#ports, stream, subscription, leaseMs, () => {
      if (this.#pullers.get(key) === puller) this.#pullers.delete(key)
    })
    this.#pullers.set(key, puller)
    return puller
  }
}

function keyOf({ project, record }: Ref, { uid }: Subscription): string {
  return `${project} ${record.uid} ${uid} `
}

type Waiter = { readonly most: number; readonly found: Delivery[]; finish(failure?: Failure): void }
type Ready = { readonly delivery: Delivery; readonly untilMs: number }

/** One consumer, and those who wait for its messages in the order in which they came. */
class Puller {
  readonly #consumer: Promise<Consumer>
  readonly #leaseMs: number
  readonly #ended: () => void
  #waiting: Waiter[] = []
  /** Came when nobody waited any more. */
  #ready: Ready[] = []
  /** Permitted, and not come; below 0 when more were on their way than are permitted now. */
  #permits = 0
  #idle: NodeJS.Timeout
  #stopped = false
  #leave = () => {}

  constructor(ports: PullPorts, stream: Ref, { name }: Subscription, leaseMs: number, ended: () => void) {
    this.#leaseMs = leaseMs
    this.#ended = ended
    this.#consumer = this.#join(ports, stream, name)
    this.#consumer.then(
      consumer => this.#joined(consumer),
      // Who asked for the consumer is told.
      (failure: Failure) => this.stop(failure),
    )
    this.#idle = this.#leaveWhenIdle()
  }

  /** The type is that of the consumers it has, or had last. */
  async #join({ dispatch, subscriptions }: PullPorts, stream: Ref, subscription: string): Promise<Consumer> {
    const { type } = await subscriptions.stats(stream, subscription)
    const options = { subscription, type, name: 'pull', window: WINDOW, pull: true, ackTimeoutMs: this.#leaseMs }
    return dispatch.join(stream, options, {
      receive: deliveries => this.#receive(deliveries),
      ended: failure => this.stop(failure),
    })
  }

  consumer(): Promise<Consumer> {
    this.#busy()
    return this.#consumer
  }

  async pull({ most, waitMs, gone }: PullOptions): Promise<readonly Delivery[]> {
    const consumer = await this.consumer()
    if (this.#stopped) throw new Failure('unavailable', 'what was pulled from has ended: try again', { retryAfterMs: 0 })
    if (gone.aborted) return []
    const nowMs = performance.now()
    const ready = this.#ready.splice(0, most).filter(({ untilMs }) => untilMs > nowMs)
    if (ready.length > 0) return ready.map(({ delivery }) => delivery)
    return new Promise((resolve, reject) => {
      const wait = setTimeout(() => waiter.finish(), Math.max(waitMs, LEAST_WAIT_MS))
      const waiter: Waiter = {
        most,
        found: [],
        finish: failure => {
          if (!this.#waiting.includes(waiter)) return
          clearTimeout(wait)
          this.#waiting = this.#waiting.filter(other => other !== waiter)
          this.#permit(consumer)
          this.#busy()
          if (failure) reject(failure)
          else resolve(waiter.found)
        },
      }
      gone.addEventListener('abort', () => this.#left(consumer, waiter), { once: true })
      this.#waiting.push(waiter)
      this.#permit(consumer)
    })
  }

  /** As many as are waited for, no more: what nobody waits for is for other processes. */
  #permit(consumer: Consumer): void {
    const wanted = this.#waiting.reduce((sum, { most, found }) => sum + most - found.length, 0)
    if (wanted !== this.#permits) consumer.permit(wanted - this.#permits)
    this.#permits = wanted
  }

  /** Whoever hung up gets nothing: others do, at once. */
  #left(consumer: Consumer, waiter: Waiter): void {
    if (!this.#waiting.includes(waiter)) return
    const seqs = waiter.found.splice(0).map(({ message }) => message.seq)
    if (seqs.length > 0) consumer.nack(seqs, 0)
    waiter.finish()
  }

  #receive(deliveries: readonly Delivery[]): void {
    this.#permits -= deliveries.length
    let at = 0
    for (const waiter of this.#waiting) {
      const some = deliveries.slice(at, at + waiter.most - waiter.found.length)
      if (some.length === 0) continue
      at += some.length
      if (waiter.found.length === 0) setTimeout(() => waiter.finish(), GATHER_MS)
      waiter.found.push(...some)
    }
    const untilMs = performance.now() + this.#leaseMs * STALE_SHARE
    this.#ready.push(...deliveries.slice(at).map(delivery => ({ delivery, untilMs })))
    for (const waiter of this.#waiting) if (waiter.found.length === waiter.most) waiter.finish()
  }

  #busy(): void {
    clearTimeout(this.#idle)
    if (this.#stopped) return
    this.#idle = this.#leaveWhenIdle()
  }

  /** What it has unacked goes back to the queue when it leaves: not before the last lease is over. */
  #leaveWhenIdle(): NodeJS.Timeout {
    return setTimeout(() => {
      if (this.#waiting.length > 0) this.#busy()
      else this.stop()
    }, this.#leaseMs + 1000).unref()
  }

  #joined(consumer: Consumer): void {
    if (this.#stopped) void consumer.leave()
    else this.#leave = () => void consumer.leave()
  }

  /** With a failure: it has been ended by the dispatcher. */
  stop(failure?: Failure): void {
    this.#stopped = true
    this.#ended()
    for (const waiter of this.#waiting) waiter.finish(failure)
    clearTimeout(this.#idle)
    if (!failure) this.#leave()
  }
}
