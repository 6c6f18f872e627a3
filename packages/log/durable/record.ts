// What a stream is told to be, as it stands in Redis; and what is said of one that is not there, or may not be changed.
import { Failure } from '../../core/failure.ts'
import { DEVICES } from '../../core/stream.ts'

export type Retention = {
  /** Messages older than this are dropped, acked or not. 0: never. */
  readonly maxAgeMs: number
  /** The oldest messages are dropped beyond this. 0: never. */
  readonly maxBytes: number
  /** Messages that every subscription has acked are dropped; while there is no subscription none is. */
  readonly untilAcked: boolean
}

/** What payloads have to be. */
export type Schema =
  | { readonly type: 'json'; readonly definition: unknown }
  | { readonly type: 'protobuf'; readonly definition: string; readonly message: string }

export type StreamSettings = {
  readonly retention: Retention
  readonly schema?: Schema | undefined
  /** Name of the decoder that makes device events of its messages. */
  readonly decoder?: string | undefined
  readonly description?: string | undefined
}

export type StreamRecord = StreamSettings & {
  readonly name: string
  /** Of this making of the stream: 6 bytes in hex. */
  readonly uid: string
  readonly createTime: string
}

/** A stream of a project. Of one that was removed meanwhile everything is `not_found`, also when another has its name. */
export type Ref = { readonly project: string; readonly record: StreamRecord }

export function exists(name: string): Failure {
  return new Failure('conflict', `stream ${name} exists already`, { field: 'stream' })
}

export function refuseDevices(name: string): void {
  if (name === DEVICES)
    throw new Failure('forbidden', `stream ${name} is fed by the devices of the project: nobody else changes it`, { field: 'stream' })
}

export function missing(name: string): Failure {
  return new Failure('not_found', `stream ${name} does not exist`, { field: 'stream' })
}
