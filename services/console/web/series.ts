// The points of one chart: windows from history with live readings folded in. Columns, because uPlot takes columns.

export type Range = {
  readonly name: string
  readonly spanMs: number
  /** Window of the history query, as the API spells it and in milliseconds. */
  readonly window: string
  readonly windowMs: number
  /** Live readings are folded into windows of this size, which bounds the points whatever the rate. */
  readonly liveMs: number
}

export const RANGES: readonly [Range, Range, Range] = [
  { name: '1 h', spanMs: 3_600_000, window: '10s', windowMs: 10_000, liveMs: 1000 },
  { name: '24 h', spanMs: 86_400_000, window: '2m', windowMs: 120_000, liveMs: 60_000 },
  { name: '7 d', spanMs: 604_800_000, window: '15m', windowMs: 900_000, liveMs: 600_000 },
]

export type Point = { readonly timeMs: number; readonly count: number; readonly mean: number; readonly min: number; readonly max: number }

/** Adds a reading to the window it falls in, wherever that is: late readings find their place. `points` is changed. */
export function addReading(points: Point[], timeMs: number, value: number, windowMs: number): void {
  const start = Math.floor(timeMs / windowMs) * windowMs
  let at = points.length
  while (at > 0 && (points[at - 1] as Point).timeMs > start) at -= 1
  const before = points[at - 1]
  const one = { timeMs: start, count: 1, mean: value, min: value, max: value }
  if (before?.timeMs === start) points[at - 1] = merge(before, one)
  else points.splice(at, 0, one)
}

function merge(a: Point, b: Point): Point {
  const count = a.count + b.count
  const mean = (a.mean * a.count + b.mean * b.count) / count
  return { timeMs: a.timeMs, count, mean, min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) }
}

/** Forgets points older than `fromMs`. `points` is changed. */
export function trim(points: Point[], fromMs: number): void {
  let old = 0
  while (old < points.length && (points[old] as Point).timeMs < fromMs) old += 1
  if (old > 0) points.splice(0, old)
}

export type Columns = [seconds: number[], max: (number | null)[], min: (number | null)[], mean: (number | null)[]]

/**
 * Columns with a hole wherever the device was silent for five times its usual interval: a line drawn across an outage
 * would claim readings that never were.
 */
export function columns(points: readonly Point[], windowMs: number): Columns {
  const hole = 5 * Math.max(windowMs, usualInterval(points))
  const all: Columns = [[], [], [], []]
  let last: number | undefined
  for (const { timeMs, mean, min, max } of points) {
    if (last !== undefined && timeMs - last > hole) push(all, (last + timeMs) / 2, null, null, null)
    push(all, timeMs, max, min, mean)
    last = timeMs
  }
  return all
}

function push(into: Columns, timeMs: number, max: number | null, min: number | null, mean: number | null): void {
  into[0].push(timeMs / 1000)
  into[1].push(max)
  into[2].push(min)
  into[3].push(mean)
}

function usualInterval(points: readonly Point[]): number {
  const intervals = new Float64Array(Math.max(0, points.length - 1))
  for (let i = 0; i < intervals.length; i += 1) intervals[i] = (points[i + 1] as Point).timeMs - (points[i] as Point).timeMs
  intervals.sort()
  return intervals[Math.floor(intervals.length / 2)] ?? 0
}

export type Summary = { readonly count: number; readonly mean: number; readonly min: number; readonly max: number }

export function summarise(points: readonly Point[]): Summary | undefined {
  const [first, ...rest] = points
  return first && rest.reduce<Point>(merge, first)
}
