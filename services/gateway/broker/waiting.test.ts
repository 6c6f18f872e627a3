// What waits for many sessions, on a real Redis: it stands there once, is counted, makes room fairly, and nothing of it is left behind.
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { sessionId } from '../mqtt/session.ts'
import { type Audit, audit, leftOver } from './fixture.ts'
import type { Lasting } from './lasting.ts'
import { CHANNEL, MESSAGE_BYTES, PREFIX } from './lua.ts'
import type { Scripts } from './script.ts'
import { type SessionLimits, Sessions } from './sessions.ts'

const DAY_MS = 24 * 3_600_000
const MIB = 1024 * 1024
const ROOM: SessionLimits = {
  awayMs: DAY_MS,
  sessionsOfKey: 10_000,
  sessions: 10_000,
  messages: 10_000,
  sessionBytes: 8 * MIB,
  holderBytes: 64 * MIB,
  allBytes: 64 * MIB,
  filterBytes: 100_000_000,
}

describe.skipIf(!installed)('what waits for many sessions', () => {
  let server: TestRedis
  let redis: Redis & Scripts
  let sessions: Sessions
  let nowMs = 0
  let dropped = 0

  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())
  beforeEach(async () => {
    await sessions?.stop()
    await server.redis.flushall()
    sessions = await openWith({})
  })

  async function openWith(limits: Partial<SessionLimits>): Promise<Sessions> {
    await sessions?.stop()
    ;[nowMs, dropped] = [0, 0]
    const ports = { redis: server.redis, log: openLogger('silent'), dropped: () => void dropped++, nowMs: () => nowMs }
    sessions = new Sessions(ports, { ...ROOM, ...limits })
    redis = server.redis as Redis & Scripts
    await sessions.renew()
    return sessions
  }

  async function come(clientId: string, filters: readonly string[] = ['a'], holder = 'p'): Promise<Lasting> {
    const lasting = await sessions.open(sessionId(holder, clientId), holder)
    await sessions.subscribe(
      lasting.id,
      filters.map(filter => [filter, { qos: 2, short: false }]),
    )
    return lasting
  }

  const crowd = (count: number, filters?: readonly string[], holder?: string) =>
    Promise.all(Array.from({ length: count }, (_, i) => come(`c${i}`, filters, holder)))
  const publish = (id: string, topic = 'a', bytes = 1) => sessions.queue({ id, topic, qos: 2, payload: Buffer.alloc(bytes, 'x') })
  const queueOf = ({ id }: { readonly id: string }) => server.redis.zrange(`${PREFIX}queue:${id}`, 0, '-1')
  const audited = (): Promise<Audit> => audit(server.redis)

  async function scripts(run: () => Promise<unknown>): Promise<number> {
    await server.redis.config('RESETSTAT')
    await run()
    const ran = (await server.redis.info('commandstats')).matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)
    return [...ran].reduce((sum, [, calls]) => sum + Number(calls), 0)
  }

  it('takes its bytes once, on the way to Redis and in it', async () => {
    const all = await crowd(1000)
    await server.redis.config('RESETSTAT')
    await publish('m', 'a', MIB)
    const [, input] = /total_net_input_bytes:(\d+)/.exec(await server.redis.info('stats')) ?? []
    expect(Number(input)).toBeLessThan(1.2 * MIB)
    expect(await server.redis.memory('USAGE', `${PREFIX}body:p`)).toBeLessThan(1.3 * MIB)
    const { total } = await audited()
    expect(total).toBeGreaterThan(MIB + 1000 * MESSAGE_BYTES)
    expect(total).toBeLessThan(1.01 * MIB + 1000 * MESSAGE_BYTES)
    expect(await queueOf(all[999] as Lasting)).toEqual(['m'])
  })

  it('is sent again as it was sent before, in its order; what was not sent is not among it', async () => {
    const lasting = await come('c')
    for (const id of ['one', 'two', 'three', 'four']) await publish(id)
    await lasting.sentAs(9, 'one', 2)
    await lasting.sentAs(5, 'three', 1)
    await sessions.leave(lasting)
    const again = await sessions.open(lasting.id, 'p')
    const found: unknown[] = []
    for await (const { id, packetId, sentQos } of again.sentBefore()) found.push([id, packetId, sentQos])
    expect(found).toEqual([
      ['one', 9, 2],
      ['three', 5, 1],
    ])
    expect((await queueOf(again)).length).toBe(4)
  })

  it('is for so many filters of a project as every gateway can have in memory', async () => {
    await openWith({ filterBytes: 1000 })
    const { id } = await come('c', ['a', 'b'])
    const grant = { qos: 1, short: false } as const
    expect(
      await sessions.subscribe(id, [
        ['c', grant],
        ['d', grant],
      ]),
    ).toBe(false)
    expect(
      await sessions.subscribe(id, [
        ['a', grant],
        ['a', { ...grant, qos: 2 }],
        ['b', undefined],
      ]),
    ).toBe(true)
    expect(await sessions.subscribe(id, [['c', grant]])).toBe(true)
    expect(Object.keys(await redis.hgetall(`${PREFIX}session:${id}`)).filter(name => name.startsWith('f:'))).toEqual(['f:a', 'f:c'])
    await audited()
    await come('other', ['a', 'b', 'c'], 'q')
    await sessions.forget(id)
    await come('next', ['a', 'b', 'c'])
    await audited()
  })

  it('lets in nobody more when as many are connected as there may be, and puts out who is away', async () => {
    await openWith({ sessionsOfKey: 2, sessions: 3 })
    await come('a')
    await come('b')
    await expect(come('c')).rejects.toMatchObject({ code: 'unavailable' })
    nowMs = 200_000
    await come('b')
    await come('c')
    expect(await redis.zrange(`${PREFIX}sessions`, 0, '-1')).toEqual(['b', 'c'].map(id => sessionId('p', id)))
    await audited()
  })

  const acknowledged = async (lasting: Lasting) => {
    for await (const { id } of lasting.waiting()) await lasting.sentAs(7, id)
    await lasting.done(7)
  }
  const completed = async (lasting: Lasting) => {
    for await (const { id } of lasting.waiting()) await lasting.sentAs(7, id)
    await lasting.acceptedBy(7)
    await lasting.done(7)
  }
  const ENDS: readonly (readonly [string, (all: readonly Lasting[]) => Promise<unknown>])[] = [
    ['acknowledged', all => Promise.all(all.map(acknowledged))],
    ['received and completed', all => Promise.all(all.map(completed))],
    ['not for anybody any more', all => Promise.all(all.map(one => one.discard('m')))],
    ['forgotten', all => Promise.all(all.map(({ id }) => sessions.forget(id)))],
    [
      'not come back for',
      () => {
        nowMs = DAY_MS
        return sessions.expire()
      },
    ],
    ['pushed out', () => Promise.all(Array.from({ length: 20 }, (_, i) => publish(`n${i}`)))],
  ]
  it.each(ENDS)('takes nothing more when it is %s', async (_, end) => {
    await openWith({ messages: 20 })
    const all = await crowd(50)
    await publish('m', 'a', 10_000)
    await end(all)
    await sessions.clean()
    const { total } = await audited()
    expect(await server.redis.hexists(`${PREFIX}body:p`, 'm')).toBe(0)
    expect(await server.redis.hexists(`${PREFIX}share:p`, 'm')).toBe(0)
    for (const { id } of all) await sessions.forget(id)
    await sessions.clean()
    expect([total < 50 * 20 * 400, await leftOver(redis)]).toEqual([true, []])
  })

  it('stays as its packet id when it was received: PUBREL comes first, in the order of PUBREC [MQTT-4.6.0-4]', async () => {
    const lasting = await come('c')
    for (const id of ['m1', 'm2', 'm3', 'm4']) await publish(id, 'a', 1000)
    for (const [packetId, id] of [
      [9, 'm1'],
      [7, 'm2'],
      [8, 'm3'],
    ] as const)
      await lasting.sentAs(packetId, id)
    await lasting.acceptedBy(8)
    await lasting.acceptedBy(9)
    const again = await sessions.open(lasting.id, 'p')
    expect(again.received).toEqual([8, 9])
    expect(again.freePacketId(7)).toBe(10)
    const waiting = []
    for await (const { id, packetId } of again.waiting()) waiting.push([id, packetId])
    expect(waiting).toEqual([
      ['m2', 7],
      ['m4', undefined],
    ])
    expect(await audited()).toMatchObject({ bodies: 2, references: 2, released: 2 })
    for (const packetId of [8, 9]) await again.done(packetId)
    expect((await audited()).released).toBe(0)
  })

  it('has its body where it is waited for, and goes on where it stopped, when Redis goes away in between', async () => {
    const all = await crowd(1100)
    const broken = `${PREFIX}queue:${all[1000]?.id}`
    await server.redis.set(broken, 'not a queue')
    await expect(publish('m', 'a', 1000)).rejects.toThrow('WRONGTYPE')
    await server.redis.del(broken)
    expect(await server.redis.hget(`${PREFIX}share:p`, 'm')).toBe('1000')
    await publish('m', 'a', 1000)
    expect(await Promise.all(all.map(queueOf))).toEqual(all.map(() => ['m']))
    expect(await server.redis.hget(`${PREFIX}share:p`, 'm')).toBe('1100')
  })

  it('stands once for each project, and is sent again only for a project that has it not', async () => {
    const mine = await crowd(700)
    const theirs = await crowd(200, ['a'], 'q')
    await server.redis.config('RESETSTAT')
    await publish('m', 'a', MIB)
    const [, input] = /total_net_input_bytes:(\d+)/.exec(await server.redis.info('stats')) ?? []
    expect(Number(input)).toBeLessThan(2.2 * MIB)
    expect(await Promise.all([...mine, ...theirs].map(queueOf))).toEqual([...mine, ...theirs].map(() => ['m']))
    expect(await audited()).toMatchObject({ bodies: 2, references: 900 })
  })

  it('is let go of in steps, counts until then, and whoever comes next goes on with it', async () => {
    const [gone, stays] = [await come('gone', ['a', 'b']), await come('stays', ['a'])]
    await Promise.all(Array.from({ length: 2500 }, (_, i) => publish(`m${i}`, i === 0 ? 'a' : 'b')))
    const before = (await audited()).total
    await redis.mqttForget(1, PREFIX, gone.id)
    expect((await audited()).total).toBe(before)
    const after = await come('gone', ['a', 'b'])
    await publish('new')
    await redis.mqttForget(1, PREFIX, after.id)
    expect(await redis.mqttClean(1, PREFIX, 1000)).toBe(1)
    expect((await audited()).references).toBe(2500 + 1 + 2 - 1000)
    // As after a crash.
    const next = await openWith({})
    await next.clean()
    expect(await queueOf(stays)).toEqual(['m0', 'new'])
    expect(await audited()).toMatchObject({ bodies: 2, references: 2 })
  })

  it('is not carried to another project: a session whose holder is another one begins anew', async () => {
    const lasting = await come('c')
    await publish('m')
    const again = await sessions.open(lasting.id, 'q')
    expect([again.existed, again.restored.size, await queueOf(again)]).toEqual([false, 0, []])
    await sessions.clean()
    expect(await audited()).toMatchObject({ bodies: 0, references: 0, total: 0 })
    expect(await publish('n')).toBe('n')
    expect(await queueOf(again)).toEqual([])
  })

  it('waits also while the common channel tells late of what this gateway changed before', async () => {
    const subscriber = await server.connect()
    const late: Buffer[] = []
    subscriber.on('messageBuffer', (_: Buffer, message: Buffer) => void late.push(message))
    await subscriber.subscribe(CHANNEL)
    await sessions.forget((await come('c')).id)
    const back = await come('c', ['a', 'b'])
    await sessions.subscribe(back.id, [['a', undefined]])
    await sessions.subscribe(back.id, [['a', { qos: 1, short: false }]])
    await sessions.subscribe(back.id, [['b', undefined]])
    await until('all is told', () => late.length === 6)
    for (const [index, message] of late.entries()) {
      sessions.heard(message)
      await publish(`a${index}`, 'a')
      await publish(`b${index}`, 'b')
    }
    expect(await queueOf(back)).toEqual(['a0', 'a1', 'a2', 'a3', 'a4', 'a5'])
  })

  it('of another layout is forgotten when Telltale starts', async () => {
    const id = sessionId('k', 'old')
    await redis.del(`${PREFIX}layout`)
    const old = { [`session:${id}`]: { bytes: '252', holder: 'p', next: '1' }, [`message:${id}`]: { m: 'x' }, [`sent:${id}`]: { m: '1' } }
    for (const [name, fields] of Object.entries(old)) await redis.hset(`${PREFIX}${name}`, fields)
    const sets = { sessions: id, 'of:k': id, 'by:p': id, 'holds:p': id, holders: 'p', crowds: 'p', [`queue:${id}`]: 'm' }
    for (const [name, member] of Object.entries(sets)) await redis.zadd(`${PREFIX}${name}`, 1, member)
    await redis.set(`${PREFIX}total`, 252)
    await sessions.renew()
    expect(await leftOver(redis)).toEqual([])
    const kept = await come('kept')
    await sessions.renew()
    expect((await sessions.open(kept.id, 'p')).existed).toBe(true)
  })

  it('is asked for and acknowledged in one step for all of one turn, in order', async () => {
    const lasting = await come('c')
    const filters = Array.from({ length: 1000 }, (_, i) => `f/${i}`)
    const granted = filters.map(filter => [filter, { qos: 1 as const, short: false }] as const)
    const asked = () => sessions.subscribe(lasting.id, granted)
    expect(await scripts(asked)).toBe(1)
    const ids = Array.from({ length: 120 }, (_, i) => `m${i}`)
    for (const id of ids) await publish(id)
    expect(await scripts(() => Promise.all(ids.map((id, i) => lasting.sentAs(i + 1, id))))).toBe(1)
    expect(await server.redis.hlen(`${PREFIX}sent:${lasting.id}`)).toBe(120)
    expect(await scripts(() => Promise.all(ids.map((_, i) => (i % 2 ? lasting.acceptedBy(i + 1) : lasting.done(i + 1)))))).toBe(1)
    expect((await sessions.open(lasting.id, 'p')).received).toEqual(ids.flatMap((_, i) => (i % 2 ? [i + 1] : [])))
  })

  describe('beyond what a project may have', () => {
    it('is given by the session for which most waits: of its own what is oldest, before what others share', async () => {
      await openWith({ holderBytes: 20_000 })
      const [large, small] = [await come('large', ['a', 'l']), await come('small', ['a', 's'])]
      await publish('shared', 'a', 1000)
      for (const id of ['l1', 'l2', 'l3']) await publish(id, 'l', 5000)
      await publish('s1', 's', 5000)
      expect([await queueOf(large), await queueOf(small)]).toEqual([
        ['shared', 'l2', 'l3'],
        ['shared', 's1'],
      ])
      expect((await audited()).total).toBeLessThanOrEqual(20_000)
    })

    it('goes for all who wait for it when that frees most', async () => {
      await openWith({ holderBytes: 40_000 })
      const all = await crowd(20)
      await publish('long', 'a', 20_000)
      await publish('other', 'a', 20_000)
      // Nobody has one of them for another: only the last stays, and what refers to the first is let go of when it is come upon.
      expect(dropped).toBe(20)
      const found = []
      for await (const { id } of (all[7] as Lasting).waiting()) found.push(id)
      expect(found).toEqual(['other'])
      await audited()
    })

    it('goes one by one where it is short: each that comes takes the place of one that was there', async () => {
      await openWith({ holderBytes: 40_000 })
      await crowd(20)
      for (let i = 0; i < 30; i++) await publish(`short${i}`, 'a', 100)
      const { references } = await audited()
      expect([references > 100, dropped]).toEqual([true, 600 - references])
    })

    it('is given by the project that has most, whatever it shares, and by no other', async () => {
      await openWith({ holderBytes: 40_000, allBytes: 50_000 })
      const modest = await come('c', ['a', 'm'], 'modest')
      await publish('m1', 'm', 8000)
      await crowd(100, ['f'], 'flood')
      for (let i = 0; i < 30; i++) await publish(`f${i}`, 'f', 3000)
      await publish('m2', 'm', 8000)
      expect(await queueOf(modest)).toEqual(['m1', 'm2'])
      expect((await audited()).total).toBeLessThanOrEqual(50_000)
    })

    it('drains nobody for what would have no room even so', async () => {
      await openWith({ holderBytes: 400_000 })
      const all = await crowd(2)
      await come('next', ['n'])
      for (let i = 0; i < 300; i++) await publish(`m${i}`)
      const before = await Promise.all(all.map(queueOf))
      await publish('large', 'n', 380_000)
      expect(await Promise.all(all.map(queueOf))).toEqual(before)
    })

    it('takes what forgotten sessions left before anything that waits', async () => {
      await openWith({ holderBytes: 20_000 })
      const [gone, stays] = [await come('gone', ['g']), await come('stays', ['a'])]
      await publish('m1', 'a', 5000)
      await publish('g', 'g', 10_000)
      await redis.mqttForget(1, PREFIX, gone.id)
      await publish('m2', 'a', 10_000)
      expect([await queueOf(stays), dropped]).toEqual([['m1', 'm2'], 0])
    })
  })
})
