// Silences as they are typed, said and ordered.
import { expect, test } from 'vitest'
import type { Silence } from '../../../packages/client/index.ts'
import { matchersOf, matcherWords, orderSilences, silenceOf } from './silence.ts'

test('values are parted by commas, and what has none is left out', () => {
  const matchers = matchersOf([
    { field: 'rule', values: ' freezer-warm ' },
    { field: 'labels.zone', values: 'cold, dock,' },
    { field: 'device', values: ' ' },
  ])
  expect(matchers).toEqual([
    { field: 'rule', equals: 'freezer-warm' },
    { field: 'labels.zone', in: ['cold', 'dock'] },
  ])
  expect(matcherWords(matchers)).toBe('rule is freezer-warm and labels.zone is cold or dock')
})

test('a silence begins now unless said, and ends after its span', () => {
  const now = Date.parse('2026-03-02T06:00:00Z')
  expect(silenceOf([{ field: 'rule', values: 'a' }], ' defrosting ', '', 3_600_000, now)).toEqual({
    matchers: [{ field: 'rule', equals: 'a' }],
    reason: 'defrosting',
    endTime: '2026-03-02T07:00:00.000Z',
  })
  const later = silenceOf([], '', '2026-03-03T06:00:00Z', 60_000, now)
  expect(later).toMatchObject({ startTime: '2026-03-03T06:00:00.000Z', endTime: '2026-03-03T06:01:00.000Z' })
})

test('what is in force comes first, of what is over the last', () => {
  const one = (id: string, state: Silence['state'], endTime: string) => ({ id, state, endTime }) as Silence
  const all = [
    one('old', 'expired', '1'),
    one('new', 'expired', '2'),
    one('soon', 'pending', '9'),
    one('late', 'active', '8'),
    one('first', 'active', '7'),
  ]
  expect(orderSilences(all).map(({ id }) => id)).toEqual(['first', 'late', 'soon', 'new', 'old'])
})
