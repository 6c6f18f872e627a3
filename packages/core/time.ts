// Event time: microseconds since 1970 as a number (exact until the year 2255), RFC 3339 on the wire, durations as `10s`.

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/
const MINUTE_US = 60_000_000

/**
 * Microseconds of an RFC 3339 time with any offset, or undefined when it is not one or lies outside the exact range
 * (years 1684 to 2255). Digits beyond the sixth are cut; a leap second (`:60`) is the first of the next minute.
 */
export function parseTime(text: string): number | undefined {
  const match = RFC3339.exec(text)
  if (!match) return undefined
  const [, year, month, day, hour, minute, second, fraction, zone] = match as unknown as string[]
  const seconds = Number(second)
  const offsetUs = zoneOffsetUs(zone as string)
  if (Number(hour) > 23 || Number(minute) > 59 || seconds > 60 || offsetUs === undefined) return undefined
  const dayMs = Date.UTC(Number(year), Number(month) - 1, Number(day))
  // Date.UTC rolls 30 February over and takes the year 50 for 1950: only a date that comes back as written exists.
  if (new Date(dayMs).toISOString().slice(0, 10) !== text.slice(0, 10)) return undefined
  const micros = fraction === undefined ? 0 : Number(fraction.slice(0, 6).padEnd(6, '0'))
  const timeUs = (dayMs / 1000 + Number(hour) * 3600 + Number(minute) * 60 + seconds) * 1_000_000 + micros - offsetUs
  return Number.isSafeInteger(timeUs) ? timeUs : undefined
}

function zoneOffsetUs(zone: string): number | undefined {
  if (zone === 'Z' || zone === 'z') return 0
  const hours = Number(zone.slice(1, 3))
  const minutes = Number(zone.slice(4, 6))
  if (hours > 23 || minutes > 59) return undefined
  return (hours * 60 + minutes) * (zone[0] === '-' ? -MINUTE_US : MINUTE_US)
}

/** RFC 3339, UTC, exactly six fractional digits: the only form Telltale writes. */
export function formatTime(timeUs: number): string {
  const ms = Math.floor(timeUs / 1000)
  const micros = timeUs - ms * 1000
  return `${new Date(ms).toISOString().slice(0, 23)}${String(micros).padStart(3, '0')}Z`
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
  return Number.isSafeInteger(ms) && Math.abs(ms - exactMs) < 0.001 ? ms : undefined
}

/** The shortest exact form of a duration: `90000` → `90s`, `120000` → `2m`. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const size = UNIT_MS[unit] as number
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`
  }
  return `${ms}ms`
}
