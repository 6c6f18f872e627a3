// What the dialects stand on, handed in by the wiring.
import type { Redis } from 'ioredis'
import type { Identity } from '../../../packages/identity/identity.ts'
import type { Dispatch } from '../../../packages/log/durable/dispatch.ts'
import type { DurableStreams } from '../../../packages/log/durable/stream.ts'
import type { Subscriptions } from '../../../packages/log/durable/subscription.ts'
import type { Upgrades } from '../../../packages/runtime/upgrade.ts'
import type { Audit } from '../../../packages/state/audit.ts'

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
  /** The same of a producer that stays connected; returns what says that it is no more. */
  connected(project: string, stream: string): () => void
  /** The same of one that reads without a subscription. */
  followed(project: string, stream: string): () => void
  /** Of what is changed by no request. */
  readonly audit: Pick<Audit, 'add'>
  readonly upgrades: Upgrades
  /** Fails at once while Redis is away. */
  readonly redis: Redis
  /** What is no failure of a caller's. */
  troubled(error: unknown): void
}
