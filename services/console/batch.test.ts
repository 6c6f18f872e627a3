// One request about many devices on a real Redis that goes away: nobody is left without an answer.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../../packages/core/failure.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../../packages/log/fixture.ts'
import { Devices } from '../../packages/state/device.ts'
import { inBatches, statusOf } from './batch.ts'

const said: object[] = []
const log = { error: (facts: object) => void said.push(facts) }

describe.skipIf(installed === undefined)('a change of many devices', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  it('that loses Redis in the middle says of each device whether it was changed', async () => {
    const project = freshProject()
    const quick = await server.connect('producer')
    const devices = new Devices(quick)
    const names = Array.from({ length: 600 }, (_, i) => `d${String(i).padStart(3, '0')}`)
    await devices.register(
      project,
      names.map(name => [name, 't'] as const),
    )
    let changed = 0
    const outcomes = await inBatches(log, names, async name => {
      await devices.relabel(project, name, { zone: 'north' }, [])
      changed++
      if (changed === 250) quick.disconnect()
    })
    const errors = outcomes.flatMap((failure, i) => (failure ? [statusOf(names[i] ?? '', failure)] : []))
    expect(outcomes).toHaveLength(600)
    expect(errors.map(({ device }) => device)).toEqual(names.slice(250))
    expect(new Set(errors.map(({ status }) => status.code))).toEqual(new Set(['INTERNAL_ERROR']))
    const known = await new Devices(server.redis).get(project, names)
    expect(known.map(device => device?.labels['zone'])).toEqual(names.map((_, i) => (i < 250 ? 'north' : undefined)))
  })

  it('is refused as a whole, to be sent again, when Redis was away from the start', async () => {
    const quick = await server.connect('producer')
    const devices = new Devices(quick)
    quick.disconnect()
    const change = inBatches(log, ['a', 'b'], name => devices.relabel('p', name, { a: 'b' }, []))
    await expect(change).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('keeps a mistake of ours to the device it happened to, and tells the log', async () => {
    const outcomes = await inBatches(log, [1, 2], async item => {
      if (item === 1) throw new TypeError('a bug')
    })
    expect(outcomes).toEqual([expect.any(Failure), undefined])
    expect([outcomes[0]?.message, said.length]).toEqual(['internal error', 1])
  })
})
