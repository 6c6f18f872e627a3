// What fits a schema and what does not, in words; and definitions that are none, or that would keep us busy for ever.
import protobuf from 'protobufjs'
import { describe, expect, test } from 'vitest'
import { Failure } from '../../core/failure.ts'
import { openSchema } from './schema.ts'

const json = (definition: unknown) => openSchema({ type: 'json', definition })
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value))

function failureOf(act: () => unknown): Failure {
  try {
    act()
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
  throw new Error('nothing was refused')
}

function refusal(act: () => unknown): string {
  const { code, field, message } = failureOf(act)
  expect({ code, field }).toEqual({ code: 'invalid', field: 'schema' })
  expect(message).toMatch(/^Schema validation has failed: /)
  return message.replace('Schema validation has failed: ', '')
}

const READING = {
  type: 'object',
  properties: {
    celsius: { type: 'number' },
    place: { type: 'object', properties: { room: { enum: ['lab', 'hall'] } }, required: ['room'] },
  },
  required: ['celsius', 'unit'],
  additionalProperties: false,
}

describe('a JSON Schema', () => {
  test.each<[string, unknown, string]>([
    ['what is missing', {}, "missing properties: 'celsius', 'unit'; "],
    ['what is missing inside', { celsius: 1, unit: 'C', place: {} }, "missing properties: 'place.room'"],
    ['what nobody knows', { celsius: 1, unit: 'C', humidity: 3 }, "unknown properties: 'humidity'"],
    ['what is of another type', { celsius: '21', unit: 'C' }, "'celsius': must be number"],
    ['what is not among the choices', { celsius: 1, unit: 'C', place: { room: 'x' } }, `'place.room': must be one of ["lab","hall"]`],
    ['another thing altogether', [1], 'the value: must be object'],
  ])('names %s', (_, value, words) => {
    const definition = { ...READING, properties: { ...READING.properties, unit: { type: 'string' } } }
    expect(`${refusal(() => json(definition)(bytes(value)))}; `).toContain(words)
  })

  test('names everything at once, and lets through what fits', () => {
    const check = json({ ...READING, additionalProperties: true })
    expect(refusal(() => check(bytes({ celsius: 'x', place: { room: 1 } })))).toBe(
      `missing properties: 'unit'; 'celsius': must be number; 'place.room': must be one of ["lab","hall"]`,
    )
    expect(() => check(bytes({ celsius: 4.65, unit: 'C' }))).not.toThrow()
  })

  test('refuses what is no JSON', () => {
    expect(refusal(() => json({})(Buffer.from('celsius=4')))).toMatch(/^not JSON: /)
    expect(refusal(() => json({})(Buffer.alloc(0)))).toMatch(/^not JSON: /)
  })

  test.each([
    'http://json-schema.org/draft-07/schema#',
    'https://json-schema.org/draft/2019-09/schema',
    'https://json-schema.org/draft/2020-12/schema',
  ])('may be of the draft %s', $schema => {
    expect(refusal(() => json({ $schema, required: ['a'] })(bytes({})))).toBe("missing properties: 'a'")
  })

  test.each<[string, unknown, string, RegExp]>([
    ['of an unknown draft', { $schema: 'http://json-schema.org/draft-04/schema#' }, 'schema.definition.$schema', /draft-07/],
    ['with a wrong keyword', { properties: { a: { type: 'float' } } }, 'schema.definition.properties.a.type', /must be/],
    ['with a pattern that is none', { pattern: '(' }, 'schema.definition', /regular expression/i],
    ['that refers to somewhere else', { $ref: 'https://example.com/other.json' }, 'schema.definition', /can't resolve reference/],
    ['that is a list', [], 'schema.definition', /an object/],
    ['that waits', { $async: true }, 'schema.definition.$async', /not a keyword/],
    ['that is too long', { description: 'x'.repeat(70_000) }, 'schema.definition', /at most 65536 bytes/],
  ])('%s is refused, with the place', (_, definition, field, message) => {
    const failure = failureOf(() => json(definition))
    expect(failure).toMatchObject({ code: 'invalid', field })
    expect(failure.message).toMatch(message)
  })

  test('that refers to itself without end is an answer, not a crash', () => {
    const round = { $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' }
    expect(failureOf(() => json(round))).toMatchObject({ code: 'invalid', field: 'schema.definition' })
    expect(refusal(() => json({ $ref: '#' })(bytes(1)))).toBe('nested too deeply')
  })

  test('may refer to itself for what is inside', () => {
    const tree = json({ type: 'object', properties: { left: { $ref: '#' } }, required: ['name'] })
    tree(bytes({ name: 'a', left: { name: 'b' } }))
    expect(refusal(() => tree(bytes({ name: 'a', left: {} })))).toBe("missing properties: 'left.name'")
  })

  test('a million wrong elements are one problem', () => {
    const check = json({ type: 'array', items: { type: 'string' } })
    expect(refusal(() => check(bytes(new Array(200_000).fill(1))))).toBe("'0': must be string")
  })

  test('two definitions that call themselves the same do not meet', () => {
    const $id = 'https://example.com/reading'
    json({ $id, type: 'string' })(bytes('x'))
    json({ $id, type: 'number' })(bytes(1))
  })
})

describe('a protobuf schema', () => {
  const PROTO = `syntax = "proto2";
    package plant;
    enum Unit { C = 0; F = 1; }
    message Place { required string room = 1; }
    message Reading {
      required double celsius = 1;
      optional Place place = 2;
      repeated int32 raw = 3 [packed = true];
      optional Unit unit = 4;
      map<string, Place> places = 5;
      optional string note = 6;
    }`
  const reading = protobuf.parse(PROTO, { keepCase: true }).root.lookupType('plant.Reading')
  const check = openSchema({ type: 'protobuf', definition: PROTO, message: 'plant.Reading' })
  const message = (fields: object) => Buffer.from(reading.encode(reading.fromObject(fields)).finish())
  const whole = { celsius: 4.65, place: { room: 'lab' }, raw: [1, 2, 300], unit: 1, places: { a: { room: 'hall' } }, note: 'cold' }

  test('lets through what fits, and what a later version has added', () => {
    check(message(whole))
    check(Buffer.concat([message(whole), Buffer.from([0x9a, 0x06, 1, 0])]))
  })

  test('takes repeated numbers packed and one by one', () => {
    check(Buffer.concat([message({ celsius: 1 }), Buffer.from([0x18, 5, 0x18, 6])]))
  })

  test.each<[string, Buffer, string]>([
    ['what is missing', Buffer.alloc(0), "missing properties: 'celsius'"],
    ['what is missing inside', Buffer.concat([message({ celsius: 1 }), Buffer.from([0x12, 0])]), "missing properties: 'place.room'"],
    [
      'a value of a map',
      Buffer.concat([message({ celsius: 1 }), Buffer.from([0x2a, 2, 0x12, 0])]),
      "missing properties: 'places.value.room'",
    ],
    ['what is of another type', Buffer.from([0x08, 1]), "'celsius': must be double"],
    ['text that is none', Buffer.concat([message({ celsius: 1 }), Buffer.from([0x32, 1, 0xff])]), "'note': must be UTF-8"],
  ])('names %s', (_, payload, words) => {
    expect(refusal(() => check(payload))).toBe(words)
  })

  test.each<[string, Buffer]>([
    ['text', Buffer.from('{"celsius":1}')],
    ['cut off', message(whole).subarray(0, -3)],
    ['a length beyond the end', Buffer.from([0x12, 0x7f, 1])],
  ])('%s is no such message', (_, payload) => {
    expect(refusal(() => check(payload))).toMatch(/not a message of type plant\.Reading: /)
  })

  test('nests as deep as the limit, and no deeper', () => {
    const definition = 'syntax = "proto3"; message Node { Node next = 1; }'
    const node = openSchema({ type: 'protobuf', definition, message: 'Node' })
    const nested = (depth: number): Buffer =>
      depth === 0
        ? Buffer.alloc(0)
        : (protobuf.Writer.create()
            .uint32(10)
            .bytes(nested(depth - 1))
            .finish() as Buffer)
    node(nested(60))
    expect(refusal(() => node(nested(100)))).toMatch(/nested too deeply$/)
  })

  test.each<[string, string, string, string, RegExp]>([
    ['that is no .proto', 'hello', 'Reading', 'schema.definition', /illegal token 'hello'.*line 1/],
    ['with a type that is nowhere', 'syntax = "proto3"; message A { B b = 1; }', 'A', 'schema.definition', /no such.*B/],
    ['without the message', 'syntax = "proto3"; message A { }', 'B', 'schema.message', /no such.*B/],
    ['that imports', 'syntax = "proto3"; import "other.proto"; message A { }', 'A', 'schema.definition', /other\.proto/],
  ])('%s is refused, with the place', (_, definition, name, field, words) => {
    const failure = failureOf(() => openSchema({ type: 'protobuf', definition, message: name }))
    expect(failure).toMatchObject({ code: 'invalid', field })
    expect(failure.message).toMatch(words)
  })

  test('takes no longer for a message within than its bytes are worth, however many fields it might have', () => {
    const fields = Array.from({ length: 2500 }, (_, i) => `optional int32 f${i}=${i + 2};`).join(' ')
    const definition = `syntax = "proto2"; message Node { repeated Node node = 1; ${fields} map<string, Node> nodes = 5000; }`
    const node = openSchema({ type: 'protobuf', definition, message: 'Node' })
    const ms = (payload: Buffer) => {
      const startedMs = performance.now()
      node(payload)
      return performance.now() - startedMs
    }
    const nested = Buffer.alloc(200_000, Buffer.from([0x0a, 0]))
    const entries = Buffer.alloc(200_000, Buffer.from([0xc2, 0xb8, 0x02, 0x00]))
    ms(nested.subarray(0, 100))
    const lone = Buffer.alloc(200_000, Buffer.from([0x10, 0]))
    // As long as this many numbers, about.
    const plainMs = Math.max(ms(lone), 5)
    expect(ms(nested)).toBeLessThan(20 * plainMs)
    expect(ms(entries)).toBeLessThan(20 * plainMs)
  })

  test('may use the types that everybody has', () => {
    const definition = 'syntax = "proto3"; import "google/protobuf/timestamp.proto"; message A { google.protobuf.Timestamp at = 1; }'
    const at = openSchema({ type: 'protobuf', definition, message: 'A' })
    at(Buffer.from([0x0a, 2, 0x08, 5]))
    expect(refusal(() => at(Buffer.from([0x0a, 2, 0x0a, 0])))).toBe("'at.seconds': must be int64")
  })
})
