// Names and units of many makers, made one.
import { describe, expect, it } from 'vitest'
import { fieldUnit, parseUnit } from '../../../packages/core/unit.ts'
import { availability, channelOf, deviceOf, eventTypeOf, isKnown, type Measure, measured, reported } from './measure.ts'
import { NUMBERS, STATES } from './quantity.ts'

describe('what was measured', () => {
  it('has one name and unit, and what was sent beside it', () => {
    expect(measured([{ name: 'Temperature', value: 70.7, unit: '°F' }])).toEqual([
      { eventType: 'temperature', data: { temperature: { value: 21.5, original: { value: 70.7, unit: '°F' } } } },
    ])
    expect(measured([{ name: 'pressure', value: 1013.2, unit: 'hPa' }])[0]?.data).toEqual({
      pressure: { pascal: 101_320, original: { value: 1013.2, unit: 'hPa' } },
    })
  })

  it('is left alone where it is in its unit already, or says none', () => {
    expect(measured([{ name: 'temp', value: 21.5, unit: 'C' }])[0]?.data).toEqual({ temperature: { value: 21.5 } })
    expect(measured([{ name: 'co2', value: 415 }])[0]?.data).toEqual({ co2: { ppm: 415 } })
  })

  it('has the temperature beside a humidity, and else another type', () => {
    expect(
      measured([
        { name: 'humidity', value: 40 },
        { name: 'temperature', value: 20 },
      ]).map(one => one.data),
    ).toEqual([{ humidity: { relativeHumidity: 40, temperature: 20 } }, { temperature: { value: 20 } }])
    expect(measured([{ name: 'humidity', value: 40 }])).toEqual([
      { eventType: 'relativeHumidity', data: { relativeHumidity: { value: 40 } } },
    ])
  })

  it('keeps its own name where nobody else knows it', () => {
    expect(measured([{ name: 'PM2.5 (raw)', value: 3, unit: 'counts' }])).toEqual([
      { eventType: 'PM2.5_raw', data: { 'PM2.5_raw': { value: 3, unit: 'counts' } } },
    ])
  })

  it('is said in the words of its states', () => {
    expect(measured([{ name: 'occupancy', value: true }])[0]?.data).toEqual({ motion: { state: 'MOTION_DETECTED' } })
  })

  it.each<[string, Measure, string, object]>([
    [
      'an energy in watt-minutes',
      { name: 'energy', value: 90_000, unit: 'Wmin' },
      'energy',
      { value: 1.5, original: { value: 90_000, unit: 'Wmin' } },
    ],
    ['a voltage in mV', { name: 'voltage', value: 3025, unit: 'mV' }, 'voltage', { value: 3.025, original: { value: 3025, unit: 'mV' } }],
    ['a unit that nobody knows', { name: 'illuminance', value: 3, unit: 'steps' }, 'illuminance', { value: 3, unit: 'steps' }],
    ['a quantity without a standard unit', { name: 'voc', value: 120, unit: 'ppb' }, 'tvoc', { value: 120, unit: 'ppb' }],
    ['a name with a second meaning', { name: 'light', value: 40, unit: '%' }, 'light', { value: 40, unit: '%' }],
    ['a door', { name: 'door', value: true }, 'contact', { state: 'OPEN' }],
    ['a word for a state', { name: 'smoke', value: 'clear' }, 'smoke', { state: 'NOT_DETECTED' }],
    ['a number for a state', { name: 'occupancy', value: 1 }, 'motion', { state: 'MOTION_DETECTED' }],
    ['an amount', { name: 'co', value: 1, unit: 'ppm' }, 'co', { value: 1, unit: 'ppm' }],
    ['an amount without a unit', { name: 'co', value: 1 }, 'co', { value: 1 }],
    ['moisture as a number', { name: 'moisture', value: 1 }, 'soilMoisture', { value: 1 }],
    ['moisture as a state', { name: 'moisture', value: true }, 'waterPresent', { state: 'PRESENT' }],
    ['a low battery', { name: 'battery', value: true }, 'batteryLow', { state: 'LOW' }],
    ['a name of objects', { name: '__proto__', value: 1 }, 'proto', { value: 1 }],
  ])('of %s', (_, measure, eventType, fields) => expect(measured([measure])).toEqual([{ eventType, data: { [eventType]: fields } }]))

  it('has a type by its own name where another one has the standard one', () => {
    const two = measured([
      { name: 'temperature', value: 20 },
      { name: 'air temperature', value: 21 },
      { name: 'temperature', value: 22 },
    ])
    expect(two.map(({ eventType, data }) => [eventType, data[eventType]])).toEqual([
      ['temperature', { value: 20 }],
      ['air_temperature', { value: 21 }],
      ['temperature_2', { value: 22 }],
    ])
  })

  it('is refused in a unit of something else', () => {
    expect(() => measured([{ name: 'temperature', value: 1, unit: 'kg' }])).toThrow(
      /^temperature: expected a unit of temperature such as °C, got kg/,
    )
  })
})

it('names become event types and device ids', () => {
  expect(['  a b/c ', '3d', '', 'ok.1-2_3'].map(eventTypeOf)).toEqual(['a_b_c', 'x3d', 'x', 'ok.1-2_3'])
  expect(deviceOf('living room/lamp#1')).toBe('living room:lamp_1')
})

describe('a report of a device', () => {
  const clock = { nowUs: () => 1_000_000, newId: () => 'id' }

  it('is one event of each type, and one of the rest', () => {
    const measures = [{ name: 'power', value: 3 }]
    const decoded = reported({ device: 'd', measures, rest: { child_lock: 'LOCK' }, more: [availability(true)] }, 'p', clock, '{}')
    expect(decoded.map(one => 'event' in one && JSON.parse(one.event.frame).data)).toMatchObject([
      { power: { value: 3 } },
      { availability: { state: 'ONLINE' } },
      { state: { child_lock: 'LOCK' } },
    ])
  })

  it('loses nothing by one wrong measure, and has nothing of an empty rest', () => {
    const measures = [
      { name: 'temperature', value: 3, unit: 'kg' },
      { name: 'power', value: 3 },
    ]
    const decoded = reported({ device: 'd', measures, rest: {} }, 'p', clock, '{}')
    expect(decoded.map(one => ('event' in one ? one.event.eventType : one.failure.field))).toEqual(['power', 'temperature'])
  })
})

it('a report has at most so many measures', () => {
  const measures = Array.from({ length: 10_000 }, (_, i) => ({ name: `temp${'!'.repeat(i % 50)}`, value: i }))
  const decoded = reported({ device: 'd', measures }, 'p', { nowUs: () => 0, newId: () => 'id' }, '{}')
  expect(decoded).toMatchObject([{ failure: { code: 'too_large' } }])
})

describe('the vocabulary', () => {
  it('is in the units that rules know its fields in', () => {
    for (const [eventType, field, unit] of NUMBERS.filter(([type]) => type !== 'humidity')) {
      expect(fieldUnit(`${eventType}.${field}`)?.symbol, eventType).toBe(unit)
      if (unit !== undefined) expect(parseUnit(unit)?.symbol).toBe(unit)
    }
  })

  it('has each name once, and each state beside no number of its type', () => {
    for (const table of [NUMBERS.map(row => row[3]), STATES.map(row => row[3])]) {
      const names = table.flatMap(row => row.split(' '))
      expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([])
    }
    expect(STATES.map(([type]) => type).filter(type => NUMBERS.some(([number]) => number === type))).toEqual([])
  })

  it('says what it knows', () => {
    expect(isKnown({ name: 'Lux', value: 3 })).toBe(true)
    expect(isKnown({ name: 'child_lock', value: 'LOCK' })).toBe(false)
    expect(channelOf('plug', 1)).toBe('plug:1')
  })
})
