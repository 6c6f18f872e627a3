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
    const announcing = await startAnnouncements({
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
})

it('the order of what is announced is that of the log, however many digits its entries have', () => {
  const ids = ['0-0', '9-1', '10-0', '1795318552910-2', '1795318552910-10', '1795318552911-0']
  expect(ids.map(orderOf).toSorted()).toEqual(ids.map(orderOf))
})
