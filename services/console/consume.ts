// Consuming a subscription over plain HTTP: pull, ack, nack.
import { Failure, invalid } from '../../packages/core/failure.ts'
import type { Identity } from '../../packages/identity/identity.ts'
import { parseMessageId } from '../../packages/log/durable/message.ts'
import type { Ref, StreamRecord } from '../../packages/log/durable/stream.ts'
import type { Subscription } from '../../packages/log/durable/subscription.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { Empty } from '../../packages/runtime/schema.ts'
import { messageToJson } from './message.ts'
import type { Pulls } from './pull.ts'
import type { StreamPorts } from './stream.ts'
import { AckBody, NackBody, OneSubscription, PullAnswer, PullBody, tags } from './streamschema.ts'
import { ONE_SUBSCRIPTION } from './subscription.ts'

const MOST = 10
const LEASE_MS = 30_000

export function addConsumeRoutes(app: HttpApp, ports: StreamPorts & { readonly identity: Pick<Identity, 'watch'> }, pulls: Pulls): void {
  app.addHook('preClose', async () => pulls.stop())
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
      const found = await find(ports, project, stream, subscription)
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const { maxMessages: most = MOST, waitMs = 0, leaseMs = LEASE_MS } = request.body
      let revoked: Failure | undefined
      const unwatch = ports.identity.watch(
        caller,
        (reason, all) => {
          revoked = new Failure(all ? 'unauthenticated' : 'forbidden', reason)
          gone.abort()
        },
        project,
      )
      try {
        const deliveries = await pulls.pull(found.ref, found.subscription, { most, waitMs, leaseMs, gone: gone.signal })
        if (revoked && deliveries.length === 0) throw revoked
        const { record } = found.ref
        return {
          messages: deliveries.map(({ message, redeliveries }) => ({ ...messageToJson(record, message), redeliveryCount: redeliveries })),
        }
      } finally {
        unwatch()
      }
    },
  )
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
      const { ref, subscription: known } = await find(ports, project, stream, subscription)
      await pulls.ack(ref, known, seqsOf(ref.record, request.body.messageIds))
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
      const { ref, subscription: known } = await find(ports, project, stream, subscription)
      await pulls.nack(ref, known, seqsOf(ref.record, request.body.messageIds), request.body.delayMs ?? 0)
      return {}
    },
  )
}

async function find(
  { durable, subscriptions }: StreamPorts,
  project: string,
  stream: string,
  name: string,
): Promise<{ ref: Ref; subscription: Subscription }> {
  const ref = { project, record: await durable.get(project, stream) }
  const subscription = await subscriptions.get(ref, name)
  return { ref, subscription }
}

function seqsOf(record: StreamRecord, ids: readonly string[]): number[] {
  return ids.map((id, i) => {
    const seq = parseMessageId(record, id)
    if (seq === undefined) throw invalid(`messageIds.${i}`, 'expected the messageId of a message of this stream')
    return seq
  })
}
