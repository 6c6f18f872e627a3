// CBOR on its way in: the examples of RFC 8949 appendix A, an independent encoder, and everything that is refused.
import { Encoder } from 'cbor-x'
import { describe, expect, it } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import { cbor, cborSequence, readItem } from './cbor.ts'
import type { Clock, Decoded, Place } from './event.ts'
import { NO_MEMORY } from './fixture.ts'
import type { Output } from './format.ts'

const clock: Clock = { nowUs: () => 1_769_860_800_000_000, newId: () => 'newid000000000000000' }
const typed: Place = { project: 'p', device: 'door', eventType: 'temperature' }
const open: Place = { project: 'p' }
const encoder = new Encoder({ useRecords: false, mapsAsObjects: true, variableMapSize: true })

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
const decode = (bytes: Buffer, place: Place, format = cbor) =>
  (format.decode({ bytes, place, topic: [], options: {}, memory: NO_MEMORY }, clock) as Output).decoded
const dataOf = (one: Decoded | undefined) => (one && 'event' in one ? JSON.parse(one.event.frame).data : one?.failure.message)

describe('an item', () => {
  it.each([
    ['00', 0],
    ['17', 23],
    ['1818', 24],
    ['1903e8', 1000],
    ['1a000f4240', 1_000_000],
    ['1b000000e8d4a51000', 1_000_000_000_000],
    ['1bffffffffffffffff', '18446744073709551615'],
    ['c249010000000000000000', '18446744073709551616'],
    ['3bffffffffffffffff', '-18446744073709551616'],
    ['c349010000000000000000', '-18446744073709551617'],
    ['20', -1],
    ['3903e7', -1000],
    ['f90000', 0],
    ['f93c00', 1],
    ['fb3ff199999999999a', 1.1],
    ['f93e00', 1.5],
    ['f97bff', 65_504],
    ['fa47c35000', 100_000],
    ['fb7e37e43c8800759c', 1e300],
    ['f90001', 2 ** -24],
    ['f90400', 0.00006103515625],
    ['f9c400', -4],
    ['fbc010666666666666', -4.1],
    ['f97c00', Number.POSITIVE_INFINITY],
    ['f97e00', Number.NaN],
    ['f9fc00', Number.NEGATIVE_INFINITY],
    ['f4', false],
    ['f5', true],
    ['f6', null],
    ['f7', null],
    ['c074323031332d30332d32315432303a30343a30305a', '2013-03-21T20:04:00Z'],
    ['c11a514b67b0', '2013-03-21T20:04:00.000000Z'],
    ['c1fb41d452d9ec200000', '2013-03-21T20:04:00.500000Z'],
    ['d74401020304', '01020304'],
    ['d82076687474703a2f2f7777772e6578616d706c652e636f6d', 'http://www.example.com'],
    ['4401020304', 'AQIDBA'],
    ['6449455446', 'IETF'],
    ['62c3bc', 'ü'],
    ['64f0908591', '\u{10151}'],
    ['83010203', [1, 2, 3]],
    ['a26161016162820203', { a: 1, b: [2, 3] }],
    ['5f42010243030405ff', 'AQIDBAU'],
    ['7f657374726561646d696e67ff', 'streaming'],
    ['9fff', []],
    ['9f018202039f0405ffff', [1, [2, 3], [4, 5]]],
    ['bf61610161629f0203ffff', { a: 1, b: [2, 3] }],
    ['bf6346756ef563416d7421ff', { Fun: true, Amt: -2 }],
    ['c48221196ab3', 273.15],
    ['c5822003', 1.5],
    ['d9d9f701', 1],
    ['fa41ad999a', 21.7],
  ])('%s is what RFC 8949 says', (bytes, value) => {
    expect(readItem(hex(bytes))).toEqual(value)
  })

  it.each([
    ['', 'cut off at byte 0'],
    ['19 03', 'cut off'],
    ['62 c3', 'cut off'],
    ['9f 01', 'cut off'],
    ['9b ffffffffffffffff', 'cut off, a length of 18446744073709552000 is claimed'],
    ['5b 7fffffffffffffff', 'cut off, a length of 9223372036854776000 is claimed'],
    ['61 ff', 'text that is not UTF-8'],
    ['7f 61 c3 61 bc ff', 'text that is not UTF-8'],
    ['7f 41 61 ff', 'a chunk of another kind'],
    ['1c', 'additional information 28'],
    ['ff', 'an end where nothing is open'],
    ['82 01 ff', 'an end where nothing is open'],
    ['f0', 'a simple value that stands for nothing'],
    ['f8 18', 'a simple value that stands for nothing'],
    ['a1 01 02', 'a key of a map that is not text'],
    ['a1 41 61 02', 'a key of a map that is not text'],
    ['a2 61 61 01 61 61 02', 'the key "a" is given twice'],
    ['bf 61 61 01 ff 00', 'bytes behind the end'],
    [`a1 69 ${Buffer.from('__proto__').toString('hex')} a0`, '__proto__ is not a field name'],
    ['d8 69 83 01 02 03', 'tag 105'],
    ['d8 1c 80', 'tag 28'],
    ['c0 01', 'text expected behind this tag'],
    ['c1 61 61', 'seconds since 1970 expected'],
    ['c4 01', 'an exponent and a mantissa'],
    [`9a000f4240 ${'80'.repeat(1_000_000)}`, 'at most 500000 items'],
    [`7f ${'60'.repeat(1_000_000)} ff`, 'at most 500000 items'],
    ['81'.repeat(100_000), 'nested deeper than 24 levels'],
    ['c1'.repeat(100_000), 'nested deeper than 24 levels'],
  ])('%.40s is refused', (bytes, reason) => {
    expect(() => readItem(hex(bytes))).toThrow(Failure)
    expect(() => readItem(hex(bytes))).toThrow(reason)
  })

  it('of an independent encoder is the same value', () => {
    const value = { temperature: { value: 21.5, ok: true, note: 'Küche', list: [1, -70_000, 4_294_967_296, 0.1, null] } }
    expect(readItem(encoder.encode(value))).toEqual(value)
  })
})

describe('a payload', () => {
  it('is a value, the data, a whole event or an array, as in JSON', () => {
    expect(dataOf(decode(hex('f94d60'), typed)[0])).toMatchObject({ temperature: { value: 21.5 } })
    expect(dataOf(decode(encoder.encode({ value: 21.5 }), typed)[0])).toMatchObject({ temperature: { value: 21.5 } })
    const whole = { device: 'd', data: { co2: { ppm: 400 } } }
    const [one, bad, other] = decode(encoder.encode([whole, { device: 'a/b', data: { co2: { ppm: 1 } } }, whole]), open)
    expect([one, other].map(dataOf)).toMatchObject([{ co2: { ppm: 400 } }, { co2: { ppm: 400 } }])
    expect(dataOf(bad)).toMatch(/^device: expected/)
  })

  it('keeps the time that stands in it, tagged or not', () => {
    const timed = hex(`a2 6576616c7565 f94d60 6974696d657374616d70 c11a514b67b0`)
    const [one] = decode(timed, typed)
    expect(one && 'event' in one && one.event.timeUs).toBe(1_363_896_240_000_000)
  })

  it('that is no finite number is refused with the bytes as they came', () => {
    expect(decode(hex('f97e00'), typed)).toMatchObject([{ failure: { code: 'invalid' }, element: hex('f97e00') }])
  })
})

describe('a sequence', () => {
  const event = (ppm: number) => encoder.encode({ device: 'd', data: { co2: { ppm } } })

  it('is one event after the other (RFC 8742)', () => {
    const bytes = Buffer.concat([event(400), encoder.encode({ device: 'd' }), event(500)])
    expect(decode(bytes, open, cborSequence).map(dataOf)).toMatchObject([
      { co2: { ppm: 400 } },
      expect.stringContaining('eventType'),
      { co2: { ppm: 500 } },
    ])
  })

  it('that breaks off keeps what came before', () => {
    const cut = event(500).subarray(0, -1)
    const decoded = decode(Buffer.concat([event(400), cut]), open, cborSequence)
    expect(decoded).toMatchObject([{ event: { device: 'd' } }, { failure: { code: 'invalid' }, element: cut }])
  })

  it('of nothing is refused', () => {
    expect(() => decode(Buffer.alloc(0), open, cborSequence)).toThrow('got an empty sequence')
  })
})
