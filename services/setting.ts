// How the text of a setting becomes its value. What is wrong is a Failure `setup` that says what was expected.
import { Failure } from '../packages/core/failure.ts'
import { parseDuration } from '../packages/core/time.ts'
import type { Rate } from '../packages/runtime/http.ts'

export function expected(what: string, got: string): Failure {
  return new Failure('setup', `expected ${what}, got ${JSON.stringify(got.slice(0, 100))}`)
}

export function optional(text: string): string | undefined {
  return text === '' ? undefined : text
}

/** Secrets are checked with this too, so the value is not repeated. */
export function pattern(text: string, shape: RegExp, what: string): string {
  if (!shape.test(text)) throw new Failure('setup', `expected ${what}`)
  return text
}

export function whole(text: string, min: number, max: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max)) throw expected(`a whole number from ${min} to ${max}`, text)
  return value
}

export function port(text: string): number {
  return whole(text, 0, 65_535)
}

export function duration(text: string): number {
  const ms = parseDuration(text)
  if (ms === undefined) throw expected('a duration such as 90s, 5m, 24h or 30d', text)
  return ms
}

/** For others, who may be slow, but not for ever. */
export function wait(text: string): number {
  const ms = duration(text)
  if (ms < 1000 || ms > 3_600_000) throw expected('a duration from 1s to 1h', text)
  return ms
}

export function rate(text: string): Rate | undefined {
  if (text === 'off') return undefined
  const [, requests, window] = /^(\d{1,9})\/(\w+)$/.exec(text) ?? []
  const windowMs = window === undefined ? undefined : parseDuration(window)
  if (!windowMs || !Number(requests)) throw expected('a number of requests and a duration such as 25/5s, or off', text)
  return { requests: Number(requests), windowMs }
}

const UNITS: Readonly<Record<string, number>> = { kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 }

export function bytes(text: string): number {
  const match = /^(\d{1,6})(kb|mb|gb)$/.exec(text.toLowerCase())
  if (!match) throw expected('a size such as 512mb or 2gb', text)
  return Number(match[1]) * (UNITS[match[2] as string] as number)
}

export function oneOf<T extends string>(text: string, values: readonly T[]): T {
  const found = values.find(value => value === text)
  if (found === undefined) throw expected(values.join(', '), text)
  return found
}

export function truth(text: string): boolean {
  return oneOf(text, ['true', 'false'] as const) === 'true'
}
