// Statistics of a stream in Pulsar's shape, as far as clients look at it.
import type { StreamStats } from '../../../../packages/log/durable/stream.ts'
import type { SubscriptionStats } from '../../../../packages/log/durable/subscription.ts'
import type { Topic } from './topic.ts'

const TYPES = { exclusive: 'Exclusive', shared: 'Shared', failover: 'Failover', key_shared: 'Key_Shared' } as const

export function statsOf(stream: StreamStats, subscriptions: readonly SubscriptionStats[]): object {
  const size = averageOf(stream)
  const rateOut = subscriptions.reduce((sum, { rateOut: rate }) => sum + rate, 0)
  const acked = subscriptions.reduce((sum, { acked: count }) => sum + count, 0)
  return {
    msgRateIn: stream.rateIn,
    msgThroughputIn: stream.byteRateIn,
    msgRateOut: rateOut,
    msgThroughputOut: rateOut * size,
    msgInCounter: stream.lastSeq,
    msgOutCounter: acked,
    averageMsgSize: size,
    storageSize: stream.bytes,
    backlogSize: Math.round(Math.max(0, ...subscriptions.map(({ backlog }) => backlog)) * size),
    publishers: [],
    subscriptions: Object.fromEntries(subscriptions.map(one => [one.name, subscriptionOf(one, size)])),
    replication: {},
    deduplicationStatus: 'Disabled',
  }
}

function subscriptionOf(subscription: SubscriptionStats, size: number): object {
  const { rateOut, backlog, unacked, timed, type, redelivered, backlogAgeMs, consumers } = subscription
  return {
    msgRateOut: rateOut,
    msgThroughputOut: rateOut * size,
    msgRateRedeliver: 0,
    msgRateExpired: 0,
    msgBacklog: backlog,
    backlogSize: Math.round(backlog * size),
    msgDelayed: timed,
    unackedMessages: unacked,
    blockedSubscriptionOnUnackedMsgs: false,
    type: TYPES[type],
    activeConsumerName: consumers.find(({ active }) => active)?.name ?? '',
    consumers: consumers.map(consumer => ({ consumerName: consumer.name, unackedMessages: consumer.unacked })),
    isReplicated: false,
    // Not of Pulsar.
    messagesRedelivered: redelivered,
    backlogAgeMs,
  }
}

export function backlogOf({ topic }: Topic, stream: StreamStats, subscriptions: readonly SubscriptionStats[]): object {
  const backlogs = subscriptions.map(({ name, backlog }) => [name, { cursorBacklog: backlog }] as const)
  return {
    topicName: topic,
    storageSize: stream.bytes,
    totalMessages: stream.messages,
    messageBacklog: Math.max(0, ...subscriptions.map(({ backlog }) => backlog)),
    averageMessageSize: averageOf(stream),
    dataLedgerDetails: [],
    cursorDetails: Object.fromEntries(backlogs),
  }
}

function averageOf({ bytes, messages }: StreamStats): number {
  return messages === 0 ? 0 : bytes / messages
}
