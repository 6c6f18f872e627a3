// Event time: microseconds since 1970 as a number (exact until the year 2255), RFC 3339 on the wire, durations as `10s`.
import { invalid } from './failure.ts'

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/
const MINUTE_US = 60_000_000

/**
 * Microseconds of an RFC 3339 time with any offset, or undefined when it is not one or lies outside the exact range
 * (years 1684 to 2255). Digits beyond the sixth are cut; a leap second (`:60`) is the first of the next minute.
 */
export function parseTime(text: string): number | undefined {
  const timeUs = anyTime(text)
  return timeUs !== undefined && Number.isSafeInteger(timeUs) ? timeUs : undefined
}

/** As `parseTime`; fails with what is wrong with the field. */
export function checkTime(value: unknown, field: string): number {
  const timeUs = typeof value === 'string' ? anyTime(value) : undefined
  if (timeUs === undefined) throw invalid(field, 'expected an RFC 3339 time such as 2026-01-31T12:00:00Z')
  if (Number.isSafeInteger(timeUs)) return timeUs
  const limit = formatTime(timeUs > 0 ? Number.MAX_SAFE_INTEGER : Number.MIN_SAFE_INTEGER)
  throw invalid(
    field,
    `expected a time ${timeUs > 0 ? 'until' : 'from'} ${limit}, ${timeUs > 0 ? 'after' : 'before'} which microseconds are not exact`,
  )
}

/** Also where it is not exact. */
function anyTime(text: string): number | undefined {
  if (!RFC3339.test(text)) return undefined
  const month = digits(text, 5, 2)
  const day = digits(text, 8, 2)
  const hour = digits(text, 11, 2)
  const minute = digits(text, 14, 2)
  const second = digits(text, 17, 2)
  if (month < 1 || month > 12 || day < 1 || day > daysIn(month, digits(text, 0, 4))) return undefined
  if (hour > 23 || minute > 59 || second > 60) return undefined
  const zoneAt = text.length - (text.charCodeAt(text.length - 3) === COLON ? 6 : 1)
  const offsetUs = zoneOffsetUs(text, zoneAt)
  if (offsetUs === undefined) return undefined
  const timeUs = (dayNumber(digits(text, 0, 4), month, day) * 86_400 + hour * 3600 + minute * 60 + second) * 1_000_000
  return timeUs + fractionUs(text, 20, zoneAt) - offsetUs
}

const COLON = 58

function digits(text: string, from: number, count: number): number {
  let value = 0
  for (let i = from; i < from + count; i++) value = value * 10 + text.charCodeAt(i) - 48
  return value
}

function fractionUs(text: string, from: number, to: number): number {
  let value = 0
  for (let i = from; i < from + 6; i++) value = value * 10 + (i < to ? text.charCodeAt(i) - 48 : 0)
  return value
}

function zoneOffsetUs(text: string, at: number): number | undefined {
  if (text.length - at === 1) return 0
  const hours = digits(text, at + 1, 2)
  const minutes = digits(text, at + 4, 2)
  if (hours > 23 || minutes > 59) return undefined
  return (hours * 60 + minutes) * (text[at] === '-' ? -MINUTE_US : MINUTE_US)
}

function daysIn(month: number, year: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

/** Days since 1970-01-01 in the Gregorian calendar, counted in eras of 400 years that begin in March. */
function dayNumber(year: number, month: number, day: number): number {
  const shifted = month > 2 ? year : year - 1
  const era = Math.floor(shifted / 400)
  const yearOfEra = shifted - era * 400
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1
  return era * ERA_DAYS + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - EPOCH_DAY
}

const ERA_DAYS = 146_097
const EPOCH_DAY = 719_468
const TWO: readonly string[] = Array.from({ length: 100 }, (_, i) => String(i).padStart(2, '0'))
const THREE: readonly string[] = Array.from({ length: 1000 }, (_, i) => String(i).padStart(3, '0'))

/** RFC 3339, UTC, exactly six fractional digits: the only form Telltale writes. */
export function formatTime(timeUs: number): string {
  const seconds = Math.floor(timeUs / 1_000_000)
  const micros = timeUs - seconds * 1_000_000
  const day = Math.floor(seconds / 86_400)
  const second = seconds - day * 86_400
  const time = `${TWO[Math.floor(second / 3600)]}:${TWO[Math.floor(second / 60) % 60]}:${TWO[second % 60]}`
  return `${formatDay(day)}T${time}.${THREE[Math.floor(micros / 1000)]}${THREE[micros % 1000]}Z`
}

/** The inverse of `dayNumber`. */
function formatDay(day: number): string {
  const shifted = day + EPOCH_DAY
  const era = Math.floor(shifted / ERA_DAYS)
  const dayOfEra = shifted - era * ERA_DAYS
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const fromMarch = Math.floor((5 * dayOfYear + 2) / 153)
  const month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  return `${year}-${TWO[month]}-${TWO[dayOfYear - Math.floor((153 * fromMarch + 2) / 5) + 1]}`
}

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Whole milliseconds of a duration such as `500ms`, `10s`, `1.5m`, `2h`, `30d`, or undefined when it is not one. */
export function parseDuration(text: string): number | undefined {
  const match = DURATION.exec(text)
  if (!match) return undefined
  const exactMs = Number(match[1]) * (UNIT_MS[match[2] as string] as number)
  const ms = Math.round(exactMs)
  // `1.1h` is 3960000.0000000005 in floating point and meant; `0.5ms` is not a whole number and refused.
  const isMeant = Math.abs(ms - exactMs) < 0.001 && (ms > 0 || exactMs === 0)
  return Number.isSafeInteger(ms) && isMeant ? ms : undefined
}

/** The shortest exact form of a duration: `90000` → `90s`, `120000` → `2m`. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const size = UNIT_MS[unit] as number
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`
  }
  return `${ms}ms`
}
