// States: which values hold, what counts as a change, and until when a change holds.
import { describe, expect, it } from 'vitest'
import { parseRule, ruleToJson } from '../rule.ts'
import { minutely, run } from './fixture.ts'

function state(more: object): object {
  return { state: { field: 'a.value', ...more } }
}

describe('a state', () => {
  it.each<[string, object, unknown[], string]>([
    ['is one text', { equals: 'OPEN' }, ['CLOSED', 'OPEN', 'OPEN', 'open', 'OPEN'], '-++-+'],
    ['is one of several', { equals: ['OPEN', 'AJAR'] }, ['CLOSED', 'OPEN', 'AJAR', 'CLOSED'], '-++-'],
    ['is true', { equals: true }, [false, true, 'true', true, false], '-+-+-'],
    ['is a number', { equals: [0, 3] }, [3, '3', 0, 1], '+-+-'],
    ['is one of many kinds', { equals: ['ON', true, 1] }, ['ON', true, 1, 'OFF'], '+++-'],
    ['is the empty text', { equals: '' }, ['', 'x'], '+-'],
    ['stands where a value says nothing', { equals: 'OPEN' }, ['OPEN', null, [1], undefined, 'CLOSED', null], '++++--'],
    ['is never a long text cut short', { equals: 'x'.repeat(100) }, ['x'.repeat(101), 'x'.repeat(100)], '-+'],
  ])('%s', (_, more, values, marks) => expect(run(state(more), minutely(values)).marks).toBe(marks))

  it.each<[string, object, unknown[], string]>([
    ['is none at first', { from: 'CLOSED', to: 'OPEN' }, ['OPEN', 'OPEN'], '--'],
    ['holds until the next value that is another', { from: 'CLOSED', to: 'OPEN' }, ['CLOSED', 'OPEN', 'OPEN', 'AJAR', 'OPEN'], '-++--'],
    ['needs the right origin', { from: 'CLOSED', to: 'OPEN' }, ['AJAR', 'OPEN', 'CLOSED', 'OPEN'], '---+'],
    ['to a value comes from any other', { to: 'OPEN' }, ['AJAR', 'OPEN', 'OPEN', 'CLOSED', 'OPEN'], '-++-+'],
    ['to one of several is none among them', { to: ['OPEN', 'AJAR'] }, ['OPEN', 'AJAR', 'CLOSED', 'AJAR', 'OPEN'], '---++'],
    ['from a value goes anywhere, until it is back', { from: 'TWO' }, ['TWO', 'THREE', 'FOUR', 'TWO', 'TWO'], '-++--'],
    ['of any kind holds until a value comes twice', {}, [1, 1, 2, 3, 3, 4], '--++-+'],
    ['is seen across what says nothing', { to: true }, [false, null, true, undefined, false], '--++-'],
    ['of a long text is seen in its end', {}, [`${'x'.repeat(200)}a`, `${'x'.repeat(200)}b`], '-+'],
  ])('change %s', (_, changes, values, marks) => expect(run(state({ changes }), minutely(values)).marks).toBe(marks))

  it('change is told apart from what another field did before the rule was edited', () => {
    const { state: before } = run(state({ changes: {} }), minutely(['OPEN']))
    const edited = { state: { field: 'a.other', changes: {} } }
    expect(run(edited, [[1, { other: 'X' }]], {}, before).marks).toBe('-')
  })

  it('keeps little of a long text', () => {
    const { state: kept } = run(state({ changes: {} }), minutely(['x'.repeat(1_000_000)]))
    expect(JSON.stringify(kept).length).toBeLessThan(300)
  })

  it.each<[object, unknown[], string, string | undefined]>([
    [{ equals: ['OPEN', 'AJAR'] }, ['OPEN'], 'a.value is OPEN', 'OPEN'],
    [{ equals: ['OPEN', 'AJAR'] }, ['CLOSED'], 'a.value is CLOSED, not OPEN or AJAR', undefined],
    [{ equals: true }, [true], 'a.value is true', 'true'],
    [{ equals: true }, [[1]], 'a.value is a list, no value that could be compared', undefined],
    [{ equals: true }, [undefined], 'a.value is missing', undefined],
    [{ changes: { from: 'CLOSED', to: 'OPEN' } }, ['CLOSED', 'OPEN'], 'a.value is OPEN, after a change from CLOSED to OPEN', 'OPEN'],
    [{ changes: { to: 'OPEN' } }, ['OPEN'], 'a.value is OPEN, no change to OPEN', undefined],
    [{ changes: {} }, [1, 2], 'a.value is 2, after a change', undefined],
  ])('%j is spoken of in plain words', (more, values, reason, value) => {
    const { reasons, changes } = run(state(more), minutely(values))
    expect(reasons.at(-1)).toBe(reason)
    if (value !== undefined) expect(changes.at(-1)).toMatchObject({ value, limit: undefined, reason })
  })

  it('that has lasted is spoken of as well', () => {
    const { changes } = run(state({ equals: 'OPEN' }), [...minutely(['OPEN', 'OPEN', 'CLOSED']), [9, 'tick', 0]], {
      for: '1m',
      keepActive: '2m',
    })
    expect(changes.map(({ kind, reason }) => [kind, reason])).toEqual([
      ['pending', 'a.value is OPEN'],
      ['active', 'a.value has been OPEN for 1m'],
      ['cleared', 'a.value has not been OPEN for 2m'],
    ])
  })

  it.each([{ equals: 'OPEN' }, { equals: ['OPEN', 3, false] }, { changes: {} }, { changes: { from: ['A', 'B'], to: 'C' } }])(
    'comes back the same from its document: %j',
    more => expect(JSON.parse(JSON.stringify(ruleToJson(parseRule({ name: 'a', when: state(more) })).when))).toEqual(state(more)),
  )

  it.each<[object, RegExp]>([
    [{}, /^when\.state: expected either "equals" or "changes"/],
    [{ equals: 1, changes: {} }, /^when\.state: expected either/],
    [{ equals: [] }, /^when\.state\.equals: expected a value, or a list of 1 to 50/],
    [{ equals: null }, /^when\.state\.equals: expected a text of at most 100/],
    [{ equals: ['A', {}] }, /^when\.state\.equals\[1\]: expected a text/],
    [{ equals: ['A', 'A'] }, /^when\.state\.equals\[1\]: expected each only once/],
    [{ equals: 'x'.repeat(101) }, /^when\.state\.equals: /],
    [{ equal: 'A' }, /^when\.state\.equal: .*did you mean "equals"/],
    [{ changes: 'A' }, /^when\.state\.changes: expected an object with some of from, to/],
    [{ changes: { from: 'A', to: ['B', 'A'] } }, /^when\.state\.changes\.to: expected nothing that is in "from" as well, as A is/],
    [{ equals: 'A', field: 'a' }, /^when\.state\.field: /],
  ])('%j is refused', (more, message) => expect(() => parseRule({ name: 'a', when: state(more) })).toThrow(message))
})
