// What the query of a WebSocket says (contracts.md 2.a.3): unknown parameters are passed over, a value that is none is refused.
import { invalid } from '../../../../packages/core/failure.ts'
import type { SubscriptionType } from '../../../../packages/log/durable/subscription.ts'

export type Query = Readonly<Record<string, string | readonly string[] | undefined>>

export type ProducerOptions = { readonly name: string | undefined; readonly maxPending: number }

export type ConsumerOptions = {
  readonly type: SubscriptionType
  /** Messages that may be unacked. */
  readonly window: number
  readonly pull: boolean
  readonly name: string | undefined
  readonly priority: number | undefined
  readonly ackTimeoutMs: number
  readonly nackDelayMs: number
  /** 0: no limit. */
  readonly maxRedeliveries: number
  readonly deadLetter: string | undefined
}

export type ReaderOptions = {
  readonly window: number
  /** `earliest`, `latest` or the id of a message. */
  readonly from: string
}

const TYPES: Readonly<Record<string, SubscriptionType>> = {
  Exclusive: 'exclusive',
  Shared: 'shared',
  Failover: 'failover',
  Key_Shared: 'key_shared',
}
const ROUTING = ['SinglePartition', 'RoundRobinPartition', 'CustomPartition']
const COMPRESSION = ['LZ4', 'ZLIB', 'ZSTD', 'SNAPPY', 'NONE']
const HASHING = ['JavaStringHash', 'Murmur3_32Hash']

const MAX_WINDOW = 1000
const MAX_PENDING = 1000
const MAX_INTEGER = 2 ** 31 - 1
const MAX_WAIT_MS = 86_400_000
const MAX_PRIORITY = 1000
const MAX_REDELIVERIES = 1_000_000
const MAX_NAME_CHARS = 255
const DEFAULT_NACK_MS = 60_000
/** Who names a dead-letter stream wants it used. */
const DEFAULT_REDELIVERIES = 16

export function producerOptions(query: Query): ProducerOptions {
  for (const field of ['sendTimeoutMillis', 'batchingMaxMessages', 'batchingMaxPublishDelay']) integer(query, field, 0)
  // Sequence ids are long: there is nothing else to know of one.
  const sequence = text(query, 'initialSequenceId')
  if (sequence !== undefined && !/^-?\d{1,19}$/.test(sequence)) throw invalid('initialSequenceId', 'expected a whole number')
  boolean(query, 'batchingEnabled')
  for (const [field, values] of [
    ['messageRoutingMode', ROUTING],
    ['compressionType', COMPRESSION],
    ['hashingScheme', HASHING],
  ] as const)
    oneOf(query, field, values)
  return {
    name: name(query, 'producerName'),
    maxPending: Math.min(MAX_PENDING, Math.max(1, integer(query, 'maxPendingMessages', MAX_PENDING))),
  }
}

export function consumerOptions(query: Query): ConsumerOptions {
  const type = oneOf(query, 'subscriptionType', Object.keys(TYPES)) ?? 'Exclusive'
  const deadLetter = name(query, 'deadLetterTopic')
  return {
    type: TYPES[type] as SubscriptionType,
    window: windowOf(query),
    pull: boolean(query, 'pullMode'),
    name: name(query, 'consumerName'),
    priority: text(query, 'priorityLevel') === undefined ? undefined : integer(query, 'priorityLevel', 0, MAX_PRIORITY),
    ackTimeoutMs: integer(query, 'ackTimeoutMillis', 0, MAX_WAIT_MS),
    nackDelayMs: integer(query, 'negativeAckRedeliveryDelay', DEFAULT_NACK_MS, MAX_WAIT_MS),
    maxRedeliveries: integer(query, 'maxRedeliverCount', deadLetter === undefined ? 0 : DEFAULT_REDELIVERIES, MAX_REDELIVERIES),
    deadLetter,
  }
}

export function readerOptions(query: Query): ReaderOptions {
  name(query, 'readerName')
  // A `+` of base64 that nobody encoded has become a space.
  return { window: windowOf(query), from: (text(query, 'messageId') ?? 'latest').replaceAll(' ', '+') }
}

function windowOf(query: Query): number {
  return Math.min(MAX_WINDOW, Math.max(1, integer(query, 'receiverQueueSize', MAX_WINDOW)))
}

function text(query: Query, field: string): string | undefined {
  const value = Object.hasOwn(query, field) ? query[field] : undefined
  if (value !== undefined && typeof value !== 'string') throw invalid(field, 'expected one value, got several')
  return value
}

function name(query: Query, field: string): string | undefined {
  const value = text(query, field)
  if (value !== undefined && (value === '' || value.length > MAX_NAME_CHARS))
    throw invalid(field, `expected 1 to ${MAX_NAME_CHARS} characters`)
  return value
}

function integer(query: Query, field: string, fallback: number, most = MAX_INTEGER): number {
  const value = text(query, field)
  if (value === undefined) return fallback
  const number = /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN
  if (!(number <= most)) throw invalid(field, `expected a whole number from 0 to ${most}, got ${value.slice(0, 50)}`)
  return number
}

/** Some clients write it with a capital (contracts.md §0.6). */
export function boolean(query: Query, field: string): boolean {
  const value = text(query, field)?.toLowerCase() ?? 'false'
  if (value !== 'true' && value !== 'false') throw invalid(field, `expected true or false, got ${value.slice(0, 50)}`)
  return value === 'true'
}

function oneOf(query: Query, field: string, values: readonly string[]): string | undefined {
  const value = text(query, field)
  if (value !== undefined && !values.includes(value)) throw invalid(field, `expected ${values.join(', ')}, got ${value.slice(0, 50)}`)
  return value
}
