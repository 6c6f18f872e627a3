// What a sliding window keeps of each device, and what it makes of it. Nothing is added up from one event to the next, so nothing drifts.
// Exact while up to 120 readings are in the window (180 for a percentile). Beyond, older ones are put together in groups of at most a
// sixtieth (a percentile: a thirtieth, of 4 values) of the duration, which leave with their newest.
import { crossed, type Levels, staysHeld } from './level.ts'
import { joined, quantile, type Sketch, squeezed } from './sketch.ts'

export const FUNCTIONS = ['mean', 'min', 'max', 'sum', 'count', 'stddev'] as const
/** `percentile` goes with its share: 0.95 for p95. */
export type Statistic = { readonly name: (typeof FUNCTIONS)[number] | 'percentile'; readonly share: number }

/** `squares`: the sum of squared distances from the mean. Left out: 1 and 0. A count has no values. */
export type Sample = readonly [offsetUs: number, value?: number, weight?: number, squares?: number]
/** Oldest first, in microseconds since `baseUs`: short numbers make a short state. */
export type Samples = { readonly baseUs: number; readonly list: readonly Sample[] }

/** Of numbers whose differences, and sums of millions, are still numbers. */
export const FURTHEST = 1e300
const MOST = { exact: 120, groups: 60 }
const MOST_OF_PERCENTILE = { exact: 180, groups: 30, points: 4 }

/**
 * As far from 0 as values may be: beyond, their sum, the distance of two, or the square of that would be infinite. That is no number to
 * compare, in JSON it is null, and one such reading would make so what all others are.
 */
export function furthestIn({ name }: Statistic): number {
  if (name === 'stddev') return 1e150
  return name === 'sum' || name === 'mean' || name === 'percentile' ? FURTHEST : Number.MAX_VALUE
}

/** Without what has left a window that ends at this moment; a reading exactly as old as the window is long has left. */
export function leaving({ baseUs, list }: Samples, timeUs: number, overUs: number): Samples {
  const edge = timeUs - overUs - baseUs
  let gone = 0
  while (gone < list.length && (list[gone] as Sample)[0] <= edge) gone++
  if (gone === 0) return { baseUs, list }
  if (edge < overUs) return { baseUs, list: list.slice(gone) }
  const shift = list[gone]?.[0] ?? 0
  return { baseUs: baseUs + shift, list: list.slice(gone).map(([offset, ...rest]) => [offset - shift, ...rest]) }
}

export function withSample(samples: Samples, timeUs: number, value: number | undefined, statistic: Statistic, overUs: number): Samples {
  const baseUs = samples.list.length === 0 ? timeUs : samples.baseUs
  const offset = timeUs - baseUs
  const list = [...samples.list, value === undefined ? ([offset] as const) : ([offset, value] as const)]
  const { exact, groups } = statistic.name === 'percentile' ? MOST_OF_PERCENTILE : MOST
  return { baseUs, list: list.length <= exact ? list : grouped(list, baseUs, statistic, overUs / groups) }
}

function grouped(list: readonly Sample[], baseUs: number, statistic: Statistic, groupUs: number): Sample[] {
  const groups: Sample[][] = []
  let last: number | undefined
  for (const sample of list) {
    const group = Math.floor((baseUs + sample[0]) / groupUs)
    if (group === last) groups.at(-1)?.push(sample)
    else groups.push([sample])
    last = group
  }
  return groups.flatMap(group => together(group, statistic))
}

function together(group: readonly Sample[], statistic: Statistic): readonly Sample[] {
  const [offset] = group.at(-1) as Sample
  if (statistic.name === 'percentile')
    return squeezed(sketchOf(group), MOST_OF_PERCENTILE.points, statistic.share).map(([value, weight]) => [offset, value, weight])
  const tally = new Tally(statistic)
  for (const sample of group) tally.add(sample)
  return [tally.sample(offset)]
}

function sketchOf(list: readonly Sample[]): Sketch {
  return joined([list.map(([, value = 0, weight = 1]) => [value, weight] as const)])
}

/** Adds samples to a statistic, in any order (a percentile cannot be added up). */
class Tally {
  private readonly statistic: Statistic
  count = 0
  private value = 0
  private squares = 0

  constructor(statistic: Statistic) {
    this.statistic = statistic
  }

  add([, value = 0, weight = 1, squares = 0]: Sample): void {
    const first = this.count === 0
    this.count += weight
    switch (this.statistic.name) {
      case 'min':
        if (first || value < this.value) this.value = value
        return
      case 'max':
        if (first || value > this.value) this.value = value
        return
      case 'sum':
        this.value += value
        return
      case 'mean':
      case 'stddev': {
        // Welford's, for groups (Chan, Golub, LeVeque): no difference of large sums.
        const away = value - this.value
        this.squares += squares + away * away * ((weight * (this.count - weight)) / this.count)
        this.value += away * (weight / this.count)
      }
    }
  }

  /** Of a sample for stddev (n - 1). */
  get result(): number {
    if (this.statistic.name === 'count') return this.count
    return this.statistic.name === 'stddev' ? Math.sqrt(this.squares / (this.count - 1)) : this.value
  }

  sample(offset: number): Sample {
    if (this.statistic.name === 'count') return [offset, 0, this.count]
    return this.statistic.name === 'stddev' ? [offset, this.value, this.count, this.squares] : [offset, this.value, this.count]
  }
}

/** `opensUs`, `closesUs`: when the passing of time alone first makes it so, for a percentile when that may be. */
type Measured = { readonly stat: number | undefined; readonly opensUs: number; readonly closesUs: number }

/** From the newest to the oldest: each step is the window as it will be when all older ones have left. */
export function measure({ baseUs, list }: Samples, statistic: Statistic, overUs: number, atLeast: number, levels: Levels): Measured {
  if (statistic.name === 'percentile') return measurePercentile({ baseUs, list }, statistic, overUs, atLeast)
  const tally = new Tally(statistic)
  let opens = Number.POSITIVE_INFINITY
  let closes = Number.POSITIVE_INFINITY
  for (let at = list.length - 1; at >= 0; at--) {
    const sample = list[at] as Sample
    if (tally.count >= atLeast && sample[0] !== list[at + 1]?.[0]) {
      if (crossed(levels, tally.result) !== undefined) opens = sample[0]
      if (!staysHeld(levels, tally.result)) closes = sample[0]
    }
    tally.add(sample)
  }
  return { stat: tally.count < atLeast ? undefined : tally.result, opensUs: baseUs + opens + overUs, closesUs: baseUs + closes + overUs }
}

function measurePercentile({ baseUs, list }: Samples, { share }: Statistic, overUs: number, atLeast: number): Measured {
  const [oldest] = list
  const nextUs = oldest === undefined ? Number.POSITIVE_INFINITY : baseUs + oldest[0] + overUs
  return { stat: countOf(list) < atLeast ? undefined : percentileOf(list, share), opensUs: nextUs, closesUs: nextUs }
}

/** While all stand for themselves numbers alone are sorted, a tenth of the work. */
function percentileOf(list: readonly Sample[], share: number): number {
  if (list.some(sample => sample.length > 2)) return quantile(sketchOf(list), share)
  const sorted = Float64Array.from(list, ([, value = 0]) => value).sort()
  const rank = Math.min(Math.max(share * sorted.length - 0.5, 0), sorted.length - 1)
  const [low, high] = [sorted[Math.floor(rank)] as number, sorted[Math.ceil(rank)] as number]
  return low + (high - low) * (rank - Math.floor(rank))
}

export function countOf(list: readonly Sample[]): number {
  let count = 0
  for (const [, , weight = 1] of list) count += weight
  return count
}
