// Finding who inhibits whom by labels gives what comparing everybody with everybody gives.
import { describe, expect, it } from 'vitest'
import { type Active, inhibits } from '../../packages/core/attention.ts'
import type { Inhibitor } from '../../packages/core/rule.ts'
import { Actives, Inhibitors } from './inhibit.ts'

const labelsOf = (i: number): Record<string, string> => ({ ...(i % 3 === 0 ? {} : { site: `s${i % 4}` }), zone: `z${i % 5}` })
const alarm = (rule: string, i: number): Active => {
  const [device, labels] = [`d${i % 17}`, labelsOf(i)]
  return { alarmId: `${rule}${i}`, rule, device, labels, group: null }
}
const grouped = (rule: string, i: number): Active => {
  const group: Record<string, string> = i % 2 === 0 ? { site: `s${i % 4}` } : { site: `s${i % 4}`, zone: `z${i % 5}` }
  const device = Object.entries(group)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
  return { alarmId: `${rule}${i}`, rule, device, labels: group, group }
}
const some = (make: (rule: string, i: number) => Active, rule: string) => Array.from({ length: 60 }, (_, i) => make(rule, i))
const idsOf = (alarms: readonly Active[]) => [...new Set(alarms.map(({ alarmId }) => alarmId))].sort()

describe('inhibition', () => {
  const down = [...some(alarm, 'down'), ...some(grouped, 'down').map(one => ({ ...one, alarmId: `g${one.alarmId}` }))]
  const warm = [...some(alarm, 'warm'), ...some(grouped, 'warm').map(one => ({ ...one, alarmId: `g${one.alarmId}` }))]

  it.each<[string, Inhibitor]>([
    ['of the same device or group', { rule: 'down', equal: [] }],
    ['of an equal label', { rule: 'down', equal: ['site'] }],
    ['of two equal labels', { rule: 'down', equal: ['zone', 'site'] }],
    ['of a label that nobody has', { rule: 'down', equal: ['rack'] }],
  ])('%s is found both ways', (_, by) => {
    const [inhibitors, others] = [new Inhibitors(down), new Actives(warm)]
    const rule = { inhibitedBy: [by] }
    for (const one of warm)
      expect(idsOf(inhibitors.near(rule, one).filter(other => inhibits(by, other, one)))).toEqual(
        idsOf(down.filter(other => inhibits(by, other, one))),
      )
    for (const one of down)
      expect(idsOf(others.inhibited(by, one).filter(other => inhibits(by, one, other)))).toEqual(
        idsOf(warm.filter(other => inhibits(by, one, other))),
      )
  })

  it('of ten thousand alarms by ten thousand is looked for among few', () => {
    const inhibitors = new Inhibitors(Array.from({ length: 10_000 }, (_, i) => ({ ...alarm('down', i), device: `d${i}` })))
    let looked = 0
    for (let i = 0; i < 10_000; i++)
      looked += inhibitors.near({ inhibitedBy: [{ rule: 'down', equal: [] }] }, { ...alarm('warm', i), device: `d${i}` }).length
    expect(looked).toBe(10_000)
  })
})
