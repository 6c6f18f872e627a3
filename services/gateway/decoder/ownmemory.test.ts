// What devices announce by credentials of their own: it counts for what they send themselves, and for nothing else.
import { describe, expect, it } from 'vitest'
import { eventsOf, memoryOf } from '../decode/fixture.ts'
import { homeassistant } from '../decode/homeassistant.ts'
import { recent, setRecent } from '../decode/recent.ts'
import { memoryFor } from './ownmemory.ts'

const config = (device: string, topic: string, more: object = {}) => ({
  dev: { ids: [device] },
  stat_t: topic,
  dev_cla: 'temperature',
  ...more,
})

describe('what a device tells by a credential of its own', () => {
  const open = () => {
    const all = memoryOf()
    const announce = (by: string | undefined, path: string, said: object | string) =>
      eventsOf(homeassistant, [`homeassistant/sensor/${path}/config`, typeof said === 'string' ? said : JSON.stringify(said)], {
        memory: memoryFor(all, by),
      })
    const state = (by: string | undefined, topic: string, value: string) =>
      eventsOf(homeassistant, [topic, value], { memory: memoryFor(all, by) })
    const claims = (by: string | undefined, topic: string) => homeassistant.claims?.(topic, memoryFor(all, by))
    return { all, announce, state, claims }
  }

  it('is seen in what it sends itself, and by nobody else', async () => {
    const { announce, state, claims } = open()
    await announce('node', 'node/t', config('node', 'node/sensor/t/state'))
    expect([
      claims('node', 'node/sensor/t/state'),
      claims('other', 'node/sensor/t/state'),
      claims(undefined, 'node/sensor/t/state'),
    ]).toEqual([true, false, false])
    expect(await state('node', 'node/sensor/t/state', '21.5')).toEqual([['node', 'temperature', { value: 21.5 }]])
    expect(await state('other', 'node/sensor/t/state', '21.5')).toEqual([])
    expect(await state(undefined, 'node/sensor/t/state', '21.5')).toEqual([])
  })

  it.each([
    ['another device', 'other'],
    ['a key', undefined],
  ])('changes nothing of what %s announced, on the same topics and by the same names, and takes nothing of it away', async (_, by) => {
    const { all, announce, state } = open()
    await announce(by, 'x/t', config('other', 'x/state', { unit_of_meas: '°F' }))
    const before = new Map(all.keys().map(key => [key, all.get(key)]))
    await announce('node', 'x/t', config('node', 'x/state', { dev_cla: 'humidity' }))
    await announce('node', 'y/t', config('other', 'x/state', { unit_of_meas: 'K' }))
    await announce('node', 'x/t', '')
    expect([...before.keys()].map(key => all.get(key))).toEqual([...before.values()])
    const fahrenheit = { value: 21.5, original: { value: 70.7, unit: '°F' } }
    expect(await state(by, 'x/state', '70.7')).toEqual([['other', 'temperature', fahrenheit]])
  })

  it('stands beside what a key announced of it, which it sees where it has told nothing', async () => {
    const { announce, state } = open()
    await announce(undefined, 'node/t', config('node', 'node/t', { unit_of_meas: '°F' }))
    expect(await state('node', 'node/t', '70.7')).toMatchObject([['node', 'temperature', { value: 21.5 }]])
    await announce('node', 'node/t', config('node', 'node/t', { unit_of_meas: '°C' }))
    expect(await state('node', 'node/t', '70.7')).toMatchObject([['node', 'temperature', { value: 70.7 }]])
    await announce('node', 'node/t', '')
    expect(await state('node', 'node/t', '70.7')).toMatchObject([['node', 'temperature', { value: 21.5 }]])
  })

  it('is bounded, so that no device fills the memory of all', () => {
    const all = memoryOf()
    const own = memoryFor(all, 'd')
    for (let i = 0; i < 500; i++) own.set(`k${i}`, 1)
    const tooMuch = expect.objectContaining({ code: 'too_large', field: 'payload' })
    const fails = (act: () => void) => expect(act).toThrow(tooMuch)
    fails(() => own.set('more', 1))
    own.set('k0', 2)
    for (let i = 0; i < 500; i++) own.set(`k${i}`, undefined)
    expect(all.size()).toBe(0)
    fails(() => own.set('large', 'x'.repeat(600_000)))
    memoryFor(all, 'e').set('more', 1)
    expect([own.get('more'), memoryFor(all, 'e').get('more'), all.get('more')]).toEqual([undefined, 1, undefined])
  })

  it('makes room for others: who told longest ago is forgotten first, and what was told for all stays', () => {
    const all = memoryOf()
    for (let i = 0; i < 4000; i++) all.set(`shared${i}`, 1)
    for (let device = 0; device < 20; device++)
      for (let i = 0; i < 400; i++) memoryFor(all, `d${device}`, device === 0 ? 50 : device).set(`k${i}`, 1)
    const knows = (device: number) => memoryFor(all, `d${device}`).get('k399') === 1
    expect([knows(0), knows(1), knows(19)]).toEqual([true, false, true])
    expect(all.entries('shared').length).toBe(4000)
    expect(all.entries('own').length).toBeLessThanOrEqual(5000)
    expect(all.entries('own/d1/')).toEqual([])
  })

  it('is no reason to refuse a reading: the last press is known without it', () => {
    const all = memoryOf()
    for (let i = 0; i < 10_000; i++) all.set(`shared${i}`, 1)
    const own = memoryFor(all, 'd')
    setRecent(own, 'press', 'd/0', 7)
    expect([recent(own, 'press', 'd/0'), recent(memoryFor(all, 'e'), 'press', 'd/0'), all.size()]).toEqual([7, undefined, 10_000])
  })
})
