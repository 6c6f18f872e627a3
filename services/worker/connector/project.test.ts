// One project's connectors on a real Redis and a real receiver: what becomes of them when something changes, fails or stands still.
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Device } from '../../../packages/core/device.ts'
import { installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { consumerOf } from '../../../packages/state/connector.ts'
import { Devices } from '../../../packages/state/device.ts'
import { DeviceCache } from '../../../packages/state/devicecache.ts'
import { ids, openBench } from './fixture.ts'
import { Tail } from './tail.ts'

describe.skipIf(installed === undefined)('the connectors of a project', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  const full = async (redis: Redis) => {
    await redis.config('SET', 'maxmemory', '1')
    const empty = async () => void (await redis.config('SET', 'maxmemory', '200000000'))
    onTestFinished(empty)
    return empty
  }

  it('a replay after a pause has what came during the pause', async () => {
    const { append, change, connector, connectors, log, project, push, receiver } = await openBench(server)
    await connector('a')
    await push.update()
    await append(['before'])
    await until('the first', () => receiver.taken('/a').length === 1)
    await change('a', { status: 'USER_DISABLED' })
    expect(await push.update()).toBe('idle')
    const paused = ids('paused', 100)
    for (const id of paused) await append([id])
    await change('a', { status: 'ACTIVE' })
    await push.update()
    await append(['after'])
    await until('the newest', () => receiver.taken('/a').includes('after'))
    const range = { after: '0-0', until: await log.last(project), startTime: '', endTime: '' }
    await connectors.request(project, 'a', 'replay', { id: 'r1', range })
    await push.update()
    await until('all of them', () => new Set(receiver.taken('/a')).size === 102)
    expect(new Set(receiver.taken('/a'))).toEqual(new Set(['before', ...paused, 'after']))
  })

  it('an event is pushed with its device also when another one is relabelled meanwhile', async () => {
    const { append, log, ports, project } = await openBench(server)
    let meanwhile = (): void => undefined
    class Slow extends Devices {
      override async get(of: string, wanted: readonly string[]): Promise<(Device | undefined)[]> {
        const found = await super.get(of, wanted)
        meanwhile()
        return found
      }
    }
    const devices = new Slow(server.redis)
    await devices.put(project, { id: 'd', type: 'probe', labels: { zone: 'a' }, productNumber: '' })
    const tail = new Tail(log, ports.store, project, () => new DeviceCache(devices, project))
    const event = { device: 'other', eventType: 'labelsChanged', timeUs: 1, frame: '{}' }
    meanwhile = () => tail.arrived([{ id: '1-0', events: [event] }])
    await append(['one'])
    await tail.read({ entryId: '0-0', index: 0 })
    expect(await tail.device('d')).toMatchObject({ type: 'probe', labels: { zone: 'a' } })
  })

  it('a device is asked for again after a pause or a jump, in which its labels may have changed', async () => {
    const { log, ports, project } = await openBench(server)
    const devices = new Devices(server.redis)
    const tail = new Tail(log, ports.store, project, () => new DeviceCache(devices, project))
    const zones: (string | undefined)[] = []
    for (const [zone, skip] of [
      ['a', () => tail.begin('1-0')],
      ['b', () => tail.jumped('2-0')],
      ['c', () => undefined],
    ] as const) {
      await devices.put(project, { id: 'd', type: 'probe', labels: { zone }, productNumber: '' })
      zones.push((await tail.device('d'))?.labels['zone'])
      skip()
    }
    expect(zones).toEqual(['a', 'b', 'c'])
  })

  it('a receiver that is another one has not failed', async () => {
    const { append, change, connector, progress, push, receiver } = await openBench(server)
    await connector('a')
    receiver.answer({ status: 500 })
    await push.update()
    await append(['one'])
    await until('it is said that it fails', async () => (await progress('a')).failing !== undefined)
    await change('a', { displayName: 'other name' })
    await push.update()
    expect((await progress('a')).failing?.detail).toContain('status 500')
    receiver.answer(({ path }) => ({ status: path === '/b' ? 0 : 500 }))
    await change('a', { url: `${receiver.url}/b` })
    expect((await progress('a')).failing).toBeUndefined()
    await push.update()
    await until('it is asked', () => receiver.pushed.some(({ path }) => path === '/b'))
    expect((await progress('a')).failing).toBeUndefined()
  })

  it('goes on while the clock on the wall stands an hour back', async () => {
    const { append, connector, log, project, push, receiver } = await openBench(server)
    await connector('a')
    await push.update()
    const first = await append(['one'])
    await until('it is noted', async () => (await log.place(project, consumerOf('a'))).startsWith(first))
    const now = Date.now
    const stepped = vi.spyOn(Date, 'now').mockImplementation(() => now() - 3_600_000)
    onTestFinished(() => stepped.mockRestore())
    for (const id of ids('more', 300)) await append([id])
    await until('all of them', () => receiver.taken('/a').length === 301)
  })

  it('nothing is posted twice while Redis takes no writes, and all is noted when it does again', async () => {
    const refused: string[] = []
    const logger = openLogger('silent')
    logger.warn = (facts: object) => void refused.push(JSON.stringify(facts))
    const { append, connector, log, progress, project, push, receiver, troubles } = await openBench(server, { logger })
    await connector('a')
    const last = await append(ids('full', 300))
    const empty = await full(server.redis)
    await push.update()
    await until('it was tried to note them', () => refused.length > 0)
    const { length } = receiver.pushed
    await until('and again', () => refused.length > 1)
    expect([receiver.pushed.length - length <= 10, length <= 200]).toEqual([true, true])
    await empty()
    await until('all of them', async () => receiver.taken('/a').length === 300 && (await progress('a')).open === 0)
    await until('the place', async () => (await log.place(project, consumerOf('a'))).startsWith(last))
    expect([new Set(receiver.taken('/a')).size, receiver.pushed.length, troubles()]).toEqual([300, 300, 0])
  })

  it('stops all and follows no more, also when the last answers of one cannot be noted', async () => {
    const { append, connector, followers, push, receiver } = await openBench(server)
    await connector('a')
    await append(['one'])
    receiver.answer({ status: 0 })
    await push.update()
    await until('it is under way', () => receiver.pushed.length === 1)
    expect(followers()).toBe(1)
    const empty = await full(server.redis)
    await expect(push.stop()).rejects.toThrow('OOM')
    expect(followers()).toBe(0)
    await empty()
  })

  it('one that cannot be opened keeps none of the others from being', async () => {
    const { append, connector, push, receiver } = await openBench(server)
    await connector('a', { headers: 'sealed with another key' })
    await connector('b')
    expect(await push.update()).toBe('partly')
    await append(['one'])
    await until('the other has it', () => receiver.taken('/b').length === 1)
  })

  it('those that hang are closed together, and what is under way is broken off', async () => {
    const { append, change, connector, push, receiver } = await openBench(server)
    const names = ['a', 'b', 'c', 'd']
    for (const name of names) await connector(name)
    receiver.answer({ status: 0 })
    await push.update()
    await append(['one'])
    await until('all are under way', () => receiver.pushed.length === names.length)
    for (const name of names) await change(name, { labels: ['zone'] })
    const startedMs = performance.now()
    await push.update()
    expect(performance.now() - startedMs).toBeLessThan(2000)
    await until('only the new attempts are there', () => receiver.pushed.length === 2 * names.length)
    expect(await receiver.connections()).toBe(names.length)
  })

  it('giving up spares one that pushes to somebody else meanwhile', async () => {
    const { append, change, connector, connectors, disabled, project, push, receiver, troubles } = await openBench(server, {
      giveUpMs: 200,
    })
    await connector('a')
    receiver.answer(({ path }) => ({ status: path === '/a' ? 500 : 200 }))
    await push.update()
    await append(['one'])
    await until('it failed', () => receiver.pushed.length === 1)
    await change('a', { url: `${receiver.url}/b` })
    await until('it is let go', () => troubles() === 1)
    expect([(await connectors.one(project, 'a')).status, disabled]).toEqual(['ACTIVE', []])
    await push.update()
    await until('the other has it', () => receiver.taken('/b').length === 1)
  })

  it('giving up disables, and says so once', async () => {
    const { append, connector, connectors, disabled, project, push, receiver, troubles } = await openBench(server, { giveUpMs: 200 })
    await connector('a')
    receiver.answer({ status: 500 })
    await push.update()
    await append(['one'])
    await until('it is disabled', async () => (await connectors.one(project, 'a')).status === 'SYSTEM_DISABLED')
    await connectors.seen({ project, version: Number.MAX_SAFE_INTEGER })
    await until('it is let go', () => troubles() === 1)
    expect(disabled).toEqual(['a'])
  })
})
