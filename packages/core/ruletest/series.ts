// The shorthand for readings at a fixed pace: `-18x5 -10 _ stale`, in the spirit of promtool's.
import { invalid } from '../failure.ts'

/** `18`, `-18x5` five of them, `20+0.5x4` four that grow, `OPENx3`. */
const TOKEN = /^(.+?)(?:x(\d{1,5}))?$/
const NUMBER = '[+-]?\\d+(?:\\.\\d+)?'
const GROWING = new RegExp(`^(${NUMBER})([+-]\\d+(?:\\.\\d+)?)$`)
const SINGLE = new RegExp(`^${NUMBER}$`)
const WORD = /^[A-Za-z][A-Za-z0-9_-]*$/
const MAX_STEPS = 10_000

/** One for each step of the interval; undefined: nothing is sent there. `stale` ends it: nothing comes any more. */
export function parseSeries(input: unknown, path: string): readonly (number | string | undefined)[] {
  if (typeof input === 'number') return [input]
  if (typeof input !== 'string') throw invalid(path, 'expected readings such as "-18x5 -10 _ -18", one for each interval')
  const values: (number | string | undefined)[] = []
  const tokens = input.split(/\s+/).filter(token => token !== '')
  for (const [i, token] of tokens.entries()) {
    if (token === 'stale' && i === tokens.length - 1) return values
    const [, one = '', times = '1'] = TOKEN.exec(token) ?? []
    if (values.length + Number(times) > MAX_STEPS) throw invalid(path, `expected at most ${MAX_STEPS} steps`)
    values.push(...repeated(one, Number(times), path))
  }
  return values
}

function repeated(token: string, times: number, path: string): (number | string | undefined)[] {
  const valueAt = valuesOf(token)
  if (valueAt === undefined || times === 0)
    throw invalid(
      path,
      `"${token.slice(0, 40)}" is no reading; expected -18, -18x5 (five), 20+0.5x4 (growing), OPEN, _ (nothing) or stale (at the end)`,
    )
  return Array.from({ length: times }, (_, i) => valueAt(i))
}

function valuesOf(token: string): ((step: number) => number | string | undefined) | undefined {
  if (token === '_') return () => undefined
  if (SINGLE.test(token)) return () => Number(token)
  const [, start, growth] = GROWING.exec(token) ?? []
  // 0.1 + 0.2 is meant to be 0.3.
  if (start !== undefined) return step => Number((Number(start) + Number(growth) * step).toPrecision(12))
  return WORD.test(token) && token !== 'stale' ? () => token : undefined
}
