// The size of patterns, told from their text: never more than they have, and for what grows not much less.
import { expect, test } from 'vitest'
import { leastSize } from './pattern.ts'

test.each<[string, number]>([
  ['', 0],
  ['abc', 3],
  ['a{9}', 9],
  ['ab{2,9}c', 11],
  ['a{3,}', 3],
  ['(a{9}){9}', 90],
  ['((a{10}){10}){10}', 1110],
  ['[a-z]{5}\\d{2}\\{3', 9],
  ['[](){2}[:alpha:]]{4}', 4],
  ['[^]{9}]{2}', 2],
  ['(x{0,1000})(x{0,1000})', 2002],
  ['(a|b)*c+', 4],
  ['((a', 1],
  ['a))b', 4],
  ['{3}', 0],
  ['^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', 41],
])('%s has at least %i parts', (pattern, size) => expect(leastSize(pattern)).toBe(size))
