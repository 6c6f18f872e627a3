// Windows: which readings count at which moment, what the passing of time does, and that many readings need no more memory than some.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseRule, ruleToJson } from '../rule.ts'
import { type Change, type RuleState, renewed, type StepInput, step } from '../step.ts'

const DEVICE = { id: 'freezer-1', type: 'temperature', labels: {}, productNumber: '' }
const MINUTE_US = 60_000_000
const ALWAYS = Number.NEGATIVE_INFINITY

function windowRule(window: object, more: object = {}) {
  return parseRule({ name: 'a', when: { window: { field: 'temperature.value', over: '10m', ...window } }, ...more })
}

function reading(minutes: number, value: unknown, eventType = 'temperature', listeningSince?: number): StepInput {
  const listening = listeningSince === undefined ? {} : { listeningSinceUs: listeningSince * MINUTE_US }
  const event = {
    device: DEVICE,
    eventType,
    data: { [eventType]: { value } },
    timeUs: Math.round(minutes * MINUTE_US),
    eventId: `e${minutes}`,
  }
  return { kind: 'event', ...event, ...listening }
}

function clock(minutes: number, listeningSince = ALWAYS): StepInput {
  return { kind: 'time', timeUs: Math.round(minutes * MINUTE_US), listeningSinceUs: listeningSince * MINUTE_US }
}

function run(rule: ReturnType<typeof windowRule>, inputs: readonly StepInput[], from?: RuleState) {
  let state = from && renewed(rule, from)
  let reason = ''
  const changes: Change[] = []
  for (const input of inputs) {
    const outcome = step(rule, state, input)
    state = JSON.parse(JSON.stringify(outcome.state)) as RuleState
    changes.push(...outcome.changes)
    reason = outcome.reason
  }
  return { state, changes, reason, brief: changes.map(({ kind, atUs }) => `${kind}@${atUs / MINUTE_US}`).join(' ') }
}

describe('a window', () => {
  const hot = { function: 'mean', above: 8 }
  const knocks = { field: undefined, eventType: 'touch', function: 'count', above: 2 }
  const doors = { field: 'contact.state', entering: 'OPEN', function: 'count', above: 1 }
  const door = (minutes: number, state: string): StepInput => ({
    ...(reading(minutes, 0, 'contact') as Extract<StepInput, { kind: 'event' }>),
    data: { contact: { state } },
  })
  it.each<[string, object, StepInput[], string]>([
    ['of the mean', hot, [reading(0, 7), reading(1, 9), reading(2, 9)], 'active@2'],
    ['forgets a reading exactly when it is as old as the window', hot, [reading(0, 4), reading(5, 10), clock(9.99)], ''],
    ['holds when an old reading leaves', hot, [reading(0, 4), reading(5, 10), clock(10)], 'active@10'],
    ['has the same moment when it is found late', hot, [reading(0, 4), reading(5, 10), clock(12)], 'active@10'],
    ['is not clear because nothing comes', hot, [reading(0, 10), clock(100)], 'active@0'],
    ['is judged anew after a pause', hot, [reading(0, 10), clock(100), reading(101, 3)], 'active@0 cleared@101'],
    ['counts two readings at one moment', { function: 'count', above: 1 }, [reading(0, 1), reading(0, 1)], 'active@0'],
    ['says nothing of few readings', { ...hot, atLeast: 3 }, [reading(0, 9), reading(1, 9), reading(2, 9)], 'active@2'],
    ['clears past its clear level', { ...hot, clearBelow: 6 }, [reading(0, 9), reading(1, 6), reading(2, 0)], 'active@0 cleared@2'],
    ['of the smallest', { function: 'min', above: 5 }, [reading(0, 1), reading(1, 7), clock(10)], 'active@10'],
    ['of the largest', { function: 'max', below: 5 }, [reading(0, 7), reading(1, 1), clock(10)], 'active@10'],
    ['of the sum', { function: 'sum', above: 5 }, [reading(0, 3), reading(1, 3), clock(10)], 'active@1 cleared@10'],
    ['of the deviation', { function: 'stddev', above: 1 }, [reading(0, 3), reading(1, 5), clock(10)], 'active@1'],
    ['of a percentile', { function: 'p90', above: 8 }, [reading(0, 3), reading(1, 9), clock(10)], 'active@1'],
    ['of events', knocks, [0, 1, 2].map(at => reading(at, 1, 'touch')), 'active@2'],
    ['of events that leave', knocks, [...[0, 1, 2].map(at => reading(at, 1, 'touch')), clock(50)], 'active@2 cleared@10'],
    ['of entries', doors, ['SHUT', 'OPEN', 'OPEN', 'SHUT', 'OPEN'].map((state, at) => door(at, state)), 'active@4'],
    ['of entries without the one before its time', doors, ['OPEN', 'SHUT', 'OPEN'].map((state, at) => door(at, state)), ''],
    ['of few events waits for a whole window', { ...knocks, above: undefined, below: 2 }, [reading(0, 1, 'touch'), clock(9)], ''],
    ['of few events holds then', { ...knocks, above: undefined, below: 2 }, [reading(0, 1, 'touch'), clock(99)], 'active@10'],
    [
      'of few events makes no storm after an outage',
      { ...knocks, above: undefined, below: 2 },
      [reading(0, 1, 'touch'), clock(10, 25), reading(26, 1, 'touch', 25), clock(34, 25), reading(34.5, 1, 'touch', 25), clock(35.5, 25)],
      '',
    ],
    [
      'of few events is missed after an outage when there were still few',
      { ...knocks, above: undefined, below: 2 },
      [reading(0, 1, 'touch'), clock(10, 25), reading(26, 1, 'touch', 25), clock(34, 25), clock(36, 25)],
      'active@35',
    ],
    ['of events does not clear in an outage of ours', knocks, [...[0, 1, 2].map(at => reading(at, 1, 'touch')), clock(10, 25)], 'active@2'],
    [
      'of events does not clear by one that comes first thing after an outage',
      knocks,
      [...[0, 1, 2].map(at => reading(at, 1, 'touch')), clock(10, 25), reading(26, 1, 'touch', 25), clock(34.9, 25)],
      'active@2',
    ],
    [
      'of events nor where the event itself tells of the outage',
      knocks,
      [...[0, 1, 2].map(at => reading(at, 1, 'touch')), reading(26, 1, 'touch', 25)],
      'active@2',
    ],
    [
      'of events clears when it was heard for a whole window after an outage',
      knocks,
      [...[0, 1, 2].map(at => reading(at, 1, 'touch')), clock(10, 25), reading(26, 1, 'touch', 25), clock(60, 25)],
      'active@2 cleared@35',
    ],
    [
      'of the sum does not clear in an outage of ours',
      { function: 'sum', above: 5 },
      [reading(0, 3), reading(1, 3), clock(10.5, 25), reading(26, 1, 'temperature', 25), clock(60, 25)],
      'active@1 cleared@35',
    ],
    ['of the mean does not change in an outage of ours', hot, [reading(0, 4), reading(5, 10), clock(50, 25)], ''],
    ['of the smallest does not clear in one', { function: 'min', below: 5 }, [reading(0, 1), reading(5, 7), clock(50, 25)], 'active@0'],
    ['of events that runs empty says nothing', knocks, [...[0, 0, 0].map(at => reading(at, 1, 'touch')), clock(50)], 'active@0'],
    [
      'of events that ran empty is judged by the next one',
      knocks,
      [...[0, 0, 0].map(at => reading(at, 1, 'touch')), clock(50), reading(51, 1, 'touch')],
      'active@0 cleared@51',
    ],
    [
      'of entries that are over clears, as the door is heard',
      { ...doors, above: 0 },
      ['SHUT', 'OPEN', 'SHUT'].map((state, at) => door(at * 4, state)).concat([door(14, 'SHUT')]),
      'active@4 cleared@14',
    ],
    [
      'of few events goes on when it runs empty',
      { ...knocks, above: undefined, below: 2 },
      [reading(0, 1, 'touch'), clock(99)],
      'active@10',
    ],
  ])('%s', (_, window, inputs, expected) => expect(run(windowRule(window), inputs).brief).toBe(expected))

  it('is woken only when the passing of time turns it over', () => {
    const due = (inputs: StepInput[]) => run(windowRule(hot), inputs).state?.dueUs
    expect(due([reading(0, 1), reading(1, 2)])).toBeUndefined()
    expect(due([reading(0, 1), reading(1, 2), reading(2, 9)])).toBe(11 * MINUTE_US)
  })

  it.each<[object, StepInput[], string]>([
    [hot, [reading(0, 9)], 'mean of temperature.value over 10m is 9, above 8'],
    [hot, [reading(0, 0.1), reading(1, 0.2)], 'mean of temperature.value over 10m is 0.15, not above 8'],
    [{ ...hot, atLeast: 3 }, [reading(0, 9)], 'mean of temperature.value over 10m: 1 of at least 3 readings'],
    [hot, [reading(0, 'x')], 'temperature.value is "x", not a number'],
    [doors, [door(0, 'SHUT')], 'count of contact.state becoming "OPEN" over 10m is 0, not above 1'],
    [
      { ...knocks, above: undefined, below: 2 },
      [reading(0, 9, 'touch')],
      'count of touch events over 10m is 1, heard only since 1970-01-01T00:00:00.000000Z',
    ],
  ])('of %j says why', (window, inputs, reason) => expect(run(windowRule(window), inputs).reason).toBe(reason))

  it('keeps its readings when a level is edited, and forgets them when it reads something else', () => {
    const { state } = run(windowRule(hot), [reading(0, 5), reading(1, 5)])
    expect(run(windowRule({ ...hot, above: 4 }), [clock(2), reading(3, 5)], state).brief).toBe('active@3')
    expect(run(windowRule({ function: 'count', above: 1 }), [reading(2, 5)], state).brief).toBe('')
  })

  it.each<[string, object]>([
    ['stddev', { function: 'stddev', above: 1 }],
    ['mean', { function: 'mean', above: 1 }],
    ['sum', { function: 'sum', above: 1 }],
    ['p50', { function: 'p50', above: 1 }],
  ])('of the %s is not overturned by absurd readings', (_, window) => {
    const state = run(windowRule(window), [reading(0, 3), reading(1, 5)]).state
    const { brief, reason } = run(
      windowRule(window),
      [1e308, -1e308, 1e308, 5e-324].map((value, at) => reading(at + 2, value)),
      state,
    )
    expect([brief, reason]).toEqual(['', expect.stringMatching(/is \d/)])
    expect(run(windowRule(window), [reading(6, -1e308)], state).reason).toBe(
      'temperature.value is -1e+308 (beyond all measure), not a number',
    )
  })

  it.each<[string, object, object]>([
    ['level', hot, { ...hot, above: 20 }],
    ['lower level', { ...hot, above: 20 }, hot],
    ['function', hot, { function: 'count', above: 2 }],
    ['function that knows no value yet', hot, { function: 'stddev', above: 2 }],
    ['function with a lower value', { function: 'max', above: 8 }, { function: 'min', above: 8 }],
    ['duration', hot, { ...hot, over: '20m' }],
    ['field', hot, { ...hot, field: 'temperature.other' }],
    ['unit', hot, { ...hot, unit: '°F' }],
  ])('neither clears nor begins by an edit of its %s alone', (_, before, after) => {
    const was = run(windowRule(before), [reading(0, 9), reading(1, 9)])
    const edited = run(windowRule(after), [clock(2)], was.state)
    expect(edited.brief).toBe('')
    expect(edited.state?.phase).toBe(was.state?.phase)
  })

  it.each<[string, object]>([
    ['count', { function: 'count', above: 2 }],
    ['largest', { function: 'max', above: 8 }],
  ])('that starts anew with an edit clears no alarm before it has a whole window: %s', (_, after) => {
    const { state } = run(windowRule(hot), [reading(0, 9), reading(1, 9)])
    expect(run(windowRule(after), [reading(2, 3), reading(11, 3)], state).brief).toBe('')
    expect(run(windowRule({ ...after, above: 90 }), [reading(2, 3), reading(11, 3), reading(12, 3)], state).brief).toBe('cleared@12')
  })

  it.each<[object, string]>([
    [{}, 'when.window.function: expected a text of 1 to 16 characters'],
    [
      { function: 'maen', above: 1 },
      'when.window.function: expected one of mean, min, max, sum, count, stddev or a percentile such as p95; did you mean "mean"?',
    ],
    [{ function: 'p0', above: 1 }, 'when.window.function: expected one of mean, min, max, sum, count, stddev or a percentile such as p95'],
    [{ function: 'mean' }, 'when.window: expected "above", "below", or both (then it holds outside of them)'],
    [{ function: 'mean', above: 1, over: '0s' }, 'when.window.over: expected a duration longer than 0'],
    [{ function: 'mean', above: 1, atLeast: 1.5 }, 'when.window.atLeast: expected a whole number from 0'],
    [{ function: 'mean', above: 1, eventType: 'touch' }, 'when.window: expected either "field" or "eventType"'],
    [{ function: 'mean', above: 1, entering: 3 }, 'when.window.function: expected count: events and entries have no other'],
  ])('refuses %j', (window, message) => expect(() => windowRule(window)).toThrow(message))

  it.each([hot, knocks, doors, { function: 'p99.9', below: 3, clearAbove: 4, atLeast: 7, unit: '°C' }])(
    'is the same after JSON: %j',
    window => {
      const rule = windowRule(window)
      expect(parseRule(JSON.parse(JSON.stringify(ruleToJson(rule))))).toEqual(rule)
    },
  )
})

type Event = { readonly at: number; readonly value: number }

/** What a window says, from all readings there ever were. */
function plain(name: string, events: readonly Event[], at: number): number | undefined {
  const values = events.filter(event => event.at > at - 10 && event.at <= at).map(event => event.value)
  const total = values.reduce((sum, value) => sum + value, 0)
  // That nothing comes is no news of a count that was high.
  if (name === 'count') return values.length === 0 ? undefined : values.length
  if (values.length < (name === 'stddev' ? 2 : 1)) return undefined
  const mean = total / values.length
  if (name === 'sum') return total
  if (name === 'mean') return mean
  if (name === 'min') return Math.min(...values)
  if (name === 'max') return Math.max(...values)
  if (name === 'stddev') return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
  const sorted = values.toSorted((a, b) => a - b)
  const rank = Math.min(Math.max((Number(name.slice(1)) / 100) * sorted.length - 0.5, 0), sorted.length - 1)
  const [low, high] = [sorted[Math.floor(rank)] as number, sorted[Math.ceil(rank)] as number]
  return low + (high - low) * (rank - Math.floor(rank))
}

function plainChanges(name: string, level: number, clear: number, events: readonly Event[], untilAt: number): string {
  const moments = [...new Set(events.flatMap(({ at }) => [at, at + 10]))].filter(at => at <= untilAt).sort((a, b) => a - b)
  const changes: string[] = []
  let holds = false
  const look = (heard: readonly Event[], at: number) => {
    const value = plain(name, heard, at)
    if (value === undefined || (holds ? value >= clear : value <= level)) return
    holds = !holds
    changes.push(`${holds ? 'active' : 'cleared'}@${at}`)
  }
  for (const at of moments) {
    const now = events.filter(event => event.at === at)
    const before = events.filter(event => event.at < at)
    look(before, at)
    for (const [index] of now.entries()) look([...before, ...now.slice(0, index + 1)], at)
  }
  return changes.join(' ')
}

const eventsArb = fc
  .array(fc.record({ gap: fc.integer({ min: 0, max: 6 }), value: fc.integer({ min: -20, max: 20 }) }), { minLength: 1, maxLength: 60 })
  .map(list => {
    let at = 0
    return list.map(({ gap, value }) => {
      at += gap
      return { at, value }
    })
  })

describe('a window agrees with one that keeps all readings', () => {
  it.each(['mean', 'min', 'max', 'sum', 'count', 'stddev', 'p50', 'p90'])('of %s', name =>
    fc.assert(
      fc.property(eventsArb, fc.integer({ min: -3, max: 8 }), fc.integer({ min: 0, max: 3 }), (events, level, band) => {
        const [above, clearBelow] = [level + 0.137, level - band + 0.129]
        const untilAt = (events.at(-1)?.at ?? 0) + 30
        const inputs = [...events.map(({ at, value }) => reading(at, value)), clock(untilAt)]
        expect(run(windowRule({ function: name, above, clearBelow }), inputs).brief).toBe(
          plainChanges(name, above, clearBelow, events, untilAt),
        )
      }),
      { numRuns: 60, seed: 5 },
    ),
  )
})

describe('a window of many readings', () => {
  /** A reading a second for an hour: more than are kept one by one. */
  const many = Array.from({ length: 3600 }, (_, index) => ({
    at: index / 60,
    value: 1e9 + 10 * Math.sin(index / 97) + ((index * 7919) % 101) / 50,
  }))

  it.each([
    ['mean', 0.3],
    ['min', 0.5],
    ['max', 0.5],
    ['count', 10],
    ['stddev', 0.1],
  ])('stays small and near the exact %s', (name, tolerance) => {
    let state: RuleState | undefined
    let largest = 0
    let furthest = 0
    const rule = windowRule({ function: name, above: -1 })
    for (const [index, { at, value }] of many.entries()) {
      const outcome = step(rule, state, reading(at, value))
      state = outcome.state
      if (index % 60 !== 59) continue
      largest = Math.max(largest, JSON.stringify(state).length)
      const found = Number(/ is (\S+),/.exec(outcome.reason)?.[1])
      furthest = Math.max(furthest, Math.abs(found - (plain(name, many.slice(0, index + 1), at) as number)))
    }
    expect(largest).toBeLessThan(6000)
    expect(furthest).toBeLessThan(tolerance)
  })

  it.each(['p50', 'p95', 'p99'])('finds a %s whose rank is near', name => {
    let state: RuleState | undefined
    let furthest = 0
    const rule = windowRule({ function: name, above: -1 })
    for (const [index, { at, value }] of many.entries()) {
      const outcome = step(rule, state, reading(at, value))
      state = outcome.state
      if (index % 60 !== 59) continue
      const found = Number(/ is (\S+),/.exec(outcome.reason)?.[1])
      const inside = many.slice(Math.max(0, index - 599), index + 1)
      const rank = inside.filter(one => one.value <= found).length / inside.length
      furthest = Math.max(furthest, Math.abs(rank - Number(name.slice(1)) / 100))
      expect(JSON.stringify(state).length).toBeLessThan(6000)
    }
    expect(furthest).toBeLessThan(0.05)
  })
})
