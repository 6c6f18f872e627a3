// The device registry on a real Redis, and what a follower of the log keeps of it.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { DeviceCache, Devices } from './device.ts'

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
