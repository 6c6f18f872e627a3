// The points of the chart.
import { expect, test } from 'vitest'
import { addReading, columns, type Point, summarise, trim } from './series.ts'

function series(readings: readonly (readonly [number, number])[], windowMs: number): Point[] {
  const points: Point[] = []
  for (const [timeMs, value] of readings) addReading(points, timeMs, value, windowMs)
  return points
}

test('readings of one window are folded into its mean, lowest and highest', () => {
  expect(
    series(
      [
        [1000, 2],
        [1400, 4],
        [1900, 9],
      ],
      1000,
    ),
  ).toEqual([{ timeMs: 1000, count: 3, mean: 5, min: 2, max: 9 }])
})

test('late readings find their place, before the first, between and in an old window', () => {
  const points = series(
    [
      [5000, 5],
      [9000, 9],
      [1000, 1],
      [7000, 7],
      [5500, 6],
    ],
    1000,
  )
  expect(points.map(({ timeMs, mean }) => [timeMs, mean])).toEqual([
    [1000, 1],
    [5000, 5.5],
    [7000, 7],
    [9000, 9],
  ])
})

test('points older than the range are forgotten', () => {
  const points = series(
    [
      [1000, 1],
      [2000, 2],
      [3000, 3],
    ],
    1000,
  )
  trim(points, 2000)
  expect(points.map(point => point.timeMs)).toEqual([2000, 3000])
})

test('a silence of more than five usual intervals is a hole and a slow device has none', () => {
  const silent = columns(
    series(
      [
        [0, 1],
        [1000, 1],
        [2000, 1],
        [3000, 1],
        [60_000, 1],
      ],
      1000,
    ),
    1000,
  )
  expect(silent[3]).toEqual([1, 1, 1, 1, null, 1])
  const slow = columns(
    series(
      [
        [0, 1],
        [900_000, 1],
        [1_800_000, 1],
        [2_900_000, 1],
      ],
      1000,
    ),
    10_000,
  )
  expect(slow[3]).not.toContain(null)
})

test('the summary weighs windows by their readings', () => {
  expect(
    summarise(
      series(
        [
          [0, 1],
          [100, 1],
          [200, 1],
          [1000, 5],
        ],
        1000,
      ),
    ),
  ).toMatchObject({ count: 4, mean: 2, min: 1, max: 5 })
  expect(summarise([])).toBeUndefined()
})
