// Durable streams: made, changed, looked at and removed by people and their programs. Their messages are in message.ts.
import { type Static, Type } from 'typebox'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { formatDuration, parseDuration } from '../../packages/core/time.ts'
import type { DurableStreams, Ref, Retention, StreamRecord, StreamSettings } from '../../packages/log/durable/stream.ts'
import { DEFAULT_RETENTION } from '../../packages/log/durable/stream.ts'
import type { Subscriptions } from '../../packages/log/durable/subscription.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { pageIn } from '../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery } from '../../packages/runtime/schema.ts'
import { masked, UpdateMask } from './mask.ts'
import { FIELDS, Force, InProject, NewStreamBody, OneStream, StreamAnswer, StreamBody, tags } from './streamschema.ts'

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
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('streams', StreamAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const { page, nextPageToken } = pageIn(await durable.list(project), ({ name }) => name, request.query)
      const streams = await Promise.all(page.map(record => toJson(ports, { project, record }).catch(unlessRemoved)))
      return { streams: streams.filter(stream => stream !== undefined), nextPageToken }
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
      return toJson(ports, { project, record: await durable.get(project, stream) })
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
      return toJson(ports, { project, record: await durable.create(project, name, settingsOf(settings, DEFAULT_RETENTION)) })
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
      return toJson(ports, { project, record: await durable.update(project, stream, settings) })
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
      const { retention } = await durable.get(project, stream)
      return toJson(ports, { project, record: await durable.update(project, stream, settingsOf(body, retention)) })
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
  const all = await subscriptions.listOfClients(stream)
  const found = await Promise.all(all.map(({ name }) => subscriptions.stats(stream, name).catch(unlessRemoved)))
  const used = found.find(stats => stats && stats.consumers.length > 0)
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

/** A list is not spoilt by what was removed while it was made. */
export function unlessRemoved(error: unknown): undefined {
  if (!(error instanceof Failure) || error.code !== 'not_found') throw error
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

async function toJson(ports: StreamPorts, stream: Ref): Promise<Static<typeof StreamAnswer>> {
  const { record, project } = stream
  const [stats, subscriptions] = await Promise.all([ports.durable.stats(stream), statsOfSubscriptions(ports, stream)])
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
    owner: stats.owner ?? null,
    stats: {
      messageCount: stats.messages,
      bytes: stats.bytes,
      appendedCount: stats.lastSeq,
      firstSeq: stats.firstSeq,
      lastSeq: stats.lastSeq,
      oldestTime: stats.oldestMs === undefined ? null : timeOf(stats.oldestMs),
      messagesPerSecond: rounded(stats.rateIn),
      bytesPerSecond: rounded(stats.byteRateIn),
      ...subscriptions,
    },
  }
}

async function statsOfSubscriptions({ subscriptions }: StreamPorts, stream: Ref) {
  const all = await subscriptions.list(stream)
  const found = await Promise.all(all.map(({ name }) => subscriptions.stats(stream, name).catch(unlessRemoved)))
  const each = found.filter(stats => stats !== undefined)
  const sum = (of: (stats: (typeof each)[number]) => number) => each.reduce((total, stats) => total + of(stats), 0)
  return {
    deliveredPerSecond: rounded(sum(({ rateOut }) => rateOut)),
    subscriptionCount: each.length,
    consumerCount: sum(({ consumers }) => consumers.length),
    backlogCount: Math.max(0, ...each.map(({ backlog }) => backlog)),
    backlogAgeMs: Math.max(0, ...each.map(({ backlogAgeMs }) => backlogAgeMs)),
  }
}
