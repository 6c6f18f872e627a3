// Data connectors: programs to which the project's events are pushed (contracts.md 1.a.9), and durable streams into which they are copied.
import { type Static, Type } from 'typebox'
import { checkEventType } from '../../packages/core/event.ts'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { DEVICES } from '../../packages/core/stream.ts'
import { checkTime } from '../../packages/core/time.ts'
import { type Identity, roleIn } from '../../packages/identity/identity.ts'
import { covers } from '../../packages/identity/role.ts'
import type { DurableStreams } from '../../packages/log/durable/stream.ts'
import type { Log } from '../../packages/log/log.ts'
import type { Outbound } from '../../packages/outbound/outbound.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { newId } from '../../packages/runtime/id.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { AttemptSummary } from '../../packages/state/attempt.ts'
import type { Connector, Connectors, Progress, ReplayRange, Task } from '../../packages/state/connector.ts'
import { ConnectorAnswer, ConnectorBody, FIELDS, MetricsAnswer, ReplayBody, type TaskAnswer } from './connectorschema.ts'
import { checkHeaders } from './header.ts'
import { masked, UpdateMask } from './mask.ts'

export type ConnectorRoutePorts = {
  readonly connectors: Connectors
  readonly log: Log
  readonly identity: Identity
  readonly durable: Pick<DurableStreams, 'find' | 'owner'>
  /** The guard that pushing passes too. */
  readonly connectorOutbound: Outbound
  attempts(project: string, connector: string): Promise<AttemptSummary>
  nowUs(): number
}

const project = ProjectId
const tags = ['dataconnectors']
const One = Type.Object({ project, dataconnector: Type.String({ examples: ['cr20v0p8d2kq0f5m3n7a'] }) })
const ALL = '/v2/projects/:project/dataconnectors'
const ONE = `${ALL}/:dataconnector`
const MAX_PAGE = 100
/** However long they are, the properties of a message can hold them. */
const MAX_COPIED_LABELS = 24
const NOT_CONFIGS = ['azureServiceBusConfig', 'azureEventHubConfig', 'pubsubConfig', 'awsSqsConfig'] as const
/** Beyond every sequence number of a millisecond. */
const LAST_OF_MS = Number.MAX_SAFE_INTEGER

type Body = Static<typeof ConnectorBody>

export function addConnectorRoutes(app: HttpApp, ports: ConnectorRoutePorts): void {
  addReading(app, ports)
  addChanging(app, ports)
  addTasks(app, ports)
}

function addReading(app: HttpApp, { connectors, identity, attempts }: ConnectorRoutePorts): void {
  app.get(
    ALL,
    {
      schema: {
        operationId: 'listDataConnectors',
        summary: 'Lists data connectors',
        tags,
        params: Type.Object({ project }),
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('dataConnectors', ConnectorAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      const mayChange = covers(roleIn(callerIn(request, project), project), 'developer')
      const after = decodeToken(request.query.pageToken) ?? ''
      const limit = Math.min(request.query.pageSize ?? MAX_PAGE, MAX_PAGE)
      const all = (await connectors.list(project)).filter(({ id }) => id > after)
      const page = all.slice(0, limit)
      const last = all.length > limit ? page.at(-1) : undefined
      return {
        dataConnectors: page.map(connector => toJson(project, connector, identity, mayChange)),
        nextPageToken: last ? encodeToken(last.id) : '',
      }
    },
  )
  app.get(
    ONE,
    { schema: { operationId: 'getDataConnector', summary: 'One data connector', tags, params: One, response: { 200: ConnectorAnswer } } },
    async request => {
      const { project, dataconnector } = request.params
      const mayChange = covers(roleIn(callerIn(request, project), project), 'developer')
      return toJson(project, await connectors.one(project, dataconnector), identity, mayChange)
    },
  )
  app.get(
    verb(ONE, 'metrics'),
    {
      schema: {
        operationId: 'getDataConnectorMetrics',
        summary: 'How a data connector did in the last three hours, and what it is doing',
        tags,
        params: One,
        response: { 200: MetricsAnswer },
      },
    },
    async request => {
      const { project, dataconnector } = request.params
      callerIn(request, project)
      const connector = await connectors.one(project, dataconnector)
      const [summary, progress] = await Promise.all([attempts(project, connector.id), connectors.progress(project, connector)])
      return toMetrics(summary, progress)
    },
  )
}

function addChanging(app: HttpApp, ports: ConnectorRoutePorts): void {
  const { connectors, log, identity } = ports
  app.post(
    ALL,
    {
      schema: {
        operationId: 'createDataConnector',
        summary: 'Creates a data connector; events accepted from now on are pushed',
        tags,
        params: Type.Object({ project }),
        body: ConnectorBody,
        response: { 200: ConnectorAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'developer')
      const connector = changed(ports, emptyConnector(newId(), identity, request.body), requireConfig(request.body))
      await requireStream(ports, project, connector)
      await connectors.create(project, connector, await log.last(project))
      return toJson(project, connector, identity, true)
    },
  )
  app.patch(
    ONE,
    {
      schema: {
        operationId: 'updateDataConnector',
        summary: 'Changes what is given; a data connector that is disabled drops events, one that is enabled begins with the next',
        tags,
        params: One,
        querystring: UpdateMask,
        body: ConnectorBody,
        response: { 200: ConnectorAnswer },
      },
    },
    async request => {
      const { project, dataconnector } = request.params
      callerIn(request, project, 'developer')
      const body = masked(request.query.updateMask, request.body, FIELDS)
      if (body.streamConfig?.stream !== undefined) await requireStream(ports, project, { stream: body.streamConfig.stream })
      const after = await connectors.change(project, dataconnector, before => changed(ports, before, body), await log.last(project))
      return toJson(project, after, identity, true)
    },
  )
  app.delete(
    ONE,
    { schema: { operationId: 'deleteDataConnector', summary: 'Deletes a data connector', tags, params: One, response: { 200: Empty } } },
    async request => {
      const { project, dataconnector } = request.params
      callerIn(request, project, 'developer')
      await connectors.remove(project, dataconnector)
      return {}
    },
  )
}

function addTasks(app: HttpApp, { connectors, log, nowUs }: ConnectorRoutePorts): void {
  app.post(
    verb(ONE, 'sync'),
    {
      schema: {
        operationId: 'syncDataConnector',
        summary: 'Pushes the latest event of each type of every device, in the background',
        tags,
        params: One,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, dataconnector } = request.params
      callerIn(request, project, 'developer')
      requireActive(await connectors.one(project, dataconnector))
      // One that is under way does what was asked for: what changes behind it is pushed anyhow.
      await connectors.request(project, dataconnector, 'sync', { id: newId(), range: undefined })
      return {}
    },
  )
  app.post(
    verb(ONE, 'replay'),
    {
      schema: {
        operationId: 'replayDataConnector',
        summary: 'Pushes the events of a range of the past again, in the background',
        tags,
        params: One,
        body: ReplayBody,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, dataconnector } = request.params
      callerIn(request, project, 'developer')
      requireActive(await connectors.one(project, dataconnector))
      const range = rangeOf(request.body, nowUs(), await log.last(project))
      if (!(await connectors.request(project, dataconnector, 'replay', { id: newId(), range })))
        throw new Failure('conflict', `data connector ${dataconnector} is replaying already: its metrics tell how far it is`)
      return {}
    },
  )
}

function requireActive({ id, status }: Connector): void {
  if (status !== 'ACTIVE') throw new Failure('conflict', `data connector ${id} is ${status}: set its status to ACTIVE first`)
}

function emptyConnector(id: string, identity: Identity, { type, streamConfig }: Body): Connector {
  const nothing = { displayName: '', events: [], labels: [], url: '' }
  const stream = type === 'STREAM' ? (streamConfig?.stream ?? '') : undefined
  return { id, status: 'ACTIVE', ...nothing, headers: identity.seal('{}'), signatureSecret: identity.seal(''), stream }
}

function requireConfig(body: Body): Body {
  const { type, httpConfig, streamConfig } = body
  if (type === undefined) throw invalid('type', 'expected HTTP_PUSH or STREAM, but missing')
  if (type === 'HTTP_PUSH' && httpConfig?.url === undefined) throw invalid('httpConfig.url', 'expected a string, but it is missing')
  if (type === 'STREAM' && streamConfig?.stream === undefined) throw invalid('streamConfig.stream', 'expected a string, but it is missing')
  return body
}

/** Later it may go: then the connector waits until there is one of that name again. */
async function requireStream({ durable }: ConnectorRoutePorts, project: string, { stream }: Pick<Connector, 'stream'>): Promise<void> {
  if (stream === undefined) return
  if (stream === DEVICES) throw invalid('streamConfig.stream', `expected another one than ${DEVICES}, which has the device events anyhow`)
  const record = await durable.find(project, stream)
  if (!record)
    throw invalid(
      'streamConfig.stream',
      `project ${project} has no durable stream ${JSON.stringify(stream.slice(0, 100))}: create it first`,
    )
  if ((await durable.owner({ project, record })) !== undefined)
    throw invalid(
      'streamConfig.stream',
      `the stream ${stream} belongs to its one producer, and takes nothing of anybody else: name another`,
    )
}

function typeOf({ stream }: Pick<Connector, 'stream'>): 'HTTP_PUSH' | 'STREAM' {
  return stream === undefined ? 'HTTP_PUSH' : 'STREAM'
}

function checkType(body: Body, before: Connector): void {
  const type = typeOf(before)
  if (body.type !== undefined && body.type !== 'HTTP_PUSH' && body.type !== 'STREAM')
    throw invalid(
      'type',
      `expected HTTP_PUSH or STREAM, which are the types supported here, got ${JSON.stringify(body.type.slice(0, 100))}`,
    )
  if (body.type !== undefined && body.type !== type) throw invalid('type', `expected ${type}: a data connector keeps its type`)
  for (const name of NOT_CONFIGS)
    if (body[name] !== undefined && body[name] !== null)
      throw invalid(name, 'expected none: of types only HTTP_PUSH and STREAM are supported here')
  const other = type === 'STREAM' ? 'httpConfig' : 'streamConfig'
  if (body[other] !== undefined && body[other] !== null) throw invalid(other, `expected none with type ${type}`)
}

/** What the body gives, in place of what was. */
function changed({ identity, connectorOutbound }: ConnectorRoutePorts, before: Connector, body: Body): Connector {
  checkType(body, before)
  const { displayName = before.displayName, status = before.status, httpConfig } = body
  if (status === 'SYSTEM_DISABLED' && before.status !== status) throw invalid('status', 'expected ACTIVE or USER_DISABLED')
  if (httpConfig?.url !== undefined) connectorOutbound.checkUrl(httpConfig.url, 'httpConfig.url')
  if (httpConfig?.headers) checkHeaders(httpConfig.headers, 'httpConfig.headers')
  const { headers, signatureSecret } = httpConfig ?? {}
  return {
    id: before.id,
    displayName,
    status,
    events: body.events === undefined ? before.events : eventsOf(body.events ?? []),
    labels: body.labels === undefined ? before.labels : labelsOf(body.labels ?? [], before),
    url: httpConfig?.url ?? before.url,
    headers: headers === undefined ? before.headers : resealed(identity, before.headers, JSON.stringify(headers ?? {})),
    signatureSecret: signatureSecret === undefined ? before.signatureSecret : resealed(identity, before.signatureSecret, signatureSecret),
    stream: body.streamConfig?.stream ?? before.stream,
  }
}

/** What says the same stays as it was sealed: by that it is known that the receiver is no other one. */
function resealed(identity: Identity, before: string, text: string): string {
  return opened(identity, before) === text ? before : identity.seal(text)
}

/** Undefined: it was sealed with another key, and can only be replaced. */
function opened(identity: Identity, sealed: string): string | undefined {
  try {
    return identity.unseal(sealed)
  } catch {
    return undefined
  }
}

function eventsOf(events: readonly string[]): string[] {
  return [...new Set(events.map((eventType, i) => checkEventType(eventType, `events.${i}`)))]
}

function labelsOf(labels: readonly string[], { stream }: Pick<Connector, 'stream'>): string[] {
  if (stream !== undefined && labels.length > MAX_COPIED_LABELS)
    throw invalid('labels', `expected at most ${MAX_COPIED_LABELS} with type STREAM, got ${labels.length}`)
  for (const [i, key] of labels.entries())
    if (key === '' || key.length > 128) throw invalid(`labels.${i}`, 'expected a label key of 1 to 128 characters')
  return [...new Set(labels)]
}

/** By the time of acceptance, which is the order of the log: what an outage of the receiver missed is in the range of that outage. */
function rangeOf({ startTime, endTime }: Static<typeof ReplayBody>, nowUs: number, last: string): ReplayRange {
  const startUs = checkTime(startTime, 'startTime')
  const endUs = endTime === undefined ? nowUs : checkTime(endTime, 'endTime')
  if (endUs <= startUs) throw invalid('endTime', 'expected a time after startTime')
  const until = endUs >= nowUs ? last : before(endUs)
  return { after: before(startUs), until, startTime, endTime: endTime ?? new Date(nowUs / 1000).toISOString() }
}

/** The last id before this time. */
function before(timeUs: number): string {
  const ms = Math.floor(timeUs / 1000) - 1
  return ms < 0 ? '0-0' : `${ms}-${LAST_OF_MS}`
}

/** Of type HTTP_PUSH nothing else than its clients know. */
function toJson(project: string, connector: Connector, identity: Identity, mayChange: boolean): Static<typeof ConnectorAnswer> {
  const { id, displayName, status, events, labels, stream } = connector
  return {
    name: `projects/${project}/dataconnectors/${id}`,
    displayName,
    type: typeOf(connector),
    status,
    events: [...events],
    labels: [...labels],
    ...(stream === undefined ? { httpConfig: toHttpConfig(connector, identity, mayChange) } : { streamConfig: { stream } }),
  }
}

/** Secrets are shown to those who may change them, as the dialect's clients expect: they compare what they set with what is there. */
function toHttpConfig({ url, ...connector }: Connector, identity: Identity, mayChange: boolean) {
  const headers = JSON.parse(identity.unseal(connector.headers)) as Record<string, string>
  const shown = mayChange ? headers : Object.fromEntries(Object.keys(headers).map(name => [name, '']))
  return { url, signatureSecret: mayChange ? identity.unseal(connector.signatureSecret) : '', headers: shown }
}

function toMetrics({ successCount, errorCount, latency99Ms }: AttemptSummary, progress: Progress): Static<typeof MetricsAnswer> {
  const { failing, open, gaps, dropped, tasks } = progress
  return {
    metrics: { successCount, errorCount, latency99p: `${(latency99Ms / 1000).toFixed(3)}s` },
    progress: {
      openCount: open,
      gapCount: gaps,
      droppedCount: dropped,
      failingSince: failing ? new Date(failing.sinceMs).toISOString() : null,
      lastError: failing?.detail ?? '',
      sync: toTask(tasks.sync),
      replay: toTask(tasks.replay),
    },
  }
}

function toTask(task: Task | undefined): Static<typeof TaskAnswer> | null {
  if (!task) return null
  const { done, events, range } = task
  return { done, eventCount: events, ...(range ? { startTime: range.startTime, endTime: range.endTime } : {}) }
}
