// A band that a number is wanted in or out of: `inside: [2, 8]` holds in it, `outside: [2, 8]` is the readable form of below and above.
import { invalid } from '../failure.ts'
import { type Fields, joinPath, readNumber } from './input.ts'
import type { Schema } from './kind.ts'

/** Both ends belong to the band, so that `inside` and `outside` of the same levels never hold together, and one always does. */
export type Band = {
  readonly low: number
  readonly high: number
  /** Once a value is inside, it has left only below this, or above `clearAbove`. */
  readonly clearBelow: number | undefined
  readonly clearAbove: number | undefined
}

export const bandSchema: Schema = { type: 'array', items: { type: 'number' }, minItems: 2, maxItems: 2, examples: [[2, 8]] }

/** `[low, high]`. */
export function readBand(input: unknown, path: string): readonly [low: number, high: number] {
  if (!Array.isArray(input) || input.length !== 2) throw invalid(path, 'expected two numbers, [low, high]')
  const low = readNumber(input[0], `${path}[0]`)
  const high = readNumber(input[1], `${path}[1]`)
  if (high <= low) throw invalid(`${path}[1]`, `expected more than ${low}, the lower end`)
  return [low, high]
}

export function parseInside(fields: Fields, path: string): Band {
  const [low, high] = readBand(fields.inside, joinPath(path, 'inside'))
  const level = (key: string) => (fields[key] === undefined ? undefined : readNumber(fields[key], joinPath(path, key)))
  const clearBelow = level('clearBelow')
  const clearAbove = level('clearAbove')
  if (clearBelow !== undefined && clearBelow > low) throw invalid(joinPath(path, 'clearBelow'), `expected at most ${low}, the lower end`)
  if (clearAbove !== undefined && clearAbove < high) throw invalid(joinPath(path, 'clearAbove'), `expected at least ${high}, the upper end`)
  return { low, high, clearBelow, clearAbove }
}

export function isInside({ low, high }: Band, value: number): boolean {
  return value >= low && value <= high
}

export function staysInside({ low, high, clearBelow, clearAbove }: Band, value: number): boolean {
  return value >= (clearBelow ?? low) && value <= (clearAbove ?? high)
}

/** The end of the band that is nearest to a value; once it has left, the level that it left past. */
export function endNear({ low, high, clearBelow, clearAbove }: Band, value: number, left: boolean): number {
  const lower = value - low < high - value
  return lower ? (left ? (clearBelow ?? low) : low) : left ? (clearAbove ?? high) : high
}

export function insidePlace(band: Band, value: number): string {
  if (isInside(band, value)) return `inside ${band.low} to ${band.high}`
  return value < band.low ? `not below ${band.clearBelow}` : `not above ${band.clearAbove}`
}

export function leftPlace({ low, high }: Band, limit: number | undefined): string {
  if (limit === undefined) return `outside ${low} to ${high}`
  return limit <= low ? `below ${limit}` : `above ${limit}`
}

/** What would turn it over, with how far that is. */
export function nearestEnd(band: Band, value: number, held: boolean): string {
  const end = endNear(band, value, held)
  const away = end - value
  const place = held ? leftPlace(band, end) : `inside ${band.low} to ${band.high}`
  return `${place}, which is ${Number(Math.abs(away).toPrecision(6))} ${away < 0 ? 'less' : 'more'}`
}
