// The ways a recording writes its times, each to microseconds of event time.
import { parseTime } from '../../core/time.ts'

const EPOCH = /^\d{1,19}(?:\.\d+)?$/
const CLOCK = '(\\d\\d?)[:.](\\d\\d)(?:[:.](\\d\\d)(?:[.,](\\d{1,9}))?)?'
const ZONE = '\\s*(Z|z|[+-]\\d\\d:?\\d\\d)?'
const YEAR_FIRST = new RegExp(`^(\\d{4})[-/.](\\d\\d?)[-/.](\\d\\d?)(?:(?:[Tt]|\\s+)${CLOCK}${ZONE})?$`)
const DAY_FIRST = new RegExp(`^(\\d\\d?)[-/.](\\d\\d?)[-/.](\\d{4})(?:(?:[Tt]|\\s+)${CLOCK}${ZONE})?$`)

/**
 * RFC 3339, the same with a space or without a zone, `31/12/2024 18.00.00` (day first; slashes, dots or dashes), or an epoch in
 * seconds, milliseconds, microseconds or nanoseconds, told apart by size. `zone` (`Z`, `+02:00`) holds where the text names none.
 */
export function parseMoment(text: string, zone: string): number | undefined {
  if (EPOCH.test(text)) return epochUs(text)
  const first = YEAR_FIRST.exec(text)
  if (first !== null) return canonical([first[1], first[2], first[3], ...first.slice(4)], zone)
  const last = DAY_FIRST.exec(text)
  return last === null ? undefined : canonical([last[3], last[2], last[1], ...last.slice(4)], zone)
}

/** `UTC`, `Z`, `+02:00`, `-0530` → the form of RFC 3339. */
export function parseZone(text: string): string | undefined {
  if (/^(utc|gmt|z)$/i.test(text)) return 'Z'
  const match = /^([+-])(\d\d):?(\d\d)$/.exec(text)
  return match !== null && Number(match[2]) <= 14 && Number(match[3]) <= 59 ? `${match[1]}${match[2]}:${match[3]}` : undefined
}

/** Seconds until the year 5138, then milliseconds, microseconds, nanoseconds. */
function epochUs(text: string): number {
  const value = Number(text)
  for (const [below, factor] of [
    [1e11, 1e6],
    [1e14, 1e3],
    [1e17, 1],
  ] as const)
    if (value < below) return Math.round(value * factor)
  return Math.floor(value / 1e3)
}

function canonical(parts: readonly (string | undefined)[], zone: string): number | undefined {
  const [year, month, day, hour = '00', minute = '00', second = '00', fraction, named] = parts
  const offset = parseZone(named ?? zone)
  if (offset === undefined) return undefined
  const two = (part: string | undefined) => String(part).padStart(2, '0')
  const clock = `${two(hour)}:${two(minute)}:${two(second)}${fraction === undefined ? '' : `.${fraction}`}`
  return parseTime(`${year}-${two(month)}-${two(day)}T${clock}${offset}`)
}
