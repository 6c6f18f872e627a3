// How the text of a setting becomes its value. What is wrong is a Failure `setup` that says what was expected.
import { isIP } from 'node:net'
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

/** Of one project's refused input. */
export function quarantine(read: <T>(name: string, parse: (text: string) => T) => T): { maxBytes: number; retentionMs: number } {
  return {
    maxBytes: read('TELLTALE_QUARANTINE_MAX_SIZE', quarantineBytes),
    retentionMs: read('TELLTALE_QUARANTINE_RETENTION', duration),
  }
}

/** Room for the largest body, and some more. */
function quarantineBytes(text: string): number {
  const value = bytes(text)
  if (value < 20 * 1024 ** 2) throw expected('20mb or more', text)
  return value
}

export function oneOf<T extends string>(text: string, values: readonly T[]): T {
  const found = values.find(value => value === text)
  if (found === undefined) throw expected(values.join(', '), text)
  return found
}

export function truth(text: string): boolean {
  return oneOf(text, ['true', 'false'] as const) === 'true'
}

export function projectName(text: string): string {
  return pattern(text, /^[a-z0-9][a-z0-9_-]{0,62}$/, '1 to 63 of a-z 0-9 _ - that start with a letter or digit')
}

/** In square brackets where it is IPv6, as in a URL: clients put it into one. */
export function address(text: string): string | undefined {
  if (text === '') return undefined
  if (isIP(text) === 6) return `[${text}]`
  const [, host = '', ipv6, digits] = /^(\[([0-9A-Fa-f:.]+)\]|[A-Za-z0-9.-]{1,253})(?::(\d{1,5}))?$/.exec(text) ?? []
  if (host === '' || (ipv6 !== undefined && isIP(ipv6) !== 6)) throw expected('a host or host:port such as 10.0.4.11:8080', text)
  if (digits !== undefined) whole(digits, 1, 65_535)
  return text
}

export function publicUrl(text: string): string | undefined {
  if (text === '') return undefined
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.search + url.hash + url.username + url.password !== '')
    throw expected('a URL such as https://telltale.example.com', text)
  return url.href.replace(/\/+$/, '')
}

export function networks(text: string): string[] {
  const all = text.split(',').flatMap(one => (one.trim() === '' ? [] : [one.trim()]))
  const wrong = all.find(one => {
    const [address = '', bits, ...rest] = one.split('/')
    const most = isIP(address) === 6 ? 128 : 32
    return isIP(address) === 0 || rest.length > 0 || (bits !== undefined && (!/^\d{1,3}$/.test(bits) || Number(bits) > most))
  })
  if (wrong !== undefined) throw expected('addresses or networks such as 10.0.0.0/8', wrong)
  return all
}

/** The setting that was probably meant: most letters in common at the start and at the end, and more than half of those given. */
export function nearest(name: string, known: ReadonlySet<string>): string {
  const common = (a: string, b: string) => {
    let count = 0
    while (count < a.length && a[count] === b[count]) count++
    return count
  }
  const bare = (text: string) => text.slice('TELLTALE_'.length)
  const backwards = (text: string) => Array.from(bare(text)).reverse().join('')
  const score = (other: string) => common(bare(other), bare(name)) + common(backwards(other), backwards(name))
  const [best] = [...known].sort((a, b) => score(b) - score(a))
  return best && score(best) > bare(name).length / 2 ? `; did you mean ${best}?` : ''
}
