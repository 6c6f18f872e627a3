// The table of docs/detection.md is what the rules engine of today finds in the recorded series, to the last figure.
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { detectAll, medianOf, renderDetection } from '../bench/detection.ts'
import { recordAll } from '../bench/series.ts'
import { Backtest, type Findings } from '../packages/core/backtest.ts'
import { parseRule, type Rule } from '../packages/core/rule.ts'
import { candidatesOf, figuresOf, noiseOf, ranked } from '../packages/core/suggest.ts'

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

it('what is suggested for a threshold that flaps on the freezer finds every labelled incident, as docs/rules.md says', () => {
  const [{ readings, incidents }] = recordAll() as [ReturnType<typeof recordAll>[number]]
  const range = { fromUs: readings[0]?.timeUs ?? 0, toUs: (readings.at(-1)?.timeUs ?? 0) + 1 }
  const run = (rule: Rule): Findings => {
    const backtest = new Backtest(rule, range)
    const device = { id: 'freezer', type: '', labels: {}, productNumber: '' }
    for (const { timeUs, value } of readings) backtest.take(device, 'temperature', timeUs, '', { temperature: { value } })
    return backtest.finish()
  }
  const detected = ({ episodes }: Findings) =>
    incidents.filter(({ fromUs, toUs }) => episodes.some(one => one.activeUs < toUs && (one.clearedUs ?? range.toUs) > fromUs)).length
  const rule = parseRule({ name: 'warm', when: { threshold: { field: 'temperature.value', above: -15, unit: '°C' } } })
  const noise = noiseOf(Float64Array.from(readings.slice(1), ({ value }, i) => Math.abs(value - (readings[i]?.value ?? 0))))
  const [now, ...others] = candidatesOf(rule, noise)
  const present = run(now?.rule ?? rule)
  const figures = figuresOf(present, present)
  const found = ranked(
    figures,
    others.map(one => ({ ...one, figures: figuresOf(present, run(one.rule)) })),
    5,
  )
  const rows = [{ rule, figures }, ...found].map(({ rule: { when, holdMs }, figures: its }, i) => [
    when.kind === 'threshold' ? (when.clearBelow ?? '–') : '',
    `${holdMs / 60_000}m`,
    its.alarms,
    its.flaps,
    Math.round(its.minutesInAlarm),
    its.missed,
    detected(i === 0 ? present : run(found[i - 1]?.rule ?? rule)),
  ])
  const page = readFileSync(new URL('../docs/rules.md', import.meta.url), 'utf8')
  const table = rows.map(row => `| ${row.join(' | ')} |`).join('\n')
  expect(table).toBe(/\| clearBelow \| for .*\n\|[-| ]+\n((?:\|.*\n)+)/.exec(page)?.[1]?.trim())
  expect(found[0]?.figures).toMatchObject({ flaps: 9, missed: 0 })
  expect(figures).toMatchObject({ flaps: 35 })
})

it.each([
  [[], undefined],
  [[3], 3],
  [[4, 1], 2.5],
  [[9, 1, 2], 2],
  [[10, 1, 2, 4], 3],
])('the median of %j is %s', (values, median) => expect(medianOf(values)).toBe(median))
