// What the broker promises while Redis is slow, or not heard, on a real Redis that is held.
import { once } from 'node:events'
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { Bus } from './bus.ts'
import { PREFIX } from './script.ts'
import { Storage } from './storage.ts'

const log = openLogger('silent')
const AUTHOR = { keyId: 'k', account: 'a' }
const BEAT_MS = 25

describe.skipIf(!installed)('while Redis is slow or not heard', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server?.stop())

  async function connections(): Promise<{ redis: Redis; subscriber: Redis }> {
    return { redis: await server.connect('producer'), subscriber: await server.connect('subscriber') }
  }

  async function openBus(node: string) {
    const between = await connections()
    let misses = 0
    const missed = () => void misses++
    const bus = await Bus.open({ ...between, node, log, heard: () => {}, reconnected: () => {}, missed, beatMs: BEAT_MS })
    onTestFinished(() => new Promise<void>(resolve => bus.close(resolve)))
    return { ...between, bus, misses: () => misses }
  }

  let ids = 0
  async function openStorage(node: string) {
    const between = await connections()
    const storage = await Storage.open({ ...between, node, log, newId: () => `id${++ids}`, dropped: () => {} }, () => {})
    onTestFinished(async () => {
      await new Promise<void>(resolve => storage.bus.close(resolve))
      await storage.stop()
    })
    return { ...between, storage }
  }

  async function comeAndGo({ sessions }: Storage, id: string, filter: string): Promise<void> {
    const lasting = await sessions.open(id, 'p')
    await sessions.subscribe(id, [[filter, { qos: 2, short: false }]])
    await sessions.leave(lasting)
  }

  async function held(run: () => Promise<void>): Promise<void> {
    server.signal('SIGSTOP')
    await run().finally(() => server.signal('SIGCONT'))
  }
  const isAway = ({ redis }: { readonly redis: Redis }) => redis.status !== 'ready'

  const isPong = (answer: string) => answer === 'PONG'

  const publication = (topic: string, text: string, qos: 1 | 2, retain = false) => ({ topic, payload: Buffer.from(text), qos, retain })

  it('gateways know each other as before, however long nobody hears anybody', async () => {
    const [here, there] = [await openBus('one'), await openBus('two')]
    there.bus.on('a', (_packet, done) => done())
    await until('it is known', () => here.bus.has('a'))
    await held(async () => {
      await until('both have waited for an answer, for more beats than it takes to be forgotten', () => [here, there].every(isAway))
      expect(here.bus.has('a')).toBe(true)
    })
    let forgotten = false
    for (const { bus, redis } of [here, there]) {
      await until('Redis is back', () => redis.status === 'ready')
      // Each hears what the other says now.
      bus.on('b', (_packet, done) => done())
      await until('the other knows', () => (bus === here.bus ? there : here).bus.has('b'))
      forgotten ||= !here.bus.has('a')
    }
    expect(forgotten).toBe(false)
  })

  it('a gateway that is silent is still sent what it wants; after long it is forgotten', async () => {
    const [here, there] = [await openBus('three'), await openBus('four')]
    there.bus.on('c', (_packet, done) => done())
    await until('it is known', () => here.bus.has('c'))
    const before = here.misses()
    there.redis.disconnect()
    await until('it is noticed', () => here.misses() > before)
    expect(here.bus.has('c')).toBe(true)
    await until('it is forgotten', () => !here.bus.has('c'))
  })

  it('what is published with QoS 2, and queued without an answer, is passed on when it comes again; once, under its id', async () => {
    const project = freshProject()
    const topic = `projects/${project}/a`
    const { storage, redis } = await openStorage('five')
    const from = { id: 'k\nsender', packetId: 7 }
    await storage.sessions.open(from.id, 'p')
    await comeAndGo(storage, 'k\nwaits', topic)
    const first = publication(topic, 'x', 2)
    await held(() => expect(storage.keep(first, AUTHOR, from)).rejects.toThrow())
    await until('it is queued', async () => (await server.redis.zcard(`${PREFIX}queue:k\nwaits`)) === 1)
    await until('Redis answers', () => redis.ping().then(isPong, () => false))
    expect(storage.isUnsettled(first, from)).toBe(true)
    const again = publication(topic, 'x', 2)
    expect(await storage.keep(again, AUTHOR, from)).toBe(true)
    expect(await server.redis.zrange(`${PREFIX}queue:k\nwaits`, 0, '-1')).toEqual([
      (again as { properties?: { id?: string } }).properties?.id,
    ])
    expect(storage.isUnsettled(again, from)).toBe(false)
    expect(await storage.keep(publication(topic, 'x', 2), AUTHOR, from)).toBe(false)
  })

  it('nothing is promised before it is known who waits for it; events are, which are in the log', async () => {
    const project = freshProject()
    const topic = `projects/${project}/b`
    const [{ storage, subscriber }, { storage: other }] = [await openStorage('six'), await openStorage('seven')]
    const gone = once(subscriber, 'close')
    subscriber.disconnect(true)
    await gone
    await comeAndGo(other, 'k\nelsewhere', topic)
    expect(storage.keep(publication(`projects/${project}/devices/d/events/t`, 'x', 1), AUTHOR)).toBeUndefined()
    await storage.keep(publication(topic, 'x', 1), AUTHOR)
    expect(await server.redis.zcard(`${PREFIX}queue:k\nelsewhere`)).toBe(1)
  })

  it('what one client publishes is queued in its order, retained or not', async () => {
    const topic = `projects/${freshProject()}/c`
    const { storage } = await openStorage('eight')
    await comeAndGo(storage, 'k\norder', topic)
    const all = Array.from({ length: 10 }, async (_, n) => storage.keep(publication(topic, String(n), 1, n % 2 === 0), AUTHOR))
    await Promise.all(all)
    const texts: string[] = []
    for await (const { message } of (await storage.sessions.open('k\norder', 'p')).waiting()) texts.push(message.payload.toString())
    expect(texts).toEqual(Array.from({ length: 10 }, (_, n) => String(n)))
  })
})
