// Event time in and out: every form RFC 3339 allows, and the ones it does not.
import { describe, expect, it } from 'vitest'
import { checkTime, formatDuration, formatTime, parseDuration, parseTime } from './time.ts'

describe('a time', () => {
  it.each([
    ['1970-01-01T00:00:00Z', 0],
    ['1970-01-01T00:00:00.000001Z', 1],
    ['1969-12-31T23:59:59.999999Z', -1],
    ['2025-03-02T06:41:09.104Z', 1_740_897_669_104_000],
    ['2025-03-02t06:41:09.104z', 1_740_897_669_104_000],
    ['2025-03-02 06:41:09.1040009Z', 1_740_897_669_104_000],
    ['2025-03-02T08:41:09.104+02:00', 1_740_897_669_104_000],
    ['2025-03-02T01:11:09.104-05:30', 1_740_897_669_104_000],
    ['2025-03-02T06:41:09.104-00:00', 1_740_897_669_104_000],
    ['2024-02-29T00:00:00Z', 1_709_164_800_000_000],
    ['2016-12-31T23:59:60Z', 1_483_228_800_000_000],
  ])('%s is understood to the microsecond', (text, timeUs) => expect(parseTime(text)).toBe(timeUs))

  it.each([
    '',
    'yesterday',
    '2025-03-02',
    '2025-03-02T06:41Z',
    '2025-03-02T06:41:09',
    '2025-03-02T06:41:09.Z',
    '2025-03-02T06:41:09.1234567890Z',
    '2025-00-02T06:41:09Z',
    '2025-13-02T06:41:09Z',
    '2025-03-00T06:41:09Z',
    '2025-02-29T06:41:09Z',
    '2025-02-31T06:41:60Z',
    '2025-03-02T24:00:00Z',
    '2025-03-02T06:60:00Z',
    '2025-03-02T06:75:00Z',
    '2025-03-02T06:41:61Z',
    '2025-03-02T06:41:09+24:00',
    '2025-03-02T06:41:09+01:60',
    '0050-01-01T00:00:00Z',
    '1600-01-01T00:00:00Z',
    '9999-12-31T23:59:59Z',
    ' 2025-03-02T06:41:09Z',
    '2025-03-02T06:41:09Z\n',
  ])('%j is not one that can be kept exactly', text => expect(parseTime(text)).toBeUndefined())

  it.each([
    ['9999-12-31T23:59:59Z', 'until: expected a time until 2255-06-05T23:47:34.740991Z, after which microseconds are not exact'],
    ['0001-01-01T00:00:00Z', 'until: expected a time from 1684-07-28T00:12:25.259009Z, before which microseconds are not exact'],
    ['2025-02-29T06:41:09Z', 'until: expected an RFC 3339 time such as 2026-01-31T12:00:00Z'],
    [5, 'until: expected an RFC 3339 time such as 2026-01-31T12:00:00Z'],
  ])('%j is refused with the reason', (value, message) => expect(() => checkTime(value, 'until')).toThrow(message))

  it.each([
    [0, '1970-01-01T00:00:00.000000Z'],
    [-1, '1969-12-31T23:59:59.999999Z'],
    [1_740_897_669_104_005, '2025-03-02T06:41:09.104005Z'],
    [Number.MAX_SAFE_INTEGER, '2255-06-05T23:47:34.740991Z'],
    [Number.MIN_SAFE_INTEGER, '1684-07-28T00:12:25.259009Z'],
  ])('%d is written with six digits and read back', (timeUs, text) => {
    expect(formatTime(timeUs)).toBe(text)
    expect(parseTime(text)).toBe(timeUs)
  })
})

describe('a duration', () => {
  it.each([
    ['0s', 0],
    ['500ms', 500],
    ['10s', 10_000],
    ['1.5m', 90_000],
    ['1.1h', 3_960_000],
    ['2h', 7_200_000],
    ['30d', 2_592_000_000],
    ['0.001s', 1],
  ])('%s is %d ms', (text, ms) => expect(parseDuration(text)).toBe(ms))

  it.each([
    '',
    '5',
    's',
    '-5s',
    '+5s',
    '5 s',
    '5S',
    '5w',
    '1h30m',
    '.5s',
    '5.s',
    '1e3s',
    '0.5ms',
    '0.0000001ms',
    '0.0001s',
    '99999999999d',
    `${'9'.repeat(400)}s`,
  ])('%j is not one', text => expect(parseDuration(text)).toBeUndefined())

  it.each([
    [0, '0ms'],
    [1, '1ms'],
    [1500, '1500ms'],
    [90_000, '90s'],
    [120_000, '2m'],
    [129_600_000, '36h'],
    [172_800_000, '2d'],
  ])('%d ms is written as %s and read back', (ms, text) => {
    expect(formatDuration(ms)).toBe(text)
    expect(parseDuration(text)).toBe(ms)
  })
})
