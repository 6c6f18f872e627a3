// Names that one holder has at a time, on two nodes.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { Claims } from './claim.ts'

const none = () => undefined

describe.skipIf(installed === undefined)('a name', () => {
  let server: TestRedis
  let here: Claims
  let there: Claims
  beforeAll(async () => {
    server = await openTestRedis()
    const fail = (error: Error) => {
      throw error
    }
    here = new Claims(server.redis, fail, 100)
    there = new Claims(server.redis, fail, 100)
  })
  afterAll(() => server.stop())

  it('is had by one of many who ask at once', async () => {
    const asked = Array.from({ length: 20 }, (_, i) => (i % 2 ? here : there).take('p', 'one', none))
    const taken = (await Promise.all(asked)).filter(claim => claim !== undefined)
    expect(taken).toHaveLength(1)
    await taken[0]?.release()
  })

  it('is free again when it was released, however often, and only then', async () => {
    const claim = await here.take('p', 'two', none)
    expect(await there.take('p', 'two', none)).toBeUndefined()
    await claim?.release()
    const next = await there.take('p', 'two', none)
    expect(next).toBeDefined()
    await claim?.release()
    expect(await here.take('p', 'two', none)).toBeUndefined()
    await next?.release()
  })

  it('is another one in another project', async () => {
    const both = await Promise.all(['p', 'q'].map(project => here.take(project, 'three', none)))
    expect(both.every(claim => claim !== undefined)).toBe(true)
    for (const claim of both) await claim?.release()
  })

  it('outlives a node that died by seconds, and is renewed while it lives', async () => {
    const claim = await here.take('p', 'four', none)
    const left = () => server.redis.pttl('t:{p}:claim:four')
    expect(await left()).toBeGreaterThan(10_000)
    expect(await left()).toBeLessThanOrEqual(15_000)
    await server.redis.pexpire('t:{p}:claim:four', 8000)
    await expect.poll(left, { timeout: 10_000, interval: 50 }).toBeGreaterThan(10_000)
    await claim?.release()
  })

  it('that another took after all is said to be lost, once, and stays with the other', async () => {
    let lost = 0
    const claim = await here.take('p', 'five', () => {
      lost++
    })
    await server.redis.del('t:{p}:claim:five')
    const other = await there.take('p', 'five', none)
    expect(other).toBeDefined()
    await expect.poll(() => lost, { timeout: 10_000, interval: 50 }).toBe(1)
    await claim?.release()
    expect(await here.take('p', 'five', none)).toBeUndefined()
    await other?.release()
  })
})
