// Consuming a subscription over plain HTTP: pull, ack, nack.
import { Failure, invalid } from '../../packages/core/failure.ts'
import { type Caller, type Identity, requireRole } from '../../packages/identity/identity.ts'
import type { Dispatch } from '../../packages/log/durable/dispatch.ts'
import { parseMessageId } from '../../packages/log/durable/message.ts'
import type { StreamRecord } from '../../packages/log/durable/stream.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { Empty } from '../../packages/runtime/schema.ts'
import { messageToJson } from './message.ts'
import { Pulls } from './pull.ts'
import { DEFAULT_LEASE_MS } from './puller.ts'
import type { StreamPorts } from './stream.ts'
import { AckBody, NackBody, OneSubscription, PullAnswer, PullBody, tags } from './streamschema.ts'
import { ONE_SUBSCRIPTION } from './subscription.ts'

export type ConsumePorts = StreamPorts & {
  readonly identity: Pick<Identity, 'watch' | 'renew'>
  readonly dispatch: Pick<Dispatch, 'join' | 'ack' | 'nack'>
}

const MOST = 10

export function addConsumeRoutes(app: HttpApp, ports: ConsumePorts): void {
  const pulls = new Pulls(ports)
  app.addHook('preClose', () => pulls.stop())
  addPulling(app, ports, pulls)
  addAcking(app, ports)
}

function addPulling(app: HttpApp, { durable, subscriptions, identity }: ConsumePorts, pulls: Pulls): void {
  app.post(
    verb(ONE_SUBSCRIPTION, 'pull'),
    {
      config: { limit: 'ingest' },
      schema: {
        operationId: 'pullMessages',
        summary: 'Takes the next messages of a subscription; what is not acked before its lease ends is delivered again',
        tags,
        params: OneSubscription,
        body: PullBody,
        response: { 200: PullAnswer },
      },
    },
    async (request, reply) => {
      const { project, stream, subscription } = request.params
      const caller = callerIn(request, project, 'developer')
      const ref = { project, record: await durable.get(project, stream) }
      const known = await subscriptions.get(ref, subscription)
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const check = () => checkStill(identity, caller, project)
      // Of rights that are less now but enough the caller is answered that there is nothing, and asks again.
      const ended = () =>
        void check().then(
          () => gone.abort(),
          (failure: unknown) => gone.abort(failure),
        )
      const unwatch = identity.watch(caller, ended, project)
      const { maxMessages: most = MOST, waitMs = 0, leaseMs = DEFAULT_LEASE_MS } = request.body
      const options = { most, waitMs, leaseMs, gone: gone.signal, check }
      const deliveries = await pulls.pull(caller.keyId, ref, known, options).finally(unwatch)
      return {
        messages: deliveries.map(({ message, redeliveries }) => ({ ...messageToJson(ref.record, message), redeliveryCount: redeliveries })),
      }
    },
  )
}

function addAcking(app: HttpApp, { durable, dispatch }: ConsumePorts): void {
  app.post(
    verb(ONE_SUBSCRIPTION, 'ack'),
    {
      config: { limit: 'ingest' },
      schema: {
        operationId: 'ackMessages',
        summary: 'Acks messages that were pulled: they are not delivered again',
        tags,
        params: OneSubscription,
        body: AckBody,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, stream, subscription } = request.params
      callerIn(request, project, 'developer')
      const ref = { project, record: await durable.get(project, stream) }
      await dispatch.ack(ref, subscription, seqsOf(ref.record, request.body.messageIds))
      return {}
    },
  )
  app.post(
    verb(ONE_SUBSCRIPTION, 'nack'),
    {
      config: { limit: 'ingest' },
      schema: {
        operationId: 'nackMessages',
        summary: 'Gives messages back that were pulled: they are delivered again',
        tags,
        params: OneSubscription,
        body: NackBody,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, stream, subscription } = request.params
      callerIn(request, project, 'developer')
      const ref = { project, record: await durable.get(project, stream) }
      await dispatch.nack(ref, subscription, seqsOf(ref.record, request.body.messageIds), request.body.delayMs ?? 0)
      return {}
    },
  )
}

/** @throws Failure when the caller may not pull any more. */
async function checkStill(identity: ConsumePorts['identity'], caller: Caller, project: string): Promise<void> {
  const now = await identity.renew(caller)
  if (!now) throw new Failure('unauthenticated', 'the credentials do not hold any more')
  requireRole(now, project, 'developer')
}

function seqsOf(record: StreamRecord, ids: readonly string[]): number[] {
  return ids.map((id, i) => {
    const seq = parseMessageId(record, id)
    if (seq === undefined) throw invalid(`messageIds.${i}`, 'expected the messageId of a message of this stream')
    return seq
  })
}
