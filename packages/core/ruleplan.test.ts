// Sets of rules by tables: what would change, said by path, and which names are refused.
import { describe, expect, test } from 'vitest'
import { differencesOf } from './difference.ts'
import { parseRule, type Rule } from './rule.ts'
import { checkNames, planRules } from './ruleplan.ts'

const rule = (name: string, more: object = {}, above = 30): Rule =>
  parseRule({ name, when: { threshold: { field: 'temperature.value', above } }, ...more })

describe('differences', () => {
  test.each<[unknown, unknown, unknown[]]>([
    [{ a: 1, b: { c: 2 } }, { a: 1, b: { c: 3 } }, [['b.c', 2, 3]]],
    [
      { a: 1 },
      { b: [] },
      [
        ['a', 1, null],
        ['b', null, []],
      ],
    ],
    [{ a: ['x', 'y'] }, { a: ['y'] }, [['a', ['x', 'y'], ['y']]]],
    [
      { a: [{ b: 1 }, { b: 2 }] },
      { a: [{ b: 1 }, { b: 3 }, { b: 4 }] },
      [
        ['a[1].b', 2, 3],
        ['a[2]', null, { b: 4 }],
      ],
    ],
    [{ a: 'critical' }, { a: [{ at: 1 }] }, [['a', 'critical', [{ at: 1 }]]]],
    [{ a: undefined }, { a: null }, []],
  ])('%j → %j', (from, to, expected) => {
    expect(differencesOf(from, to).map(one => [one.path, one.from, one.to])).toEqual(expected)
  })
})

describe('a plan', () => {
  const current = [rule('a'), rule('b'), { ...rule('c'), version: 7 }]

  test('says what comes, changes, stays and goes, in words that the documents have', () => {
    const plan = planRules(current, [rule('d', { for: '5m' }), rule('c'), rule('b', {}, 40)], true)
    expect(plan.map(({ rule, action }) => `${action} ${rule}`)).toEqual(['delete a', 'update b', 'same c', 'create d'])
    expect(plan[1]?.differences).toEqual([{ path: 'when.threshold.above', from: 30, to: 40 }])
    expect(plan[3]?.differences.map(({ path, from, to }) => [path, from, to])).toEqual([
      ['for', '0ms', '5m'],
      ['when', null, { threshold: { field: 'temperature.value', above: 30 } }],
    ])
    expect(plan[0]?.differences.map(({ path }) => path)).toEqual(['when'])
  })

  test('leaves rules alone that are not named, unless they are to go', () => {
    expect(planRules(current, [rule('c')], false).map(({ rule }) => rule)).toEqual(['c'])
  })
})

describe('names', () => {
  const set = (...rules: Rule[]) => new Map(rules.map(one => [one.name, one]))
  test.each<[Rule, string, string]>([
    [rule('a', { notify: ['opss'] }), '', 'notify[0]: channel opss does not exist; did you mean "ops"? There are: ops, sms'],
    [
      rule('a', { inhibitedBy: ['bb'] }),
      'rules[2]',
      'rules[2].inhibitedBy[0]: rule bb does not exist; did you mean "b"? There are: a, b, c',
    ],
    [rule('a', { inhibitedBy: ['a'] }), '', 'inhibitedBy[0]: a is inhibited by a: together they would silence each other'],
    [rule('b', { inhibitedBy: ['c'] }), '', 'inhibitedBy[0]: b is inhibited by c is inhibited by b: together'],
    [rule('a', { groupBy: ['site', 'rooom'] }), '', 'groupBy[1]: no device has a label rooom; did you mean "room"?'],
  ])('%#', (one, path, message) => {
    const all = set(rule('a'), rule('b'), rule('c', { inhibitedBy: ['b'] })).set(one.name, one)
    expect(() => checkNames(one, path, all, { channels: ['ops', 'sms'], labelKeys: ['room', 'site'] })).toThrow(message)
  })

  test('a label that no device has, nor one like it, may be to come', () => {
    const one = rule('a', { groupBy: ['site', 'gateway'] })
    expect(() => checkNames(one, '', set(one), { channels: [], labelKeys: ['site'] })).not.toThrow()
  })

  test('those that there are pass', () => {
    const one = rule('a', { notify: ['ops'], inhibitedBy: ['c'] })
    expect(() =>
      checkNames(one, '', set(one, rule('b'), rule('c', { inhibitedBy: ['b'] })), { channels: ['ops'], labelKeys: undefined }),
    ).not.toThrow()
  })
})
