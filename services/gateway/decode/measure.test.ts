// Names and units of many makers, made one.
import { describe, expect, it } from 'vitest'
import { deviceOf, eventTypeOf, measured } from './measure.ts'

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
