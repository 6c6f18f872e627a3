// When a rule counts: windows of wall-clock time in a time zone, without holidays. The only file that knows time zones.
import { IANAZone } from 'luxon'
import { type Fields, joinPath, nearest, readBoolean, readList, readObject, readString } from './condition/input.ts'
import type { Schema } from './condition/kind.ts'
import { invalid } from './failure.ts'
import { formatTime, parseTime } from './time.ts'

/**
 * A window belongs to the day on which it starts, whole: it runs on past midnight into a holiday, and none starts on one. It is one
 * stretch: it begins when the clock on the wall first reaches `from` and ends once that clock never shows a time before `to` again.
 * So where the clock skips `from` it begins at the skip, and a `to` within an hour that comes twice is that of the second.
 */
export type Schedule = {
  /** IANA name. */
  readonly timezone: string
  readonly active: readonly Window[]
  /** Local dates as days since 1970-01-01, in order. */
  readonly holidays: readonly number[]
  /** It is open outside of the windows, and on holidays. */
  readonly inverse: boolean
  readonly spans: Spans
}

type Window = {
  /** From Monday. */
  readonly days: readonly boolean[]
  readonly fromMinute: number
  /** Up to 1440; at most `fromMinute` when it ends on the next day. */
  readonly toMinute: number
}

type Span = { readonly fromUs: number; readonly toUs: number; readonly open: boolean }

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']
const CLOCK = /^(?:([01]\d|2[0-3]):([0-5]\d)|24:00)$/
const DAY_MINUTES = 1440
const MINUTE_US = 60_000_000
const DAY_US = DAY_MINUTES * MINUTE_US
const MAX_WINDOWS = 50
const MAX_SPANS = 32
/** Without a holiday nothing is new after a week, but for a window that the clock skipped. */
const QUIET_DAYS = 16
const NO_SPAN: Span = { fromUs: Number.NaN, toUs: Number.NaN, open: false }

const clockSchema: Schema = { type: 'string', pattern: '^(([01]\\d|2[0-3]):[0-5]\\d|24:00)$', examples: ['07:00'] }
const daysSchema: Schema = { type: 'string', pattern: `^(${DAYS.join('|')})(-(${DAYS.join('|')}))?$`, examples: ['mon-fri', 'sat'] }

export const scheduleSchema: Schema = {
  type: 'object',
  description: 'when the rule counts: windows of local time; outside of them it has no active alarm',
  additionalProperties: false,
  required: ['timezone', 'active'],
  properties: {
    timezone: { type: 'string', description: 'IANA name', examples: ['Europe/Oslo'] },
    active: {
      type: 'array',
      minItems: 1,
      maxItems: MAX_WINDOWS,
      description: 'the windows; one that ends at or before its start ends on the next day and belongs to the day it starts on',
      items: {
        type: 'object',
        additionalProperties: false,
        properties: {
          days: {
            description: 'every day when left out',
            default: 'mon-sun',
            anyOf: [daysSchema, { type: 'array', minItems: 1, items: daysSchema, examples: [['mon', 'wed']] }],
          },
          from: { ...clockSchema, default: '00:00' },
          to: { ...clockSchema, default: '24:00' },
        },
      },
    },
    holidays: {
      type: 'array',
      description: 'local dates on which no window starts',
      maxItems: 1000,
      default: [],
      items: { type: 'string', pattern: '^\\d{4}-\\d\\d-\\d\\d$', examples: ['2026-12-25'] },
    },
    inverse: { type: 'boolean', default: false, description: 'it counts outside of the windows instead, and on holidays' },
  },
}

export function parseSchedule(input: unknown, path: string): Schedule {
  const fields = readObject(input, path, ['timezone', 'active', 'holidays', 'inverse'])
  const schedule: Schedule = {
    timezone: parseZone(fields.timezone, joinPath(path, 'timezone')),
    active: parseWindows(fields.active, joinPath(path, 'active')),
    holidays: fields.holidays === undefined ? [] : parseHolidays(fields.holidays, joinPath(path, 'holidays')),
    inverse: fields.inverse === undefined ? false : readBoolean(fields.inverse, joinPath(path, 'inverse')),
    spans: new Spans(),
  }
  if (!isOpen(schedule, 0) && nextEdgeUs(schedule, 0) === Number.POSITIVE_INFINITY)
    throw invalid(path, 'expected some time at which the rule counts; this is never')
  return schedule
}

export function scheduleToJson({ timezone, active, holidays, inverse }: Schedule): { readonly [key: string]: unknown } {
  return {
    timezone,
    active: active.map(({ days, fromMinute, toMinute }) => ({
      days: daysToJson(days),
      from: clockToJson(fromMinute),
      to: clockToJson(toMinute),
    })),
    holidays: holidays.map(day => formatTime(day * DAY_US).slice(0, 10)),
    inverse,
  }
}

export function isOpen(schedule: Schedule, timeUs: number): boolean {
  return schedule.spans.at(schedule, timeUs).open
}

/** The next moment after this one at which `isOpen` changes; Infinity when it never does. */
export function nextEdgeUs(schedule: Schedule, timeUs: number): number {
  return schedule.spans.at(schedule, timeUs).toUs
}

/** The stretches that were asked for lately: finding one costs some hundred microseconds, asking again some nanoseconds. */
class Spans {
  // Private fields are no part of a rule when two are compared or written down.
  #last = NO_SPAN
  #known: Span[] = []

  at(schedule: Schedule, timeUs: number): Span {
    const last = this.#last
    return timeUs >= last.fromUs && timeUs < last.toUs ? last : this.#find(schedule, timeUs)
  }

  #find(schedule: Schedule, timeUs: number): Span {
    const found = this.#known.find(({ fromUs, toUs }) => timeUs >= fromUs && timeUs < toUs) ?? this.#add(spanAt(schedule, timeUs))
    this.#last = found
    return found
  }

  #add(span: Span): Span {
    if (this.#known.length >= MAX_SPANS) this.#known.shift()
    this.#known.push(span)
    return span
  }
}

/** The end is exact; the stretch may have begun earlier. */
function spanAt(schedule: Schedule, timeUs: number): Span {
  const clock = new WallClock(schedule.timezone)
  const today = Math.floor((timeUs + clock.offsetUs(timeUs)) / DAY_US)
  // A window of yesterday may still run; the clock may have been set back from tomorrow.
  const near = [-2, -1, 0, 1].flatMap(days => windowsOf(schedule, clock, today + days))
  const inside = near.find(({ fromUs, toUs }) => timeUs >= fromUs && timeUs < toUs)
  if (inside !== undefined)
    return { fromUs: inside.fromUs, toUs: closesUs(schedule, clock, today - 2, inside.toUs), open: !schedule.inverse }
  const ended = near.map(({ toUs }) => toUs).filter(toUs => toUs <= timeUs)
  const fromUs = Math.max(clock.reach((today - 1) * DAY_US).lastUs, ...ended)
  return { fromUs, toUs: opensUs(schedule, clock, today - 2, timeUs), open: schedule.inverse }
}

function opensUs(schedule: Schedule, clock: WallClock, fromDay: number, afterUs: number): number {
  // A day is looked at with the next: where the clock is set back over midnight, the next day's windows may start first.
  for (const day of daysFrom(schedule, fromDay)) {
    const windows = [...windowsOf(schedule, clock, day), ...windowsOf(schedule, clock, day + 1)]
    const starts = windows.map(({ fromUs }) => fromUs).filter(fromUs => fromUs > afterUs)
    if (starts.length > 0) return Math.min(...starts)
  }
  return Number.POSITIVE_INFINITY
}

/** The end of the windows that overlap or touch this end. */
function closesUs(schedule: Schedule, clock: WallClock, fromDay: number, endUs: number): number {
  let toUs = endUs
  let before = fromDay - 1
  for (const day of daysFrom(schedule, fromDay)) {
    const skipped = day > before + 1
    // Nothing was new on the days that were left out: it is open until this one.
    if (skipped) toUs = Math.max(toUs, clock.reach(day * DAY_US).firstUs)
    before = day
    toUs = extended([...(skipped ? windowsOf(schedule, clock, day - 1) : []), ...windowsOf(schedule, clock, day)], toUs)
    if (toUs < clock.reach(day * DAY_US).firstUs) return toUs
  }
  return Number.POSITIVE_INFINITY
}

/** The end of what these windows make of a stretch, in whatever order they stand. */
function extended(windows: readonly Stretch[], endUs: number): number {
  const further = windows.filter(({ fromUs, toUs }) => fromUs <= endUs && toUs > endUs).map(({ toUs }) => toUs)
  return further.length === 0 ? endUs : extended(windows, Math.max(...further))
}

/** The days until nothing new can happen. Between two holidays that lie far apart nothing does, and these days are left out. */
function* daysFrom({ holidays }: Schedule, first: number): Generator<number> {
  let quiet = 0
  for (let day = first; quiet < QUIET_DAYS; day++) {
    yield day
    quiet = holidays.includes(day) ? 0 : quiet + 1
    const next = quiet < QUIET_DAYS ? undefined : holidays.find(holiday => holiday > day)
    if (next === undefined) continue
    day = Math.max(day, next - 2)
    quiet = 0
  }
}

type Stretch = { readonly fromUs: number; readonly toUs: number }

/** The windows that start on a day (counted from 1970-01-01). */
function windowsOf(schedule: Schedule, clock: WallClock, day: number): Stretch[] {
  if (schedule.holidays.includes(day)) return []
  const weekday = (((day + 3) % 7) + 7) % 7
  return schedule.active
    .filter(({ days }) => days[weekday])
    .map(({ fromMinute, toMinute }) => ({
      fromUs: clock.reach(day * DAY_US + fromMinute * MINUTE_US).firstUs,
      toUs: clock.reach((toMinute > fromMinute ? day : day + 1) * DAY_US + toMinute * MINUTE_US).lastUs,
    }))
    .filter(({ fromUs, toUs }) => fromUs < toUs)
}

/** A clock on a wall of a time zone. To ask the zone costs microseconds, so it is asked at midnights (UTC), once each. */
class WallClock {
  private readonly zone: IANAZone
  private readonly offsets = new Map<number, number>()

  constructor(timezone: string) {
    this.zone = IANAZone.create(timezone)
  }

  /** When it first shows this time or a later one, and from when on it never shows an earlier one. */
  reach(wallUs: number): { readonly firstUs: number; readonly lastUs: number } {
    const day = Math.floor(wallUs / DAY_US)
    // No zone is as much as a day away from UTC, and none changes twice in three days.
    const [fromUs, toUs] = [(day - 1) * DAY_US, (day + 2) * DAY_US]
    const [early, late] = [wallUs - this.offsetUs(fromUs), wallUs - this.offsetUs(toUs)]
    if (early === late) return { firstUs: early, lastUs: early }
    const changeUs = this.changeUs(fromUs, toUs)
    return {
      firstUs: early < changeUs ? early : Math.max(changeUs, late),
      lastUs: late > changeUs ? late : Math.min(changeUs, early),
    }
  }

  offsetUs(timeUs: number): number {
    const known = this.offsets.get(timeUs)
    if (known !== undefined) return known
    const offset = Math.round(this.zone.offset(Math.floor(timeUs / 1000)) * 60) * 1_000_000
    this.offsets.set(timeUs, offset)
    return offset
  }

  /** The moment, to the second, from which on the offset is that of `toUs`. */
  private changeUs(fromUs: number, toUs: number): number {
    const after = this.offsetUs(toUs)
    let [low, high] = [fromUs / 1_000_000, toUs / 1_000_000]
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (this.offsetUs(middle * 1_000_000) === after) high = middle
      else low = middle
    }
    return high * 1_000_000
  }
}

function parseZone(input: unknown, path: string): string {
  const name = readString(input, path, 64)
  // Offsets are zones to some runtimes, but know no summer time.
  if (/^[A-Za-z]/.test(name) && IANAZone.isValidZone(name)) return name
  const near = nearest(name, Intl.supportedValuesOf('timeZone'))
  throw invalid(path, `expected the IANA name of a time zone such as "Europe/Oslo"${near === undefined ? '' : `; did you mean "${near}"?`}`)
}

function parseWindows(input: unknown, path: string): Window[] {
  if (!Array.isArray(input) || input.length === 0 || input.length > MAX_WINDOWS)
    throw invalid(path, `expected a list of 1 to ${MAX_WINDOWS} windows such as { days: mon-fri, from: "07:00", to: "19:00" }`)
  return input.map((one: unknown, index) => {
    const fields = readObject(one, `${path}[${index}]`, ['days', 'from', 'to'])
    return { days: parseDays(fields.days, `${path}[${index}].days`), ...parseClocks(fields, `${path}[${index}]`) }
  })
}

function parseClocks(fields: Fields, path: string): Pick<Window, 'fromMinute' | 'toMinute'> {
  const fromMinute = fields.from === undefined ? 0 : parseClock(fields.from, joinPath(path, 'from'))
  const toMinute = fields.to === undefined ? DAY_MINUTES : parseClock(fields.to, joinPath(path, 'to'))
  if (fromMinute === DAY_MINUTES) throw invalid(joinPath(path, 'from'), 'expected 00:00 to 23:59; 24:00 is the next day')
  if (fromMinute === toMinute)
    throw invalid(joinPath(path, 'to'), 'expected another time than "from"; for whole days leave both out or say 00:00 to 24:00')
  return { fromMinute, toMinute }
}

function parseClock(input: unknown, path: string): number {
  const match = typeof input === 'string' ? CLOCK.exec(input) : null
  if (match === null) throw invalid(path, 'expected a time of day from "00:00" to "24:00", in quotes')
  return match[1] === undefined ? DAY_MINUTES : Number(match[1]) * 60 + Number(match[2])
}

function clockToJson(minute: number): string {
  return `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`
}

function parseDays(input: unknown, path: string): boolean[] {
  if (input === undefined) return DAYS.map(() => true)
  const texts = typeof input === 'string' ? [input] : readList(input, path, text => text)
  if (texts.length === 0) throw invalid(path, 'expected at least one day such as "mon", or "mon-fri"')
  const chosen = texts.map((text, index) => parseRange(text, typeof input === 'string' ? path : `${path}[${index}]`))
  return DAYS.map((_, day) => chosen.some(days => days[day]))
}

/** `sat`, `mon-fri` or, over the end of the week, `sat-mon`. */
function parseRange(text: string, path: string): boolean[] {
  const [first, last = first, ...rest] = text.split('-').map(day => DAYS.indexOf(day))
  if (first === undefined || last === undefined || first < 0 || last < 0 || rest.length > 0)
    throw invalid(path, `expected a day of ${DAYS.join(', ')} or a range such as "mon-fri"`)
  return DAYS.map((_, day) => (first <= last ? day >= first && day <= last : day >= first || day <= last))
}

function daysToJson(days: readonly boolean[]): string | string[] {
  if (days.every(Boolean)) return 'mon-sun'
  const starts = DAYS.flatMap((_, day) => (days[day] && !days[(day + 6) % 7] ? [day] : []))
  const ranges = starts.map(start => {
    let end = start
    while (days[(end + 1) % 7]) end++
    return start === end ? (DAYS[start] as string) : `${DAYS[start]}-${DAYS[end % 7]}`
  })
  return ranges.length === 1 ? (ranges[0] as string) : ranges
}

function parseHolidays(input: unknown, path: string): number[] {
  const dates = readList(input, path, (text, at) => {
    if (!/^\d{4}-\d\d-\d\d$/.test(text) || parseTime(`${text}T00:00:00Z`) === undefined)
      throw invalid(at, 'expected a date such as "2026-12-25"')
    return text
  })
  return dates.map(date => (parseTime(`${date}T00:00:00Z`) as number) / DAY_US).sort((a, b) => a - b)
}
