// A reader's WebSocket: messages from a place on, of no subscription. Its acks only say that it takes more.
import { Failure, invalid } from '../../../../packages/core/failure.ts'
import type { Dispatch } from '../../../../packages/log/durable/dispatch.ts'
import { parseMessageId } from '../../../../packages/log/durable/message.ts'
import type { DurableStreams, Ref } from '../../../../packages/log/durable/stream.ts'
import { commandOf } from './consumer.ts'
import type { Ear } from './ear.ts'
import { messageFrame } from './frame.ts'
import type { ReaderOptions } from './option.ts'
import type { Outlet } from './outlet.ts'
import type { Session } from './socket.ts'

export type ReaderPorts = {
  readonly streams: Pick<DurableStreams, 'read' | 'stats' | 'get'>
  readonly dispatch: Pick<Dispatch, 'watch'>
  troubled(error: unknown): void
}

/** Of one read: of the largest messages it is still no more than one can hold. */
const MAX_MESSAGES = 32
/** Characters of the frames of one read, which are enough; of 2 MiB, which is all that a stream gives at once, there are always more. */
const READ_LENGTH = 512 * 1024

export class Reader implements Session {
  /** Each is dealt with at once. */
  readonly maxWaiting = 1
  readonly #ports: ReaderPorts
  readonly #ref: Ref
  #window = 1
  #after = 0
  #unacked = 0
  /** Of the next read: few of large messages, many of small ones. */
  #count = 1
  #outlet: Outlet | undefined
  #ear: Ear | undefined
  #stopWatching: (() => void) | undefined
  #leave: (() => void) | undefined
  /** Something may have been appended since the last read began. */
  #more = true
  #reading: Promise<void> | undefined

  constructor(ports: ReaderPorts, ref: Ref) {
    this.#ports = ports
    this.#ref = ref
  }

  /** Whatever is appended from now on is behind its place. Rejects with a Failure that is the answer to the handshake. */
  async open(options: ReaderOptions, followed: () => () => void): Promise<void> {
    this.#window = options.window
    this.#after = await this.#startOf(options)
    this.#stopWatching = await this.#ports.dispatch.watch(this.#ref, () => {
      this.#more = true
      this.#read()
    })
    this.#leave = followed()
  }

  async #startOf({ from }: ReaderOptions): Promise<number> {
    if (from === 'earliest') return 0
    if (from === 'latest') return (await this.#ports.streams.stats(this.#ref)).lastSeq
    const seq = parseMessageId(this.#ref.record, from)
    if (seq === undefined) throw invalid('messageId', 'expected earliest, latest or the id of a message of this stream')
    return seq
  }

  begin(outlet: Outlet, ear: Ear): void {
    this.#outlet = outlet
    this.#ear = ear
    this.#read()
  }

  drained(): void {
    this.#read()
  }

  hear(text: string): void {
    const command = commandOf(text)
    if (command instanceof Failure) this.#outlet?.fail(3, command.message)
    else if (command.type === 'isEndOfTopic') this.#outlet?.send(['{"endOfTopic":"false"}'])
    else if (command.type === 'ack') this.#ack(command.messageId)
    this.#ear?.done(1)
  }

  async end(): Promise<void> {
    this.#stopWatching?.()
    this.#leave?.()
    await this.#reading
  }

  #ack(messageId: string): void {
    const seq = parseMessageId(this.#ref.record, messageId)
    if (seq === undefined || seq > this.#after || this.#unacked === 0) return
    this.#unacked--
    this.#read()
  }

  #read(): void {
    if (!this.#outlet) return
    this.#reading ??= this.#readOn()
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        this.#reading = undefined
        if (this.#wants() && !this.#outlet?.ended) this.#read()
      })
  }

  #wants(): boolean {
    return this.#more && this.#unacked < this.#window && this.#outlet?.full === false
  }

  async #readOn(): Promise<void> {
    while (this.#wants() && !this.#outlet?.ended) {
      this.#more = false
      const count = Math.min(this.#count, this.#window - this.#unacked)
      const messages = await this.#ports.streams.read(this.#ref, this.#after, count)
      const last = messages.at(-1)
      if (!last) {
        await this.#checkStream()
        continue
      }
      const frames = messages.map(message => messageFrame(this.#ref.record, message, 0))
      const length = frames.reduce((sum, frame) => sum + frame.length, 0)
      // Fewer than were asked for are all that there are, unless it was their size that was enough.
      if (messages.length === count || length > READ_LENGTH) this.#more = true
      this.#after = last.seq
      this.#count = length > READ_LENGTH ? Math.max(1, this.#count >> 1) : Math.min(MAX_MESSAGES, this.#count * 2)
      this.#unacked += messages.length
      this.#outlet?.send(frames)
    }
  }

  /** Nothing new: or the stream is gone. @throws Failure `not_found`. */
  async #checkStream(): Promise<void> {
    const { project, record } = this.#ref
    const { uid } = await this.#ports.streams.get(project, record.name)
    if (uid !== record.uid) throw new Failure('not_found', 'the stream was removed, and there is a new one of its name')
  }

  #fail(error: unknown): void {
    if (!(error instanceof Failure)) this.#ports.troubled(error)
    this.#outlet?.fail(8, error instanceof Failure ? error.message : 'internal error')
  }
}
