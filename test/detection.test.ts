// The table of docs/detection.md is what the rules engine of today finds in the recorded series, to the last figure.
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { detectAll, medianOf, renderDetection } from '../bench/detection.ts'

it('the conditions find what docs/detection.md says they find', () => {
  const page = readFileSync(new URL('../docs/detection.md', import.meta.url), 'utf8')
  const [, table] = /```text\n([\s\S]*?)\n```/.exec(page) ?? []
  const reports = detectAll()
  expect(renderDetection(reports)).toBe(table)
  // What this page is for: on each series with a rhythm or a stuck sensor some rule finds all incidents of its kind without false alarms.
  const best = (series: string) =>
    Math.max(...reports.filter(one => one.series === series && one.falseAlarmsPerWeek === 0).map(one => one.detected))
  expect(['freezer, °C', 'office, °C', 'power, kW'].map(best)).toEqual([5, 5, 4])
})

it.each([
  [[], undefined],
  [[3], 3],
  [[4, 1], 2.5],
  [[9, 1, 2], 2],
  [[10, 1, 2, 4], 3],
])('the median of %j is %s', (values, median) => expect(medianOf(values)).toBe(median))
