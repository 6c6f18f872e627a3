// The rules engine by tables: phases, timers in event time, lateness, edits, and that no chunking or restart changes a thing.
import { describe, expect, it } from 'vitest'
import { parseRule, type Rule } from './rule.ts'
import { type Change, FRESH, type RuleState, renewed, retire, type StepInput, type StepOutcome, step } from './step.ts'

const DEVICE = { id: 'freezer-1', type: 'temperature', labels: {}, productNumber: '' }

const MINUTE_US = 60_000_000
const NOON_US = Date.UTC(2026, 10, 21, 12) * 1000
const ALWAYS = Number.NEGATIVE_INFINITY

/** Minutes after noon. */
function at(minutes: number): number {
  return NOON_US + minutes * MINUTE_US
}

function temperature(minutes: number, value: unknown, more: object = {}): StepInput {
  return {
    kind: 'event',
    device: DEVICE,
    eventType: 'temperature',
    data: { temperature: { value } },
    timeUs: at(minutes),
    eventId: `e${minutes}`,
    ...more,
  }
}

function clock(minutes: number, listeningSinceUs = ALWAYS): StepInput {
  return { kind: 'time', timeUs: at(minutes), listeningSinceUs }
}

function warm(more: object = {}, level: object = {}): Rule {
  return parseRule({ name: 'warm', when: { threshold: { field: 'temperature.value', above: -15, ...level } }, ...more })
}

function silent(more: object = {}): Rule {
  return parseRule({ name: 'silent', when: { absent: { eventType: 'temperature', for: '1h' } }, ...more })
}

type Run = { readonly state: RuleState | undefined; readonly changes: readonly Change[]; readonly reasons: readonly string[] }

/** All inputs in order, with a restart between every two. */
function run(rule: Rule, inputs: readonly StepInput[], from?: RuleState): Run {
  let state = from && renewed(rule, from)
  const changes: Change[] = []
  const reasons: string[] = []
  for (const input of inputs) {
    const outcome: StepOutcome = step(rule, state, input)
    state = JSON.parse(JSON.stringify(outcome.state)) as RuleState
    changes.push(...outcome.changes)
    reasons.push(outcome.reason)
  }
  return { state, changes, reasons }
}

/** `active@5` is an alarm that became active five minutes after noon. */
function brief(changes: readonly Change[]): string {
  return changes.map(change => `${change.kind}@${(change.atUs - NOON_US) / MINUTE_US}`).join(' ')
}

describe('an alarm', () => {
  const held = { for: '5m' }
  const kept = { keepActive: '2m' }
  it.each<[string, Rule, StepInput[], string]>([
    ['is active at once without a hold time', warm(), [temperature(0, -10)], 'active@0'],
    ['is not active at the very level', warm(), [temperature(0, -15)], ''],
    ['clears at once without keepActive', warm(), [temperature(0, -10), temperature(1, -15)], 'active@0 cleared@1'],
    ['does not repeat itself while the condition holds', warm(), [temperature(0, -10), temperature(1, -9), temperature(2, -8)], 'active@0'],
    [
      'begins again after it cleared',
      warm(),
      [temperature(0, -10), temperature(1, -16), temperature(2, -10)],
      'active@0 cleared@1 active@2',
    ],
    ['is pending until it has held long enough', warm(held), [temperature(0, -10), temperature(4, -9)], 'pending@0'],
    [
      'is active exactly after its hold time, found by an event',
      warm(held),
      [temperature(0, -10), temperature(15, -9)],
      'pending@0 active@5',
    ],
    ['is active exactly after its hold time, found by the clock', warm(held), [temperature(0, -10), clock(90)], 'pending@0 active@5'],
    [
      'has held when the event that ends it comes later',
      warm(held),
      [temperature(0, -10), temperature(15, -20)],
      'pending@0 active@5 cleared@15',
    ],
    [
      'has held when the event that ends it comes at that moment',
      warm(held),
      [temperature(0, -10), temperature(5, -20)],
      'pending@0 active@5 cleared@5',
    ],
    ['is dropped when it stops before', warm(held), [temperature(0, -10), temperature(4, -20), clock(9)], 'pending@0 dropped@4'],
    [
      'starts to hold anew after it was dropped',
      warm(held),
      [temperature(0, -10), temperature(4, -20), temperature(5, -10), clock(11)],
      'pending@0 dropped@4 pending@5 active@10',
    ],
    ['stays active until it has been clear long enough', warm(kept), [temperature(0, -10), temperature(1, -20), clock(2)], 'active@0'],
    [
      'clears exactly after keepActive, found by the clock',
      warm(kept),
      [temperature(0, -10), temperature(1, -20), clock(60)],
      'active@0 cleared@3',
    ],
    [
      'clears exactly after keepActive, found by an event',
      warm(kept),
      [temperature(0, -10), temperature(1, -20), temperature(60, -10)],
      'active@0 cleared@3 active@60',
    ],
    [
      'stays active when it holds again meanwhile',
      warm(kept),
      [temperature(0, -10), temperature(1, -20), temperature(2, -10), clock(60)],
      'active@0',
    ],
    [
      'is clear anew after it held again',
      warm(kept),
      [temperature(0, -10), temperature(1, -20), temperature(2, -10), temperature(3, -20), temperature(4, -20), clock(60)],
      'active@0 cleared@5',
    ],
    [
      'goes through all of it between two events',
      warm({ ...held, ...kept }),
      [temperature(0, -10), temperature(6, -20), temperature(60, -10), clock(70)],
      'pending@0 active@5 cleared@8 pending@60 active@65',
    ],
    [
      'counts two events at the same time',
      warm(),
      [temperature(0, -10), temperature(0, -20), temperature(0, -5)],
      'active@0 cleared@0 active@0',
    ],
    ['does not clear because data vanish', warm(), [temperature(0, -10), clock(10_000)], 'active@0'],
  ])('%s', (_, rule, inputs, expected) => expect(brief(run(rule, inputs).changes)).toBe(expected))

  it('says what it is about in every change', () => {
    const rule = warm({ for: '5m', keepActive: '2m' }, { clearBelow: -16.5 })
    const { changes, reasons, state } = run(rule, [temperature(0, -12.4), temperature(6, -16), temperature(7, -17), clock(30)])
    const [began, ended] = [
      { value: -12.4, limit: -15, eventId: 'e0' },
      { value: -17, limit: -16.5, eventId: 'e7' },
    ]
    expect(changes).toMatchObject([
      {
        kind: 'pending',
        atUs: at(0),
        episode: 1,
        sinceUs: at(0),
        activeUs: undefined,
        ...began,
        reason: 'temperature.value -12.4 is above -15',
      },
      {
        kind: 'active',
        atUs: at(5),
        episode: 1,
        sinceUs: at(0),
        activeUs: at(5),
        clearedUs: undefined,
        ...began,
        reason: 'temperature.value has been above -15 for 5m',
      },
      {
        kind: 'cleared',
        atUs: at(9),
        episode: 1,
        sinceUs: at(0),
        activeUs: at(5),
        clearedUs: at(9),
        ...ended,
        reason: 'temperature.value has been below -16.5 for 2m',
      },
    ])
    expect(reasons).toEqual([
      'temperature.value -12.4 is above -15',
      'temperature.value has been above -15 for 5m; temperature.value -16 is not below -16.5',
      'temperature.value -17 is below -16.5, clears at 2026-11-21T12:09:00.000000Z',
      'temperature.value has been below -16.5 for 2m',
    ])
    expect(state).toEqual({ v: 2, phase: 'clear', episode: 1 })
  })

  it('says why nothing changed', () => {
    const reasons = (rule: Rule, inputs: StepInput[]) => run(rule, inputs).reasons.at(-1)
    const other: StepInput = { kind: 'event', device: DEVICE, eventType: 'co2', data: { co2: { ppm: 9 } }, timeUs: at(1), eventId: 'x' }
    expect(reasons(warm(), [temperature(0, -16)])).toBe('temperature.value -16 is not above -15')
    expect(reasons(warm(), [temperature(0, undefined)])).toBe('temperature.value is missing')
    expect(reasons(warm(), [temperature(0, 'hot')])).toBe('temperature.value is "hot", not a number')
    expect(reasons(warm({ for: '5m' }), [temperature(0, -10), temperature(1, -9)])).toBe(
      'temperature.value -9 is above -15, active at 2026-11-21T12:05:00.000000Z',
    )
    expect(reasons(warm(), [other])).toBe('the rule does not read this type of event')
    expect(reasons(warm(), [clock(5)])).toBe('nothing is due')
  })
})

describe('time', () => {
  it('asks to be told when a timer ends, and not otherwise', () => {
    const rule = warm({ for: '5m', keepActive: '2m' })
    const dues = (inputs: StepInput[]) => run(rule, inputs).state?.dueUs
    expect(dues([temperature(0, -20)])).toBeUndefined()
    expect(dues([temperature(0, -10)])).toBe(at(5))
    expect(dues([temperature(0, -10), temperature(3, -10)])).toBe(at(5))
    expect(dues([temperature(0, -10), clock(5)])).toBeUndefined()
    expect(dues([temperature(0, -10), clock(5), temperature(6, -20)])).toBe(at(8))
    expect(dues([temperature(0, -10), clock(5), temperature(6, -20), temperature(7, -10)])).toBeUndefined()
  })

  it('of the server moves a quiet device on to the moment that was due, no further', () => {
    const { changes } = run(warm({ for: '5m' }), [temperature(0, -10), clock(90), temperature(6, -20)])
    expect(brief(changes)).toBe('pending@0 active@5 cleared@6')
  })

  it('of the server alone leaves a state as it is', () => {
    const { state } = step(warm(), undefined, temperature(0, -10))
    expect(step(warm(), state, clock(1000)).state).toBe(state)
  })

  it('passes up to an event of the type read, not of another', () => {
    const rule = warm({ for: '5m' })
    const { state } = step(rule, undefined, temperature(0, -10))
    const outcome = step(rule, state, { kind: 'event', device: DEVICE, eventType: 'co2', data: {}, timeUs: at(9), eventId: 'x' })
    expect(outcome).toEqual({ state, changes: [], reason: expect.any(String) })
  })
})

describe('a state', () => {
  it('is the same object after an event that changes nothing', () => {
    for (const value of [-20, -10]) {
      const { state } = step(warm({ for: '5m' }), undefined, temperature(0, value))
      expect(step(warm({ for: '5m' }), state, temperature(1, value)).state).toBe(state)
      expect(step(warm({ for: '5m' }), state, temperature(1, 'none')).state).toBe(state)
    }
    expect(step(warm(), undefined, temperature(0, -20)).state).toBe(FRESH)
    expect(step(silent(), undefined, clock(0)).state).toBe(FRESH)
  })

  it('stays small', () => {
    const { state } = run(warm({ keepActive: '1h' }), [temperature(0, -10), temperature(1, -20)])
    expect(JSON.stringify(state).length).toBeLessThan(200)
  })
})

describe('an edited rule', () => {
  const pending = run(warm({ for: '30m' }), [temperature(0, -10), temperature(10, -10)]).state
  const active = run(warm(), [temperature(0, -10)]).state
  const clearing = run(warm({ keepActive: '30m' }), [temperature(0, -10), temperature(10, -20)]).state
  it.each<[string, Rule, RuleState | undefined, StepInput[], string, number | undefined]>([
    ['with a longer hold time waits longer', warm({ for: '1h' }), pending, [clock(30)], '', at(60)],
    ['with a shorter one is active where that ended', warm({ for: '5m' }), pending, [clock(11)], 'active@5', undefined],
    ['without one is active from the start', warm(), pending, [clock(11)], 'active@0', undefined],
    ['with a longer keepActive waits longer', warm({ keepActive: '1h' }), clearing, [clock(40)], '', at(70)],
    ['with a shorter keepActive clears where that ended', warm({ keepActive: '5m' }), clearing, [clock(16)], 'cleared@15', undefined],
    ['with another level keeps the alarm until an event says otherwise', warm({}, { above: 0 }), active, [clock(10)], '', undefined],
    [
      'with another level is judged by it from the next event',
      warm({}, { above: 0 }),
      active,
      [temperature(10, -10)],
      'cleared@10',
      undefined,
    ],
    [
      'that judges silence instead keeps the alarm until an event',
      silent(),
      active,
      [clock(600), temperature(610, 0)],
      'cleared@610',
      at(670),
    ],
  ])('%s', (_, rule, from, inputs, expected, dueUs) => {
    const { changes, state } = run(rule, inputs, from)
    expect(brief(changes)).toBe(expected)
    expect(state?.dueUs).toBe(dueUs)
  })

  it('forgets what the condition before it remembered', () => {
    const from = run(silent(), [temperature(0, -20)]).state
    expect(from?.memory).toBeDefined()
    expect(run(warm(), [clock(120), temperature(121, -20)], from)).toMatchObject({
      changes: [],
      state: { v: 2, phase: 'clear', episode: 0 },
    })
    expect(run(warm(), [temperature(121, -20)], from).state).toEqual({ v: 2, phase: 'clear', episode: 0 })
  })

  it('does not take the memory of another condition for its own', () => {
    const from: RuleState = { v: 2, phase: 'clear', episode: 0, memory: { kind: 'another', lastUs: at(0) } as RuleState['memory'] }
    expect(run(silent(), [clock(600)], from)).toMatchObject({ changes: [], reasons: ['nothing is due'] })
  })
})

describe('an edited schedule', () => {
  const open = (from: string, to: string) => ({ timezone: 'UTC', active: [{ days: 'mon-sun', from, to }] })
  const night = warm({ version: 1, schedule: open('22:00', '23:00') })
  const day = warm({ version: 2, schedule: open('08:00', '20:00') })
  const never = warm({ version: 3 })

  it('holds from the next event on, or from the next moment that passes', () => {
    const { state, changes } = run(night, [temperature(0, -10)])
    expect(changes).toEqual([])
    expect(brief(run(day, [temperature(60, -10)], state).changes)).toBe('active@60')
    expect(brief(run(day, [clock(60)], state).changes)).toBe('active@60')
    expect(brief(run(never, [temperature(60, -10)], state).changes)).toBe('active@60')
  })

  it('ends what is active outside of it', () => {
    const { state } = run(day, [temperature(0, -10)])
    expect(brief(run({ ...night, version: 4 }, [temperature(60, -10)], state).changes)).toBe('cleared@60')
    expect(brief(run(never, [temperature(60, -10)], state).changes)).toBe('')
  })
})

describe('a deleted rule', () => {
  it.each<[string, Rule, StepInput[], string]>([
    ['clears its alarm', warm(), [temperature(0, -10)], 'cleared@7'],
    ['clears one about to clear', warm({ keepActive: '1h' }), [temperature(0, -10), temperature(1, -20)], 'cleared@7'],
    ['drops a pending one', warm({ for: '1h' }), [temperature(0, -10)], 'dropped@7'],
    ['leaves what is clear', warm(), [temperature(0, -20)], ''],
    ['leaves what was never seen', warm(), [], ''],
  ])('%s', (_, rule, inputs, expected) => {
    const outcome = retire(rule, run(rule, inputs).state, at(7), 'rule deleted')
    expect(brief(outcome.changes)).toBe(expected)
    expect(outcome.state.phase).toBe('clear')
    for (const change of outcome.changes) expect(change).toMatchObject({ reason: 'rule deleted', eventId: undefined })
  })
})

/** mulberry32: numbers in [0, 1) that are the same for the same seed. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

describe('the same events', () => {
  const rules = [
    warm(),
    warm({ for: '5m' }),
    warm({ for: '5m', keepActive: '3m' }, { clearBelow: -17 }),
    warm({ keepActive: '10m' }, { below: -19, clearAbove: -18, clearBelow: -16 }),
    silent(),
    parseRule({ name: 'silent', when: { absent: { eventType: 'temperature', for: '4m' } }, for: '2m', keepActive: '5m' }),
  ]

  function story(random: () => number): StepInput[] {
    let minutes = 0
    return Array.from({ length: 60 }, (_, index) => {
      const kind = random()
      if (kind > 0.2) minutes += Math.floor(random() * (random() < 0.1 ? 90 : 6)) * 0.5
      const value = random() < 0.1 ? 'broken' : -20 + Math.floor(random() * 10)
      return temperature(minutes, value, { eventId: `e${index}` })
    })
  }

  /** The same with the clock stepped in between, as often and as early as it may be. */
  function interrupted(inputs: readonly StepInput[], random: () => number): StepInput[] {
    let newestUs = at(0)
    return inputs.flatMap(input => {
      const fromUs = newestUs
      newestUs = Math.max(newestUs, input.timeUs)
      const spanUs = Math.max(0, input.timeUs - fromUs)
      const times = Array.from({ length: Math.floor(random() * 4) }, () => fromUs + Math.floor(random() * (spanUs + 1)))
      const clocks = times.sort((a, b) => a - b).map((timeUs): StepInput => ({ kind: 'time', timeUs, listeningSinceUs: ALWAYS }))
      return [...clocks, input]
    })
  }

  /** In one process without restarts. */
  function told(rule: Rule, inputs: readonly StepInput[]): Change[] {
    let state: RuleState | undefined
    return inputs.flatMap(input => {
      const outcome = step(rule, state, input)
      state = outcome.state
      return [...outcome.changes]
    })
  }

  it('make the same changes however they are cut into batches, interrupted by the clock, restarted or remembered', () => {
    let changes = 0
    for (let seed = 1; seed <= 120; seed++) {
      const random = seeded(seed)
      const inputs = story(random)
      for (const rule of rules) {
        const end = clock(10_000)
        const plain = run(rule, [...inputs, end]).changes
        const cut = interrupted(inputs, random)
        expect(run(rule, [...cut, end]).changes, `seed ${seed}`).toEqual(plain)
        expect(told(rule, [...cut, end]), `seed ${seed}`).toEqual(plain)
        expect(told(rule, [...inputs, end]), `seed ${seed}`).toEqual(plain)
        expect(plain.map(change => change.atUs)).toEqual(plain.map(change => change.atUs).sort((a, b) => a - b))
        changes += plain.length
      }
    }
    expect(changes).toBeGreaterThan(5000)
  })

  it('make changes that follow upon one another', () => {
    const after: Readonly<Record<string, readonly string[]>> = {
      clear: ['pending', 'active'],
      pending: ['active', 'dropped'],
      active: ['cleared'],
      cleared: ['pending', 'active'],
      dropped: ['pending', 'active'],
    }
    for (let seed = 200; seed < 230; seed++)
      for (const rule of rules) {
        let last = 'clear'
        for (const change of run(rule, story(seeded(seed))).changes) {
          expect(after[last]).toContain(change.kind)
          last = change.kind as keyof typeof after
        }
      }
  })
})
