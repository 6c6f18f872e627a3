// Event time: microseconds since 1970 as a number (exact until the year 2255), RFC 3339 on the wire, durations as `10s`.

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/
const MINUTE_US = 60_000_000

/** Microseconds of an RFC 3339 time with any offset, or undefined when it is not one. Digits beyond the sixth are cut. */
export function parseTime(text: string): number | undefined {
  const match = RFC3339.exec(text)
  if (!match) return undefined
  const [, year, month, day, hour, minute, second, fraction, zone] = match as unknown as string[]
  const seconds = Number(second)
  if (Number(hour) > 23 || Number(minute) > 59 || seconds > 60) return undefined
  const ms = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), seconds)
  const date = new Date(ms)
  if (Number.isNaN(ms) || (seconds < 60 && (date.getUTCDate() !== Number(day) || date.getUTCMonth() + 1 !== Number(month))))
    return undefined
  const micros = fraction === undefined ? 0 : Number(fraction.slice(0, 6).padEnd(6, '0'))
  return ms * 1000 + micros - zoneOffsetUs(zone as string)
}

function zoneOffsetUs(zone: string): number {
  if (zone === 'Z' || zone === 'z') return 0
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4, 6))
  return (zone[0] === '-' ? -minutes : minutes) * MINUTE_US
}

/** RFC 3339, UTC, exactly six fractional digits: the only form Telltale writes. */
export function formatTime(timeUs: number): string {
  const ms = Math.floor(timeUs / 1000)
  const micros = timeUs - ms * 1000
  return `${new Date(ms).toISOString().slice(0, 23)}${String(micros).padStart(3, '0')}Z`
}

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds of a duration such as `500ms`, `10s`, `1.5m`, `2h`, `30d`, or undefined when it is not one. */
export function parseDuration(text: string): number | undefined {
  const match = DURATION.exec(text)
  return match ? Number(match[1]) * (UNIT_MS[match[2] as string] as number) : undefined
}

/** The shortest exact form of a duration: `90000` → `90s`, `120000` → `2m`. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const size = UNIT_MS[unit] as number
    if (ms >= size && ms % size === 0) return `${ms / size}${unit}`
  }
  return `${ms}ms`
}
