// What of a rule is drawn.
import { expect, test } from 'vitest'
import { fieldsOf, levelsOf, rangeOf, readingOf } from './level.ts'

const warm = { threshold: { field: 'temperature.value', above: -15, clearBelow: -16, unit: '°C' } }

test('the readings a rule compares are found in conditions of conditions', () => {
  expect(fieldsOf({ all: [warm, { not: { rate: { field: 'humidity.relativeHumidity' } } }, warm] })).toEqual([
    'temperature.value',
    'humidity.relativeHumidity',
  ])
  expect(fieldsOf({ absent: { eventType: 'temperature' } })).toEqual([])
  expect(fieldsOf(undefined)).toEqual([])
})

test('a dotted event type is told from a dotted field by what the device has sent', () => {
  expect(readingOf('a.b.c', ['a.b'])).toEqual({ eventType: 'a.b', field: 'c' })
  expect(readingOf('a.b.c', ['a'])).toEqual({ eventType: 'a', field: 'b.c' })
  expect(readingOf('a.b.c', [])).toEqual({ eventType: 'a', field: 'b.c' })
  expect(readingOf('a', [])).toBeUndefined()
})

test('levels are those of the field that is drawn, with the rungs of a ladder in place of the level they begin at', () => {
  const rule = { when: { any: [warm, { threshold: { field: 'humidity.value', above: 5 } }] }, severity: 'critical' }
  expect(levelsOf(rule, 'temperature.value')).toEqual([
    { value: -15, label: 'above -15 °C', severity: 'critical' },
    { value: -16, label: 'clears below -16 °C', severity: 'clear' },
  ])
  const ladder = { when: warm, severity: [{ at: -15, severity: 'warning' }, { at: -5, severity: 'critical' }, { at: 'soon' }] }
  expect(levelsOf(ladder, 'temperature.value').map(({ label }) => label)).toEqual([
    'clears below -16 °C',
    'warning from -15',
    'critical from -5',
  ])
  expect(levelsOf({ when: { rate: { field: 'temperature.value', above: 1 } } }, 'temperature.value')).toEqual([])
})

test('levels stand where the readings are, whatever unit the rule has them in, and also those of a mean', () => {
  const fahrenheit = { threshold: { field: 'temperature.value', above: 5, unit: '°F' } }
  expect(levelsOf({ when: fahrenheit }, 'temperature.value')).toEqual([{ value: -15, label: 'above 5 °F', severity: 'warning' }])
  const mean = { window: { field: 'temperature.value', function: 'mean', over: '1h', above: 8 } }
  expect(levelsOf({ when: mean }, 'temperature.value').map(({ label }) => label)).toEqual(['mean above 8'])
  expect(levelsOf({ when: { window: { ...mean.window, function: 'count' } } }, 'temperature.value')).toEqual([])
})

test('every level is in sight, and a flat line is not at the edge', () => {
  const [low, high] = rangeOf(10, 20, [{ value: 50, label: '', severity: 'info' }])
  expect([low < 10, high > 50]).toEqual([true, true])
  const [below, above] = rangeOf(5, 5, [])
  expect([below < 5, above > 5]).toEqual([true, true])
  expect(rangeOf(null, null, [])).toEqual([0, 1])
})
