// What a sync pushes: events as they were accepted, also those of devices whose clock is wrong, from the log or from the store.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { acceptedUs } from '../../../packages/log/entry.ts'
import { batchOf, freshProject, installed, openTestRedis, type TestRedis } from '../../../packages/log/fixture.ts'
import { Log } from '../../../packages/log/log.ts'
import { Devices, reportedKey } from '../../../packages/state/device.ts'
import { openDuckStore } from '../../../packages/store/duckdb.ts'
import type { ReadingStore } from '../../../packages/store/store.ts'
import { SyncLane, syncPorts } from './sync.ts'

describe.skipIf(installed === undefined)('a sync', () => {
  let server: TestRedis
  let store: ReadingStore
  let dir: string
  beforeAll(async () => {
    server = await openTestRedis()
    dir = await mkdtemp(join(tmpdir(), 'telltale-sync-'))
    store = await openDuckStore({ path: join(dir, 'readings.duckdb') })
  })
  afterAll(async () => {
    await store.close()
    await server.stop()
    await rm(dir, { recursive: true, force: true })
  })

  /** Accepts one event of a device that believes it is 1970, and reports it as the worker does. */
  async function accept(project: string, log: Log, device: string) {
    await new Devices(server.redis).register(project, [[device, 'temperature']])
    const batch = batchOf(project, [{ device, timeUs: 5, id: `of-${device}` }])
    const { entryId = '' } = await log.append(project, batch)
    await server.redis.hset(reportedKey(project, device), 'temperature', `${acceptedUs(entryId)} {"value":20}`)
    return { entryId, frame: batch.frames[0] as string }
  }

  async function pushed(project: string, log: Log): Promise<string[]> {
    const met: string[] = []
    const meet = async (devices: readonly string[]) => void met.push(...devices)
    const lane = new SyncLane(syncPorts(server.redis, log, store), project, () => true, meet, '')
    await lane.fill()
    const frames: string[] = []
    for (let item = lane.next(); item; item = lane.next()) frames.push(item.frame)
    expect(met).toHaveLength(frames.length)
    return frames
  }

  it('pushes an event with the id and the time that it had, however wrong the time', async () => {
    const [log, project] = [new Log(server.redis, []), freshProject()]
    const accepted = [await accept(project, log, 'a'), await accept(project, log, 'b'), await accept(project, log, 'c')]
    expect(await pushed(project, log)).toEqual(accepted.map(({ frame }) => frame))
  })

  it('finds it in the store when the log was trimmed', async () => {
    const [log, project] = [new Log(server.redis, []), freshProject()]
    const { entryId, frame } = await accept(project, log, 'a')
    const place = { entryId, index: 0 }
    const event = { project, device: 'a', eventType: 'temperature', eventId: 'of-a', timeUs: 5, frame, data: {}, place }
    await store.write([event], { project, after: '0-0', to: entryId })
    const next = await log.append(project, batchOf(project, [{ device: 'other', timeUs: 5 }]))
    await log.trim(project, next.entryId ?? '')
    expect(await pushed(project, log)).toEqual([frame])
  })
})
