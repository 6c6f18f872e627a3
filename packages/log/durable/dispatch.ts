// Dispatch: the consumers of this process. What they ack and can take gathers while a turn of their subscription is under way
// (turnscript.ts), and goes with the next one.
import type { Redis } from 'ioredis'
import { Failure, invalid } from '../../core/failure.ts'
import { checkMessageWord, DEVICES } from '../../core/stream.ts'
import { streamKey } from './key.ts'
import { Line } from './line.ts'
import type { Message } from './message.ts'
import { Signals } from './signal.ts'
import type { DurableStreams, Ref } from './stream.ts'
import { GONE_MS, type Start, type Subscriptions, type SubscriptionType } from './subscription.ts'
import { TURN } from './turnscript.ts'

export type ConsumerOptions = {
  readonly subscription: string
  readonly type: SubscriptionType
  readonly name?: string | undefined
  /** Who has the lowest is first to take over, and first to be given messages; 0. */
  readonly priority?: number | undefined
  /** At most this many unacked at once. */
  readonly window: number
  /** Only as many are given as `permit` has allowed. */
  readonly pull?: boolean | undefined
  /** What is not acked in this time is given again; 0: it waits until the consumer leaves. */
  readonly ackTimeoutMs?: number | undefined
  /** 60 s. */
  readonly nackDelayMs?: number | undefined
  /** What was given again so often goes to the dead-letter stream; 0: never. */
  readonly maxRedeliveries?: number | undefined
  /** Made when missing; `{stream}-{subscription}-DLQ`. */
  readonly deadLetter?: string | undefined
  /** Where a subscription begins that is made by this; `oldest`, but of the stream `devices` `latest`. */
  readonly start?: Start | undefined
  /** It is Telltale itself, whose subscriptions nobody else consumes. */
  readonly isOwn?: boolean | undefined
}

export type Delivery = { readonly message: Message; readonly redeliveries: number }

/** What a consumer hears. Called in order; must neither block nor throw. */
export type Receiver = {
  receive(deliveries: readonly Delivery[]): void
  /** Nothing more comes: the subscription or its stream is gone (`not_found`), or this process was taken for dead (`unavailable`). */
  ended(failure: Failure): void
}

export type Consumer = {
  readonly id: string
  /** Of an exclusive or failover subscription only one is. */
  readonly active: boolean
  /** Of messages of this subscription, whoever was given them; others are passed over. */
  ack(seqs: readonly number[]): void
  /** Gives them again, after `nackDelayMs` unless said. */
  nack(seqs: readonly number[], delayMs?: number): void
  /** From now on they are given again after this time, unless they are acked before; only for consumers with an ack time-out. */
  hold(seqs: readonly number[], ms: number): void
  /** With `pull`: so many more; below 0 so many fewer, as far as they are not on their way. */
  permit(messages: number): void
  /** Resolves when what was acked and refused so far is on disk. */
  settled(): Promise<void>
  pause(): void
  resume(): void
  /**
   * Resolves when its acks are on disk and what it had not acked is in the queue again. With `keep` that stays given until its ack time-out,
   * and can be acked by `Dispatch.ack`; only for consumers that have one.
   */
  leave(options?: { readonly keep?: boolean }): Promise<void>
}

export type DispatchPorts = {
  readonly streams: DurableStreams
  readonly subscriptions: Subscriptions
  /** Two connections of its own, that wait while Redis is away. */
  connect(name: string): Promise<Redis>
  troubled(error: Error): void
  /** A process that has said nothing for so long has lost its consumers; 5 s. */
  readonly goneMs?: number
}

/** More would hold Redis up when a consumer goes and leaves them. */
export const MAX_WINDOW = 10_000
/** Who reads what devices send says so, well before it is taken for gone. */
const NEED_AGAIN_MS = 30_000

export type TurnScripts = {
  streamTurnBuffer(keyCount: number, ...args: (string | number)[]): Promise<TurnReply>
}

export type TurnReply = [joined: Buffer[], lost: Buffer[], more: number, dueMs: number, active: Buffer, given: unknown[], repeated: number]

export class Dispatch {
  readonly #ports: DispatchPorts
  readonly #signals: Signals
  readonly #lines = new Map<string, { readonly ref: Ref; readonly line: Line }>()
  #connection: Promise<Redis & TurnScripts> | undefined
  #stopped = false

  constructor(ports: DispatchPorts) {
    this.#ports = ports
    this.#signals = new Signals(
      () => ports.connect('stream signals'),
      error => ports.troubled(error),
    )
  }

  /**
   * The subscription is made when it is missing.
   * @throws Failure `conflict` (an exclusive subscription that has a consumer, consumers of another type), `not_found`, `invalid`, `unavailable`.
   */
  async join(ref: Ref, options: ConsumerOptions, receiver: Receiver): Promise<Consumer> {
    if (this.#stopped) throw new Failure('unavailable', 'the server is stopping: come back', { retryAfterMs: 1000 })
    check(options)
    const { subscriptions } = this.#ports
    const { subscription, type, start, maxRedeliveries = 0, isOwn } = options
    const deadLetter = options.deadLetter ?? `${ref.record.name}-${subscription}-DLQ`
    const dead = maxRedeliveries > 0 ? await this.#deadLetters(ref, deadLetter) : undefined
    const { uid } = await subscriptions.create(ref, subscription, type, start, isOwn)
    const redis = await this.#open()
    return this.#line(redis, ref, subscription, uid).join(options, dead, receiver)
  }

  /** Without being a consumer: of messages that any has been given. Resolves when it is on disk. @throws Failure `not_found`. */
  async ack(ref: Ref, subscription: string, seqs: readonly number[]): Promise<void> {
    const { uid } = await this.#ports.subscriptions.get(ref, subscription)
    const redis = await this.#open()
    await this.#line(redis, ref, subscription, uid).ack(seqs)
  }

  /** As `ack`; they are given again after the delay. */
  async nack(ref: Ref, subscription: string, seqs: readonly number[], delayMs: number): Promise<void> {
    const { uid } = await this.#ports.subscriptions.get(ref, subscription)
    const redis = await this.#open()
    await this.#line(redis, ref, subscription, uid).nack(seqs, delayMs)
  }

  /** Where dead letters go they are appended by nobody's right: not where others decide what may stand there. */
  async #deadLetters(ref: Ref, name: string): Promise<Ref> {
    const { streams } = this.#ports
    if (name === DEVICES || name === ref.record.name) throw invalid('deadLetter', `expected another stream than ${name}`)
    const dead = { project: ref.project, record: await streams.ensure(ref.project, name) }
    if (dead.record.schema || (await streams.owner(dead)) !== undefined)
      throw invalid('deadLetter', `expected a stream without a schema and without an owner, ${name} has one`)
    return dead
  }

  /** Calls back soon after something was appended to the stream, or it was removed; also for nothing. Returns what ends it. */
  async watch(ref: Ref, heard: () => void): Promise<() => void> {
    const unlisten = await this.#signals.listen(ref, heard)
    if (ref.record.name !== DEVICES) return unlisten
    const need = () => this.#ports.subscriptions.need(ref, 'latest')
    const timer = setInterval(() => void need().catch(this.#ports.troubled), NEED_AGAIN_MS)
    const stop = () => {
      clearInterval(timer)
      unlisten()
    }
    try {
      await need()
    } catch (error) {
      stop()
      throw error
    }
    return stop
  }

  /** How many consumers each stream has here, by subscription. */
  *consumers(): Iterable<readonly [project: string, stream: string, count: number]> {
    for (const { ref, line } of this.#lines.values()) yield [ref.project, ref.record.name, line.size]
  }

  /** All consumers leave. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all([...this.#lines.values()].map(({ line }) => line.stop()))
  }

  /** To be used in the same moment: one that nobody uses ends. */
  #line(redis: Redis & TurnScripts, ref: Ref, subscription: string, uid: string): Line {
    const key = `${streamKey(ref)} ${uid}`
    const known = this.#lines.get(key)
    if (known) return known.line
    const line = new Line(
      ref,
      { name: subscription, uid },
      {
        redis,
        listen: heard => this.#signals.listen(ref, heard),
        troubled: error => this.#ports.troubled(error),
        over: () => {
          // Another may have taken its place.
          if (this.#lines.get(key)?.line === line) this.#lines.delete(key)
        },
        goneMs: this.#ports.goneMs ?? GONE_MS,
      },
    )
    this.#lines.set(key, { ref, line })
    return line
  }

  #open(): Promise<Redis & TurnScripts> {
    this.#connection ??= this.#ports.connect('stream turns').then(
      redis => {
        redis.defineCommand('streamTurn', { lua: TURN })
        return redis as Redis & TurnScripts
      },
      (error: unknown) => {
        this.#connection = undefined
        throw error
      },
    )
    return this.#connection
  }
}

function check({ window, ackTimeoutMs = 0, nackDelayMs = 0, maxRedeliveries = 0, priority = 0, name }: ConsumerOptions): void {
  const whole = (field: string, value: number, min: number, max: number) => {
    if (!Number.isInteger(value) || value < min || value > max)
      throw invalid(field, `expected a whole number from ${min} to ${max}, got ${value}`)
  }
  whole('window', window, 1, MAX_WINDOW)
  whole('ackTimeoutMs', ackTimeoutMs, 0, 86_400_000)
  whole('nackDelayMs', nackDelayMs, 0, 86_400_000)
  whole('maxRedeliveries', maxRedeliveries, 0, 1_000_000)
  whole('priority', priority, -1000, 1000)
  if (name !== undefined) checkMessageWord(name, 'consumerName')
}
