// Lists of devices on a real Redis: every filter and order against the plain meaning of it, small and beyond what is sorted in memory.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Device, parseLabelFilter } from '../core/device.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { projectKey } from '../log/key.ts'
import { Devices, reportedKey } from './device.ts'
import { DeviceLists, type From } from './devicelist.ts'
import { type DeviceFilter, parseOrder } from './devicequery.ts'

type Known = Device & { readonly value?: number | string | undefined }

const NONE: DeviceFilter = { labels: [] }
const labelled = (...filters: string[]): DeviceFilter => ({ labels: filters.map(parseLabelFilter) })

/** A few hundred devices that share types, labels and values, under names of every kind. */
function fleet(): Known[] {
  const odd = ['-a', 'Z', 'a', 'a b', 'é', '设备', '😀', '\u{ffff}', '__proto__', 'constructor', '[x', '(x', 'emu0123456789abcdefghij']
  const names = [...odd, ...Array.from({ length: 287 }, (_, i) => `d${(i * 7919) % 1000}`)]
  return names.map((id, i) => {
    const labels: Record<string, string> = {}
    if (i % 3 === 0) labels['zone'] = ['north', 'south', 'é', '', '😀', '\u{ffff}'][(i / 3) % 6] as string
    if (i % 5 !== 0) labels['name'] = `N${i % 40}`
    if (i % 97 === 0) labels['rare'] = 'x'
    if (i === 11) labels['constructor'] = 'c'
    const value = i % 4 === 0 ? undefined : i % 29 === 0 ? `word ${i}` : [20, -3.5, 1e300, i, 20][i % 5]
    return { id, type: ['temperature', 'co2', 'motion'][i % 3] as string, productNumber: i % 7 === 0 ? `1000${i % 2}` : '', labels, value }
  })
}

const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

function keyIn(one: Known, key: string): string | number | undefined {
  if (key === 'name') return ''
  if (key === 'type') return one.type
  if (key === 'productNumber') return one.productNumber === '' ? undefined : one.productNumber
  if (key.startsWith('labels.')) return Object.hasOwn(one.labels, key.slice(7)) ? one.labels[key.slice(7)] : undefined
  return typeof one.value === 'number' ? Math.min(one.value, 1e298) : one.value?.slice(0, 7)
}

/** What an order means, in the plainest words. */
function sorted(devices: readonly Known[], orderBy: string): string[] {
  const descending = orderBy.startsWith('-')
  const key = descending ? orderBy.slice(1) : orderBy
  const keyOf = (one: Known) => keyIn(one, key)
  const compare = (a: string | number, b: string | number) => {
    if (typeof a === 'number' && typeof b === 'number') return a - b
    if (typeof a !== typeof b) return typeof a === 'number' ? -1 : 1
    return byBytes(String(a), String(b))
  }
  const have = devices.filter(one => keyOf(one) !== undefined)
  const lack = devices.filter(one => keyOf(one) === undefined)
  const sign = descending ? -1 : 1
  have.sort((a, b) => sign * (compare(keyOf(a) ?? '', keyOf(b) ?? '') || byBytes(a.id, b.id)))
  lack.sort((a, b) => byBytes(a.id, b.id))
  return [...have, ...lack].map(({ id }) => id)
}

describe.skipIf(installed === undefined)('lists of devices', () => {
  let server: TestRedis
  let devices: Devices
  let project: string
  const all = fleet()
  beforeAll(async () => {
    server = await openTestRedis()
    devices = new Devices(server.redis)
  })
  beforeEach(() => {
    project = freshProject()
  })
  afterAll(() => server.stop())

  async function report(id: string, value: unknown): Promise<void> {
    await server.redis.hset(reportedKey(project, id), 'temperature', `1 ${JSON.stringify({ value })}`)
  }

  async function fill(): Promise<void> {
    await devices.register(
      project,
      all.map(({ id, type }) => [id, type] as const),
    )
    await Promise.all(
      all.map(async ({ value, ...device }) => {
        await devices.put(project, device)
        if (value !== undefined) await report(device.id, value)
      }),
    )
  }

  async function walk(
    lists: DeviceLists,
    filter: DeviceFilter,
    orderBy: string,
    limit = 7,
    between: (page: number) => Promise<void> = async () => {},
  ) {
    const found: string[] = []
    let from: From
    for (let page = 0; page < 2000; page++) {
      const { found: some, next } = await lists.list(project, filter, parseOrder(orderBy), from, limit)
      expect(some.length).toBeLessThanOrEqual(limit)
      found.push(...some.map(({ device }) => device.id))
      if (next === 'end') return found
      if (next !== 'again') from = { place: next, inclusive: false }
      await between(page)
    }
    throw new Error(`no end after ${found.length} devices`)
  }

  const orders = ['name', 'type', 'productNumber', 'labels.name', 'labels.zone', 'labels.absent', 'reported.temperature.value']
  const filters: readonly (readonly [string, DeviceFilter, (one: Known) => boolean])[] = [
    ['everything', NONE, () => true],
    ['one type', { ...NONE, types: new Set(['co2']) }, one => one.type === 'co2'],
    ['two types', { ...NONE, types: new Set(['co2', 'motion', 'none']) }, one => one.type !== 'temperature'],
    ['an unknown type', { ...NONE, types: new Set(['none']) }, () => false],
    ['a product number', { ...NONE, productNumbers: new Set(['10001']) }, one => one.productNumber === '10001'],
    ['no product number', { ...NONE, productNumbers: new Set(['']) }, one => one.productNumber === ''],
    ['a label', labelled('zone'), one => Object.hasOwn(one.labels, 'zone')],
    ['a rare label', labelled('rare='), one => Object.hasOwn(one.labels, 'rare')],
    ['a value', labelled('zone=north'), one => one.labels['zone'] === 'north'],
    ['two labels', labelled('zone=north', 'name'), one => one.labels['zone'] === 'north' && Object.hasOwn(one.labels, 'name')],
    [
      'any of two values',
      { ...labelled('zone=north', 'zone=south'), labelMatch: 'any' },
      one => ['north', 'south'].includes(one.labels['zone'] ?? ''),
    ],
    [
      'any of overlapping labels',
      { ...labelled('zone=north', 'zone', 'name'), labelMatch: 'any' },
      one => Object.hasOwn(one.labels, 'zone') || Object.hasOwn(one.labels, 'name'),
    ],
    [
      'a value or a rare label',
      { ...labelled('zone=south', 'rare'), labelMatch: 'any' },
      one => one.labels['zone'] === 'south' || Object.hasOwn(one.labels, 'rare'),
    ],
    [
      'any of two values of different labels, of one type',
      { ...labelled('zone=north', 'rare=1'), labelMatch: 'any', types: new Set(['co2']) },
      one => one.type === 'co2' && (one.labels['zone'] === 'north' || one.labels['rare'] === '1'),
    ],
    ['a label called constructor', labelled('constructor'), one => Object.hasOwn(one.labels, 'constructor')],
    ['a keyword', { ...NONE, keyword: 'n1' }, one => /n1/i.test(`${one.id} ${one.type} ${Object.entries(one.labels).join(' ')}`)],
    ['ids', { ...NONE, ids: new Set(['a', '😀', 'd0', 'nobody']) }, one => ['a', '😀', 'd0'].includes(one.id)],
    [
      'ids and a type',
      { ...NONE, ids: new Set(['a', 'Z', '-a']), types: new Set(['co2']) },
      one => ['a', 'Z', '-a'].includes(one.id) && one.type === 'co2',
    ],
    ['the emulator', { ...NONE, emulated: true }, one => one.id.startsWith('emu')],
  ]

  it.each([5000, 100, 20])('mean what they say, in every order, when %i devices are looked at in one call', async maxExamined => {
    await fill()
    const lists = new DeviceLists(server.redis, devices, maxExamined)
    for (const [name, filter, wanted] of filters)
      for (const order of orders.flatMap(key => [key, `-${key}`]))
        expect(await walk(lists, filter, order, 45), `${name} by ${order}`).toEqual(sorted(all.filter(wanted), order))
  })

  it.each(orders.flatMap(key => [key, `-${key}`]))(
    'by %s show every device that stays as it is exactly once, while others come, go, and change',
    async order => {
      await fill()
      const lists = new DeviceLists(server.redis, devices, 50)
      await walk(lists, NONE, order)
      const moving = new Set(all.filter((_, i) => i % 4 === 3).map(({ id }) => id))
      const victims = [...moving]
      const found = await walk(lists, NONE, order, 10, async page => {
        await devices.register(project, [[`new-${page}`, 'temperature']])
        const id = victims[page]
        if (id === undefined) return
        if (page % 3 === 0) await devices.remove(project, id)
        else await devices.put(project, { id, type: 'other', labels: { name: `Z${page}`, zone: 'moved' }, productNumber: `9${page}` })
        if (page % 3 === 1) await server.redis.zadd(projectKey(project, 'order:temperature.value'), page * 1000, id)
      })
      const still = found.filter(id => !moving.has(id) && !id.startsWith('new-'))
      const expected = all.map(({ id }) => id).filter(id => !moving.has(id))
      expect(still.toSorted()).toEqual(expected.toSorted())
    },
  )

  it('of a registry from before there were indexes build them in steps, and find everything', async () => {
    for (const { value, id, type, labels, productNumber } of all) {
      await server.redis.hset(projectKey(project, 'devices'), id, JSON.stringify({ type, labels, productNumber }))
      await server.redis.zadd(projectKey(project, 'deviceIndex'), 0, id)
      if (value !== undefined) await report(id, value)
    }
    // One that is changed and one that is removed before the indexes exist.
    await devices.relabel(project, 'a', { zone: 'north' }, [])
    await devices.remove(project, 'Z')
    const lists = new DeviceLists(server.redis, devices, 20)
    const now = all.filter(({ id }) => id !== 'Z').map(one => (one.id === 'a' ? { ...one, labels: { ...one.labels, zone: 'north' } } : one))
    for (const order of ['name', 'labels.zone'])
      expect(await walk(lists, labelled('zone'), order)).toEqual(
        sorted(
          now.filter(({ labels }) => Object.hasOwn(labels, 'zone')),
          order,
        ),
      )
    expect(await walk(lists, NONE, '-type')).toEqual(sorted(now, '-type'))
  })

  it('keep no index of a field that nobody has reported, and finish for others what was begun', async () => {
    await fill()
    const lists = new DeviceLists(server.redis, devices, 20)
    for (let i = 0; i < 40; i++) {
      const { found } = await lists.list(project, NONE, parseOrder(`reported.temperature.invented${i}`), undefined, 5)
      expect(found).toHaveLength(5)
    }
    const indexes = () => server.redis.hkeys(projectKey(project, 'indexes'))
    expect(await indexes()).toEqual(['facets'])
    // Begun by a list that never came back.
    await server.redis.hset(projectKey(project, 'indexes'), 'left.behind', ': 1')
    const order = 'reported.temperature.value'
    expect(await walk(lists, NONE, order)).toEqual(sorted(all, order))
    expect((await indexes()).toSorted()).toEqual(['facets', 'temperature.value'])
  })

  it('of a field that is reported for the first time follow after a while', async () => {
    await fill()
    const lists = new DeviceLists(server.redis, devices, 20)
    const order = 'reported.temperature.late'
    await walk(lists, NONE, order)
    await server.redis.hset(reportedKey(project, 'd0'), 'temperature', '1 {"late":1}')
    expect(await server.redis.pttl(projectKey(project, 'unreported:temperature.late'))).toBeGreaterThan(0)
    await server.redis.del(projectKey(project, 'unreported:temperature.late'))
    expect((await walk(lists, NONE, order))[0]).toBe('d0')
  })

  it('of the emulator read many devices at once, also where others are named like its own', async () => {
    const names = Array.from({ length: 300 }, (_, i) => `emu-${i}`)
    await devices.register(
      project,
      [...names, 'emu0123456789abcdefghij'].map(id => [id, 't'] as const),
    )
    const reads = async () => Number(/^cmdstat_hmget:calls=(\d+)/m.exec(await server.redis.info('commandstats'))?.[1] ?? 0)
    const before = await reads()
    const lists = new DeviceLists(server.redis, devices)
    expect(await walk(lists, { ...NONE, emulated: true }, 'name', 1)).toEqual(['emu0123456789abcdefghij'])
    expect((await reads()) - before).toBeLessThan(5)
  })

  it('hold nothing of a device that is gone', async () => {
    await fill()
    const lists = new DeviceLists(server.redis, devices, 20)
    await walk(lists, NONE, 'reported.temperature.value')
    await Promise.all(all.map(({ id }) => devices.remove(project, id)))
    const keys = await server.redis.keys(`t:{${project}}:*`)
    expect(keys.map(key => key.slice(key.indexOf('}:') + 2)).sort()).toEqual(['budget:labels', 'indexes'])
  })

  it.each([
    '',
    'names',
    'labels.',
    'reported',
    'reported.temperature',
    'reported.temperature.',
    'reported..value',
    '--name',
    `reported.t.${'x'.repeat(300)}`,
  ])('cannot be ordered by %j', text => expect(() => parseOrder(text)).toThrow('orderBy: expected'))
})
