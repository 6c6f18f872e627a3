// One batch out of a subscription: what is there, or what comes within a time; acked when all of it is taken, given back when nobody is
// there to take it.
import type { Failure } from '../../../../packages/core/failure.ts'
import type { Consumer, Delivery, Dispatch, Receiver } from '../../../../packages/log/durable/dispatch.ts'
import type { Message } from '../../../../packages/log/durable/message.ts'
import type { Ref } from '../../../../packages/log/durable/stream.ts'

export type Fetch = { readonly group: string; readonly name: string; readonly size: number; readonly waitMs: number }

/** Behind it no more is asked for; what was asked for already comes on top. */
const MAX_BYTES = 8 * 1024 * 1024
/** Before it is known how large they are. */
const FIRST = 4
/** Some are there and no more were; none came in so long after that: there are no more. */
const SETTLED_MS = 50

/** Each message is given to one of those who fetch by the same group, once. Oldest first; empty when none came in time or the client is gone. */
export async function fetchBatch(dispatch: Dispatch, station: Ref, wanted: Fetch, gone: AbortSignal): Promise<readonly Message[]> {
  const batch = new Batch(wanted)
  const { group, name, size } = wanted
  const consumer = await dispatch.join(
    station,
    // From the oldest that is kept, whatever other groups have acked.
    { subscription: group, type: 'shared', name, window: size, pull: true, start: { seq: 0 } },
    batch,
  )
  try {
    await batch.gather(consumer, gone)
    if (gone.aborted) return []
    consumer.ack(batch.messages.map(({ seq }) => seq))
  } finally {
    // What is acked is on disk when this is done; what is not is back in the queue.
    await consumer.leave()
  }
  return batch.messages
}

class Batch implements Receiver {
  readonly messages: Message[] = []
  readonly #wanted: Fetch
  #bytes = 0
  #permitted = 0
  #closed = false
  #over: () => void = () => undefined
  #came: () => void = () => undefined
  #failure: Failure | undefined

  constructor(wanted: Fetch) {
    this.#wanted = wanted
  }

  /** Resolves when it is full, nothing more comes, the time is over or the client gone; rejects when the subscription ends. */
  async gather(consumer: Pick<Consumer, 'permit' | 'settled'>, gone: AbortSignal): Promise<void> {
    const over = new Promise<void>(resolve => {
      this.#over = resolve
    })
    const late = setTimeout(this.#over, this.#wanted.waitMs)
    gone.addEventListener('abort', this.#over, { once: true })
    if (gone.aborted || this.#failure) this.#over()
    try {
      await Promise.race([over, this.#fill(consumer)])
    } catch (error) {
      throw this.#failure ?? error
    } finally {
      this.#closed = true
      clearTimeout(late)
    }
    if (this.#failure) throw this.#failure
  }

  receive(deliveries: readonly Delivery[]): void {
    for (const { message } of deliveries) {
      this.messages.push(message)
      this.#bytes += message.payload.length
    }
    this.#came()
  }

  ended(failure: Failure): void {
    this.#failure = failure
    this.#over()
  }

  /** Turn by turn: however long a disk takes for one, there is no more only where one has brought nothing. */
  async #fill(consumer: Pick<Consumer, 'permit' | 'settled'>): Promise<void> {
    while (!this.#closed && !this.#isFull) {
      const count = this.messages.length
      const permits = this.#fitting() - this.#permitted
      if (permits > 0) {
        this.#permitted += permits
        consumer.permit(permits)
      }
      await consumer.settled()
      if (this.messages.length === count && !(await this.#isComing())) return
    }
  }

  get #isFull(): boolean {
    return this.messages.length >= this.#wanted.size || this.#bytes >= MAX_BYTES
  }

  /** In all: as many as are wanted and will fit, going by those that came. */
  #fitting(): number {
    const count = this.messages.length
    const fitting = count === 0 ? FIRST : count + Math.max(1, Math.floor(((MAX_BYTES - this.#bytes) * count) / Math.max(1, this.#bytes)))
    return Math.min(this.#wanted.size, fitting)
  }

  /** Whether something comes; where some have come already, soon. */
  #isComing(): Promise<boolean> {
    return new Promise(resolve => {
      const late = this.messages.length > 0 ? setTimeout(() => resolve(false), SETTLED_MS) : undefined
      this.#came = () => {
        clearTimeout(late)
        resolve(true)
      }
    })
  }
}
