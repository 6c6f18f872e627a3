// Sets of rules by tables: what would change, said by path, and which names are refused.
import { describe, expect, test } from 'vitest'
import { differencesOf } from './difference.ts'
import { parseRule, type Rule } from './rule.ts'
import { checkNames, checkSize, inhibitorsOf, planRules } from './ruleplan.ts'

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
  const inhibition = (all: ReadonlyMap<string, Rule>) => new Map([...all].map(([name, one]) => [name, inhibitorsOf(one)]))
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
    const known = { channels: ['ops', 'sms'], labelKeys: ['room', 'site'] }
    expect(() => checkNames([{ rule: one, path }], inhibition(all), known)).toThrow(message)
  })

  test('a label that no device has, nor one like it, may be to come', () => {
    const one = rule('a', { groupBy: ['site', 'gateway'] })
    expect(() => checkNames([{ rule: one, path: '' }], new Map(), { channels: [], labelKeys: ['site'] })).not.toThrow()
  })

  test('those that there are pass', () => {
    const one = rule('a', { notify: ['ops'], inhibitedBy: ['c'] })
    const others = inhibition(set(rule('b'), rule('c', { inhibitedBy: ['b'] })))
    expect(() => checkNames([{ rule: one, path: '' }], others, { channels: ['ops'], labelKeys: undefined })).not.toThrow()
  })

  test.each<[string, Record<string, string[]>, Record<string, string[]>, string]>([
    ['of what was asked about', { a: ['b'], b: ['c'], c: ['b'] }, {}, 'rules[1].inhibitedBy[0]: b is inhibited by c is inhibited by b:'],
    ['over others', { a: ['x'] }, { x: ['y'], y: ['x', 'a'] }, 'rules[0].inhibitedBy[0]: x is inhibited by y is inhibited by x:'],
    ['beside a way out', { a: ['x', 'y'] }, { x: [], y: ['x', 'a'] }, 'rules[0].inhibitedBy[1]: a is inhibited by y is inhibited by a:'],
    ['that others enter', { b: [], c: ['x'] }, { x: ['y'], y: ['c'] }, 'rules[1].inhibitedBy[0]: c is inhibited by x is inhibited by y is'],
  ])('a circle %s is refused', (_, asked, others, message) => {
    const rules = Object.entries(asked).map(([name, inhibitedBy], i) => ({ rule: rule(name, { inhibitedBy }), path: `rules[${i}]` }))
    expect(() => checkNames(rules, new Map(Object.entries(others)), { channels: [], labelKeys: [] })).toThrow(message)
  })

  test('a rule that others lead to in many ways is on no circle', () => {
    const rules = [
      rule('a', { inhibitedBy: ['b', 'c'] }),
      rule('b', { inhibitedBy: ['d'] }),
      rule('c', { inhibitedBy: ['d', 'b'] }),
      rule('d'),
    ]
    const named = rules.map(one => ({ rule: one, path: '' }))
    expect(() => checkNames(named, new Map(), { channels: [], labelKeys: [] })).not.toThrow()
  })

  test('a rule that was removed is said to be', () => {
    const named = [{ rule: rule('a', { inhibitedBy: ['gone'] }), path: '' }]
    const known = { channels: [], labelKeys: [], removed: new Set(['gone']) }
    expect(() => checkNames(named, new Map(), known)).toThrow(
      'inhibitedBy[0]: rule gone was removed: leave it out here, or make it again first',
    )
  })

  test('a rule is refused that is too big to keep many versions of', () => {
    const select = (count: number) => ({ select: { devices: Array.from({ length: count }, (_, i) => `${'d'.repeat(60)}${i}`) } })
    expect(() => checkSize({ rule: rule('a', select(400)), path: '' })).not.toThrow()
    expect(() => checkSize({ rule: rule('a', select(600)), path: 'rules[3]' })).toThrow(/^rules\[3\]: has \d+ characters .* at most 32768/)
    const inhibitedBy = [{ rule: 'b', equal: Array.from({ length: 11 }, (_, i) => `k${i}`) }]
    expect(() => rule('a', { inhibitedBy })).toThrow('inhibitedBy[0].equal: expected at most 10 keys')
  })

  test('ten thousand rules, each with twenty inhibitors, are looked at in a second, and a long circle is not said in full', () => {
    const base = rule('r')
    const name = (i: number) => `r${String(i).padStart(5, '0')}`
    const named = Array.from({ length: 10_000 }, (_, i) => {
      const inhibitedBy = Array.from({ length: Math.min(20, 9999 - i) }, (_, k) => ({ rule: name(i + k + 1), equal: [] }))
      return { rule: { ...base, name: name(i), inhibitedBy, notify: ['ops'] }, path: `rules[${i}]` }
    })
    const known = { channels: ['ops'], labelKeys: [] }
    const begin = performance.now()
    checkNames(named, new Map(), known)
    expect(performance.now() - begin).toBeLessThan(1000)
    const last = { rule: { ...base, name: name(9999), inhibitedBy: [{ rule: name(0), equal: [] }] }, path: 'rules[9999]' }
    expect(() => checkNames([...named.slice(0, -1), last], new Map(), known)).toThrow(
      /^rules\[0\].inhibitedBy\[0\]: r00000 is inhibited by r00001 .{0,800} 9981 more: together/,
    )
  })
})
