// Event times as payloads carry them: RFC 3339 with an offset, ISO 8601 without one, or Unix time in seconds, milliseconds, microseconds or
// nanoseconds, as a number or as text.
import { invalid } from '../../../packages/core/failure.ts'
import { parseTime } from '../../../packages/core/time.ts'

const EPOCH = /^-?\d{1,19}(\.\d{1,9})?$/
const LOCAL = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d{1,9})?$/
const EXPECTED = 'expected an RFC 3339 time such as 2026-01-31T12:00:00Z, or Unix time in s, ms, µs or ns'

/**
 * Event time in microseconds. Which unit a Unix time is in shows by its size: seconds until the year 5138, then milliseconds, microseconds, ns.
 * @param offsetMinutes east of UTC, of times that do not say it.
 * @throws Failure `invalid` that names the field.
 */
export function eventTime(value: unknown, field: string, offsetMinutes = 0): number {
  const timeUs = timeIn(value, offsetMinutes)
  if (timeUs === undefined) throw invalid(field, EXPECTED)
  return timeUs
}

/** As `eventTime`; undefined where it is none. */
export function timeIn(value: unknown, offsetMinutes = 0): number | undefined {
  const timeUs = timeOf(value, offsetMinutes)
  return Number.isSafeInteger(timeUs) ? timeUs : undefined
}

function timeOf(value: unknown, offsetMinutes: number): number | undefined {
  if (typeof value === 'bigint') return epochUs(String(value))
  if (typeof value === 'number') return Number.isFinite(value) ? epochUs(value.toFixed(9), value) : undefined
  if (typeof value !== 'string') return undefined
  const text = value.trim()
  if (EPOCH.test(text)) return epochUs(text)
  if (!LOCAL.test(text)) return parseTime(text)
  const whole = /[T ]\d\d:\d\d$/.test(text) ? `${text}:00` : text
  const timeUs = parseTime(`${whole}Z`)
  return timeUs === undefined ? undefined : timeUs - offsetMinutes * 60_000_000
}

/**
 * The same from a number and its text: 1700000000.1 is the nearest number to it, and a little less. Nanoseconds have more digits than a
 * number holds.
 */
function epochUs(text: string, value = Number(text)): number | undefined {
  if (!EPOCH.test(text)) return undefined
  const size = Math.abs(value)
  if (size < 1e11) return Math.round(value * 1e6)
  if (size < 1e14) return Math.round(value * 1e3)
  const [whole = ''] = text.split('.')
  return size < 1e17 ? Number(whole) : Number(BigInt(whole) / 1000n)
}
