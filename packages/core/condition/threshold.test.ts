// Levels: which values hold, which end it again, and what is no number.
import { describe, expect, it } from 'vitest'
import { parseRule } from '../rule.ts'
import { type RuleState, step } from '../step.ts'

const DEVICE = { id: 'freezer-1', type: 'temperature', labels: {}, productNumber: '' }

function judge(level: object, values: readonly unknown[], field = 'temperature.value', eventType = 'temperature', data?: string) {
  const rule = parseRule({ name: 'a', when: { threshold: { field, ...level } } })
  let state: RuleState | undefined
  return values.map((value, index) => {
    const given = data === undefined ? { [eventType]: { value } } : JSON.parse(data)
    const outcome = step(rule, state, { kind: 'event', device: DEVICE, eventType, data: given, timeUs: index, eventId: 'e' })
    state = outcome.state
    return { phase: outcome.state.phase, limit: outcome.changes[0]?.limit, reason: outcome.reason }
  })
}

describe('a threshold', () => {
  const above = { above: 8 }
  const below = { below: 2 }
  const outside = { above: 8, below: 2 }
  const lazy = { above: 8, clearBelow: 7, below: 2, clearAbove: 3 }
  // + holds, - does not, after each value.
  it.each<[string, object, number[], string]>([
    ['above', above, [7, 8, 8.1, 8, 9], '--+-+'],
    ['below', below, [3, 2, 1.9, 2, 0], '--+-+'],
    ['above with a clear level', { ...above, clearBelow: 7 }, [7.5, 9, 8, 7.5, 7, 6.9, 7.5], '-++++--'],
    ['below with a clear level', { ...below, clearAbove: 3 }, [2.5, 1, 2, 2.5, 3, 3.1, 2.5], '-++++--'],
    ['with the clear level at the level', { ...above, clearBelow: 8 }, [9, 8, 7.9], '++-'],
    ['outside', outside, [5, 9, 8, 2, 1, 2, 1, 9], '-+--+-++'],
    ['outside with clear levels', lazy, [5, 9, 7.5, 5, 1, 2.5, 3.5, 9, 2.5, 5], '-++-++-++-'],
    ['outside, said readably', { outside: [2, 8] }, [5, 9, 8, 2, 1, 2, 1, 9], '-+--+-++'],
    ['outside, said readably, with clear levels', { outside: [2, 8], clearBelow: 7, clearAbove: 3 }, [9, 7.5, 5, 1, 2.5, 3.5], '++-++-'],
    ['inside', { inside: [2, 8] }, [1, 2, 5, 8, 8.1, 5, 1.9], '-+++-+-'],
    [
      'inside with clear levels',
      { inside: [2, 8], clearBelow: 1, clearAbove: 9 },
      [1.5, 5, 8.5, 9, 9.1, 8.5, 8, 1, 0.9, 1.5],
      '-+++--++--',
    ],
    ['inside with one clear level', { inside: [2, 8], clearAbove: 9 }, [5, 9, 1.9, 8.5], '++--'],
    ['outside with one clear level', { ...outside, clearBelow: 7 }, [9, 7.5, 6, 1, 2], '++-+-'],
  ])('%s', (_, level, values, expected) =>
    expect(
      judge(level, values)
        .map(({ phase }) => (phase === 'active' ? '+' : '-'))
        .join(''),
    ).toBe(expected),
  )

  it.each<[string, object, number[], number | undefined, string]>([
    ['is above', above, [9], 8, '9 is above 8'],
    ['is below', below, [1], 2, '1 is below 2'],
    ['is not above', above, [9, 8], 8, '8 is not above 8'],
    ['is not below', below, [1, 2], 2, '2 is not below 2'],
    ['is past the upper clear level', lazy, [9, 5], 7, '5 is below 7'],
    ['is past the lower clear level', lazy, [1, 5], 3, '5 is above 3'],
    ['is back between', outside, [1, 5], 2, '5 is between 2 and 8'],
    ['is still high', lazy, [9, 7.5], undefined, '7.5 is not below 7'],
    ['is still low', lazy, [1, 2.5], undefined, '2.5 is not above 3'],
    ['is inside', { inside: [2, 8] }, [3], 2, '3 is inside 2 to 8'],
    ['is inside, near the upper end', { inside: [2, 8] }, [7], 8, '7 is inside 2 to 8'],
    ['was never inside', { inside: [2, 8] }, [9], undefined, '9 is outside 2 to 8'],
    ['has left the band', { inside: [2, 8], clearAbove: 9 }, [5, 9.5], 9, '9.5 is above 9'],
    ['has left it on the other side', { inside: [2, 8], clearAbove: 9 }, [5, 1], 2, '1 is below 2'],
    ['has not left it far enough', { inside: [2, 8], clearAbove: 9 }, [5, 8.5], undefined, '8.5 is not above 9'],
    ['still holds', lazy, [9, 10], undefined, '10 is above 8'],
    ['was never outside', lazy, [5], undefined, '5 is between 2 and 8'],
  ])('says that a value %s', (_, level, values, limit, reason) =>
    expect(judge(level, values).at(-1)).toMatchObject({ limit, reason: `temperature.value ${reason}` }),
  )

  it.each<[string, unknown]>([
    ['is missing', undefined],
    ['is null, not a number', null],
    ['is "9", not a number', '9'],
    [`is "${'x'.repeat(40)}…", not a number`, 'x'.repeat(100_000)],
    ['is true, not a number', true],
    ['is a list, not a number', [9]],
    ['is an object, not a number', { value: 9 }],
    ['is Infinity, not a number', Number.POSITIVE_INFINITY],
  ])('keeps its verdict when the field %s', (found, value) => {
    expect(judge(above, [value])).toEqual([{ phase: 'clear', limit: undefined, reason: `temperature.value ${found}` }])
    expect(judge(above, [9, value]).at(-1)).toEqual({ phase: 'active', limit: undefined, reason: `temperature.value ${found}` })
  })

  it.each<[string, string, string, string]>([
    ['temperature.value', 'temperature', '{"temperature":9}', 'active'],
    ['temperature.other', 'temperature', '{"temperature":9}', 'clear'],
    ['acme.a.b', 'acme', '{"acme":{"a":{"b":9}}}', 'active'],
    ['acme.a.b', 'acme.a', '{"acme.a":{"b":9}}', 'active'],
    ['acme.a.b', 'acme.a', '{"acme":{"a":{"b":9}}}', 'clear'],
    ['acme.list.length', 'acme', '{"acme":{"list":[1,2,3,4,5,6,7,8,9]}}', 'clear'],
    ['acme.list.0', 'acme', '{"acme":{"list":[9]}}', 'clear'],
    ['acme.text.length', 'acme', '{"acme":{"text":"123456789"}}', 'clear'],
    ['acme.__proto__', 'acme', '{"acme":{"__proto__":9}}', 'active'],
    ['acme.__proto__.value', 'acme', '{"acme":{"__proto__":{"value":9}}}', 'active'],
    ['acme.constructor.length', 'acme', '{"acme":{"constructor":{"length":9}}}', 'active'],
    ['constructor.value', 'constructor', '{"constructor":{"value":9}}', 'active'],
  ])('of %s in %s %s is %s', (field, eventType, data, phase) => expect(judge(above, [0], field, eventType, data)[0]?.phase).toBe(phase))

  it.each([
    ['acme.__proto__', '{"acme":{}}'],
    ['acme.toString', '{"acme":{}}'],
    ['acme.toString.length', '{"acme":{}}'],
    ['acme.__proto__.constructor.length', '{"acme":{}}'],
    ['constructor.length', '{}'],
    ['toString.length', '{}'],
  ])('never reads %s where it was not sent', (field, data) =>
    expect(judge({ above: -1 }, [0], field, field.split('.')[0], data)[0]?.reason).toBe(`${field} is missing`),
  )
})
