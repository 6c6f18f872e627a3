// What backtests, explanations, suggestions and shadows found, as lines for people.
import type { BacktestResult, Difference, Episode, Explanation, ShadowReport, Suggestions } from '../../client/index.ts'
import { counted } from '../../core/time.ts'
import { tableLines } from '../table.ts'
import { type Palette, paletteOf, printable, type Terminal } from '../terminal.ts'

const LISTED = 20
const NUMBER = new Intl.NumberFormat('en', { maximumFractionDigits: 1 })

export function backtestLines(result: BacktestResult, { out, env }: Terminal): string[] {
  const palette = paletteOf(out, env)
  const { rule, startTime, endTime, alarms, minutesInAlarm, notifications, events, devices, eventsPerSecond, difference, against } = result
  const number = (value: number) => NUMBER.format(value)
  const count = (value: number, noun: string) => counted(value, noun, number(value))
  const was = against ? ` (before: ${number(against.alarms.count)})` : ''
  const lines = [
    palette.bold(`${rule}, ${short(startTime)} to ${short(endTime)}`),
    `${count(alarms.count, 'alarm')}${was}, ${count(minutesInAlarm, 'minute')} in alarm, ${count(notifications, 'notification')}; ${number(alarms.activeAtEnd)} still active, ${number(alarms.dropped)} held too briefly`,
    palette.dim(`${count(events, 'event')} of ${count(devices, 'device')}, ${number(eventsPerSecond)} events/s`),
  ]
  if (difference) return [...lines, ...differenceLines(difference, palette)]
  lines.push(...alarmLines(alarms.list, palette))
  if (alarms.count > LISTED) lines.push(palette.dim(`… and ${number(alarms.count - LISTED)} more (--json has them)`))
  return lines
}

function alarmLines(episodes: readonly Episode[], palette: Palette): string[] {
  if (episodes.length === 0) return []
  const rows = episodes.slice(0, LISTED).map(one => [one.device, one.severity, short(one.activeSince), endOf(one), one.reason])
  return tableLines(['device', 'severity', 'active', 'cleared', 'because'], rows, palette)
}

function differenceLines({ agreements, missing, extra, shifted, disagreements }: Difference, palette: Palette): string[] {
  const rows = disagreements.slice(0, LISTED).map(({ kind, device, old, new: after }) => [kind, device, spans(old), spans(after)])
  return [
    `${counted(agreements, 'alarm')} ${agreements === 1 ? 'is' : 'are'} the same; ${missing} missing in the new version, ${extra} new, ${shifted} with other times`,
    ...(rows.length > 0 ? tableLines(['what', 'device', 'old', 'new'], rows, palette) : []),
    ...(disagreements.length > LISTED ? [palette.dim(`… and ${disagreements.length - LISTED} more (--json has them)`)] : []),
  ]
}

export function explanationLines({ words, values, changes }: Explanation, { out, env }: Terminal): string[] {
  const palette = paletteOf(out, env)
  const seen = values.map(({ time, reason }) => [short(time), reason])
  const turns = changes.map(({ kind, time, reason }) => [short(time), kind, reason])
  return [
    ...words.map(printable),
    ...(seen.length > 0 ? ['', ...tableLines(['seen', 'what it meant'], seen, palette)] : []),
    ...(turns.length > 0 ? ['', ...tableLines(['changed', 'to', 'because'], turns, palette)] : []),
  ]
}

export function suggestionLines({ present, suggestions, devices, events }: Suggestions, { out, env }: Terminal): string[] {
  const palette = paletteOf(out, env)
  const now = `now: ${counted(present.alarmsPerWeek, 'alarm', NUMBER.format(present.alarmsPerWeek))} a week, ${counted(present.flaps, 'flap')} (tried on ${counted(devices.length, 'device')}, ${counted(events, 'event', NUMBER.format(events))})`
  if (suggestions.length === 0) return [now, present.flaps === 0 ? 'it does not flap' : 'nothing that was tried cuts the flapping']
  return [
    now,
    ...suggestions.flatMap(({ words, rule }, i) => [
      `${i + 1}. ${printable(words)}`,
      palette.dim(`   ${printable(JSON.stringify({ when: rule.when, for: rule.for }))}`),
    ]),
  ]
}

export function shadowLines(report: ShadowReport, { out, env }: Terminal): string[] {
  const { by, startTime, old, new: after } = report
  return [
    `runs since ${short(startTime)} (by ${printable(by)}): ${counted(old.alarms, 'alarm')} of the rule, ${after.alarms} of its shadow`,
    ...differenceLines(report, paletteOf(out, env)),
  ]
}

function spans(episodes: readonly Episode[]): string {
  const [first] = episodes
  if (first === undefined) return '-'
  const more = episodes.length > 1 ? ` (+${episodes.length - 1})` : ''
  return `${short(first.activeSince)} to ${endOf(first)}${more}`
}

function endOf({ clearedAt }: Episode): string {
  return clearedAt === null ? 'still' : short(clearedAt)
}

function short(time: string): string {
  return time.slice(0, 19).replace('T', ' ')
}
