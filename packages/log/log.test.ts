// The log against a real Redis: what is appended, dropped, committed and trimmed.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { acceptedUs, compareIds, parseEntry } from './entry.ts'
import { batchOf, freshProject, installed, openTestRedis, type Sent, type TestRedis } from './fixture.ts'
import { projectKey } from './key.ts'
import { type CommitCommand, Log } from './log.ts'

describe.skipIf(installed === undefined)('the log', () => {
  let server: TestRedis
  let log: Log
  beforeAll(async () => {
    server = await openTestRedis()
    log = new Log(server.redis, ['judge', 'store'])
  })
  afterAll(() => server.stop())

  const append = (project: string, events: readonly Sent[], mode: 'a' | 'c' = 'c') => log.append(project, batchOf(project, events, mode))
  const fill = async (project: string, count: number) => {
    const ids: string[] = []
    for (let i = 0; i < count; i++) ids.push((await append(project, [{ device: `d${i}`, timeUs: i }])).entryId ?? '')
    return ids
  }

  it('gives back what was appended, byte for byte, whatever the devices are called', async () => {
    const project = freshProject()
    const names = [
      'a b',
      '__proto__',
      'constructor',
      'é\u0301',
      '设备',
      '😀',
      '%s{0}',
      '"\\',
      "';--",
      ',=',
      '{project}:log',
      '*',
      'x'.repeat(128),
    ]
    const batch = batchOf(
      project,
      names.map((device, i) => ({ device, eventType: 'a.b-c_d', timeUs: 1_700_000_000_000_000 + i })),
    )
    const { entryId, duplicates } = await log.append(project, batch)
    expect(duplicates).toBe(0)
    const [entry] = await log.read(project, '0-0', 10)
    expect(entry?.id).toBe(entryId)
    expect(entry?.events).toEqual(
      names.map((device, i) => ({ device, eventType: 'a.b-c_d', timeUs: 1_700_000_000_000_000 + i, frame: batch.frames[i] })),
    )
  })

  it('says by the id of an entry when it was accepted', async () => {
    const project = freshProject()
    const before = Date.now() * 1000
    const { entryId = '' } = await append(project, [{ device: 'd', timeUs: 1 }])
    expect(acceptedUs(entryId)).toBeGreaterThanOrEqual(before - 1000)
    expect(acceptedUs(entryId)).toBeLessThanOrEqual(Date.now() * 1000)
  })

  it('drops a redelivery in the middle of a batch and keeps its neighbours with their index lines', async () => {
    const project = freshProject()
    await append(project, [{ device: 'b', timeUs: 2, id: 'seen' }])
    const { duplicates } = await append(project, [
      { device: 'a', timeUs: 1, id: '1' },
      { device: 'b', timeUs: 2, id: 'seen' },
      { device: 'c', timeUs: 3, id: '3' },
    ])
    expect(duplicates).toBe(1)
    const [, second] = await log.read(project, '0-0', 10)
    expect(second?.events.map(({ device, timeUs, frame }) => [device, timeUs, JSON.parse(frame).eventId])).toEqual([
      ['a', 1, '1'],
      ['c', 3, '3'],
    ])
  })

  it('appends nothing for a batch of nothing but redeliveries, and wakes nobody', async () => {
    const project = freshProject()
    await append(project, [{ device: 'd', timeUs: 1, id: 'x' }])
    expect(await append(project, [{ device: 'd', timeUs: 1, id: 'x' }])).toEqual({ entryId: undefined, duplicates: 1, wake: [] })
    expect(await log.read(project, '0-0', 10)).toHaveLength(1)
  })

  it('keeps a repeat that is not suspected, and remembers it', async () => {
    const project = freshProject()
    await append(project, [{ device: 'd', timeUs: 1, id: 'x' }], 'a')
    expect((await append(project, [{ device: 'd', timeUs: 1, id: 'x' }], 'a')).duplicates).toBe(0)
    expect((await append(project, [{ device: 'd', timeUs: 1, id: 'x' }], 'c')).duplicates).toBe(1)
  })

  it('knows redeliveries of one project only', async () => {
    const [one, other] = [freshProject(), freshProject()]
    await append(one, [{ device: 'd', timeUs: 1, id: 'x' }])
    expect((await append(other, [{ device: 'd', timeUs: 1, id: 'x' }])).duplicates).toBe(0)
  })

  it('remembers a key for at least one and at most two generations', async () => {
    const project = freshProject()
    const short = new Log(server.redis, [], 10)
    const send = (id: string) => short.append(project, batchOf(project, [{ device: 'd', timeUs: 1, id }]))
    await send('first')
    for (let i = 0; i < 10; i++) await send(`a${i}`)
    expect((await send('first')).duplicates).toBe(1)
    for (let i = 0; i < 25; i++) await send(`b${i}`)
    expect((await send('first')).duplicates).toBe(0)
    expect(await server.redis.scard(projectKey(project, 'seen'))).toBeLessThanOrEqual(11)
  })

  it('takes a batch of 1,000 events', async () => {
    const project = freshProject()
    const events = Array.from({ length: 1000 }, (_, i) => ({ device: `d${i}`, timeUs: i }))
    await append(project, events)
    expect((await log.read(project, '0-0', 1))[0]?.events).toHaveLength(1000)
  })

  it('names each consumer once until its wake is cleared', async () => {
    const project = freshProject()
    expect((await append(project, [{ device: 'd', timeUs: 1 }])).wake).toEqual(['judge', 'store'])
    expect((await append(project, [{ device: 'd', timeUs: 2 }])).wake).toEqual([])
    await log.clearWake(project, 'store')
    expect((await append(project, [{ device: 'd', timeUs: 3 }])).wake).toEqual(['store'])
    expect(await log.setWake(project, 'store')).toBe(false)
    await log.clearWake(project, 'store')
    expect(await log.setWake(project, 'store')).toBe(true)
  })

  it('reads entries strictly after an id, oldest first', async () => {
    const project = freshProject()
    const ids = await fill(project, 5)
    expect((await log.read(project, ids[1] ?? '', 2)).map(({ id }) => id)).toEqual(ids.slice(2, 4))
    expect(await log.read(project, ids[4] ?? '', 2)).toEqual([])
    expect((await log.entry(project, ids[2] ?? ''))?.events[0]?.device).toBe('d2')
    expect(await log.entry(project, '1-1')).toBeUndefined()
  })

  it('commits the place together with every command', async () => {
    const project = freshProject()
    const key = (name: string) => projectKey(project, name)
    const commands: CommitCommand[] = [
      ['HSET', key('a'), 'f', 'v'],
      ['XADD', key('b'), '*', 'c', 'one'],
      ['HSET', key('a'), 'g', 7],
      ['ZADD', key('c'), 1.7e15 + 1, 'm'],
    ]
    expect(await log.commit(project, 'judge', '', '1-1 1', commands)).toBe(true)
    expect(await log.place(project, 'judge')).toBe('1-1 1')
    expect(await server.redis.hgetall(key('a'))).toEqual({ f: 'v', g: '7' })
    expect(await server.redis.xlen(key('b'))).toBe(1)
    expect(Number(await server.redis.zscore(key('c'), 'm'))).toBe(1.7e15 + 1)
    expect(await log.places(project)).toEqual({ judge: '1-1 1' })
  })

  it('commits nothing at all for somebody whose place has moved', async () => {
    const project = freshProject()
    await log.commit(project, 'judge', '', '1-1 1')
    const late: CommitCommand[] = [['HSET', projectKey(project, 'a'), 'f', 'v']]
    expect(await log.commit(project, 'judge', '', '2-2 1', late)).toBe(false)
    expect(await log.place(project, 'judge')).toBe('1-1 1')
    expect(await server.redis.exists(projectKey(project, 'a'))).toBe(0)
  })

  it('sends nothing of a commit in which a command cannot be run, and writes nothing when a key is of another type', async () => {
    const project = freshProject()
    const [first, second] = [projectKey(project, 'first'), projectKey(project, 'second')]
    const commit = (command: CommitCommand) => log.commit(project, 'judge', '', '1-1 1', [['SET', first, '1'], command])
    const many = Array.from({ length: 9000 }, (_, i) => `rule${i}`)
    await expect(commit(['SADD', second, ...many])).rejects.toThrow('at most 4000 arguments')
    await expect(commit(['ZADD', second, Number.NaN, 'a'])).rejects.toThrow('expected numbers that are finite, got NaN')
    await server.redis.rpush(second, 'a list')
    await expect(commit(['HSET', second, 'a', '1'])).rejects.toThrow('is a list, HSET needs a hash')
    expect([await server.redis.get(first), await log.place(project, 'judge')]).toEqual([null, ''])
  })

  it('commits commands of thousands of arguments', async () => {
    const project = freshProject()
    const pairs = Array.from({ length: 2000 }, (_, i) => [`field ${i}`, 'v']).flat()
    const commands: CommitCommand[] = Array.from({ length: 5 }, (_, i) => ['HSET', projectKey(project, `h${i}`), ...pairs])
    expect(await log.commit(project, 'judge', '', '1-1 1', commands)).toBe(true)
    expect(await server.redis.hlen(projectKey(project, 'h4'))).toBe(2000)
  })

  it('remembers how far it was trimmed', async () => {
    const project = freshProject()
    const ids = await fill(project, 6)
    expect(await log.trimmed(project)).toBe('0-0')
    expect(await log.trim(project, ids[3] ?? '')).toBe(3)
    expect(await log.trimmed(project)).toBe(ids[2])
    expect(await log.trim(project, ids[1] ?? '')).toBe(0)
    expect(await log.trimmed(project)).toBe(ids[2])
    expect(await log.readFrom(project, '0-0', 2)).toMatchObject({ trimmed: ids[2], entries: [{ id: ids[3] }, { id: ids[4] }] })
  })

  it('knows its last entry after all of them are trimmed', async () => {
    const project = freshProject()
    expect(await log.last(project)).toBe('0-0')
    const ids = await fill(project, 3)
    await log.trim(project, '99999999999999-0')
    expect(await log.last(project)).toBe(ids[2])
    const { entryId = '' } = await append(project, [{ device: 'd', timeUs: 9 }])
    expect(compareIds(entryId, ids[2] ?? '')).toBeGreaterThan(0)
  })

  it('finds where a share of its time ends without reading the entries in between', async () => {
    const project = freshProject()
    for (const ms of [1000, 1001, 1500, 2000]) await server.redis.xadd(projectKey(project, 'log'), `${ms}-0`, 'i', 'd\tt\t1', 'f', '{}')
    expect(await log.idAt(project, 0.5)).toBe('1500-0')
    expect(await log.idAt(project, 0)).toBe('1000-0')
    expect(await log.idAt(freshProject(), 0.5)).toBe('0-0')
  })

  it('tells how much memory it takes', async () => {
    const project = freshProject()
    expect(await log.size(project)).toEqual({ entries: 0, bytes: 0 })
    await fill(project, 10)
    const { entries, bytes } = await log.size(project)
    expect(entries).toBe(10)
    expect(bytes).toBeGreaterThan(500)
  })
})

describe('an entry', () => {
  it('is refused when its index and its frames do not match', () => {
    expect(() => parseEntry('1-1', ['i', 'd\tt\t1', 'f', '{}\n{}'])).toThrow('log entry 1-1: 1 index lines for 2 frames')
    expect(() => parseEntry('1-1', ['i', 'd\tt\t1'])).toThrow('log entry 1-1 has no field f')
  })

  it('is ordered by number, not by text', () => {
    expect(['10-2', '9-9', '10-10', '10-1'].sort(compareIds)).toEqual(['9-9', '10-1', '10-2', '10-10'])
    expect(compareIds('5-1', '5-1')).toBe(0)
  })
})
