// Durable streams on a real Redis: appending, reading, offsets, subscriptions of each type, and what becomes of what is not acked.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../fixture.ts'
import { type Consumer, type ConsumerOptions, type Delivery, Dispatch } from './dispatch.ts'
import { formatMessageId, type NewMessage, parseMessageId } from './message.ts'
import { DurableStreams, type Ref } from './stream.ts'
import { Subscriptions } from './subscription.ts'

describe.skipIf(installed === undefined)('durable streams', () => {
  let server: TestRedis
  let streams: DurableStreams
  let subscriptions: Subscriptions
  const dispatches: Dispatch[] = []

  beforeAll(async () => {
    server = await openTestRedis()
    streams = new DurableStreams(server.redis)
    subscriptions = new Subscriptions(server.redis, streams)
  })
  afterAll(async () => {
    await Promise.all(dispatches.map(dispatch => dispatch.stop()))
    await server.stop()
  })

  /** A process. */
  function newDispatch(): Dispatch {
    const troubled = (error: Error) => console.warn(error.message)
    const dispatch = new Dispatch({ streams, subscriptions, connect: () => server.connect(), troubled })
    dispatches.push(dispatch)
    return dispatch
  }

  async function fresh(name = 'readings'): Promise<Ref> {
    const project = freshProject()
    return { project, record: await streams.create(project, name) }
  }

  const message = (text: string, more: Partial<NewMessage> = {}): NewMessage => ({ payload: Buffer.from(text), ...more })
  const numbers = (from: number, to: number, more: (n: number) => Partial<NewMessage> = () => ({})) =>
    Array.from({ length: to - from + 1 }, (_, i) => message(String(from + i), more(from + i)))
  const texts = (messages: readonly { readonly payload: Buffer }[]) => messages.map(({ payload }) => payload.toString())

  type Taken = { readonly consumer: Consumer; readonly deliveries: Delivery[]; ended: string | undefined; texts(): string[] }

  async function take(dispatch: Dispatch, ref: Ref, options: Partial<ConsumerOptions> = {}, acks = false): Promise<Taken> {
    const deliveries: Delivery[] = []
    let consumer: Consumer | undefined
    const state = { ended: undefined as string | undefined }
    consumer = await dispatch.join(
      ref,
      { subscription: 's', type: 'exclusive', window: 1000, ...options },
      {
        receive: some => {
          deliveries.push(...some)
          if (acks) consumer?.ack(some.map(one => one.message.seq))
        },
        ended: failure => {
          state.ended = failure.code
        },
      },
    )
    return {
      consumer,
      deliveries,
      get ended() {
        return state.ended
      },
      texts: () => deliveries.map(one => one.message.payload.toString()),
    }
  }

  describe('a stream', () => {
    test('numbers its messages without gaps, and gives them back whole', async () => {
      const ref = await fresh()
      const bytes = Buffer.from([0, 255, 10, 13, 0])
      const full = {
        key: 'dev-9',
        properties: { unit: '°C', braces: '}{' },
        eventTimeUs: 1_741_000_000_123_456,
        name: 'Reading',
        producer: 'gw',
      }
      const appended = await streams.append(ref, [{ payload: bytes, ...full }, message('')])
      expect(appended).toEqual([
        { seq: 1, duplicate: false, number: 1 },
        { seq: 2, duplicate: false, number: undefined },
      ])
      const [first, second] = await streams.read(ref, 0, 10)
      expect(first).toMatchObject({ seq: 1, payload: bytes, number: 1, ...full })
      expect(Math.abs((first?.publishMs ?? 0) - Date.now())).toBeLessThan(60_000)
      expect(second).toMatchObject({ seq: 2, payload: Buffer.alloc(0), key: undefined, properties: {}, name: undefined })
      expect(texts(await streams.readBack(ref, 3, 10))).toEqual(['', bytes.toString()])
    })

    test('keeps the order of parallel appends of one producer', async () => {
      const ref = await fresh()
      await Promise.all(Array.from({ length: 500 }, (_, i) => streams.append(ref, [message(String(i))])))
      expect(texts(await streams.read(ref, 0, 1000))).toEqual(Array.from({ length: 500 }, (_, i) => String(i)))
    })

    test('takes the same idempotency key once, and says where the first is', async () => {
      const ref = await fresh()
      const [first] = await streams.append(ref, [message('a', { idempotencyKey: 'k', name: 'n' }), message('b')])
      const [again] = await streams.append(ref, [message('a', { idempotencyKey: 'k', name: 'n' })])
      expect(again).toEqual({ ...first, duplicate: true })
      expect((await streams.stats(ref)).lastSeq).toBe(2)
    })

    test('refuses an idempotency key that stood for another message, with all that came with it and nothing else', async () => {
      const ref = await fresh()
      await streams.append(ref, [message('a', { idempotencyKey: 'k' })])
      const outcomes = await Promise.allSettled([
        streams.append(ref, [message('before')]),
        streams.append(ref, [message('new', { idempotencyKey: 'l' }), message('other', { idempotencyKey: 'k' })]),
        streams.append(ref, [message('after')]),
      ])
      expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
      expect(outcomes[1]).toMatchObject({ reason: { code: 'conflict', field: 'idempotencyKey' } })
      expect(texts(await streams.read(ref, 0, 10))).toEqual(['a', 'before', 'after'])
    })

    test('belongs to the first of 50 owners that write at once', async () => {
      const ref = await fresh()
      const outcomes = await Promise.allSettled(
        Array.from({ length: 50 }, (_, i) => streams.append(ref, [message(`w${i}`)], { owner: `owner-${i}` })),
      )
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
      for (const outcome of outcomes)
        if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'conflict', field: 'owner' })
      expect((await streams.stats(ref)).messages).toBe(1)
      await expect(streams.append(ref, [message('nobody')])).rejects.toMatchObject({ code: 'conflict', field: 'owner' })
    })

    test('that was removed takes and gives nothing, also when another has its name', async () => {
      const ref = await fresh()
      await streams.append(ref, [message('old')])
      await streams.remove(ref.project, 'readings')
      const anew = { project: ref.project, record: await streams.create(ref.project, 'readings') }
      await expect(streams.append(ref, [message('late')])).rejects.toMatchObject({ code: 'not_found' })
      expect(await streams.read(anew, 0, 10)).toEqual([])
      expect(await server.redis.keys(`*${ref.record.uid}*`)).toEqual([])
      const id = formatMessageId(ref.record, 1)
      expect(parseMessageId(ref.record, id)).toBe(1)
      expect(parseMessageId(anew.record, id)).toBeUndefined()
      expect(parseMessageId(anew.record, 'nonsense')).toBeUndefined()
    })

    test('finds places by time, and drops by age and size', async () => {
      const ref = await fresh()
      await streams.append(ref, numbers(1, 10))
      const between = (await streams.read(ref, 9, 1))[0]?.publishMs ?? 0
      await until('the clock has moved', async () => Date.now() > between + 2)
      await streams.append(ref, numbers(11, 20))
      expect(await streams.placeAt(ref, between + 1)).toBe(10)
      expect(await streams.placeAt(ref, 0)).toBe(0)
      expect(await streams.placeAt(ref, Date.now() + 60_000)).toBe(20)
      await streams.update(ref.project, 'readings', { retention: { maxAgeMs: 0, maxBytes: 500, untilAcked: false } })
      await subscriptions.trim(ref.project, Date.now())
      const { bytes, firstSeq } = await streams.stats(ref)
      expect(bytes).toBeLessThanOrEqual(500)
      expect(firstSeq).toBeGreaterThan(10)
      await streams.update(ref.project, 'readings', { retention: { maxAgeMs: 1000, maxBytes: 0, untilAcked: false } })
      await subscriptions.trim(ref.project, Date.now() + 60_000)
      expect(await streams.stats(ref)).toMatchObject({ messages: 0, firstSeq: 21, lastSeq: 20 })
    })

    test('is dropped up to what all its subscriptions have acked', async () => {
      const ref = await fresh()
      await streams.append(ref, numbers(1, 10))
      expect(await subscriptions.trim(ref.project, Date.now())).toBe(0)
      const dispatch = newDispatch()
      const one = await take(dispatch, ref, { subscription: 'one' }, true)
      await subscriptions.create(ref, 'two', 'shared', { seq: 4 })
      await until('one has all', () => one.deliveries.length === 10)
      await one.consumer.leave()
      expect(await subscriptions.trim(ref.project, Date.now())).toBe(4)
      expect(texts(await streams.read(ref, 0, 10))).toEqual(['5', '6', '7', '8', '9', '10'])
    })
  })

  describe('offsets', () => {
    test('advance by one, each for its consumer and name, and never beyond', async () => {
      const ref = await fresh()
      await streams.append(ref, [message('a1', { name: 'a' }), message('b1', { name: 'b' }), message('a2', { name: 'a' })])
      expect(texts(await streams.readNamed(ref, 'a', 0, 10))).toEqual(['a1', 'a2'])
      expect(await streams.advance(ref, 'me', 'a', 2)).toEqual({ moved: false, expected: 1 })
      const moves = await Promise.all(Array.from({ length: 20 }, () => streams.advance(ref, 'me', 'a', 1)))
      expect(moves.filter(({ moved }) => moved)).toHaveLength(1)
      expect(await streams.advance(ref, 'me', 'a', 2)).toMatchObject({ moved: true })
      expect(await streams.advance(ref, 'me', 'a', 3)).toMatchObject({ moved: false })
      expect(await streams.offset(ref, 'me', 'a')).toBe(2)
      expect(await streams.offset(ref, 'me', 'b')).toBe(0)
      expect(await streams.names(ref)).toEqual([
        { name: 'a', last: 2 },
        { name: 'b', last: 1 },
      ])
      await expect(streams.setOffset(ref, 'me', 'a', 3)).rejects.toMatchObject({ code: 'invalid' })
      await streams.setOffset(ref, 'me', 'a', 0)
      expect(await streams.offsets(ref)).toMatchObject([{ consumer: 'me', name: 'a', offset: 0 }])
    })
  })

  describe('a subscription', () => {
    test('that is exclusive gives everything in order, once, to its one consumer', async () => {
      const ref = await fresh()
      await streams.append(ref, numbers(1, 100))
      const dispatch = newDispatch()
      const one = await take(dispatch, ref, {}, true)
      await expect(take(newDispatch(), ref)).rejects.toMatchObject({ code: 'conflict', field: 'consumers' })
      await expect(take(dispatch, ref, { type: 'shared' })).rejects.toMatchObject({ code: 'conflict', field: 'type' })
      for (let n = 100; n < 2500; n += 800) await streams.append(ref, numbers(n + 1, n + 800))
      await until('all have come', () => one.deliveries.length === 2500)
      expect(one.texts()).toEqual(Array.from({ length: 2500 }, (_, i) => String(i + 1)))
      await until('all are acked', async () => (await subscriptions.stats(ref, 's')).backlog === 0)
      await one.consumer.leave()
      const next = await take(newDispatch(), ref, {}, true)
      await streams.append(ref, [message('more')])
      await until('it has come', () => next.texts().includes('more'))
      expect(next.texts()).toEqual(['more'])
    })

    test('gives no more than its window, and each ack, time-out and foreign ack frees a place', async () => {
      const ref = await fresh()
      await streams.append(ref, numbers(1, 20))
      const dispatch = newDispatch()
      const one = await take(dispatch, ref, { window: 5, type: 'shared', ackTimeoutMs: 300 })
      await until('five have come', () => one.deliveries.length === 5)
      expect(await subscriptions.stats(ref, 's')).toMatchObject({ unacked: 5, backlog: 20 })
      const other = await take(newDispatch(), ref, { type: 'shared', window: 1, pull: true })
      other.consumer.ack([1, 2])
      await until('two more have come', () => one.texts().includes('7'))
      await until('what was not acked in time comes again', () => one.deliveries.some(({ redeliveries }) => redeliveries > 0))
      expect(one.deliveries.filter(({ message: { seq } }) => seq <= 2)).toHaveLength(2)
      await Promise.all([one.consumer.leave(), other.consumer.leave()])
    })

    test('gives what was refused again after its delay, counts it, and buries it in the end', async () => {
      const ref = await fresh()
      const dispatch = newDispatch()
      const one = await take(dispatch, ref, { maxRedeliveries: 2, nackDelayMs: 20 })
      await streams.append(ref, [message('bad', { key: 'k', properties: { a: 'b' } }), message('good')])
      let refused = 0
      await until('it is dead', async () => {
        const due = one.deliveries.slice(refused)
        refused = one.deliveries.length
        for (const { message: each } of due) {
          if (each.payload.toString() === 'good') one.consumer.ack([each.seq])
          else one.consumer.nack([each.seq])
        }
        return (await subscriptions.stats(ref, 's')).deadLettered === 1
      })
      const counts = one.deliveries.filter(({ message: each }) => each.payload.toString() === 'bad').map(({ redeliveries }) => redeliveries)
      expect(counts).toEqual([0, 1, 2])
      const dead = { project: ref.project, record: await streams.get(ref.project, 'readings-s-DLQ') }
      expect(await streams.read(dead, 0, 10)).toMatchObject([
        {
          payload: Buffer.from('bad'),
          key: 'k',
          properties: { a: 'b', deadLetterStream: 'readings', deadLetterSubscription: 's', deadLetterMessage: '1' },
        },
      ])
      expect(await subscriptions.stats(ref, 's')).toMatchObject({ backlog: 0, redelivered: 2 })
      await one.consumer.leave()
    })

    test('that is failover hands over, in order, from what was not acked', async () => {
      const ref = await fresh()
      await streams.append(ref, numbers(1, 10))
      const [first, second] = [newDispatch(), newDispatch()]
      const one = await take(first, ref, { type: 'failover' })
      const two = await take(second, ref, { type: 'failover' }, true)
      await until('one has all', () => one.deliveries.length === 10)
      expect([one.consumer.active, two.consumer.active, two.deliveries.length]).toEqual([true, false, 0])
      one.consumer.ack([1, 2, 3])
      await one.consumer.leave()
      await until('two has the rest', () => two.deliveries.length === 7)
      expect(two.texts()).toEqual(['4', '5', '6', '7', '8', '9', '10'])
      expect(two.deliveries.every(({ redeliveries }) => redeliveries === 1)).toBe(true)
      await two.consumer.leave()
    })

    test('that is shared gives each to one of its consumers, in whichever process', async () => {
      const ref = await fresh()
      const all = await Promise.all([1, 2, 3].map(() => take(newDispatch(), ref, { type: 'shared', window: 50 }, true)))
      for (let n = 0; n < 10; n++) await streams.append(ref, numbers(n * 100 + 1, n * 100 + 100))
      await until('all have come', () => all.reduce((sum, { deliveries }) => sum + deliveries.length, 0) >= 1000)
      const seqs = all.flatMap(({ deliveries }) => deliveries.map(each => each.message.seq)).toSorted((a, b) => a - b)
      expect(seqs).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1))
      await Promise.all(all.map(({ consumer }) => consumer.leave()))
    })

    test('that is key-shared keeps each key with one consumer and in order, through comings and goings', async () => {
      const ref = await fresh()
      const keyed = (n: number) => ({ key: `key-${n % 17}` })
      const seen = new Map<string, number[]>()
      const options = { subscription: 'k', type: 'key_shared', window: 20 } as const
      const join = async () => {
        const dispatch = newDispatch()
        let consumer: Consumer | undefined
        consumer = await dispatch.join(ref, options, {
          receive: some => {
            for (const { message: each } of some) {
              const own = seen.get(each.key as string) ?? []
              seen.set(each.key as string, own)
              own.push(each.seq)
            }
            consumer?.ack(some.map(each => each.message.seq))
          },
          ended: () => undefined,
        })
        return consumer
      }
      const first = await join()
      await streams.append(ref, numbers(1, 500, keyed))
      const second = await join()
      await streams.append(ref, numbers(501, 1000, keyed))
      await first.leave()
      const third = await join()
      await streams.append(ref, numbers(1001, 1500, keyed))
      await until('all are acked', async () => (await subscriptions.stats(ref, 'k')).backlog === 0)
      for (const own of seen.values()) {
        const once = own.filter((seq, i) => own.indexOf(seq) === i)
        expect(once).toEqual(once.toSorted((a, b) => a - b))
      }
      expect(new Set([...seen.values()].flat()).size).toBe(1500)
      await Promise.all([second.leave(), third.leave()])
    })

    test('goes on where it was when a process vanishes, after five seconds', async () => {
      const ref = await fresh()
      await streams.append(ref, numbers(1, 10))
      const connections: { disconnect(): void }[] = []
      const dying = new Dispatch({
        streams,
        subscriptions,
        connect: async () => {
          const redis = await server.connect('producer')
          connections.push(redis)
          return redis
        },
        troubled: () => undefined,
      })
      const one = await take(dying, ref)
      await until('it has all', () => one.deliveries.length === 10)
      for (const connection of connections) connection.disconnect()
      const living = newDispatch()
      await expect(take(living, ref)).rejects.toMatchObject({ code: 'conflict' })
      let next: Taken | undefined
      const takeOver = async () => {
        const [tried] = await Promise.allSettled([take(living, ref, {}, true)])
        next = tried.status === 'fulfilled' ? tried.value : undefined
        return next !== undefined
      }
      await until('it is taken over', takeOver, 15_000)
      await until('it has all again', () => next?.deliveries.length === 10)
      expect(next?.deliveries.every(({ redeliveries }) => redeliveries === 1)).toBe(true)
      await next?.consumer.leave()
      await dying.stop()
    })

    test('begins with the oldest that nobody has acked, and can be reset, cleared and removed', async () => {
      const ref = await fresh()
      await streams.append(ref, numbers(1, 3))
      const dispatch = newDispatch()
      const one = await take(dispatch, ref, { subscription: 'one' })
      await until('all came', () => one.deliveries.length === 3)
      one.consumer.ack([1])
      await until('it is acked', async () => (await subscriptions.stats(ref, 'one')).ackedTo === 1)
      const two = await take(dispatch, ref, { subscription: 'two' })
      await until('the later ones came', () => two.deliveries.length === 2)
      expect((await subscriptions.list(ref)).map(({ name }) => name)).toEqual(['one', 'two'])
      await expect(subscriptions.remove(ref, 'two')).rejects.toMatchObject({ code: 'conflict', field: 'consumers' })
      await subscriptions.reset(ref, 'two', { seq: 0 })
      await until('all come', () => two.deliveries.length === 5)
      await subscriptions.clearBacklog(ref, 'two')
      expect(await subscriptions.stats(ref, 'two')).toMatchObject({ backlog: 0, unacked: 0 })
      await subscriptions.remove(ref, 'two', { force: true })
      await until('it hears so', () => two.ended === 'not_found')
      await one.consumer.leave()
      await subscriptions.remove(ref, 'one')
      const again = await take(dispatch, ref, { subscription: 'again' })
      await streams.append(ref, [message('new')])
      await until('what nobody has acked or cleared comes', () => again.deliveries.length > 0)
      expect(again.texts()).toEqual(['new'])
      await again.consumer.leave()
    })

    test('of a consumer that pulls gives as many as it permits', async () => {
      const ref = await fresh()
      await streams.append(ref, numbers(1, 10))
      const one = await take(newDispatch(), ref, { pull: true })
      one.consumer.permit(3)
      await until('three came', () => one.deliveries.length === 3)
      one.consumer.permit(2)
      await until('two more came', () => one.deliveries.length === 5)
      one.consumer.permit(4)
      one.consumer.permit(-4)
      one.consumer.ack([1, 2, 3, 4, 5])
      await one.consumer.leave()
      expect(one.deliveries).toHaveLength(5)
      expect(await subscriptions.stats(ref, 's')).toMatchObject({ backlog: 5, acked: 5, unacked: 0 })
    })

    test('tells how many consumers each stream has here', async () => {
      const [ref, other] = [await fresh(), await fresh('others')]
      const dispatch = newDispatch()
      const shared = { type: 'shared' as const, subscription: 'shared' }
      const [one] = [await take(dispatch, ref, shared), await take(dispatch, ref, shared), await take(dispatch, other)]
      const counts = () => [...dispatch.consumers()].map(([project, stream, count]) => `${project} ${stream} ${count}`).toSorted()
      expect(counts()).toEqual([`${ref.project} readings 2`, `${other.project} others 1`].toSorted())
      await one.consumer.leave()
      expect(counts()).toContain(`${ref.project} readings 1`)
    })
  })

  describe('figures', () => {
    /** A connection, and how many commands went over it. */
    async function counting() {
      const redis = await server.connect()
      const counted = { redis, commands: 0 }
      const send = redis.sendCommand.bind(redis)
      redis.sendCommand = (...args) => {
        counted.commands++
        return send(...args)
      }
      return counted
    }

    test('of many streams and their subscriptions take one call for each, and no payloads', async () => {
      const project = freshProject()
      const refs: Ref[] = []
      for (const name of ['a', 'b', 'c']) {
        const ref = { project, record: await streams.create(project, name) }
        for (let i = 0; i < 4; i++) await subscriptions.create(ref, `s${i}`, 'shared')
        await streams.append(ref, [message('x'.repeat(1_000_000)), message('y')])
        refs.push(ref)
      }
      const [ref] = refs as [Ref]
      await subscriptions.reset(ref, 's0', { seq: 2 })
      await subscriptions.reset(ref, 's1', { seq: 1 })
      const counted = await counting()
      const own = new Subscriptions(counted.redis, new DurableStreams(counted.redis))
      const look = async () => [await own.summaries(refs), await own.statsOf(ref, ['s1', 's0', 'gone', 's3'])] as const
      await look()
      counted.commands = 0
      const read = counted.redis.stream as unknown as { readonly bytesRead: number }
      const before = read.bytesRead
      const [summaries, stats] = await look()
      expect(read.bytesRead - before).toBeLessThan(10_000)
      expect(counted.commands).toBe(3 + 3 + 1 + 1 + 3)
      expect(summaries.map(summary => summary?.backlog)).toEqual([2, 2, 2])
      expect(summaries[0]).toMatchObject({ ...(await streams.stats(ref)), rateIn: expect.any(Number), byteRateIn: expect.any(Number) })
      expect(summaries[0]).toMatchObject({ messages: 2, subscriptions: 4, consumers: 0, backlogAgeMs: expect.any(Number) })
      expect(stats.map(({ name, backlog, ackedTo }) => [name, backlog, ackedTo])).toEqual([
        ['s1', 1, 1],
        ['s0', 0, 2],
        ['s3', 2, 0],
      ])
      await streams.remove(project, 'b')
      expect((await own.summaries(refs)).map(summary => summary?.messages)).toEqual([2, undefined, 2])
    })

    test('of streams with many subscriptions come in parts', async () => {
      const project = freshProject()
      const refs: Ref[] = []
      for (const name of ['a', 'b', 'c']) {
        const ref = { project, record: await streams.create(project, name) }
        await Promise.all(Array.from({ length: 900 }, (_, i) => subscriptions.create(ref, `s${i}`, 'shared', 'latest')))
        refs.push(ref)
      }
      expect((await subscriptions.summaries(refs)).map(summary => summary?.subscriptions)).toEqual([900, 900])
      expect((await subscriptions.summaries(refs.slice(2))).map(summary => summary?.subscriptions)).toEqual([900])
    })
  })
})
