// Removals on a real Redis, as a gateway learns of them.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { Removals } from './deviceremoval.ts'

describe.skipIf(installed === undefined)('removals', () => {
  let server: TestRedis
  let removals: Removals
  beforeAll(async () => {
    server = await openTestRedis()
    removals = new Removals(server.redis, 4)
  })
  beforeEach(() => server.redis.flushall())
  afterAll(() => server.stop())

  it('are told by project, each once', async () => {
    expect(await removals.since(0)).toEqual({ newest: 0, projects: [] })
    for (const project of ['a', 'b', 'a']) await removals.add(project)
    expect(await removals.since(0)).toEqual({ newest: 3, projects: ['b', 'a'] })
    expect(await removals.since(3)).toEqual({ newest: 3, projects: [] })
    await removals.add('b')
    expect(await removals.since(3)).toEqual({ newest: 4, projects: ['b'] })
  })

  it('in more projects than are kept, or in a Redis that was put back, concern all', async () => {
    for (const project of ['a', 'b', 'c', 'd', 'e']) await removals.add(project)
    expect(await removals.since(1)).toEqual({ newest: 5, projects: 'all' })
    expect(await server.redis.zcard('t:devices:removed')).toBe(4)
    await server.redis.flushall()
    await removals.add('a')
    expect(await removals.since(5)).toEqual({ newest: 0, projects: 'all' })
  })
})
