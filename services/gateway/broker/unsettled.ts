// Messages with QoS 2 that Redis may have queued, and did not say so in time. Their sender sends them again; they came once already then, and
// were passed on to nobody yet. Of this process: another gateway that they come to again takes them for passed on.
import { contentKey } from '../../../packages/core/id.ts'
import type { From } from './sessions.ts'

type Sent = { readonly payload: Buffer | string }

/** The oldest is forgotten. */
const MOST = 10_000

export class Unsettled {
  /** By session, packet id and what it says: under which id it may be queued. */
  readonly #ids = new Map<string, string>()

  add(from: From, sent: Sent, id: string): void {
    this.#ids.set(keyOf(from, sent), id)
    if (this.#ids.size > MOST) this.#ids.delete(this.#ids.keys().next().value as string)
  }

  idOf(from: From, sent: Sent): string | undefined {
    return this.#ids.size === 0 ? undefined : this.#ids.get(keyOf(from, sent))
  }

  delete(from: From, sent: Sent): void {
    if (this.#ids.size > 0) this.#ids.delete(keyOf(from, sent))
  }
}

/** Not by its topic, which is the long form here and not there. */
function keyOf({ id, packetId }: From, { payload }: Sent): string {
  return `${id}\n${packetId}\n${contentKey(typeof payload === 'string' ? payload : payload.toString('latin1'))}`
}
