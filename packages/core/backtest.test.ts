// Backtests, comparisons, explanations and suggestions, by tables: minutes and values in, alarms out.
import { describe, expect, it } from 'vitest'
import { Backtest, type Episode, mergeEpisodes } from './backtest.ts'
import type { Device } from './device.ts'
import { compareEpisodes, episodesOf, type SidedChange } from './disagreement.ts'
import { explain } from './explain.ts'
import { parseRule, ruleToJson } from './rule.ts'
import { candidatesOf, figuresOf, noiseOf, ranked } from './suggest.ts'

const T0 = Date.parse('2026-03-02T00:00:00Z') * 1000
const MINUTE_US = 60_000_000
const at = (minute: number) => T0 + minute * MINUTE_US
const device = (id: string, labels = {}): Device => ({ id, type: 'temperature', labels, productNumber: '' })
const THRESHOLD = { threshold: { field: 'temperature.value', above: 5, clearBelow: 4 } }
const ruleOf = (more: object = {}) => parseRule({ name: 'r', when: THRESHOLD, ...more })
type Reading = readonly [minute: number, value: number]

function run(rule: ReturnType<typeof ruleOf>, readings: readonly Reading[], end = 100, of = [device('d')]) {
  const backtest = new Backtest(rule, { fromUs: at(0), toUs: at(end) })
  for (const [minute, value] of readings)
    for (const one of of) backtest.take(one, 'temperature', at(minute), `${minute}`, { temperature: { value } })
  return backtest.finish()
}

const spans = (episodes: readonly Episode[]) =>
  episodes.map(({ activeUs, clearedUs }) => [
    (activeUs - T0) / MINUTE_US,
    clearedUs === undefined ? undefined : (clearedUs - T0) / MINUTE_US,
  ])

describe('a backtest', () => {
  it.each<[string, object, readonly Reading[], (number | undefined)[][], number]>([
    [
      'begins and ends with the values',
      {},
      [
        [0, 1],
        [10, 6],
        [20, 1],
      ],
      [[10, 20]],
      10,
    ],
    ['counts an alarm that is active at the end up to there', {}, [[10, 6]], [[10, undefined]], 90],
    [
      'waits for as long as the rule says',
      { for: '5m' },
      [
        [10, 6],
        [20, 1],
      ],
      [[15, 20]],
      5,
    ],
    [
      'does not count what did not hold long enough',
      { for: '15m' },
      [
        [10, 6],
        [20, 1],
      ],
      [],
      0,
    ],
    ['lets timers end after the last event', { for: '5m' }, [[10, 6]], [[15, undefined]], 85],
    [
      'keeps an alarm that is clear for too short a time',
      { keepActive: '5m' },
      [
        [10, 6],
        [20, 1],
        [22, 6],
        [30, 1],
      ],
      [[10, 35]],
      25,
    ],
    ['knows no moment behind its end', { for: '95m' }, [[10, 6]], [], 0],
  ])('%s', (_, more, readings, expected, minutes) => {
    const found = run(ruleOf(more), readings)
    expect(spans(found.episodes)).toEqual(expected)
    expect(found.minutesInAlarm).toBeCloseTo(minutes)
  })

  it('counts days, notifications of each channel, and devices with most alarms', () => {
    const found = run(
      ruleOf({ notify: ['a', 'b'] }),
      [
        [10, 6],
        [20, 1],
        [1430, 6],
        [1450, 1],
      ],
      3000,
      [device('x'), device('y')],
    )
    expect(Object.fromEntries(found.days)).toEqual({
      '2026-03-02': { alarms: 4, minutesInAlarm: 40, notifications: 12 },
      '2026-03-03': { alarms: 0, minutesInAlarm: 20, notifications: 4 },
    })
    expect([found.alarms, found.notifications, found.devices, found.events]).toEqual([4, 16, 2, 8])
    expect(found.worst[0]).toEqual({ device: 'x', alarms: 2, minutesInAlarm: 30 })
  })

  it('makes one alarm of devices that share it', () => {
    const rule = ruleOf({ groupBy: ['room'] })
    const backtest = new Backtest(rule, { fromUs: at(0), toUs: at(100) })
    const room = { room: 'a' }
    for (const [id, minute, value] of [
      ['x', 10, 6],
      ['y', 15, 6],
      ['x', 20, 1],
      ['y', 30, 1],
      ['x', 50, 6],
    ] as const)
      backtest.take(device(id, room), 'temperature', at(minute), id, { temperature: { value } })
    const found = backtest.finish()
    expect(spans(found.episodes)).toEqual([
      [10, 30],
      [50, undefined],
    ])
    expect([found.alarms, found.activeAtEnd, found.episodes[0]?.device]).toEqual([2, 1, 'room=a'])
  })
})

const episode = (from: number, to: number | undefined, id = 'd'): Episode => ({
  device: id,
  severity: 'warning',
  sinceUs: at(from),
  activeUs: at(from),
  clearedUs: to === undefined ? undefined : at(to),
  value: 1,
  limit: 0,
  reason: '',
})

describe('two versions', () => {
  it.each<[string, Episode[], Episode[], number[]]>([
    ['agree on the same times', [episode(1, 2)], [episode(1, 2)], [1, 0, 0, 0]],
    ['agree on what has not ended', [episode(1, undefined)], [episode(1, undefined)], [1, 0, 0, 0]],
    ['disagree on what only the old one had', [episode(1, 2)], [], [0, 1, 0, 0]],
    ['disagree on what only the new one had', [], [episode(1, 2)], [0, 0, 1, 0]],
    ['disagree on times', [episode(1, 4)], [episode(2, 4)], [0, 0, 0, 1]],
    ['disagree once where one alarm stands beside several', [episode(1, 3), episode(5, 9)], [episode(1, 9)], [0, 0, 0, 1]],
    ['are compared by device', [episode(1, 2, 'a')], [episode(1, 2, 'b')], [0, 1, 1, 0]],
  ])('%s', (_, before, after, [agreements, missing, extra, shifted]) => {
    expect(compareEpisodes(before, after, 10)).toMatchObject({ agreements, missing, extra, shifted })
  })

  it('are known by their changes; what was active before the first began with it', () => {
    const change = (side: 'old' | 'new', kind: string, minute: number): SidedChange => ({
      side,
      kind,
      device: 'd',
      atUs: at(minute),
      reason: '',
    })
    const changes = [
      change('old', 'cleared', 5),
      change('old', 'pending', 6),
      change('old', 'active', 7),
      change('new', 'active', 8),
      change('old', 'cleared', 9),
    ]
    expect(spans(episodesOf(changes, 'old', at(1)))).toEqual([
      [1, 5],
      [7, 9],
    ])
    expect(spans(episodesOf(changes, 'new', at(1)))).toEqual([[8, undefined]])
    expect(spans(episodesOf([...changes, change('new', 'withdrawn', 9)], 'new', at(1)))).toEqual([])
  })

  it('of a group have alarms that touch as one', () => {
    expect(spans(mergeEpisodes([episode(1, 3), episode(3, 5), episode(6, undefined), episode(7, 8)]))).toEqual([
      [1, 5],
      [6, undefined],
    ])
  })
})

describe('an explanation', () => {
  const events = (
    [
      [0, 1],
      [10, 6],
    ] as const
  ).map(([minute, value]) => ({ eventType: 'temperature', timeUs: at(minute), eventId: `${minute}`, data: { temperature: { value } } }))
  it.each([
    [
      11,
      {
        phase: 'pending',
        timers: [{ kind: 'for', endUs: at(15), leftMs: 240_000 }],
        nearest: 'temperature.value below 4, which is 2 less',
      },
    ],
    [15, { phase: 'active', timers: [], changes: [{ kind: 'active' }, { kind: 'pending' }] }],
  ])('at minute %s says how far it is', (minute, expected) => {
    expect(explain(ruleOf({ for: '5m' }), device('d'), events, at(minute))).toMatchObject(expected)
  })
  it('says what keeps a rule from being judged', () => {
    const rule = ruleOf({ enabled: false, select: { devices: ['other'] } })
    const { selected, words } = explain(rule, device('d'), [], at(1))
    expect(selected).toBe(false)
    expect(words.join(' ')).toMatch(/disabled.*does not select.*no event of temperature/)
  })
})

describe('a suggestion', () => {
  // A minute above, a minute below, for an hour; then a real rise.
  const readings: Reading[] = Array.from(
    { length: 200 },
    (_, i): Reading => [i, i < 60 ? (i % 2 ? 5.2 : 4.9) : i >= 150 && i < 190 ? 9 : 3],
  )
  const rule = ruleOf({ when: { threshold: { field: 'temperature.value', above: 5 } } })

  it('cuts the flapping and tells what it costs', () => {
    const noise = noiseOf(Float64Array.from(readings.slice(1), ([, value], i) => Math.abs(value - (readings[i]?.[1] ?? value))))
    const present = run(rule, readings, 200)
    const figures = figuresOf(present, present)
    expect(figures).toMatchObject({ alarms: 31, flaps: 29, missed: 0, addedDelayMaxMs: 0 })
    const tried = candidatesOf(rule, noise || 0.3)
      .slice(1)
      .map(one => ({ ...one, figures: figuresOf(present, run(one.rule, readings, 200)) }))
    const [best] = ranked(figures, tried, 5)
    expect(best?.figures).toMatchObject({ flaps: 0, missed: 0, addedDelayMaxMs: 0 })
    expect(best?.words).toContain('0 flaps instead of 29')
  })

  it('is never to be in alarm for good', () => {
    const always = figuresOf(
      run(rule, readings, 200),
      run(ruleOf({ when: { threshold: { field: 'temperature.value', above: 5, clearBelow: 1 } } }), readings, 200),
    )
    expect([always.flaps, always.addedDelayMaxMs]).toEqual([0, 0])
    expect(always.extraMinutes).toBeGreaterThan(90)
    expect(always.score).toBeGreaterThan(0.9)
  })

  it('of a hold time counts what is found later, and what is not found at all', () => {
    const present = run(rule, readings, 200)
    const held = figuresOf(present, run({ ...rule, holdMs: 600_000 }, readings, 200))
    expect(held).toMatchObject({ alarms: 1, flaps: 0, missed: 1, addedDelayMaxMs: 600_000 })
    expect(held.longestMissedMinutes).toBeGreaterThan(50)
  })

  it('never makes a rule that no value could clear', () => {
    const both = ruleOf({ when: { threshold: { field: 'temperature.value', above: 5, below: 4 } } })
    for (const { rule: one } of candidatesOf(both, 0.4)) expect(parseRule(ruleToJson(one))).toEqual(one)
    expect(candidatesOf(both, 10).every(({ deadBand }) => deadBand === undefined)).toBe(true)
  })
})
