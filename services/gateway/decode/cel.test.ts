// Decoders in CEL: what they can say, what is refused when they are saved, and what of payloads.
import { describe, expect, it } from 'vitest'
import { cel } from './cel.ts'
import { decodeShort, eventsOf, type Sample, survives } from './fixture.ts'

const events = (options: Record<string, unknown>, payload: unknown, topic = 'farm/7/raw') =>
  eventsOf(cel, [topic, typeof payload === 'string' ? payload : JSON.stringify(payload)], { options })
const BASE = { device: 'topic[1]', eventType: '"temperature"', data: 'payload.t' }

describe('expressions give', () => {
  it.each([
    ['a value', BASE, { t: 21.5 }, [['7', 'temperature', { value: 21.5 }]]],
    [
      'a value with its unit',
      { ...BASE, unit: '"°F"' },
      { t: 70.7 },
      [['7', 'temperature', { value: 21.5, original: { value: 70.7, unit: '°F' } }]],
    ],
    [
      'what is calculated, with whole numbers too',
      { ...BASE, data: 'double(payload.t) / 10 - 2' },
      { t: 235 },
      [['7', 'temperature', { value: 21.5 }]],
    ],
    [
      'whole numbers of their own',
      { ...BASE, eventType: '"level"', data: 'size(payload.list)' },
      { list: [1, 2] },
      [['7', 'level', { value: 2 }]],
    ],
    [
      'a map of fields',
      { ...BASE, eventType: '"level"', data: '{"value": payload.t, "raw": [1, payload.r]}' },
      { t: 1, r: 2 },
      [['7', 'level', { value: 1, raw: [1, 2] }]],
    ],
    ['part of a text', { ...BASE, eventType: '"word"', data: 'text.split(";")[1]' }, 'a;b;c', [['7', 'word', { value: 'b' }]]],
    ['a device by its number', { ...BASE, device: 'payload.id' }, { t: 1, id: 42 }, [['42', 'temperature', { value: 1 }]]],
    ['a type by a name', { ...BASE, eventType: 'payload.kind' }, { t: 1, kind: 'level' }, [['7', 'level', { value: 1 }]]],
    [
      'a time',
      { ...BASE, timestamp: 'timestamp(payload.at)' },
      { t: 1, at: '2026-01-01T00:00:00Z' },
      [['7', 'temperature', { value: 1 }, '2026-01-01T00:00:00.000000Z']],
    ],
    [
      'a Unix time',
      { ...BASE, timestamp: 'payload.at' },
      { t: 1, at: 1767225600 },
      [['7', 'temperature', { value: 1 }, '2026-01-01T00:00:00.000000Z']],
    ],
    ['nothing where there is nothing', { ...BASE, when: 'has(payload.t)' }, { other: 1 }, []],
    [
      'an event for each of a list',
      { ...BASE, each: 'payload.sensors', device: 'topic[1] + ":" + item.name', data: 'item.t', when: 'item.t > 0.0' },
      {
        sensors: [
          { name: 'a', t: 1 },
          { name: 'b', t: -1 },
          { name: 'c', t: 3 },
        ],
      },
      [
        ['7:a', 'temperature', { value: 1 }],
        ['7:c', 'temperature', { value: 3 }],
      ],
    ],
  ])('%s', async (_, options, payload, expected) => {
    expect(await events(options, payload)).toEqual(expected)
  })
})

describe('saved are none', () => {
  it.each([
    [{ data: 'payload.' }, /^options\.data: .*\(column \d+/],
    [{ data: 'paylod.t' }, /^options\.data: paylod is unknown here; did you mean "payload"\? Valid: payload, text, topic/],
    [{ data: 'item.t' }, /^options\.data: item is unknown here/],
    [{ data: 'event.data.value' }, /^options\.data: event is unknown here/],
    [{ device: 'topic' }, /^options\.device: gives a list<string>; expected string or int/],
    [{ when: '"yes"' }, /^options\.when: gives a string; expected true or false/],
    [{ each: '5' }, /^options\.each: gives a int; expected list/],
    [{ data: 'text.matches(payload.p)' }, /^options\.data: matches\(\) needs a literal pattern/],
    [{ data: 'text.startWith("a")' }, /^options\.data: startWith is unknown here; did you mean "startsWith"/],
    [{ data: `[${'1,'.repeat(900)}1]` }, /^options\.data: /],
  ])('%j', (options, message) => {
    expect(() => cel.check?.({ ...BASE, ...options })).toThrow(message)
  })

  it('but good ones are', () => {
    expect(cel.check?.(BASE)).toBeUndefined()
  })
})

describe('refused is a payload', () => {
  const refusal = async (options: Record<string, unknown>, payload: string | Buffer) => {
    try {
      return (await decodeShort(cel, ['farm/7/raw', payload], { options })).failures.join()
    } catch (error) {
      return (error as Error).message
    }
  }

  it.each([
    ['without the field', BASE, '{}', /^data: No such key: t/],
    ['that is no JSON where it should be', BASE, 'hello', /^data: /],
    ['that is no text', BASE, Buffer.from([0xff]), /^payload: not UTF-8/],
    ['with a list of something else', { ...BASE, each: 'payload.a' }, '{"a":5}', /^each: expected a list, got 5/],
    ['with too long a list', { ...BASE, each: 'payload' }, `[${'1,'.repeat(1000)}1]`, /^each: at most 1000 items, got 1001/],
    [
      'that costs too much',
      { ...BASE, data: 'payload.all(x, payload.all(y, x != y))' },
      `[${'1,'.repeat(2000)}1]`,
      /^data: the expression would take too long/,
    ],
    ['whose device is none', { ...BASE, device: 'payload.d' }, '{"t":1,"d":[1]}', /^device: expected the id of the device, got \[1\]/],
    ['whose time is none', { ...BASE, timestamp: 'payload.at' }, '{"t":1,"at":"soon"}', /^timestamp: expected an RFC 3339 time/],
  ])('%s', async (_, options, payload, message) => {
    expect(await refusal(options, payload)).toMatch(message)
  })

  it('with one bad item, and that alone', async () => {
    const options = { ...BASE, each: 'payload', data: 'item.t' }
    expect(await decodeShort(cel, ['farm/7/raw', '[{"t":1},{},{"t":3}]'], { options })).toMatchObject({
      events: [
        ['7', 'temperature', { value: 1 }],
        ['7', 'temperature', { value: 3 }],
      ],
      failures: ['data: No such key: t'],
    })
  })
})

describe('items that each take the whole payload', () => {
  const payload = JSON.stringify({ big: 'x'.repeat(100_000), items: Array.from({ length: 1000 }, () => 1) })
  it.each([
    ['as their data', { ...BASE, data: '{"all": payload}' }],
    ['in a text', { ...BASE, data: 'text' }],
    ['before they are refused', { ...BASE, data: 'payload', eventId: 'payload.none' }],
    ['as the items themselves', { ...BASE, data: 'item.none', each: 'payload.items.map(x, payload)' }],
  ])('%s are refused before they are a hundred times as much', async (_, options) => {
    const decoded = decodeShort(cel, ['farm/7/raw', payload], { options: { each: 'payload.items', ...options } })
    await expect(decoded).rejects.toThrow('elements: at most 4194304 characters of one payload in all')
  })

  it('have all expressions together no more than twenty times what one may cost', async () => {
    const list = Array.from({ length: 100 }, (_, i) => i)
    const cost = 'payload.l.all(x, payload.l.exists(y, y == 99))'
    const options = { ...BASE, each: 'payload.i', data: 'item', when: cost, unit: `${cost} ? "" : ""`, eventType: `${cost} ? "a" : "b"` }
    const { events, failures } = await decodeShort(cel, ['farm/7/raw', JSON.stringify({ l: list, i: list })], { options })
    expect(events.length).toBeLessThan(20)
    expect(new Set(failures.map(one => one.replace(/^\w+/, '')))).toEqual(new Set([': the expression would take too long for this event']))
  })

  it('have what others leave', async () => {
    // Each needs more than its share of a thousand.
    const items = Array.from({ length: 1000 }, (_, i) => (i % 10 === 0 ? Array.from({ length: 120 }, () => 1) : []))
    const options = { ...BASE, each: 'payload', data: 'item.all(x, x > 0 && x > -1)', eventType: '"level"' }
    const { failures } = await decodeShort(cel, ['farm/7/raw', JSON.stringify(items)], { options })
    expect(failures).toEqual([])
  })
})

it('survives whatever comes', async () => {
  const samples: Sample[] = [['farm/7/raw', '{"sensors":[{"name":"a","t":1.5},{"name":"b","t":2}],"at":1767225600}']]
  const options = {
    ...BASE,
    each: 'payload.sensors',
    device: 'item.name',
    data: '{"value": item.t, "all": payload}',
    timestamp: 'payload.at',
  }
  await survives(cel, samples, 5000, { options })
})
