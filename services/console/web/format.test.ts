// How values and ages read.
import { expect, test } from 'vitest'
import { deviceIdOf, formatAge, formatReading, formatState, unitOf } from './format.ts'

test.each([
  [-5000, '0 s'],
  [0, '0 s'],
  [59_999, '59 s'],
  [60_000, '1 min'],
  [3_599_000, '59 min'],
  [7_200_000, '2 h'],
  [200_000_000, '2 d'],
])('an age of %d ms reads %s', (ms, text) => {
  expect(formatAge(ms)).toBe(text)
})

test.each([
  ['temperature', 'value', -18.4, '-18.4\u00a0°C'],
  ['humidity', 'relativeHumidity', 45.256, '45.26\u00a0%'],
  ['co2', 'ppm', 1240, '1,240\u00a0ppm'],
  ['leak', 'value', 0.00123, '0.00123'],
])('%s %s is shown with its unit when it is known', (eventType, field, value, text) => {
  expect(formatReading(value, unitOf(eventType, field))).toBe(text)
})

test('constants become words and other text stays as it was sent', () => {
  expect(formatState('NOT_PRESENT')).toBe('not present')
  expect(formatState('<b>Open</b>')).toBe('<b>Open</b>')
})

test('a device id is everything after /devices/', () => {
  expect(deviceIdOf('projects/p/devices/odd %?&=" id')).toBe('odd %?&=" id')
  expect(deviceIdOf('bare')).toBe('bare')
})
