// Rates: between which readings, at one time, over a span, in which unit.
import { describe, expect, it } from 'vitest'
import { parseRule, ruleToJson } from '../rule.ts'
import { kindOf } from './condition.ts'
import { type Moment, minutely, run } from './fixture.ts'

function rate(more: object): object {
  return { rate: { field: 'a.value', per: '1m', ...more } }
}

describe('a rate', () => {
  const rising = { above: 2 }
  it.each<[string, object, Moment[], string]>([
    ['is none of one reading', rising, minutely([5]), '-'],
    ['is told from reading to reading', rising, minutely([5, 7, 9.1, 11, 14, 14]), '--+-+-'],
    ['may fall', { below: -2 }, minutely([5, 3, 0, -1]), '--+-'],
    ['may do either', { above: 2, below: -2 }, minutely([0, 3, 0, 1]), '-++-'],
    ['has clear levels', { above: 2, clearBelow: 1 }, minutely([0, 3, 4.5, 5.5, 6]), '-+++-'],
    [
      'is the same however far the readings lie apart',
      rising,
      [
        [0, 0],
        [10, 21],
        [10.5, 22],
        [11, 24],
      ] as Moment[],
      '-+-+',
    ],
    [
      'is not moved by a duplicate',
      rising,
      [
        [0, 0],
        [1, 3],
        [1, 3],
        [1, 3],
        [2, 4],
        [2, 4],
      ] as Moment[],
      '-+++--',
    ],
    [
      'of two readings at one time is that of the later to what was before',
      rising,
      [
        [0, 0],
        [1, 3],
        [1, 1],
        [1, 4],
        [2, 5],
      ] as Moment[],
      '-+-+-',
    ],
    [
      'of two first readings at one time is not told',
      rising,
      [
        [0, 0],
        [0, 9],
        [1, 12],
      ] as Moment[],
      '--+',
    ],
    ['stands where a value says nothing', rising, minutely([0, 3, null, undefined, 4]), '-+++-'],
    ['is as exact as on paper', { above: 0.05 }, minutely([4.6, 4.65, 4.7]), '---'],
    ['is nothing that cannot be counted', { above: 1 }, minutely([-1e308, 1e308, 1e308]), '---'],
  ])('%s', (_, more, moments, marks) => expect(run(rate(more), moments).marks).toBe(marks))

  const over = { above: 2, over: '10m' }
  it.each<[string, object, Moment[], string]>([
    ['is not told before there is a reading that old', over, minutely([0, 50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50]), '------------'],
    ['is told from the reading that old', over, minutely([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 25, 25]), '----------++'],
    ['evens out a jump that comes back', over, minutely([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0]), '-------------'],
    [
      'spans a pause',
      over,
      [
        [0, 0],
        [30, 61],
        [31, 65],
        [40, 61],
      ] as Moment[],
      '-++-',
    ],
  ])('over a span %s', (_, more, moments, marks) => expect(run(rate(more), moments).marks).toBe(marks))

  it('over a span keeps few points however many readings come, and the very same memory when it keeps none', () => {
    const readings = Array.from({ length: 3000 }, (_, index): Moment => [index / 60, index])
    const { state, changes } = run(rate({ above: 59, over: '10m' }), readings)
    expect(changes).toMatchObject([{ kind: 'active', atUs: 600_000_000, value: 60 }])
    expect(JSON.stringify(state?.memory).length).toBeLessThan(400)
  })

  it('is counted in the unit of the rule, and 2.5 °C are 4.5 °F', () => {
    const fahrenheit = (above: number) => ({ rate: { field: 'a.value', per: '1m', above, unit: '°F' } })
    const celsius = [20, 22.5].map((value, minute): Moment => [minute, { value, unit: '°C' }])
    expect(run(fahrenheit(4.5), celsius).marks).toBe('--')
    expect(run(fahrenheit(4.4), celsius).changes).toMatchObject([{ value: 4.5, limit: 4.4 }])
    const mixed: Moment[] = [
      [0, { value: 20, unit: '°C' }],
      [1, { value: 72.5, unit: 'F' }],
    ]
    expect(run(fahrenheit(4.4), mixed).changes).toMatchObject([{ value: 4.5 }])
  })

  it('is not told between readings in two units of an edited rule', () => {
    const { state } = run(rate({ above: 2, unit: '°C' }), [[0, { value: 20, unit: '°C' }]])
    expect(run(rate({ above: 2, unit: '°F' }), [[1, { value: 20, unit: '°C' }]], {}, state).marks).toBe('-')
  })

  it.each([
    ['1s', '°C/s'],
    ['1m', '°C/min'],
    ['60s', '°C/min'],
    ['1h', '°C/h'],
    ['1d', '°C/d'],
    ['15m', '°C/15m'],
  ])('per %s has the unit %s', (per, unit) => {
    const { when } = parseRule({ name: 'a', when: rate({ above: 1, per, unit: 'C' }) })
    expect(kindOf(when).unit(when)).toBe(unit)
  })

  it('is spoken of in plain words', () => {
    const { reasons } = run(rate({ above: 2, unit: '°C' }), minutely([5, 8, 9, 'x']))
    expect(reasons).toEqual([
      'a.value has a reading without one before it, so no change yet',
      'a.value changes by 3 °C/min, above 2',
      'a.value changes by 1 °C/min, not above 2',
      'a.value is "x", not a number in °C',
    ])
    const { reasons: spans, changes } = run(rate({ below: -2, over: '2m' }), minutely([0, 0, -6, -12]), { for: '1m' })
    expect(spans[0]).toBe('a.value has a reading without one from 2m before it, so no change yet')
    expect(changes.at(-1)?.reason).toBe('the change of a.value has been below -2 per 1m for 1m')
  })

  it('may have a ladder', () => {
    const severity = [
      { at: 2, severity: 'warning' },
      { at: 5, severity: 'critical' },
    ]
    expect(run(rate({ above: 2 }), minutely([50, 53, 59, 62]), { severity }).brief).toBe('active@1 escalated@2 deescalated@3')
    expect(run(rate({ above: 2, clearBelow: 1 }), minutely([50, 53, 59, 63.5]), { severity }).brief).toBe('active@1 escalated@2')
  })

  it('that cannot be told after an edit is no rung of a ladder', () => {
    const severity = [
      { at: 2, severity: 'warning' },
      { at: 5, severity: 'critical' },
    ]
    const { state } = run(rate({ above: 2 }), minutely([50, 53]), { severity })
    expect(run(rate({ above: 2, unit: '°C' }), [[2, 53]], { severity }, state)).toMatchObject({ marks: '+', brief: '' })
  })

  it.each([{ above: 2 }, { per: '90s', over: '10m', below: -2, clearAbove: -1, unit: '°F' }])('comes back the same: %j', more =>
    expect(JSON.parse(JSON.stringify(ruleToJson(parseRule({ name: 'a', when: rate(more) })).when))).toEqual(rate(more)),
  )

  it.each<[object, RegExp]>([
    [{}, /^when\.rate: expected "above", "below"/],
    [{ above: 1, per: undefined }, /^when\.rate\.per: expected a duration/],
    [{ above: 1, per: '0s' }, /^when\.rate\.per: expected a duration longer than 0/],
    [{ above: 1, over: 5 }, /^when\.rate\.over: expected a duration/],
    [{ above: 1, field: 'temperature.value', unit: 'psi' }, /^when\.rate\.unit: psi is a unit of pressure, but/],
  ])('%j is refused', (more, message) => expect(() => parseRule({ name: 'a', when: rate(more) })).toThrow(message))
})
