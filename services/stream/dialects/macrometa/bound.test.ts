// What peers of the WebSockets may do, and what it costs: floods, half frames, answers that nobody takes (hazards.md 38).
import { once } from 'node:events'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { installed, openTestRedis, type TestRedis } from '../../../../packages/log/fixture.ts'
import { eventually, until } from '../../../../test/eventually.ts'
import { address, idOf, STREAMS, speakMacrometa } from '../../../../test/macrometa.ts'
import { openRaw, type RawSocket } from '../../../../test/socket.ts'
import { Ears } from './ear.ts'
import { type Node, type NodeSettings, openNode } from './fixture.ts'
import { Heartbeat } from './heartbeat.ts'
import { Rooms } from './room.ts'

const MB = 1024 * 1024
const TEXT = 0x81
const END_OF_TOPIC = '{"type":"isEndOfTopic"}'

let server: TestRedis
let node: Node
const more: Node[] = []
beforeAll(async () => {
  if (installed === undefined) return
  server = await openTestRedis()
  node = await openNode(server)
})
afterEach(async () => {
  here.cut()
  for (const one of more.splice(0)) await one.stop()
})
afterAll(async () => {
  await node?.stop()
  await server?.stop()
})

const here = speakMacrometa(() => node)
const { ask, newStream, produce, publish, consume, read, statusOf } = here
const statsOf = async (topic: string) => (await ask('GET', `${STREAMS}/${topic}/stats`)).json['result']
const used = () => process.memoryUsage().rss / MB

async function another(settings: NodeSettings): Promise<Node> {
  const opened = await openNode(server, settings)
  more.push(opened)
  return opened
}

const raw = (path: string, { port }: Pick<Node, 'port'> = node) => openRaw(port, path, here.apiKey())

/** Sends until nobody takes it any more, or so often. Returns how often. */
async function flood({ socket, write }: RawSocket, text: string, most: number, each = 1000): Promise<number> {
  for (let sent = 0; sent < most; sent += each) {
    if (socket.writableLength > 8 * MB) return sent
    socket.cork()
    for (let i = 0; i < each; i++) write(TEXT, text)
    socket.uncork()
    await new Promise(resolve => setImmediate(resolve))
  }
  return most
}

describe.skipIf(installed === undefined)('memory is bounded', () => {
  test('for a consumer that permits a million, and acks and reads nothing', async () => {
    const topic = await newStream()
    const producer = await produce(topic)
    const payload = 'A'.repeat(4000)
    for (let i = 0; i < 10_000; i++) producer.send({ payload })
    await producer.have(10_000)
    const before = used()
    const consumer = await raw(address('consumer', topic, { subscription: 's', query: 'pullMode=true' }))
    consumer.socket.pause()
    consumer.write(TEXT, '{"type":"permit","permitMessages":1000000}')
    const given = async () =>
      ((await statsOf(topic)) as { subscriptions: { s: { unackedMessages: number } } }).subscriptions.s.unackedMessages
    await eventually(async () => expect(await given()).toBeGreaterThan(500))
    // As much as fits into the buffers on the way, and then no more although it asks.
    for (let last = -1; last !== (await given()); ) last = await given()
    expect(await given()).toBeLessThan(9000)
    expect(used() - before).toBeLessThan(100)
    consumer.socket.resume()
    await eventually(async () => expect(await given()).toBe(10_000))
    consumer.socket.destroy()
  }, 60_000)

  test('for a producer that sends on and takes no answers', async () => {
    const topic = await newStream()
    const producer = await raw(address('producer', topic))
    producer.socket.pause()
    const before = used()
    const context = 'c'.repeat(60_000)
    const frame = JSON.stringify({ payload: 'AA==', context })
    expect(await flood(producer, frame, 3000, 1)).toBeLessThan(3000)
    expect(used() - before).toBeLessThan(150)
    producer.socket.destroy()
  }, 60_000)

  test.each(['consumer', 'reader'] as const)(
    'for a %s that sends commands and takes no answers',
    async kind => {
      const topic = await newStream()
      const peer = await raw(address(kind, topic, kind === 'consumer' ? { subscription: 's' } : {}))
      peer.socket.pause()
      const before = used()
      expect(await flood(peer, END_OF_TOPIC, 3_000_000)).toBeLessThan(3_000_000)
      expect(used() - before).toBeLessThan(150)
      // Once it takes them, it is heard again.
      peer.socket.resume()
      await until('all is taken', () => peer.socket.writableLength === 0, 50_000)
      peer.socket.destroy()
    },
    60_000,
  )

  test('for a consumer that acks faster than its subscription can take it', async () => {
    const topic = await newStream()
    await publish(topic, 'a')
    const consumer = await raw(address('consumer', topic, { subscription: 's', query: 'subscriptionType=Shared' }))
    const other = await consume(topic, 's', 'subscriptionType=Shared')
    await eventually(async () => expect(await statsOf(topic)).toMatchObject({ subscriptions: { s: { unackedMessages: 1 } } }))
    const reader = await read(topic, 'messageId=earliest')
    const ack = JSON.stringify({ ...idOf((await reader.have(1))[0]), ignored: 'x'.repeat(1000) })
    server.signal('SIGSTOP')
    const sent = await flood(consumer, ack, 40_000, 100).finally(() => server.signal('SIGCONT'))
    expect(sent).toBeLessThan(40_000)
    await until('all is taken', () => consumer.socket.writableLength === 0, 50_000)
    await eventually(async () => expect(await statsOf(topic)).toMatchObject({ subscriptions: { s: { msgBacklog: 0 } } }))
    consumer.socket.destroy()
    await other.close()
  }, 60_000)

  test('for frames of those who send only commands, whole or half', async () => {
    const topic = await newStream()
    const text = JSON.stringify({ type: 'isEndOfTopic', ignored: 'x'.repeat(4096) })
    for (const kind of ['consumer', 'reader'] as const) {
      const peer = await raw(address(kind, topic, kind === 'consumer' ? { subscription: 's' } : {}))
      // The head of a frame is enough.
      peer.write(TEXT, text.slice(0, 10), { length: Buffer.from([126, 0x10, 0x01]) })
      expect(await peer.closeCode()).toBe(1009)
    }
    const producer = await produce(topic)
    producer.send(text)
    expect(await producer.have(1)).toMatchObject([{ result: 'send-error:7' }])
  })

  test('for all producers together, and each message is answered in the end', async () => {
    const ears = new Ears(MB)
    const crowded = await another({ sockets: { ears } })
    const there = speakMacrometa(() => crowded)
    const topic = await newStream()
    const frame = { payload: 'A'.repeat(40_000) }
    const producers = await Promise.all(Array.from({ length: 20 }, () => there.produce(topic)))
    server.signal('SIGSTOP')
    let most = 0
    try {
      for (let i = 0; i < 50; i++) {
        for (const producer of producers) producer.send(frame)
        await new Promise(resolve => setImmediate(resolve))
        most = Math.max(most, ears.waitingBytes)
      }
    } finally {
      server.signal('SIGCONT')
    }
    for (const producer of producers) await producer.have(50)
    expect(most).toBeGreaterThan(MB)
    // What each had on its way when it was full.
    expect(most).toBeLessThan(MB + 20 * 128 * 1024)
    await eventually(() => expect(ears.waitingBytes).toBe(0))
    there.cut()
  }, 60_000)
})

describe.skipIf(installed === undefined)('large messages', () => {
  const large = (bytes: number) => JSON.stringify({ payload: 'A'.repeat(bytes) })
  const length = (bytes: number) => {
    const size = Buffer.alloc(9)
    size[0] = 127
    size.writeBigUInt64BE(BigInt(bytes), 1)
    return size
  }

  test('come some at a time, and all of them in the end', async () => {
    const there = speakMacrometa(() => roomy)
    const roomy = await another({ sockets: { ears: new Ears(64 * MB, new Rooms(2)) } })
    const topic = await newStream()
    const producers = await Promise.all(Array.from({ length: 6 }, () => there.produce(topic)))
    for (const producer of producers) for (let i = 0; i < 3; i++) producer.send(large(MB))
    for (const producer of producers) expect((await producer.have(3)).map(({ result }) => result)).toEqual(Array(3).fill('ok'))
    there.cut()
  }, 60_000)

  test('of which only half comes keep no more than some others waiting, and not for ever', async () => {
    const crowded = await another({ sockets: { ears: new Ears(64 * MB, new Rooms(2, 500)) } })
    const there = speakMacrometa(() => crowded)
    const topic = await newStream()
    const stuck = await Promise.all(Array.from({ length: 2 }, () => raw(address('producer', topic), crowded)))
    for (const { write } of stuck) write(TEXT, 'x'.repeat(2 * MB), { length: length(4 * MB) })
    await until('all is taken', () => stuck.every(({ socket }) => socket.writableLength === 0))
    const waits = await raw(address('producer', topic), crowded)
    waits.write(TEXT, 'x'.repeat(2 * MB), { length: length(4 * MB) })
    const small = await there.produce(topic)
    small.send({ payload: 'AA==' })
    expect(await small.have(1)).toMatchObject([{ result: 'ok' }])
    // It has its turn when one of the first has gone, and the next when the other has.
    expect(await stuck[0]?.closeCode()).toBe(1013)
    const producer = await there.produce(topic)
    producer.send(large(MB))
    expect(await stuck[1]?.closeCode()).toBe(1013)
    expect(await producer.have(1)).toMatchObject([{ result: 'ok' }])
    waits.socket.destroy()
    there.cut()
  }, 60_000)
})

describe.skipIf(installed === undefined)('a producer', () => {
  test('that takes no answers is cut off', async () => {
    let nowMs = 0
    const impatient = await another({ sockets: { heartbeat: new Heartbeat(50, () => nowMs) } })
    const topic = await newStream()
    const producer = await raw(address('producer', topic), impatient)
    producer.socket.pause()
    const frame = JSON.stringify({ payload: 'AA==', context: 'c'.repeat(60_000) })
    expect(await flood(producer, frame, 3000, 1)).toBeLessThan(3000)
    expect(impatient.produced.size).toBe(1)
    await eventually(() => {
      nowMs += 6 * 60_000
      expect(impatient.produced.size).toBe(0)
    })
    producer.socket.destroy()
  }, 60_000)
})

/** Writes of Redis wait; to look who somebody is is none. */
async function withoutWrites(act: () => Promise<void>): Promise<void> {
  const redis = await server.connect('producer')
  await redis.call('CLIENT', 'PAUSE', '60000', 'WRITE')
  try {
    await act()
  } finally {
    await redis.call('CLIENT', 'UNPAUSE')
  }
}

describe.skipIf(installed === undefined)('while those who have just left a stream are not done', () => {
  test('it is unavailable, and not silent', async () => {
    const topic = await newStream()
    const leaving = await consume(topic, 's')
    await withoutWrites(async () => {
      await leaving.close()
      const removal = ask('DELETE', `${STREAMS}/${topic}/subscriptions/s`)
      expect(await statusOf(address('consumer', topic, { subscription: 's' }))).toBe(503)
      expect((await removal).status).toBe(503)
    })
    await consume(topic, 's')
  }, 60_000)

  test('who wanted to come and has gone away meanwhile takes nothing', async () => {
    const topic = await newStream()
    const leaving = await consume(topic, 's')
    const verified = vi.spyOn(node.identity, 'verify')
    await withoutWrites(async () => {
      await leaving.close()
      const way = `${node.url().replace('http', 'ws')}${address('consumer', topic, { subscription: 'ghost' })}`
      const ghost = new WebSocket(way, { headers: { authorization: here.apiKey() } })
      const gone = once(ghost, 'error')
      await until('it is known who it is', () => verified.mock.settledResults.some(({ type }) => type === 'fulfilled'))
      ghost.terminate()
      await gone
      expect((await ask('GET', `${STREAMS}/${topic}/subscriptions`)).json['result']).toEqual(['s'])
    })
    verified.mockRestore()
    await consume(topic, 's')
    expect((await ask('GET', `${STREAMS}/${topic}/subscriptions`)).json['result']).toEqual(['s'])
  }, 60_000)
})

describe.skipIf(installed === undefined)('a reader', () => {
  test('asks once for each message, and never for statistics', async () => {
    const topic = await newStream()
    const reader = await read(topic)
    const [reads, stats] = [vi.spyOn(node.streams, 'read'), vi.spyOn(node.streams, 'stats')]
    await eventually(async () => {
      await publish(topic, 'first')
      expect(reader.frames().length).toBeGreaterThan(0)
    })
    reads.mockClear()
    const before = reader.frames().length
    for (let i = 1; i <= 20; i++) {
      await publish(topic, 'a')
      await reader.have(before + i)
    }
    expect(reads.mock.calls.length).toBeLessThanOrEqual(25)
    expect(stats).not.toHaveBeenCalled()
    for (const spy of [reads, stats]) spy.mockRestore()
  })

  test('gets all, however much stands around the messages', async () => {
    const topic = await newStream()
    const producer = await produce(topic)
    // Six bytes each, where it is kept.
    const properties = { unit: '\u0001'.repeat(16_000) }
    // After so many it asks for the most at once, and does not get all of that.
    for (let i = 0; i < 63; i++) producer.send({ payload: '' })
    for (let i = 0; i < 30; i++) producer.send({ payload: '', properties })
    await producer.have(93)
    await (await read(topic, 'messageId=earliest')).have(93)
  })

  test('is told when its stream is gone, although there is a new one of its name', async () => {
    const topic = await newStream()
    await publish(topic, 'a')
    const [idle, full] = [await read(topic), await read(topic, 'messageId=earliest&receiverQueueSize=1')]
    const [frame] = await full.have(1)
    expect((await ask('DELETE', `${STREAMS}/${topic}?force=true`)).status).toBe(200)
    expect((await idle.closed).code).toBe(4008)
    expect((await ask('POST', `${STREAMS}/${topic}`)).status).toBe(200)
    full.send(idOf(frame))
    expect((await full.closed).code).toBe(4008)
  })
})

describe.skipIf(installed === undefined)('the limit of requests', () => {
  test('that manage holds up those who create and remove, not those who look and consume', async () => {
    const limited = await another({ limits: { manage: { requests: 1, windowMs: 60_000 }, ingest: { requests: 1000, windowMs: 60_000 } } })
    const there = speakMacrometa(() => limited)
    const topic = await there.newStream()
    for (let i = 0; i < 5; i++) {
      for (const path of ['', `/${topic}/stats`, `/${topic}/backlog`, `/${topic}/subscriptions`])
        expect((await there.ask('GET', `${STREAMS}${path}`)).status).toBe(200)
      await there.consume(topic, `s-${i}`)
      await there.read(topic)
    }
    for (const [method, path] of [
      ['POST', '/other'],
      ['DELETE', `/${topic}`],
    ] as const)
      expect((await there.ask(method, `${STREAMS}${path}`)).status).toBe(429)
    there.cut()
  })
})
