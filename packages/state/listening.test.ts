// Since when somebody has been listening, across restarts and breaks.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { Listening } from './listening.ts'

describe.skipIf(installed === undefined)('listening', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  it('is since the first beat, while beats come', async () => {
    expect(await new Listening(server.redis).sinceUs()).toBe(Number.MAX_SAFE_INTEGER)
    const before = Date.now()
    await new Listening(server.redis).beat()
    const sinceUs = await new Listening(server.redis).sinceUs()
    expect(sinceUs).toBeGreaterThanOrEqual(before * 1000)
    await new Listening(server.redis).beat()
    expect(await new Listening(server.redis).sinceUs()).toBe(sinceUs)
  })

  it('is not what it was before a restart, also before the first beat after it', async () => {
    const old = Date.now() - 60_000
    await server.redis.hset('t:listening', { since: old - 3_600_000, beat: old })
    expect(await new Listening(server.redis).sinceUs()).toBe(Number.MAX_SAFE_INTEGER)
    await new Listening(server.redis).beat()
    expect(await new Listening(server.redis).sinceUs()).toBeGreaterThan(old * 1000)
  })
})
