// The user's own JavaScript: what it is given, what it may give back, and how it is told what was wrong.
import { afterAll, describe, expect, it } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import type { Decoded, Place } from './event.ts'
import { NO_MEMORY } from './fixture.ts'
import { javascriptFormat } from './javascript.ts'
import { Sandbox } from './sandbox.ts'
import { SandboxThread } from './sandboxthread.ts'

/** A thread runs what is built. */
const PROGRAM = new URL('../../../dist/services/gateway/decode/sandboxthread.js', import.meta.url)
const sandbox = new Sandbox(new SandboxThread(PROGRAM))
const format = javascriptFormat(sandbox)
afterAll(() => sandbox.close())

const NOW = '2026-01-31T12:00:00.000000Z'
const clock = { nowUs: () => Date.parse(NOW) * 1000, newId: () => 'newid000000000000000' }

async function decode(body: string, bytes: Buffer | string = '', place: Place = { project: 'p' }): Promise<readonly Decoded[]> {
  const options = { code: `function decode(input) { ${body} }` }
  const payload = { bytes: Buffer.from(bytes), topic: ['farm', '7', 'raw'], place, options, memory: NO_MEMORY }
  return (await format.decode(payload, clock)).decoded
}

/** Of each element: the event as it goes out, or the refusal. */
async function told(body: string, bytes: Buffer | string = '', place?: Place): Promise<unknown[]> {
  try {
    const decoded = await decode(body, bytes, place)
    return decoded.map(one => ('event' in one ? eventIn(one.event.frame) : one.failure.message))
  } catch (error) {
    if (error instanceof Failure) return [error.message]
    throw error
  }
}

function eventIn(frame: string): unknown {
  const { targetName, eventType, data, timestamp } = JSON.parse(frame)
  const { samples: _, isBackfilled: __, updateTime: ___, ...fields } = data[eventType]
  return [targetName.slice('projects/p/devices/'.length), eventType, fields, ...(timestamp === NOW ? [] : [timestamp])]
}

describe('a function gets', () => {
  it('the bytes, the text, its JSON, the levels of the topic and the time', async () => {
    const body = `return { device: 'd', eventType: 'seen', data: { first: input.bytes[0], text: input.text, t: input.json.t, topic: input.topic[1], time: input.time } }`
    expect(await told(body, '{"t":5}')).toEqual([['d', 'seen', { first: 123, text: '{"t":5}', t: 5, topic: '7', time: NOW }]])
  })

  it('neither text nor JSON where there is none', async () => {
    const body = `return { device: 'd', eventType: 'seen', data: { text: typeof input.text, json: typeof input.json } }`
    expect(await told(body, Buffer.from([0xff, 0xfe]))).toEqual([['d', 'seen', { text: 'undefined', json: 'undefined' }]])
    expect(await told(body, 'not JSON')).toEqual([['d', 'seen', { text: 'string', json: 'undefined' }]])
  })

  it('the device and type of its mapping, which it need not say again', async () => {
    const place = { project: 'p', device: 'd', eventType: 'temperature' }
    expect(await told('return { value: input.device.length }', '', place)).toEqual([['d', 'temperature', { value: 1 }]])
  })
})

describe('a function gives', () => {
  it.each([
    ['a value', `{ device: 'd', eventType: 'co2', value: 415 }`, [['d', 'co2', { ppm: 415 }]]],
    [
      'a value with its unit',
      `{ device: 'd', eventType: 'temperature', value: 70.7, unit: '°F' }`,
      [['d', 'temperature', { value: 21.5, original: { value: 70.7, unit: '°F' } }]],
    ],
    ['data', `{ device: 'd', eventType: 'level', data: { value: 3, raw: 7 } }`, [['d', 'level', { value: 3, raw: 7 }]]],
    ['data under its type', `{ device: 'd', data: { level: { value: 3 } } }`, [['d', 'level', { value: 3 }]]],
    [
      'a whole event',
      `{ targetName: 'projects/p/devices/d', eventType: 'level', data: { level: { value: 3 } } }`,
      [['d', 'level', { value: 3 }]],
    ],
    ['a number as device', `{ device: 42, eventType: 'level', value: 3 }`, [['42', 'level', { value: 3 }]]],
    [
      'a time',
      `{ device: 'd', eventType: 'level', value: 3, timestamp: '2026-01-01T01:00:00+01:00' }`,
      [['d', 'level', { value: 3 }, '2026-01-01T00:00:00.000000Z']],
    ],
    [
      'a Unix time',
      `{ device: 'd', eventType: 'level', value: 3, timestamp: 1767225600 }`,
      [['d', 'level', { value: 3 }, '2026-01-01T00:00:00.000000Z']],
    ],
    [
      'a Date',
      `{ device: 'd', eventType: 'level', value: 3, timestamp: new Date(1767225600000) }`,
      [['d', 'level', { value: 3 }, '2026-01-01T00:00:00.000000Z']],
    ],
    [
      'several',
      `[1, 2].map(n => ({ device: 'd' + n, eventType: 'level', value: n }))`,
      [
        ['d1', 'level', { value: 1 }],
        ['d2', 'level', { value: 2 }],
      ],
    ],
    [
      'good and bad',
      `[{ device: 'a/b', eventType: 'level', value: 1 }, { device: 'd', eventType: 'level', value: 2 }]`,
      [expect.stringMatching(/^device: expected 1 to 128/), ['d', 'level', { value: 2 }]],
    ],
    ['null', 'null', []],
    ['nothing', '', []],
    ['an empty list', '[]', []],
  ])('%s', async (_, result, expected) => {
    expect(await told(`return ${result}`)).toEqual(expected)
  })
})

describe('what it gives is refused', () => {
  it.each([
    ['5', /^result: decode\(\) gave 5; expected one event such as/],
    ['["x"]', /^result: decode\(\) gave "x"; expected one event such as/],
    [`'text'`, /^result: decode\(\) gave "text"; expected/],
    [`{ device: 'd', eventtype: 'level', value: 3 }`, /^eventtype: is unknown here; did you mean "eventType"\?/],
    [`{ eventType: 'level', value: 3 }`, /^device: missing/],
    [`{ device: {}, eventType: 'level', value: 3 }`, /^device: expected the id of the device, got \{\}/],
    [`{ device: 'd', value: 3 }`, /^eventType: expected the name of the event type, got nothing/],
    [`{ device: 'd', eventType: 'level' }`, /^data: missing: expected data or value/],
    [`{ device: 'd', eventType: 'level', value: { a: 1 } }`, /^value: expected a number, a text, true or false, got \{"a":1\}/],
    [`{ device: 'd', eventType: 'level', value: 1, data: {} }`, /^value: expected data or value, not both/],
    [`{ device: 'd', eventType: 'temperature', value: 1, unit: 'kg' }`, /^temperature: expected a unit of temperature, got kg/],
    [`{ device: 'd', eventType: 'level', value: NaN }`, /^code: TypeError: the result has NaN as "value"; expected a finite number/],
    [`{ device: 'd', eventType: 'level', value: 1, timestamp: 'soon' }`, /^timestamp: expected an RFC 3339 time/],
    [`{ device: 'd', eventType: 'gap', value: 1 }`, /^eventType: gap is written by Telltale itself/],
    [`{ device: 'd', eventType: 'a b', value: 1 }`, /^eventType: expected 1 to 64 characters/],
    [`{ targetName: 'projects/q/devices/d', eventType: 'level', data: { value: 1 } }`, /^targetName: expected project p, got q/],
    [`{ device: 'd', eventType: 'level', data: JSON.parse('{"__proto__":{"x":1}}') }`, /^data\.__proto__: not a field name/],
    [`Array.from({ length: 10001 }, () => 1)`, /^events: at most 10000/],
    ['input.json.a', /^code: TypeError: cannot read property 'a' of undefined/],
  ])('%s', async (result, message) => {
    expect(await told(`return ${result}`)).toEqual([expect.stringMatching(message)])
  })

  it('another device than that of the topic', async () => {
    expect(await told(`return { device: 'e', eventType: 'level', value: 3 }`, '', { project: 'p', device: 'd' })).toEqual([
      'device: expected the device of the topic or route, d',
    ])
  })

  it('what is too large to be given to it', async () => {
    expect(await told('return null', Buffer.alloc(70_000))).toEqual(['payload: at most 65536 bytes for a decoder in JavaScript'])
  })
})

it('a mistake is told when the mapping is saved', async () => {
  await expect(format.check?.({ code: 'function decode( { }' })).rejects.toThrow(/^options\.code: SyntaxError: .* \(line 1, column \d+\)$/)
  await expect(format.check?.({ code: 'function decode() { return null }' })).resolves.toBeUndefined()
})
