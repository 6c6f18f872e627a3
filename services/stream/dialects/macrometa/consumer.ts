// A consumer's WebSocket: messages of its subscription out, acks and other commands in.
import { Failure } from '../../../../packages/core/failure.ts'
import {
  type Delivery,
  type Dispatch,
  type Consumer as Joined,
  MAX_WINDOW,
  type Receiver,
} from '../../../../packages/log/durable/dispatch.ts'
import { parseMessageId } from '../../../../packages/log/durable/message.ts'
import type { Ref } from '../../../../packages/log/durable/stream.ts'
import type { Subscriptions } from '../../../../packages/log/durable/subscription.ts'
import type { Ear } from './ear.ts'
import { type Command, messageFrame, parseCommand } from './frame.ts'
import type { ConsumerOptions } from './option.ts'
import type { Outlet } from './outlet.ts'
import type { Session } from './socket.ts'

export type ConsumerPorts = {
  readonly dispatch: Pick<Dispatch, 'join'>
  readonly subscriptions: Pick<Subscriptions, 'remove'>
  /** It stands in the audit then. */
  unsubscribed(): Promise<void>
  troubled(error: unknown): void
}

/** Of whoever asks for them by number. */
const PULL_WINDOW = MAX_WINDOW
/** Acks that no turn of the subscription has taken. */
const MAX_WAITING = 2000

export class Consumer implements Session, Receiver {
  readonly maxWaiting = MAX_WAITING
  readonly #ports: ConsumerPorts
  readonly #ref: Ref
  readonly #subscription: string
  #joined: Joined | undefined
  #leaving: Promise<void> | undefined
  #outlet: Outlet | undefined
  #ear: Ear | undefined
  #settling: Promise<void> | undefined
  /** Given to the subscription since it was last seen to have taken what it was given. */
  #given = 0
  /** What came before the handshake was answered; no more than the window. */
  #early: Delivery[] = []
  #failure: Failure | undefined
  #paused = false

  constructor(ports: ConsumerPorts, ref: Ref, subscription: string) {
    this.#ports = ports
    this.#ref = ref
    this.#subscription = subscription
  }

  /** Rejects with a Failure that is the answer to the handshake. */
  async join(options: ConsumerOptions): Promise<void> {
    const window = options.pull ? PULL_WINDOW : options.window
    const asked = { ...options, window, subscription: this.#subscription }
    this.#joined = await this.#ports.dispatch.join(this.#ref, asked, this).catch((error: unknown) => {
      // Nothing is to be removed here that is in use.
      if (error instanceof Failure && error.code === 'conflict') throw new Failure('conflict', error.message)
      throw error
    })
  }

  begin(outlet: Outlet, ear: Ear): void {
    this.#outlet = outlet
    this.#ear = ear
    if (this.#failure) this.ended(this.#failure)
    this.receive(this.#early.splice(0))
  }

  receive(deliveries: readonly Delivery[]): void {
    const outlet = this.#outlet
    if (!outlet) {
      this.#early.push(...deliveries)
      return
    }
    try {
      outlet.send(deliveries.map(({ message, redeliveries }) => messageFrame(this.#ref.record, message, redeliveries)))
    } catch (error) {
      // The others of this subscription go on.
      this.#fail(error)
    }
    if (!outlet.full || this.#paused) return
    this.#paused = true
    this.#joined?.pause()
  }

  drained(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#joined?.resume()
  }

  ended(failure: Failure): void {
    this.#failure = failure
    // 1012: come back.
    if (failure.code === 'unavailable') this.#outlet?.close(1012, failure.message)
    else this.#outlet?.fail(2, failure.message)
  }

  hear(text: string): void {
    const command = commandOf(text)
    if (command instanceof Failure) this.#outlet?.fail(3, command.message)
    else this.#do(command)
  }

  /** Its acks are on disk then, and what it had not acked is another's. */
  end(): Promise<void> {
    this.#leaving ??= this.#joined?.leave() ?? Promise.resolve()
    return this.#leaving
  }

  #do(command: Command): void {
    switch (command.type) {
      case 'isEndOfTopic':
        this.#outlet?.send(['{"endOfTopic":"false"}'])
        break
      case 'permit':
        this.#joined?.permit(command.messages)
        break
      case 'unsubscribe':
        void this.#unsubscribe()
        break
      default: {
        // Of another stream, or of one of this name that is gone: it means nothing here.
        const seq = parseMessageId(this.#ref.record, command.messageId)
        if (seq === undefined || !this.#joined) break
        this.#joined[command.type]([seq])
        this.#given++
        this.#settling ??= this.#settle(this.#joined).catch((error: unknown) => this.#fail(error))
        return
      }
    }
    this.#ear?.done(1)
  }

  /** What comes while a turn is under way goes with the next one. */
  async #settle(joined: Joined): Promise<void> {
    while (this.#given > 0 && !this.#leaving) {
      const given = this.#given
      this.#given = 0
      await joined.settled()
      this.#ear?.done(given)
    }
    this.#settling = undefined
  }

  async #unsubscribe(): Promise<void> {
    try {
      await this.end()
      await this.#ports.subscriptions.remove(this.#ref, this.#subscription)
      await this.#ports.unsubscribed()
      this.#outlet?.close(1000, 'unsubscribed')
    } catch (error) {
      this.#fail(error)
    }
  }

  #fail(error: unknown): void {
    if (!(error instanceof Failure)) this.#ports.troubled(error)
    this.#outlet?.fail(8, error instanceof Failure ? error.message : 'internal error')
  }
}

export function commandOf(text: string): Command | Failure {
  try {
    return parseCommand(text)
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}
