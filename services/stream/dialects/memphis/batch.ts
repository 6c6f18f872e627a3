// One batch out of a subscription: what is there, or what comes within a time; acked when all of it is taken, given back when nobody is
// there to take it.
import type { Failure } from '../../../../packages/core/failure.ts'
import type { Delivery, Dispatch, Receiver } from '../../../../packages/log/durable/dispatch.ts'
import type { Message } from '../../../../packages/log/durable/message.ts'
import type { Ref } from '../../../../packages/log/durable/stream.ts'

export type Fetch = { readonly group: string; readonly name: string; readonly size: number; readonly waitMs: number }

/** Behind it no more is asked for; what was asked for already comes on top. */
const MAX_BYTES = 8 * 1024 * 1024
/** Before it is known how large they are. */
const FIRST = 4
/** Some are there and no more came for so long: there are no more. */
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
    await batch.gather(permits => consumer.permit(permits), gone)
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
  #permit: (messages: number) => void = () => undefined
  #done: () => void = () => undefined
  #failure: Failure | undefined
  #settling: NodeJS.Timeout | undefined

  constructor(wanted: Fetch) {
    this.#wanted = wanted
  }

  /** Resolves when it is full, nothing more comes, the time is over or the client gone; rejects when the subscription ends. */
  async gather(permit: (messages: number) => void, gone: AbortSignal): Promise<void> {
    const done = new Promise<void>(resolve => {
      this.#done = resolve
    })
    const late = setTimeout(this.#done, this.#wanted.waitMs)
    gone.addEventListener('abort', this.#done, { once: true })
    this.#permit = permit
    if (!gone.aborted && !this.#failure) {
      this.#ask()
      await done
    }
    clearTimeout(late)
    clearTimeout(this.#settling)
    this.#permit = () => undefined
    if (this.#failure) throw this.#failure
  }

  receive(deliveries: readonly Delivery[]): void {
    for (const { message } of deliveries) {
      this.messages.push(message)
      this.#bytes += message.payload.length
    }
    clearTimeout(this.#settling)
    this.#settling = setTimeout(() => this.#done(), SETTLED_MS)
    if (this.messages.length >= this.#permitted) this.#ask()
  }

  ended(failure: Failure): void {
    this.#failure = failure
    this.#done()
  }

  /** As many as are wanted still and will fit, going by those that came. */
  #ask(): void {
    const count = this.messages.length
    const wanted = this.#wanted.size - count
    const room = MAX_BYTES - this.#bytes
    if (wanted <= 0 || room <= 0) {
      this.#done()
      return
    }
    const fitting = count === 0 ? FIRST : Math.max(1, Math.floor((room * count) / Math.max(1, this.#bytes)))
    const permits = Math.min(wanted, fitting)
    this.#permitted = count + permits
    this.#permit(permits)
  }
}
