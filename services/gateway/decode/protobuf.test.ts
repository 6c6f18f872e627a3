// Protobuf by an uploaded definition: every type, what is left out on the wire, what is hostile, and what is refused by its name.
import protobuf from 'protobufjs'
import { describe, expect, it } from 'vitest'
import { decodeShort, eventsOf, type Sample, survives } from './fixture.ts'
import { protobufFormat as format } from './protobuf.ts'

const SCHEMA = `
  syntax = "proto3";
  package farm;
  import "google/protobuf/timestamp.proto";
  enum Kind { UNKNOWN = 0; SOIL = 1; AIR = 2; }
  message Reading { string name = 1; double value = 2; optional double low = 3; Kind kind = 4; }
  message Report {
    Station station = 1;
    google.protobuf.Timestamp time = 2;
    repeated Reading readings = 3;
    int64 sequence = 4;
    map<string, int32> counts = 5;
    bytes raw = 6;
    uint32 unix = 7;
    message Station { string id = 1; float celsius = 2; }
  }
  message Numbers {
    int32 a = 1; sint32 b = 2; int64 c = 3; sint64 d = 4; uint64 e = 5; fixed32 f = 6; sfixed32 g = 7; fixed64 h = 8; sfixed64 i = 9;
    bool j = 10; repeated int32 k = 11; repeated double l = 12 [packed = false]; Kind m = 13; repeated Kind n = 14; uint32 o = 15;
  }`
const types = protobuf
  .parse(SCHEMA.replace(/import .*/, ''), { keepCase: true })
  .root.addJSON(protobuf.common.get('google/protobuf/timestamp.proto')?.nested ?? {})
const bytesOf = (message: string, value: object) =>
  Buffer.from(types.lookupType(message).encode(types.lookupType(message).fromObject(value)).finish())

const REPORT = {
  station: { id: 's1', celsius: 21.3 },
  time: { seconds: 1767225600, nanos: 500_000_000 },
  readings: [
    { name: 'a', value: 1.5, kind: 'SOIL' },
    { name: 'b', value: 0 },
  ],
  sequence: 7,
  counts: { x: 1, y: -2 },
  raw: Buffer.from([1, 2, 3]),
}
const events = (options: Record<string, unknown>, value: object = REPORT, message = 'farm.Report') =>
  eventsOf(format, ['farm/s1', bytesOf(message, value)], { options: { schema: SCHEMA, message, ...options } })

describe('a message', () => {
  it('becomes one event with all its fields, as JSON has them', async () => {
    expect(await events({ device: 'station.id', eventType: 'report', timestamp: 'time', eventId: 'sequence' })).toEqual([
      [
        's1',
        'report',
        {
          station: { id: 's1', celsius: 21.3 },
          time: '2026-01-01T00:00:00.500000Z',
          readings: [
            { name: 'a', value: 1.5, kind: 'SOIL' },
            { name: 'b', value: 0, kind: 'UNKNOWN' },
          ],
          sequence: 7,
          counts: { x: 1, y: -2 },
          raw: 'AQID',
          unix: 0,
        },
        '2026-01-01T00:00:00.500000Z',
      ],
    ])
  })

  it.each([21.3, 4_194_304.5])('keeps the float %d to its last digit', async celsius => {
    const found = await events({ device: 'station.id', eventType: 't', value: 'station.celsius' }, { station: { id: 's1', celsius } })
    expect(found).toEqual([['s1', 't', { value: celsius }]])
  })

  it('becomes a value with its unit', async () => {
    expect(
      await events(
        { device: 'station.id', eventType: 'temperature', value: 'station.celsius', unit: '°F' },
        { station: { id: 's1', celsius: 70.7 } },
      ),
    ).toEqual([['s1', 'temperature', { value: 21.5, original: { value: 70.7, unit: '°F' } }]])
  })

  it('that leaves a zero out, as proto3 does, has one', async () => {
    expect(await events({ device: 'station.id', eventType: 'temperature', value: 'station.celsius' }, { station: { id: 's1' } })).toEqual([
      ['s1', 'temperature', { value: 0 }],
    ])
  })

  it('becomes an event for each of its list, with what stands around it', async () => {
    expect(await events({ each: 'readings', device: 'station.id', eventType: 'level', value: 'value', timestamp: 'time' })).toEqual([
      ['s1', 'level', { value: 1.5 }, '2026-01-01T00:00:00.500000Z'],
      ['s1', 'level', { value: 0 }, '2026-01-01T00:00:00.500000Z'],
    ])
    expect((await events({ each: 'readings', device: 'name' }))[0]).toEqual(['a', 'reading', { name: 'a', value: 1.5, kind: 'SOIL' }])
  })

  it('keeps every digit of its numbers, as text where it must', async () => {
    const numbers = {
      a: -5,
      b: -5,
      c: '-9223372036854775808',
      d: '-9007199254740993',
      e: '18446744073709551615',
      f: 4294967295,
      g: -1,
      h: '9007199254740993',
      i: '-1',
      j: true,
      k: [1, -2, 3],
      l: [0.5, 1.5],
      m: 2,
      n: [1, 2, 9],
      o: 4294967295,
    }
    const [, , fields] = (await events({ device: 'a' }, numbers, 'farm.Numbers'))[0] as [string, string, object]
    expect(fields).toEqual({ ...numbers, i: -1, m: 'AIR', n: ['SOIL', 'AIR', 9] })
  })
})

describe('a definition is refused', () => {
  const GOOD = { schema: SCHEMA, message: 'farm.Report' }

  it.each([
    [{ schema: 'message {' }, /^options\.schema: illegal type name '\{' \(line 1\)/],
    [
      { schema: 'syntax = "proto3"; import "other.proto"; message A { int32 a = 1; }' },
      /^options\.schema: import "other\.proto": expected everything in one file/,
    ],
    [{ schema: 'syntax = "proto3"; message A { Missing a = 1; }', message: 'A' }, /^options\.schema: .*Missing/],
    [{ schema: `message A { ${'int32 a'.repeat(20_000)} }` }, /^options\.schema: expected at most 65536 bytes/],
    [{ schema: 'message A {'.repeat(5000) }, /^options\.schema: /],
    [
      { schema: `message A { ${Array.from({ length: 1001 }, (_, i) => `optional int32 f${i} = ${i + 1};`).join('')} }` },
      /^options\.schema: expected at most 1000 fields, got 1001/,
    ],
    [{ message: 'Report2' }, /^options\.message: no such (type|Type)/],
    [{ device: 'station.di' }, /^options\.device: farm\.Report\.Station has no field di; did you mean "id"\? Valid: id, celsius/],
    [{ device: 'station.id.x' }, /^options\.device: id has no fields/],
    [{ value: 'readings' }, /^options\.value: expected one value, got repeated Reading; each is for those/],
    [{ each: 'station' }, /^options\.each: expected a repeated field of messages, got Station/],
    [{ data: 'station', value: 'station.celsius' }, /^options\.value: expected data or value, not both/],
    [{ device: 'constructor' }, /^options\.device: farm\.Report has no field constructor/],
  ])('%j', (options, message) => {
    expect(() => format.check?.({ ...GOOD, ...options })).toThrow(message)
  })

  it('unless it is a good one', () => {
    const twice = 'import "google/protobuf/timestamp.proto";'.repeat(2)
    expect(
      format.check?.({ schema: `syntax = "proto3"; ${twice} message A { google.protobuf.Timestamp t = 1; }`, message: 'A' }),
    ).toBeUndefined()
    expect(format.check?.({ ...GOOD, each: 'readings', device: 'station.id', value: 'value' })).toBeUndefined()
  })
})

describe('a payload is refused', () => {
  const refusal = async (bytes: Buffer, options = {}) => {
    try {
      return (
        await decodeShort(format, ['', bytes], { options: { schema: SCHEMA, message: 'farm.Report', device: 'station.id', ...options } })
      ).failures.join()
    } catch (error) {
      return (error as Error).message
    }
  }
  /** Each has one field 1, which is one. */
  const nested = (depth: number) => {
    let bytes = Buffer.alloc(0)
    for (let i = 0; i < depth; i++) bytes = Buffer.concat([Buffer.from([0x0a, ...varint(bytes.length)]), bytes])
    return bytes
  }
  const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)])

  it.each([
    ['that breaks off', bytesOf('farm.Report', REPORT).subarray(0, -4), /^payload: not a message of type farm\.Report: /],
    ['with another type', Buffer.from([0x08, 0x01]), /^payload: not a message of type farm\.Report: station is of another type/],
    ['with text that is none', Buffer.from([0x0a, 0x03, 0x0a, 0x01, 0xff]), /station\.id is not UTF-8/],
    ['with a length beyond it', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]), /station ends behind the payload/],
    ['of groups without end', Buffer.alloc(60_000, 0x7b), /^payload: not a message/],
    ['without a device', bytesOf('farm.Report', { sequence: 1 }), /^device: missing/],
    [
      'with a map of prototypes',
      bytesOf('farm.Report', { station: { id: 's1' }, counts: JSON.parse('{"__proto__":1}') }),
      /^data\.report\.counts\.__proto__: not a field name|^$/,
    ],
  ])('%s', async (_, bytes, message) => {
    expect(await refusal(bytes)).toMatch(message)
  })

  it('that is nested without end, or too long a list', async () => {
    const schema = 'syntax = "proto3"; message A { A a = 1; repeated int32 n = 2; }'
    expect(await refusal(nested(1000), { schema, message: 'A', device: undefined })).toMatch(/nested deeper than 16 levels/)
    const many = Buffer.concat([Buffer.from([0x12, ...varint(30_000)]), Buffer.alloc(30_000, 1)])
    expect(await refusal(many, { schema, message: 'A', device: undefined })).toMatch(/it has more than 20000 values/)
  })
})

it('a map is as many values as it has entries, and an empty message as many as it leaves out', async () => {
  const refused = async (schema: string, bytes: Buffer) => {
    const decoded = decodeShort(format, ['', bytes], { options: { schema, message: 'A', device: 'id' } })
    return decoded.then(
      ({ failures }) => failures.join(),
      (error: Error) => error.message,
    )
  }
  const entries = 'syntax = "proto3"; message A { string id = 1; map<string, int32> m = 2; }'
  expect(await refused(entries, Buffer.from('1200'.repeat(30_000), 'hex'))).toMatch(/it has more than 20000 values/)
  const fields = Array.from({ length: 100 }, (_, i) => `int32 f${i} = ${i + 1};`).join(' ')
  const empty = `syntax = "proto3"; message A { string id = 1; repeated B b = 2; } message B { ${fields} }`
  expect(await refused(empty, Buffer.from('1200'.repeat(10_000), 'hex'))).toMatch(/its messages leave more than 200000 fields out/)
})

it('a list that takes the whole message for each item is refused before it is a hundred times as much', async () => {
  const schema =
    'syntax = "proto3"; message A { string text = 1; repeated B b = 2; C c = 3; } message B { int32 n = 1; } message C { string text = 1; }'
  const text = Buffer.alloc(10_000, 'a')
  const top = Buffer.concat([Buffer.from('1a934e0a904e', 'hex'), text])
  const bytes = Buffer.concat([top, Buffer.from('1200'.repeat(5000), 'hex')])
  const options = { schema, message: 'A', each: 'b', device: 'c.text', data: 'c' }
  const decoded = decodeShort(format, ['', bytes], { options })
  await expect(decoded).rejects.toThrow('elements: at most 4194304 characters of one payload in all')
})

it('a definition with names of ours harms nothing', async () => {
  const schema = 'syntax = "proto3"; message Proto { string __proto__ = 1; string constructor = 2; string toString = 3; }'
  const bytes = Buffer.from([0x0a, 1, 0x61, 0x12, 1, 0x62, 0x1a, 1, 0x63])
  const decoded = await eventsOf(format, ['', bytes], { options: { schema, message: 'Proto', device: 'constructor' } })
  expect(decoded).toEqual([['b', 'proto', { constructor: 'b', toString: 'c' }]])
})

it('survives whatever comes', async () => {
  const samples: Sample[] = [['', bytesOf('farm.Report', REPORT)]]
  await survives(format, samples, 5000, {
    options: { schema: SCHEMA, message: 'farm.Report', each: 'readings', device: 'station.id', timestamp: 'time' },
  })
})
