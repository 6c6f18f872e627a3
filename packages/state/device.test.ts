// The device registry on a real Redis, and what a follower of the log keeps of it.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { Log } from '../log/log.ts'
import { Devices, reportedKey } from './device.ts'
import { DeviceCache } from './devicecache.ts'
import { justBefore } from './fixture.ts'

describe.skipIf(installed === undefined)('devices', () => {
  let server: TestRedis
  let devices: Devices
  let project: string
  beforeAll(async () => {
    server = await openTestRedis()
    devices = new Devices(server.redis)
  })
  beforeEach(() => {
    project = freshProject()
  })
  afterAll(() => server.stop())

  it('keep their type and labels when they are registered again', async () => {
    await devices.register(project, [['a', 'temperature']])
    await devices.relabel(project, 'a', { zone: 'cold' }, [])
    await devices.register(project, [
      ['a', 'humidity'],
      ['b', 'co2'],
    ])
    expect(await devices.get(project, ['b', 'a', 'c'])).toEqual([
      { id: 'b', type: 'co2', labels: {}, productNumber: '' },
      { id: 'a', type: 'temperature', labels: { zone: 'cold' }, productNumber: '' },
      undefined,
    ])
  })

  it('say what a change of labels added, modified and removed', async () => {
    await devices.put(project, { id: 'a', type: 't', labels: { x: '1', y: '2' }, productNumber: '' })
    const change = await devices.relabel(project, 'a', { x: '9', constructor: 'c' }, ['y', 'absent', 'toString'])
    expect(change).toEqual({ added: { constructor: 'c' }, modified: { x: '9' }, removed: ['y'] })
    expect((await devices.one(project, 'a')).labels).toEqual({ x: '9', constructor: 'c' })
  })

  it('lose no label when many add one at the same time', async () => {
    await devices.register(project, [['a', 't']])
    await Promise.all(Array.from({ length: 8 }, (_, i) => devices.relabel(project, 'a', { [`k${i}`]: 'v' }, [])))
    expect(Object.keys((await devices.one(project, 'a')).labels)).toHaveLength(8)
  })

  it.each([
    [{ '': 'v' }, 'labels.: expected a key of 1 to 128 characters without "="'],
    [{ 'a=b': 'v' }, 'labels.a=b: expected a key of 1 to 128 characters without "="'],
    [JSON.parse('{"__proto__":"v"}'), 'labels.__proto__: expected a key of 1 to 128 characters without "="'],
    [{ a: 'x'.repeat(513) }, 'labels.a: expected a value of at most 512 characters'],
    [Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, ''])), 'labels: at most 64, got 65'],
  ])('refuse labels %#', async (labels, message) => {
    await expect(devices.put(project, { id: 'a', type: 't', labels, productNumber: '' })).rejects.toThrow(message)
  })

  it('are told of in the log together with the change, and not when nothing changed', async () => {
    const woken: string[] = []
    let n = 0
    const announcer = {
      consumers: ['judge', 'store'],
      nowUs: () => 1e15,
      newId: () => `e${n++}`,
      wake: (_: string, name: string) => void woken.push(name),
    }
    const telling = new Devices(server.redis, announcer)
    const log = new Log(server.redis, [])
    await telling.register(project, [['a', 't']])
    await telling.put(project, { id: 'b', type: 't', labels: {}, productNumber: '' })
    expect(await log.read(project, '0-0', 10)).toEqual([])
    await telling.relabel(project, 'a', { x: 'é' }, [])
    await telling.relabel(project, 'a', { x: 'é' }, ['absent'])
    await telling.put(project, { id: 'a', type: 'other', labels: { x: 'é' }, productNumber: '' })
    const events = (await log.read(project, '0-0', 10)).flatMap(entry => entry.events)
    expect(events.map(({ device, eventType, timeUs }) => [device, eventType, timeUs])).toEqual(Array(2).fill(['a', 'labelsChanged', 1e15]))
    expect(events[0]?.frame).toContain('"added":{"x":"\\u00e9"}')
    expect(events.map(({ frame }) => JSON.parse(frame))).toEqual([
      {
        eventId: 'e0',
        targetName: `projects/${project}/devices/a`,
        eventType: 'labelsChanged',
        data: { added: { x: 'é' }, modified: {}, removed: [] },
        timestamp: '2001-09-09T01:46:40.000000Z',
      },
      expect.objectContaining({ data: { added: {}, modified: {}, removed: [] } }),
    ])
    expect(woken).toEqual(['judge', 'store'])
  })

  describe('that move to another project', () => {
    let target: string
    beforeEach(async () => {
      target = freshProject()
      await devices.put(project, { id: 'a', type: 'temperature', labels: { zone: 'cold' }, productNumber: '1' })
      await server.redis.hset(reportedKey(project, 'a'), 'temperature', '5 {"value":3}')
    })
    const moved = { id: 'a', type: 'temperature', labels: { zone: 'cold' }, productNumber: '1' }

    it('take labels and reported values along, and leave nothing behind', async () => {
      await devices.transfer(project, target, 'a')
      expect(await devices.get(project, ['a'])).toEqual([undefined])
      expect(await devices.one(target, 'a')).toEqual(moved)
      expect(await devices.reported(target, ['a'])).toEqual([{ temperature: { value: 3 } }])
      expect((await server.redis.keys(`t:{${project}}:*`)).sort()).toEqual([`t:{${project}}:budget:labels`, `t:{${project}}:indexes`])
      expect(await server.redis.exists(`t:{${target}}:arriving`)).toBe(0)
    })

    it('are told of in both logs', async () => {
      const telling = new Devices(server.redis, { consumers: [], nowUs: () => 0, newId: () => 'e', wake: () => undefined })
      await telling.transfer(project, target, 'a')
      const log = new Log(server.redis, [])
      const changes = async (name: string) =>
        (await log.read(name, '0-0', 10)).flatMap(({ events }) => events.map(({ frame }) => JSON.parse(frame).data))
      expect(await changes(project)).toEqual([{ added: {}, modified: {}, removed: ['zone'] }])
      expect(await changes(target)).toEqual([{ added: { zone: 'cold' }, modified: {}, removed: [] }])
    })

    it('do not replace one that is there, and need to exist', async () => {
      await devices.register(target, [['a', 'co2']])
      await expect(devices.transfer(project, target, 'a')).rejects.toThrow(`device a already exists in project ${target}`)
      await expect(devices.transfer(project, target, 'b')).rejects.toThrow(`device b does not exist in project ${project}`)
      expect([(await devices.one(project, 'a')).type, (await devices.one(target, 'a')).type]).toEqual(['temperature', 'co2'])
    })

    it('go on where a move was broken off, whichever half was done', async () => {
      // As after a crash between the two halves.
      await devices.put(target, { ...moved, labels: {} })
      await server.redis.hset(`t:{${target}}:arriving`, 'a', project)
      await devices.transfer(project, target, 'a')
      expect(await devices.one(target, 'a')).toEqual(moved)
      // As after a crash before the last step.
      await server.redis.hset(`t:{${project}}:left`, 'a', target)
      await server.redis.hset(`t:{${target}}:arriving`, 'a', project)
      await devices.transfer(project, target, 'a')
      expect(await devices.one(target, 'a')).toEqual(moved)
    })

    it('stay when a second process repeats the move while the first one finishes it', async () => {
      await server.redis.hset(`t:{${target}}:arriving`, 'a', project)
      await devices.put(target, moved)
      await devices.remove(project, 'a')
      await server.redis.hset(`t:{${project}}:left`, 'a', target)
      const first = () => devices.transfer(project, target, 'a')
      const second = new Devices(justBefore(server.redis, 'hget', first, `t:{${project}}:left`))
      await expect(second.transfer(project, target, 'a')).rejects.toThrow(`device a does not exist in project ${project}`)
      expect(await devices.one(target, 'a')).toEqual(moved)
    })

    it('stay as they are in the target when a second process comes late with what it read before', async () => {
      await devices.put(target, moved)
      await server.redis.hset(`t:{${target}}:arriving`, 'a', project)
      const first = async () => {
        await devices.transfer(project, target, 'a')
        await devices.relabel(target, 'a', { zone: 'warm' }, [])
      }
      const second = new Devices(justBefore(server.redis, 'telltaleChangeDevice', first))
      await expect(second.transfer(project, target, 'a')).rejects.toThrow(`device a already exists in project ${target}`)
      expect((await devices.one(target, 'a')).labels).toEqual({ zone: 'warm' })
      expect(await server.redis.exists(`t:{${target}}:arriving`)).toBe(0)
    })

    it('are gone from the target again when they were removed before they left', async () => {
      const first = () => devices.remove(project, 'a')
      const second = new Devices(justBefore(server.redis, 'hget', first, `t:{${target}}:arriving`))
      await expect(second.transfer(project, target, 'a')).rejects.toThrow(`device a does not exist in project ${project}`)
      expect(await devices.get(target, ['a'])).toEqual([undefined])
      expect(await server.redis.exists(`t:{${target}}:arriving`)).toBe(0)
    })

    it('are moved once by many who try', async () => {
      const others = Array.from({ length: 6 }, freshProject)
      const outcomes = await Promise.allSettled(others.map(other => devices.transfer(project, other, 'a')))
      const holders = (await Promise.all(others.map(other => devices.get(other, ['a'])))).filter(([device]) => device)
      expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBe(1)
      expect(holders).toHaveLength(1)
    })
  })

  it('are all known after loading them, also when older ones had to make room', async () => {
    const names = ['a', 'b', 'c', 'd']
    await devices.register(
      project,
      names.map(name => [name, 't'] as const),
    )
    const cache = new DeviceCache(devices, project, 3)
    await cache.load(['a', 'b'])
    await cache.load(['b', 'c', 'd'])
    expect(['b', 'c', 'd'].map(id => cache.get(id)?.id)).toEqual(['b', 'c', 'd'])
  })

  it('are looked for again when they did not exist', async () => {
    const cache = new DeviceCache(devices, project)
    await cache.load(['a'])
    expect(cache.get('a')).toBeUndefined()
    await devices.register(project, [['a', 't']])
    await cache.load(['a'])
    expect(cache.get('a')?.type).toBe('t')
  })
})
