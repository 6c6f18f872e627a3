// Bytes made wrong, by dice that fall the same way for the same seed.
import { createRandom, type Random } from '../packages/cli/fleet/random.ts'

const INTERESTING = [0, 1, 0x7f, 0x80, 0xc0, 0xed, 0xff] as const
const WORDS = [
  '1e999',
  '-0',
  '9007199254740993',
  'NaN',
  'null',
  '""',
  '{}',
  '[]',
  '__proto__',
  'constructor',
  '\u0000',
  '\ud800',
  '%n%s',
  '+/#',
  '../..',
  '[[[[[[[[',
  '{"a":{"a":{"a":',
] as const
const MOST = 64 * 1024

export class Dice {
  readonly #random: Random

  constructor(seed: string, name: string) {
    this.#random = createRandom(seed, name)
  }

  /** From 0 to `limit`, without that. */
  below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }
}

type Change = (bytes: Buffer, dice: Dice, others: readonly Buffer[]) => Buffer

/** One to four changes; `others` are spliced in. */
export function mutated(bytes: Buffer, dice: Dice, others: readonly Buffer[]): Buffer {
  let changed = Buffer.from(bytes)
  for (let left = 1 + dice.below(4); left > 0; left--) changed = Buffer.from(dice.pick(CHANGES)(changed, dice, others))
  return changed.subarray(0, MOST)
}

const CHANGES: readonly Change[] = [
  (bytes, dice) => replaced(bytes, dice.below(bytes.length), (bytes[dice.below(bytes.length)] ?? 0) ^ (1 << dice.below(8))),
  (bytes, dice) => replaced(bytes, dice.below(bytes.length), dice.pick(INTERESTING)),
  (bytes, dice) => replaced(bytes, dice.below(bytes.length), dice.below(256)),
  (bytes, dice) => bytes.subarray(0, dice.below(bytes.length + 1)),
  (bytes, dice) => without(bytes, dice.below(bytes.length), 1 + dice.below(8)),
  (bytes, dice) => inserted(bytes, dice.below(bytes.length + 1), Buffer.from([dice.below(256), dice.pick(INTERESTING)])),
  (bytes, dice) => inserted(bytes, dice.below(bytes.length + 1), Buffer.from(dice.pick(WORDS))),
  (bytes, dice) => {
    const from = dice.below(bytes.length)
    return inserted(bytes, dice.below(bytes.length + 1), bytes.subarray(from, from + 1 + dice.below(32)))
  },
  (bytes, dice, others) => {
    const other = dice.pick(others)
    return Buffer.concat([bytes.subarray(0, dice.below(bytes.length + 1)), other.subarray(dice.below(other.length + 1))])
  },
  (bytes, dice) => number(bytes, dice),
  (bytes, dice) => {
    const from = dice.below(bytes.length)
    const piece = bytes.subarray(from, from + 1 + dice.below(16))
    return inserted(bytes, from, Buffer.concat(Array.from({ length: 1 + dice.below(200) }, () => piece)))
  },
  // Thousands of the same: what looks at the rest from each of them takes the square.
  (bytes, dice) => {
    const from = dice.below(bytes.length)
    const piece = bytes.subarray(from, from + 1 + dice.below(2))
    const isMany = dice.below(20) === 0 && bytes.length < MOST
    return isMany ? inserted(bytes, from, Buffer.alloc(MOST - bytes.length, piece.length > 0 ? piece : '_')) : bytes
  },
]

function replaced(bytes: Buffer, at: number, value: number): Buffer {
  if (bytes.length > 0) bytes[at] = value
  return bytes
}

function without(bytes: Buffer, at: number, count: number): Buffer {
  return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + count)])
}

function inserted(bytes: Buffer, at: number, piece: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)])
}

/** One number in a text is another one. */
function number(bytes: Buffer, dice: Dice): Buffer {
  const text = bytes.toString('latin1')
  const found = [...text.matchAll(/\d+/g)]
  if (found.length === 0) return bytes
  const { index, 0: digits } = dice.pick(found)
  return Buffer.from(`${text.slice(0, index)}${dice.pick(WORDS)}${text.slice(index + digits.length)}`, 'latin1')
}
