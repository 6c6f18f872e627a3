// all, any, not: what cannot be told, parts of several event types, parts that wait, edits, and the words for it.
import { describe, expect, it } from 'vitest'
import { parseRule, ruleToJson } from '../rule.ts'
import { type Change, type RuleState, type StepInput, step } from '../step.ts'
import { kindOf } from './condition.ts'

const DEVICE = { id: 'room-1', type: 'co2', labels: {}, productNumber: '' }
const MINUTE_US = 60_000_000

const warm = { threshold: { field: 'temperature.value', above: 20, clearBelow: 19, unit: '°C' } }
const humid = { threshold: { field: 'humidity.value', above: 60 } }
const silent = { absent: { eventType: 'temperature', for: '10m' } }

/** `t21` temperature 21, `h61` humidity 61, `_` nothing; one a minute. */
function inputs(text: string): StepInput[] {
  return text.split(' ').flatMap((word, minute): StepInput[] => {
    const eventType = word.startsWith('t') ? 'temperature' : 'humidity'
    const timeUs = minute * MINUTE_US
    const value = word.endsWith('x') ? 'x' : Number(word.slice(1))
    if (word === '_') return [{ kind: 'time', timeUs, listeningSinceUs: Number.NEGATIVE_INFINITY }]
    return [{ kind: 'event', device: DEVICE, eventType, data: { [eventType]: { value } }, timeUs, eventId: word }]
  })
}

function run(
  when: object,
  text: string,
  from?: RuleState,
): { marks: string; changes: Change[]; reason: string; state: RuleState | undefined } {
  const rule = parseRule({ name: 'a', when })
  let state = from
  let marks = ''
  let reason = ''
  const changes: Change[] = []
  for (const input of inputs(text)) {
    const outcome = step(rule, state, input)
    // As it is kept between steps.
    state = JSON.parse(JSON.stringify(outcome.state)) as RuleState
    changes.push(...outcome.changes)
    reason = outcome.reason
    marks += outcome.state.phase === 'active' ? '+' : '-'
  }
  return { marks, changes, reason, state }
}

describe('a composite', () => {
  it.each<[string, object, string, string]>([
    ['all holds when both do', { all: [warm, humid] }, 't21 h61 t18 h70 t25', '-+--+'],
    ['all is not told by one', { all: [warm, humid] }, 't21 t22', '--'],
    ['all is told false by one', { not: { all: [warm, humid] } }, 't18 h61', '++'],
    ['any holds when one does', { any: [warm, humid] }, 't21 h40 t18 h61', '++-+'],
    ['any is not told false by one', { not: { any: [warm, humid] } }, 't18 h40', '-+'],
    ['not is the contrary', { not: warm }, 't21 t18 t21', '-+-'],
    ['not cannot tell either', { not: warm }, 'tx t21', '--'],
    ['a part keeps its own clear level', { all: [warm, humid] }, 't21 h61 t19.5 t18.5 t19.5', '-++--'],
    ['a part that cannot be told stands', { all: [warm, humid] }, 't21 h61 tx h62', '-+++'],
    ['parts wait each for themselves', { any: [silent, humid] }, `t20${' _'.repeat(10)} h61 t20 h40`, '----------+++-'],
    ['silence with another type', { all: [silent, humid] }, `t20 h61${' _'.repeat(9)} t20`, '----------+-'],
    ['nested', { any: [{ all: [warm, { not: humid }] }, silent] }, 't21 h40 h61 h40', '-+-+'],
  ])('%s', (_, when, text, marks) => expect(run(when, text).marks).toBe(marks))

  it('has the value and limit of the part that decided', () => {
    const seen = (when: object, text: string) =>
      run(when, text).changes.map(({ kind, value, limit, eventId }) => [kind, value, limit, eventId])
    expect(seen({ all: [warm, humid] }, 't21 h61 t18')).toEqual([
      ['active', 61, 60, 'h61'],
      ['cleared', 18, 19, 't18'],
    ])
    expect(seen({ any: [warm, humid] }, 't18 h61 h40')).toEqual([
      ['active', 61, 60, 'h61'],
      ['cleared', 40, 60, 'h40'],
    ])
    expect(seen({ not: warm }, 't18')).toEqual([['active', 18, 20, 't18']].map(([kind, value, , id]) => [kind, value, undefined, id]))
  })

  it.each<[string, object, string, string]>([
    ['all', { all: [warm, humid] }, 't21 h61', 'temperature.value 21 is above 20 and humidity.value 61 is above 60'],
    ['not all', { all: [warm, humid] }, 't21 h61 h40', 'humidity.value 40 is not above 60'],
    ['all, unknown', { all: [warm, humid] }, 't21', 'nothing is known of humidity yet'],
    ['any', { any: [warm, humid] }, 't21 h61', 'temperature.value 21 is above 20'],
    ['none', { any: [warm, humid] }, 't18 h40', 'temperature.value 18 is not above 20 and humidity.value 40 is not above 60'],
    ['not', { not: { any: [warm, humid] } }, 't18 h40', 'temperature.value 18 is not above 20 and humidity.value 40 is not above 60'],
    [
      'one that the event was not for',
      { any: [warm, { not: { any: [humid] } }] },
      'h61 t18',
      'temperature.value 18 is not above 20 and humidity.value 61 is above 60',
    ],
  ])('says in words what it found: %s', (_, when, text, reason) => expect(run(when, text).reason).toBe(reason))

  it.each<[string, object, string, string]>([
    ['all', { all: [warm, humid] }, 't18 h61', 'temperature.value above 20, which is 2 more'],
    [
      'all of two',
      { all: [warm, humid] },
      't18 h40',
      'temperature.value above 20, which is 2 more and humidity.value above 60, which is 20 more',
    ],
    ['any', { any: [warm, humid] }, 't18 h40', 'temperature.value above 20, which is 2 more or humidity.value above 60, which is 20 more'],
    ['not', { not: warm }, 't18', 'temperature.value above 20, which is 2 more'],
    ['one that nothing is known of', { any: [warm, { any: [humid] }] }, 't18', 'temperature.value above 20, which is 2 more'],
  ])('says what would have turned it: %s', (_, when, text, expected) => {
    const rule = parseRule({ name: 'a', when })
    const { state } = run(when, text)
    const kind = kindOf(rule.when)
    const held = state?.phase === 'active' ? state.cause : undefined
    const [input] = inputs(text).slice(-1) as [StepInput]
    expect(kind.nearest(rule.when, kind.judge(rule.when, state?.memory, held, input), held)).toBe(expected)
  })

  it('says how long it has lasted', () => {
    const lasting = (when: object, holds: boolean) => {
      const rule = parseRule({ name: 'a', when })
      return kindOf(rule.when).lasting(rule.when, holds, { value: 18, limit: 20, eventId: 'e' }, '5m')
    }
    expect(lasting({ all: [warm, humid] }, true)).toBe('all of threshold, threshold held for 5m')
    expect(lasting({ any: [warm, silent] }, false)).toBe('none of threshold, absent held for 5m')
    expect(lasting({ not: silent }, true)).toBe('temperature events have come again for 5m')
  })

  it('keeps through an edit what parts of the same kind and place know', () => {
    const { state } = run({ all: [warm, humid] }, 't21 h61')
    // A level moves, and silence takes the place of nothing: the first two are still known.
    expect(run({ all: [warm, { threshold: { field: 'humidity.value', above: 50 } }, humid] }, 'h61', state).marks).toBe('+')
    const other = run({ all: [silent, humid] }, 'h40', state)
    expect(other.state?.memory).toMatchObject({ parts: [{ kind: 'absent' }, { kind: 'threshold', holds: false }] })
  })

  it('says what a composite within it has said, when an event is not for that one', () => {
    const { marks, changes, reason } = run({ any: [warm, { not: humid }] }, 'h61 t21 t18')
    expect(marks).toBe('-+-')
    expect(reason).toBe(changes.at(-1)?.reason)
    expect(reason).toContain('temperature.value 18 is')
    expect(reason).toContain('humidity.value 61 is above 60')
  })

  it('writes nothing down when nothing is new', () => {
    const rule = parseRule({ name: 'a', when: { any: [{ all: [warm, humid] }, { not: warm }] } })
    const { state } = run({ any: [{ all: [warm, humid] }, { not: warm }] }, 't21 h61')
    const [input] = inputs('t25') as [StepInput]
    expect(step(rule, state, input).state).toBe(state)
  })

  it('is given the events of all its parts, and says the unit they agree on', () => {
    const { when } = parseRule({ name: 'a', when: { all: [warm, { not: humid }, silent] } })
    expect(kindOf(when).eventTypes(when)).toEqual(['temperature', 'humidity'])
    expect(kindOf(when).unit(when)).toBe('°C')
    expect(kindOf(when).levels(when)).toEqual([20, 19, 60])
  })

  it('comes back the same from its own document', () => {
    const rule = parseRule({ name: 'a', when: { all: [warm, { not: { any: [humid, silent] } }] } })
    expect(parseRule(JSON.parse(JSON.stringify(ruleToJson(rule))))).toEqual(rule)
  })

  const deep = (levels: number): object => (levels === 0 ? warm : { not: deep(levels - 1) })
  it.each<[string, object, string, RegExp]>([
    ['nothing', { all: [] }, 'when.all', /list of 1 to 20/],
    ['no list', { any: warm }, 'when.any', /list of 1 to 20/],
    ['a list in not', { not: [warm] }, 'when.not', /expected an object/],
    ['a wrong part', { all: [warm, { any: [{ threshold: { field: 'a.b' } }] }] }, 'when.all[1].any[0].threshold', /expected "above"/],
    ['an unknown part', { all: [{ treshold: {} }] }, 'when.all[0].treshold', /did you mean "threshold"/],
    ['too deep', deep(5), 'when.not.not.not.not.not', /at most 4/],
    ['far too deep', deep(5000), 'when.not.not.not.not.not', /at most 4/],
    ['too many', { all: Array.from({ length: 3 }, () => ({ any: Array.from({ length: 7 }, () => warm) })) }, 'when.all', /at most 20/],
    ['a ladder', { all: [warm] }, 'severity', /one direction/],
  ])('refuses %s', (_, when, field, message) => {
    const severity = field === 'severity' ? [{ at: 20, severity: 'info' }] : 'info'
    expect(() => parseRule({ name: 'a', when, severity })).toThrow(
      expect.objectContaining({ field, message: expect.stringMatching(message) }),
    )
  })
})
