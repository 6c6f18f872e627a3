// When nobody was listening, across restarts and breaks.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { listeningSinceUs } from '../core/listening.ts'
import { installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { Listening } from './listening.ts'

describe.skipIf(installed === undefined)('listening', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  const sinceUs = async (atUs = Date.now() * 1000 + 1_000_000) => listeningSinceUs(await new Listening(server.redis).breaks(), atUs)

  it('is since the first beat, while beats come', async () => {
    expect(await sinceUs()).toBe(Number.MAX_SAFE_INTEGER)
    const before = Date.now()
    await new Listening(server.redis).beat()
    const first = await sinceUs()
    expect(first).toBeGreaterThanOrEqual(before * 1000)
    await new Listening(server.redis).beat()
    expect(await sinceUs()).toBe(first)
  })

  it('is not what it was before a restart, also before the first beat after it; what was before the break stays', async () => {
    const old = Date.now() - 60_000
    await server.redis.del('t:listening:breaks')
    await server.redis.hset('t:listening', { since: old - 3_600_000, beat: old })
    expect(await sinceUs()).toBe(Number.MAX_SAFE_INTEGER)
    await new Listening(server.redis).beat()
    expect(await sinceUs()).toBeGreaterThan(old * 1000)
    await server.redis.hset('t:listening', { beat: Date.now() - 30_000 })
    await new Listening(server.redis).beat()
    expect(await new Listening(server.redis).breaks()).toHaveLength(3)
  })
})
