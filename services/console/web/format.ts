// How values, ages and names read to a person. Pure: time comes in as an argument.
import { fieldUnit } from '../../../packages/core/unit.ts'

/** The unit of a known reading, or '' when nothing is known about it. */
export function unitOf(eventType: string, field: string): string {
  return fieldUnit(`${eventType}.${field}`)?.symbol ?? ''
}

const NUMBER = new Intl.NumberFormat('en', { maximumFractionDigits: 2 })
const SMALL = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 })

export function formatNumber(value: number): string {
  return value !== 0 && Math.abs(value) < 0.1 ? SMALL.format(value) : NUMBER.format(value)
}

export function formatReading(value: number, unit: string): string {
  return unit === '' ? formatNumber(value) : `${formatNumber(value)}\u00a0${unit}`
}

/** `NOT_PRESENT` → `not present`. Anything that is not such a constant is left as it was sent. */
export function formatState(state: string): string {
  return /^[A-Z][A-Z0-9_]*$/.test(state) ? state.toLowerCase().replaceAll('_', ' ') : state
}

const STEPS: readonly (readonly [ms: number, name: string])[] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
]

/** One unit, rounded down: `14 s`, `3 min`, `2 h`, `5 d`. A clock that is ahead counts as `0 s`. */
export function formatAge(ms: number): string {
  for (const [size, name] of STEPS) if (ms >= size) return `${Math.floor(ms / size)} ${name}`
  return `${Math.max(0, Math.floor(ms / 1000))} s`
}

const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const DATE_AND_CLOCK = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
})

/** Local time of day; with the date when it is not within 12 hours of `now`. */
export function formatTimeOfDay(timeMs: number, now: number): string {
  return (Math.abs(now - timeMs) < 43_200_000 ? CLOCK : DATE_AND_CLOCK).format(timeMs)
}

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

export function formatBytes(bytes: number): string {
  const step = bytes < 1 ? 0 : Math.min(SIZES.length - 1, Math.floor(Math.log2(bytes) / 10))
  return `${NUMBER.format(Math.round((bytes / 1024 ** step) * 10) / 10)}\u00a0${SIZES[step] ?? ''}`
}

/** The id in `projects/{project}/devices/{device}`; a bare id is returned as it is. */
export function deviceIdOf(name: string): string {
  const at = name.indexOf('/devices/')
  return at < 0 ? name : name.slice(at + '/devices/'.length)
}
