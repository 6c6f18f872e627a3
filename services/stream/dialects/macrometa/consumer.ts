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

export class Consumer implements Session, Receiver {
  readonly #ports: ConsumerPorts
  readonly #ref: Ref
  readonly #subscription: string
  #joined: Joined | undefined
  #leaving: Promise<void> | undefined
  #outlet: Outlet | undefined
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

  begin(outlet: Outlet): void {
    this.#outlet = outlet
    outlet.onDrain(() => this.#resume())
    if (this.#failure) this.ended(this.#failure)
    this.receive(this.#early.splice(0))
  }

  receive(deliveries: readonly Delivery[]): void {
    const outlet = this.#outlet
    if (!outlet) {
      this.#early.push(...deliveries)
      return
    }
    outlet.send(deliveries.map(({ message, redeliveries }) => messageFrame(this.#ref.record, message, redeliveries)))
    if (!outlet.full || this.#paused) return
    this.#paused = true
    this.#joined?.pause()
  }

  #resume(): void {
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
        if (seq !== undefined) this.#joined?.[command.type]([seq])
      }
    }
  }

  async #unsubscribe(): Promise<void> {
    try {
      await this.end()
      await this.#ports.subscriptions.remove(this.#ref, this.#subscription)
      await this.#ports.unsubscribed()
      this.#outlet?.close(1000, 'unsubscribed')
    } catch (error) {
      if (!(error instanceof Failure)) this.#ports.troubled(error)
      this.#outlet?.fail(8, error instanceof Failure ? error.message : 'internal error')
    }
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
