// What is usual for a device: a sketch of its recent values, and how the hours of its day or week differ. Robust throughout: medians of
// medians, so what is unusual moves nothing until it is most of what there is. For a device at most 4 kB, 8 kB with a weekly season.
import { joined, quantile, type Sketch, weightOf, withValue } from './sketch.ts'

/** The history is cut in so many slots, each of so few values; the oldest leaves when the newest is full. */
const SLOTS = 24
const POINTS = 8
/** Of one hour that has not passed. */
const HOUR_POINTS = 8
const HOUR_US = 3_600_000_000
// Of a normal distribution: what makes a standard deviation of the median distance, and of the mean distance.
const OF_MEDIAN = 1.4826
const OF_MEAN = 1.2533

export type Usual = { readonly count: number; readonly middle: number; readonly spread: number }
export type History = {
  readonly slot: number
  readonly now: Sketch
  readonly past: readonly (readonly [slot: number, values: Sketch])[]
  /** Of the past slots: what happens now is measured by what came before it. */
  readonly usual: Usual
}

const NOTHING: Usual = { count: 0, middle: 0, spread: 0 }

/** As it is at a moment, before what comes then. */
export function historyAt(history: History | undefined, timeUs: number, overUs: number): History {
  const slot = Math.floor(timeUs / (overUs / SLOTS))
  if (history === undefined) return { slot, now: [], past: [], usual: NOTHING }
  if (history.slot === slot) return history
  const past = [...history.past, [history.slot, history.now] as const].filter(([old, values]) => old >= slot - SLOTS && values.length > 0)
  return { slot, now: [], past, usual: usualOf(past.map(([, values]) => values)) }
}

export function remember(history: History, value: number): History {
  return { ...history, now: withValue(history.now, value, POINTS) }
}

/** The median, and the median distance from it as the standard deviation it would be; of mostly equal values the mean distance. */
function usualOf(sketches: readonly Sketch[]): Usual {
  const all = joined(sketches)
  const count = weightOf(all)
  if (count === 0) return NOTHING
  const middle = quantile(all, 0.5)
  const distances = all.map(([value, weight]) => [Math.abs(value - middle), weight] as const).sort((a, b) => a[0] - b[0])
  const median = quantile(distances, 0.5)
  const mean = distances.reduce((sum, [distance, weight]) => sum + distance * weight, 0) / count
  return { count, middle, spread: median > 0 ? OF_MEDIAN * median : OF_MEAN * mean }
}

export type Period = 'daily' | 'weekly'
/** The medians of the last times that each hour came, the newest last. */
export type Season = { readonly hour: number; readonly now: Sketch; readonly hours: readonly (readonly number[])[] }

const HOURS: { readonly [period in Period]: number } = { daily: 24, weekly: 168 }
const TIMES: { readonly [period in Period]: number } = { daily: 5, weekly: 3 }
const FEWEST_TIMES = 2
const DIGITS = 6

export function seasonAt(season: Season | undefined, localUs: number, period: Period): Season {
  const hour = Math.floor(localUs / HOUR_US)
  if (season === undefined) return { hour, now: [], hours: Array.from({ length: HOURS[period] }, () => []) }
  if (season.hour === hour) return season
  const at = modulo(season.hour, HOURS[period])
  const middle = Number(quantile(season.now, 0.5).toPrecision(DIGITS))
  const hours = season.now.length === 0 ? season.hours : season.hours.with(at, [...(season.hours[at] ?? []), middle].slice(-TIMES[period]))
  return { hour, now: [], hours }
}

export function rememberHour(season: Season, value: number): Season {
  return { ...season, now: withValue(season.now, value, HOUR_POINTS) }
}

/** What is usual at this time of the day or week, between the middles of two hours in proportion; undefined while it is not known. */
export function levelAt({ hours }: Season, localUs: number): number | undefined {
  const place = localUs / HOUR_US - 0.5
  const own = middleOf(hours[modulo(Math.floor(localUs / HOUR_US), hours.length)])
  const low = middleOf(hours[modulo(Math.floor(place), hours.length)])
  const high = middleOf(hours[modulo(Math.floor(place) + 1, hours.length)])
  return low === undefined || high === undefined ? own : low + (high - low) * (place - Math.floor(place))
}

function middleOf(times: readonly number[] | undefined): number | undefined {
  if (times === undefined || times.length < FEWEST_TIMES) return undefined
  const sorted = times.toSorted((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half] : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2
}

function modulo(value: number, by: number): number {
  return ((value % by) + by) % by
}
