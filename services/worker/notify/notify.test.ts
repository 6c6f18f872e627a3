// Notifications on a real Redis: one delivery per change and channel, in the order of the alarm, tried until it is there or given up.
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { projectKey } from '../../../packages/log/key.ts'
import { Deliveries } from '../../../packages/queue/queue.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import type { Channel } from '../../../packages/state/channel.ts'
import { Outbox } from '../../../packages/state/outbox.ts'
import { backoffMs, drainOutbox, type NotifyPorts, startNotify } from './notify.ts'
import type { Attempt } from './webhook.ts'

const delivered: Attempt = { outcome: 'delivered', detail: 'status 200' }
const again: Attempt = { outcome: 'retry', detail: 'status 500', afterMs: 0 }

describe('the wait before another attempt', () => {
  it.each([
    [1, 0, undefined, 500],
    [1, 1, undefined, 1000],
    [2, 0.5, undefined, 1500],
    [4, 1, undefined, 8000],
    [11, 1, undefined, 600_000],
    [1000, 0, undefined, 300_000],
    [1, 0, 30_000, 30_000],
    [11, 0, 1000, 300_000],
    [1, 0, 1e12, 3_600_000],
    [1, 0, -5, 500],
  ])('number %i with luck %f and Retry-After %s is %i ms', (attempts, random, retryAfterMs, ms) => {
    expect(backoffMs(attempts, random, retryAfterMs)).toBe(ms)
  })
})

describe.skipIf(installed === undefined)('notifications', () => {
  let server: TestRedis
  let outbox: Outbox
  let project: string
  beforeAll(async () => {
    server = await openTestRedis()
    outbox = new Outbox(server.redis)
  })
  beforeEach(() => {
    project = freshProject()
  })
  afterAll(() => server.stop())

  const change = (alarmId: string, version: number, ...channels: string[]) =>
    server.redis.xadd(
      projectKey(project, 'outbox'),
      '*',
      'c',
      JSON.stringify({ changeId: `${alarmId}-${version}`, kind: 'active', channels, alarm: { alarmId, version } }),
    )

  /** Answers each attempt with what is next for its channel, else with success. */
  function start(answers: Record<string, (Attempt | Promise<Attempt> | Error)[]> = {}, nowMs: () => number = Date.now) {
    const seen = { attempts: [] as string[], gaveUp: [] as string[] }
    const deliveries = new Deliveries({ redis: server.redis, log: openLogger('silent') })
    const ports: NotifyPorts = {
      outbox,
      deliveries,
      channel: async (_, name) => (name === 'deleted' ? undefined : ({ name } as Channel)),
      send: async (channel, id) => {
        if (!id.startsWith(project)) return delivered
        seen.attempts.push(id.slice(project.length + 1))
        const answer = await answers[channel.name]?.shift()
        if (answer instanceof Error) throw answer
        return answer ?? delivered
      },
      nowMs,
      random: () => 0,
      attempted: () => {},
      gaveUp: ({ delivery, detail }) => void seen.gaveUp.push(`${delivery} ${detail}`),
    }
    const running = startNotify(ports)
    onTestFinished(async () => {
      await running.stop()
      await deliveries.close()
    })
    return { ports, seen }
  }

  const stateOf = async (id: string) => (await outbox.delivery(project, id))?.state

  it('are delivered once for each channel, however often the outbox is drained', async () => {
    const { ports, seen } = start()
    await change('a', 1, 'ops', 'chat')
    const entries = await outbox.read(project)
    await drainOutbox(ports, project)
    await until('both', () => seen.attempts.length === 2)
    // A crash before the outbox was cleared.
    for (const { entry } of entries) await server.redis.xadd(projectKey(project, 'outbox'), '*', 'c', JSON.stringify(entry))
    await drainOutbox(ports, project)
    expect(await outbox.isEmpty(project)).toBe(true)
    await change('b', 1, 'ops')
    await drainOutbox(ports, project)
    await until('the other alarm', () => seen.attempts.includes('b-1~ops'))
    expect(seen.attempts.toSorted()).toEqual(['a-1~chat', 'a-1~ops', 'b-1~ops'])
    await until('all recorded', async () => (await stateOf('b-1~ops')) === 'delivered')
  })

  it('are tried again after a failure, and later changes of the alarm wait for it while others do not', async () => {
    const { ports, seen } = start({ ops: [again] })
    await change('a', 1, 'ops')
    await drainOutbox(ports, project)
    await until('the first attempt', () => seen.attempts.length === 1)
    await change('a', 2, 'ops')
    await change('b', 1, 'ops')
    await change('a', 2, 'chat')
    await drainOutbox(ports, project)
    await until('everything', () => seen.attempts.length === 5, 8000)
    expect(seen.attempts.filter(id => id.startsWith('a') && id.endsWith('ops'))).toEqual(['a-1~ops', 'a-1~ops', 'a-2~ops'])
    expect(seen.attempts.indexOf('b-1~ops')).toBeLessThan(seen.attempts.indexOf('a-2~ops'))
    await until('the record', async () => (await stateOf('a-2~ops')) === 'delivered')
    expect(await outbox.delivery(project, 'a-1~ops')).toMatchObject({ attempts: 2, detail: 'status 200' })
  })

  it('leave a receipt of each attempt, of the first and the last when there were many', async () => {
    const refused: Attempt = { outcome: 'retry', detail: 'status 500', status: 500, afterMs: 0 }
    const { ports, seen } = start({ ops: [refused] })
    await change('a', 1, 'ops', 'chat')
    await drainOutbox(ports, project)
    await until('all recorded', async () => (await stateOf('a-1~ops')) === 'delivered' && (await stateOf('a-1~chat')) === 'delivered', 8000)
    expect(seen.attempts).toHaveLength(3)
    const [told = [], nobody] = await outbox.told(project, ['a-1', 'a-2'])
    expect(told).toMatchObject([
      { channel: 'ops', attempts: [{ outcome: 'retry', status: 500, detail: 'status 500' }, { outcome: 'delivered' }] },
      { channel: 'chat', attempts: [{ outcome: 'delivered', durationMs: expect.any(Number) }] },
    ])
    expect(told[0]?.createdMs).toBeGreaterThan(0)
    expect(nobody).toEqual([])
    const delivery = await outbox.delivery(project, 'a-1~ops')
    if (!delivery) throw new Error('no delivery')
    await server.redis.hset(projectKey(project, 'delivery:a-1~ops'), 'state', 'open')
    const late = { startedMs: 1, durationMs: 1, outcome: 'retry', detail: 'late' } as const
    await outbox.record(project, { ...delivery, state: 'open', attempts: 21 }, late)
    await outbox.record(project, { ...delivery, state: 'dead', attempts: 150 }, late)
    expect((await outbox.told(project, ['a-1']))[0]?.[0]?.attempts).toHaveLength(3)
  })

  it('are given up at once by a receiver that does not want them, and for a channel that is gone', async () => {
    const { ports, seen } = start({ ops: [{ outcome: 'refused', detail: 'status 410' }] })
    await change('a', 1, 'ops', 'deleted')
    await change('a', 2, 'ops')
    await drainOutbox(ports, project)
    await until('the next change', () => seen.attempts.length === 2)
    await until('both given up', () => seen.gaveUp.length === 2)
    expect(seen.gaveUp.toSorted()).toEqual(['a-1~deleted the channel was deleted', 'a-1~ops status 410'])
    expect(await server.redis.lrange(projectKey(project, 'deadLetters'), 0, -1)).toHaveLength(2)
  })

  it('are given up after a day', async () => {
    const { ports, seen } = start({ ops: [again] }, () => Date.now() + 25 * 3_600_000)
    await change('a', 1, 'ops')
    await drainOutbox(ports, project)
    await until('given up', () => seen.gaveUp.length === 1)
    expect(await stateOf('a-1~ops')).toBe('dead')
  })

  it('that hang in one channel leave the others alone', async () => {
    const releases: ((attempt: Attempt) => void)[] = []
    const waits = Array.from({ length: 40 }, () => new Promise<Attempt>(resolve => void releases.push(resolve)))
    const { ports, seen } = start({ stuck: waits })
    for (let i = 0; i < 40; i++) await change(`s${i}`, 1, 'stuck')
    await drainOutbox(ports, project)
    await until('a share of the stuck ones', () => seen.attempts.length >= 20)
    await change('a', 1, 'ops')
    await drainOutbox(ports, project)
    await until('the other channel', () => seen.attempts.includes('a-1~ops'), 3000)
    expect(seen.attempts.filter(id => id.endsWith('stuck')).length).toBeLessThanOrEqual(32)
    for (const finish of releases) finish(delivered)
    await until('all', () => seen.attempts.length === 41, 8000)
  })

  it('whose attempt breaks down are tried again, and their line goes on', async () => {
    const { ports, seen } = start({ ops: [new Error('a mistake of ours')] })
    await change('a', 1, 'ops')
    await change('a', 2, 'ops')
    await drainOutbox(ports, project)
    await until('both', async () => (await stateOf('a-2~ops')) === 'delivered', 20_000)
    expect(seen.attempts).toEqual(['a-1~ops', 'a-1~ops', 'a-2~ops'])
    expect(seen.gaveUp).toEqual([])
  }, 25_000)

  it('that were delivered stay so, whatever an attempt that hung says afterwards', async () => {
    await change('a', 1, 'ops')
    const [first] = await outbox.read(project)
    const delivery = {
      id: 'a-1~ops',
      alarmId: 'a',
      channel: 'ops',
      entry: first?.entry,
      state: 'open' as const,
      attempts: 1,
      detail: 'hung',
      createdMs: 0,
      changedMs: 0,
    }
    await outbox.create(project, [delivery])
    const said = { startedMs: 0, durationMs: 5, outcome: 'retry', detail: 'hung' } as const
    await outbox.record(project, { ...delivery, state: 'delivered', detail: 'status 200' }, { ...said, outcome: 'delivered' })
    await outbox.record(project, delivery, said)
    expect((await outbox.told(project, ['a-1']))[0]?.[0]?.attempts.map(({ outcome }) => outcome)).toEqual(['delivered'])
    expect(await outbox.delivery(project, 'a-1~ops')).toMatchObject({ state: 'delivered', detail: 'status 200' })
  })
})
