// Stuck: what counts as unchanged, how pauses count, and that silence is something else.
import { describe, expect, it } from 'vitest'
import { parseRule, ruleToJson } from '../rule.ts'
import { type Moment, run } from './fixture.ts'

function stuck(more: object = {}): object {
  return { stuck: { field: 'a.value', for: '2h', ...more } }
}

const HOUR = 60

function hourly(values: readonly unknown[]): Moment[] {
  return values.map((value, index) => [index * HOUR, value] as const)
}

describe('a stuck value', () => {
  it('is not free because another field is read since an edit, before that one moves', () => {
    const { state } = run(stuck(), hourly([1, 1, 1]))
    const other = (minute: number, value: number): Moment => [minute, { other: value }]
    const when = { stuck: { field: 'a.other', for: '2h' } }
    const edited = run(when, [other(180, 7), other(240, 7)], {}, state)
    expect([edited.marks, edited.reasons[0]]).toEqual(['++', 'a.other 7 is new'])
    expect(run(when, [other(300, 8)], {}, edited.state).marks).toBe('-')
  })

  it.each<[string, object, Moment[], string]>([
    ['has not changed for the duration', {}, hourly([4.5, 4.5, 4.5, 4.5]), '--++'],
    ['is free with its first change', {}, hourly([4.5, 4.5, 4.5, 4.6, 4.6, 4.6]), '--+--+'],
    ['begins anew with every change', {}, hourly([1, 1, 2, 2, 1, 1]), '------'],
    ['may move within its tolerance', { tolerance: 0.1 }, hourly([4.6, 4.65, 4.5, 4.7, 4.71]), '--++-'],
    ['does not drift away in small steps', { tolerance: 0.1 }, hourly([4.5, 4.6, 4.7, 4.8]), '----'],
    ['may be a text', {}, hourly(['OPEN', 'OPEN', 'OPEN', 'CLOSED']), '--+-'],
    ['may be true or false', {}, hourly([true, true, true, false]), '--+-'],
    ['stays so where a value says nothing', {}, hourly([1, 1, 1, null, undefined, 1]), '--++++'],
    [
      'is not silence',
      {},
      [
        [0, 1],
        [600, 'tick', 0],
        [6000, 'tick', 0],
      ] as Moment[],
      '---',
    ],
    [
      'is not one that comes back the same after a silence',
      {},
      [
        [0, 1],
        [1, 1],
        [2, 1],
        [600, 1],
        [601, 1],
      ] as Moment[],
      '-----',
    ],
    [
      'is one that stays the same after it',
      {},
      [
        [0, 1],
        [1, 1],
        [600, 1],
        [660, 1],
      ] as Moment[],
      '---+',
    ],
    [
      'needs more than two readings',
      {},
      [
        [0, 1],
        [300, 1],
        [600, 1],
      ] as Moment[],
      '--+',
    ],
    ['needs as many readings as are asked for', { readings: 5 }, hourly([1, 1, 1, 1, 1]), '----+'],
    [
      'may need but two',
      { readings: 2 },
      [
        [0, 1],
        [300, 1],
      ] as Moment[],
      '-+',
    ],
    [
      'is not one for being sent many times at once',
      { readings: 2 },
      [
        [0, 1],
        [0, 1],
        [0, 1],
        [119, 1],
        [119, 1],
        [120, 1],
      ] as Moment[],
      '-----+',
    ],
    ['is found where thirds do not add up', { for: '1m', readings: 8 }, [0, 1, 2, 3, 4, 5, 6, 7].map(at => [at, 1] as const), '-------+'],
  ])('%s', (_, more, moments, marks) => expect(run(stuck(more), moments).marks).toBe(marks))

  it('has a tolerance in the unit of the rule', () => {
    const celsius = (...values: number[]) => hourly(values.map(value => ({ value, unit: '°C' })))
    expect(run(stuck({ tolerance: 4.5, unit: '°F' }), celsius(20, 22.5, 17.5)).marks).toBe('--+')
    expect(run(stuck({ tolerance: 4.4, unit: '°F' }), celsius(20, 22.5, 17.5)).marks).toBe('---')
  })

  it('is another value in another unit of an edited rule', () => {
    const { state } = run(stuck({ unit: '°C' }), hourly([20, 20]))
    expect(run(stuck({ unit: '°F' }), [[120, 20]], {}, state).marks).toBe('-')
  })

  it('keeps nothing new of the events that find it as it was', () => {
    const held = run(stuck(), hourly([1, 1, 1])).state
    expect(run(stuck(), [[180, 1]], {}, held).state?.memory).toEqual(held?.memory)
  })

  it('is spoken of in plain words', () => {
    expect(run(stuck({ tolerance: 0.1 }), hourly([4.5, 4.6, 4.5, 5, []])).reasons).toEqual([
      'a.value 4.5 is new',
      'a.value has been within 0.1 of 4.5 for 1h, less than 2h',
      'a.value has been within 0.1 of 4.5 for 2h, although events come',
      'a.value 5 is new',
      'a.value is a list, no value that could be compared',
    ])
    const { changes } = run(stuck(), hourly([1, 1, 1, 1]), { for: '30m' })
    expect(changes.at(-1)?.reason).toBe('a.value has been 1 for 2h, and for another 30m')
  })

  it('comes back the same from its document', () => {
    const when = stuck({ tolerance: 0.5, readings: 4, unit: '°F' })
    expect(JSON.parse(JSON.stringify(ruleToJson(parseRule({ name: 'a', when })).when))).toEqual(when)
  })

  it.each<[object, RegExp]>([
    [{ for: undefined }, /^when\.stuck\.for: expected a duration/],
    [{ for: '0s' }, /^when\.stuck\.for: expected a duration longer than 0/],
    [{ tolerance: -1 }, /^when\.stuck\.tolerance: expected a number from 0/],
    [{ readings: 1 }, /^when\.stuck\.readings: expected a whole number from 2 to 1000/],
    [{ readings: 2.5 }, /^when\.stuck\.readings: /],
    [{ tolerence: 1 }, /^when\.stuck\.tolerence: .*did you mean "tolerance"/],
  ])('%j is refused', (more, message) => expect(() => parseRule({ name: 'a', when: stuck(more) })).toThrow(message))
})
