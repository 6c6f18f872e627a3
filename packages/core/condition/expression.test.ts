// Expressions: what they read, what is refused where, what cannot be told, and that no event makes them slow.
import { describe, expect, it } from 'vitest'
import { parseRule, ruleToJson } from '../rule.ts'
import { type RuleState, step } from '../step.ts'
import { kindOf } from './condition.ts'

const DEVICE = { id: 'room-1', type: 'temperature', labels: { zone: 'cold', 'virtual-sensor': '' }, productNumber: 'p' }
const HOUR_US = 3_600_000_000

type Given = { [field: string]: unknown } | number

function judge(expression: string | object, events: readonly Given[], eventType = 'temperature') {
  const config = typeof expression === 'string' ? { expression, eventTypes: ['temperature', 'humidity'] } : expression
  const rule = parseRule({ name: 'a', when: { expression: config } })
  let state: RuleState | undefined
  return events.map((given, index) => {
    const data = JSON.parse(JSON.stringify({ [eventType]: given }))
    const outcome = step(rule, state, { kind: 'event', device: DEVICE, eventType, data, timeUs: index * HOUR_US, eventId: `e${index}` })
    state = JSON.parse(JSON.stringify(outcome.state)) as RuleState
    return { phase: outcome.state.phase, reason: outcome.reason, changes: outcome.changes, memory: outcome.state.memory }
  })
}

function told(expression: string | object, events: readonly Given[]): string {
  return judge(expression, events)
    .map(({ phase }) => (phase === 'active' ? '+' : '-'))
    .join('')
}

describe('an expression', () => {
  const values = (...list: unknown[]) => list.map(value => ({ value }))
  it.each<[string, string | object, Given[], string]>([
    ['a reading', 'reading > 8', values(7, 9, 8), '-+-'],
    ['a whole number beside a reading', 'reading * 9 / 5 + 32 == 50', values(9, 10), '-+'],
    ['a reading of another field', { expression: 'reading > 8', field: 'temperature.max' }, [{ value: 9, max: 1 }, { max: 9 }], '-+'],
    ['a single value', 'reading > 8.0 && event.data > 8.0', [9], '+'],
    [
      'fields',
      'event.data.value > 8 && event.data.unit == "C"',
      [
        { value: 9, unit: 'F' },
        { value: 9, unit: 'C' },
      ],
      '-+',
    ],
    ['the event', 'event.eventType == "temperature" && event.eventId == "e1"', values(1, 1), '-+'],
    ['the time, in UTC', 'event.timestamp.getHours() == 2', values(1, 1, 1, 1), '--+-'],
    ['a label', 'device.labels.zone == "cold" && "virtual-sensor" in device.labels', values(1), '+'],
    ['the device', 'device.id == "room-1" && device.type == "temperature" && device.productNumber == "p"', values(1), '+'],
    ['the event before', 'previous != null && reading - previous.data.value > 2', values(1, 2, 5, 6), '--+-'],
    ['nothing before', 'previous == null', values(1, 2), '+-'],
    ['how long ago', 'previous != null && event.timestamp - previous.timestamp > duration("30m")', values(1, 2), '-+'],
    ['a jump either way', 'previous != null && abs(reading - previous.data.value) > 2', values(5, 1), '-+'],
    ['a list', 'event.data.list.exists(x, x > 3) && !event.data.list.all(x, x > 3)', [{ list: [1, 4] }, { list: [4] }], '+-'],
    ['a pattern', 'event.data.text.matches("^a+[0-9]$")', [{ text: 'aa1' }, { text: 'b' }], '+-'],
    ['has', 'has(event.data.value) && event.data.value > 8', [{ other: 1 }, { value: 9 }], '-+'],
    ['truth itself', 'event.data.on', [{ on: true }, { on: false }], '+-'],
    ['the short form', 'event.eventType == "temperature" && reading > 8', values(9), '+'],
  ])('reads %s', (_, expression, events, expected) => expect(told(expression, events)).toBe(expected))

  it.each<[string, string, unknown, string]>([
    ['a field is missing', 'event.data.value > 8', {}, 'No such key: value'],
    ['the reading is missing', 'reading > 8', {}, 'temperature.value is missing'],
    ['the reading is none', 'reading > 8', { value: 'x' }, 'temperature.value is "x", not a number'],
    ['a type is another', 'event.data.value > 8', { value: 'x' }, 'no such overload: dyn<string> > int'],
    ['a label is missing', 'device.labels.floor == "1"', { value: 1 }, 'No such key: floor'],
    ['there is no event before', 'reading > previous.data.value', { value: 1 }, 'No such key: data'],
    ['it is no bool', 'event.data.value', { value: 1 }, 'the expression gives neither true nor false'],
    ['an index is out', 'event.data.list[3] > 1', { list: [1] }, 'No such key: index out of bounds, index 3 >= size 1'],
    ['a division is by zero', '1 / int(event.data.value) > 1', { value: 0 }, 'division by zero'],
    ['a key has a strange name', 'event.data.value.x > 1', { value: { constructor: 1 } }, expect.any(String) as string],
  ])('says nothing, and why, when %s', (_, expression, data, words) => {
    const [seen] = judge(expression, [data as Given])
    expect(seen?.phase).toBe('clear')
    expect(seen?.reason).toMatch(/^cannot tell /)
    if (typeof words === 'string') expect(seen?.reason).toBe(`cannot tell ${expression}: ${words}`)
  })

  it('keeps standing while it cannot be told', () => expect(told('reading > 8', [{ value: 9 }, {}, { value: 1 }])).toBe('++-'))

  it('gives the reading as the value of the alarm', () => {
    const [, seen] = judge({ expression: 'reading > 8', eventTypes: ['temperature'], unit: '°C' }, [{ value: 1 }, { value: 9 }])
    expect(seen?.changes[0]).toMatchObject({ value: 9, limit: undefined, eventId: 'e1', reason: 'reading > 8 is true, reading 9' })
  })

  it('remembers of the event before only what it reads', () => {
    const memory = (expression: string, data: Given) => judge(expression, [data])[0]?.memory
    const big = { value: 1, a: { b: [2], c: 3 }, text: 'x'.repeat(5000) }
    expect(memory('reading > 1', big)).toBeUndefined()
    expect(memory('previous == null', big)).toEqual({ kind: 'expression', previous: { temperature: { timeUs: 0, eventId: 'e0' } } })
    expect(memory('previous.data.value > 1 && previous.data.a.b[0] > 1', big)).toMatchObject({
      previous: { temperature: { data: { value: 1, a: { b: [2] } } } },
    })
    expect(memory('previous.data == event.data', { value: 1 })).toMatchObject({ previous: { temperature: { data: { value: 1 } } } })
    expect(memory('previous.data == event.data', big)).toMatchObject({ previous: { temperature: { data: undefined } } })
    expect(memory('has(previous.data.text) && previous.data.text == ""', big)).toMatchObject({
      previous: { temperature: { data: undefined } },
    })
  })

  it.each<[string, string, string[]]>([
    ['one', 'event.eventType == "a" && reading > 1', ['a']],
    ['either', 'reading > 1 && (event.eventType == "a" || event.eventType in ["b", "a"])', ['a', 'b']],
    ['both of two', 'event.eventType in ["a", "b"] && event.eventType in ["b", "c"]', ['b']],
  ])('tells its event types by its text: %s', (_, expression, types) => {
    const { when } = parseRule({ name: 'a', when: { expression } })
    expect(kindOf(when).eventTypes(when)).toEqual(types)
  })

  it('comes back the same from its own document', () => {
    const rule = parseRule({ name: 'a', when: { expression: { expression: 'reading > 8', field: 'temperature.value', unit: '°C' } } })
    expect(parseRule(JSON.parse(JSON.stringify(ruleToJson(rule))))).toEqual(rule)
  })

  it.each<[string, string | object, string, RegExp]>([
    ['a name that every object has', 'constructor.x > 1', '', /constructor is unknown here/],
    ['a name', 'evnt.eventType == "a"', '', /evnt is unknown here; did you mean "event"\? Valid: event, device.* \(column 1, at `evnt/],
    ['a field of the event', '1 > 2 || event.datta.value > 1', '', /datta is unknown here; did you mean "data"\?.*\(column 16,/],
    ['a field of the device', 'device.label.zone == "a"', '', /did you mean "labels"/],
    ['a field of the event before', 'previous.values > 1', '', /values is unknown.*Valid: eventType, data/],
    ['a function', 'len(event.data) > 1', '', /len is unknown here; .*Valid: has, size/],
    ['a method', 'event.eventType.startWith("a")', '', /did you mean "startsWith"/],
    ['a variable of the language', 'cel.bind(x, 1, x > 0)', '', /bind is unknown here/],
    ['a type', 'reading > "8"', '', /no such overload: double > string \(column 1,/],
    ['no truth', 'reading + 1', '', /gives a double; expected true or false/],
    ['half a sentence', 'reading >\n  ', '', /Unexpected token: EOF \(line 2, column 3\)/],
    ['a second line', 'reading > 8 &&\n  eading < 9', '', /did you mean "reading".*\(line 2, column 3, at `eading < 9`\)/],
    ['an open text', 'event.eventType == "a', '', /Unterminated string \(column 20,/],
    ['nothing', ' ', '', /expected an expression/],
    ['a long one', `reading > ${'1 + '.repeat(600)}1`, '', /expected a text of 1 to 2000/],
    ['a deep one', `${'('.repeat(100)}true${')'.repeat(100)}`, '', /Exceeded maxDepth/],
    ['a big one', Array.from({ length: 150 }, (_, i) => `reading>${i}`).join('||'), '', /Exceeded maxAstNodes/],
    ['a wrong pattern', 'event.eventType.matches("(a")', '', /missing closing \)/],
    ['a pattern that goes back', 'event.eventType.matches(r"(a)\\1")', '', /invalid escape sequence/],
    ['a pattern that is too big', 'event.eventType.matches("(((a{9}){9}){9})")', '', /too big/],
    ['a pattern that would take the library a second', `event.eventType.matches("${'(x{0,1000})'.repeat(16)}")`, '', /too big/],
    ['a pattern in which repetitions are repeated', 'event.eventType.matches("((a{10}[b-d]{20}){100}){1}")', '', /too big/],
    ['a long pattern', `event.eventType.matches("${'a'.repeat(201)}")`, '', /at most 200 characters/],
    ['a pattern from the event', 'event.eventType.matches(event.data.p)', '', /literal pattern/],
    ['a duration from the event', 'duration(event.data.d) > duration("1h")', '', /literal text/],
    ['local time', 'event.timestamp.getHours("Europe/Oslo") > 7', '', /is of UTC here; for local time give the rule a schedule/],
    ['a taken name', 'event.data.l.all(reading, reading > 1)', '', /"reading" is taken/],
    [
      "the wire's data",
      'event.data.temperature.value > 8',
      '',
      /"event.data" is what stands below "temperature" already; expected event.data.value/,
    ],
  ])('refuses %s', (_, expression, __, message) => {
    const when = { expression: { expression, eventTypes: ['temperature'] } }
    expect(() => parseRule({ name: 'a', when })).toThrow(
      expect.objectContaining({ field: 'when.expression.expression', message: expect.stringMatching(message) }),
    )
  })

  it.each<[unknown, string, RegExp]>([
    ['reading > 8', 'when.expression', /eventTypes/],
    ['event.eventType == "a" || reading > 8', 'when.expression', /eventTypes/],
    [{ expression: 'true', eventTypes: [] }, 'when.expression.eventTypes', /1 to 10/],
    [{ expression: 'true', eventtypes: ['a'] }, 'when.expression.eventtypes', /did you mean "eventTypes"/],
    [{ expression: 'true', field: 'a' }, 'when.expression.field', /path of a field/],
    [{ eventTypes: ['a'] }, 'when.expression.expression', /expected a text/],
    [7, 'when.expression', /expected an object/],
  ])('refuses %j', (expression, field, message) => {
    expect(() => parseRule({ name: 'a', when: { expression } })).toThrow(
      expect.objectContaining({ field, message: expect.stringMatching(message) }),
    )
  })
})

describe('the cost of an expression', () => {
  const numbers = Array.from({ length: 5000 }, (_, i) => i)
  const long = 'a'.repeat(100_000)
  const nested = (levels: number): unknown => (levels === 0 ? 1 : { a: nested(levels - 1), b: nested(levels - 1) })
  // A bounded share of a millisecond each, measured with room for a busy machine.
  it.each<[string, string, Given]>([
    ['a pattern that would go back for ever', 'event.data.text.matches("(a+)+$")', { text: `${long}b` }],
    ['a pattern over a long text', 'event.data.text.matches("(a|aa)*c")', { text: long }],
    ['all over all', 'event.data.list.all(x, event.data.list.all(y, x + y >= 0))', { list: numbers }],
    ['all over all that fail', 'event.data.list.all(x, event.data.list.all(y, x.z > y))', { list: numbers }],
    ['all over all, nearly too much', 'event.data.list.all(x, event.data.list.all(y, x + y >= 0))', { list: numbers.slice(0, 35) }],
    ['all over all that fail, few', 'event.data.list.all(x, event.data.list.all(y, x.z > y))', { list: numbers.slice(0, 35) }],
    ['errors that do not matter', 'size(event.data.list.map(x, x.z > 1 || true)) > 0', { list: numbers.slice(0, 1500) }],
    [
      'exists over exists',
      'event.data.list.exists(x, event.data.list.exists(y, event.data.list.exists(z, x + y + z < 0)))',
      { list: numbers.slice(0, 300) },
    ],
    ['map over map', 'size(event.data.list.map(x, event.data.list.map(y, [x, y]))) > 0', { list: numbers }],
    ['filter', 'size(event.data.list.filter(x, event.data.list.exists_one(y, y == x))) > 0', { list: numbers }],
    ['texts together', `size(event.data.text + ${'event.data.text + '.repeat(60)}"") > 0`, { text: long }],
    ['many texts together', 'event.data.list.map(x, event.data.text + event.data.text).join("") == ""', { list: numbers, text: long }],
    ['a text in a text', 'event.data.text.contains(event.data.part)', { text: long, part: `${'a'.repeat(50_000)}b` }],
    ['a text from behind', 'event.data.text.lastIndexOf(event.data.part) > 0', { text: long, part: `b${'a'.repeat(50_000)}` }],
    ['a text taken apart', 'size(event.data.text.split("")) > 0', { text: long }],
    [
      'deep equality',
      'event.data.list.all(x, event.data.tree == event.data.other)',
      { list: numbers, tree: nested(12) as number, other: nested(12) as number },
    ],
    ['a list in a list', 'event.data.list.all(x, x in event.data.list)', { list: numbers }],
    ['lists together', 'event.data.list.all(x, size(event.data.list + event.data.list) > 0)', { list: numbers }],
    ['a big number', 'double(event.data.text) > 0.0', { text: '9'.repeat(100_000) }],
    ['an even bigger number', 'int("9223372036854775807") * int(event.data.value) > 0', { value: 9e15 }],
  ])('is bounded: %s', (_, expression, data) => {
    const rule = parseRule({ name: 'a', when: { expression: { expression, eventTypes: ['temperature'] } } })
    const input = { kind: 'event', device: DEVICE, eventType: 'temperature', data: { temperature: data }, timeUs: 1, eventId: 'e' } as const
    const times = Array.from({ length: 5 }, () => {
      const begin = performance.now()
      step(rule, undefined, input)
      return performance.now() - begin
    })
    expect(Math.min(...times)).toBeLessThan(10)
  })

  const LOOP = 'event.data.list.all(x, event.data.list.all(y, x + y >= 0))'
  const input = (data: Given, i = 0) =>
    ({
      kind: 'event',
      device: DEVICE,
      eventType: 'temperature',
      data: { temperature: data },
      timeUs: i * 60_000_000,
      eventId: `e${i}`,
    }) as const

  it('is for all expressions of a rule together that of one', () => {
    const one = { expression: { expression: LOOP, eventTypes: ['temperature'] } }
    const reason = (when: object, count: number) =>
      step(parseRule({ name: 'a', when }), undefined, input({ list: numbers.slice(0, count) })).reason
    expect(reason(one, 35)).toMatch(/ is true$/)
    expect(reason({ all: [one, { not: one }] }, 35)).toMatch(/too long/)
    expect(reason({ any: [one, { not: one }] }, 10)).toMatch(/ is true$/)
  })

  it.each<[string, string, RegExp]>([
    [
      'parts',
      Array.from({ length: 30 }, (_, i) => `reading > ${i}`).join(' || '),
      /when.all: its 5 expressions have \d+ parts together; expected at/,
    ],
    ['steps of patterns', 'event.eventType.matches("a{100}")', /when.all: its patterns together are too big/],
  ])('is refused when all expressions of a rule together have too many %s', (_, expression, message) => {
    const part = { expression: { expression, eventTypes: ['temperature'] } }
    expect(() => parseRule({ name: 'a', when: { all: [part] } })).not.toThrow()
    expect(() => parseRule({ name: 'a', when: { all: [part, part, part, { any: [part, { not: part }] }] } })).toThrow(message)
  })

  it('is not spent again and again: after 100 events that were too much the rule is paused for the device, in words', () => {
    const rule = (expression: string) => parseRule({ name: 'a', when: { expression: { expression, eventTypes: ['temperature'] } } })
    const heavy = { list: numbers.slice(0, 2000) }
    const outcomes: string[] = []
    let state: RuleState | undefined
    const give = (data: Given, i: number, text = LOOP) => {
      const { state: after, reason } = step(rule(text), state, input(data, i))
      state = JSON.parse(JSON.stringify(after)) as RuleState
      return reason
    }
    for (let i = 0; i < 99; i++) outcomes.push(give(heavy, i))
    expect(new Set(outcomes)).toEqual(new Set([`cannot tell ${LOOP}: the expression would take too long for this event`]))
    const paused = `cannot tell ${LOOP}: the expression would have taken too long for 100 events in a row: paused for this device for 1h, or until it is edited`
    expect(give(heavy, 99)).toBe(paused)
    const before = state
    expect(give({ list: [1] }, 158)).toBe(paused)
    expect(state).toEqual(before)
    // An edit ends it, and an hour: one more event is tried then.
    expect(give({ list: [1] }, 158, `${LOOP} && true`)).toMatch(/ is true$/)
    expect(state?.memory).toBeUndefined()
    state = before
    expect(give(heavy, 159)).toBe(paused)
    expect(give({ list: [1] }, 200)).toBe(paused)
    expect(give({ list: [1] }, 219)).toMatch(/ is true$/)
    expect(state?.memory).toBeUndefined()
  })

  it('begins to count anew with an event that it can tell', () => {
    const [, second] = judge(LOOP, [{ list: numbers.slice(0, 2000) }, { list: [1] }])
    expect(second?.memory).toBeUndefined()
    expect(judge(LOOP, [{ list: numbers }, { list: numbers }])[1]?.memory).toMatchObject({ over: { count: 2 } })
  })

  it('is a microsecond or two for what people write', () => {
    const when = {
      expression: { expression: 'reading > 8 && device.labels.zone == "cold" && event.data.value < 100', eventTypes: ['temperature'] },
    }
    const rule = parseRule({ name: 'a', when })
    const input = {
      kind: 'event',
      device: DEVICE,
      eventType: 'temperature',
      data: { temperature: { value: 9 } },
      timeUs: 1,
      eventId: 'e',
    } as const
    const begin = performance.now()
    for (let i = 0; i < 20_000; i++) kindOf(rule.when).judge(rule.when, undefined, undefined, input)
    const each = (performance.now() - begin) / 20
    expect(each).toBeLessThan(50)
  })
})
