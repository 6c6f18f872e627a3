// Who has a client, on a real Redis: what comes of a connection that ended, whichever gateway it was on and whatever was away then.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import { installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { type Owned, Owners, type OwnersPorts, type OwnerTimes } from './owner.ts'
import { PREFIX } from './script.ts'
import type { Will } from './will.ts'

const AUTHOR = { keyId: 'k', account: 'a' }
const ID = 'k\nc'
const TIMES = { beatMs: 20, aliveMs: 500, sweepMs: 50, againMs: 50, claimMs: 300, handOverMs: 300, enterMs: 2000 }
const NEVER = 1_000_000

describe.skipIf(!installed)('a client that had a will', () => {
  let server: TestRedis
  let open: Owners[] = []
  /** `{gateway} {text of the will}` */
  let published: string[] = []
  let closed: string[] = []
  let failing: Error | undefined
  let ids = 0

  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())
  beforeEach(async () => {
    await server.redis.flushall()
    ;[open, published, closed, failing] = [[], [], [], undefined]
  })
  afterEach(async () => {
    for (const one of open) await one.stop()
  })

  const will = (text: string): Will => ({ topic: 'projects/p/w', payload: Buffer.from(text), qos: 1, retain: true, author: AUTHOR })
  const wills = () => server.redis.hlen(`${PREFIX}will`)
  const says = (node: string) => async (one: Will) => {
    if (failing) throw failing
    published.push(`${node} ${one.payload.toString()}`)
  }

  async function gateway(node: string, times: Partial<OwnerTimes> = {}, more: Partial<OwnersPorts> = {}): Promise<Owners> {
    const ports = { redis: server.redis, subscriber: await server.connect(), node, log: openLogger('silent'), newId: () => `${++ids}` }
    const close = (id: string) => void closed.push(`${node} ${id}`)
    const owners = await Owners.open({ ...ports, close, publish: (_id, one) => says(node)(one), ...more }, { ...TIMES, ...times })
    open.push(owners)
    return owners
  }

  const enter = (owners: Owners, text = 'gone') => owners.enter(ID, true, will(text), () => {}) as Promise<Owned>
  const sees = (owners: Owners) => owners.enter(ID, false, undefined, () => {})

  it('has it published when its connection ends, and not when it said goodbye', async () => {
    const here = await gateway('one')
    await here.leave(await enter(here), says('one'))
    expect(published).toEqual(['one gone'])
    await here.leave(await enter(here))
    expect([published.length, await wills(), await server.redis.keys(`${PREFIX}claim:*`)]).toEqual([1, 0, []])
  })

  it('has it published as soon as that can be done, and never twice', async () => {
    const here = await gateway('one')
    failing = new Failure('unavailable', 'there is no log')
    await here.leave(await enter(here), says('one'))
    expect([published, await wills()]).toEqual([[], 1])
    await expect(sees(here)).rejects.toThrow('there is no log')
    failing = undefined
    await until('it is published', async () => (await wills()) === 0)
    await sees(here)
    expect(published).toEqual(['one gone'])
  })

  it('at a gateway that is gone, has it published before it is let in elsewhere; nobody waits for that gateway twice', async () => {
    const here = await gateway('one')
    const there = await gateway('two')
    await enter(here)
    await here.leave(await enterOther(here))
    await here.stop()
    const waits: string[] = []
    await there.enter(ID, true, will('new'), () => void waits.push('once'))
    expect([published, waits]).toEqual([['two gone'], ['once']])
    expect(await wills()).toBe(1)
  })

  const enterOther = (owners: Owners) => owners.enter('k\nother', true, will('other'), () => {}) as Promise<Owned>

  it('at a gateway that lives, is ended there first, with its will', async () => {
    const redis = server.redis
    const there = await gateway('two', { handOverMs: NEVER })
    let had: Owned | undefined
    const close = () => void (had && here.leave(had, says('one')))
    const here: Owners = await gateway('one', {}, { redis, close })
    had = await enter(here)
    await enter(there, 'new')
    expect(published).toEqual(['one gone'])
    await there.leave(await enterOther(there))
    expect(await wills()).toBe(1)
  })

  it('left while Redis was away, has it removed by whoever is asked, and not published', async () => {
    const redis = await server.connect('producer')
    const here = await gateway('one', { beatMs: NEVER, aliveMs: NEVER }, { redis })
    const there = await gateway('two', { handOverMs: NEVER })
    const had = await enter(here)
    redis.disconnect()
    await here.leave(had)
    expect(await wills()).toBe(1)
    await until('the end', async () => redis.status === 'end')
    await redis.connect()
    await enter(there, 'new')
    expect([published, closed]).toEqual([[], []])
  })

  it('and did not come back has it published by one of the gateways that are left, whatever another will does', async () => {
    const here = await gateway('one')
    await enter(here)
    await enterOther(here)
    await here.stop()
    await until('it is gone', async () => (await server.redis.exists(`${PREFIX}node:one`)) === 0)
    const refuse = async (id: string, one: Will) => (id === ID ? Promise.reject(new Error('no')) : says('both')(one))
    await gateway('two', {}, { publish: refuse })
    await gateway('three', {}, { publish: refuse })
    await until('the other is there', () => published.length > 0)
    expect([published, await wills()]).toEqual([['both other'], 1])
  })

  it('is not gone with a gateway that had no time to say that it lives', async () => {
    const here = await gateway('one', { beatMs: NEVER })
    const there = await gateway('two', { sweepMs: NEVER, againMs: 300 })
    await enter(here)
    await server.redis.del(`${PREFIX}node:one`)
    const swept = there.sweep()
    await server.redis.set(`${PREFIX}node:one`, 1)
    await swept
    expect(published).toEqual([])
  })

  it('is not gone with a gateway whose wills take long to be published', async () => {
    let release = () => {}
    const hangs = new Promise<void>(resolve => {
      release = resolve
    })
    let begun = 0
    const publish = async () => {
      begun++
      await hangs
    }
    const here = await gateway('one', {}, { publish })
    failing = new Failure('unavailable', 'there is no log')
    try {
      await here.leave(await enter(here), says('one'))
      await until('it is being published', () => begun > 0)
      await server.redis.del(`${PREFIX}node:one`)
      await until('it says that it lives', async () => (await server.redis.exists(`${PREFIX}node:one`)) === 1)
      expect(begun).toBe(1)
    } finally {
      release()
    }
  })

  it('at a gateway that was slow once, is ended there all the same', async () => {
    const here = await gateway('one')
    const there = await gateway('two')
    await enter(here)
    await enterOther(here)
    await enter(there, 'new')
    await enterOther(there)
    await until('both are ended', () => closed.length > 1)
    expect(new Set(closed)).toEqual(new Set([`one ${ID}`, 'one k\nother']))
  })

  it('that another gateway is about to publish waits for that, and is told to come again when it takes too long', async () => {
    const here = await gateway('one', { enterMs: 200, claimMs: 100_000 })
    await here.leave(await enter(here), () =>
      new Promise(resolve => void sees(here).catch(error => resolve(said.push(error.message)))).then(() => {}),
    )
    expect(said).toEqual([expect.stringContaining('still ends')])
  })
  const said: string[] = []
})
