// A project's budget on a real Redis: what is let in, what is refused and by which name, and what was there already.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis } from '../../../packages/log/fixture.ts'
import { Budgets, type Limits } from '../../../packages/state/budget.ts'
import { Devices } from '../../../packages/state/device.ts'
import { Budget } from './budget.ts'

describe.skipIf(installed === undefined)('a budget', () => {
  let server: TestRedis
  let budgets: Budgets
  let devices: Devices
  beforeAll(async () => {
    server = await openTestRedis()
    budgets = new Budgets(server.redis)
    devices = new Devices(server.redis)
  })
  afterAll(() => server.stop())

  async function open(limits: Partial<Limits>, project = freshProject()) {
    await budgets.setLimits(project, limits)
    const known = new Set<string>()
    const budget = new Budget({ budgets, isKnown: (_, device) => known.has(device) })
    const event = (device: string, shape = 'temperature\nvalue') => ({ project, device, eventType: shape.split('\n')[0] as string, shape })
    /** What is said to the sender; nothing for what is let in. */
    const take = async (device: string, shape?: string) => {
      const one = event(device, shape)
      if (budget.admits(one)) return undefined
      const failure = (await budget.ask([one]))[0]
      if (failure) expect(failure.code).toBe('quota_exceeded')
      return failure?.message
    }
    const register = async (device: string) => {
      await devices.register(project, [[device, 'temperature']])
      known.add(device)
    }
    return { project, budget, event, take, register }
  }

  it('lets in as many devices as it allows, and each of them again', async () => {
    const { project, budget, take, register } = await open({ devices: 2 })
    expect([await take('a'), await take('b'), await take('a')]).toEqual([undefined, undefined, undefined])
    await register('a')
    await budget.refresh()
    expect(await take('c')).toBe(
      `device c: it would be a new one, and project ${project} has the 2 devices that its budget allows (devices)`,
    )
    expect(await take('b')).toBeUndefined()
  })

  it('knows after a restart who was there, also when it is full', async () => {
    const { project, budget, take, register } = await open({ devices: 2 })
    for (const device of ['a', 'b']) {
      await take(device)
      await register(device)
    }
    await budget.save(project)
    const again = await open({}, project)
    expect([await again.take('b'), await again.take('a')]).toEqual([undefined, undefined])
    expect(await again.take('c')).toMatch(/^device c: /)
  })

  it('counts those once that were registered before a restart, and come back at once', async () => {
    const { project, budget, take, register } = await open({ devices: 10 })
    const known = ['a', 'b', 'c', 'd', 'e', 'f']
    for (const device of known) {
      await take(device)
      await register(device)
    }
    await budget.save(project)
    const again = await open({}, project)
    for (const device of known) expect(await again.take(device)).toBeUndefined()
    for (const device of ['n1', 'n2', 'n3', 'n4']) expect(await again.take(device)).toBeUndefined()
    expect(await again.take('n5')).toMatch(/^device n5: /)
    for (const device of known) expect(await again.take(device)).toBeUndefined()
  })

  it('refuses new types and fields by their names', async () => {
    const { take } = await open({ eventTypes: 1, fields: 2 })
    expect(await take('a')).toBeUndefined()
    expect(await take('a', 'door\nvalue')).toMatch(/^eventType door: it would be a new one, and project .* has the 1 event types that/)
    expect(await take('a', 'temperature\nvalue\nmin')).toBeUndefined()
    expect(await take('a', 'temperature\nvalue\nmax')).toMatch(/^data\.temperature\.max: it would be a new one, .* has the 2 fields that/)
    expect(await take('a', 'temperature\nmin')).toBeUndefined()
  })

  it('follows its limits, and what others let in', async () => {
    const { project, budget, take } = await open({ eventTypes: 1 })
    await take('a')
    await budget.save(project)
    expect(await take('a', 'door')).toMatch(/^eventType door: /)
    await budgets.setLimits(project, { eventTypes: 2 })
    await expect.poll(() => take('a', 'door')).toBeUndefined()
    await budget.save(project)
    const other = await open({}, project)
    expect(await other.take('a', 'window')).toMatch(/^eventType window: /)
    expect(await other.take('a', 'door')).toBeUndefined()
  })

  it('says beforehand what events would add, and takes nothing', async () => {
    const { project, budget, event, take, register } = await open({ devices: 2, fields: 1 })
    await take('a')
    await register('a')
    await budget.save(project)
    const expected = {
      devices: { limit: 2, used: 1, new: ['b', 'c'], fits: false },
      eventTypes: { limit: 1000, used: 1, new: ['door'], fits: true },
      fields: { limit: 1, used: 1, new: ['door.opened'], fits: false },
    }
    const sample = [event('a'), event('b'), event('c', 'door\nopened')]
    expect(await budget.preview(project, sample)).toEqual(expected)
    expect(await budget.preview(project, sample)).toEqual(expected)
  })

  it('holds for the values of labels, and forgets those that nobody has any more', async () => {
    const project = freshProject()
    await budgets.setLimits(project, { labelValues: 2 })
    const put = (id: string, labels: Record<string, string>) => devices.put(project, { id, type: 't', productNumber: '', labels })
    await put('a', { zone: 'north', floor: '1' })
    await put('b', { zone: 'north' })
    await expect(put('c', { zone: 'south' })).rejects.toMatchObject({
      code: 'quota_exceeded',
      field: 'labels.zone',
      message: `labels.zone: project ${project} has the 2 different values of labels that its budget allows (labelValues)`,
    })
    const fresh = new Devices(server.redis)
    await fresh.put(project, { id: 'a', type: 't', productNumber: '', labels: { zone: 'north' } })
    await fresh.put(project, { id: 'c', type: 't', productNumber: '', labels: { zone: 'south' } })
    expect(await budgets.labelValues(project)).toBe(2)
  })
})
