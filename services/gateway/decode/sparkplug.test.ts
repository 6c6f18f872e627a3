// Sparkplug B as its specification (3.0) has it: sessions, every type, what is asked of a node, and what is refused.
import { describe, expect, it } from 'vitest'
import { Draft, Kept } from '../decoder/kept.ts'
import { Memories } from '../decoder/memory.ts'
import type { Clock } from './event.ts'
import { memoryOf } from './fixture.ts'
import type { Output } from './format.ts'
import { sparkplug } from './sparkplug.ts'
import { type Metric, readPayload, TYPES, writePayload } from './sparkplugproto.ts'

const NO_DISK = {
  read: async () => ({ revision: 0, isAll: true, values: new Map<string, string>() }),
  save: async () => 1,
  changedMs: async () => 0,
}

const T = 1_769_860_800_000
const at = (ms: number) => new Date(ms).toISOString().replace('Z', '000Z')

/** A host that listens from the first message on. @param kept what births and deaths said to another one. */
function host({ kept = new Map<string, string>(), reorderTimeoutMs = 0 } = {}) {
  const memory = memoryOf(kept)
  const now = { ms: T }
  let ids = 0
  const clock: Clock = { nowUs: () => now.ms * 1000, newId: () => `id${ids++}` }
  const raw = (topic: string, bytes: Buffer) =>
    sparkplug.decode({ bytes, topic: topic.split('/'), place: { project: 'p' }, options: { reorderTimeoutMs }, memory }, clock) as Output
  const send = (topic: string, seq: number | undefined, ...metrics: Metric[]) =>
    raw(`spBv1.0/${topic}`, writePayload({ timestamp: String(T), metrics, ...(seq === undefined ? {} : { seq: String(seq) }) }))
  return { send, raw, now, kept }
}

function events({ decoded }: Output) {
  return decoded.map(one => {
    if ('failure' in one) return one.failure.message
    const { device, eventType, frame } = one.event
    const { samples: _, updateTime: __, ...fields } = JSON.parse(frame).data[eventType]
    return [device, eventType, fields]
  })
}

const rebirths = ({ replies = [] }: Output) => replies.map(({ topic, payload }) => [topic, readPayload(payload).metrics])

const bdSeq = (number: number): Metric => ({ name: 'bdSeq', datatype: TYPES.Int64, longValue: String(number) })
const temperature = { name: 'Inputs/Level', alias: '1', timestamp: String(T), datatype: TYPES.Double, doubleValue: 21.5 }
const changed = (value: number): Metric => ({ alias: '1', timestamp: String(T + 1000), doubleValue: value })

describe('a session', () => {
  it('begins with births, goes on by aliases and ends with a death', () => {
    const { send } = host()
    expect(events(send('g/NBIRTH/n', 0, bdSeq(3), { ...temperature, name: 'Temperature' }))).toEqual([
      ['g:n', 'availability', { state: 'ONLINE' }],
      ['g:n', 'temperature', { value: 21.5, isBackfilled: false }],
    ])
    expect(events(send('g/DBIRTH/n/d', 1, { ...temperature, alias: '7' }))).toEqual([
      ['g:n:d', 'availability', { state: 'ONLINE' }],
      ['g:n:d', 'Inputs_Level', { value: 21.5 }],
    ])
    expect(events(send('g/NDATA/n', 2, changed(22)))).toEqual([['g:n', 'temperature', { value: 22, isBackfilled: false }]])
    const data = send('g/DDATA/n/d', 3, { ...changed(5), alias: '7' })
    expect(events(data)).toEqual([['g:n:d', 'Inputs_Level', { value: 5 }]])
    expect(data.decoded).toMatchObject([{ event: { timeUs: (T + 1000) * 1000 } }])
    expect(data.replies).toEqual([])
    expect(events(send('g/NDEATH/n', undefined, bdSeq(3)))).toEqual([
      ['g:n', 'availability', { state: 'OFFLINE' }],
      ['g:n:d', 'availability', { state: 'OFFLINE' }],
    ])
    expect(events(send('g/NDEATH/n', undefined, bdSeq(3)))).toEqual([])
  })

  it('is not ended by the death of an earlier one', () => {
    const { send } = host()
    send('g/NBIRTH/n', 0, bdSeq(4))
    expect(events(send('g/NDEATH/n', undefined, bdSeq(3)))).toEqual([])
    expect(events(send('g/NDEATH/n', undefined, bdSeq(4)))).toHaveLength(1)
  })

  it('loses one device and gets it back', () => {
    const { send } = host()
    send('g/NBIRTH/n', 0, bdSeq(0))
    send('g/DBIRTH/n/d', 1, temperature)
    expect(events(send('g/DDEATH/n/d', 2))).toEqual([['g:n:d', 'availability', { state: 'OFFLINE' }]])
    expect(rebirths(send('g/DDATA/n/d', 3, changed(1)))).toHaveLength(1)
    expect(events(send('g/DBIRTH/n/d', 4, temperature))).toHaveLength(2)
  })

  it('goes on where this process starts anew: what births said is kept', () => {
    const { send, raw, kept } = host()
    send('g/NBIRTH/n', 0, bdSeq(0), temperature)
    const again = host({ kept })
    const output = again.send('g/NDATA/n', 200, changed(3))
    expect([events(output), output.replies]).toEqual([[['g:n', 'Inputs_Level', { value: 3 }]], []])
    expect(rebirths(again.send('g/NDATA/n', 203, changed(3)))).toHaveLength(1)
    expect(events(raw('spBv1.0/g/NDATA/n', writePayload({ seq: '1', metrics: [changed(3)] })))).toHaveLength(1)
  })

  it('of a rebirth says nothing of a connection that was there', () => {
    const { send } = host()
    send('g/NBIRTH/n', 0, bdSeq(0), temperature)
    expect(events(send('g/NBIRTH/n', 0, bdSeq(0), temperature))).toEqual([['g:n', 'Inputs_Level', { value: 21.5 }]])
  })
})

describe('an alias', () => {
  const named = (name: string, alias: string): Metric => ({ ...temperature, name, alias })

  it('means what the births of this session said, and nothing before a device is born in it', () => {
    const { send } = host()
    send('g/NBIRTH/n', 0, bdSeq(0))
    send('g/DBIRTH/n/d', 1, named('Flow', '1'))
    send('g/NBIRTH/n', 0, bdSeq(0))
    const early = send('g/DDATA/n/d', 1, changed(5))
    expect([events(early), rebirths(early).length]).toEqual([[expect.stringContaining('the alias 1 was named by no birth')], 1])
    expect(events(send('g/DBIRTH/n/d', 2, named('Rotation', '1')))).toEqual([['g:n:d', 'Rotation', { value: 21.5 }]])
    expect(events(send('g/DDATA/n/d', 3, changed(5)))).toEqual([['g:n:d', 'Rotation', { value: 5 }]])
  })

  it.each([
    ['a node', 'NDATA/n', 'NDEATH/n', undefined],
    ['a device', 'DDATA/n/d', 'NDEATH/n', undefined],
    ['a device alone', 'DDATA/n/d', 'DDEATH/n/d', 2],
  ])('of %s that is dead means nothing, while names still do', (_, data, death, seq) => {
    const { send } = host()
    send('g/NBIRTH/n', 0, bdSeq(0), named('Level', '1'))
    send('g/DBIRTH/n/d', 1, named('Level', '1'))
    send(`g/${death}`, seq, bdSeq(0))
    expect(events(send(`g/${data}`, 3, changed(5), { name: 'Level', doubleValue: 6 }))).toEqual([
      expect.stringContaining('the alias 1 was named by no birth'),
      [expect.any(String), 'Level', { value: 6 }],
    ])
  })
})

describe('two metrics that mean the same', () => {
  const metric = (name: string, value: number, alias?: string): Metric => ({
    name,
    ...(alias === undefined ? {} : { alias }),
    timestamp: String(T),
    datatype: TYPES.Double,
    doubleValue: value,
  })
  const types = (output: Output) =>
    events(output).flatMap(one =>
      Array.isArray(one) && one[1] !== 'availability' ? [[one[1], one[2]]] : one[1] === 'availability' ? [] : [one],
    )
  const celsius = (value: number) => ({ value, isBackfilled: false })

  it('have two event types, each its own in every message of the session', () => {
    const { send, kept } = host()
    const born = send('g/NBIRTH/n', 0, metric('Temperature', 21, '1'), metric('temp', 5, '2'))
    expect(types(born)).toEqual([
      ['temperature', celsius(21)],
      ['temp', { value: 5 }],
    ])
    expect(types(send('g/NDATA/n', 1, { alias: '2', doubleValue: 6 }))).toEqual([['temp', { value: 6 }]])
    expect(types(host({ kept }).send('g/NDATA/n', 2, metric('temp', 7)))).toEqual([['temp', { value: 7 }]])
    expect(types(send('g/NDATA/n', 2, { alias: '1', doubleValue: 22 }))).toEqual([['temperature', celsius(22)]])
  })

  it('keep them whatever the order of a later birth, and when one of them is gone', () => {
    const { send } = host()
    send('g/NBIRTH/n', 0, bdSeq(0))
    send('g/DBIRTH/n/d', 1, metric('temp', 5))
    send('g/NBIRTH/n', 0, bdSeq(1))
    expect(types(send('g/DBIRTH/n/d', 1, metric('Temperature', 21), metric('temp', 5)))).toEqual([
      [expect.stringMatching(/^Temperature_[0-9a-zA-Z_-]{8}$/), { value: 21 }],
      ['temperature', celsius(5)],
    ])
    expect(types(send('g/DBIRTH/n/d', 2, metric('Temperature', 22)))).toEqual([[expect.stringMatching(/^Temperature_/), { value: 22 }]])
  })

  it.each([
    ['whose names differ in what no type may hold', [metric('Inputs/Level', 1), metric('Inputs Level', 2)], 'Inputs_Level'],
    ['of which one has no value yet', [{ name: 'Temperature', datatype: TYPES.Double, isNull: true }, metric('temp', 2)], 'temp'],
  ])('%s are told apart', (_, metrics, last) => {
    const { send } = host()
    const told = types(send('g/NBIRTH/n', 0, ...metrics))
    expect(new Set(told.map(([type]) => type)).size).toBe(told.length)
    expect(told.at(-1)?.[0]).toMatch(new RegExp(`^${last}`))
  })
})

describe('a device', () => {
  const states = (output: Output) => events(output).filter(one => Array.isArray(one) && one[1] === 'availability')

  it('that was there before a rebirth is told nowhere to have gone and come', () => {
    const { send } = host()
    send('g/NBIRTH/n', 0, bdSeq(0))
    send('g/DBIRTH/n/d', 1, temperature)
    expect([send('g/NBIRTH/n', 0, bdSeq(0)), send('g/DBIRTH/n/d', 1, temperature)].flatMap(states)).toEqual([])
  })

  it('of a session whose death never came has gone with it', () => {
    const { send } = host()
    send('g/NBIRTH/n', 0, bdSeq(0))
    send('g/DBIRTH/n/d', 1, temperature)
    expect(states(send('g/NBIRTH/n', 0, bdSeq(1)))).toEqual([['g:n:d', 'availability', { state: 'OFFLINE' }]])
    expect(states(send('g/DBIRTH/n/d', 1, temperature))).toEqual([['g:n:d', 'availability', { state: 'ONLINE' }]])
    expect(states(send('g/NDEATH/n', undefined, bdSeq(0)))).toEqual([])
  })
})

describe('a rebirth', () => {
  const asked = [
    ['spBv1.0/g/NCMD/n', [{ name: 'Node Control/Rebirth', timestamp: String(T), datatype: TYPES.Boolean, booleanValue: true }]],
  ]

  it('is asked for when data come before a birth, and the data are refused where nobody knows what they mean', () => {
    const { send } = host()
    const output = send('g/NDATA/n', 5, changed(1), { name: 'Level', intValue: 4 })
    expect(rebirths(output)).toEqual(asked)
    expect(events(output)).toEqual([expect.stringContaining('the alias 1 was named by no birth'), ['g:n', 'Level', { value: 4 }]])
  })

  it.each([
    ['a gap in the sequence', 3, changed(1)],
    ['an alias that no birth named', 1, { alias: '9', intValue: 1 }],
    ['a name that no birth said', 1, { name: 'New', intValue: 1 }],
  ])('is asked for after %s', (_, seq, metric) => {
    const { send } = host()
    send('g/NBIRTH/n', 0, bdSeq(0), temperature)
    expect(rebirths(send('g/NDATA/n', seq, metric))).toEqual(asked)
  })

  it('is asked for by a device that was not born, and by a node that is dead', () => {
    const { send, now } = host()
    send('g/NBIRTH/n', 0, bdSeq(0), temperature)
    expect(rebirths(send('g/DDATA/n/d', 1, changed(1)))).toHaveLength(1)
    send('g/NDEATH/n', undefined, bdSeq(0))
    now.ms += 30_000
    expect(rebirths(send('g/NDATA/n', 2, changed(1)))).toHaveLength(1)
  })

  it('is asked for once in 5 seconds, and less often of who is asked again and again', () => {
    const { send, now } = host()
    const asked: number[] = []
    for (let second = 0; second < 200; second++, now.ms += 1000)
      if (rebirths(send('g/NDATA/n', 5, changed(1))).length === 1) asked.push(second)
    expect(asked).toEqual([0, 5, 15, 35, 75, 135, 195])
  })

  it('is asked for after a pause where there was a gap in it', () => {
    const { send, now } = host()
    send('g/NBIRTH/n', 0, bdSeq(0), temperature)
    const asks = (seq: number) => rebirths(send('g/NDATA/n', seq, changed(1))).length
    expect([asks(2), asks(3), asks(5), asks(6)]).toEqual([1, 0, 0, 0])
    now.ms += 5000
    expect([asks(7), asks(8)]).toEqual([1, 0])
  })

  it('is not asked for where what is missing comes late, in the time that an option gives it', () => {
    const { send, now } = host({ reorderTimeoutMs: 2000 })
    send('g/NBIRTH/n', 0, bdSeq(0), temperature)
    const asks = (seq: number) => rebirths(send('g/NDATA/n', seq, changed(1))).length
    expect([asks(3), asks(2), asks(1)]).toEqual([0, 0, 0])
    now.ms += 2000
    expect([asks(4), asks(6)]).toEqual([0, 0])
    now.ms += 1999
    expect(asks(7)).toBe(0)
    now.ms += 1
    expect([asks(8), asks(9)]).toEqual([1, 0])
  })

  it('of another session, and its deaths, say nothing of the numbers that follow', () => {
    const { send, kept } = host()
    send('g/NBIRTH/n', 0, bdSeq(0), temperature)
    const other = host({ kept })
    other.now.ms += 1000
    other.send('g/NBIRTH/n', 0, bdSeq(1), temperature)
    expect(rebirths(send('g/NDATA/n', 77, changed(1)))).toEqual([])
  })

  it('is not asked for when 255 is followed by 0, nor by a message that comes twice', () => {
    const { send } = host()
    send('g/NBIRTH/n', 255, bdSeq(0), temperature)
    expect([send('g/NDATA/n', 0, changed(1)), send('g/NDATA/n', 0, changed(1))].flatMap(rebirths)).toEqual([])
  })
})

describe('a value', () => {
  const bytes = (hex: string) => Buffer.from(hex, 'hex')
  const value = (metric: Metric) => {
    const { send } = host()
    const [, one] = events(send('g/NBIRTH/n', 0, { name: 'x', ...metric }))
    return Array.isArray(one) ? one[2] : one
  }

  it.each([
    ['Int8', { intValue: 0xff_ff_ff_85 }, -123],
    ['Int8', { intValue: 0x85 }, -123],
    ['Int16', { intValue: 0xff_ff_8a_d0 }, -30_000],
    ['Int32', { intValue: 0xff_ff_ff_ff }, -1],
    ['Int64', { longValue: '18446744073709551615' }, -1],
    ['Int64', { longValue: '9223372036854775808' }, '-9223372036854775808'],
    ['UInt8', { intValue: 250 }, 250],
    ['UInt8', { intValue: 0 }, 0],
    ['UInt64', { longValue: '0' }, 0],
    ['Double', { doubleValue: 0 }, 0],
    ['UInt16', { intValue: 65_535 }, 65_535],
    ['UInt32', { intValue: 4_294_967_295 }, 4_294_967_295],
    ['UInt32', { longValue: '4294967295' }, 4_294_967_295],
    ['UInt64', { longValue: '9007199254740991' }, 9_007_199_254_740_991],
    ['UInt64', { longValue: '18446744073709551615' }, '18446744073709551615'],
    ['Float', { floatValue: 1.23 }, 1.23],
    ['Double', { doubleValue: 89.341 }, 89.341],
    ['Boolean', { booleanValue: false }, false],
    ['String', { stringValue: '' }, ''],
    ['Text', { stringValue: 'Küche' }, 'Küche'],
    ['UUID', { stringValue: '123e4567-e89b-12d3-a456-426614174000' }, '123e4567-e89b-12d3-a456-426614174000'],
    ['DateTime', { longValue: String(T) }, at(T)],
    ['Bytes', { bytesValue: bytes('fbff00') }, '-_8A'],
    ['Int8Array', { bytesValue: bytes('e97b') }, [-23, 123]],
    ['Int16Array', { bytesValue: bytes('d08a3075') }, [-30_000, 30_000]],
    ['Int32Array', { bytesValue: bytes('cb4fcfff') }, [-3_190_837]],
    ['Int64Array', { bytesValue: bytes('ffffffffffffffff') }, [-1]],
    ['UInt8Array', { bytesValue: bytes('17fa') }, [23, 250]],
    ['UInt16Array', { bytesValue: bytes('1e00e8fb') }, [30, 64_488]],
    ['UInt32Array', { bytesValue: bytes('34000000ffffffff') }, [52, 4_294_967_295]],
    ['UInt64Array', { bytesValue: bytes('3400000000000000d99e02d1b27637e4') }, [52, '16444743074749521625']],
    ['FloatArray', { bytesValue: bytes('a4709d3f') }, [1.23]],
    ['DoubleArray', { bytesValue: bytes('000000000000f83f') }, [1.5]],
    ['BooleanArray', { bytesValue: bytes('0c00000034d0') }, [0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1].map(Boolean)],
    ['StringArray', { bytesValue: bytes('4142430068656c6c6f00') }, ['ABC', 'hello']],
    ['DateTimeArray', { bytesValue: bytes('008030139c010000') }, [at(0x01_9c_13_30_80_00)]],
  ] as const)('of type %s in %j is %j', (type, given, expected) => {
    expect(value({ datatype: TYPES[type], ...given })).toEqual({ value: expected })
  })

  it('that is a data set has its columns and rows', () => {
    const datasetValue = {
      columns: ['a', 'b'],
      types: [TYPES.Int8, TYPES.String],
      rows: [{ elements: [{ intValue: 0xff_ff_ff_ff }, { stringValue: 'x' }] }, { elements: [{ intValue: 2 }, {}] }],
    }
    expect(value({ datatype: TYPES.DataSet, datasetValue })).toEqual({
      columns: ['a', 'b'],
      rows: [
        [-1, 'x'],
        [2, null],
      ],
    })
  })

  it('that is a template has its members as fields, and its definition none', () => {
    const templateValue = {
      metrics: [
        { name: 'rpm', datatype: TYPES.Int32, intValue: 1450 },
        { name: 'winding', datatype: TYPES.Template, templateValue: { metrics: [{ name: 'temp', doubleValue: 61.5 }] } },
      ],
      parameters: [{ name: 'maker', type: TYPES.String, stringValue: 'Acme' }],
    }
    const expected = { rpm: 1450, winding: { temp: 61.5 }, parameters: { maker: 'Acme' } }
    expect(value({ datatype: TYPES.Template, templateValue })).toEqual(expected)
    expect(value({ datatype: TYPES.Template, templateValue: { ...templateValue, isDefinition: true } })).toBeUndefined()
  })

  it('has the unit, the quality and the flags that stand beside it', () => {
    const keys = ['engUnit', 'Quality']
    const values = [
      { type: TYPES.String, stringValue: '°F' },
      { type: TYPES.Int32, intValue: 500 },
    ]
    const metric = { name: 'Temperature', isHistorical: true, datatype: TYPES.Float, floatValue: 70.7, properties: { keys, values } }
    expect(value(metric)).toEqual({ value: 21.5, original: { value: 70.7, unit: '°F' }, quality: 'STALE', isBackfilled: true })
  })

  it('keeps the unit that the birth said', () => {
    const { send } = host()
    const properties = { keys: ['engUnit'], values: [{ type: TYPES.String, stringValue: 'hPa' }] }
    send('g/NBIRTH/n', 0, { name: 'Pressure', alias: '1', datatype: TYPES.Double, doubleValue: 1013.2, properties })
    expect(events(send('g/NDATA/n', 1, changed(1000)))).toEqual([
      ['g:n', 'pressure', { pascal: 100_000, original: { value: 1000, unit: 'hPa' } }],
    ])
  })

  it('that is null, or about the session, is no reading', () => {
    expect(value({ datatype: TYPES.Int8, isNull: true })).toBeUndefined()
    expect(value({ name: 'Node Control/Rebirth', booleanValue: false })).toBeUndefined()
  })

  const deep = (levels: number): Metric =>
    levels === 0 ? { name: 'x', intValue: 1 } : { name: 'x', templateValue: { metrics: [deep(levels - 1)] } }

  it.each([
    [{ datatype: TYPES.Double, doubleValue: Number.NaN }, 'data.x.value: expected a finite number'],
    [{ datatype: TYPES.DateTime, longValue: '9223372036854775807' }, 'x: expected milliseconds since 1970'],
    [{ datatype: TYPES.Int32Array, bytesValue: bytes('010203') }, 'x: expected an array of 4 bytes each, got 3 bytes'],
    [{ datatype: TYPES.UInt8Array, bytesValue: Buffer.alloc(257) }, 'x: at most 256 elements, got 257'],
    [{ datatype: TYPES.StringArray, bytesValue: Buffer.alloc(600) }, 'x: at most 256 elements'],
    [{ datatype: TYPES.BooleanArray, bytesValue: bytes('ffffffff00') }, 'x: expected a count in four bytes and a bit for each'],
    [{ datatype: TYPES.StringArray, bytesValue: bytes('ff00') }, 'x: expected UTF-8 text'],
    [{ datatype: TYPES.Int8, intValue: 1, timestamp: '18446744073709551615' }, 'x: expected a time in milliseconds'],
    [{ ...deep(9) }, 'x: templates in templates'],
    [{ templateValue: { metrics: [{ name: '__proto__', intValue: 1 }] } }, 'x: __proto__ is given twice, or is not a field name'],
  ] as const)('%j is refused alone', (metric, reason) => {
    const { send } = host()
    const all = events(send('g/NBIRTH/n', 0, { name: 'x', ...metric }, { name: 'y', intValue: 1 }))
    expect(all).toContainEqual(expect.stringContaining(reason))
    expect(all).toContainEqual(['g:n', 'y', { value: 1 }])
  })
})

describe('a message', () => {
  it.each(['STATE/scada', 'g/NCMD/n', 'g/DCMD/n/d'])('to %s is of hosts, and nothing is made of it', topic => {
    expect(host().raw(`spBv1.0/${topic}`, Buffer.from('{"online":true}'))).toEqual({ decoded: [] })
  })

  it.each(['g', 'g/NBIRTH', 'g/NBIRTH/n/d', 'g/DBIRTH/n', 'g/DDATA/n/d/e', 'g/NOISE/n', '/NBIRTH/n'])('to %s is refused', topic => {
    expect(() => host().raw(`spBv1.0/${topic}`, Buffer.alloc(0))).toThrow(/^topic: expected spBv1.0/)
  })

  it.each(['ff', '0a', '12ff01', '120a0a08', '12030a01ff'])('of the bytes %s is refused', bytes => {
    expect(() => host().raw('spBv1.0/g/NBIRTH/n', Buffer.from(bytes, 'hex'))).toThrow(/^payload: expected a Sparkplug B payload/)
  })

  it('nested thousands of levels deep is refused', () => {
    let bytes: Buffer = Buffer.from([0x0a, 0x01, 0x78])
    for (let i = 0; i < 150; i++) bytes = wrapped(0x12, wrapped(0x92, bytes))
    expect(() => host().raw('spBv1.0/g/NBIRTH/n', bytes)).toThrow(/^payload: expected a Sparkplug B payload/)
  })

  it('of hundreds of thousands of empty parts is refused before they are built', () => {
    expect(() => host().raw('spBv1.0/g/NBIRTH/n', Buffer.from('1200'.repeat(200_000), 'hex'))).toThrow('payload: at most 100000 metrics')
    expect(() => host().raw('spBv1.0/g/NBIRTH/n', Buffer.from('1200'.repeat(50_000), 'hex'))).toThrow('at most 10000')
  })

  it('with a sequence number that is none is refused', () => {
    expect(() => host().send('g/NBIRTH/n', 256)).toThrow('seq: expected 0 to 255, got 256')
  })

  it('has the bytes of another encoder', () => {
    // sparkplug-payload 1.0.3 of the same NDATA.
    const golden =
      '08eaf2f5a8a02b1211100118eaf2f5a8a02b200350feffffff0f121f0a0b4bc3bc6368652f74656d7018eaf2f5a8a02b200a6900000000008035401802'
    const metrics = [
      { alias: '1', timestamp: '1486144502122', datatype: TYPES.Int32, intValue: 0xff_ff_ff_fe },
      { name: 'Küche/temp', timestamp: '1486144502122', datatype: TYPES.Double, doubleValue: 21.5 },
    ]
    expect(writePayload({ timestamp: '1486144502122', metrics, seq: '2' }).toString('hex')).toBe(golden)
    expect(readPayload(Buffer.from(golden, 'hex'))).toEqual({ timestamp: '1486144502122', metrics, seq: '2' })
  })
})

/** A field of template_value (18) or metrics (2), with its length. */
function wrapped(tag: number, inner: Buffer): Buffer {
  const head = tag === 0x92 ? [0x92, 0x01] : [tag]
  const length = inner.length < 128 ? [inner.length] : inner.length < 16_384 ? [(inner.length & 127) | 128, inner.length >> 7] : [0xff]
  return Buffer.concat([Buffer.from([...head, ...length]), inner])
}

describe('what is remembered', () => {
  const metrics = (count: number) => Array.from({ length: count }, (_, i) => ({ name: `m${i}`, alias: String(i), intValue: i }))

  it('changes by births and deaths alone, whatever data come in between', () => {
    const { send, kept } = host()
    send('g/NBIRTH/n', 0, bdSeq(0), temperature)
    send('g/DBIRTH/n/d', 1, temperature)
    const before = new Map(kept)
    for (let seq = 2; seq < 300; seq += 3) send('g/DDATA/n/d', seq % 256, changed(seq), { name: 'New', intValue: seq })
    expect(kept).toEqual(before)
  })

  it('of devices is not limited by those that are no more', () => {
    const { send } = host()
    for (let session = 0; session < 3; session++) {
      send('g/NBIRTH/n', 0, bdSeq(session))
      for (let i = 0; i < 400; i++) send(`g/DBIRTH/n/d${session}_${i}`, (i + 1) % 256, temperature)
    }
    expect(events(send('g/DDATA/n/d2_399', 145, changed(1)))).toHaveLength(1)
  })

  it('of one node is bounded', () => {
    const { send } = host()
    send('g/NBIRTH/n', 0, ...metrics(9000))
    expect(() => send('g/DBIRTH/n/d', 1, ...metrics(1001))).toThrow('metrics: at most 10000 of one edge node')
  })

  it('of a project is bounded: who was born first is forgotten and asked again', () => {
    const { send, kept } = host()
    for (let i = 0; i < 4501; i++) send(`g/NBIRTH/n${i}`, 0)
    expect([...kept.keys()].filter(key => key.startsWith('state/')).length).toBeLessThanOrEqual(4500)
    expect(kept.has('state/g/n0')).toBe(false)
  })

  it('of many nodes with many metrics has room where it is kept', () => {
    const memories = new Memories({ disk: NO_DISK, nowMs: () => 0, troubled: () => {} })
    const kept = new Kept({ project: 'p', decoder: 'd', format: 'f' }, 0)
    const long = (i: number): Metric => ({
      name: `Plant/Line/Machine/Metric ${i}`,
      alias: String(i),
      datatype: TYPES.Double,
      doubleValue: i,
    })
    const clock = { nowUs: () => T * 1000, newId: () => 'id' }
    const send = (topic: string, metrics: readonly Metric[]) => {
      const memory = new Draft(kept)
      const bytes = writePayload({ timestamp: String(T), metrics: [...metrics] })
      void sparkplug.decode({ bytes, topic: topic.split('/'), place: { project: 'p' }, options: { reorderTimeoutMs: 0 }, memory }, clock)
      void memories.commit(memory)
    }
    const all = Array.from({ length: 5000 }, (_, i) => long(i))
    for (let node = 0; node < 12; node++) {
      send(`spBv1.0/g/NBIRTH/n${node}`, [])
      send(`spBv1.0/g/DBIRTH/n${node}/d`, all)
    }
    expect(kept.values.has('birth/g/n11/d')).toBe(true)
    expect(kept.values.has('state/g/n0')).toBe(false)
  })

  it('is under names that mean nothing else', () => {
    const { send } = host()
    send('__proto__/NBIRTH/constructor', 0, { name: '__proto__', alias: '1', intValue: 1 }, { name: 'toString', alias: '2', intValue: 2 })
    send('__proto__/DBIRTH/constructor/__proto__', 1, { ...temperature, alias: '3' })
    expect(events(send('__proto__/NDATA/constructor', 2, { alias: '2', intValue: 3 }))).toEqual([
      ['__proto__:constructor', 'toString', { value: 3 }],
    ])
    expect(events(send('__proto__/DDATA/constructor/__proto__', 3, { ...changed(4), alias: '3' }))).toEqual([
      ['__proto__:constructor:__proto__', 'Inputs_Level', { value: 4 }],
    ])
  })
})
