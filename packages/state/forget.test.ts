// What is kept of alarms is bounded: by time, and by number for one that flaps.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Happening } from '../core/chain.ts'
import { formatTime } from '../core/time.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { projectKey } from '../log/key.ts'
import { Alarms } from './alarm.ts'
import { History } from './history.ts'
import { type Delivery, Outbox } from './outbox.ts'

const DAY_US = 86_400_000_000
const T0 = Date.UTC(2026, 0, 1) * 1000

describe.skipIf(installed === undefined)('what is kept of alarms', () => {
  let server: TestRedis
  let project: string
  beforeAll(async () => {
    server = await openTestRedis()
  })
  beforeEach(() => {
    project = freshProject()
  })
  afterAll(() => server.stop())

  const delivery = (number: number): Delivery => {
    const facts = { alarmId: 'a', channel: 'ops', entry: {}, attempts: 0, detail: '', createdMs: 0, changedMs: 0 }
    return { ...facts, id: `a-${number}~ops`, state: 'open' }
  }
  const attempt = { startedMs: 0, durationMs: 1, outcome: 'delivered', detail: 'HTTP 204' } as const

  it('by number: of one that flaps the newest deliveries and receipts', async () => {
    const outbox = new Outbox(server.redis, DAY_US, 10)
    const all = Array.from({ length: 13 }, (_, i) => delivery(i + 1))
    await outbox.create(project, all)
    for (const one of all) await outbox.record(project, { ...one, state: 'delivered', attempts: 1 }, attempt)
    const known = await Promise.all(['a-3~ops', 'a-4~ops', 'a-13~ops'].map(id => outbox.delivery(project, id)))
    expect(known.map(one => one?.state)).toEqual([undefined, 'delivered', 'delivered'])
    expect((await outbox.told(project, ['a-3', 'a-4', 'a-13'])).map(told => told.length)).toEqual([0, 1, 1])
  })

  it('by number: of one that flaps each hundredth change is in the history, and all that people do', async () => {
    const history = new History(server.redis, 10)
    const common = { alarmId: 'a', rule: 'r', ruleVersion: 1, device: 'd', episode: 1, time: formatTime(T0) } as const
    for (let from = 1; from < 400; from += 5) {
      const changes = Array.from({ length: 5 }, (_, i): Happening => ({ ...common, kind: 'active', changeId: `a-${from + i}` }))
      const said: Happening = { ...common, kind: 'commented', by: 'kari' }
      const happenings = await history.thinned(project, from === 201 ? [...changes, said] : changes)
      await history.append(project, async () => ({ happenings, commands: [], result: undefined }))
    }
    const kept = (await history.read(project, 'a')).map(({ kind, changeId }) => changeId ?? kind)
    expect(kept.slice(10)).toEqual(['a-100', 'a-200', 'commented', 'a-300', 'a-400'])
  })

  it('by time: receipts go with the record of the change', async () => {
    const [history, outbox] = [new History(server.redis), new Outbox(server.redis)]
    const happening = (day: number): Happening => {
      const facts = { kind: 'active', alarmId: 'a', rule: 'r', ruleVersion: 1, device: 'd', episode: 1 } as const
      return { ...facts, time: formatTime(T0 + day * DAY_US), changeId: `a-${day}` }
    }
    await history.append(project, async () => ({ happenings: [1, 2, 3].map(happening), commands: [], result: undefined }))
    await outbox.create(project, [1, 2, 3].map(delivery))
    expect(await history.trim(project, T0 + 2 * DAY_US)).toBe(0)
    expect((await outbox.told(project, ['a-1', 'a-2', 'a-3'])).map(told => told.length)).toEqual([0, 1, 1])
    expect(await history.trim(project, T0, 1)).toBe(1)
    expect(await history.surplus(project)).toBe(1)
  })

  it('by time: an alarm that was over before goes, one that is not stays', async () => {
    const alarms = new Alarms(server.redis)
    const keep = async (alarmId: string, state: string, day: number) => {
      const alarm = { alarmId, rule: 'r', device: 'd', state, told: null, serverTime: formatTime(T0 + day * DAY_US) }
      await server.redis.hset(projectKey(project, 'alarms'), alarmId, JSON.stringify(alarm))
      await server.redis.hset(projectKey(project, 'acknowledgements'), alarmId, '{}')
      await server.redis.zadd(projectKey(project, 'alarmIndex'), `${T0 + day * DAY_US}`, alarmId)
    }
    await keep('over', 'cleared', 1)
    await keep('lasting', 'active', 1)
    await keep('fresh', 'cleared', 3)
    await alarms.dropCleared(project, T0 + 2 * DAY_US)
    await alarms.dropCleared(project, 0)
    const left = ['alarms', 'acknowledgements'].map(async key => (await server.redis.hkeys(projectKey(project, key))).sort())
    expect(await Promise.all(left)).toEqual([
      ['fresh', 'lasting'],
      ['fresh', 'lasting'],
    ])
    expect(await server.redis.zrange(projectKey(project, 'alarmIndex'), '0', '-1')).toEqual(['lasting', 'fresh'])
  })
})
