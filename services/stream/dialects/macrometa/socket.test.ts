// Producers, consumers and readers over real sockets, row by row (contracts.md 2.a.3, 2.b), on two nodes that share a Redis.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../../../../packages/log/fixture.ts'
import { eventually } from '../../../../test/eventually.ts'
import { address, base64, idOf, STREAMS, speakMacrometa, texts } from '../../../../test/macrometa.ts'
import { type Opened, openRaw, type RawSocket } from '../../../../test/socket.ts'
import { type Node, openNode } from './fixture.ts'

let server: TestRedis
let nodes: readonly [Node, Node]
beforeAll(async () => {
  if (installed === undefined) return
  server = await openTestRedis()
  nodes = [await openNode(server), await openNode(server)]
})
afterEach(() => {
  cut()
  elsewhere.cut()
})
afterAll(async () => {
  for (const node of nodes ?? []) await node.stop()
  await server?.stop()
})

const here = speakMacrometa(() => nodes[0])
const elsewhere = speakMacrometa(() => nodes[1])
const { ask, newStream, publish, produce, consume, read, refused, statusOf, cut } = here
const statsOf = async (topic: string) => (await ask('GET', `${STREAMS}/${topic}/stats`)).json['result']
const backlogOf = async (topic: string) => (await ask('GET', `${STREAMS}/${topic}/backlog`)).json['result']

describe.skipIf(installed === undefined)('a producer', () => {
  test('is answered message by message, in order, with the context as it was sent', async () => {
    const topic = await newStream()
    const producer = await produce(topic, 'producerName=p&sendTimeoutMillis=30000&batchingEnabled=False&messageRoutingMode=SinglePartition')
    producer.send({
      payload: base64('one'),
      properties: { unit: 'C', n: 1 },
      context: '17',
      key: 'dev-9',
      eventTime: '2025-03-02T06:41:09.104Z',
    })
    producer.send({ payload: 'test', context: 17 })
    producer.send({ payload: '', context: null, replicationClusters: [], unheardOf: 1 })
    producer.send({ payload: 'dGVzdA' })
    const answers = await producer.have(4)
    const messageId = expect.stringMatching(/^[A-Za-z0-9+/]+=*$/)
    expect(answers).toEqual([
      { result: 'ok', messageId, context: '17' },
      { result: 'ok', messageId, context: 17 },
      ...Array(2).fill({ result: 'ok', messageId }),
    ])
    const consumer = await consume(topic, 's')
    const frames = await consumer.have(4)
    expect(frames[0]).toEqual({
      messageId: answers[0]?.['messageId'],
      payload: base64('one'),
      properties: { unit: 'C', n: '1' },
      publishTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$/),
      redeliveryCount: 0,
      key: 'dev-9',
      eventTime: '2025-03-02T06:41:09.104000+00:00',
    })
    expect(Object.keys(frames[1] ?? {})).toEqual(['messageId', 'payload', 'properties', 'publishTime', 'redeliveryCount'])
    expect(Buffer.from(String(frames[1]?.['payload']), 'base64')).toEqual(Buffer.from([0xb5, 0xeb, 0x2d]))
    expect(frames.slice(2).map(({ payload }) => payload)).toEqual(['', 'dGVzdA=='])
  })

  test('is told what is wrong with a message, and goes on', async () => {
    const producer = await produce(await newStream())
    for (const frame of [
      '{',
      '{"payload":"Hello World","context":"c"}',
      '{"payload":"AA==","eventTime":"yesterday"}',
      '{"payload":"AA=="}',
    ])
      producer.send(frame)
    expect(await producer.have(4)).toEqual([
      { result: 'send-error:3', errorMsg: expect.any(String) },
      { result: 'send-error:7', errorMsg: expect.any(String), context: 'c' },
      { result: 'send-error:7', errorMsg: expect.any(String) },
      { result: 'ok', messageId: expect.any(String) },
    ])
  })

  test('is told which of its messages are not as the schema has it, and the others are taken', async () => {
    const schema = { type: 'json', definition: {} } as const
    await nodes[0].streams.create('default', 'schemed', { schema })
    const producer = await produce('c8globals.schemed')
    const payloads = Array.from({ length: 20 }, (_, i) => (i % 7 === 3 ? 'wrong' : String(i)))
    for (const payload of payloads) producer.send({ payload: base64(payload), context: payload })
    const results = payloads.map(context => [context === 'wrong' ? 'send-error:7' : 'ok', context])
    expect((await producer.have(20)).map(({ result, context }) => [result, context])).toEqual(results)
    const reader = await read('c8globals.schemed', 'messageId=earliest')
    expect(texts(await reader.have(17))).toEqual(payloads.filter(payload => payload !== 'wrong'))
  })

  test('has its name alone on a stream, until it leaves', async () => {
    const topic = await newStream()
    const producer = await produce(topic, 'producerName=alone')
    expect(await refused(address('producer', topic, { query: 'producerName=alone' }))).toEqual([
      409,
      expect.objectContaining({ errorNum: 581 }),
    ])
    await produce(await newStream(), 'producerName=alone')
    await producer.close()
    await produce(topic, 'producerName=alone')
  })

  test('is told that its stream is gone', async () => {
    const topic = await newStream()
    const producer = await produce(topic)
    expect((await ask('DELETE', `${STREAMS}/${topic}?force=true`)).status).toBe(200)
    producer.send({ payload: 'AA==', context: 'c' })
    expect(await producer.have(1)).toEqual([{ result: 'send-error:8', errorMsg: expect.any(String), context: 'c' }])
    expect(await producer.closed).toMatchObject({ code: 4001, reason: expect.stringMatching(/^Failed to create producer: /) })
  })

  test('may send far more at once than may wait, and each is answered in order', async () => {
    const topic = await newStream()
    const producer = await produce(topic, 'maxPendingMessages=3')
    for (let i = 0; i < 5000; i++) producer.send({ payload: base64(String(i)), context: i })
    const answers = await producer.have(5000)
    expect(answers.map(({ context }) => context)).toEqual(Array.from({ length: 5000 }, (_, i) => i))
    expect(answers.every(({ result }) => result === 'ok')).toBe(true)
  })
})

describe.skipIf(installed === undefined)('a consumer', () => {
  test('is sent what is unacked again when it comes back, and the rest never', async () => {
    const topic = await newStream()
    await publish(topic, 'a', 'b', 'c')
    const first = await consume(topic, 's')
    const frames = await first.have(3)
    first.send(idOf(frames[1]))
    await first.close()
    const second = await consume(topic, 's')
    expect(texts(await second.have(2))).toEqual(['a', 'c'])
    expect(second.frames().map(({ redeliveryCount }) => redeliveryCount)).toEqual([1, 1])
    for (const frame of second.frames()) second.send(idOf(frame))
    await second.close()
    const third = await consume(topic, 's')
    await publish(topic, 'd')
    expect(texts(await third.have(1))).toEqual(['d'])
  })

  test('has no more unacked than it can receive; each ack lets one more come, and so does each that was not acked in time', async () => {
    const topic = await newStream()
    await publish(topic, '0', '1', '2', '3', '4', '5')
    const timed = await consume(topic, 'timed', 'receiverQueueSize=2&ackTimeoutMillis=1000')
    const consumer = await consume(topic, 'window', 'receiverQueueSize=2')
    const [first] = await consumer.have(2)
    consumer.send(idOf(first))
    await consumer.have(3)
    consumer.send({ type: 'isEndOfTopic' })
    await consumer.have(4)
    expect(consumer.frames()[3]).toEqual({ endOfTopic: 'false' })
    // None is acked, and they do not stop coming.
    const all = await timed.have(6)
    expect(texts(all).slice(0, 2)).toEqual(['0', '1'])
    expect(Math.max(...all.map(({ redeliveryCount }) => Number(redeliveryCount)))).toBeGreaterThanOrEqual(1)
  })

  test('gets what it refused again, after the delay it asked for', async () => {
    const topic = await newStream()
    await publish(topic, 'a')
    const consumer = await consume(topic, 's', 'negativeAckRedeliveryDelay=300')
    const [frame] = await consumer.have(1)
    const sentMs = performance.now()
    consumer.send({ type: 'negativeAcknowledge', ...idOf(frame) })
    expect((await consumer.have(2))[1]).toMatchObject({ ...idOf(frame), redeliveryCount: 1 })
    expect(performance.now() - sentMs).toBeGreaterThanOrEqual(290)
  })

  test('that pulls gets as many as it permits, and its acks may come from another', async () => {
    const topic = await newStream()
    await publish(topic, 'a', 'b', 'c')
    const query = 'pullMode=true&subscriptionType=Shared'
    const [one, other] = [await consume(topic, 's', query), await consume(topic, 's', query)]
    one.send({ type: 'permit', permitMessages: 2 })
    for (const frame of await one.have(2)) other.send(idOf(frame))
    await eventually(async () =>
      expect(await statsOf(topic)).toMatchObject({ subscriptions: { s: { msgBacklog: 1, unackedMessages: 0 } } }),
    )
    other.send({ type: 'permit', permitMessages: 5 })
    expect(texts(await other.have(1))).toEqual(['c'])
    expect(one.frames()).toHaveLength(2)
  })

  test('gives up after so many times, and the message stands in the dead-letter stream', async () => {
    const topic = await newStream()
    await publish(topic, 'poison')
    const limits = 'negativeAckRedeliveryDelay=0&maxRedeliverCount=1'
    for (const [subscription, query, dead] of [
      ['s', '', `${topic}-s-DLQ`],
      ['t', '&deadLetterTopic=persistent://default/c8global._system/c8globals.dead-1', 'c8globals.dead-1'],
      ['u', '&deadLetterTopic=dead-2', 'c8globals.dead-2'],
    ] as const) {
      const consumer = await consume(topic, subscription, limits + query)
      for (let i = 1; i <= 2; i++) consumer.send({ type: 'negativeAcknowledge', ...idOf((await consumer.have(i))[i - 1]) })
      const reader = await eventually(() => read(dead, 'messageId=earliest'))
      expect(texts(await reader.have(1))).toEqual(['poison'])
      expect(consumer.frames()).toHaveLength(2)
    }
  })

  test('of an exclusive subscription is alone; of a failover one the next takes over; of a shared one each gets some', async () => {
    const topic = await newStream()
    await consume(topic, 'exclusive')
    expect(await refused(address('consumer', topic, { subscription: 'exclusive' }))).toEqual([
      409,
      expect.objectContaining({ code: 409, errorNum: 581 }),
    ])
    expect(await statusOf(address('consumer', topic, { subscription: 'exclusive', query: 'subscriptionType=Shared' }))).toBe(409)
    const failover = [
      await consume(topic, 'f', 'subscriptionType=Failover'),
      await consume(topic, 'f', 'subscriptionType=Failover'),
    ] as const
    const shared = [await consume(topic, 's', 'subscriptionType=Shared'), await consume(topic, 's', 'subscriptionType=Shared')] as const
    const keyed = [
      await consume(topic, 'k', 'subscriptionType=Key_Shared'),
      await consume(topic, 'k', 'subscriptionType=Key_Shared'),
    ] as const
    const producer = await produce(topic)
    for (let i = 0; i < 40; i++) producer.send({ payload: base64(String(i)), key: `key-${i % 10}` })
    await eventually(() => expect(failover.map(one => one.frames().length)).toEqual([40, 0]))
    await failover[0].close()
    expect(texts(await failover[1].have(40))).toEqual(Array.from({ length: 40 }, (_, i) => String(i)))
    const counts = (pair: readonly Opened[]) => pair.map(one => one.frames().length)
    await eventually(() => expect((counts(shared)[0] as number) + (counts(shared)[1] as number)).toBe(40))
    await eventually(() => expect((counts(keyed)[0] as number) + (counts(keyed)[1] as number)).toBe(40))
    const [left, right] = keyed.map(one => new Set(one.frames().map(({ key }) => key)))
    expect([...(left ?? [])].filter(key => right?.has(key))).toEqual([])
  })

  test('of a new subscription begins with what nobody has acked', async () => {
    const topic = await newStream()
    await publish(topic, 'a', 'b')
    const first = await consume(topic, 'first')
    first.send(idOf((await first.have(2))[0]))
    await eventually(async () => expect(await backlogOf(topic)).toMatchObject({ cursorDetails: { first: { cursorBacklog: 1 } } }))
    const second = await consume(topic, 'second')
    expect(texts(await second.have(1))).toEqual(['b'])
  })

  test('is closed for what is no command, and nothing happens for the id of another stream', async () => {
    const [topic, other] = [await newStream(), await newStream()]
    for (const one of [topic, other]) await publish(one, 'a')
    const [consumer, foreign] = [await consume(topic, 's'), await consume(other, 's')]
    await consumer.have(1)
    const [frame] = await foreign.have(1)
    const forged = Buffer.from(String(frame?.['messageId']), 'base64').fill(0xff, 6).toString('base64')
    for (const messageId of [frame?.['messageId'], forged, 'AAAA', 'CAEQBCAA'])
      for (const type of [undefined, 'negativeAcknowledge']) consumer.send({ type, messageId })
    consumer.send({ type: 'isEndOfTopic' })
    await consumer.have(2)
    for (const subscribed of [topic, other])
      expect((await ask('GET', `${STREAMS}/${subscribed}/backlog`)).json['result']).toMatchObject({
        cursorDetails: { s: { cursorBacklog: 1 } },
      })
    for (const text of ['{', '{"type":"x","messageId":"AAAA"}']) {
      const closing = await consume(topic, `c-${text.length}`)
      closing.send(text)
      expect(await closing.closed).toMatchObject({ code: 4003, reason: expect.stringMatching(/^Failed to de-serialize from JSON: /) })
    }
  })

  test('may drop its subscription', async () => {
    const topic = await newStream()
    const consumer = await consume(topic, 's')
    consumer.send({ type: 'unsubscribe' })
    expect(await consumer.closed).toMatchObject({ code: 1000 })
    expect((await ask('GET', `${STREAMS}/${topic}/subscriptions`)).json['result']).toEqual([])
  })
})

describe.skipIf(installed === undefined)('a reader', () => {
  test('begins with the oldest, with the next, or behind a message, and moves nothing', async () => {
    const topic = await newStream()
    await publish(topic, 'a', 'b', 'c')
    const latest = await read(topic)
    const earliest = await read(topic, 'messageId=earliest&readerName=r')
    expect(texts(await earliest.have(3))).toEqual(['a', 'b', 'c'])
    const behind = await read(topic, `messageId=${encodeURIComponent(String(earliest.frames()[0]?.['messageId']))}`)
    expect(texts(await behind.have(2))).toEqual(['b', 'c'])
    await publish(topic, 'd')
    expect(texts(await latest.have(1))).toEqual(['d'])
    for (const frame of earliest.frames()) earliest.send(idOf(frame))
    expect(texts(await (await read(topic, 'messageId=earliest')).have(4))).toEqual(['a', 'b', 'c', 'd'])
    expect((await ask('GET', `${STREAMS}/${topic}/subscriptions`)).json['result']).toEqual([])
    for (const query of ['messageId=x', 'messageId=', 'receiverQueueSize=x'])
      expect(await statusOf(address('reader', topic, { query }))).toBe(400)
  })

  test('gets more than it can receive when it acks', async () => {
    const topic = await newStream()
    await publish(topic, 'a', 'b', 'c')
    const reader = await read(topic, 'messageId=earliest&receiverQueueSize=1')
    const [first] = await reader.have(1)
    reader.send({ type: 'isEndOfTopic' })
    expect((await reader.have(2))[1]).toEqual({ endOfTopic: 'false' })
    reader.send(idOf(first))
    expect(texts((await reader.have(3)).slice(2))).toEqual(['b'])
    reader.send('{')
    expect((await reader.closed).code).toBe(4003)
  })
})

describe.skipIf(installed === undefined)('two nodes', () => {
  test('serve one subscription, one stream and one name together', async () => {
    const topic = await newStream()
    const [left, right] = [
      await consume(topic, 's', 'subscriptionType=Shared'),
      await elsewhere.consume(topic, 's', 'subscriptionType=Shared'),
    ]
    expect(await elsewhere.statusOf(address('consumer', topic, { subscription: 's' }))).toBe(409)
    const reader = await elsewhere.read(topic)
    const producer = await produce(topic, 'producerName=one')
    expect(nodes[0].produced).toEqual(new Set([`default ${topic.slice('c8globals.'.length)}`]))
    expect(await elsewhere.statusOf(address('producer', topic, { query: 'producerName=one' }))).toBe(409)
    for (let i = 0; i < 100; i++) producer.send({ payload: base64(String(i)) })
    expect(texts(await reader.have(100))).toEqual(Array.from({ length: 100 }, (_, i) => String(i)))
    await eventually(() => expect(left.frames().length + right.frames().length).toBe(100))
    for (const frame of right.frames()) left.send(idOf(frame))
    await left.close()
    await eventually(async () => expect(await statsOf(topic)).toMatchObject({ subscriptions: { s: { consumers: [{}] } } }))
    await producer.close()
    expect(nodes[0].produced.size).toBe(0)
    await elsewhere.produce(topic, 'producerName=one')
  })

  test('end a WebSocket with the token that it was opened by', async () => {
    const topic = await newStream()
    const { keyId, secret } = nodes[0].key
    const caller = await nodes[0].identity.verify(keyId, secret)
    const otp = caller && (await nodes[0].identity.issueOtp({ ...caller, expiresMs: Date.now() + 2000 }))
    const reader = await elsewhere.open(address('reader', topic, { query: `otp=${otp}` }), '')
    expect(await reader.closed).toEqual({
      code: 4005,
      reason: 'Client is not authenticated: the access token expired; come back with a new one',
    })
  })

  test('take a one-time password once between them', async () => {
    const topic = await newStream()
    const { json } = await ask('POST', '/apid/otp')
    const way = address('reader', topic, { query: `otp=${String(json['otp'])}` })
    const outcomes = await Promise.allSettled([here, elsewhere, here, elsewhere].map(node => node.open(way, '')))
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  test('say goodbye when one stops, and what was unacked there comes here', async () => {
    const topic = await newStream()
    const third = await openNode(server)
    const there = speakMacrometa(() => third)
    const [consumer, producer, reader] = [
      await there.consume(topic, 's'),
      await there.produce(topic, 'producerName=p'),
      await there.read(topic),
    ]
    await publish(topic, 'a')
    await consumer.have(1)
    await third.stop()
    for (const socket of [consumer, producer, reader])
      expect(await socket.closed).toEqual({ code: 1001, reason: 'the server is stopping: come back soon' })
    expect((await (await consume(topic, 's')).have(1))[0]).toMatchObject({ payload: base64('a'), redeliveryCount: 1 })
    await produce(topic, 'producerName=p')
    expect(third.troubles).toEqual([])
  })
})

/** hazards.md 38. */
describe.skipIf(installed === undefined)('whoever breaks RFC 6455', () => {
  const text = 0x81
  const raw = async (kind: 'producer' | 'consumer' | 'reader', topic: string) =>
    openRaw(
      nodes[0].port,
      address(kind, topic, kind === 'consumer' ? { subscription: 's', query: 'subscriptionType=Shared' } : {}),
      here.apiKey(),
    )
  const ok = '{"payload":"AA=="}'
  const huge = (length: bigint) => {
    const size = Buffer.alloc(9)
    size[0] = 127
    size.writeBigUInt64BE(length, 1)
    return size
  }

  test.each([
    ['an unmasked frame', 1002, (socket: RawSocket) => socket.write(text, ok, { masked: false })],
    ['reserved bits', 1002, (socket: RawSocket) => socket.write(0xc1, ok)],
    ['a compressed frame', 1002, (socket: RawSocket) => socket.write(0xc1, ok)],
    ['an opcode that is none', 1002, (socket: RawSocket) => socket.write(0x83, ok)],
    ['a ping of 126 bytes', 1002, (socket: RawSocket) => socket.write(0x89, 'x'.repeat(126))],
    ['a ping in pieces', 1002, (socket: RawSocket) => socket.write(0x09, 'x')],
    ['a continuation of nothing', 1002, (socket: RawSocket) => socket.write(0x80, ok)],
    [
      'a message within a message',
      1002,
      (socket: RawSocket) => {
        socket.write(0x01, ok)
        socket.write(text, ok)
      },
    ],
    ['a close frame of one byte', 1002, (socket: RawSocket) => socket.write(0x88, 'x')],
    ['a close code that is none', 1002, (socket: RawSocket) => socket.write(0x88, Buffer.from([3, 237]))],
    ['bytes that are no UTF-8', 1007, (socket: RawSocket) => socket.write(text, Buffer.from([0xff, 0xfe]))],
    ['a binary frame', 1003, (socket: RawSocket) => socket.write(0x82, ok)],
    ['8 MiB', 1009, (socket: RawSocket) => socket.write(text, '', { length: huge(8n << 20n) })],
    ['2^53 bytes', 1009, (socket: RawSocket) => socket.write(text, '', { length: huge(1n << 53n) })],
    ['2^64 - 1 bytes', 1009, (socket: RawSocket) => socket.write(text, '', { length: huge((1n << 64n) - 1n) })],
    [
      '8 MiB in pieces',
      1009,
      (socket: RawSocket) => {
        for (let i = 0; i < 140; i++) socket.write(i === 0 ? 0x01 : 0x00, 'x'.repeat(60_000))
      },
    ],
    [
      'a message in pieces without end',
      1008,
      (socket: RawSocket) => {
        for (let i = 0; i < 20_000; i++) socket.write(i === 0 ? 0x01 : 0x00, '')
      },
    ],
  ] as const)('by %s is closed with %i', async (_name, code, send) => {
    const topic = await newStream()
    for (const kind of ['producer', 'consumer', 'reader'] as const) {
      const socket = await raw(kind, topic)
      send(socket)
      expect(await socket.closeCode()).toBe(code)
    }
    expect(await statsOf(topic)).toMatchObject({ msgInCounter: 0 })
  })

  test('and just goes away in the middle of a frame leaves nothing behind', async () => {
    const topic = await newStream()
    for (const kind of ['producer', 'consumer', 'reader'] as const) {
      const socket = await raw(kind, topic)
      socket.socket.write(Buffer.from([text, 0xfe]))
      socket.socket.resetAndDestroy()
    }
    await eventually(async () => expect(await statsOf(topic)).toMatchObject({ subscriptions: { s: { consumers: [] } } }))
    expect(nodes[0].troubles).toEqual([])
  })
})

describe.skipIf(installed === undefined)('a node', () => {
  test('that has lost its Redis tells producers so, keeps their sockets, and goes on when it is back', async () => {
    const lost = await openTestRedis()
    const node = await openNode(lost)
    const there = speakMacrometa(() => node)
    const topic = await there.newStream()
    const [producer, consumer] = [await there.produce(topic), await there.consume(topic, 's')]
    lost.signal('SIGSTOP')
    producer.send({ payload: 'AA==', context: 'lost' })
    expect(await producer.have(1)).toEqual([{ result: 'send-error:8', errorMsg: expect.any(String), context: 'lost' }])
    expect(await there.statusOf(address('reader', topic))).toBe(503)
    lost.signal('SIGCONT')
    await eventually(async () => {
      producer.send({ payload: base64('found') })
      expect((await producer.have(producer.frames().length + 1)).at(-1)).toMatchObject({ result: 'ok' })
    })
    await eventually(() => expect(texts(consumer.frames())).toContain('found'))
    there.cut()
    await node.stop()
    await lost.stop()
  }, 60_000)

  test('takes anything as a message, and answers preflights of browsers', async () => {
    const topic = await newStream()
    const producer = await produce(topic)
    for (const text of ['['.repeat(5_000_000), '{"a":'.repeat(1_000_000), '"'.repeat(5_000_000), '\u0000']) producer.send(text)
    expect((await producer.have(4)).map(({ result }) => result)).toEqual(Array(4).fill('send-error:3'))
    const headers = {
      origin: 'https://example.com',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization',
    }
    const preflight = await fetch(`${nodes[0].url()}/apid/otp`, { method: 'OPTIONS', headers })
    expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([204, '*'])
    expect(nodes[0].troubles).toEqual([])
  })
})
