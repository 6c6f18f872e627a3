// What is kept of an event judges like the whole, and is no more than the rules read.
import { describe, expect, it } from 'vitest'
import type { EventData } from './event.ts'
import { keepEvent, readsOf } from './kept.ts'
import { parseRule } from './rule.ts'

const above = (field: string, more: object = {}) => ({ threshold: { field, above: 1, ...more } })
const keep = (data: EventData, ...whens: object[]) => {
  const rules = whens.map((when, i) => parseRule({ name: `r${i}`, when }))
  return keepEvent({ eventType: 'a', timeUs: 1, eventId: 'e', entryId: '1-0', listeningSinceUs: 0, data }, readsOf(rules, 'a')).data
}

describe('of an event', () => {
  const whole = { a: { value: 2, unit: '°F', updateTime: 'now', deep: { x: 3, y: 4 } }, other: 1 }
  it.each<[string, EventData, object[], EventData]>([
    ['the one field of a rule is kept, and its unit', whole, [above('a.value')], { a: { value: 2, unit: '°F' } }],
    ['the fields of all rules are kept', whole, [above('a.value'), above('a.deep.x')], { a: { value: 2, unit: '°F', deep: { x: 3 } } }],
    ['what stands beside it is not', { a: { value: 2, updateTime: 'now' } }, [above('a.value')], { a: { value: 2 } }],
    [
      'the fields of every part are kept',
      whole,
      [{ any: [above('a.value'), { not: above('a.deep.y') }] }],
      { a: { value: 2, unit: '°F', deep: { y: 4 } } },
    ],
    ['nothing is kept for silence', whole, [{ absent: { eventType: 'a', for: '1m' } }], {}],
    ['nothing is kept to count it', whole, [{ window: { eventType: 'a', function: 'count', over: '1m', above: 1 } }], {}],
    ['all is kept for an expression', whole, [above('a.value'), { expression: { expression: 'reading > 1.0', eventTypes: ['a'] } }], whole],
    ['a bare number is kept', { a: 5 }, [above('a.value')], { a: 5 }],
    ['a list is kept as one', { a: { deep: [1, 2] } }, [above('a.deep.x'), above('a.value')], { a: { deep: [1, 2] } }],
    ['a missing field stays missing', { a: { b: 1 } }, [above('a.value')], { a: {} }],
    ['an event without its type stays so', { b: 1 }, [above('a.value')], {}],
    ['fields of other types are not looked for', whole, [above('b.value'), above('a.value')], { a: { value: 2, unit: '°F' } }],
  ])('%s', (_, data, whens, expected) => expect(keep(data, ...whens)).toEqual(expected))
})
