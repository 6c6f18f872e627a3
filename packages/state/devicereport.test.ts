// What devices reported last, on a real Redis, while devices come and go and indexes are begun at the worst moment.
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { Devices } from './device.ts'
import { DeviceLists } from './devicelist.ts'
import { parseOrder } from './devicequery.ts'
import { Reports } from './devicereport.ts'
import { justBefore } from './fixture.ts'

const PATH = 'temperature.value'

describe.skipIf(installed === undefined)('what devices reported last', () => {
  let server: TestRedis
  let redis: Redis
  let devices: Devices
  let reports: Reports
  let project: string
  beforeAll(async () => {
    server = await openTestRedis()
    redis = server.redis
    devices = new Devices(redis)
    reports = new Reports(redis)
  })
  beforeEach(async () => {
    project = freshProject()
    await devices.register(
      project,
      ['a', 'b', 'c'].map(id => [id, 'temperature'] as const),
    )
  })
  afterAll(() => server.stop())

  const temperature = (device: string, timeUs: number, value: unknown) => ({
    device,
    eventType: 'temperature',
    timeUs,
    data: { value },
  })
  const reported = async (name: string, device: string) => (await devices.reported(name, [device]))[0]?.['temperature']
  const order = () => redis.zrange(`t:{${project}}:order:${PATH}`, 0, '-1', 'WITHSCORES')

  /** A list so large for its server that it is kept by an index, to the end. */
  async function list(name = project, client = redis): Promise<string[]> {
    const lists = new DeviceLists(client, new Devices(client), 2)
    const { by, descending } = parseOrder(`reported.${PATH}`)
    const page = await lists.list(name, { labels: [] }, { by, descending }, undefined, 100)
    return page.found.map(({ device }) => device.id)
  }

  it('is never replaced by something older, and by the later of two at the same time', async () => {
    await reports.write(project, [temperature('a', 10, 1), temperature('a', 10, 2)])
    await reports.write(project, [temperature('a', 9, 3)])
    expect(await reported(project, 'a')).toEqual({ value: 2 })
  })

  it('is no older when a device comes back from another project', async () => {
    const other = freshProject()
    await reports.write(project, [temperature('a', 100, 1)])
    await devices.transfer(project, other, 'a')
    await reports.write(other, [temperature('a', 200, 2)])
    await devices.transfer(other, project, 'a')
    await reports.write(project, [temperature('a', 150, 3)])
    expect(await reported(project, 'a')).toEqual({ value: 2 })
  })

  it('is not kept of a device that is gone when its event is read', async () => {
    await list()
    await devices.remove(project, 'a')
    await reports.write(project, [temperature('a', 1, 1), temperature('b', 1, 2)])
    expect(await redis.keys(`t:{${project}}:reported:*`)).toEqual([`t:{${project}}:reported:b`])
  })

  it('is in order by the fields that somebody orders by, and out of it when it lacks them', async () => {
    await reports.write(project, [temperature('a', 1, 1)])
    await list()
    await reports.write(project, [temperature('a', 2, 4), temperature('b', 2, 3), temperature('c', 2, 1), temperature('gone', 2, 1)])
    expect(await order()).toEqual(['c', '1', 'b', '3', 'a', '4'])
    await reports.write(project, [temperature('a', 3, null), temperature('b', 3, 5)])
    expect(await order()).toEqual(['c', '1', 'b', '5'])
  })

  it('is in order also when the index is begun while a value is on its way', async () => {
    await reports.write(project, [temperature('a', 1, 1), temperature('b', 1, 2)])
    const late = new Reports(justBefore(redis, 'telltaleReport', () => list()))
    await late.write(project, [temperature('a', 2, 9)])
    expect(await order()).toEqual(['b', '2', 'a', '9'])
  })

  it('is not put into an index as it was before, when it changes or the device goes while the index is built', async () => {
    await reports.write(project, [temperature('a', 1, 1), temperature('b', 1, 2), temperature('c', 1, 3)])
    const slow = justBefore(redis, 'telltaleAddReported', async () => {
      await reports.write(project, [temperature('a', 2, null)])
      await devices.remove(project, 'b')
    })
    await list(project, slow)
    expect(await order()).toEqual(['c', '3'])
  })

  it('goes along into an index that is begun while the device moves', async () => {
    const other = freshProject()
    await devices.register(other, [
      ['x', 't'],
      ['y', 't'],
      ['z', 't'],
    ])
    await reports.write(other, [temperature('x', 1, 2)])
    await reports.write(project, [temperature('a', 1, 1)])
    const slow = justBefore(redis, 'telltaleChangeDevice', () => list(other))
    await new Devices(slow).transfer(project, other, 'a')
    expect(await redis.zrange(`t:{${other}}:order:${PATH}`, 0, '-1')).toEqual(['a', 'x'])
  })
})
