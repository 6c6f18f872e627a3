// What the broker keeps, on a real Redis: how much of it, for how long, and what is dropped.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { projectKey } from '../../../packages/log/key.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { keyIdOf, sessionId } from '../mqtt/session.ts'
import { leftOver } from './fixture.ts'
import { type Author, encodeMessage, type Qos } from './message.ts'
import { Retained } from './retained.ts'
import { PREFIX } from './script.ts'
import type { SessionLimits } from './sessions.ts'
import { Storage } from './storage.ts'

/** Of a change, later than any that Redis numbers. */
const AFTER_ALL = 9e15
const DAY_MS = 24 * 3_600_000
const LIMITS = { awayMs: DAY_MS, sessionsOfKey: 2, sessions: 3, messages: 3, sessionBytes: 3000, holderBytes: 4000, allBytes: 6000 }
const AUTHOR = { keyId: 'k', account: 'a' }

describe.skipIf(!installed)('what the broker keeps', () => {
  let server: TestRedis
  let storage: Storage
  let nowMs = 0
  let dropped = 0
  let ids = 0

  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())
  beforeEach(async () => {
    await storage?.stop()
    await server.redis.flushall()
    ;[nowMs, dropped] = [0, 0]
    storage = await open('one')
  })

  const open = (node: string) => openWith({}, node)

  async function openWith(limits: Partial<SessionLimits>, node = 'other'): Promise<Storage> {
    const ports = { redis: server.redis, subscriber: await server.connect(), node, log: openLogger('silent') }
    const counting = { newId: () => `id${++ids}`, dropped: () => void dropped++, nowMs: () => nowMs }
    return Storage.open({ ...ports, ...counting }, () => {}, { ...LIMITS, ...limits })
  }

  const keep = async (topic: string, text: string, qos: Qos = 1, retain = false) =>
    storage.keep({ topic, payload: Buffer.from(text), qos, retain }, AUTHOR)

  async function comeAndGo(keyId: string, clientId: string, filter = 'a', holder = keyId): Promise<string> {
    const id = sessionId(keyId, clientId)
    const lasting = await storage.sessions.open(id, holder)
    await storage.sessions.subscribe(id, [[filter, { qos: 1, short: false }]])
    await storage.sessions.leave(lasting)
    // Long enough to be taken for away.
    nowMs += 180_000
    return id
  }

  async function waiting(id: string): Promise<(string | undefined)[]> {
    const found: (string | undefined)[] = []
    for await (const { message } of (await storage.sessions.open(id, keyIdOf(id))).waiting()) found.push(message?.payload.toString())
    return found
  }

  it('is nothing for a topic that nobody waits for, and nothing with QoS 0', async () => {
    await comeAndGo('k', 'c', 'a/#')
    expect(storage.keep({ topic: 'b', payload: '', qos: 1, retain: false }, AUTHOR)).toBeUndefined()
    expect(storage.keep({ topic: 'a/b', payload: '', qos: 0, retain: false }, AUTHOR)).toBeUndefined()
    expect([storage.hasSubscribers('a/b'), storage.hasSubscribers('b')]).toEqual([true, false])
  })

  it('waits once for a session that several of its filters match, the oldest dropped beyond a number', async () => {
    const id = await comeAndGo('k', 'c', 'a/#')
    await storage.sessions.subscribe(id, [['a/+', { qos: 2, short: false }]])
    for (const text of ['1', '2', '3', '4']) await keep('a/b', text)
    expect(await waiting(id)).toEqual(['2', '3', '4'])
    expect(dropped).toBe(1)
  })

  it('is bounded in bytes: of a session, of a project, and of all; who holds most makes room', async () => {
    const holders = [
      ['k', '1', 'one', 'p'],
      ['l', '2', 'two', 'p'],
      ['o', '3', 'other', 'q'],
    ] as const
    const [one, two, other] = (await Promise.all(
      holders.map(([keyId, clientId, filter, holder]) => comeAndGo(keyId, clientId, filter, holder)),
    )) as [string, string, string]
    const kept = async () => await Promise.all([one, two, other].map(id => server.redis.zcard(`${PREFIX}queue:${id}`)))
    await keep('one', 'x'.repeat(2000))
    await keep('one', 'y'.repeat(2000))
    expect(await kept()).toEqual([1, 0, 0])
    await keep('two', 'z'.repeat(1000))
    expect(await kept()).toEqual([1, 1, 0])
    // The project is full: the session that has most of it loses its oldest, not the one that something comes for.
    await keep('two', 'z'.repeat(500))
    expect(await kept()).toEqual([0, 2, 0])
    // All is full: the project that has most of it does.
    await keep('one', 'x'.repeat(1000))
    await keep('other', 'w'.repeat(2600))
    expect(await kept()).toEqual([1, 1, 1])
    // What has no room in an empty session takes none from what waits.
    await keep('other', 'v'.repeat(4000))
    expect(await kept()).toEqual([1, 1, 1])
    for (const id of [one, two, other]) await storage.sessions.forget(id)
    await storage.sessions.clean()
    // Nothing is left of them, not a count either.
    expect(await leftOver(server.redis)).toEqual([])
  })

  it('is not pushed out by any number of keys of one project, in bytes or in sessions', async () => {
    const small = await comeAndGo('small', 'c', 'small')
    await keep('small', 'x'.repeat(100))
    for (const keyId of ['k1', 'k2', 'k3', 'k4', 'k5']) {
      nowMs++
      await comeAndGo(keyId, 'c', keyId, 'flood')
      await keep(keyId, 'x'.repeat(2500))
    }
    expect(await waiting(small)).toEqual(['x'.repeat(100)])
    expect(await server.redis.zcard(`${PREFIX}sessions`)).toBe(3)
  })

  it('is itself dropped when room for it would take Redis too long', async () => {
    const many = await openWith({ messages: 3000, sessionBytes: 1_000_000, holderBytes: 600_000, allBytes: 900_000 })
    const [full, next] = [await comeAndGo('k', 'full', 'full', 'p'), await comeAndGo('l', 'next', 'next', 'p')]
    const message = (topic: string, id: string, size = 1) => ({ id, topic, qos: 1 as const, payload: Buffer.alloc(size) })
    await Promise.all(Array.from({ length: 2000 }, (_, i) => many.sessions.queue(message('full', `${i}`))))
    await many.sessions.queue(message('next', 'large', 580_000))
    const kept = await Promise.all([full, next].map(id => server.redis.zcard(`${PREFIX}queue:${id}`)))
    expect(kept[0]).toBeGreaterThan(500)
    expect(kept[1]).toBe(0)
    await many.stop()
  })

  it('has no packet id any more when it is dropped', async () => {
    const id = await comeAndGo('k', 'c')
    await keep('a', '1')
    const lasting = await storage.sessions.open(id, 'k')
    for await (const { id: message } of lasting.waiting()) await lasting.sentAs(7, message)
    expect(await server.redis.hlen(`${PREFIX}sent:${id}`)).toBe(1)
    for (const text of ['2', '3', '4']) await keep('a', text)
    expect(await server.redis.hlen(`${PREFIX}sent:${id}`)).toBe(0)
  })

  it('is forgotten with a session that nobody came back to for a day', async () => {
    const old = await comeAndGo('k', 'old')
    nowMs = DAY_MS - 1
    const recent = await comeAndGo('k', 'recent')
    await keep('a', '1')
    nowMs = DAY_MS
    await storage.sessions.expire()
    expect([(await storage.sessions.open(recent, 'k')).existed, (await storage.sessions.open(old, 'k')).existed]).toEqual([true, false])
    expect([await waiting(recent), await waiting(old)]).toEqual([['1'], []])
  })

  it('is forgotten a few sessions at a time, however many there are', async () => {
    const many = await openWith({ sessionsOfKey: 1000, sessions: 1000 })
    await Promise.all(
      Array.from({ length: 450 }, async (_, i) => many.sessions.leave(await many.sessions.open(sessionId('k', `c${i}`), 'k'))),
    )
    nowMs = DAY_MS
    await server.redis.config('RESETSTAT')
    await many.sessions.expire()
    expect(await leftOver(server.redis)).toEqual([])
    const ran = (await server.redis.info('commandstats')).matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)
    expect([...ran].reduce((sum, [, calls]) => sum + Number(calls), 0)).toBeGreaterThanOrEqual(3)
    await many.stop()
  })

  it('is forgotten, the longest away first, when a key keeps too many sessions, or who has most of them when there are too many in all', async () => {
    const kept = []
    for (const [keyId, clientId] of [
      ['k', '1'],
      ['k', '2'],
      ['k', '3'],
      ['o', '1'],
      ['o', '2'],
    ] as const) {
      nowMs++
      kept.push(await comeAndGo(keyId, clientId))
    }
    expect(await server.redis.zrange(`${PREFIX}sessions`, 0, '-1')).toEqual([kept[1], kept[2], kept[4]])
  })

  it('is known to another gateway at once, and to one that comes later', async () => {
    const other = await open('two')
    const id = await comeAndGo('k', 'c', 'a/+')
    await until('the other knows', () => other.hasSubscribers('a/b'))
    const late = await open('three')
    expect(late.hasSubscribers('a/b')).toBe(true)
    await storage.sessions.forget(id)
    await until('both know', () => !other.hasSubscribers('a/b') && !late.hasSubscribers('a/b'))
    for (const one of [other, late]) await one.stop()
  })

  it('comes again, with QoS 2, until it was there for the last of many sessions', async () => {
    const many = await openWith({ sessionsOfKey: 1000, sessions: 1000, allBytes: 1_000_000, holderBytes: 1_000_000 })
    const sessions = Array.from({ length: 501 }, (_, i) => sessionId('k', `c${i}`))
    await Promise.all(sessions.map(id => many.sessions.open(id, 'k')))
    await Promise.all(sessions.map(id => many.sessions.subscribe(id, [['a', { qos: 2, short: false }]])))
    const from = { id: sessionId('k', 'sender'), packetId: 7 }
    await many.sessions.open(from.id, 'k')
    const message = (id: string, text = '1') => ({ id, topic: 'a', qos: 2 as const, payload: Buffer.from(text) })
    // Redis goes away after the first of them: what it says to the second is an error.
    const last = `${PREFIX}queue:${sessions.at(-1)}`
    await server.redis.set(last, 'not a queue')
    await expect(many.sessions.queue(message('first'), from)).rejects.toThrow('WRONGTYPE')
    await server.redis.del(last)
    // It has not come yet for who looks at the session, and goes on under its old name: nobody has it twice.
    expect((await many.sessions.open(from.id, 'k')).comesAgain(7)).toBe(false)
    expect(await many.sessions.queue(message('second'), from)).toBe('first')
    const queued = await Promise.all(sessions.map(id => server.redis.zrange(`${PREFIX}queue:${id}`, 0, '-1')))
    expect(queued).toEqual(sessions.map(() => ['first']))
    expect(await many.sessions.queue(message('third'), from)).toBeUndefined()
    expect((await many.sessions.open(from.id, 'k')).comesAgain(7)).toBe(true)
    // One that broke off, and whose packet id its sender has forgotten: the next under it is another message.
    const next = { ...from, packetId: 8 }
    await server.redis.rename(last, 'aside')
    await server.redis.set(last, 'not a queue')
    await expect(many.sessions.queue(message('broke off', '2'), next)).rejects.toThrow('WRONGTYPE')
    await server.redis.rename('aside', last)
    expect(await many.sessions.queue(message('another', '3'), next)).toBe('another')
    expect(await server.redis.zrange(last, 0, '-1')).toEqual(['first', 'another'])
    expect(await server.redis.exists(`${PREFIX}coming:${from.id}`)).toBe(0)
    await many.stop()
  })

  it('is what was told last, also while all of it is read', async () => {
    const [kept, ended, gone] = [await comeAndGo('k', 'kept', 'old'), await comeAndGo('k', 'ended', 'x'), await comeAndGo('o', 'gone', 'y')]
    const tell = (change: object) => storage.sessions.heard(Buffer.from(JSON.stringify({ ...change, number: String(AFTER_ALL + ++ids) })))
    const granted = JSON.stringify({ qos: 1, short: false })
    // What Redis says to it does not know of these yet, as if it had been asked a moment before.
    const read = storage.sessions.read()
    tell({ kind: 'subscribed', id: kept, filters: [['new', granted]] })
    tell({ kind: 'subscribed', id: ended, filters: [['x', '']] })
    tell({ kind: 'forgotten', id: gone })
    tell({ kind: 'subscribed', id: 'k\nlater', filters: [['later', granted]] })
    await read
    expect(['old', 'new', 'x', 'y', 'later'].map(topic => storage.hasSubscribers(topic))).toEqual([true, true, false, false, true])
  })

  it('of retained messages is bounded for each project; an empty one makes room', async () => {
    const project = freshProject()
    const topic = (name: string) => `projects/${project}/${name}`
    const retained = new Retained(server.redis, openLogger('silent'), { messages: 2, bytes: 1000 })
    const store = (name: string, text: string) =>
      retained.store(project, { id: 'x', topic: topic(name), qos: 1, payload: Buffer.from(text), author: AUTHOR })
    expect([await store('a', '1'), await store('b', '2'), await store('c', '3'), await store('b', '4')]).toEqual([true, true, false, true])
    expect([await store('b', 'x'.repeat(1000)), await store('a', ''), await store('c', '3')]).toEqual([false, true, true])
    const found: string[] = []
    for await (const { payload } of retained.match([topic('#'), topic('+')])) found.push(payload.toString())
    expect(found.sort()).toEqual(['3', '4'])
  })

  it('of retained messages does not count alarms, whatever stood there before', async () => {
    const project = freshProject()
    const retained = new Retained(server.redis, openLogger('silent'), { messages: 1, bytes: 1000 })
    const store = (name: string, text: string, author: { author?: Author } = {}) =>
      retained.store(project, { id: 'x', topic: `projects/${project}/${name}`, qos: 1, payload: Buffer.from(text), ...author })
    const [theirs, ours] = [{ author: AUTHOR }, {}]
    expect([await store('alarm', 'x'.repeat(2000)), await store('alarm2', '1'), await store('a', '1', theirs)]).toEqual([true, true, true])
    expect([await store('b', '1', theirs), await store('a', '2', ours), await store('b', '1', theirs)]).toEqual([false, true, true])
    for (const name of ['alarm', 'alarm2', 'a', 'b']) await store(name, '')
    expect(await server.redis.keys(`*${project}*`)).toEqual([])
  })

  const retains = (project: string, count: number) =>
    server.redis.hset(
      projectKey(project, 'retained'),
      ...Array.from({ length: count }, (_, i) => `projects/${project}/${i}`).flatMap(topic => [
        topic,
        encodeMessage({ id: topic, topic, qos: 1, payload: Buffer.alloc(500) }),
      ]),
    )

  it('of retained messages is read in parts, so that Redis has time for others', async () => {
    const project = freshProject()
    await retains(project, 3000)
    await server.redis.config('RESETSTAT')
    const found: string[] = []
    for await (const { topic } of storage.retained.match([`projects/${project}/#`])) found.push(topic)
    expect([found.length, new Set(found).size]).toEqual([3000, 3000])
    const stats = await server.redis.info('commandstats')
    expect(Number(/cmdstat_hscan:calls=(\d+)/.exec(stats)?.[1])).toBeGreaterThan(4)
    expect(stats).not.toMatch(/cmdstat_(hvals|hgetall):/)
  })

  it('of retained messages is in memory for the projects that were asked for last, as far as there is room', async () => {
    const retained = new Retained(server.redis, openLogger('silent'), { memoryBytes: 25_000 })
    const projects = [freshProject(), freshProject(), freshProject()] as const
    for (const project of projects) await retains(project, 10)
    const reads = async (...some: readonly string[]) => {
      await server.redis.config('RESETSTAT')
      for (const project of some) expect(await retained.get(`projects/${project}/1`)).toBeDefined()
      return Number(/cmdstat_hscan:calls=(\d+)/.exec(await server.redis.info('commandstats'))?.[1] ?? 0)
    }
    const [a, b, c] = projects
    expect(await reads(a, b, a, b)).toBe(2)
    expect(await reads(c, b, c)).toBe(1)
    expect(await reads(a)).toBe(1)
  })

  it('of retained messages is the same for all gateways', async () => {
    const project = freshProject()
    const topic = `projects/${project}/r`
    const other = await open('two')
    expect(await other.retained.get(topic)).toBeUndefined()
    await keep(topic, 'now', 0, true)
    await until('the other knows', async () => (await other.retained.get(topic))?.payload.toString() === 'now')
    await keep(topic, '', 0, true)
    await until('the other knows', async () => (await other.retained.get(topic)) === undefined)
    await other.stop()
  })
})
