// Whose turn it is: who is new at once, and each of the others after a while, however many there are.
import { expect, it } from 'vitest'
import { Round } from './round.ts'

const all = Array.from({ length: 45 }, (_, i) => `stream ${i}`)

it('who is new is looked at at once, and a few of the others in each round', () => {
  const round = new Round(20)
  expect(round.next(all)).toEqual(all)
  expect([1, 2, 3].map(() => round.next(all).length)).toEqual([20, 20, 5])
  expect(round.next([...all, 'another'])).toHaveLength(21)
})

it('everybody has a turn', () => {
  const round = new Round(20)
  round.next(all)
  expect(new Set([1, 2, 3].flatMap(() => round.next(all)))).toEqual(new Set(all))
})

it('who went, or is forgotten, is new when it comes again', () => {
  const round = new Round(1)
  for (const there of [all, [], all]) expect(round.next(there)).toEqual(there)
  round.forget('stream 7')
  expect(round.next(all)).toContain('stream 7')
})
