// What the routes of data connectors take and give (contracts.md 1.a.9).
import { Type } from 'typebox'

const Status = Type.Union([Type.Literal('ACTIVE'), Type.Literal('USER_DISABLED'), Type.Literal('SYSTEM_DISABLED')])
const HttpConfig = Type.Object(
  {
    url: Type.Optional(Type.String({ maxLength: 2000, description: 'https, unless TELLTALE_WEBHOOK_ALLOW_PRIVATE names the host' })),
    signatureSecret: Type.Optional(Type.String({ maxLength: 1000, description: 'signs what is pushed; empty: unsigned' })),
    headers: Type.Optional(Type.Union([Type.Record(Type.String(), Type.String()), Type.Null()])),
  },
  { additionalProperties: false },
)
const StreamConfig = Type.Object(
  { stream: Type.Optional(Type.String({ maxLength: 300, description: 'name of a durable stream of the project' })) },
  { additionalProperties: false },
)
/** Of the types that are not offered here. Clients send them as null. */
const Other = Type.Optional(Type.Unknown({ description: 'of another type than HTTP_PUSH or STREAM: expected null' }))
const Keys = (description: string) =>
  Type.Optional(Type.Union([Type.Array(Type.String(), { maxItems: 100 }), Type.Null()], { description }))
export const ConnectorBody = Type.Object(
  {
    name: Type.Optional(Type.String({ description: 'ignored: the server names it' })),
    displayName: Type.Optional(Type.String({ maxLength: 256 })),
    type: Type.Optional(Type.String({ description: 'HTTP_PUSH, or STREAM, which copies into a durable stream; cannot be changed' })),
    status: Type.Optional(Status),
    events: Keys('event types to push; none: all'),
    labels: Keys('keys of labels to attach'),
    httpConfig: Type.Optional(Type.Union([HttpConfig, Type.Null()])),
    streamConfig: Type.Optional(Type.Union([StreamConfig, Type.Null()], { description: 'of type STREAM, with no httpConfig' })),
    azureServiceBusConfig: Other,
    azureEventHubConfig: Other,
    pubsubConfig: Other,
    awsSqsConfig: Other,
  },
  {
    additionalProperties: false,
    examples: [
      {
        displayName: 'plant-historian',
        type: 'HTTP_PUSH',
        status: 'ACTIVE',
        events: ['temperature'],
        labels: ['zone'],
        httpConfig: { url: 'https://hist.example.com/hook', signatureSecret: 's3cret', headers: { 'x-site': '7' } },
      },
    ],
  },
)
/** What a mask may name. */
export const FIELDS = [
  ...Object.keys(ConnectorBody.properties),
  ...Object.keys(HttpConfig.properties).map(name => `httpConfig.${name}`),
  ...Object.keys(StreamConfig.properties).map(name => `streamConfig.${name}`),
]
export const ConnectorAnswer = Type.Object({
  name: Type.String(),
  displayName: Type.String(),
  type: Type.Union([Type.Literal('HTTP_PUSH'), Type.Literal('STREAM')]),
  status: Status,
  events: Type.Array(Type.String()),
  labels: Type.Array(Type.String()),
  httpConfig: Type.Optional(
    Type.Object(
      {
        url: Type.String(),
        signatureSecret: Type.String({ description: 'empty for callers who may not change it' }),
        headers: Type.Record(Type.String(), Type.String(), { description: 'values are empty for callers who may not change them' }),
      },
      { description: 'of type HTTP_PUSH' },
    ),
  ),
  streamConfig: Type.Optional(Type.Object({ stream: Type.String() }, { description: 'of type STREAM' })),
})
export const TaskAnswer = Type.Object({
  done: Type.Boolean(),
  eventCount: Type.Integer({ description: 'pushed so far' }),
  startTime: Type.Optional(Type.String()),
  endTime: Type.Optional(Type.String()),
})
export const MetricsAnswer = Type.Object({
  metrics: Type.Object(
    { successCount: Type.Integer(), errorCount: Type.Integer(), latency99p: Type.String() },
    { description: 'of the last three hours' },
  ),
  progress: Type.Object({
    openCount: Type.Integer({ description: 'events under way or to be tried again' }),
    gapCount: Type.Integer({ description: 'times that events were gone before they could be pushed' }),
    droppedCount: Type.Integer({ description: 'events given up because the receiver refused them and took others' }),
    failingSince: Type.Union([Type.String(), Type.Null()]),
    lastError: Type.String(),
    sync: Type.Union([TaskAnswer, Type.Null()]),
    replay: Type.Union([TaskAnswer, Type.Null()]),
  }),
})
export const ReplayBody = Type.Object(
  {
    startTime: Type.String({ description: 'RFC 3339; events accepted at this time or later' }),
    endTime: Type.Optional(Type.String({ description: 'RFC 3339; and before this one; now, when left out' })),
  },
  { additionalProperties: false, examples: [{ startTime: '2025-03-02T06:00:00Z', endTime: '2025-03-02T07:00:00Z' }] },
)
