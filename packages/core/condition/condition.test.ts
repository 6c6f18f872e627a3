// What every kind of condition must keep to, whatever it is about, and what would turn each of them over.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { StepInput } from '../step.ts'
import { conditionToJson, kindOf, parseCondition } from './condition.ts'
import type { Cause, Memory, Verdict } from './kind.ts'

const DEVICE = { id: 'd', type: '', labels: {}, productNumber: '' }
const HELD: Cause = { value: 9, limit: undefined, eventId: 'e' }

function reading(minute: number, value: unknown): StepInput {
  return { kind: 'event', device: DEVICE, eventType: 'a', data: { a: { value } }, timeUs: minute * 60_000_000, eventId: `e${minute}` }
}

/** The last verdict on a value each minute, and the memory before it. */
function judged(when: object, values: readonly unknown[], held?: Cause): { verdict: Verdict; before: Memory | undefined } {
  const condition = parseCondition(when, 'when')
  let before: Memory | undefined
  let verdict: Verdict = { holds: undefined, value: undefined, limit: undefined, memory: undefined }
  for (const [minute, value] of values.entries()) {
    before = verdict.memory
    verdict = kindOf(condition).judge(condition, before, held, reading(minute, value))
  }
  return { verdict, before }
}

const field = 'a.value'
const EVERY: object[] = [
  { threshold: { field, above: 8, clearBelow: 7, unit: '°C' } },
  { threshold: { field, outside: [2, 8], clearAbove: 3 } },
  { threshold: { field, inside: [2, 8], clearAbove: 9 } },
  { absent: { eventType: 'a', for: '1h' } },
  { state: { field, equals: ['A', true, 3] } },
  { state: { field, changes: { from: 'A', to: 'B' } } },
  { rate: { field, per: '1m', over: '10m', below: -2, clearAbove: -1, unit: '°F' } },
  { stuck: { field, for: '1h', tolerance: 1, readings: 4, unit: 'K' } },
  { flapping: { field, changes: 3, within: '1h', level: 4, calm: '2h', unit: '°C' } },
  { absent: { eventType: 'a', for: '1h', times: 3, min: '1m', max: '2h' } },
  { window: { field, function: 'p95', over: '1h', above: 8, clearBelow: 7, atLeast: 3, unit: '°C' } },
  { window: { eventType: 'a', function: 'count', over: '1h', below: 8 } },
  { window: { field, entering: 'OPEN', function: 'count', over: '1h', above: 8 } },
  { window: { field, function: 'mean', over: '1h', above: 8 } },
  { window: { field, function: 'sum', over: '1h', above: 8 } },
  { window: { field, function: 'stddev', over: '1h', above: 8 } },
  { window: { field, function: 'max', over: '1h', above: 8 } },
  { deviation: { field, above: 4, over: '24m', minChange: 1, atLeast: 1 } },
  { deviation: { field, above: 4, clearBelow: 3, season: 'weekly', direction: 'up', minChange: 2, unit: '°F' } },
]
const ABSURD = fc.constantFrom(1e308, -1e308, Number.MAX_VALUE, 1e200, -1e200, 1e155, 5e-324, -5e-324, 0, -0, 20, 21, 1)
const isInfinite = (value: unknown) => typeof value === 'number' && !Number.isFinite(value)
/** What counts events: one that comes again, at the same time, is one more. A doubled one is dropped by its id before it comes here. */
const COUNTING: ReadonlySet<string> = new Set(['window', 'deviation'])

describe.each(EVERY)('the condition %j', when => {
  const condition = parseCondition(when, 'when')
  const kind = kindOf(condition)
  const properties = kind.schema['properties'] as { readonly [key: string]: { readonly description?: string; readonly type?: string } }

  it('comes back the same from its document', () => {
    expect(parseCondition(JSON.parse(JSON.stringify(conditionToJson(condition))), 'when')).toEqual(condition)
  })

  it('has every key of its document in its schema, with what it means', () => {
    for (const key of Object.keys(Object(kind.toJson(condition)))) expect(properties, key).toHaveProperty(key)
    for (const [key, { description }] of Object.entries(properties)) {
      if (key !== 'eventType') expect(description, key).toMatch(/\w/)
      expect(() => parseCondition({ [kind.name]: { ...Object.values(when)[0], [key]: { no: 1 } } }, 'when'), key).toThrow(
        `when.${kind.name}`,
      )
    }
    expect(kind.schema['additionalProperties']).toBe(false)
  })

  it('reads always the same list of event types', () => {
    expect(kind.eventTypes(condition)).toEqual(['a'])
    expect(kind.eventTypes(condition)).toBe(kind.eventTypes(condition))
  })

  it('stays with numbers, and what it keeps with JSON, whatever absurd readings come', () => {
    fc.assert(
      fc.property(fc.array(ABSURD, { maxLength: 40 }), fc.integer({ min: 1, max: 200 }), (values, minutes) => {
        let memory: Memory | undefined
        let held: Cause | undefined
        for (const [index, value] of values.entries()) {
          const verdict = kind.judge(condition, memory, held, reading(index * minutes, value))
          // What is no number is null in JSON.
          expect(JSON.stringify(verdict.memory) ?? '').not.toContain('null')
          expect(verdict.value).not.toSatisfy(isInfinite)
          memory = verdict.memory
          held = [held, undefined, HELD][verdict.holds === undefined ? 0 : 1 + Number(verdict.holds)]
        }
      }),
      { numRuns: 60, seed: 15 },
    )
  })

  it('keeps the very same memory when an event comes again, and what it keeps is JSON', () => {
    for (const values of [['A'], ['A', 'B'], [1], [1, 9, 1, 9], [true], [[]]]) {
      const { verdict } = judged(when, values)
      const again = kind.judge(condition, verdict.memory, undefined, reading(values.length - 1, values.at(-1)))
      if (!COUNTING.has(condition.kind)) expect(again.memory).toEqual(verdict.memory)
      if (condition.kind !== 'absent' && !COUNTING.has(condition.kind)) expect(again.memory).toBe(verdict.memory)
      expect(JSON.parse(JSON.stringify({ memory: verdict.memory }))).toEqual({ memory: verdict.memory })
    }
  })
})

const EXPRESSIONS: object[] = [
  'previous == null',
  'previous != null && previous.data.value > 0',
  'event.data.value == 9',
  'reading > 8',
  'has(previous.data)',
].map(expression => ({ expression: { expression, eventTypes: ['a', 'b'] } }))

describe('the nearest that would have turned a condition over', () => {
  it.each<[object, unknown[], boolean, string]>([
    [{ threshold: { field, above: 8 } }, [5], false, 'a.value above 8, which is 3 more'],
    [{ threshold: { field, inside: [2, 8] } }, [9.5], false, 'a.value inside 2 to 8, which is 1.5 less'],
    [{ threshold: { field, inside: [2, 8], clearAbove: 9 } }, [7], true, 'a.value above 9, which is 2 more'],
    [{ threshold: { field, inside: [2, 8] } }, [3], true, 'a.value below 2, which is 1 less'],
    [{ threshold: { field, inside: [2, 8] } }, ['x'], false, ''],
    [{ state: { field, equals: ['A', 'B'] } }, ['C'], false, 'a.value A or B'],
    [{ state: { field, equals: ['A', 'B'] } }, ['A'], true, 'a.value other than A or B'],
    [{ state: { field, changes: { to: 'B' } } }, ['B'], false, 'a change of a.value to B'],
    [{ state: { field, changes: { to: 'B' } } }, ['A', 'B'], true, 'a.value other than B'],
    [{ state: { field, changes: { from: 'A' } } }, ['A', 'B'], true, 'a.value back at A'],
    [{ state: { field, changes: {} } }, ['A', 'B'], true, 'a.value the same twice'],
    [{ rate: { field, per: '1m', above: 2 } }, [5], false, ''],
    [{ rate: { field, per: '1m', above: 2, unit: '°C' } }, [5, 6.5], false, 'a change of a.value °C/min above 2, which is 0.5 more'],
    [{ stuck: { field, for: '1h' } }, [4, 4], false, 'a.value 4 for another 59m, as events come'],
    [{ stuck: { field, for: '1h', tolerance: 0.5 } }, [4, 4.2], true, 'a.value not within 0.5 of 4'],
    [{ flapping: { field, changes: 5, within: '1h' } }, [1, 2, 3], false, '3 more changes of a.value within 1h'],
    [{ flapping: { field, changes: 5, within: '1h', level: 4 } }, [1, 9], false, '4 more changes of a.value across 4 within 1h'],
    [{ flapping: { field, changes: 2, within: '1h' } }, [1, 2], true, 'no change of a.value until 1970-01-01T01:01:00.000000Z'],
  ])('%j after %j', (when, values, isHeld, words) => {
    const held = isHeld ? HELD : undefined
    const condition = parseCondition(when, 'when')
    const { verdict } = judged(when, values, held)
    expect(kindOf(condition).nearest(condition, verdict, held)).toBe(words)
  })
})

describe('the lines that a condition draws', () => {
  it.each([
    [{ threshold: { field, above: 8, clearBelow: 7 } }, [8, 7]],
    [{ threshold: { field, outside: [2, 8], clearAbove: 3 } }, [8, 3, 2]],
    [{ threshold: { field, inside: [2, 8], clearAbove: 9, clearBelow: 1 } }, [9, 8, 2, 1]],
    [{ rate: { field, per: '1m', above: 2 } }, []],
    [{ flapping: { field, changes: 5, within: '1h', level: 4 } }, [4]],
    [{ state: { field, equals: 3 } }, []],
  ])('of %j are %j', (when, lines) => {
    const condition = parseCondition(when, 'when')
    expect(kindOf(condition).levels(condition)).toEqual(lines)
  })
})

describe('an event type that is called as something every object has', () => {
  const NAMES = ['constructor', 'toString', 'valueOf', 'hasOwnProperty', 'isPrototypeOf']
  const renamed = (when: object, name: string): object =>
    JSON.parse(JSON.stringify(when).replaceAll('"a.', `"${name}.`).replaceAll('"a"', `"${name}"`)) as object

  it.each([...EVERY, ...EXPRESSIONS])('is one like others to %j', when => {
    for (const name of NAMES) expect(course(renamed(when, name), name)).toEqual(course(when, 'a'))
  })

  function course(when: object, eventType: string): unknown[] {
    const condition = parseCondition(when, 'when')
    let memory: Memory | undefined
    return ['b', eventType, eventType, 'b', eventType].map((type, minute) => {
      const value = ['OPEN', 9, 1, 9, 'A'][minute]
      const input = { ...reading(minute, 0), eventType: type, data: { [type]: { value } } } as StepInput
      const verdict = kindOf(condition).judge(condition, memory, undefined, input)
      memory = verdict.memory
      return verdict.holds
    })
  }

  it.each(NAMES)('and as a value or a field %s stands for nothing but itself', name => {
    const when = { state: { field: 'a.value', equals: [name] } }
    expect(seen(when, 'a', 0, { value: name }).holds).toBe(true)
    expect(seen(when, 'a', 0, { value: 'x' }).holds).toBe(false)
    expect(seen({ threshold: { field: `a.${name}`, above: 0 } }, 'a', 0, {}).holds).toBeUndefined()
    expect(seen({ flapping: { field: `a.${name}`, changes: 2, within: '1h' } }, 'a', 0, {}).holds).toBeUndefined()
    for (const of of ['event.data', 'device.labels'])
      expect(seen({ expression: { expression: `has(${of}.${name})`, eventTypes: ['a'] } }, 'a', 0, {}).holds).toBe(false)
  })

  function seen(when: object, eventType: string, minute: number, data: object): Verdict {
    const condition = parseCondition(when, 'when')
    const input = { ...reading(minute, 0), eventType, data: { [eventType]: data } } as StepInput
    return kindOf(condition).judge(condition, undefined, undefined, input)
  }
})
