// The port through which the simulator's events leave: MQTT or HTTP. What happened to them stands in the ledger.
import type { Ledger } from './ledger.ts'

/** One whole event, serialised. */
export type Outgoing = { readonly device: string; readonly eventType: string; readonly frame: string }

/**
 * Order: the events of one device leave in the order they were sent. Repetition: an event whose ack got lost is sent again, with the
 * same id. Failure: what can pass (a lost connection, a server that says "later") is retried until `close`; what cannot (wrong
 * credentials) ends in `ledger.fail`, and the events stay outstanding. Whoever opened it closes it.
 */
export interface Transport {
  readonly ledger: Ledger
  /** Undefined: there is room for more. A promise: wait for it before sending the next. */
  send(event: Outgoing): Promise<void> | undefined
  /** Cuts every connection at once, as a reconnect storm begins. */
  disrupt(): void
  /** Idempotent; what is outstanding stays so. */
  close(): Promise<void>
}
