// The sweep over a real log: it wakes what lags, and trims what everybody has read.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { batchOf, freshProject, installed, openTestRedis, type TestRedis } from '../../packages/log/fixture.ts'
import { projectKey } from '../../packages/log/key.ts'
import { Log } from '../../packages/log/log.ts'
import { Sweep, type SweepPorts } from './sweep.ts'

describe.skipIf(installed === undefined)('the sweep', () => {
  let server: TestRedis
  let log: Log
  let project: string
  beforeAll(async () => {
    server = await openTestRedis()
    log = new Log(server.redis, [])
  })
  beforeEach(() => {
    project = freshProject()
  })
  afterAll(() => server.stop())

  function sweepOf(change: Partial<SweepPorts> = {}) {
    const seen = { woken: [] as string[], lags: new Map<string, number>(), purged: [] as number[], troubles: [] as unknown[] }
    const sweep = new Sweep({
      log,
      projects: async () => [project],
      nextDueUs: async () => undefined,
      hasOutbox: async () => false,
      wake: (_, consumer) => void seen.woken.push(consumer),
      lag: (consumer, seconds) => void seen.lags.set(consumer, seconds),
      logBytes: () => {},
      troubled: (_, error) => void seen.troubles.push(error),
      trimHistory: async () => {},
      trimQuarantine: async () => {},
      trimStreams: async () => {},
      nowMs: Date.now,
      purge: async (_, beforeUs) => void seen.purged.push(beforeUs),
      consumers: ['judge', 'store'],
      retentionMs: 0,
      logRetentionMs: 3600_000,
      maxLogBytes: 1e9,
      ...change,
    })
    return { sweep, seen }
  }

  const append = async (data: object = {}) =>
    (await log.append(project, batchOf(project, [{ device: 'd', timeUs: 1, data }]))).entryId as string
  const commit = (consumer: string, id: string) => log.commit(project, consumer, '', `${id} 1`)
  const left = async (stream: 'log' | 'alarmlog' = 'log') => (await log.read(project, '0-0', 10_000, stream)).map(({ id }) => id)

  it('wakes the consumers that lag, and those only', async () => {
    const id = await append()
    await commit('judge', id)
    const { sweep, seen } = sweepOf()
    await sweep.run()
    expect(seen.woken).toEqual(['store'])
    expect(seen.lags.get('judge')).toBe(0)
    expect(seen.lags.get('store')).toBeGreaterThanOrEqual(0)
  })

  it('sweeps the other projects though something is wrong with one, and says so', async () => {
    const broken = freshProject()
    await server.redis.set(projectKey(broken, 'offsets'), 'no hash')
    await append()
    const { sweep, seen } = sweepOf({ projects: async () => [broken, project] })
    await sweep.run()
    expect(seen.woken).toEqual(['judge', 'store'])
    expect(String(seen.troubles)).toContain('WRONGTYPE')
  })

  it('wakes nobody twice', async () => {
    await append()
    const { sweep, seen } = sweepOf()
    await sweep.run()
    await sweep.run()
    expect(seen.woken).toEqual(['judge', 'store'])
  })

  it('wakes the judge for a timer that is due, and whoever notifies for an outbox', async () => {
    const { sweep, seen } = sweepOf({ nextDueUs: async () => Date.now() * 1000 - 1, hasOutbox: async () => true })
    await sweep.run()
    expect(seen.woken).toEqual(['judge', 'notify'])
    const early = sweepOf({ nextDueUs: async () => (Date.now() + 60_000) * 1000 })
    await early.sweep.run()
    expect(early.seen.woken).toEqual([])
  })

  it('trims by age, but nothing that the slowest consumer has not passed', async () => {
    const ids = [await append(), await append(), await append(), await append()]
    await commit('judge', ids[3] as string)
    await commit('store', ids[1] as string)
    const later = () => Date.now() + 7_200_000
    await sweepOf({ nowMs: later }).sweep.run()
    expect(await left()).toEqual(ids.slice(1))
    expect(await log.trimmed(project)).toBe(ids[0])
  })

  it('trims nothing while a consumer has never committed', async () => {
    const ids = [await append(), await append()]
    await commit('judge', ids[1] as string)
    await sweepOf({ nowMs: () => Date.now() + 7_200_000, maxLogBytes: 1 }).sweep.run()
    expect(await left()).toEqual(ids)
  })

  const spread = async (stream: string, count: number, stepMs: number, chars = 2000, fromMs = 1_700_000_000_000) => {
    const fields = ['i', 'd\tt\t1', 'f', JSON.stringify({ text: 'x'.repeat(chars) })]
    const pipeline = server.redis.pipeline()
    for (let i = 0; i < count; i++) pipeline.xadd(projectKey(project, stream), `${fromMs + i * stepMs}-0`, ...fields)
    await pipeline.exec()
    return log.last(project, stream as 'log')
  }

  it('trims to a size, keeping the newest', async () => {
    const last = await spread('log', 500, 1000)
    for (const consumer of ['judge', 'store']) await commit(consumer, last)
    const { bytes } = await log.size(project)
    await sweepOf({ nowMs: () => 1_700_000_500_000, maxLogBytes: bytes / 4 }).sweep.run()
    const kept = await left()
    expect(kept.at(-1)).toBe(last)
    expect(kept.length).toBeGreaterThan(80)
    expect(kept.length).toBeLessThan(170)
  })

  it('trims to a size also when entries have become much larger', async () => {
    await spread('log', 200, 1000, 200)
    const last = await spread('log', 100, 1000, 40_000, 1_700_000_200_000)
    for (const consumer of ['judge', 'store']) await commit(consumer, last)
    await sweepOf({ nowMs: () => 1_700_000_300_000, maxLogBytes: 1_000_000 }).sweep.run()
    const kept = await left()
    expect(kept.at(-1)).toBe(last)
    expect(kept.length).toBeLessThanOrEqual(25)
  })

  it('trims to a size no further than the slowest consumer', async () => {
    const last = await spread('log', 500, 1000)
    await commit('judge', last)
    await commit('store', `${1_700_000_000_000 + 100 * 1000}-0`)
    await sweepOf({ nowMs: () => 1_700_000_500_000, maxLogBytes: 1000 }).sweep.run()
    expect(await left()).toHaveLength(400)
  })

  it('bounds the changes of alarms by size too', async () => {
    const last = await spread('alarmlog', 500, 1000)
    await sweepOf({ nowMs: () => 1_700_000_500_000, maxLogBytes: 300_000 }).sweep.run()
    const kept = await left('alarmlog')
    expect(kept.length).toBeLessThan(250)
    expect(kept.at(-1)).toBe(last)
    expect(await log.trimmed(project, 'alarmlog')).not.toBe('0-0')
  })

  it('forgets readings past their retention now and then', async () => {
    const { sweep, seen } = sweepOf({ retentionMs: 60_000, nowMs: () => 100_000 })
    await sweep.run()
    await sweep.run()
    expect(seen.purged).toEqual([40_000_000])
  })
})
