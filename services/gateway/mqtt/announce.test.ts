// Announcements of alarms where one project cannot be read.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { groupNameOf } from '../../../packages/core/group.ts'
import { installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { projectKey } from '../../../packages/log/key.ts'
import { Log } from '../../../packages/log/log.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { Alarms } from '../../../packages/state/alarm.ts'
import { FIRST_ORGANIZATION, Organizations } from '../../../packages/state/organization.ts'
import { Projects } from '../../../packages/state/project.ts'
import { orderOf } from '../broker/inorder.ts'
import { startAnnouncements } from './announce.ts'

describe.skipIf(installed === undefined)('announcements', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  it('begin without a project that cannot be read, and take it in as soon as it can be', async () => {
    const { redis } = server
    await new Organizations(redis).add({ id: FIRST_ORGANIZATION, displayName: 'Default' })
    const projects = new Projects(redis)
    for (const id of ['broken', 'whole']) {
      await projects.add(id)
      await redis.zadd(projectKey(id, 'alarmIndex'), 1, 'a')
      await redis.hset(projectKey(id, 'alarms'), 'a', JSON.stringify({ alarmId: 'a', rule: 'r', device: 'd' }))
    }
    await redis.hset(projectKey('broken', 'alarms'), 'a', 'no JSON')
    const topics: string[] = []
    const orders: string[] = []
    const before = await redis.xadd(projectKey('whole', 'alarmlog'), '*', 'i', 'x\tr\t1', 'f', JSON.stringify({ rule: 'r', device: 'x' }))
    const warned: unknown[] = []
    const logger = openLogger('silent')
    logger.warn = (facts: unknown) => void warned.push(facts)
    const announcing = startAnnouncements({
      log: new Log(redis, []),
      projects,
      alarms: new Alarms(redis),
      logger,
      connect: () => server.connect(),
      announce: async (topic, _, order) => {
        topics.push(topic)
        orders.push(order)
      },
    })
    await until('the other is announced', () => topics.length > 0 && warned.length > 0)
    expect(topics).toEqual(['projects/whole/alarms/r/d'])
    // As far as the log of alarms was when it was read.
    expect(orders).toEqual([orderOf(before ?? '')])
    await redis.hset(projectKey('broken', 'alarms'), 'a', JSON.stringify({ alarmId: 'a', rule: 'r', device: 'd' }))
    await until('it is taken in', () => topics.includes('projects/broken/alarms/r/d'))
    expect(warned).toEqual([{ project: 'broken', reason: expect.stringContaining('JSON') }])
    // One that devices share stands under the name of their group.
    const group = groupNameOf({ zone: 'a/b', site: '#1' })
    const said = await redis.xadd(
      projectKey('whole', 'alarmlog'),
      '*',
      'i',
      `${group}\tr\t1`,
      'f',
      JSON.stringify({ rule: 'r', device: group }),
    )
    await until('it is announced', () => topics.includes('projects/whole/alarms/r/zone=a%2Fb,site=%231'))
    expect(orders.at(-1)).toBe(orderOf(said ?? ''))
    await announcing.stop()
  })

  it('keep neither the start nor other projects waiting for one that hangs; their end waits for it', async () => {
    const { redis } = server
    const projects = new Projects(redis)
    for (const id of ['ahangs', 'next']) {
      await projects.add(id)
      await redis.zadd(projectKey(id, 'alarmIndex'), 1, 'a', 1, 'b')
      for (const alarmId of ['a', 'b'])
        await redis.hset(projectKey(id, 'alarms'), alarmId, JSON.stringify({ alarmId, rule: alarmId, device: 'd' }))
    }
    const topics: string[] = []
    const held: (() => void)[] = []
    const announcing = startAnnouncements({
      log: new Log(redis, []),
      projects,
      alarms: new Alarms(redis),
      logger: openLogger('silent'),
      connect: () => server.connect(),
      announce: async topic => {
        topics.push(topic)
        if (topic.startsWith('projects/ahangs/')) await new Promise<void>(resolve => void held.push(resolve))
      },
    })
    await until('it hangs, and the other is announced', () => held.length === 1 && topics.includes('projects/next/alarms/b/d'))
    let isOver = false
    const stopped = announcing.stop().then(() => {
      isOver = true
    })
    await redis.ping()
    expect(isOver).toBe(false)
    for (const release of held) release()
    await stopped
    expect(topics.filter(topic => topic.startsWith('projects/ahangs/'))).toHaveLength(1)
  })
})

it('the order of what is announced is that of the log, however many digits its entries have', () => {
  const ids = ['0-0', '9-1', '10-0', '1795318552910-2', '1795318552910-10', '1795318552911-0']
  expect(ids.map(orderOf).toSorted()).toEqual(ids.map(orderOf))
})
