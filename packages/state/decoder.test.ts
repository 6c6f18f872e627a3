// Decoders and schemas on a real Redis: a change and its announcement are one, and what a project may keep is bounded.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { type DecoderRecord, Decoders, MAX_FILTERS } from './decoder.ts'

const decoder = (name: string, topics: number, options = {}): DecoderRecord => ({
  name,
  format: 'json',
  topics: Array.from({ length: topics }, (_, i) => `a/${i}`),
  contentTypes: [],
  options,
  enabled: true,
})

describe.skipIf(installed === undefined)('decoders of a project', () => {
  let server: TestRedis
  let all: Decoders
  beforeAll(async () => {
    server = await openTestRedis()
    all = new Decoders(server.redis)
  })
  beforeEach(() => server.redis.flushall())
  afterAll(() => server.stop())

  const save = (name: string, topics: number, options?: object) => all.decoders.save('p', name, decoder(name, topics, options))

  it('are announced by the change itself: whoever makes it may not live to do it afterwards', async () => {
    all.changes.add = () => Promise.reject(new Error('a second step'))
    const told: number[] = []
    for (const change of [
      () => save('a', 1),
      () => all.decoders.remove('p', 'a'),
      () => all.schemas.save('p', 'pump', { definition: {} }),
      () => all.schemas.remove('p', 'pump'),
    ]) {
      await change()
      const { newest, projects } = await all.changes.since(told.at(-1) ?? 0)
      told.push(newest)
      expect(projects).toEqual(['p'])
    }
    expect(told).toEqual([1, 2, 3, 4])
  })

  it('that are removed again are announced again', async () => {
    await expect(all.decoders.remove('p', 'none')).rejects.toMatchObject({ code: 'not_found' })
    expect(await all.changes.since(0)).toEqual({ newest: 1, projects: ['p'] })
  })

  it('have so many topic filters in all, of which one that is replaced gives its own back', async () => {
    await save('a', MAX_FILTERS - 10)
    await save('b', 10)
    await expect(save('c', 1)).rejects.toMatchObject({
      code: 'too_large',
      message: 'the decoders of a project have at most 1000 topic filters in all',
    })
    await save('c', 0)
    await save('a', 5)
    await save('c', 50)
    await all.decoders.remove('p', 'b')
    await save('d', MAX_FILTERS - 55)
  })

  it('have so many characters in all', async () => {
    const options = { text: 'x'.repeat(500 * 1024) }
    for (let i = 0; i < 16; i++) await save(`d${i}`, 0, options)
    await expect(save('more', 0, options)).rejects.toMatchObject({ code: 'too_large' })
    await save('d0', 0, options)
  })

  it('have another revision after each change, and are read by name', async () => {
    await save('a', 1)
    await save('b', 1)
    const before = await all.decoders.revisions('p')
    await save('b', 2)
    const after = await all.decoders.revisions('p')
    expect([...after.keys()]).toEqual(['a', 'b'])
    expect([after.get('a') === before.get('a'), after.get('b') === before.get('b')]).toEqual([true, false])
    const found = await all.decoders.some('p', ['b', 'none'])
    expect([...found].map(([name, { document }]) => [name, document.topics])).toEqual([['b', ['a/0', 'a/1']]])
  })

  it('that were saved before there were revisions are read all the same', async () => {
    await server.redis.hset('t:{p}:decoders', 'old', JSON.stringify(decoder('old', 1)))
    expect(await all.decoders.revisions('p')).toEqual(new Map([['old', '']]))
    await save('old', 2)
    expect((await all.decoders.revisions('p')).get('old')).not.toBe('')
  })
})
