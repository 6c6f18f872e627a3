// Query parameters of the WebSockets, row by row (contracts.md 2.a.3).
import { describe, expect, it } from 'vitest'
import { consumerOptions, producerOptions, type Query, readerOptions } from './option.ts'

const failing = (act: () => unknown) => expect(act).toThrow(expect.objectContaining({ code: 'invalid' }))

describe('a consumer', () => {
  it('is exclusive, with a thousand messages unacked, and waits a minute after a negative ack', () => {
    expect(consumerOptions({})).toEqual({
      type: 'exclusive',
      window: 1000,
      pull: false,
      name: undefined,
      priority: undefined,
      ackTimeoutMs: 0,
      nackDelayMs: 60_000,
      maxRedeliveries: 0,
      deadLetter: undefined,
    })
  })

  it.each([
    [{ subscriptionType: 'Exclusive' }, { type: 'exclusive' }],
    [{ subscriptionType: 'Shared' }, { type: 'shared' }],
    [{ subscriptionType: 'Failover' }, { type: 'failover' }],
    [{ subscriptionType: 'Key_Shared' }, { type: 'key_shared' }],
    [{ receiverQueueSize: '0' }, { window: 1 }],
    [{ receiverQueueSize: '7' }, { window: 7 }],
    [{ receiverQueueSize: '100000' }, { window: 1000 }],
    [{ pullMode: 'true' }, { pull: true }],
    [{ pullMode: 'True' }, { pull: true }],
    [{ pullMode: 'False' }, { pull: false }],
    [{ consumerName: 'c' }, { name: 'c' }],
    [{ priorityLevel: '3' }, { priority: 3 }],
    [{ ackTimeoutMillis: '2000' }, { ackTimeoutMs: 2000 }],
    [{ negativeAckRedeliveryDelay: '0' }, { nackDelayMs: 0 }],
    [{ maxRedeliverCount: '3' }, { maxRedeliveries: 3 }],
    [{ deadLetterTopic: 'dead' }, { deadLetter: 'dead', maxRedeliveries: 16 }],
    [
      { deadLetterTopic: 'dead', maxRedeliverCount: '0' },
      { deadLetter: 'dead', maxRedeliveries: 0 },
    ],
    [
      { deadLetterTopic: 'dead', maxRedeliverCount: '2' },
      { deadLetter: 'dead', maxRedeliveries: 2 },
    ],
    [{ otp: 'x', unheardOf: 'y', toString: 'z' }, {}],
  ] as const)('with %o is %o', (query, expected) => {
    expect(consumerOptions(query as unknown as Query)).toEqual({ ...consumerOptions({}), ...expected })
  })

  it.each([
    { subscriptionType: 'exclusive' },
    { subscriptionType: '' },
    { subscriptionType: ['Shared', 'Shared'] },
    { subscriptionType: 'constructor' },
    { receiverQueueSize: '-1' },
    { receiverQueueSize: '1.5' },
    { receiverQueueSize: '' },
    { receiverQueueSize: '99999999999' },
    { pullMode: 'yes' },
    { priorityLevel: 'high' },
    { ackTimeoutMillis: '10s' },
    { maxRedeliverCount: 'NaN' },
    { consumerName: '' },
    { consumerName: 'x'.repeat(256) },
  ] as Query[])('with %o is refused', query => failing(() => consumerOptions(query)))
})

describe('a producer', () => {
  it.each([
    [{}, { maxPending: 1000 }],
    [{ maxPendingMessages: '5' }, { maxPending: 5 }],
    [{ maxPendingMessages: '0' }, { maxPending: 1 }],
    [{ maxPendingMessages: '1000000' }, { maxPending: 1000 }],
    [{ producerName: 'p' }, { maxPending: 1000, name: 'p' }],
    // As one client always sends them.
    [
      {
        sendTimeoutMillis: '30000',
        batchingEnabled: 'False',
        batchingMaxMessages: '1000',
        batchingMaxPublishDelay: '10',
        messageRoutingMode: 'RoundRobinPartition',
        compressionType: 'LZ4',
        initialSequenceId: '-1',
      },
      { maxPending: 1000 },
    ],
  ])('with %o is %o', (query, expected) => expect(producerOptions(query as Query)).toEqual(expected))

  it.each([
    { messageRoutingMode: 'Random' },
    { compressionType: 'GZIP' },
    { hashingScheme: 'MD5' },
    { batchingEnabled: '2' },
    { sendTimeoutMillis: 'soon' },
    { initialSequenceId: 'first' },
    { maxPendingMessages: '-5' },
    { producerName: ['a', 'b'] },
  ] as Query[])('with %o is refused', query => failing(() => producerOptions(query)))
})

describe('a reader', () => {
  it('begins behind the last message, or where it says, however that was encoded', () => {
    expect(readerOptions({})).toEqual({ window: 1000, from: 'latest' })
    expect(readerOptions({ messageId: 'CAE Q/ ==', receiverQueueSize: '2' })).toEqual({ window: 2, from: 'CAE+Q/+==' })
  })
})
