// Which node is chosen, by a table.
import { describe, expect, it } from 'vitest'
import type { Node } from '../../../../packages/state/node.ts'
import { choose } from './choose.ts'

const node = (id: string, region: string, change: Partial<Node> = {}): Node => ({
  id,
  address: id,
  region,
  roles: ['gateway', 'stream'],
  connections: 0,
  capacity: 100,
  startedMs: 0,
  trafficMs: 0,
  beatMs: 0,
  terminating: false,
  ...change,
})
const anywhere = { role: 'stream', region: undefined, strict: false } as const
const regionOf = (name: string) => ({ name, isZone: false })
const zone = (name: string) => ({ name, isZone: true })
const ids = (nodes: readonly Node[]) => nodes.map(({ id }) => id)

const north1 = node('north1', 'eu-north-1', { connections: 50 })
const north1idle = node('north1idle', 'eu-north-1', { connections: 10 })
const north2 = node('north2', 'eu-north-2', { connections: 90 })
const west = node('west', 'eu-west-1', { connections: 30 })
const us = node('us', 'us-east-1', { connections: 1 })
const all = [us, west, north2, north1, north1idle]

describe('a node is chosen', () => {
  it.each([
    ['by load when no region is asked for', undefined, ['us', 'north1idle', 'west', 'north1', 'north2']],
    ['in the region, then as near as names agree, then by load', 'eu-north-1', ['north1idle', 'north1', 'north2', 'west', 'us']],
    ['in the zone when the region has none', 'eu-south-1', ['north1idle', 'west', 'north1', 'north2', 'us']],
    ['by load when nothing is near', 'ap-south-1', ['us', 'north1idle', 'west', 'north1', 'north2']],
    ['whatever the case of the region', 'US-East-1', ['us', 'north1idle', 'west', 'north1', 'north2']],
  ])('%s', (_, region, expected) =>
    expect(ids(choose(all, { ...anywhere, region: region === undefined ? region : regionOf(region) }, () => 0))).toEqual(expected),
  )

  it('in the very region or not at all, when that is asked for', () => {
    expect(ids(choose(all, { ...anywhere, region: regionOf('eu-north-1'), strict: true }, () => 0))).toEqual(['north1idle', 'north1'])
    expect(choose(all, { ...anywhere, region: regionOf('eu'), strict: true }, () => 0)).toEqual([])
    expect(choose(all, { ...anywhere, strict: true }, () => 0)).toHaveLength(5)
  })

  it('anywhere in a zone by load alone, however long the names of its regions are', () => {
    const long = node('long', 'eu-west-1-a', { connections: 99 })
    const short = node('short', 'eu', { connections: 20 })
    const nodes = [...all, long, short]
    const inZone = ['north1idle', 'short', 'west', 'north1', 'north2', 'long']
    expect(ids(choose(nodes, { ...anywhere, region: zone('eu') }, () => 0))).toEqual([...inZone, 'us'])
    expect(ids(choose(nodes, { ...anywhere, region: zone('EU'), strict: true }, () => 0))).toEqual(inZone)
    expect(ids(choose(nodes, { ...anywhere, region: zone('eu-west'), strict: true }, () => 0))).toEqual(['west', 'long'])
    expect(choose(nodes, { ...anywhere, region: zone('e'), strict: true }, () => 0)).toEqual([])
  })

  it('in the very region before those whose names go on behind it, and these by load', () => {
    const exact = node('exact', 'eu-west-1', { connections: 90 })
    const [a, b] = [node('a', 'eu-west-1-a', { connections: 50 }), node('b', 'eu-west-1-b-2', { connections: 40 })]
    const near = node('near', 'eu-west-2')
    expect(ids(choose([near, a, exact, b], { ...anywhere, region: regionOf('eu-west-1') }, () => 0))).toEqual(['exact', 'b', 'a', 'near'])
  })

  it('by share of its capacity, and not when it is full, is to stop or has another role', () => {
    const large = node('large', 'r', { connections: 50, capacity: 1000 })
    const others = [
      node('full', 'r', { connections: 100 }),
      node('ending', 'r', { terminating: true }),
      node('worker', 'r', { roles: ['worker'] }),
    ]
    expect(ids(choose([node('small', 'r', { connections: 10 }), large, ...others], anywhere, () => 0))).toEqual(['large', 'small'])
    expect(ids(choose(others, { ...anywhere, role: 'gateway' }, () => 0))).toEqual([])
  })

  it('in turn among equals', () => {
    const turns = [0.9, 0.1]
    expect(ids(choose([node('a', 'r'), node('b', 'r')], anywhere, () => turns.shift() ?? 0))).toEqual(['b', 'a'])
  })
})
