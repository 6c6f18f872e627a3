// What waits for a connected session and is on its way to nobody, on a real Redis.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { Fresh } from './fresh.ts'
import type { Lasting } from './lasting.ts'
import { Sessions } from './sessions.ts'
import { Stuck } from './stuck.ts'

const log = openLogger('silent')

describe.skipIf(!installed)('a message that nobody passes on', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server?.stop())

  async function open(id: string, lookMs: number) {
    const sessions = new Sessions({ redis: server.redis, log, dropped: () => {}, nowMs: () => 0 })
    const lasting = await sessions.open(id, 'p')
    await sessions.subscribe(id, [[id, { qos: 1, short: false }]])
    lasting.caughtUp()
    const found: Lasting[] = []
    const stuck = new Stuck({ sessions, log, lookMs, behind: one => void found.push(one) })
    onTestFinished(async () => {
      await stuck.stop()
      await sessions.stop()
    })
    const queue = (name: string) => sessions.queue({ id: name, topic: id, qos: 1, payload: Buffer.from('x') })
    return { lasting, stuck, found, queue }
  }
  const HOUR_MS = 3_600_000

  it('is found by the second look at the queue, and not while it is on its way or unacknowledged', async () => {
    const { lasting, found, queue } = await open('looks', 20)
    const looked = async () => Number(/cmdstat_evalsha:calls=(\d+)/.exec(await server.redis.info('commandstats'))?.[1] ?? 0)
    await queue('sent')
    await lasting.sentAs(1, 'sent')
    await queue('leaving')
    lasting.leaves('leaving')
    const before = await looked()
    await until('it has looked a few times', async () => (await looked()) > before + 5)
    expect(found).toEqual([])
    await queue('stuck')
    await until('it is found', () => found.includes(lasting))
  })

  it('is found at once where it is known that something may be missed', async () => {
    const { lasting, stuck, found, queue } = await open('now', HOUR_MS)
    await queue('stuck')
    stuck.of(lasting)
    await until('it is found', () => found.length === 1)
    stuck.now()
    stuck.now()
    await until('it is found twice more', () => found.length === 3)
  })

  it('is left to who reads the queue', async () => {
    const { lasting, stuck, found, queue } = await open('reads', HOUR_MS)
    await queue('stuck')
    lasting.isCurrent = false
    stuck.now()
    await stuck.stop()
    expect(found).toEqual([])
  })
})

describe('the index of sessions', () => {
  it('is read until that succeeds, and only then is what was missed looked for', async () => {
    let readings = 0
    let looks = 0
    const fresh = new Fresh(async () => {
      if (++readings < 3) throw new Error('Redis is away')
    }, log)
    await fresh.wait()
    fresh.lost()
    const waiting = fresh.wait()
    await fresh.again(() => looks++)
    await waiting
    expect([readings, looks, fresh.isStale]).toEqual([3, 1, false])
  })

  it('is stale when the connection is gone again before all was read', async () => {
    const reading: (() => void)[] = []
    const fresh = new Fresh(() => new Promise(resolve => void reading.push(resolve)), log)
    fresh.lost()
    let looks = 0
    const first = fresh.again(() => looks++)
    fresh.lost()
    for (const done of reading) done()
    await first
    expect([looks, fresh.isStale]).toEqual([0, true])
    await expect(fresh.wait()).rejects.toMatchObject({ code: 'unavailable' })
    fresh.stop()
  })
})
