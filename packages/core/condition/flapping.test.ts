// Flapping: how many changes are too many, what counts as one, and when it is calm.
import { describe, expect, it } from 'vitest'
import { parseRule, ruleToJson } from '../rule.ts'
import { type RuleState, step } from '../step.ts'
import { MINUTE_US, type Moment, minutely, run } from './fixture.ts'

function flapping(more: object = {}): object {
  return { flapping: { field: 'a.value', changes: 3, within: '10m', ...more } }
}

const ALWAYS = Number.NEGATIVE_INFINITY
const STORM = minutely(['A', 'B', 'A', 'B'])

describe('a flapping value', () => {
  it.each<[string, object, Moment[], string]>([
    ['has changed too often', {}, minutely(['A', 'B', 'B', 'A', 'A', 'B']), '-----+'],
    [
      'has not when its changes are far apart',
      {},
      [
        [0, 'A'],
        [1, 'B'],
        [6, 'A'],
        [12, 'B'],
        [18, 'A'],
      ] as Moment[],
      '-----',
    ],
    [
      'has when the first change is just within',
      {},
      [
        [0, 'A'],
        [1, 'B'],
        [6, 'A'],
        [11, 'B'],
      ] as Moment[],
      '---+',
    ],
    ['may be of numbers and of true and false', {}, minutely([1, 2, true, 2]), '---+'],
    [
      'counts changes at one time',
      {},
      [
        [0, 'A'],
        [1, 'B'],
        [1, 'A'],
        [1, 'B'],
      ] as Moment[],
      '---+',
    ],
    ['does not count what says nothing', {}, minutely(['A', null, 'A', undefined, 'A', [], 'A']), '-------'],
    ['crosses a level', { level: 8 }, minutely([7, 9, 10, 7, 9]), '----+'],
    ['does not by lying on it', { level: 8 }, minutely([7, 8, 7, 8, 7, 8, 9, 8, 9, 8]), '----------'],
    ['crosses it from on it', { level: 8 }, minutely([8, 9, 7, 9, 8, 7]), '-----+'],
    ['is of numbers with a level', { level: 8 }, minutely([7, '9', 7, '9', true, 7]), '------'],
  ])('%s', (_, more, moments, marks) => expect(run(flapping(more), moments).marks).toBe(marks))

  it.each<[string, object, Moment[], string]>([
    ['as soon as it was calm for as long', {}, [[60, 'tick', ALWAYS]], 'active@3 cleared@13'],
    ['as soon as it was calm for as long as is asked for', { calm: '30m' }, [[60, 'tick', ALWAYS]], 'active@3 cleared@33'],
    ['where an event tells of it', {}, [[20, 'B']], 'active@3 cleared@13'],
    [
      'not while it changes now and then',
      {},
      [
        [12, 'A'],
        [21, 'B'],
        [30, 'A'],
      ],
      'active@3',
    ],
    [
      'and needs as many changes anew',
      {},
      [
        [20, 'A'],
        [21, 'B'],
        [22, 'A'],
      ],
      'active@3 cleared@13 active@22',
    ],
    ['not for an outage of ours', {}, [[20, 'tick', 15]], 'active@3'],
    [
      'when it was calm since',
      {},
      [
        [20, 'tick', 15],
        [60, 'tick', 15],
      ],
      'active@3 cleared@25',
    ],
  ])('clears %s', (_, more, moments, brief) => expect(run(flapping(more), [...STORM, ...moments]).brief).toBe(brief))

  it('at a level clears only when an event shows it, for silence says nothing about readings', () => {
    const storm: Moment[] = minutely([7, 9, 7, 9])
    expect(run(flapping({ level: 8 }), [...storm, [600, 'tick', ALWAYS]]).brief).toBe('active@3')
    expect(run(flapping({ level: 8 }), [...storm, [5, 9], [13, 9]]).brief).toBe('active@3 cleared@13')
  })

  it.each([{}, { level: 8 }])('does not clear by an event that comes first thing after an outage of ours: %j', more => {
    const rule = parseRule({ name: 'a', when: flapping(more) })
    const inputs = [7, 9, 7, 9].map((value, minute) => ({ value, minute, listening: 0 }))
    const after = [20, 24.9, 25.1].map(minute => ({ value: 9, minute, listening: 15 }))
    let state: RuleState | undefined
    const changes = [...inputs, ...after].flatMap(({ value, minute, listening }) => {
      const device = { id: 'd', type: '', labels: {}, productNumber: '' }
      const [timeUs, listeningSinceUs] = [Math.round(minute * MINUTE_US), listening * MINUTE_US]
      const event = { device, eventType: 'a', data: { a: { value } }, timeUs, listeningSinceUs, eventId: `e${minute}` }
      const outcome = step(rule, state, { kind: 'event', ...event })
      state = JSON.parse(JSON.stringify(outcome.state)) as RuleState
      return outcome.changes.map(({ kind, atUs }) => `${kind}@${atUs / MINUTE_US}`)
    })
    expect(changes).toEqual(['active@3', 'level' in more ? 'cleared@25.1' : 'cleared@25'])
  })

  it('keeps as many moments as are too many', () => {
    const storm = minutely(Array.from({ length: 2000 }, (_, index) => index % 2))
    const { state } = run(flapping({ changes: 50, within: '366d' }), storm)
    expect(state?.memory).toHaveProperty('times.length', 50)
  })

  it('is not told by what the values of another field did before the rule was edited', () => {
    const { state } = run(flapping(), minutely(['A', 'B', 'A']))
    const other: Moment[] = [[3, { other: 'B' }]]
    expect(run({ flapping: { field: 'a.other', changes: 3, within: '10m' } }, other, {}, state).marks).toBe('-')
  })

  it('crosses a level in the unit of the rule', () => {
    const celsius = [19, 21, 19, 21].map((value, minute): Moment => [minute, { value, unit: '°C' }])
    expect(run(flapping({ level: 68, unit: '°F' }), celsius).marks).toBe('---+')
  })

  it('is spoken of in plain words', () => {
    const { reasons, changes } = run(flapping(), [...STORM, [4, 'B'], [5, []], [20, 'B']])
    expect(reasons).toEqual([
      'a.value has changed 0 times within 10m, less than 3 times',
      'a.value has changed once within 10m, less than 3 times',
      'a.value has changed 2 times within 10m, less than 3 times',
      'a.value has changed 3 times within 10m',
      'a.value has changed 3 times within 10m',
      'a.value is a list, no value that could be compared',
      'a.value has not changed for 10m; a.value has changed 0 times within 10m, less than 3 times',
    ])
    expect(changes).toMatchObject([
      { kind: 'active', value: 3, limit: 3 },
      { kind: 'cleared', value: 0, limit: 3 },
    ])
    expect(run(flapping({ level: 8 }), minutely([7, 9, 7, 9])).reasons.at(-1)).toBe('a.value has crossed 8 3 times within 10m')
  })

  it.each([{ calm: '10m' }, { calm: '1h', level: 8, unit: '°C' }])('comes back the same from its document: %j', more =>
    expect(JSON.parse(JSON.stringify(ruleToJson(parseRule({ name: 'a', when: flapping(more) })).when))).toEqual(flapping(more)),
  )

  it.each<[object, RegExp]>([
    [{ changes: 1 }, /^when\.flapping\.changes: expected a whole number from 2 to 50/],
    [{ changes: 51 }, /^when\.flapping\.changes: /],
    [{ within: '0s' }, /^when\.flapping\.within: expected a duration longer than 0/],
    [{ calm: '0s' }, /^when\.flapping\.calm: expected a duration longer than 0/],
    [{ level: '8' }, /^when\.flapping\.level: expected a number/],
    [{ with: '8m' }, /^when\.flapping\.with: .*did you mean "within"/],
  ])('%j is refused', (more, message) => expect(() => parseRule({ name: 'a', when: flapping(more) })).toThrow(message))
})
