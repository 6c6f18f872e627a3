// What the routes of durable streams take and give.
import { Type } from 'typebox'
import { PageQuery, ProjectId } from '../../packages/runtime/schema.ts'

export const tags = ['streams']
export const STREAM = 'plant-a'
export const SUBSCRIPTION = 'historian'
const MESSAGE_ID = 'CAEQBCAABTkwAAAB'
const TIME = '2026-03-02T06:41:09.104000Z'

export const StreamName = Type.String({
  description: 'name of a stream; what is special in an address is percent-encoded',
  examples: [STREAM],
})
export const SubscriptionName = Type.String({ examples: [SUBSCRIPTION] })
export const InProject = Type.Object({ project: ProjectId })
export const OneStream = Type.Object({ project: ProjectId, stream: StreamName })
export const Force = Type.Object({ force: Type.Optional(Type.Boolean({ description: 'disconnects consumers; false' })) })
export const OneSubscription = Type.Object({ project: ProjectId, stream: StreamName, subscription: SubscriptionName })

const RetentionFields = {
  maxAge: Type.String({ maxLength: 32, description: 'messages older than this are dropped, acked or not, such as 72h; 0s: never' }),
  maxBytes: Type.Integer({
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description: 'beyond this the oldest messages are dropped; 0: never',
  }),
  untilAcked: Type.Boolean({ description: 'messages that all subscriptions have acked are dropped' }),
}
const JsonSchema = Type.Object(
  { type: Type.Literal('json'), definition: Type.Unknown({ description: 'a JSON Schema; references inside of it only' }) },
  { additionalProperties: false },
)
const ProtobufSchema = Type.Object(
  {
    type: Type.Literal('protobuf'),
    definition: Type.String({ description: 'text of a .proto file' }),
    message: Type.String({ maxLength: 256, description: 'name of a message in it, with its package' }),
  },
  { additionalProperties: false },
)
const SchemaField = Type.Union([JsonSchema, ProtobufSchema, Type.Null()], {
  description: 'what payloads are checked against; null: nothing',
})
const RetentionBody = Type.Object(
  {
    maxAge: Type.Optional(RetentionFields.maxAge),
    maxBytes: Type.Optional(RetentionFields.maxBytes),
    untilAcked: Type.Optional(RetentionFields.untilAcked),
  },
  { additionalProperties: false },
)
const Settings = {
  description: Type.Optional(Type.String({ maxLength: 1000 })),
  retention: Type.Optional(RetentionBody),
  schema: Type.Optional(SchemaField),
  decoder: Type.Optional(
    Type.Union([Type.String({ maxLength: 64 }), Type.Null()], { description: 'makes device events of its messages: json or ndjson' }),
  ),
}
const SETTINGS = {
  description: 'readings of plant A',
  retention: { maxAge: '72h', maxBytes: 1_000_000_000 },
  schema: { type: 'json', definition: { type: 'object', required: ['celsius'], properties: { celsius: { type: 'number' } } } },
}
export const NewStreamBody = Type.Object(
  { name: Type.String({ maxLength: 1000 }), ...Settings },
  { additionalProperties: false, examples: [{ name: STREAM, ...SETTINGS }] },
)
export const StreamBody = Type.Object(Settings, { additionalProperties: false, examples: [SETTINGS] })
export const StreamsQuery = Type.Object({
  query: Type.Optional(Type.String({ maxLength: 200, description: 'words, all of which the name has to have', examples: ['plant'] })),
  ...PageQuery,
})
/** What a mask may name. */
export const FIELDS = [...Object.keys(Settings), ...Object.keys(RetentionFields).map(name => `retention.${name}`)]

const Time = Type.String({ examples: [TIME] })
const Nullable = (field: ReturnType<typeof Type.String> | ReturnType<typeof Type.Integer>) => Type.Union([field, Type.Null()])
export const StreamAnswer = Type.Object({
  name: Type.String(),
  resource: Type.String({ description: 'behind /v2/ it is the address' }),
  createTime: Time,
  description: Type.String(),
  retention: Type.Object(RetentionFields),
  schema: SchemaField,
  decoder: Nullable(Type.String()),
  owner: Nullable(Type.String({ description: 'the only producer that may append' })),
  stats: Type.Object({
    messageCount: Type.Integer({ description: 'kept now' }),
    bytes: Type.Integer({ description: 'kept now' }),
    appendedCount: Type.Integer({ description: 'ever' }),
    firstSeq: Type.Integer(),
    lastSeq: Type.Integer(),
    oldestTime: Nullable(Time),
    messagesPerSecond: Type.Number({ description: 'appended, over about ten seconds' }),
    bytesPerSecond: Type.Number(),
    deliveredPerSecond: Type.Number({ description: 'by all subscriptions together' }),
    subscriptionCount: Type.Integer(),
    consumerCount: Type.Integer({ description: 'connected now' }),
    backlogCount: Type.Integer({ description: 'not acked, of the subscription that is furthest behind' }),
    backlogAgeMs: Type.Number({ description: 'age of the oldest message that some subscription has not acked' }),
  }),
})

const Draft = {
  payload: Type.Optional(Type.String({ description: 'bytes, as base64' })),
  text: Type.Optional(Type.String({ description: 'instead of payload: text' })),
  json: Type.Optional(Type.Unknown({ description: 'instead of payload: a value' })),
  key: Type.Optional(Type.String({ description: 'messages of one key stay in order for key_shared subscriptions' })),
  properties: Type.Optional(Type.Record(Type.String(), Type.String())),
  eventTime: Type.Optional(Type.String({ description: 'RFC 3339: when it happened' })),
  name: Type.Optional(Type.String({ description: 'messages of one name are numbered from 1' })),
}
export const MessageDraft = Type.Object(Draft)
export const AppendBody = Type.Object(
  { ...Draft, messages: Type.Optional(Type.Array(MessageDraft, { description: 'many instead of one' })) },
  { examples: [{ messages: [{ json: { celsius: 4.65 }, key: 'dev-9', properties: { unit: 'C' } }] }] },
)
export const AppendAnswer = Type.Object({
  messages: Type.Array(
    Type.Object({
      messageId: Type.String(),
      seq: Type.Integer({ description: 'its place in the stream: 1, 2, 3 …' }),
      duplicate: Type.Boolean({ description: 'it had been appended before' }),
    }),
  ),
})
const MessageFields = {
  messageId: Type.String(),
  seq: Type.Integer(),
  publishTime: Time,
  eventTime: Nullable(Time),
  key: Nullable(Type.String()),
  properties: Type.Record(Type.String(), Type.String()),
  name: Nullable(Type.String()),
  number: Nullable(Type.Integer({ description: 'among the messages of its name' })),
  producer: Nullable(Type.String()),
  size: Type.Integer({ description: 'of the payload, in bytes' }),
  payload: Type.String({ description: 'base64' }),
  text: Nullable(Type.String({ description: 'the payload, when it is text; the beginning of a long one' })),
}
export const MessageAnswer = Type.Object(MessageFields)
const time = (description: string) => Type.Optional(Type.String({ maxLength: 64, description: `RFC 3339; ${description}` }))
const seq = (description: string) => Type.Optional(Type.Integer({ minimum: 0, description }))
export const MessagesQuery = Type.Object({
  order: Type.Optional(Type.Union([Type.Literal('newest'), Type.Literal('oldest')], { description: 'which come first; newest' })),
  startTime: time('published then or later'),
  endTime: time('published before'),
  afterSeq: seq('behind this place'),
  beforeSeq: seq('before this place'),
  ...PageQuery,
})

export const SubscriptionType = Type.Union([
  Type.Literal('exclusive'),
  Type.Literal('shared'),
  Type.Literal('failover'),
  Type.Literal('key_shared'),
])
const Position = Type.Union(
  [
    Type.Literal('oldest'),
    Type.Literal('latest'),
    Type.Object({ afterSeq: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }) }, { additionalProperties: false }),
    Type.Object({ time: Type.String({ maxLength: 64 }) }, { additionalProperties: false }),
  ],
  { description: 'oldest: the oldest message that is kept; latest: the next one; or behind a place; or published at a time or later' },
)
export const NewSubscriptionBody = Type.Object(
  { name: Type.String({ maxLength: 1000 }), type: Type.Optional(SubscriptionType), position: Type.Optional(Position) },
  { additionalProperties: false, examples: [{ name: SUBSCRIPTION, type: 'shared', position: 'oldest' }] },
)
export const ResetBody = Type.Object({ position: Position }, { additionalProperties: false, examples: [{ position: 'oldest' }] })
export const SubscriptionAnswer = Type.Object({
  name: Type.String(),
  resource: Type.String(),
  type: SubscriptionType,
  createTime: Time,
  stats: Type.Object({
    backlogCount: Type.Integer({ description: 'not acked, with consumers or not' }),
    unackedCount: Type.Integer({ description: 'with consumers, and not acked' }),
    timedCount: Type.Integer({ description: 'are delivered again when their time comes, unless they are acked before' }),
    backlogAgeMs: Type.Number({ description: 'age of the oldest that is not acked' }),
    ackedCount: Type.Integer({ description: 'ever' }),
    redeliveredCount: Type.Integer({ description: 'ever' }),
    deadLetteredCount: Type.Integer({ description: 'ever' }),
    deliveredPerSecond: Type.Number(),
  }),
  consumers: Type.Array(Type.Object({ id: Type.String(), name: Type.String(), unackedCount: Type.Integer(), active: Type.Boolean() })),
})

export const MAX_PULL = 1000
export const PullBody = Type.Object(
  {
    maxMessages: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_PULL, description: '10 unless given' })),
    waitMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 20_000, description: 'how long to wait for the first message; 0' })),
    leaseMs: Type.Optional(
      Type.Integer({ minimum: 1000, maximum: 600_000, description: 'what is not acked in this time is delivered again; 30000' }),
    ),
  },
  { additionalProperties: false, examples: [{ maxMessages: 10, waitMs: 1000, leaseMs: 30_000 }] },
)
export const PullAnswer = Type.Object({
  messages: Type.Array(
    Type.Object({ ...MessageFields, redeliveryCount: Type.Integer({ description: 'how often it was delivered before' }) }),
  ),
})
const MessageIds = Type.Array(Type.String({ maxLength: 512 }), { minItems: 1, maxItems: MAX_PULL, examples: [[MESSAGE_ID]] })
export const AckBody = Type.Object({ messageIds: MessageIds }, { additionalProperties: false })
export const NackBody = Type.Object(
  {
    messageIds: MessageIds,
    delayMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 86_400_000, description: 'until it is delivered again; 0' })),
  },
  { additionalProperties: false },
)
