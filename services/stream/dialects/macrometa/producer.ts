// A producer's WebSocket: messages in, one answer to each, in their order, once they are on disk.
import { Failure } from '../../../../packages/core/failure.ts'
import { formatMessageId, type NewMessage } from '../../../../packages/log/durable/message.ts'
import type { Appended, DurableStreams, Ref } from '../../../../packages/log/durable/stream.ts'
import { translate } from '../../../../packages/redis/index.ts'
import type { Ear } from './ear.ts'
import { type Context, type Fault, faultFrame, okFrame, parseSent, type Sent } from './frame.ts'
import type { Outlet } from './outlet.ts'
import type { Session } from './socket.ts'

export type ProducerPorts = {
  readonly streams: Pick<DurableStreams, 'append'>
  /** What is no failure of the caller's. */
  troubled(error: unknown): void
}

type Outcome = Appended | Failure
type Pending = { readonly sent: Sent; readonly length: number }

/** Of one append. */
const MAX_MESSAGES = 1000
const MAX_LENGTH = 8 * 1024 * 1024

export class Producer implements Session {
  readonly #ports: ProducerPorts
  readonly #ref: Ref
  readonly #name: string
  readonly maxWaiting: number
  #pending: Pending[] = []
  #appending: Promise<void> | undefined
  #outlet: Outlet | undefined
  #ear: Ear | undefined
  #isLost = false
  readonly #release: () => Promise<void>

  /** @param release called once all that was heard is appended. */
  constructor(ports: ProducerPorts, ref: Ref, name: string, maxPending: number, release: () => Promise<void>) {
    this.#ports = ports
    this.#ref = ref
    this.#name = name
    this.maxWaiting = maxPending
    this.#release = release
  }

  begin(outlet: Outlet, ear: Ear): void {
    this.#outlet = outlet
    this.#ear = ear
    if (this.#isLost) this.lost()
  }

  hear(text: string): void {
    this.#pending.push({ sent: parseSent(text, this.#name), length: text.length })
    this.#appending ??= this.#append().catch((error: unknown) => {
      this.#ports.troubled(error)
      this.#outlet?.fail(8, 'internal error')
    })
  }

  /** Another has its name after all; that may be known before the handshake is answered. */
  lost(): void {
    this.#isLost = true
    this.#outlet?.fail(1, 'another producer has this name')
  }

  async end(): Promise<void> {
    await this.#appending
    await this.#release()
  }

  /** One append at a time, of all that came meanwhile: batches grow by themselves under load. */
  async #append(): Promise<void> {
    // What came with the same read of the socket is there a moment later.
    await Promise.resolve()
    while (this.#pending.length > 0) {
      const batch = this.#take()
      const outcomes = await this.#outcomesOf(batch.flatMap(sent => ('message' in sent ? [sent.message] : [])))
      this.#outlet?.send(this.#answers(batch, outcomes))
      this.#ear?.done(batch.length)
      const gone = outcomes.find(outcome => outcome instanceof Failure && outcome.code === 'not_found')
      if (gone) this.#outlet?.fail(1, 'the stream was removed')
    }
    this.#appending = undefined
  }

  #take(): readonly Sent[] {
    let length = 0
    const over = this.#pending.findIndex((one, i) => {
      length += one.length
      return i > 0 && (i >= MAX_MESSAGES || length > MAX_LENGTH)
    })
    const batch = this.#pending.splice(0, over < 0 ? this.#pending.length : over)
    return batch.map(({ sent }) => sent)
  }

  async #outcomesOf(messages: readonly NewMessage[]): Promise<Outcome[]> {
    if (messages.length === 0) return []
    try {
      return await this.#ports.streams.append(this.#ref, messages)
    } catch (error) {
      const failure = this.#failureOf(error)
      // One bad message is no fault of those that came with it.
      const divides = messages.length > 1 && (failure.code === 'invalid' || failure.code === 'too_large')
      if (!divides) return messages.map(() => failure)
      const half = messages.length >> 1
      return [...(await this.#outcomesOf(messages.slice(0, half))), ...(await this.#outcomesOf(messages.slice(half)))]
    }
  }

  #failureOf(error: unknown): Failure {
    const known = translate(error)
    if (known instanceof Failure) return known
    this.#ports.troubled(error)
    return new Failure('setup', 'internal error')
  }

  #answers(batch: readonly Sent[], outcomes: readonly Outcome[]): string[] {
    let next = 0
    return batch.map(sent => {
      if ('fault' in sent) return faultFrame(sent.fault, sent.reason, sent.fault === 3 ? undefined : sent.context)
      return this.#answer(sent.context, outcomes[next++] as Outcome)
    })
  }

  #answer(context: Context, outcome: Outcome): string {
    if (!(outcome instanceof Failure)) return okFrame(formatMessageId(this.#ref.record, outcome.seq), context)
    const fault: Fault = outcome.code === 'invalid' ? 7 : 8
    return faultFrame(fault, outcome.message, context)
  }
}
