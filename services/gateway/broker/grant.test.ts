// What the filters of one connection say of a topic: by examples, and against one look at each filter.
import { describe, expect, it } from 'vitest'
import { Grants } from './grant.ts'
import type { Grant } from './lasting.ts'

const grant = (qos: Grant['qos'], short = false): Grant => ({ qos, short })

describe('grants', () => {
  it.each<[filters: [string, Grant][], topic: string, expected: Grant | undefined]>([
    [[], 'a', undefined],
    [[['a', grant(1)]], 'a', grant(1)],
    [[['a', grant(1)]], 'b', undefined],
    [[['a/+', grant(2)]], 'a/b', grant(2)],
    [
      [
        ['a/b', grant(0, true)],
        ['a/+', grant(2)],
        ['#', grant(1)],
      ],
      'a/b',
      grant(2, true),
    ],
    [
      [
        ['a/+', grant(1)],
        ['a/+', grant(0)],
      ],
      'a/b',
      grant(0),
    ],
    [[['#', grant(1)]], '$a', undefined],
  ])('%j say of %s: %j', (filters, topic, expected) => {
    const grants = new Grants()
    for (const [filter, one] of filters) grants.set(filter, one)
    for (const _time of [1, 2]) expect(grants.of(topic)).toEqual(expected)
  })

  it('are as they were changed last, also of topics that were asked for before', () => {
    const grants = new Grants()
    const says = () => [grants.of('a/b'), grants.has('a/+', undefined), grants.has('a/+', grant(1)), grants.has('a/+', grant(1, true))]
    expect(says()).toEqual([undefined, true, false, false])
    grants.set('a/+', grant(1))
    expect(says()).toEqual([grant(1), false, true, false])
    grants.set('a/b', grant(2))
    expect(grants.of('a/b')).toEqual(grant(2))
    grants.delete('a/b')
    expect(grants.of('a/b')).toEqual(grant(1))
    grants.delete('a/+')
    expect(says()).toEqual([undefined, true, false, false])
  })

  it('are right for more topics than are remembered', () => {
    const grants = new Grants()
    for (let n = 0; n < 300; n += 2) grants.set(`d/${n}/x`, grant(1))
    grants.set('d/+/y', grant(0))
    for (let round = 0; round < 2; round++)
      for (let n = 0; n < 300; n++)
        expect([grants.of(`d/${n}/x`), grants.of(`d/${n}/y`)]).toEqual([n % 2 === 0 ? grant(1) : undefined, grant(0)])
  })
})
