// Names that may and may not stand in an event, and the readings in its data.
import { describe, expect, it } from 'vitest'
import { checkDevice, checkEventId, checkEventType, checkProject, mainField, readingsOf } from './event.ts'
import { Failure } from './failure.ts'

const checks = { project: checkProject, device: checkDevice, eventType: checkEventType, eventId: checkEventId }

describe('a name', () => {
  it.each<[keyof typeof checks, string]>([
    ['project', 'default'],
    ['project', '0_a-b'],
    ['project', `a${'b'.repeat(62)}`],
    ['project', 'constructor'],
    ['device', 'cr1tqhod2kq0f5m3n7c0'],
    ['device', '__proto__'],
    ['device', 'constructor'],
    ['device', '...'],
    ['device', 'Kühlraum 3 "links", {a=b}'],
    ['device', '🌡'],
    ['device', 'x'.repeat(128)],
    ['eventType', 'temperature'],
    ['eventType', 'acme.co2-raw_1'],
    ['eventType', 'toString'],
    ['eventId', '!~'],
    ['eventId', 'x'.repeat(64)],
  ])('of a %s may be %j', (kind, name) => expect(checks[kind](name)).toBe(name))

  it.each<[keyof typeof checks, string]>([
    ['project', ''],
    ['project', '-'],
    ['project', '_a'],
    ['project', 'A'],
    ['project', 'a b'],
    ['project', 'a\n'],
    ['project', 'a'.repeat(64)],
    ['device', ''],
    ['device', '-'],
    ['device', '.'],
    ['device', '..'],
    ['device', 'a/b'],
    ['device', 'a+'],
    ['device', '#'],
    ['device', 'a\u0000'],
    ['device', 'a\u0085'],
    ['device', 'a\u2028'],
    ['device', 'a\ud800'],
    ['device', '\udc00a'],
    ['device', 'x'.repeat(129)],
    ['eventType', ''],
    ['eventType', '__proto__'],
    ['eventType', '1a'],
    ['eventType', 'a/b'],
    ['eventType', 'a'.repeat(65)],
    ['eventId', ''],
    ['eventId', 'a b'],
    ['eventId', 'é'],
    ['eventId', 'x'.repeat(65)],
  ])('of a %s may not be %j', (kind, name) => {
    expect(() => checks[kind](name)).toThrow(Failure)
    expect(() => checks[kind](name, 'here')).toThrow(expect.objectContaining({ code: 'invalid', field: 'here' }))
  })
})

describe('the readings of an event', () => {
  it.each<[string, string, [string, number][]]>([
    ['temperature', '{"temperature":{"value":21.5,"updateTime":"2025-03-02T06:41:09Z"}}', [['value', 21.5]]],
    ['temperature', '{"temperature":-3}', [['value', -3]]],
    [
      'humidity',
      '{"humidity":{"temperature":21,"relativeHumidity":40}}',
      [
        ['temperature', 21],
        ['relativeHumidity', 40],
      ],
    ],
    [
      'acme',
      '{"acme":{"a":{"b":{"c":1}},"d":2}}',
      [
        ['a.b.c', 1],
        ['d', 2],
      ],
    ],
    ['acme', '{"acme":{"list":[1,2],"text":"3","on":true,"none":null}}', []],
    ['acme', '{"acme":{"":1,"a":{"":2},"b":3}}', [['b', 3]]],
    ['acme', '{"other":{"value":1}}', []],
    [
      'acme',
      '{"acme":{"__proto__":1,"constructor":{"length":2}}}',
      [
        ['__proto__', 1],
        ['constructor.length', 2],
      ],
    ],
    ['constructor', '{}', []],
    ['toString', '{"toString":{"value":1}}', [['value', 1]]],
    ['labelsChanged', '{"added":{"a":"b"},"modified":{},"removed":[]}', []],
  ])('%s %s', (eventType, data, readings) => expect(readingsOf(eventType, JSON.parse(data))).toEqual(readings))

  it.each([
    ['co2', 'ppm'],
    ['temperature', 'value'],
    ['motion', 'state'],
    ['constructor', 'value'],
  ])('of %s are led by %s', (eventType, field) => expect(mainField(eventType)).toBe(field))
})
