// JSON on its way in: every form of an event, every refusal, and the bytes of the frame that comes of it.
import { describe, expect, it } from 'vitest'
import type { Failure } from '../../../packages/core/failure.ts'
import type { Decoded, Incoming, Place } from './event.ts'
import { decodeJson, decodeLines } from './json.ts'

const NOW = '2026-01-31T12:00:00.000000Z'
const clock = { nowUs: () => Date.parse(NOW) * 1000, newId: () => 'newid000000000000000' }
const typed: Place = { project: 'p', device: 'door', eventType: 'temperature' }
const device: Place = { project: 'p', device: 'door' }
const open: Place = { project: 'p' }

const json = (payload: unknown) => Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload))
const decode = (payload: unknown, place: Place) => decodeJson(json(payload), place, clock)

function eventOf(decoded: Decoded | undefined): Incoming {
  if (decoded === undefined || !('event' in decoded)) throw new Error(`no event: ${JSON.stringify(decoded)}`)
  return decoded.event
}
const only = (payload: unknown, place: Place) => eventOf(decode(payload, place)[0])
const dataOf = (payload: unknown, place: Place) => JSON.parse(only(payload, place).frame).data

/** Message of the refusal, whether of the whole payload or of its only element. */
function refusal(payload: unknown, place: Place): string {
  const one = (() => {
    try {
      return decode(payload, place)[0]
    } catch (error) {
      return { failure: error as Failure }
    }
  })()
  return one !== undefined && 'failure' in one ? `${one.failure.code} ${one.failure.message}` : 'accepted'
}

describe('a key that is given twice', () => {
  it.each([
    ['in data', '{"value":1,"value":2}', 'value'],
    ['as the type', '{"temperature":{"value":1},"temperature":{"value":2}}', 'temperature'],
    ['inside', '{"temperature":{"value":1,"raw":{"a":1,"b":2,"a":3}}}', 'a'],
    ['with white space', '{"value" :1,\n"value"\t:\r\n2}', 'value'],
    ['escaped', '{"v\\u0061lue":1,"value":2}', 'value'],
    ['with a quote in it', '{"a\\"b":1,"a\\"b":2}', 'a"b'],
    ['beside a text with colons', '{"value":"x\\":1,\\"value\\":","value":2}', 'value'],
    ['that is empty', '{"value":1,"":1,"":2}', ''],
    ['__proto__', '{"value":1,"__proto__":1,"__proto__":2}', '__proto__'],
    ['deep down', `{"value":${'['.repeat(5000)}{"a":1,"a":2}${']'.repeat(5000)}}`, 'a'],
  ])('%s is refused by its name', (_, payload, key) => {
    expect(refusal(payload, typed)).toBe(`invalid payload: the key ${JSON.stringify(key)} is given twice in one object`)
  })

  it('is refused in an array of events and in a line, of which the others are taken', () => {
    const twice = '{"device":"d","data":{"level":{"value":3,"value":4}}}'
    const good = '{"device":"d","data":{"level":{"value":3}}}'
    expect(refusal(`[${good},${twice}]`, open)).toContain('the key "value" is given twice')
    const [one, other] = decodeLines(json(`${good}\n${twice}`), open, clock)
    expect(eventOf(one)).toMatchObject({ device: 'd' })
    expect(other).toMatchObject({ failure: { message: expect.stringContaining('"value" is given twice') }, element: twice })
  })

  it('is not one that stands in different objects, or in a text', () => {
    const data = '{"level":{"value":3,"a":{"value":1,"b":[{"value":1},{"value":2}]},"text":"{\\"value\\":1,\\"value\\" :2}\\\\"}}'
    expect(refusal(`{"device":"d","data":${data}}`, open)).toBe('accepted')
    expect(refusal(`[{"device":"d","data":${data}},{"device":"d","data":${data}}]`, open)).toBe('accepted')
  })
})

const sample = (value: number, time = NOW) => ({ samples: [{ value, sampleTime: time }], isBackfilled: false })

describe('an event may come', () => {
  it.each([
    ['a bare number', '21.5', typed, { temperature: { ...sample(21.5), value: 21.5, updateTime: NOW } }],
    ['a bare number with white space', ' 21.5\n', typed, { temperature: { ...sample(21.5), value: 21.5, updateTime: NOW } }],
    ['a bare word', 'OPEN', { ...typed, eventType: 'contact' }, { contact: { state: 'OPEN', updateTime: NOW } }],
    ['a JSON text', '"not bare, {really}"', { ...typed, eventType: 'note' }, { note: { value: 'not bare, {really}', updateTime: NOW } }],
    ['true', 'true', { ...typed, eventType: 'on' }, { on: { value: true, updateTime: NOW } }],
    ['data', { value: 3, raw: 7 }, { ...typed, eventType: 'level' }, { level: { value: 3, raw: 7, updateTime: NOW } }],
    ['a value for the main field', { value: 400 }, { ...typed, eventType: 'co2' }, { co2: { ppm: 400, updateTime: NOW } }],
    [
      'humidity with celsius',
      { humidity: { celsius: 5, relativeHumidity: 20 } },
      device,
      {
        humidity: {
          temperature: 5,
          relativeHumidity: 20,
          samples: [{ temperature: 5, relativeHumidity: 20, sampleTime: NOW }],
          isBackfilled: false,
          updateTime: NOW,
        },
      },
    ],
    ['both', { value: 1, ppm: 400 }, { ...typed, eventType: 'co2' }, { co2: { value: 1, ppm: 400, updateTime: NOW } }],
    ['data under its type', { level: { value: 3 } }, { ...typed, eventType: 'level' }, { level: { value: 3, updateTime: NOW } }],
    ['data that names its type', { level: { value: 3 } }, device, { level: { value: 3, updateTime: NOW } }],
    ['a whole event', { eventType: 'level', data: { level: { value: 3 } } }, device, { level: { value: 3, updateTime: NOW } }],
    ['a whole event with short data', { eventType: 'level', data: { value: 3 } }, device, { level: { value: 3, updateTime: NOW } }],
    ['a whole event without a type', { device: 'd', data: { level: { value: 3 } } }, open, { level: { value: 3, updateTime: NOW } }],
    ['an empty object under its type', { level: {} }, device, { level: { updateTime: NOW } }],
  ] satisfies [string, unknown, Place, object][])('as %s', (_, payload, place, data) => {
    expect(dataOf(payload, place)).toEqual(data)
  })

  it('under names that are parts of a program elsewhere', () => {
    const event = only(
      { targetName: 'projects/p/devices/__proto__', eventType: 'constructor', data: { constructor: { toString: 1 } } },
      open,
    )
    expect([event.device, event.eventType]).toEqual(['__proto__', 'constructor'])
    expect(JSON.parse(event.frame).data).toEqual({ constructor: { toString: 1, updateTime: NOW } })
  })

  it('in an array, good and bad apart', () => {
    const whole = (name: unknown) => ({ device: name, eventType: 'level', data: { value: 1 } })
    const decoded = decode([whole('a'), 5, whole('#'), whole('b')], open)
    expect(decoded.map(one => ('event' in one ? one.event.device : one.failure.field))).toEqual(['a', 'payload', 'device', 'b'])
  })

  it('in lines, good and bad apart, with any line ends', () => {
    const lines = '{"level":{"value":1}}\r\n\n{"level":\n  \n{"level":{"value":2}}'
    const decoded = decodeLines(json(lines), device, clock)
    expect(decoded.map(one => ('event' in one ? one.event.device : one.element))).toEqual(['door', '{"level":', 'door'])
  })
})

describe('the time of an event', () => {
  it.each([
    ['its own', { data: { level: { value: 1 } }, timestamp: '2025-06-01T10:00:00+02:00' }, '2025-06-01T08:00:00.000000Z'],
    ["the reading's", { level: { value: 1, updateTime: '2025-06-01T08:00:00.1234567Z' } }, '2025-06-01T08:00:00.123456Z'],
    ['that of its arrival', { level: { value: 1 } }, NOW],
  ])('is %s', (_, payload, time) => {
    const { frame, timeUs } = only(payload, device)
    expect(JSON.parse(frame)).toMatchObject({ timestamp: time, data: { level: { updateTime: time } } })
    expect(timeUs).toBe(Date.parse(time) * 1000 + Number(time.slice(23, 26)))
  })
})

describe('the time of the data of an event', () => {
  it.each([
    ['its own, in seconds', { value: 1, timestamp: 1748764800 }, '2025-06-01T08:00:00.000000Z'],
    ['its own, in milliseconds under another name', { value: 1, ts: 1748764800000 }, '2025-06-01T08:00:00.000000Z'],
    ['its own, as text without an offset', { value: 1, time: '2025-06-01T08:00:00' }, '2025-06-01T08:00:00.000000Z'],
    ['that of its arrival, where its time is a reading', { value: 1, time: 12.5 }, NOW],
    ['that of its arrival, where it says none', { value: 1 }, NOW],
  ])('is %s', (_, payload, time) => {
    const event = JSON.parse(only(payload, { ...device, eventType: 'level' }).frame)
    expect(event).toMatchObject({ timestamp: time, data: { level: { value: 1, updateTime: time } } })
    expect(event.data.level.time).toBe('time' in payload && payload.time === 12.5 ? 12.5 : undefined)
  })
})

describe('an event of a clock that cannot be right', () => {
  const wrong = (timestamp: unknown) => only({ value: 1, timestamp }, { ...device, eventType: 'level' })

  it.each([
    [5, 'unset', '1970-01-01T00:00:05.000000Z'],
    ['2000-01-01T00:00:01Z', 'unset', '2000-01-01T00:00:01.000000Z'],
    ['2026-01-31T12:10:01Z', 'ahead', '2026-01-31T12:10:01.000000Z'],
    ['2100-01-01T00:00:00Z', 'ahead', '2100-01-01T00:00:00.000000Z'],
  ])('%j has the time of its arrival, and that of its clock beside it', (timestamp, state, time) => {
    const { frame, timeUs, sentUs } = wrong(timestamp)
    expect(JSON.parse(frame)).toMatchObject({
      timestamp: NOW,
      data: { level: { value: 1, updateTime: NOW, deviceClock: { state, time } } },
    })
    expect([timeUs, sentUs]).toEqual([Date.parse(NOW) * 1000, Date.parse(time) * 1000])
  })

  it('is no repeat of what it said at the same time before it was restarted, unless it says so by an id', () => {
    expect(wrong(5).key).toBeUndefined()
    expect(wrong('2100-01-01T00:00:00Z').key).toBeDefined()
    expect(only({ value: 1, timestamp: 5, eventId: 'e1' }, { ...device, eventType: 'level' }).key).toBeDefined()
  })

  it('is believed up to ten minutes ahead', () => {
    expect(JSON.parse(wrong('2026-01-31T12:10:00Z').frame).timestamp).toBe('2026-01-31T12:10:00.000000Z')
  })
})

describe('the frame', () => {
  it('is one line of ASCII with its fields in their order', () => {
    const event = only({ eventId: 'e1', eventType: 'note', data: { text: 'æ \u2028 😀\n' }, timestamp: '2026-01-01T00:00:00Z' }, device)
    expect(event.frame).toBe(
      '{"eventId":"e1","targetName":"projects/p/devices/door","eventType":"note","data":{"note":{"text":"\\u00e6 \\u2028 \\ud83d\\ude00\\n","updateTime":"2026-01-01T00:00:00.000000Z"}},"timestamp":"2026-01-01T00:00:00.000000Z"}',
    )
  })

  it('has the samples that readers of temperature and humidity rely on', () => {
    expect(only('21.5', typed).frame).toBe(
      '{"eventId":"newid000000000000000","targetName":"projects/p/devices/door","eventType":"temperature","data":{"temperature":{"samples":[{"value":21.5,"sampleTime":"2026-01-31T12:00:00.000000Z"}],"isBackfilled":false,"value":21.5,"updateTime":"2026-01-31T12:00:00.000000Z"}},"timestamp":"2026-01-31T12:00:00.000000Z"}',
    )
    expect(dataOf({ humidity: { relativeHumidity: 40, temperature: 20 } }, device)).toEqual({
      humidity: {
        samples: [{ temperature: 20, relativeHumidity: 40, sampleTime: NOW }],
        isBackfilled: false,
        relativeHumidity: 40,
        temperature: 20,
        updateTime: NOW,
      },
    })
  })
})

describe('what an event is known by when it comes again', () => {
  const keyOf = (payload: object) => only(payload, device).key
  const at = { timestamp: '2026-01-01T00:00:00Z' }

  it('is its own id with its time', () => {
    const data = { level: { value: 1 } }
    expect(keyOf({ data, eventId: 'x', ...at })).toBe(keyOf({ data: { level: { value: 2 } }, eventId: 'x', ...at }))
    expect(keyOf({ data, eventId: 'x', ...at })).not.toBe(keyOf({ data, eventId: 'y', ...at }))
  })

  it('is its time with its values, and then its id follows from them', () => {
    const one = only({ data: { level: { value: 1 } }, ...at }, device)
    const again = only({ data: { level: { value: 1 } }, timestamp: '2026-01-01T01:00:00+01:00' }, device)
    expect([again.key, again.frame]).toEqual([one.key, one.frame])
    expect(keyOf({ data: { level: { value: 2 } }, ...at })).not.toBe(one.key)
  })

  it('is nothing when it has neither', () => {
    expect(keyOf({ level: { value: 1 } })).toBeUndefined()
  })
})

const deep = (levels: number) => `${'['.repeat(levels)}1${']'.repeat(levels)}`
const many = Object.fromEntries(Array.from({ length: 257 }, (_, i) => [`k${i}`, i]))

describe('refused is', () => {
  it.each([
    ['an empty object', {}, typed, 'invalid data.temperature: expected at least one field'],
    ['null', 'null', typed, 'invalid payload: expected a number, a string, true or false, an object with the data, or a whole event'],
    ['an empty text', '""', typed, /^invalid payload: expected a number/],
    ['an array for one type', '[1]', typed, /^invalid payload: expected a number/],
    ['an empty array', '[]', open, 'invalid events: expected at least one event, got an empty array'],
    ['too many events', `[${'1,'.repeat(10_000)}1]`, open, 'too_large events: at most 10000 in one request'],
    ['broken JSON', '{"value":', typed, /^invalid payload: not JSON: /],
    ['a bare word without a type', 'OPEN', device, /^invalid payload: not JSON: /],
    ['a value without a type', '5', device, 'invalid payload: expected a whole event: an object with targetName, eventType and data'],
    ['two types', { a: { v: 1 }, b: { v: 2 } }, device, /^invalid payload: expected a whole event/],
    ['a whole event without a device', { eventType: 'a', data: { v: 1 } }, open, /^invalid targetName: missing/],
    ['a device of no text', { device: 5, data: { a: { v: 1 } } }, open, /^invalid targetName: missing/],
    ['a target of no text', { targetName: 5, data: { a: { v: 1 } } }, open, /^invalid targetName: expected projects/],
    ['a target of another form', { targetName: 'devices/a', data: { a: { v: 1 } } }, open, /^invalid targetName: expected projects/],
    [
      'a target in another project',
      { targetName: 'projects/q/devices/a', data: { a: { v: 1 } } },
      open,
      'invalid targetName: expected project p, got q',
    ],
    [
      'a device that is another one',
      { device: 'a', eventType: 'a', data: { v: 1 } },
      device,
      'invalid device: expected the device of the topic or route, door',
    ],
    [
      'a device of a number',
      { device: 5, eventType: 'a', data: { v: 1 } },
      device,
      'invalid device: expected the device of the topic or route, door',
    ],
    [
      'a target that is another device',
      { targetName: 'projects/p/devices/a', eventType: 'a', data: { v: 1 } },
      device,
      'invalid targetName: expected the device of the topic or route, door',
    ],
    ['a device with a wildcard', { device: 'a/+', data: { a: { v: 1 } } }, open, /^invalid device: expected 1 to 128 characters/],
    ['a type of no text', { eventType: 5, data: { a: 1 } }, device, 'invalid eventType: expected the name of the event type'],
    ['a type with a space', { eventType: 'a b', data: { v: 1 } }, device, /^invalid eventType: expected 1 to 64 characters/],
    [
      "a type that is not the topic's",
      { eventType: 'a', data: { v: 1 } },
      typed,
      'invalid eventType: expected the event type of the topic, temperature',
    ],
    ["Telltale's own type", { eventType: 'labelsChanged', data: { v: 1 } }, device, /^invalid eventType: labelsChanged is written/],
    ['a bare value of its own type', '5', { ...device, eventType: 'labelsChanged' }, /^invalid eventType: labelsChanged is written/],
    ['a gap', { gap: { from: 'a', to: 'b' } }, device, /^invalid eventType: gap is written by Telltale/],
    ['a gap in an array', [{ device: 'a', eventType: 'gap', data: { gap: { v: 1 } } }], open, /^invalid eventType: gap is written/],
    ['a ping', '1', { ...device, eventType: 'ping' }, /^invalid eventType: ping is written by Telltale/],
    ['a ping as a whole event', { device: 'a', eventType: 'ping', data: null }, open, /^invalid eventType: ping is written/],
    ['humidity alone', { humidity: { relativeHumidity: 5 } }, device, 'invalid data.humidity.temperature: expected a number'],
    [
      'humidity without a temperature',
      { humidity: { relativeHumidity: 5, temperature: null } },
      device,
      /^invalid data\.humidity\.temperature/,
    ],
    ['bare humidity', '5', { ...device, eventType: 'humidity' }, /^invalid data\.humidity\.temperature/],
    [
      'humidity with half a sample',
      { humidity: { relativeHumidity: 5, temperature: 20, samples: [{ relativeHumidity: 5 }] } },
      device,
      'invalid data.humidity.samples.0.temperature: expected a number',
    ],
    [
      'a signal that nobody measured',
      { networkStatus: { signalStrength: 60 } },
      device,
      'invalid data.networkStatus.rssi: expected a number',
    ],
    [
      'a signal that one connector did not measure',
      { networkStatus: { signalStrength: 60, rssi: -70, cloudConnectors: [{ id: 'c', rssi: null }] } },
      device,
      'invalid data.networkStatus.cloudConnectors.0.rssi: expected a number',
    ],
    ['data of no object', { eventType: 'co2', data: 5 }, device, 'invalid data: expected an object such as {"co2":{"ppm":…}}'],
    ['a field beside the data', { a: { v: 1 }, b: 2 }, { ...device, eventType: 'a' }, 'invalid data.b: unknown field beside data.a'],
    ['no device', { temperature: { value: 3 } }, { ...open, saidBy: 'the key' }, 'invalid device: missing: set the key'],
    [
      'no device in a whole event',
      { eventType: 'a', data: { a: { v: 1 } } },
      { ...open, saidBy: 'the key' },
      'invalid device: missing: set the key',
    ],
    ['an unknown field', { device: 'a', data: { a: { v: 1 } }, extra: 1 }, open, /^invalid extra: unknown field; an event has eventId/],
    ['an id of no text', { eventId: 5, data: { a: { v: 1 } } }, device, 'invalid eventId: expected a string'],
    ['an id with a space', { eventId: 'a b', data: { a: { v: 1 } } }, device, /^invalid eventId: expected 1 to 64 printable/],
    [
      'a time of neither text nor number',
      { timestamp: true, data: { a: { v: 1 } } },
      device,
      /^invalid timestamp: expected an RFC 3339 time/,
    ],
    ['a time that is a date', { timestamp: '2026-01-01', data: { a: { v: 1 } } }, device, /^invalid timestamp: expected/],
    ['a day that does not exist', { a: { v: 1, updateTime: '2026-02-30T00:00:00Z' } }, device, /^invalid data\.a\.updateTime: expected/],
    ['1e999', '1e999', typed, 'invalid temperature: expected a finite number'],
    ['1e999 inside', '{"value":-1e999}', typed, 'invalid data.value: expected a finite number'],
    ['NaN', '{"value":NaN}', typed, /^invalid payload: not JSON: /],
    ['a prototype', '{"temperature":{"__proto__":{"x":1}}}', typed, 'invalid data.temperature.__proto__: not a field name'],
    ['a prototype at the top', '{"__proto__":{"x":1}}', typed, 'invalid data.__proto__: not a field name'],
    ['a prototype as a whole event', '{"data":{"a":{}},"__proto__":{"x":1}}', open, /^invalid __proto__: unknown field/],
    ['too many fields', { temperature: many }, typed, 'invalid data.temperature: at most 256 fields, got 257'],
    ['deep nesting', `{"a":${deep(17)}}`, typed, /nested deeper than 16 levels$/],
    ['too long a frame', { note: { text: 'x'.repeat(70_000) } }, device, /^too_large event: at most 65536 characters, got /],
  ] satisfies [string, unknown, Place, string | RegExp][])('%s', (_, payload, place, message) => {
    expect(refusal(payload, place)).toMatch(message instanceof RegExp ? message : new RegExp(`^${escaped(message)}$`))
  })

  const escaped = (text: string) => text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)

  it('no line at all', () => {
    for (const text of ['\n', ' \r\n\n'])
      expect(() => decodeLines(json(text), open, clock)).toThrow('events: expected at least one event, got no line')
  })

  it('what is not UTF-8', () => {
    for (const bytes of [[0xff], [0x22, 0xc0, 0x80, 0x22], [0x22, 0xed, 0xa0, 0x80, 0x22]])
      expect(() => decodeJson(Buffer.from(bytes), typed, clock)).toThrow('payload: not UTF-8 text')
  })

  it.each([typed, device, open])('a hundred thousand brackets, without running out of stack', place => {
    expect(refusal(deep(100_000), place)).toMatch(/^invalid/)
    expect(refusal(`[1,${deep(100_000)}]`, place)).toMatch(/^invalid/)
    expect(refusal(`{"value":${deep(100_000)}}`, place)).toMatch(/^invalid/)
  })

  it('with the element as it was sent', () => {
    const [one] = decode('{"value": 1e999 }', typed)
    expect(one).toMatchObject({ element: '{"value": 1e999 }' })
    expect(decode('[{"a":1}]', open)[0]).toMatchObject({ element: '{"a":1}' })
  })
})
