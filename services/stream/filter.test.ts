// Which events a filter picks.
import { describe, expect, it } from 'vitest'
import { matches, needsDevice } from './filter.ts'
import { parseQueryText } from './query.ts'

const event = { device: 'a', eventType: 'temperature', timeUs: 1, frame: '{}' }
const device = { id: 'a', type: 'temperature', labels: { zone: 'cold', site: '' }, productNumber: '100' }
const filterOf = (query: Record<string, string | string[]>) => {
  const pairs = Object.entries(query).flatMap(([name, values]) => [values].flat().map(value => [name, value] as [string, string]))
  const { filter } = parseQueryText(new URLSearchParams(pairs).toString()).wants
  if (!filter) throw new Error('everything')
  return filter
}

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
    [{ label_filters: ['zone=cold', 'zone=warm'] }, false],
    [{ label_filters: ['zone', 'floor'], label_match: 'any' }, true],
    [{ label_filters: ['zone=cold', 'zone=warm'], label_match: 'any' }, true],
    [{ label_filters: ['zone=warm', 'floor'], label_match: 'any' }, false],
    [{ label_filters: 'zone', label_match: 'any' }, true],
    [{ label_filters: 'floor', label_match: 'any' }, false],
    [{ label_filters: ['zone', 'floor'], label_match: 'any', device_types: 'humidity' }, false],
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
