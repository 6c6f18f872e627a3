// Silences by tables: what they match, and what is refused.
import { describe, expect, it } from 'vitest'
import { isSilencedBy, parseSilence, silenceStateAt, silenceToJson } from './silence.ts'
import { formatTime } from './time.ts'

const NOW_US = Date.UTC(2026, 10, 21, 12) * 1000
const endTime = formatTime(NOW_US + 60_000_000)
const alarm = { rule: 'warm', device: 'd1', severity: 'warning' as const, labels: { zone: 'cold' } }
const parse = (document: object) => parseSilence(document, 's1', 'kari', NOW_US)

describe('a silence', () => {
  it.each<[object[], boolean]>([
    [[{ field: 'rule', equals: 'warm' }], true],
    [[{ field: 'rule', in: ['cold', 'warm'] }], true],
    [[{ field: 'device', equals: 'd2' }], false],
    [[{ field: 'severity', in: ['critical'] }], false],
    [[{ field: 'labels.zone', equals: 'cold' }], true],
    [[{ field: 'labels.__proto__', equals: '' }], true],
    [[{ field: 'labels.floor', equals: '1' }], false],
    [
      [
        { field: 'rule', equals: 'warm' },
        { field: 'device', equals: 'd2' },
      ],
      false,
    ],
  ])('%j matches the alarm: %s', (matchers, expected) => expect(isSilencedBy(parse({ matchers, endTime }), alarm)).toBe(expected))

  it('begins now unless it says when, and is pending, active and expired', () => {
    const silence = parse({ matchers: [{ field: 'rule', in: ['warm'] }], reason: 'defrosting', endTime })
    expect(silenceToJson(silence, NOW_US)).toEqual({
      id: 's1',
      matchers: [{ field: 'rule', equals: 'warm' }],
      author: 'kari',
      reason: 'defrosting',
      startTime: formatTime(NOW_US),
      endTime,
      state: 'active',
    })
    expect([-1, 0, 59_999_999, 60_000_000].map(us => silenceStateAt(silence, NOW_US + us))).toEqual([
      'pending',
      'active',
      'active',
      'expired',
    ])
  })

  it.each<[object, RegExp]>([
    [{ endTime }, /^matchers: /],
    [{ matchers: [], endTime }, /^matchers: /],
    [{ matchers: [{ field: 'zone', equals: 'x' }], endTime }, /^matchers\[0\].field: expected one of rule, device, severity, labels.KEY/],
    [{ matchers: [{ field: 'rule' }], endTime }, /^matchers\[0\]: expected either equals or in/],
    [{ matchers: [{ field: 'rule', equals: 'a', in: ['a'] }], endTime }, /^matchers\[0\]: expected either equals or in/],
    [{ matchers: [{ field: 'rule', in: [] }], endTime }, /^matchers\[0\].in: /],
    [{ matchers: [{ field: 'severity', equals: 'grave' }], endTime }, /^matchers\[0\].equals: expected one of info, warning, critical/],
    [{ matchers: [{ field: 'rule', equal: 'a' }], endTime }, /did you mean "equals"/],
    [{ matchers: [{ field: 'rule', equals: 'a' }] }, /^endTime: /],
    [{ matchers: [{ field: 'rule', equals: 'a' }], endTime: formatTime(NOW_US) }, /^endTime: expected a time after the start/],
    [{ matchers: [{ field: 'rule', equals: 'a' }], endTime: '2028-01-01T00:00:00Z' }, /^endTime: expected at most a year/],
    [{ matchers: [{ field: 'rule', equals: 'a' }], endTime, reason: 7 }, /^reason: /],
  ])('refuses %j', (document, reason) => expect(() => parse(document)).toThrow(reason))
})
