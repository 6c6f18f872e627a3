// Levels that a number is compared with: above, below or outside of two, each with a level of its own at which it is clear again.
import { invalid } from '../failure.ts'
import { type Fields, joinPath, readNumber } from './input.ts'
import type { Cause, Schema } from './kind.ts'

export type Levels = {
  /** Holds above this, or below `below`. Both: outside of them. */
  readonly above: number | undefined
  readonly below: number | undefined
  /** Once it holds because of `above`, it stops only below this. */
  readonly clearBelow: number | undefined
  readonly clearAbove: number | undefined
}

export const LEVEL_KEYS = ['above', 'below', 'clearBelow', 'clearAbove'] as const

export const levelSchemas: { readonly [key in (typeof LEVEL_KEYS)[number]]: Schema } = {
  above: { type: 'number', description: 'holds above this' },
  below: { type: 'number', description: 'holds below this' },
  clearBelow: { type: 'number', description: 'once it holds because of `above`, it stops only below this' },
  clearAbove: { type: 'number', description: 'once it holds because of `below`, it stops only above this' },
}

export function parseLevels(fields: Fields, path: string): Levels {
  const level = (key: string) => (fields[key] === undefined ? undefined : readNumber(fields[key], joinPath(path, key)))
  const levels = { above: level('above'), below: level('below'), clearBelow: level('clearBelow'), clearAbove: level('clearAbove') }
  if (levels.above === undefined && levels.below === undefined)
    throw invalid(path, 'expected "above", "below", or both (then it holds outside of them)')
  checkLevels(levels, path)
  return levels
}

function checkLevels(levels: Levels, path: string): void {
  const { above, below } = levels
  if (above !== undefined && below !== undefined && below >= above)
    throw invalid(joinPath(path, 'below'), `expected less than above (${above}): with both, the rule holds outside of them`)
  checkClearBelow(levels, joinPath(path, 'clearBelow'))
  checkClearAbove(levels, joinPath(path, 'clearAbove'))
}

function checkClearBelow({ above, below, clearBelow }: Levels, path: string): void {
  if (clearBelow === undefined) return
  if (above === undefined) throw invalid(path, 'expected only together with "above"')
  if (clearBelow > above) throw invalid(path, `expected at most above (${above})`)
  if (below !== undefined && clearBelow <= below) throw invalid(path, `expected more than below (${below})`)
}

function checkClearAbove({ above, below, clearBelow, clearAbove }: Levels, path: string): void {
  if (clearAbove === undefined) return
  if (below === undefined) throw invalid(path, 'expected only together with "below"')
  if (clearAbove < below) throw invalid(path, `expected at least below (${below})`)
  const end = clearBelow ?? above
  if (end !== undefined && clearAbove >= end) throw invalid(path, `expected less than ${end}, or no value would ever be clear`)
}

export function levelsToJson({ above, below, clearBelow, clearAbove }: Levels): { readonly [key in keyof Levels]: Levels[key] } {
  return { above, below, clearBelow, clearAbove }
}

/** From the highest to the lowest. */
export function linesOf({ above, below, clearBelow, clearAbove }: Levels): readonly number[] {
  return [above, clearBelow, clearAbove, below].filter(level => level !== undefined)
}

export function worseOf({ above, below }: Levels): 'higher' | 'lower' | undefined {
  return below === undefined ? 'higher' : above === undefined ? 'lower' : undefined
}

/** How far behind its level a value must be to be clear again; 0 for a band, which has two. */
export function deadBandOf({ above, below, clearBelow, clearAbove }: Levels): number {
  if (above !== undefined) return below === undefined ? above - (clearBelow ?? above) : 0
  return below === undefined ? 0 : (clearAbove ?? below) - below
}

/** The level that the value lies beyond. */
export function crossed({ above, below }: Levels, value: number): number | undefined {
  if (above !== undefined && value > above) return above
  return below !== undefined && value < below ? below : undefined
}

export function staysHeld({ above, below, clearBelow, clearAbove }: Levels, value: number): boolean {
  const high = above !== undefined && (clearBelow === undefined ? value > above : value >= clearBelow)
  return high || (below !== undefined && (clearAbove === undefined ? value < below : value <= clearAbove))
}

/** The level past which it was clear again, on the side on which it had held. */
export function clearLevel({ above, below, clearBelow, clearAbove }: Levels, held: Cause): number | undefined {
  return above === undefined || (below !== undefined && held.limit === below) ? (clearAbove ?? below) : (clearBelow ?? above)
}

/** Where a value lies that holds. */
export function heldPlace(levels: Levels, value: number): string {
  const { above, below, clearBelow, clearAbove } = levels
  const limit = crossed(levels, value)
  if (limit !== undefined) return limit === above ? `above ${above}` : `below ${below}`
  return clearBelow !== undefined && value >= clearBelow ? `not below ${clearBelow}` : `not above ${clearAbove}`
}

/** Where a value lies that does not, past this level if it had held before. */
export function clearPlace({ above, below, clearBelow, clearAbove }: Levels, limit: number | undefined): string {
  if (limit !== undefined && limit === clearBelow) return `below ${clearBelow}`
  if (limit !== undefined && limit === clearAbove) return `above ${clearAbove}`
  if (above !== undefined && below !== undefined) return `between ${below} and ${above}`
  return above === undefined ? `not below ${below}` : `not above ${above}`
}

/** What would turn it over, with how far that is: `above -15, which is 3.2 more`. */
export function nearestPlace({ above, below, clearBelow, clearAbove }: Levels, value: number, held: boolean): string {
  const high = held ? (clearBelow === undefined ? `not above ${above}` : `below ${clearBelow}`) : `above ${above}`
  const low = held ? (clearAbove === undefined ? `not below ${below}` : `above ${clearAbove}`) : `below ${below}`
  const ways = [
    { place: high, level: held ? (clearBelow ?? above) : above },
    { place: low, level: held ? (clearAbove ?? below) : below },
  ]
  const [near] = ways
    .flatMap(({ place, level }) => (level === undefined ? [] : [{ place, away: level - value }]))
    .sort((a, b) => Math.abs(a.away) - Math.abs(b.away))
  if (near === undefined) return ''
  return `${near.place}, which is ${Number(Math.abs(near.away).toPrecision(6))} ${near.away < 0 ? 'less' : 'more'}`
}
