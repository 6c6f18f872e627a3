// Tests of rules by tables: what may be written, what is found wrong, and in which words.
import { describe, expect, test } from 'vitest'
import { parseRule } from '../rule.ts'
import { Due } from './due.ts'
import { parseRuleTests } from './plan.ts'
import { runInSteps, runRuleTest, type TestOutcome } from './run.ts'
import { parseSeries } from './series.ts'

const WARM = parseRule({
  name: 'warm',
  select: { deviceTypes: ['temperature'] },
  when: { threshold: { field: 'temperature.value', above: -15, clearBelow: -16 } },
  for: '5m',
  keepActive: '2m',
  severity: 'critical',
})
const SILENT = parseRule({ name: 'silent', when: { absent: { eventType: 'temperature', for: '10m' } } })
const device = { id: 'freezer-1', type: 'temperature' }

function run(one: object, rules = [WARM]): TestOutcome {
  const [parsed] = parseRuleTests({ tests: [{ name: 't', device, ...one }] }, rules)
  if (parsed === undefined) throw new Error('no test')
  return runRuleTest(parsed, rules, 'tests[0]')
}

describe('a series', () => {
  test.each<[string | number, (number | string | undefined)[]]>([
    ['-18x3 -10 _ -18', [-18, -18, -18, -10, undefined, -18]],
    ['20+0.1x4', [20, 20.1, 20.2, 20.3]],
    ['-18-1x2', [-18, -19]],
    ['OPENx2 _x2 CLOSED', ['OPEN', 'OPEN', undefined, undefined, 'CLOSED']],
    ['-18 stale', [-18]],
    [7, [7]],
  ])('%j', (text, values) => {
    expect(parseSeries(text, 'series')).toEqual(values)
  })

  test.each(['-18 stale -18', '1..2', '=5', '5x0', '-18x', '1x99999', {}])('%j is refused', text => {
    expect(() => parseSeries(text, 's')).toThrow(/^s: /)
  })
})

describe('a test', () => {
  test('passes when the alarm is what is expected at each moment', () => {
    const outcome = run({
      series: { temperature: '-18x5 -10x8 -18x5' },
      expect: [
        { at: '4m', state: 'clear' },
        { at: '+5m', state: 'pending', value: -10 },
        { at: '10m', state: 'active', severity: 'critical', reason: 'above -15 for 5m' },
        { at: '2026-01-05T00:15:00Z', state: 'clear' },
      ],
      changes: [
        { at: '5m', kind: 'pending' },
        { at: '10m', kind: 'active' },
        { at: '15m', kind: 'cleared' },
      ],
    })
    expect(outcome.failures).toEqual([])
    expect(outcome.changes.map(({ at, kind, value }) => [at, kind, value])).toEqual([
      ['5m', 'pending', -10],
      ['10m', 'active', -10],
      ['15m', 'cleared', -18],
    ])
  })

  test('says what came in place of what was expected, and why', () => {
    const { passed, failures } = run({
      series: { temperature: '-18x5 -10x3' },
      expect: [{ at: '7m', state: 'active', severity: 'critical' }],
    })
    expect(passed).toBe(false)
    expect(failures).toEqual([
      {
        path: 'tests[0].expect[0]',
        time: '2026-01-05T00:07:00.000000Z',
        at: '7m',
        rule: 'warm',
        device: 'freezer-1',
        expected: 'active, critical',
        found: 'pending, critical since 5m, active at 10m',
        reason: 'temperature.value -10 is above -15, active at 2026-01-05T00:10:00.000000Z',
      },
    ])
  })

  test('names each change that is missing, at another time or too many', () => {
    const { failures } = run({
      series: { temperature: '-18x5 -10x8' },
      changes: [
        { at: '5m', kind: 'pending' },
        { at: '9m', kind: 'active' },
        { at: '12m', kind: 'cleared' },
      ],
    })
    expect(failures.map(({ at, expected, found }) => [at, expected, found])).toEqual([
      ['9m', 'active', 'active, critical, value -10 at 10m'],
      ['12m', 'cleared', 'no such change'],
      ['10m', 'no other change', 'active, critical, value -10'],
    ])
  })

  test('time passes without events: silence is found', () => {
    const outcome = run({ series: { temperature: '-18 stale' }, changes: [{ at: '10m', kind: 'active' }] }, [SILENT])
    expect(outcome.failures).toEqual([])
  })

  test('time passes until the end that is given, and what comes about there counts', () => {
    const { failures } = run({ series: { temperature: '-18 stale' }, until: '1h', changes: [] }, [SILENT])
    expect(failures.map(({ at, expected, found }) => [at, expected, found])).toEqual([['10m', 'no other change', 'active, warning']])
  })

  test('late events are put in order as they are live: silence that was none is withdrawn', () => {
    const late = { at: '9m', arrives: '10m30s', temperature: -18 }
    const kinds = (more: object) =>
      run({ events: [{ at: 0, temperature: -18 }, late], until: '12m', changes: [], ...more }, [SILENT]).changes.map(
        ({ at, kind }) => `${kind} ${at}`,
      )
    expect(kinds({})).toEqual(['active 10m', 'withdrawn 9m'])
    expect(
      kinds({
        events: [
          { at: 0, temperature: -18 },
          { at: '11m', temperature: -18 },
          { ...late, at: '8m', arrives: '20m' },
        ],
      }),
    ).toEqual(['active 10m', 'cleared 11m'])
  })

  test('an event that comes twice counts once', () => {
    const twice = [0, '1m'].map(arrives => ({ at: 0, arrives, eventId: 'e', temperature: -10 }))
    expect(run({ events: twice, changes: [{ at: 0, kind: 'pending' }] }).failures).toEqual([])
  })

  test('a device that the rule does not select has no alarm, and that is said', () => {
    const { failures } = run({ device: { type: 'contact' }, events: [{ at: 0, temperature: 5 }], expect: [{ at: '10m', state: 'active' }] })
    expect(failures[0]?.reason).toBe('the rule does not select the device')
  })

  test('events of several devices and types, early and late, are those that are written', () => {
    const [parsed] = parseRuleTests(
      {
        start: '2026-03-29T00:00:00Z',
        tests: [
          {
            name: 't',
            devices: [{ id: 'a' }, { id: 'b', labels: { zone: 'cold' } }],
            events: [
              { at: '1h30m', device: 'b', temperature: -10, humidity: { relativeHumidity: 40 }, eventId: 'e' },
              { at: '1m', arrives: '2h', device: 'a', contact: 'OPEN' },
            ],
            changes: [],
          },
        ],
      },
      [WARM],
    )
    expect(
      parsed?.events.map(({ device: { id }, eventType, data, timeUs, eventId }) => [
        id,
        eventType,
        data,
        new Date(timeUs / 1000).toISOString(),
        eventId,
      ]),
    ).toEqual([
      ['b', 'temperature', { temperature: { value: -10 } }, '2026-03-29T01:30:00.000Z', 'e'],
      ['b', 'humidity', { humidity: { relativeHumidity: 40 } }, '2026-03-29T01:30:00.000Z', 'e'],
      ['a', 'contact', { contact: { state: 'OPEN' } }, '2026-03-29T00:01:00.000Z', 'events[1]-contact'],
    ])
  })

  test('series of one type are fields of the same events', () => {
    const [parsed] = parseRuleTests(
      { interval: '10s', tests: [{ name: 't', series: { humidity: '40 _', 'humidity.temperature': '20 21' }, changes: [] }] },
      [WARM],
    )
    expect(parsed?.events.map(({ data }) => data)).toEqual([
      { humidity: { relativeHumidity: 40, temperature: 20 } },
      { humidity: { temperature: 21 } },
    ])
  })
})

describe('what is wrong in a test is said by path', () => {
  test.each<[object, string]>([
    [{ expects: [] }, 'tests[0].expects: is unknown here; did you mean "expect"? Valid: name,'],
    [
      { expect: [{ at: '5m', state: 'activ' }] },
      'tests[0].expect[0].state: expected one of clear, pending, active; did you mean "active"?',
    ],
    [{ expect: [{ at: 'soon', state: 'active' }] }, 'tests[0].expect[0].at: expected how long after the beginning'],
    [
      { expect: [{ at: '5m', state: 'active', rule: 'worm' }] },
      'tests[0].expect[0].rule: expected one of the rules of the test; did you mean "warm"?',
    ],
    [
      { expect: [{ at: '5m', state: 'active', device: 'freezer-2' }] },
      'tests[0].expect[0].device: expected one of the devices of the test; did you mean "freezer-1"?',
    ],
    [
      { events: [{ at: '5m', temperatur: 5 }], changes: [] },
      'tests[0].events[0].temperatur: is no event type that the rules read; did you mean "temperature"?',
    ],
    [
      { events: [{ at: '5m', arives: '6m', temperature: 5 }], changes: [] },
      'tests[0].events[0].arives: is no event type that the rules read; did you mean "arrives"?',
    ],
    [{ events: [{ at: '5m' }], changes: [] }, 'tests[0].events[0]: expected what was sent'],
    [{ events: [{ at: '5m', arrives: '4m', temperature: 5 }], changes: [] }, 'tests[0].events[0].arrives: expected not before'],
    [{ changes: [{ at: '5m', kind: 'clear' }] }, 'tests[0].changes[0].kind: expected one of pending, active,'],
    [{ device: { id: 'a', labels: { floor: 3 } }, changes: [] }, 'tests[0].device.labels.floor: expected a text, if need be in quotes'],
    [{}, 'tests[0]: expected "expect", "changes" or both'],
    [{ interval: '0s', changes: [] }, 'tests[0].interval: expected a duration such as 1m'],
    [{ series: { temperature: '1 2 ?' }, changes: [] }, 'tests[0].series.temperature: "?" is no reading'],
  ])('%j', (one, message) => {
    expect(() => run(one)).toThrow(message)
  })

  test.each([null, [], {}, { tests: [] }, { tests: 3 }, { tests: [null] }])('%j', input => {
    expect(() => parseRuleTests(input, [WARM])).toThrow(/tests/)
  })
})

describe('many rules and devices', () => {
  const devices = Array.from({ length: 500 }, (_, i) => ({ id: `f${i}`, type: 'temperature' }))
  const rules = Array.from({ length: 100 }, (_, i) => ({ ...WARM, name: `warm-${i}`, holdMs: 60_000 * (1 + (i % 7)) }))
  const tests = (events: number) => {
    const [one] = parseRuleTests(
      {
        tests: [
          {
            name: 't',
            devices,
            events: Array.from({ length: events }, (_, i) => ({
              at: `${i}s`,
              device: `f${i % 500}`,
              temperature: i % 10 === 0 ? -5 : -20,
            })),
            changes: [],
          },
        ],
      },
      rules,
    )
    if (one === undefined) throw new Error('no test')
    return one
  }

  test('cost what their events do, not what all pairs of them would', () => {
    const one = tests(1000)
    const begin = performance.now()
    const { failures, changes } = runRuleTest(one, rules, 't')
    expect(performance.now() - begin).toBeLessThan(5000)
    expect(failures.length).toBe(changes.length)
    expect(changes.length).toBeGreaterThan(1000)
    // As they came about, those of one moment in the order of the rules.
    const times = changes.map(({ time }) => time)
    expect(times).toEqual(times.toSorted())
  })

  test('are judged in steps, each of which is short', () => {
    const run = runInSteps(tests(100), rules, 't')
    let steps = 0
    let longest = 0
    for (let done = false; !done; steps++) {
      const begin = performance.now()
      done = run.next().done === true
      longest = Math.max(longest, performance.now() - begin)
    }
    expect(steps).toBeGreaterThan(100 * 100)
    expect(longest).toBeLessThan(250)
  })

  test('are given up when there are more changes than anybody reads', () => {
    const flapping = rules.map(rule => ({ ...rule, holdMs: 0, keepActiveMs: 0 }))
    const events = Array.from({ length: 2000 }, (_, i) => ({ at: `${i}s`, temperature: i % 2 === 0 ? -5 : -20 }))
    expect(() => run({ events, changes: [] }, flapping)).toThrow('tests[0]: gives more than 50000 changes')
  })
})

test('what waits comes by its moment, then in its order, and not when it waits for another moment by now', () => {
  const due = new Due<{ order: number; waitsUs: number | undefined }>()
  const all = [5, 3, 9, 3, 1, 7].map((waitsUs, order) => ({ order, waitsUs }))
  for (const one of all) due.add(one, one.waitsUs)
  const moved = all[5] as { order: number; waitsUs: number }
  moved.waitsUs = 2
  due.add(moved, 2)
  const taken: number[] = []
  for (let one = due.take(8); one !== undefined; one = due.take(8)) taken.push(one.order)
  expect(taken).toEqual([4, 5, 1, 3, 0])
  expect(due.take(9)?.order).toBe(2)
})
