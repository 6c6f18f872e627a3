// Values with weights that stand for many: quantiles in bounded memory, without dice. Exact while nothing has been put together.

/** Sorted by value. Plain JSON. */
export type Sketch = readonly Point[]
type Point = readonly [value: number, weight: number]

// An average is as exact as the thousandth of the gap that it stands for, whatever the size of the values: short numbers, small states.
const GAP_DIGITS = 3

/** With one more value; `most` is how many points there may be. */
export function withValue(sketch: Sketch, value: number, most: number): Sketch {
  let at = sketch.length
  while (at > 0 && (sketch[at - 1] as Point)[0] > value) at--
  return squeezed([...sketch.slice(0, at), [value, 1], ...sketch.slice(at)], most)
}

/** Several as one. */
export function joined(sketches: readonly Sketch[]): Sketch {
  return sketches.flat().sort((a, b) => a[0] - b[0])
}

/** At most so many points: neighbours of little weight are put together first, and those near the quantile that is asked for last. */
export function squeezed(sketch: Sketch, most: number, share?: number): Sketch {
  const points = [...sketch]
  const total = weightOf(points)
  while (points.length > most) {
    const at = cheapest(points, total, share)
    const [low, high] = [points[at] as Point, points[at + 1] as Point]
    const weight = low[1] + high[1]
    const value = low[0] === high[0] ? low[0] : between(low[0], high[0], high[1] / weight)
    points.splice(at, 2, [value, weight])
  }
  return points
}

function between(low: number, high: number, share: number): number {
  const digits = GAP_DIGITS - Math.floor(Math.log10(high - low))
  return Number((low + (high - low) * share).toFixed(Math.min(Math.max(digits, 0), 20)))
}

function cheapest(points: Sketch, total: number, share: number | undefined): number {
  let best = 0
  let least = Number.POSITIVE_INFINITY
  let before = 0
  for (let at = 0; at + 1 < points.length; at++) {
    const [low, high] = [points[at] as Point, points[at + 1] as Point]
    const weight = low[1] + high[1]
    const away = share === undefined ? 1 : Math.abs((before + weight / 2) / total - share) + 0.05
    const cost = low[0] === high[0] ? 0 : weight / away
    before += low[1]
    if (cost >= least) continue
    least = cost
    best = at
  }
  return best
}

export function weightOf(sketch: Sketch): number {
  let total = 0
  for (const [, weight] of sketch) total += weight
  return total
}

/** Between two values in proportion, each standing in the middle of its weight (Hazen's quantile); NaN of none. */
export function quantile(sketch: Sketch, share: number): number {
  const wanted = share * weightOf(sketch)
  let before = 0
  let last: Point | undefined
  let lastMiddle = 0
  for (const point of sketch) {
    const middle = before + point[1] / 2
    if (wanted <= middle)
      return last === undefined ? point[0] : last[0] + (point[0] - last[0]) * ((wanted - lastMiddle) / (middle - lastMiddle))
    before += point[1]
    last = point
    lastMiddle = middle
  }
  return last === undefined ? Number.NaN : last[0]
}
