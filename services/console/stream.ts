// Durable streams: made, changed, looked at and removed by people and their programs. Their messages are in message.ts.
import type { Static } from 'typebox'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { checkStreamName } from '../../packages/core/stream.ts'
import { formatDuration, parseDuration } from '../../packages/core/time.ts'
import type { StreamSummary } from '../../packages/log/durable/statistic.ts'
import type { DurableStreams, Ref, Retention, StreamRecord, StreamSettings } from '../../packages/log/durable/stream.ts'
import { DEFAULT_RETENTION, missing } from '../../packages/log/durable/stream.ts'
import type { Subscriptions } from '../../packages/log/durable/subscription.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { encodeToken, pageIn } from '../../packages/runtime/page.ts'
import { Empty, listOf } from '../../packages/runtime/schema.ts'
import { masked, UpdateMask } from './mask.ts'
import { FIELDS, Force, InProject, NewStreamBody, OneStream, StreamAnswer, StreamBody, StreamsQuery, tags } from './streamschema.ts'

export type StreamPorts = { readonly durable: DurableStreams; readonly subscriptions: Subscriptions }

type Body = Static<typeof StreamBody>

export const STREAMS = '/v2/projects/:project/streams'
export const ONE_STREAM = `${STREAMS}/:stream`

export function addDurableStreamRoutes(app: HttpApp, ports: StreamPorts): void {
  addReading(app, ports)
  addChanging(app, ports)
}

function addReading(app: HttpApp, ports: StreamPorts): void {
  const { durable } = ports
  app.get(
    STREAMS,
    {
      schema: {
        operationId: 'listStreams',
        summary: 'Lists durable streams, with statistics',
        tags,
        params: InProject,
        querystring: StreamsQuery,
        response: { 200: listOf('streams', StreamAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      return listStreams(ports, project, request.query)
    },
  )
  app.get(
    ONE_STREAM,
    {
      schema: {
        operationId: 'getStream',
        summary: 'Gets a durable stream, with statistics',
        tags,
        params: OneStream,
        response: { 200: StreamAnswer },
      },
    },
    async request => {
      const { project, stream } = request.params
      callerIn(request, project)
      return present(ports, { project, record: await durable.get(project, stream) })
    },
  )
}

function addChanging(app: HttpApp, ports: StreamPorts): void {
  const { durable } = ports
  app.post(
    STREAMS,
    {
      schema: {
        operationId: 'createStream',
        summary: 'Creates a durable stream; 409 when its name is taken',
        tags,
        params: InProject,
        body: NewStreamBody,
        response: { 200: StreamAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'developer')
      const { name, ...settings } = request.body
      checkStreamName(name, 'name')
      return present(ports, { project, record: await durable.create(project, name, settingsOf(settings, DEFAULT_RETENTION)) })
    },
  )
  app.put(
    ONE_STREAM,
    {
      schema: {
        operationId: 'putStream',
        summary: 'Creates a durable stream, or gives it these settings; its messages stay',
        tags,
        params: OneStream,
        body: StreamBody,
        response: { 200: StreamAnswer },
      },
    },
    async request => {
      const { project, stream } = request.params
      callerIn(request, project, 'developer')
      const settings = { ...NO_SETTINGS, ...settingsOf(request.body, DEFAULT_RETENTION) }
      await durable.ensure(project, stream, settings)
      return present(ports, { project, record: await durable.update(project, stream, settings) })
    },
  )
  app.patch(
    ONE_STREAM,
    {
      schema: {
        operationId: 'updateStream',
        summary: 'Changes what is given',
        tags,
        params: OneStream,
        querystring: UpdateMask,
        body: StreamBody,
        response: { 200: StreamAnswer },
      },
    },
    async request => {
      const { project, stream } = request.params
      callerIn(request, project, 'developer')
      const body = masked(request.query.updateMask, request.body, FIELDS)
      const record = await durable.update(project, stream, ({ retention }) => settingsOf(body, retention))
      return present(ports, { project, record })
    },
  )
  app.delete(
    ONE_STREAM,
    {
      schema: {
        operationId: 'deleteStream',
        summary: 'Deletes a durable stream with its messages and subscriptions; 409 while consumers are connected, unless it is forced',
        tags,
        params: OneStream,
        querystring: Force,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, stream } = request.params
      callerIn(request, project, 'developer')
      if (request.query.force !== true) await checkUnused(ports, { project, record: await durable.get(project, stream) })
      await durable.remove(project, stream)
      return {}
    },
  )
}

async function checkUnused({ subscriptions }: StreamPorts, stream: Ref): Promise<void> {
  const names = (await subscriptions.listOfClients(stream)).map(({ name }) => name)
  const used = (await subscriptions.statsOf(stream, names)).find(({ consumers }) => consumers.length > 0)
  if (!used) return
  const message = `stream ${stream.record.name} has consumers, of subscription ${used.name}: close them, or ask with force=true`
  throw new Failure('conflict', message, { field: 'consumers' })
}

const NO_SETTINGS = { retention: DEFAULT_RETENTION, schema: undefined, decoder: undefined, description: undefined }

/** What the body gives; of the retention, what it does not give stays. */
function settingsOf({ description, retention, schema, decoder }: Body, before: Retention): Partial<StreamSettings> {
  return {
    ...(description === undefined ? {} : { description }),
    ...(retention === undefined ? {} : { retention: retentionOf(retention, before) }),
    ...(schema === undefined ? {} : { schema: schema ?? undefined }),
    ...(decoder === undefined ? {} : { decoder: decoder ?? undefined }),
  }
}

function retentionOf({ maxAge, maxBytes, untilAcked }: NonNullable<Body['retention']>, before: Retention): Retention {
  const maxAgeMs = maxAge === undefined ? before.maxAgeMs : parseDuration(maxAge)
  if (maxAgeMs === undefined) throw invalid('retention.maxAge', 'expected a duration such as 90s, 12h or 30d; 0s: for ever')
  return { maxAgeMs, maxBytes: maxBytes ?? before.maxBytes, untilAcked: untilAcked ?? before.untilAcked }
}

export function resourceOf(project: string, { name }: StreamRecord): string {
  return `projects/${project}/streams/${encodeURIComponent(name)}`
}

/** Rates fade and never end. */
export function rounded(rate: number): number {
  return Math.round(rate * 1000) / 1000
}

export function timeOf(ms: number): string {
  return new Date(ms).toISOString()
}

/** A page ends early where the subscriptions of its streams are many. What is removed meanwhile is left out. */
async function listStreams({ durable, subscriptions }: StreamPorts, project: string, { query, ...request }: Static<typeof StreamsQuery>) {
  const words = (query ?? '').toLowerCase().split(/\s+/)
  const names = (await durable.streamNames(project)).filter(name => words.every(word => name.toLowerCase().includes(word)))
  const asked = pageIn(names, name => name, request)
  const refs = (await durable.records(project, asked.page)).map(record => ({ project, record }))
  const summaries = await subscriptions.summaries(refs)
  const streams = summaries.flatMap((summary, i) => (summary ? [toJson(refs[i] as Ref, summary)] : []))
  const next = summaries.length < refs.length ? refs[summaries.length - 1] : undefined
  return { streams, nextPageToken: next ? encodeToken(next.record.name) : asked.nextPageToken }
}

async function present({ subscriptions }: StreamPorts, stream: Ref): Promise<Static<typeof StreamAnswer>> {
  const [summary] = await subscriptions.summaries([stream])
  if (!summary) throw missing(stream.record.name)
  return toJson(stream, summary)
}

function toJson({ project, record }: Ref, summary: StreamSummary): Static<typeof StreamAnswer> {
  return {
    name: record.name,
    resource: resourceOf(project, record),
    createTime: record.createTime,
    description: record.description ?? '',
    retention: {
      maxAge: record.retention.maxAgeMs === 0 ? '0s' : formatDuration(record.retention.maxAgeMs),
      maxBytes: record.retention.maxBytes,
      untilAcked: record.retention.untilAcked,
    },
    schema: record.schema ?? null,
    decoder: record.decoder ?? null,
    owner: summary.owner ?? null,
    stats: {
      messageCount: summary.messages,
      bytes: summary.bytes,
      appendedCount: summary.lastSeq,
      firstSeq: summary.firstSeq,
      lastSeq: summary.lastSeq,
      oldestTime: summary.oldestMs === undefined ? null : timeOf(summary.oldestMs),
      messagesPerSecond: rounded(summary.rateIn),
      bytesPerSecond: rounded(summary.byteRateIn),
      deliveredPerSecond: rounded(summary.rateOut),
      subscriptionCount: summary.subscriptions,
      consumerCount: summary.consumers,
      backlogCount: summary.backlog,
      backlogAgeMs: summary.backlogAgeMs,
    },
  }
}
