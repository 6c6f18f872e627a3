// Label filters: present, equal, and what several of them mean.
import { describe, expect, it } from 'vitest'
import { matchesLabels, parseLabelFilter } from './device.ts'

describe('a label filter', () => {
  it.each([
    ['site', 'site', undefined],
    ['site=', 'site', undefined],
    ['zone=cold', 'zone', 'cold'],
    ['a=b=c', 'a', 'b=c'],
    ['__proto__=x', '__proto__', 'x'],
    [' zone = cold ', ' zone ', ' cold '],
  ])('%j names a key and perhaps a value', (text, key, value) => expect(parseLabelFilter(text)).toEqual({ key, value }))

  it.each<[string[], string, boolean]>([
    [[], '{}', true],
    [['zone'], '{"zone":"cold"}', true],
    [['zone'], '{"zone":""}', true],
    [['zone'], '{}', false],
    [['zone=cold'], '{"zone":"cold"}', true],
    [['zone=cold'], '{"zone":"Cold"}', false],
    [['zone=cold', 'site'], '{"zone":"cold"}', false],
    [['zone=cold', 'site'], '{"zone":"cold","site":"Oslo"}', true],
    [['constructor'], '{}', false],
    [['__proto__'], '{}', false],
    [['__proto__=a'], '{"__proto__":"a"}', true],
    [['toString=x'], '{"toString":"x"}', true],
  ])('%j on %s: %s', (filters, labels, matches) => expect(matchesLabels(filters.map(parseLabelFilter), JSON.parse(labels))).toBe(matches))

  it.each<[string[], string, boolean]>([
    [[], '{}', true],
    [['zone'], '{}', false],
    [['zone=cold', 'site'], '{"zone":"cold"}', true],
    [['zone=cold', 'zone=warm'], '{"zone":"warm"}', true],
    [['zone=cold', 'site'], '{"zone":"warm"}', false],
    [['constructor', 'site'], '{}', false],
  ])('any of %j on %s: %s', (filters, labels, matches) =>
    expect(matchesLabels(filters.map(parseLabelFilter), JSON.parse(labels), 'any')).toBe(matches),
  )
})
