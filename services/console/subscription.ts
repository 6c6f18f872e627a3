// Subscriptions of durable streams: made, looked at, put back or forward, and removed.
import { type Static, Type } from 'typebox'
import { Failure } from '../../packages/core/failure.ts'
import { checkTime } from '../../packages/core/time.ts'
import type { Ref } from '../../packages/log/durable/stream.ts'
import type { SubscriptionStats } from '../../packages/log/durable/subscription.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { pageIn } from '../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery } from '../../packages/runtime/schema.ts'
import { ONE_STREAM, resourceOf, rounded, type StreamPorts } from './stream.ts'
import { Force, NewSubscriptionBody, OneStream, OneSubscription, ResetBody, SubscriptionAnswer, tags } from './streamschema.ts'

const SUBSCRIPTIONS = `${ONE_STREAM}/subscriptions`
export const ONE_SUBSCRIPTION = `${SUBSCRIPTIONS}/:subscription`

export function addSubscriptionRoutes(app: HttpApp, ports: StreamPorts): void {
  addReading(app, ports)
  addChanging(app, ports)
  addMoving(app, ports)
}

function addReading(app: HttpApp, { durable, subscriptions }: StreamPorts): void {
  app.get(
    SUBSCRIPTIONS,
    {
      schema: {
        operationId: 'listSubscriptions',
        summary: 'Lists the subscriptions of a stream, with statistics',
        tags,
        params: OneStream,
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('subscriptions', SubscriptionAnswer) },
      },
    },
    async request => {
      const { project, stream } = request.params
      callerIn(request, project)
      const ref = { project, record: await durable.get(project, stream) }
      const { page, nextPageToken } = pageIn(await subscriptions.names(ref), name => name, request.query)
      return { subscriptions: (await subscriptions.statsOf(ref, page)).map(stats => toJson(ref, stats)), nextPageToken }
    },
  )
  app.get(
    ONE_SUBSCRIPTION,
    {
      schema: {
        operationId: 'getSubscription',
        summary: 'Gets a subscription, with statistics',
        tags,
        params: OneSubscription,
        response: { 200: SubscriptionAnswer },
      },
    },
    async request => {
      const { project, stream, subscription } = request.params
      callerIn(request, project)
      const ref = { project, record: await durable.get(project, stream) }
      return toJson(ref, await subscriptions.stats(ref, subscription))
    },
  )
}

function addChanging(app: HttpApp, ports: StreamPorts): void {
  const { durable, subscriptions } = ports
  app.post(
    SUBSCRIPTIONS,
    {
      schema: {
        operationId: 'createSubscription',
        summary: 'Creates a subscription; one that is there already stays as it is, 409 when it is of another type',
        tags,
        params: OneStream,
        body: NewSubscriptionBody,
        response: { 200: SubscriptionAnswer },
      },
    },
    async request => {
      const { project, stream } = request.params
      callerIn(request, project, 'developer')
      const ref = { project, record: await durable.get(project, stream) }
      const { name, type, position } = request.body
      const start =
        position === undefined || position === 'oldest' || position === 'latest' ? position : await placeOf(ports, ref, position)
      await subscriptions.create(ref, name, type ?? 'shared', start)
      const stats = await subscriptions.stats(ref, name)
      if (type !== undefined && stats.type !== type)
        throw new Failure('conflict', `subscription ${name} exists already and is ${stats.type}`, { field: 'type' })
      return toJson(ref, stats)
    },
  )
  app.delete(
    ONE_SUBSCRIPTION,
    {
      schema: {
        operationId: 'deleteSubscription',
        summary: 'Deletes a subscription; 409 while consumers are connected, unless it is forced',
        tags,
        params: OneSubscription,
        querystring: Force,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, stream, subscription } = request.params
      callerIn(request, project, 'developer')
      const record = await durable.get(project, stream)
      await subscriptions.remove({ project, record }, subscription, { force: request.query.force === true })
      return {}
    },
  )
}

function addMoving(app: HttpApp, ports: StreamPorts): void {
  const { durable, subscriptions } = ports
  app.post(
    verb(ONE_SUBSCRIPTION, 'reset'),
    {
      schema: {
        operationId: 'resetSubscription',
        summary: 'Lets a subscription go on from another place, back or forward; what was delivered and not acked is forgotten',
        tags,
        params: OneSubscription,
        body: ResetBody,
        response: { 200: SubscriptionAnswer },
      },
    },
    async request => {
      const { project, stream, subscription } = request.params
      callerIn(request, project, 'developer')
      const ref = { project, record: await durable.get(project, stream) }
      await subscriptions.reset(ref, subscription, await placeOf(ports, ref, request.body.position))
      return toJson(ref, await subscriptions.stats(ref, subscription))
    },
  )
  app.post(
    verb(ONE_SUBSCRIPTION, 'clear'),
    {
      schema: {
        operationId: 'clearSubscription',
        summary: 'Drops the backlog of a subscription: it goes on with the next message',
        tags,
        params: OneSubscription,
        response: { 200: SubscriptionAnswer },
      },
    },
    async request => {
      const { project, stream, subscription } = request.params
      callerIn(request, project, 'developer')
      const ref = { project, record: await durable.get(project, stream) }
      await subscriptions.clearBacklog(ref, subscription)
      return toJson(ref, await subscriptions.stats(ref, subscription))
    },
  )
}

/** The place behind which it goes on. */
async function placeOf({ durable }: StreamPorts, stream: Ref, position: Static<typeof ResetBody>['position']): Promise<{ seq: number }> {
  if (position === 'oldest') return { seq: 0 }
  const { lastSeq } = await durable.stats(stream)
  if (position === 'latest') return { seq: lastSeq }
  if ('time' in position) return { seq: await durable.placeAt(stream, Math.ceil(checkTime(position.time, 'position.time') / 1000)) }
  if (position.afterSeq > lastSeq)
    throw new Failure('invalid', `position.afterSeq: expected a place up to ${lastSeq}, the last`, { field: 'position.afterSeq' })
  return { seq: position.afterSeq }
}

function toJson({ project, record }: Ref, stats: SubscriptionStats): Static<typeof SubscriptionAnswer> {
  const { name, type, createTime, consumers } = stats
  return {
    name,
    resource: `${resourceOf(project, record)}/subscriptions/${encodeURIComponent(name)}`,
    type,
    createTime,
    stats: {
      backlogCount: stats.backlog,
      unackedCount: stats.unacked,
      timedCount: stats.timed,
      backlogAgeMs: stats.backlogAgeMs,
      ackedCount: stats.acked,
      redeliveredCount: stats.redelivered,
      deadLetteredCount: stats.deadLettered,
      deliveredPerSecond: rounded(stats.rateOut),
    },
    consumers: consumers.map(({ id, name, unacked, active }) => ({ id, name, unackedCount: unacked, active })),
  }
}
