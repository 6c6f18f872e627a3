// Names and units of many makers, made one.
import { describe, expect, it } from 'vitest'
import { fieldUnit, parseUnit } from '../../../packages/core/unit.ts'
import { growth } from './fixture.ts'
import { availability, channelOf, deviceOf, eventTypeOf, isKnown, type Measure, measured, reported, told } from './measure.ts'
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

  it('has the same type for a humidity in every payload, and one more event with the temperature beside it', () => {
    expect(
      measured([
        { name: 'humidity', value: 40 },
        { name: 'temperature', value: 20 },
      ]).map(one => one.data),
    ).toEqual([
      { relativeHumidity: { value: 40 } },
      { humidity: { relativeHumidity: 40, temperature: 20 } },
      { temperature: { value: 20 } },
    ])
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
    expect(measured([{ name: 'occupancy', value: true }])[0]?.data).toEqual({ occupancy: { state: 'OCCUPIED' } })
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
    ['a number for a state', { name: 'occupancy', value: 1 }, 'occupancy', { state: 'OCCUPIED' }],
    ['a number of motions', { name: 'motion', value: 3 }, 'motionCount', { value: 3 }],
    ['a number of people', { name: 'presence', value: 12 }, 'occupancyCount', { value: 12 }],
    ['a door that is shut', { name: 'door', value: 'close' }, 'contact', { state: 'CLOSED' }],
    ['an amount', { name: 'co', value: 1, unit: 'ppm' }, 'co', { value: 1, unit: 'ppm' }],
    ['an amount without a unit', { name: 'co', value: 1 }, 'co', { value: 1 }],
    ['moisture as a number', { name: 'moisture', value: 1 }, 'soilMoisture', { value: 1 }],
    ['moisture as a state', { name: 'moisture', value: true }, 'waterPresent', { state: 'PRESENT' }],
    ['a low battery', { name: 'battery', value: true }, 'batteryLow', { state: 'LOW' }],
    ['a name of objects', { name: '__proto__', value: 1 }, 'proto', { value: 1 }],
  ])('of %s', (_, measure, eventType, fields) => expect(measured([measure])).toEqual([{ eventType, data: { [eventType]: fields } }]))

  it('has the type that its name, kind and unit say, whatever else is there', () => {
    const all: Measure[] = [
      { name: 'Temperature', value: 20 },
      { name: 'Temp', value: 68, unit: '°F' },
      { name: 'humidity', value: 40 },
      { name: 'Inputs/Level', value: 1 },
    ]
    const alone = all.flatMap(one => measured([one]).map(({ eventType }) => eventType))
    const together = measured(all).map(({ eventType }) => eventType)
    expect(new Set(together)).toEqual(new Set([...alone, 'humidity']))
    expect(alone).toEqual(['temperature', 'temperature', 'relativeHumidity', 'Inputs_Level'])
  })

  it('is refused where another one of the payload means the same, and left out where it says the same', () => {
    const [c, f, other] = [
      { name: 'temp_c', value: 20, unit: '°C' },
      { name: 'temp', value: 68, unit: '°F' },
      { name: 'Temperature', value: 21 },
    ]
    expect(told([f, other, f]).refused.map(one => one.failure.message)).toEqual([
      'Temperature: means temperature, as temp does with another value; expected one name for each',
    ])
    expect(told([f, { ...c, name: 'temperature' }])).toMatchObject({ kept: [{ measured: { eventType: 'temperature' } }], refused: [] })
  })

  it.each<[string, Measure, string, object]>([
    ['a weight called temperature', { name: 'temperature', value: 1, unit: 'kg' }, 'temperature_kg', { value: 1, unit: 'kg' }],
    ['a fan', { name: 'speed', value: 900, unit: 'rpm' }, 'speed_rpm', { value: 900, unit: 'rpm' }],
    ['a piston', { name: 'position', value: 5, unit: 'mm' }, 'position_mm', { value: 5, unit: 'mm' }],
    ['a fan in percent', { name: 'speed', value: 40, unit: '%' }, 'speed_percentage', { value: 40, unit: '%' }],
    ['a battery in volts', { name: 'battery', value: 3.6, unit: 'V' }, 'batteryVoltage', { value: 3.6 }],
    [
      'a power factor in percent',
      { name: 'powerFactor', value: 95, unit: '%' },
      'powerFactor',
      { value: 0.95, original: { value: 95, unit: '%' } },
    ],
    ['PM1.0', { name: 'PM1_0', value: 3 }, 'pm1', { value: 3 }],
    ['PM 1.0', { name: 'PM 1.0', value: 3 }, 'pm1', { value: 3 }],
    ['PM4.0', { name: 'PM4.0', value: 3 }, 'pm4', { value: 3 }],
    ['PM10', { name: 'PM 10', value: 3 }, 'pm10', { value: 3 }],
    ['a light level without a unit', { name: 'lightLevel', value: 3 }, 'lightLevel', { value: 3 }],
  ])('keeps %s', (_, measure, eventType, fields) => expect(measured([measure])).toEqual([{ eventType, data: { [eventType]: fields } }]))

  it.each<[string, string | boolean]>([
    ['temperature', 'err'],
    ['temp', '21,5'],
    ['temp', '1e999'],
    ['Humidity', true],
    ['co2', 'unavailable'],
    ['voltage', 'NaN'],
  ])('is refused where a number is meant and %s is %j', (name, value) => {
    const { kept, refused } = told([
      { name, value },
      { name: 'power', value: 2 },
    ])
    expect(kept.map(({ measure }) => measure.name)).toEqual(['power'])
    const message = `${name}: expected a number, got ${JSON.stringify(String(value))}`
    expect(refused).toMatchObject([{ failure: { code: 'invalid', field: name, message } }])
  })

  it.each<[Measure, string, object]>([
    [{ name: 'temperature', value: '21.50' }, 'temperature', { value: 21.5, original: { value: '21.50' } }],
    [{ name: 'temp', value: ' 70.7', unit: '°F' }, 'temperature', { value: 21.5, original: { value: ' 70.7', unit: '°F' } }],
    [{ name: 'power', value: '12' }, 'power', { value: 12, original: { value: '12' } }],
    [{ name: 'battery', value: '1' }, 'batteryStatus', { percentage: 1, original: { value: '1' } }],
    [{ name: 'speed', value: '900', unit: 'rpm' }, 'speed_rpm', { value: 900, unit: 'rpm', original: { value: '900' } }],
    [{ name: 'smoke', value: '1' }, 'smoke', { state: 'DETECTED' }],
    [{ name: 'firmware', value: '2.1' }, 'firmware', { value: '2.1' }],
  ])('is a number where one is meant and a text is one: %j', (measure, eventType, fields) =>
    expect(measured([measure])).toEqual([{ eventType, data: { [eventType]: fields } }]),
  )

  it.each(['speed', 'volume', 'windDirection', 'light', 'uptime', 'battery', 'moisture', 'power', 'mode'])(
    'may be a word where makers have words: %s',
    name => expect(told([{ name, value: 'high' }]).refused).toEqual([]),
  )

  it('of thousands that mean the same is told in no time', () => {
    const many = Array.from({ length: 10_000 }, (_, i) => ({ name: `${'-'.repeat(i % 150)}temp`, value: i }))
    const [startMs, { refused }] = [performance.now(), told(many)]
    expect(refused).toHaveLength(9999)
    expect(performance.now() - startMs).toBeLessThan(2000)
  })
})

it('names that are cut, or have no letter that a type may have, stay apart', () => {
  const types = [`${'a'.repeat(70)}/1`, `${'a'.repeat(70)}/2`, 'Влажность', 'Давление'].map(eventTypeOf)
  expect(new Set(types).size).toBe(4)
  for (const type of types) expect(type).toMatch(/^[A-Za-z][\w.-]{0,63}$/)
})

it('a long name costs what its length costs, and is refused by its beginning', () => {
  expect(growth(size => eventTypeOf(`a${'_'.repeat(size)}a`), 10_000)).toBeLessThan(32)
  const name = '_'.repeat(257)
  expect(told([{ name, value: 1 }]).refused.map(one => one.failure.message)).toEqual([
    `${'_'.repeat(64)}…: expected a name of at most 256 characters`,
  ])
  expect(told([{ name: name.slice(1), value: 1 }]).kept).toHaveLength(1)
})

it('names that differ behind what is looked at stay apart', () => {
  expect(new Set([1, 2].map(i => eventTypeOf(`${' '.repeat(300)}${i}`))).size).toBe(2)
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

  it('loses nothing by one refused measure, and has nothing of an empty rest', () => {
    const measures = [
      { name: 'temperature', value: 3 },
      { name: 'power', value: 3 },
      { name: 'temp', value: 4 },
    ]
    const decoded = reported({ device: 'd', measures, rest: {} }, 'p', clock, '{}')
    expect(decoded.map(one => ('event' in one ? one.event.eventType : one.failure.field))).toEqual(['temperature', 'power', 'temp'])
  })
})

it('a report has at most so many measures', () => {
  const measures = Array.from({ length: 10_000 }, (_, i) => ({ name: `temp${'!'.repeat(i % 50)}`, value: i }))
  const decoded = reported({ device: 'd', measures }, 'p', { nowUs: () => 0, newId: () => 'id' }, '{}')
  expect(decoded).toMatchObject([{ failure: { code: 'too_large' } }])
})

describe('the vocabulary', () => {
  it('is in the units that rules know its fields in', () => {
    for (const [eventType, field, unit] of NUMBERS) {
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
