// Filters and topics, by the examples of the specification [MQTT-4.7.1-2, 4.7.1-3, 4.7.2-1].
import { describe, expect, it } from 'vitest'
import { FilterTree, TopicTree } from './filter.ts'

const TABLE: readonly (readonly [filter: string, topic: string, does: boolean])[] = [
  ['sport/tennis/player1/#', 'sport/tennis/player1', true],
  ['sport/tennis/player1/#', 'sport/tennis/player1/ranking', true],
  ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
  ['sport/#', 'sport', true],
  ['#', 'anything/at/all', true],
  ['#', '$SYS/x', false],
  ['+/monitor/Clients', '$SYS/monitor/Clients', false],
  ['$SYS/#', '$SYS/monitor/Clients', true],
  ['$SYS/monitor/+', '$SYS/monitor/Clients', true],
  ['sport/tennis/+', 'sport/tennis/player1', true],
  ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
  ['sport/+', 'sport', false],
  ['sport/+', 'sport/', true],
  ['+/+', '/finance', true],
  ['/+', '/finance', true],
  ['+', '/finance', false],
  ['a/+/b', 'a//b', true],
  ['ACCOUNTS', 'Accounts', false],
  ['__proto__/constructor', '__proto__/constructor', true],
  ['__proto__', 'constructor', false],
]

describe('a filter', () => {
  it.each(TABLE)('%s, asked for %s: %s', (filter, topic, does) => {
    const filters = new FilterTree<string>()
    expect(filters.add(filter, 'x')).toBe(true)
    expect(filters.has(topic)).toBe(does)
    const found: string[] = []
    filters.each(topic, value => found.push(value))
    expect(found).toEqual(does ? ['x'] : [])
    const topics = new TopicTree<string>()
    topics.set(topic, 'y')
    expect([...topics.match(filter)]).toEqual(does ? ['y'] : [])
  })

  it('is gone with the last that stands under it', () => {
    const filters = new FilterTree<string>()
    expect([filters.add('a/+', '1'), filters.add('a/+', '2'), filters.add('a/#', '1')]).toEqual([true, false, true])
    expect([filters.delete('a/+', '1'), filters.delete('a/+', '2'), filters.delete('a/+', '2')]).toEqual([false, true, false])
    expect(filters.has('a/b')).toBe(true)
    expect(filters.delete('a/#', '1')).toBe(true)
    expect(filters.has('a/b')).toBe(false)
  })
})

describe('a topic', () => {
  it('holds one value, until it is taken away', () => {
    const topics = new TopicTree<string>()
    expect([topics.set('a/b', '1'), topics.set('a/b', '2'), topics.set('a', '3')]).toEqual([undefined, '1', undefined])
    expect([...topics.match('a/#')]).toEqual(['3', '2'])
    expect([topics.set('a/b', undefined), topics.set('a/c', undefined), topics.get('a/b')]).toEqual(['2', undefined, undefined])
    expect([...topics.match('#')]).toEqual(['3'])
  })
})
