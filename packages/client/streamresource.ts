// The documents of durable streams, as they stand on the wire.
import type { PageQuery } from './resource.ts'

export type StreamSchema =
  | { readonly type: 'json'; readonly definition: unknown }
  /** `definition`: text of a `.proto` file. */
  | { readonly type: 'protobuf'; readonly definition: string; readonly message: string }
export type StreamRetention = {
  /** A duration such as `72h`; `0s`: messages do not grow too old. */
  readonly maxAge: string
  /** 0: no limit. */
  readonly maxBytes: number
  /** What all subscriptions have acked is dropped. */
  readonly untilAcked: boolean
}
export type StreamSettings = {
  readonly description?: string
  readonly retention?: Partial<StreamRetention>
  /** null: payloads are not checked. */
  readonly schema?: StreamSchema | null
  /** Makes device events of its messages. */
  readonly decoder?: string | null
}
/** `query`: words, all of which the name has to have. */
export type StreamQuery = PageQuery & { readonly query?: string }
/** A durable stream. */
export type Stream = {
  readonly name: string
  readonly resource: string
  readonly createTime: string
  readonly description: string
  readonly retention: StreamRetention
  readonly schema: StreamSchema | null
  readonly decoder: string | null
  /** The only producer that may append. */
  readonly owner: string | null
  readonly stats: {
    /** Kept now. */
    readonly messageCount: number
    readonly bytes: number
    /** Ever. */
    readonly appendedCount: number
    readonly firstSeq: number
    readonly lastSeq: number
    readonly oldestTime: string | null
    readonly messagesPerSecond: number
    readonly bytesPerSecond: number
    readonly deliveredPerSecond: number
    readonly subscriptionCount: number
    readonly consumerCount: number
    /** Of the subscription that is furthest behind. */
    readonly backlogCount: number
    readonly backlogAgeMs: number
  }
}

export type NewMessage = {
  /** Text is sent as UTF-8, bytes as they are, anything else as JSON. */
  readonly payload: unknown
  /** Messages of one key stay in order for `key_shared` subscriptions. */
  readonly key?: string
  readonly properties?: { readonly [name: string]: string }
  readonly eventTime?: string | Date
  /** Messages of one name are numbered from 1. */
  readonly name?: string
}
/** `duplicate`: it had been appended before, at this place. */
export type AppendedMessage = { readonly messageId: string; readonly seq: number; readonly duplicate: boolean }
export type Message = {
  readonly messageId: string
  readonly seq: number
  readonly publishTime: string
  readonly eventTime: string | null
  readonly key: string | null
  readonly properties: { readonly [name: string]: string }
  readonly name: string | null
  readonly number: number | null
  readonly producer: string | null
  /** Of the payload, in bytes. */
  readonly size: number
  /** Base64. */
  readonly payload: string
  /** When it is text; the beginning of a long one. */
  readonly text: string | null
}
export type PulledMessage = Message & { readonly redeliveryCount: number }
export type MessageQuery = PageQuery & {
  /** `newest` unless said. */
  readonly order?: 'newest' | 'oldest'
  /** Published then or later. */
  readonly startTime?: string | Date
  /** Published before. */
  readonly endTime?: string | Date
  readonly afterSeq?: number
  readonly beforeSeq?: number
}

export type SubscriptionType = 'exclusive' | 'shared' | 'failover' | 'key_shared'
/** The oldest that is kept, the next one, behind a place, or published at a time or later. */
export type SubscriptionPosition = 'oldest' | 'latest' | { readonly afterSeq: number } | { readonly time: string }
export type Subscription = {
  readonly name: string
  readonly resource: string
  readonly type: SubscriptionType
  readonly createTime: string
  readonly stats: {
    /** Not acked. */
    readonly backlogCount: number
    /** Of these, with consumers. */
    readonly unackedCount: number
    readonly timedCount: number
    readonly backlogAgeMs: number
    readonly ackedCount: number
    readonly redeliveredCount: number
    readonly deadLetteredCount: number
    readonly deliveredPerSecond: number
  }
  readonly consumers: readonly { readonly id: string; readonly name: string; readonly unackedCount: number; readonly active: boolean }[]
}

/** RFC 3339; the week before now unless said. */
