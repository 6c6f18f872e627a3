// What the dialects stand on, handed in by the wiring.
import type { Identity } from '../../../packages/identity/identity.ts'
import type { Dispatch } from '../../../packages/log/durable/dispatch.ts'
import type { DurableStreams } from '../../../packages/log/durable/stream.ts'
import type { Subscriptions } from '../../../packages/log/durable/subscription.ts'

export type DialectPorts = {
  readonly streams: DurableStreams
  readonly subscriptions: Subscriptions
  readonly dispatch: Dispatch
  readonly identity: Identity
  /** A secret of the installation. */
  readonly cursorKey: string
  nowUs(): number
  /** Somebody has just appended to this stream: a directory of live streams wants to know. */
  produced(project: string, stream: string): void
}
