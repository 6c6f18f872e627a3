// What goes wrong around durable streams: a full Redis, a clock that is set back, large messages, floods, the dead and the stalled.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../fixture.ts'
import { type Consumer, type ConsumerOptions, type Delivery, Dispatch } from './dispatch.ts'
import { subscriptionKey } from './key.ts'
import type { NewMessage } from './message.ts'
import { DurableStreams, type Ref } from './stream.ts'
import { Subscriptions } from './subscription.ts'

describe.skipIf(installed === undefined)('durable streams in hardship', () => {
  let server: TestRedis
  let streams: DurableStreams
  let subscriptions: Subscriptions
  const dispatches: Dispatch[] = []
  const troubles: string[] = []

  beforeAll(async () => {
    server = await openTestRedis()
    streams = new DurableStreams(server.redis)
    subscriptions = new Subscriptions(server.redis, streams)
  })
  afterAll(async () => {
    await Promise.all(dispatches.map(dispatch => dispatch.stop()))
    await server.stop()
  })

  function newDispatch(): Dispatch {
    const troubled = (error: Error) => void troubles.push(error.message)
    const dispatch = new Dispatch({ streams, subscriptions, connect: () => server.connect(), troubled })
    dispatches.push(dispatch)
    return dispatch
  }

  async function fresh(): Promise<Ref> {
    const project = freshProject()
    return { project, record: await streams.create(project, 'readings') }
  }

  const numbers = (from: number, to: number, more: (n: number) => Partial<NewMessage> = () => ({})): NewMessage[] =>
    Array.from({ length: to - from + 1 }, (_, i) => ({ payload: Buffer.from(String(from + i)), ...more(from + i) }))

  type Taken = { readonly consumer: Consumer; readonly deliveries: Delivery[] }

  async function take(dispatch: Dispatch, ref: Ref, options: Partial<ConsumerOptions> = {}): Promise<Taken> {
    const deliveries: Delivery[] = []
    const receiver = { receive: (some: readonly Delivery[]) => void deliveries.push(...some), ended: () => undefined }
    const consumer = await dispatch.join(ref, { subscription: 's', type: 'exclusive', window: 1000, ...options }, receiver)
    return { consumer, deliveries }
  }

  const seqsOf = ({ deliveries }: Taken) => deliveries.map(({ message }) => message.seq)

  test('a full Redis neither gives messages again and again nor counts that as their fault, and acks make room', async () => {
    const ref = await fresh()
    await streams.append(ref, numbers(1, 10))
    const one = await take(newDispatch(), ref, { maxRedeliveries: 2 })
    await until('all have come', () => one.deliveries.length === 10)
    const used = Number(/used_memory:(\d+)/.exec(await server.redis.info('memory'))?.[1])
    await server.redis.config('SET', 'maxmemory', used - 1_000_000)
    try {
      troubles.length = 0
      await until('it has been tried often', () => troubles.filter(words => words.includes('OOM')).length > 5, 15_000)
      await expect(streams.append(ref, numbers(11, 11))).rejects.toThrow(/OOM/)
      one.consumer.ack(seqsOf(one))
      await one.consumer.settled()
    } finally {
      await server.redis.config('SET', 'maxmemory', 200_000_000)
    }
    expect(one.deliveries).toHaveLength(10)
    expect(await subscriptions.stats(ref, 's')).toMatchObject({ backlog: 0, redelivered: 0, deadLettered: 0 })
    await one.consumer.leave()
  }, 30_000)

  test('a clock that is set back keeps neither the dead nor what is due', async () => {
    const ref = await fresh()
    await streams.append(ref, numbers(1, 2))
    const dispatch = newDispatch()
    const one = await take(dispatch, ref, { ackTimeoutMs: 500 })
    await until('both have come', () => one.deliveries.length === 2)
    // As if the clock had been two hours ahead.
    const { uid } = await subscriptions.get(ref, 's')
    const key = (part?: string) => subscriptionKey(ref, uid, part)
    const ahead = 7_200_000
    await server.redis.hincrby(key(), 'ms', ahead)
    for (const seq of ['1', '2']) await server.redis.zincrby(key('due'), ahead, seq)
    await server.redis.zadd(key('seen'), Date.now() + ahead, '999')
    await server.redis.hset(key('members'), '999', '0|ghost')
    await until('they come again', () => one.deliveries.length >= 4)
    await until('the dead is gone', async () => (await subscriptions.stats(ref, 's')).consumers.length === 1, 15_000)
    await one.consumer.leave()
  }, 30_000)

  test('large messages come one after the other, and none is lost for it', async () => {
    const ref = await fresh()
    const large = Buffer.alloc(1_500_000, 'x')
    for (let n = 0; n < 12; n++) await streams.append(ref, [{ payload: large }, { payload: Buffer.from('small') }])
    expect((await streams.read(ref, 0, 1000)).length).toBeLessThan(6)
    for (const type of ['shared', 'key_shared'] as const) {
      const one = await take(newDispatch(), ref, { subscription: type, type })
      await until('all have come', () => one.deliveries.length === 24, 10_000)
      expect(seqsOf(one)).toEqual(Array.from({ length: 24 }, (_, i) => i + 1))
      await one.consumer.leave()
    }
  }, 30_000)

  test('a refused message holds up its own key, and no other', async () => {
    const ref = await fresh()
    const one = await take(newDispatch(), ref, { type: 'key_shared' })
    await streams.append(
      ref,
      numbers(1, 1, () => ({ key: 'held' })),
    )
    await until('it has come', () => one.deliveries.length === 1)
    one.consumer.nack([1], 60_000)
    await one.consumer.settled()
    for (let n = 0; n < 3; n++)
      await streams.append(
        ref,
        numbers(n * 1000 + 2, n * 1000 + 1001, () => ({ key: 'held' })),
      )
    await streams.append(
      ref,
      numbers(3002, 3003, () => ({ key: 'free' })),
    )
    await until('the others have come', () => seqsOf(one).includes(3003))
    expect(seqsOf(one)).toEqual([1, 3002, 3003])
    one.consumer.ack([1, 3002, 3003])
    await until('the key is free, and its messages come in order', () => one.deliveries.length >= 1003)
    expect(seqsOf(one).slice(3, 1003)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 2))
    await one.consumer.leave()
  })

  test('two processes that share a subscription have about the same', async () => {
    const ref = await fresh()
    const [a, b] = [await take(newDispatch(), ref, { type: 'shared' }), await take(newDispatch(), ref, { type: 'shared' })]
    for (let n = 0; n < 10; n++) {
      await streams.append(ref, numbers(n * 40 + 1, n * 40 + 40))
      await until('all are given', () => a.deliveries.length + b.deliveries.length === n * 40 + 40)
    }
    for (const one of [a, b]) expect(one.deliveries.length).toBeGreaterThan(100)
    await Promise.all([a.consumer.leave(), b.consumer.leave()])
  })

  test('keys that go to another consumer and back keep their order', async () => {
    const ref = await fresh()
    const dispatch = newDispatch()
    const a = await take(dispatch, ref, { type: 'key_shared' })
    const keyOf = (n: number) => ({ key: `k${n % 10}` })
    await streams.append(ref, numbers(1, 10, keyOf))
    await until('a has one of each key', () => a.deliveries.length === 10)
    const b = await take(dispatch, ref, { type: 'key_shared' })
    // Of the keys that are b's now, these wait until a has acked what it has.
    await streams.append(ref, numbers(11, 20, keyOf))
    await until('all are given or wait', async () => (await subscriptions.stats(ref, 's')).backlog === 20)
    await until('a has those of its own', () => a.deliveries.length > 10)
    expect(b.deliveries).toEqual([])
    await b.consumer.leave()
    await streams.append(ref, numbers(21, 30, keyOf))
    await until('a has all', () => a.deliveries.length === 30)
    for (let key = 0; key < 10; key++) {
      const own = seqsOf(a).filter(seq => seq % 10 === key)
      expect(own).toEqual(own.toSorted((x, y) => x - y))
    }
    await a.consumer.leave()
  })

  test('who takes over by a better priority waits for what the other still has', async () => {
    const ref = await fresh()
    await streams.append(ref, numbers(1, 5))
    const a = await take(newDispatch(), ref, { type: 'failover', priority: 5, name: 'a' })
    await until('a has them', () => a.deliveries.length === 5)
    const b = await take(newDispatch(), ref, { type: 'failover', priority: 0, name: 'b' })
    await streams.append(ref, numbers(6, 10))
    await until('b is the active one', async () => (await subscriptions.stats(ref, 's')).consumers[0]?.name === 'b')
    a.consumer.ack([1, 2])
    await a.consumer.leave()
    await until('b has the rest', () => b.deliveries.length === 8)
    expect(seqsOf(b)).toEqual([3, 4, 5, 6, 7, 8, 9, 10])
    await b.consumer.leave()
  })

  test('a flood of acks for what nobody was given harms nobody', async () => {
    const ref = await fresh()
    await streams.append(ref, numbers(1, 3))
    const one = await take(newDispatch(), ref)
    await until('all have come', () => one.deliveries.length === 3)
    one.consumer.ack(Array.from({ length: 200_000 }, (_, i) => i + 100))
    one.consumer.ack([1, 2, 3])
    await one.consumer.settled()
    expect(await subscriptions.stats(ref, 's')).toMatchObject({ backlog: 0, acked: 3 })
    await one.consumer.leave()
  }, 30_000)

  test('acks need no consumer, and what a consumer leaves behind stays given for its time', async () => {
    const ref = await fresh()
    await streams.append(ref, numbers(1, 4))
    const one = await take(newDispatch(), ref, { ackTimeoutMs: 700 })
    await until('all have come', () => one.deliveries.length === 4)
    await one.consumer.leave({ keep: true })
    const elsewhere = newDispatch()
    await elsewhere.ack(ref, 's', [1, 2])
    expect(await subscriptions.stats(ref, 's')).toMatchObject({ acked: 2, backlog: 2, consumers: [] })
    const two = await take(elsewhere, ref)
    await elsewhere.nack(ref, 's', [3], 0)
    await until('the rest comes again', () => two.deliveries.length === 2)
    expect(two.deliveries.map(({ message, redeliveries }) => [message.seq, redeliveries])).toEqual([
      [3, 1],
      [4, 1],
    ])
    await two.consumer.leave()
    await expect(elsewhere.ack(ref, 'nobody', [1])).rejects.toMatchObject({ code: 'not_found' })
  })

  test('what is held for longer than its ack time-out, or not so long, is given again at its own time', async () => {
    const ref = await fresh()
    await streams.append(ref, numbers(1, 4))
    const one = await take(newDispatch(), ref, { ackTimeoutMs: 60_000 })
    await until('all have come', () => one.deliveries.length === 4)
    one.consumer.hold([1, 2, 3], 300)
    one.consumer.hold([3], 60_000)
    one.consumer.ack([1])
    // Acked, and never given: neither is anybody's.
    one.consumer.hold([1, 9], 1)
    await until('one comes again', () => one.deliveries.length > 4)
    expect(seqsOf(one)).toEqual([1, 2, 3, 4, 2])
    expect(await subscriptions.stats(ref, 's')).toMatchObject({ backlog: 3, unacked: 3, timed: 3 })
  })

  test('dead letters do not go where others decide what stands there', async () => {
    const ref = await fresh()
    const owned = { project: ref.project, record: await streams.create(ref.project, 'owned') }
    await streams.append(owned, numbers(1, 1), { owner: 'me' })
    await streams.create(ref.project, 'strict', { schema: { type: 'json', definition: {} } })
    for (const deadLetter of ['devices', 'readings', 'owned', 'strict'])
      await expect(take(newDispatch(), ref, { maxRedeliveries: 1, deadLetter })).rejects.toMatchObject({
        code: 'invalid',
        field: 'deadLetter',
      })
  })

  test('numbers of a name go on when the first are dropped, and consumers go on behind those', async () => {
    const ref = await fresh()
    await streams.append(
      ref,
      numbers(1, 10, n => ({ name: n % 2 === 0 ? 'even' : 'odd' })),
    )
    await streams.trim(ref, 6, false)
    expect((await streams.readNamed(ref, 'even', 0, 10)).map(({ seq, number }) => [seq, number])).toEqual([
      [8, 4],
      [10, 5],
    ])
    expect(await streams.offset(ref, 'me', 'even')).toBe(3)
    expect(await streams.advance(ref, 'me', 'even', 4)).toMatchObject({ moved: true })
    expect(
      await streams.append(
        ref,
        numbers(12, 12, () => ({ name: 'even' })),
      ),
    ).toMatchObject([{ number: 6 }])
    await streams.trim(ref, 11, false)
    expect(
      await streams.append(
        ref,
        numbers(14, 14, () => ({ name: 'even' })),
      ),
    ).toMatchObject([{ number: 7 }])
    expect(await streams.nameLast(ref, 'even')).toBe(7)
  })

  test('a property named as no other is a property as any other', async () => {
    const ref = await fresh()
    const properties = JSON.parse('{"__proto__":"x","a":"b"}') as Record<string, string>
    await streams.append(ref, [{ payload: Buffer.from(''), properties }])
    const [message] = await streams.read(ref, 0, 1)
    expect(Object.entries(message?.properties ?? {})).toEqual([
      ['__proto__', 'x'],
      ['a', 'b'],
    ])
  })
})
