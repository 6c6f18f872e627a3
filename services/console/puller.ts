// One subscription as this process pulls from it: a consumer while somebody pulls, and those who wait for its messages in the order in
// which they came.
import { Failure } from '../../packages/core/failure.ts'
import type { Consumer, Delivery, Dispatch } from '../../packages/log/durable/dispatch.ts'
import type { Ref } from '../../packages/log/durable/stream.ts'
import type { Subscription, Subscriptions } from '../../packages/log/durable/subscription.ts'

export type PullerPorts = {
  readonly dispatch: Pick<Dispatch, 'join'>
  readonly subscriptions: Pick<Subscriptions, 'typeOf'>
}
export type PullOptions = {
  readonly most: number
  readonly waitMs: number
  readonly leaseMs: number
  /** Aborted with a Failure: that is the answer. Otherwise the answer is that there is nothing. */
  readonly gone: AbortSignal
  /** Whether messages may still be handed out. */
  check(): Promise<void>
}

export const DEFAULT_LEASE_MS = 30_000
/** Unacked by all who pull here before it leaves. */
const WINDOW = 10_000
/** For more to come behind the first. */
const GATHER_MS = 10
/** Stays a consumer for so long after the last pull, when others are given messages too. */
const IDLE_MS = 1000

type Waiter = { readonly most: number; readonly found: Delivery[]; finish(failure?: Failure): void }

export class Puller {
  readonly #ports: PullerPorts
  readonly #stream: Ref
  readonly #subscription: Subscription
  readonly #ended: () => void
  #consumer: Promise<Consumer> | undefined
  #oneAtATime = false
  /** Under way, from beginning to end. */
  #pulls = 0
  readonly #waiting = new Set<Waiter>()
  /** Came when nobody waited any more. */
  #ready: Delivery[] = []
  /** Permitted, and not come; below 0 when more were on their way than are permitted now. */
  #permits = 0
  /** What was permitted and then not any more may be on its way all the same. */
  #isWithdrawn = false
  #idle: NodeJS.Timeout | undefined
  #leaving: Promise<void> = Promise.resolve()
  #stopped = false

  /** @param ended told when it is of no use any more. */
  constructor(ports: PullerPorts, stream: Ref, subscription: Subscription, ended: () => void) {
    this.#ports = ports
    this.#stream = stream
    this.#subscription = subscription
    this.#ended = ended
  }

  async pull(options: PullOptions): Promise<readonly Delivery[]> {
    this.#pulls++
    clearTimeout(this.#idle)
    try {
      return await this.#pull(options)
    } finally {
      this.#pulls--
      // Another process may be the next that is asked: it has to find nobody here.
      if (this.#pulls === 0 && (this.#oneAtATime || this.#stopped)) await this.#leave()
      else if (this.#pulls === 0) this.#idle = setTimeout(() => void this.#leave(), IDLE_MS).unref()
    }
  }

  /** Whoever waits is answered. Resolves when it has left. */
  async stop(): Promise<void> {
    this.#stopped = true
    for (const waiter of this.#waiting) waiter.finish()
    await this.#leave()
  }

  async #pull(options: PullOptions): Promise<readonly Delivery[]> {
    const consumer = await this.#open()
    const ready = this.#ready.splice(0, options.most)
    const deliveries = ready.length > 0 ? ready : await this.#wait(consumer, options)
    if (deliveries.length === 0) return answerOf(options.gone, [])
    const seqs = deliveries.map(({ message }) => message.seq)
    let isAnswered = false
    try {
      if (ready.length > 0 || options.leaseMs !== DEFAULT_LEASE_MS) {
        consumer.hold(seqs, options.leaseMs)
        await consumer.settled()
      }
      await options.check()
      const answer = answerOf(options.gone, deliveries)
      isAnswered = answer.length > 0
      return answer
    } finally {
      // Whoever hung up gets nothing, nor who may not any more: others do, at once.
      if (!isAnswered) consumer.nack(seqs, 0)
    }
  }

  async #open(): Promise<Consumer> {
    await this.#leaving
    if (this.#stopped) throw new Failure('unavailable', 'the server is stopping: come back', { retryAfterMs: 1000 })
    this.#consumer ??= this.#join().catch((error: unknown) => {
      this.#consumer = undefined
      throw error
    })
    return this.#consumer
  }

  /** The type is that of the consumers it has, or had last. */
  async #join(): Promise<Consumer> {
    const { dispatch, subscriptions } = this.#ports
    const { name } = this.#subscription
    const type = await subscriptions.typeOf(this.#stream, this.#subscription)
    this.#oneAtATime = type === 'exclusive' || type === 'failover'
    const options = { subscription: name, type, name: 'pull', window: WINDOW, pull: true, ackTimeoutMs: DEFAULT_LEASE_MS }
    return dispatch.join(this.#stream, options, {
      receive: deliveries => this.#receive(deliveries),
      ended: failure => this.#end(failure),
    })
  }

  #wait(consumer: Consumer, { most, waitMs, gone }: PullOptions): Promise<readonly Delivery[]> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        most,
        found: [],
        finish: failure => {
          if (!this.#waiting.delete(waiter)) return
          clearTimeout(wait)
          gone.removeEventListener('abort', abort)
          this.#permit(consumer)
          if (failure) reject(failure)
          else resolve(waiter.found)
        },
      }
      const abort = () => waiter.finish()
      // Even who does not want to wait waits for a turn: only then it is known that there is nothing.
      const turned = () =>
        void consumer.settled().then(
          () => waiter.finish(),
          (failure: Failure) => waiter.finish(failure),
        )
      const wait = setTimeout(turned, waitMs)
      gone.addEventListener('abort', abort, { once: true })
      this.#waiting.add(waiter)
      if (gone.aborted) abort()
      else this.#permit(consumer)
    })
  }

  /** As many as are waited for, no more: what nobody waits for is for other processes. */
  #permit(consumer: Consumer): void {
    let wanted = 0
    for (const { most, found } of this.#waiting) wanted += most - found.length
    if (wanted !== this.#permits) consumer.permit(wanted - this.#permits)
    if (wanted < this.#permits) this.#isWithdrawn = true
    this.#permits = wanted
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
    this.#ready.push(...deliveries.slice(at))
    for (const waiter of this.#waiting) if (waiter.found.length === waiter.most) waiter.finish()
  }

  /** By the dispatcher. */
  #end(failure: Failure): void {
    this.#consumer = undefined
    this.#ready = []
    for (const waiter of this.#waiting) waiter.finish(failure)
    this.#permits = 0
  }

  #leave(): Promise<void> {
    clearTimeout(this.#idle)
    this.#leaving = this.#leaving.then(() => this.#left())
    return this.#leaving
  }

  /** What was pulled stays pulled: only what nobody has come for goes back into the queue. */
  async #left(): Promise<void> {
    // A turn after which nothing more is on its way. Rejected: it has ended, and whoever waited was told why.
    if (this.#isWithdrawn) await Promise.allSettled([this.#consumer?.then(consumer => consumer.settled())])
    if (this.#pulls > 0) return
    const joined = this.#consumer
    this.#consumer = undefined
    if (joined) {
      const consumer = await joined
      const seqs = this.#ready.splice(0).map(({ message }) => message.seq)
      if (seqs.length > 0) consumer.nack(seqs, 0)
      this.#permits = 0
      this.#isWithdrawn = false
      await consumer.leave({ keep: true })
    }
    if (this.#pulls === 0) this.#ended()
  }
}

function answerOf(gone: AbortSignal, deliveries: readonly Delivery[]): readonly Delivery[] {
  if (!gone.aborted) return deliveries
  if (gone.reason instanceof Failure) throw gone.reason
  return []
}
