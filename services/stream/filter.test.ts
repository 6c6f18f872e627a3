// What a subscriber may ask for, in either spelling, and which events that picks.
import { describe, expect, it } from 'vitest'
import { matches, needsDevice, parseStreamQuery } from './filter.ts'

const event = { device: 'a', eventType: 'temperature', timeUs: 1, frame: '{}' }
const device = { id: 'a', type: 'temperature', labels: { zone: 'cold', site: '' }, productNumber: '100' }
const filterOf = (query: Record<string, string | string[]>, one?: string) => {
  const { filter } = parseStreamQuery(query, one)
  if (!filter) throw new Error('everything')
  return filter
}

describe('a stream query', () => {
  it('asks for everything when it asks for nothing', () => {
    expect(parseStreamQuery({})).toEqual({ filter: undefined, pingMs: undefined, cursor: undefined, sinceUs: undefined })
    expect(parseStreamQuery({ unknown: 'x', token: 'y' }).filter).toBeUndefined()
  })

  it.each(['device_ids', 'deviceIds', 'device_types', 'deviceTypes', 'event_types', 'eventTypes', 'product_numbers', 'productNumbers'])(
    'takes %s once and repeated',
    name => {
      const sets = (query: Record<string, string | string[]>) => Object.values(filterOf(query)).filter(value => value instanceof Set)
      expect(sets({ [name]: 'a' })).toEqual([new Set(['a'])])
      expect(sets({ [name]: ['a', 'b'] })).toEqual([new Set(['a', 'b'])])
    },
  )

  it('joins both spellings', () => {
    expect(filterOf({ device_ids: 'a', deviceIds: ['b', 'c'] }).deviceIds).toEqual(new Set(['a', 'b', 'c']))
  })

  it('in the address of one device asks for that one', () => {
    expect(filterOf({}, 'a').deviceIds).toEqual(new Set(['a']))
    expect(filterOf({ device_ids: 'b' }, 'a').deviceIds).toEqual(new Set(['a']))
  })

  it.each([
    ['10s', 10_000],
    ['1s', 1000],
    ['1.5s', 1500],
    ['3600s', 3_600_000],
  ])('takes a ping every %s', (text, ms) => {
    expect(parseStreamQuery({ ping_interval: text }).pingMs).toBe(ms)
    expect(parseStreamQuery({ pingInterval: text }).pingMs).toBe(ms)
  })

  it.each([
    [{ ping_interval: '0.5s' }, 'ping_interval: expected seconds from 1s to 3600s such as 10s, got 0.5s'],
    [{ ping_interval: '10' }, 'ping_interval: expected'],
    [{ ping_interval: '1m' }, 'ping_interval: expected'],
    [{ ping_interval: '1e1s' }, 'ping_interval: expected'],
    [{ ping_interval: '-5s' }, 'ping_interval: expected'],
    [{ ping_interval: '9'.repeat(400) }, 'ping_interval: expected'],
    [{ ping_interval: ['1s', '2s'] }, 'ping_interval: expected one value, got 2'],
    [{ ping_interval: '1s', pingInterval: '1s' }, 'ping_interval: expected one value, got 2'],
    [{ device_ids: '' }, 'device_ids: expected a value, got an empty one'],
    [{ event_types: 'a b' }, 'event_types: expected 1 to 64 characters'],
    [{ since: 'yesterday' }, 'since: expected an RFC 3339 time'],
    [{ cursor: ['a', 'b'] }, 'cursor: expected one value, got 2'],
    [{ device_ids: Array.from({ length: 1001 }, () => 'a') }, 'device_ids: at most 1000 values, got 1001'],
  ] satisfies [Record<string, string | string[]>, string][])('%j is refused', (query, message) => {
    expect(() => parseStreamQuery(query)).toThrow(message)
  })
})

describe('an event', () => {
  it.each([
    [{ device_ids: ['b', 'a'] }, true],
    [{ device_ids: 'b' }, false],
    [{ event_types: ['temperature'] }, true],
    [{ event_types: 'humidity' }, false],
    [{ device_types: 'temperature' }, true],
    [{ device_types: 'humidity' }, false],
    [{ product_numbers: '100' }, true],
    [{ product_numbers: '1' }, false],
    [{ label_filters: 'zone' }, true],
    [{ label_filters: 'zone=cold' }, true],
    [{ label_filters: 'zone=' }, true],
    [{ label_filters: 'zone=warm' }, false],
    [{ label_filters: ['zone', 'site'] }, true],
    [{ label_filters: ['zone', 'floor'] }, false],
    [{ label_filters: 'constructor' }, false],
    [{ label_filters: '__proto__' }, false],
    [{ device_ids: 'a', event_types: 'humidity' }, false],
    [{ device_ids: 'a', label_filters: 'zone=cold', device_types: 'temperature' }, true],
  ] satisfies [Record<string, string | string[]>, boolean][])('asked for by %j: %s', (query, wanted) => {
    expect(matches(filterOf(query), event, device)).toBe(wanted)
  })

  it('of an unknown device is picked only by what the event itself says', () => {
    expect(matches(filterOf({ device_ids: 'a' }), event, undefined)).toBe(true)
    expect(matches(filterOf({ label_filters: 'zone' }), event, undefined)).toBe(false)
    expect([needsDevice(filterOf({ device_ids: 'a' })), needsDevice(filterOf({ label_filters: 'zone' }))]).toEqual([false, true])
  })
})
