// What decoders remember, on a real Redis: each thing by itself, and who knows how much of it.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { DecoderMemory } from './decodermemory.ts'

describe.skipIf(installed === undefined)('the memory of a decoder', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  const open = () => ({ memory: new DecoderMemory(server.redis), id: { project: freshProject(), decoder: 'd', format: 'f' } })
  const changes = (...pairs: readonly (readonly [string, string])[]) => new Map(pairs)

  it('tells who knows some of it what has changed since, and nothing else', async () => {
    const { memory, id } = open()
    const first = await memory.save(id, changes(['a', '1'], ['b', '1']), 0)
    const second = await memory.save(id, changes(['a', ''], ['c', '1']), first)
    expect(second).toBeGreaterThan(first)
    expect(await memory.read(id, first)).toEqual({ revision: second, isAll: false, values: changes(['a', ''], ['c', '1']) })
    expect(await memory.read(id, second)).toEqual({ revision: second, isAll: false, values: new Map() })
    expect(await memory.read(id, -1)).toEqual({ revision: second, isAll: true, values: changes(['b', '1'], ['c', '1']) })
  })

  it('says to who saves up to where it is known to it: no further than somebody else has saved', async () => {
    const { memory, id } = open()
    const first = await memory.save(id, changes(['a', '1']), 0)
    await memory.save(id, changes(['b', '1']), first)
    expect(await memory.save(id, changes(['c', '1']), first)).toBe(first)
    expect([...(await memory.read(id, first)).values.keys()].sort()).toEqual(['b', 'c'])
  })

  it('tells everything where more has changed than it knows of', async () => {
    const { memory, id } = open()
    const first = await memory.save(id, changes(['old', '1']), 0)
    const many = Array.from({ length: 2500 }, (_, i) => [`k${i}`, '1'] as const)
    const last = await memory.save(id, new Map(many), first)
    expect(await memory.read(id, first)).toMatchObject({ revision: last, isAll: true, values: { size: 2501 } })
    expect((await memory.read(id, last - 1)).values.size).toBeLessThanOrEqual(1000)
  })

  it('that was forgotten is nothing for good, and is nothing of what another one of its name remembers', async () => {
    const { memory, id: builtIn } = open()
    const id = { ...builtIn, uid: 'first' }
    const first = await memory.save(id, changes(['a', '1']), 0)
    await memory.forget(id)
    expect(await memory.read(id, first)).toEqual({ revision: 0, isAll: true, values: new Map() })
    await expect(memory.save(id, changes(['b', '1']), first)).rejects.toMatchObject({ code: 'not_found', field: 'decoder' })
    expect(await server.redis.exists(`t:{${id.project}}:memory:d:f:first`, `t:{${id.project}}:memorychanges:d:f:first`)).toBe(0)
    const other = { ...id, uid: 'u' }
    const second = await memory.save(other, changes(['b', '1']), 0)
    expect(await memory.read(other, -1)).toEqual({ revision: second, isAll: true, values: changes(['b', '1']) })
  })

  it('knows when the first of some things changed last', async () => {
    const { memory, id } = open()
    const first = await memory.save(id, changes(['a', '1'], ['b', '1']), 0)
    const second = await memory.save(id, changes(['b', '2']), first)
    expect([await memory.changedMs(id, ['b']), await memory.changedMs(id, ['a', 'b'])]).toEqual([second, first])
  })
})
