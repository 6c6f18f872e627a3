// The history on a real Redis: chained whoever appends, read without scanning, and still a chain after trimming.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { GENESIS, type Happening, verify } from '../core/chain.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { projectKey } from '../log/key.ts'
import { Log } from '../log/log.ts'
import { chain, digest, History } from './history.ts'

const happening = (alarmId: string, day: number): Happening => ({
  time: `2026-01-${String(day).padStart(2, '0')}T00:00:00.000000Z`,
  kind: 'active',
  alarmId,
  rule: 'hot',
  ruleVersion: 1,
  device: alarmId,
  episode: day,
})
const timeUs = (day: number) => Date.UTC(2026, 0, day) * 1000

describe.skipIf(installed === undefined)('the history', () => {
  let server: TestRedis
  let history: History
  let log: Log
  let project: string
  beforeAll(async () => {
    server = await openTestRedis()
    history = new History(server.redis)
    log = new Log(server.redis, [])
  })
  beforeEach(() => {
    project = freshProject()
  })
  afterAll(() => server.stop())

  const append = (...happenings: Happening[]) => history.append(project, async () => ({ happenings, commands: [], result: undefined }))
  const place = async () => log.place(project, 'judge')

  it('is one chain of what the judge commits and what people do', async () => {
    const { commands } = chain(project, await history.head(project), [happening('a', 1), happening('b', 1)])
    expect(await log.commit(project, 'judge', '', '1-1 1', commands)).toBe(true)
    await append(happening('a', 2))
    const { records, base, next } = await history.page(project, 0, 10)
    expect(records.map(({ seq, alarmId }) => `${seq}${alarmId}`)).toEqual(['1a', '2b', '3a'])
    expect([base, next]).toEqual([GENESIS, undefined])
    expect(verify(records, base, digest, await history.head(project))).toMatchObject({ verified: 3, broken: undefined })
    expect((await history.read(project, 'a')).map(({ seq }) => seq)).toEqual([1, 3])
    expect((await history.read(project, 'a', 1)).map(({ seq }) => seq)).toEqual([3])
    expect(await history.read(project, 'nobody')).toEqual([])
  })

  it('refuses a whole commit that was made for another end of the chain', async () => {
    const { commands } = chain(project, await history.head(project), [happening('a', 1)])
    await append(happening('b', 1))
    const both = [['SET', projectKey(project, 'other'), 1] as const, ...commands]
    expect(await log.commit(project, 'judge', '', '1-1 1', both)).toBe(false)
    expect([await place(), await server.redis.get(projectKey(project, 'other'))]).toEqual(['', null])
    const again = chain(project, await history.head(project), [happening('a', 1)])
    expect(await log.commit(project, 'judge', '', '1-1 1', again.commands)).toBe(true)
    expect((await history.page(project, 0, 10)).records.map(({ alarmId }) => alarmId)).toEqual(['b', 'a'])
  })

  it('loses nothing of what many do at once', async () => {
    await Promise.all(Array.from({ length: 20 }, (_, i) => append(happening(`a${i}`, 1))))
    const { records } = await history.page(project, 0, 100)
    expect(records).toHaveLength(20)
    expect(verify(records, GENESIS, digest).broken).toBeUndefined()
  })

  it('is read in pages, each of which verifies by itself', async () => {
    await append(...[1, 2, 3, 4, 5].map(day => happening('a', day)))
    const first = await history.page(project, 0, 2)
    const second = await history.page(project, first.next ?? 0, 2)
    const third = await history.page(project, second.next ?? 0, 2)
    expect([first, second, third].map(({ records }) => records.map(({ seq }) => seq))).toEqual([[1, 2], [3, 4], [5]])
    expect(third.next).toBeUndefined()
    for (const { records, base } of [first, second, third]) expect(verify(records, base, digest).broken).toBeUndefined()
  })

  it('that is trimmed by age still is a chain, and shows what was cut off beyond that', async () => {
    await append(...[1, 2, 3, 4, 5].map(day => happening(day % 2 === 0 ? 'even' : 'odd', day)))
    await history.trim(project, timeUs(3))
    const { records, base } = await history.page(project, 0, 10)
    expect(records.map(({ seq }) => seq)).toEqual([3, 4, 5])
    expect(verify(records, base, digest, await history.head(project)).broken).toBeUndefined()
    expect((await history.read(project, 'odd')).map(({ seq }) => seq)).toEqual([3, 5])
    expect((await history.read(project, 'even')).map(({ seq }) => seq)).toEqual([4])
    await server.redis.xdel(projectKey(project, 'history'), '3-0')
    const cut = await history.page(project, 0, 10)
    expect(verify(cut.records, cut.base, digest).broken).toEqual({ seq: 3, reason: 'record 3 is missing' })
    await history.trim(project, timeUs(32))
    await append(happening('odd', 33 - 2))
    const [last] = (await history.page(project, 0, 10)).records
    expect(last?.seq).toBe(6)
    expect(verify(last ? [last] : [], await history.base(project), digest).broken).toBeUndefined()
  })

  it('keeps no more records than it may, however young they are', async () => {
    await append(...Array.from({ length: 1200 }, () => happening('a', 1)))
    await history.trim(project, 0, 100)
    const { records, base } = await history.page(project, 0, 1000)
    expect([records.length, records[0]?.seq]).toEqual([100, 1101])
    expect(verify(records, base, digest, await history.head(project)).broken).toBeUndefined()
    expect(await history.read(project, 'a')).toHaveLength(100)
  })
})
