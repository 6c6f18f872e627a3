// Event times in all common shapes, and what is refused as one.
import { describe, expect, it } from 'vitest'
import { eventTime } from './time.ts'

const US = 1_769_860_800_000_000

describe('an event time', () => {
  it.each([
    ['2026-01-31T12:00:00Z', US],
    ['2026-01-31T13:00:00+01:00', US],
    ['2026-01-31T12:00:00', US],
    ['2026-01-31 12:00', US],
    [' 2026-01-31T12:00:00.5 ', US + 500_000],
    [1_769_860_800, US],
    ['1769860800', US],
    [1_769_860_800.25, US + 250_000],
    ['1769860800.000001', US + 1],
    [1_769_860_800_000, US],
    ['1769860800000.5', US + 500],
    [1_769_860_800_000_001, US + 1],
    ['1769860800000001999', US + 1],
    [1_769_860_800_000_001_999n, US + 1],
    [1_700_000_000.1, 1_700_000_000_100_000],
    ['1700000000.1', 1_700_000_000_100_000],
    [1_700_000_000_000.7, 1_700_000_000_000_700],
    [-1.5, -1_500_000],
    [0, 0],
  ])('is read from %s', (value, timeUs) => {
    expect(eventTime(value, 'time')).toBe(timeUs)
  })

  it('is the same of a number and of its text', () => {
    for (let i = 0; i < 1_000_000; i += 997) {
      const text = `17${String(i).padStart(6, '0')}00.${String((i * 7919) % 1_000_000).padStart(6, '0')}`
      expect(eventTime(Number(text), 'time'), text).toBe(eventTime(text, 'time'))
      expect(eventTime(text, 'time')).toBe(Number(text.replace('.', '')))
    }
  })

  it('that does not say its offset has the one that is given', () => {
    expect(eventTime('2026-01-31T13:00:00', 'time', 60)).toBe(US)
    expect(eventTime('2026-01-31T12:00:00Z', 'time', 60)).toBe(US)
  })

  it.each(['', 'yesterday', '2026-02-30T00:00:00Z', '2026-01-31', null, undefined, {}, Number.NaN, Number.POSITIVE_INFINITY, 1e300, true])(
    'is not read from %s',
    value => {
      expect(() => eventTime(value, 'received_at')).toThrow(/^received_at: expected an RFC 3339 time/)
    },
  )
})
