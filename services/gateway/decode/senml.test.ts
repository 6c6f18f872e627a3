// SenML packs as RFC 8428 prints them (sections 5 and 6), and everything that is refused.
import { describe, expect, it } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import { formatTime } from '../../../packages/core/time.ts'
import type { Clock, Place } from './event.ts'
import { NO_MEMORY, took } from './fixture.ts'
import type { Output } from './format.ts'
import { senml } from './senml.ts'

const NOW_US = 1_769_860_800_000_000
const clock: Clock = { nowUs: () => NOW_US, newId: () => 'newid000000000000000' }
const open: Place = { project: 'p' }

type Options = Readonly<Record<string, unknown>>

function decode(pack: unknown, place: Place = open, options: Options = {}) {
  const bytes = Buffer.isBuffer(pack) ? pack : Buffer.from(JSON.stringify(pack))
  return (senml.decode({ bytes, place, topic: [], options, memory: NO_MEMORY }, clock) as Output).decoded
}

/** Device, type, the fields without what completion adds, seconds of the time. */
function events(pack: unknown, place?: Place, options?: Options) {
  return decode(pack, place, options).map(one => {
    if ('failure' in one) return `${one.failure.code} ${one.failure.message}`
    const { device, eventType, timeUs, frame } = one.event
    const { samples: _, isBackfilled: __, updateTime: ___, ...fields } = JSON.parse(frame).data[eventType]
    return [device, eventType, fields, ...(timeUs === NOW_US ? [] : [timeUs / 1e6])]
  })
}

const OW = 'urn:dev:ow:10e2073a01080063'

describe('a pack of RFC 8428', () => {
  it('with a single data point (5.1.1) measures what its unit says', () => {
    expect(events([{ n: OW, u: 'Cel', v: 23.1 }])).toEqual([[OW, 'temperature', { value: 23.1 }]])
  })

  it('with several (5.1.2) has events of its base name', () => {
    const pack = [
      { bn: `${OW}:`, n: 'voltage', u: 'V', v: 120.1 },
      { n: 'current', u: 'A', v: 1.2 },
    ]
    expect(events(pack)).toEqual([
      [OW, 'voltage', { value: 120.1 }],
      [OW, 'current', { value: 1.2 }],
    ])
  })

  const currents = [1.2, 1.3, 1.4, 1.5, 1.6, 1.7].map((value, i) => [
    'urn:dev:ow:10e2073a0108006',
    'current',
    { value },
    1_276_020_071.001 + i,
  ])
  const expected = [['urn:dev:ow:10e2073a0108006', 'voltage', { value: 120.1 }, 1_276_020_076.001], currents[5], ...currents.slice(0, 5)]

  it('with times before its base time (5.1.2) keeps each time', () => {
    const pack = [
      { bn: 'urn:dev:ow:10e2073a0108006:', bt: 1.276020076001e9, bu: 'A', bver: 5, n: 'voltage', u: 'V', v: 120.1 },
      { n: 'current', t: -5, v: 1.2 },
      { n: 'current', t: -4, v: 1.3 },
      { n: 'current', t: -3, v: 1.4 },
      { n: 'current', t: -2, v: 1.5 },
      { n: 'current', t: -1, v: 1.6 },
      { n: 'current', v: 1.7 },
    ]
    expect(events(pack)).toEqual(expected)
  })

  it('in CBOR (section 6) is the same', () => {
    const bytes =
      '87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b0010622361412005006' +
      '7766f6c7461676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a30067637572' +
      '72656e74062302fb3ff4cccccccccccda3006763757272656e74062202fb3ff6666666666666a3006763757272656e740' +
      '62102f93e00a3006763757272656e74062002fb3ff999999999999aa3006763757272656e74060002fb3ffb333333333333'
    expect(events(Buffer.from(bytes, 'hex'))).toEqual(expected)
  })

  it('with several units of one name (5.1.3) has an event for each', () => {
    const pack = [
      { bn: OW, bt: 1.320067464e9, bu: '%RH', v: 20 },
      { u: 'lon', v: 24.30621 },
      { u: 'lat', v: 60.07965 },
      { t: 60, v: 20.3 },
      { u: '%EL', t: 150, v: 98 },
    ]
    expect(events(pack)).toEqual([
      [OW, 'relativeHumidity', { value: 20 }, 1_320_067_464],
      [OW, 'longitude', { value: 24.30621 }, 1_320_067_464],
      [OW, 'latitude', { value: 60.07965 }, 1_320_067_464],
      [OW, 'relativeHumidity', { value: 20.3 }, 1_320_067_524],
      [OW, 'batteryStatus', { percentage: 98 }, 1_320_067_614],
    ])
  })

  it('with several types of values (5.1.5) keeps each as it is', () => {
    const pack = [
      { bn: `${OW}:`, n: 'temp', u: 'Cel', v: 23.1 },
      { n: 'label', vs: 'Machine Room' },
      { n: 'open', vb: false },
      { n: 'nfc-reader', vd: 'aGkgCg' },
    ]
    expect(events(pack)).toEqual([
      [OW, 'temperature', { value: 23.1 }],
      [OW, 'label', { value: 'Machine Room' }],
      [OW, 'contact', { state: 'CLOSED' }],
      [OW, 'nfc-reader', { value: 'aGkgCg' }],
    ])
  })
})

describe('a name', () => {
  it.each([
    [{ n: 'urn:dev:ow:264437f5000000ed_humidity', v: 1 }, open, 'urn:dev:ow:264437f5000000ed', 'relativeHumidity'],
    [{ n: 'urn:dev:os:32473-123456:1:level', v: 1 }, open, 'urn:dev:os:32473-123456:1', 'level'],
    [{ bn: 'building/3/', n: 'room_1', v: 1 }, open, 'building:3', 'room_1'],
    [{ n: 'building/3/room', v: 1 }, open, 'building:3', 'room'],
    [{ bn: 'kitchen_', n: 'level', v: 1 }, open, 'kitchen', 'level'],
    [{ n: 'kitchen', u: 'lx', v: 1 }, open, 'kitchen', 'illuminance'],
    [{ n: 'kitchen', v: 1 }, open, 'kitchen', 'value'],
    [{ n: 'level', v: 1 }, { project: 'p', device: 'door' }, 'door', 'level'],
    [{ n: 'other/level', v: 1 }, { project: 'p', device: 'door' }, 'door', 'level'],
    [{ n: 'other/level', v: 1 }, { project: 'p', elseDevice: 'door' }, 'other', 'level'],
    [{ n: 'level', v: 1 }, { project: 'p', elseDevice: 'door' }, 'door', 'level'],
    [{ v: 1 }, { project: 'p', elseDevice: 'door' }, 'door', 'value'],
    [{ v: 1 }, { project: 'p', device: 'door', eventType: 'level' }, 'door', 'level'],
  ] as const)('%j at %j is the device %s and the type %s', (record, place, device, eventType) => {
    expect(events([record], place)).toMatchObject([[device, eventType, {}]])
  })

  it('is the device, or is cut elsewhere, where the options say so', () => {
    const pack = [{ n: 'a/b_c', u: 'Cel', v: 1 }]
    expect(events(pack, open, { device: 'whole' })).toMatchObject([['a:b_c', 'temperature', {}]])
    expect(events([{ n: 'a.b.level', v: 1 }], open, { separator: '.' })).toMatchObject([['a.b', 'level', {}]])
  })
})

describe('a record', () => {
  it('adds to its base value and sum', () => {
    const pack = [{ bn: 'd/', bv: 20, bs: 100, n: 'level', v: 1.5, s: 7 }, { n: 'other' }, { n: 'text', vs: 'x' }]
    expect(events(pack)).toEqual([
      ['d', 'level', { value: 21.5 }],
      ['d', 'level.sum', { value: 107 }],
      ['d', 'other', { value: 20 }],
      ['d', 'other.sum', { value: 100 }],
      ['d', 'text', { value: 'x' }],
      ['d', 'text.sum', { value: 100 }],
    ])
  })

  it('may only say something for those that follow', () => {
    expect(
      events([
        { bn: 'd/', bu: 'Cel' },
        { n: 'temp', v: 1 },
      ]),
    ).toEqual([['d', 'temperature', { value: 1 }]])
  })

  it('before 1978 counts from now', () => {
    const [one] = decode([{ n: 'd/level', t: -90, v: 1 }])
    expect(one && 'event' in one && formatTime(one.event.timeUs)).toBe('2026-01-31T11:58:30.000000Z')
  })

  it('becomes the standard unit and keeps what was sent', () => {
    expect(events([{ n: 'd/temp', u: 'K', v: 294.65 }])).toEqual([
      ['d', 'temperature', { value: 21.5, original: { value: 294.65, unit: 'K' } }],
    ])
    expect(events([{ n: 'd/power', u: 'kW', bver: 26, v: 1.5 }])).toEqual([
      ['d', 'power', { value: 1500, original: { value: 1.5, unit: 'kW' } }],
    ])
  })

  it('that comes twice for one time stays twice', () => {
    expect(
      events([
        { n: 'd/level', v: 1 },
        { n: 'd/level', v: 2 },
        { n: 'd/temp', v: 3 },
        { n: 'd/temp', v: 4 },
      ]),
    ).toEqual([
      ['d', 'level', { value: 1 }],
      ['d', 'temperature', { value: 3 }],
      ['d', 'level', { value: 2 }],
      ['d', 'temperature', { value: 4 }],
    ])
  })

  it.each([
    [{ n: 'd/x', v: '1' }, 'invalid 1.v: expected a finite number'],
    [{ n: 'd/x', v: 1, vs: 'a' }, 'invalid 1: expected one value, got v and vs'],
    [{ n: 'd/x' }, 'invalid 1: expected a value: v, vs, vb, vd or s'],
    [{ n: ' x', v: 1 }, 'invalid 1.n: expected a name of A-Z'],
    [{ n: 7, v: 1 }, 'invalid 1.n: expected text'],
    [{ n: 'x'.repeat(257), v: 1 }, 'invalid 1.n: expected a name of at most 256'],
    [{ n: 'd/x', u: 'x'.repeat(65), v: 1 }, 'invalid 1.u: expected a unit of at most 64'],
    [{ v: 1 }, 'invalid 1.n: missing: expected a name'],
    [{ n: 'd/x', t: 1e300, v: 1 }, 'invalid 1.t: expected seconds'],
    [{ n: 'd/x', vb: 1 }, 'invalid 1.vb: expected true or false'],
    [7, 'invalid 1: expected a SenML record'],
  ])('%j is refused and its neighbour is not', (record, reason) => {
    expect(events([{ n: 'd/level', v: 1 }, record])).toEqual([['d', 'level', { value: 1 }], expect.stringContaining(reason)])
  })

  it.each([
    [{ n: 'd/x', v: 1, must_: 1 }, 'unsupported', '0.must_: its sender says that this label must be understood'],
    [{ n: 'd/x', v: 1, bver: 11 }, 'unsupported', '0.bver: expected 10 or 26, got 11'],
  ])('%j refuses the whole pack', (record, code, message) => {
    expect(() => decode([record])).toThrow(expect.objectContaining({ code, message }))
  })

  it.each(['{}', '[]', '[', '[{"n":"a","n":"b"}]', '1'])('%s is no pack', text => {
    expect(() => decode(Buffer.from(text))).toThrow(Failure)
  })
})

it('nothing is taken for what a wrong base field does not say', () => {
  const pack = [
    { bn: 'a/', n: 'temp', v: 1 },
    { bn: 7, n: 'temp', v: 2 },
    { n: 'temp', v: 3 },
    { bn: 'b/', n: 'temp', v: 4 },
  ]
  expect(events(pack)).toEqual([
    ['a', 'temperature', { value: 1 }],
    'invalid 1.bn: expected text',
    'invalid 2: a base field before it is wrong: 1.bn: expected text',
    'invalid 3: a base field before it is wrong: 1.bn: expected text',
  ])
  for (const wrong of [{ bt: 'now' }, { bu: 1 }, { bv: '1' }, { bs: null }, { bver: 'x' }, { bn: 'x'.repeat(257) }])
    expect(
      events([
        { ...wrong, n: 'd/temp', v: 1 },
        { n: 'd/temp', v: 2 },
      ]),
    ).toEqual([expect.stringMatching(/^invalid 0\./), expect.stringMatching(/^invalid 1: a base field before it/)])
})

it('a long base name is cut once, not for each record', () => {
  const pack = (name: string) =>
    Buffer.from(JSON.stringify([{ bn: name, n: 'a', v: 1 }, ...Array.from({ length: 5000 }, () => ({ n: 'a', v: 1 }))]))
  // Of the same length, and so of the same cost but for a search that fails from each separator.
  const [plain, hostile] = [pack(`${'d'.repeat(241)}/`), pack(`d${'/'.repeat(239)}d/`)]
  expect(took(() => decode(hostile)) / took(() => decode(plain))).toBeLessThan(3)
})

it('a relative time is no time of the sender: a redelivery, which has another one, is not known by it', () => {
  const pack = [
    { n: 'd/temp', t: -5, v: 21 },
    { n: 'd/temp', t: 1_769_860_000, v: 21 },
  ]
  const decoded = decode(pack).map(one => 'event' in one && [one.event.timeUs, one.event.key !== undefined, one.event.sentUs])
  expect(decoded).toEqual([
    [NOW_US - 5_000_000, false, undefined],
    [1_769_860_000_000_000, true, 1_769_860_000_000_000],
  ])
})

it('ten thousand refused records are no more than was sent', () => {
  const pack = Array.from({ length: 10_000 }, (_, i) => ({ n: `d/gap`, t: 1_769_860_000 + (i % 3), v: i }))
  const decoded = decode(pack)
  const chars = decoded.reduce((sum, one) => sum + ('failure' in one ? one.element.length : Number.POSITIVE_INFINITY), 0)
  expect(chars).toBeLessThanOrEqual(JSON.stringify(pack).length)
})
