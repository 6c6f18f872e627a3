// A rule's unit and a reading's: what is converted, what is refused, what is left alone.
import { describe, expect, it } from 'vitest'
import { conditionToJson, kindOf, parseCondition } from './condition.ts'
import { numberIn, readField } from './field.ts'

function read(field: string, unit: string | undefined, data: unknown, eventType = field.split('.')[0] as string) {
  return numberIn(readField({ field, unit }, 'when'), eventType, { [eventType]: data })
}

describe('a reading', () => {
  it.each<[string, string | undefined, unknown, number | string | undefined]>([
    // A known field is in its own unit.
    ['temperature.value', undefined, { value: 20 }, 20],
    ['temperature.value', '°C', { value: 20 }, 20],
    ['temperature.value', '°F', { value: 20 }, 68],
    ['temperature.value', 'kelvin', { value: 20 }, 293.15],
    ['temperature.value', 'F', 20, 68],
    ['pressure.pascal', 'hPa', { pascal: 101_325 }, 1013.25],
    // Unless the event says another.
    ['temperature.value', '°C', { value: 68, unit: '°F' }, 20],
    ['temperature.value', '°F', { value: 68, unit: 'fahrenheit' }, 68],
    ['temperature.value', '°F', { value: 20, unit: 'C' }, 68],
    ['temperature.value', '°C', { value: 20, unit: 'A' }, 20],
    ['temperature.value', '°F', { value: 20, unit: 'bananas' }, 68],
    ['temperature.value', '°F', { value: 20, unit: 7 }, 68],
    // Without a unit in the rule numbers are as they were sent.
    ['temperature.value', undefined, { value: 68, unit: '°F' }, 68],
    // A field of its sender's own is in what it says, else in what the rule says.
    ['acme.box.temp', '°C', { box: { temp: 68, unit: '°F' } }, 20],
    ['acme.box.temp', '°C', { box: { temp: 68 }, unit: '°F' }, 68],
    ['acme.temp', '°C', { temp: 68 }, 68],
    ['acme.value', '°C', { value: 70, unit: 'psi' }, '70 psi'],
    ['acme.value', 'cows', { value: 70, unit: 'psi' }, 70],
    ['acme.value', '°C', 68, 68],
    // Nothing that is not there.
    ['acme.value', '°C', { unit: '°F' }, undefined],
    ['acme.value', '°C', { value: '68', unit: '°F' }, '"68"'],
    ['acme.value', 'µg', { value: 1e308, unit: 't' }, 'Infinity'],
    ['acme.value', '°C', JSON.parse('{"value":5,"__proto__":{"unit":"°F"}}'), 5],
  ])('%s in a rule with %s, sent as %j, is %j', (field, unit, data, expected) => expect(read(field, unit, data)).toBe(expected))

  it('is found in an event type with dots as well', () => {
    expect(read('acme.box.temp', '°C', { temp: 68, unit: '°F' }, 'acme.box')).toBe(20)
  })
})

describe('the unit of a condition', () => {
  it.each([
    ['temperature.value', 'celsius', '°C'],
    ['acme.value', 'ug/m3', 'µg/m³'],
    ['acme.value', 'cows', 'cows'],
    ['touchCount.total', 'touches', 'touches'],
  ])('of %s written %s is %s', (field, unit, shown) => {
    const condition = parseCondition({ threshold: { field, above: 1, unit } }, 'when')
    expect(kindOf(condition).unit(condition)).toBe(shown)
    expect(conditionToJson(condition)).toMatchObject({ threshold: { unit: shown } })
  })
})
