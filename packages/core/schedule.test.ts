// Schedules: windows, holidays and both days on which the clock changes, by tables and beside an implementation that asks every minute.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isOpen, nextEdgeUs, parseSchedule, type Schedule, scheduleToJson } from './schedule.ts'
import { formatTime, parseTime } from './time.ts'

const MINUTE_US = 60_000_000
const office = { timezone: 'Europe/Oslo', active: [{ days: 'mon-fri', from: '07:00', to: '19:00' }] }

function us(text: string): number {
  const timeUs = parseTime(text.length === 16 ? `${text}:00Z` : text)
  if (timeUs === undefined) throw new Error(`no time: ${text}`)
  return timeUs
}

/** The first edges after a moment, with what they change to. */
function edges(input: object, after: string, count: number): string[] {
  const schedule = parseSchedule(input, 'schedule')
  const found: string[] = []
  for (let timeUs = us(after); found.length < count; ) {
    timeUs = nextEdgeUs(schedule, timeUs)
    found.push(timeUs === Number.POSITIVE_INFINITY ? 'never' : `${formatTime(timeUs).slice(0, 16)} ${isOpen(schedule, timeUs) ? '+' : '-'}`)
    if (timeUs === Number.POSITIVE_INFINITY) break
  }
  return found
}

describe('a schedule', () => {
  it.each<[string, object, string, string[]]>([
    ['is open in office hours', office, '2026-11-20T12:00', ['2026-11-20T18:00 -', '2026-11-23T06:00 +', '2026-11-23T18:00 -']],
    [
      'overnight belongs to the day it starts on',
      { ...office, active: [{ days: 'sat', from: '22:00', to: '04:00' }] },
      '2026-11-20T12:00',
      ['2026-11-21T21:00 +', '2026-11-22T03:00 -', '2026-11-28T21:00 +'],
    ],
    [
      'runs on into a holiday, and none starts on one',
      { ...office, active: [{ from: '22:00', to: '04:00' }], holidays: ['2026-12-25'] },
      '2026-12-24T12:00',
      ['2026-12-24T21:00 +', '2026-12-25T03:00 -', '2026-12-26T21:00 +'],
    ],
    [
      'is shut on a whole day that is a holiday',
      { timezone: 'Europe/Oslo', active: [{}], holidays: ['2027-05-17', '2026-12-25', '2026-12-26'] },
      '2026-01-01T00:00',
      ['2026-12-24T23:00 -', '2026-12-26T23:00 +', '2027-05-16T22:00 -', '2027-05-17T22:00 +', 'never'],
    ],
    [
      'is always open but for a holiday, by windows that bridge each other',
      {
        timezone: 'UTC',
        active: [
          { from: '00:15', to: '00:00' },
          { from: '00:30', to: '00:15' },
        ],
        holidays: ['2026-12-25'],
      },
      '1980-01-01T12:00',
      ['2026-12-25T00:15 -', '2026-12-26T00:15 +', 'never'],
    ],
    [
      'inverse: outside of office hours and on holidays',
      { ...office, holidays: ['2026-12-25'], inverse: true },
      '2026-12-24T12:00',
      ['2026-12-24T18:00 +', '2026-12-28T06:00 -'],
    ],
    [
      'ends at 24:00',
      { ...office, active: [{ days: 'mon', from: '20:00', to: '24:00' }] },
      '2026-11-23T12:00',
      ['2026-11-23T19:00 +', '2026-11-23T23:00 -'],
    ],
    [
      'ends at 00:00 of the next day',
      { ...office, active: [{ days: 'mon', from: '20:00', to: '00:00' }] },
      '2026-11-23T12:00',
      ['2026-11-23T19:00 +', '2026-11-23T23:00 -'],
    ],
    [
      'joins windows that touch or overlap',
      {
        ...office,
        active: [
          { days: 'tue', from: '00:00', to: '05:00' },
          { days: 'mon', from: '20:00', to: '24:00' },
          { days: 'tue', from: '04:00', to: '09:00' },
        ],
      },
      '2026-11-23T12:00',
      ['2026-11-23T19:00 +', '2026-11-24T08:00 -', '2026-11-30T19:00 +'],
    ],
    ['that is always open has no edge', { timezone: 'UTC', active: [{}] }, '2026-11-23T12:00', ['never']],
    [
      'starts at the skip when its start is skipped',
      { ...office, active: [{ from: '02:30', to: '05:00' }] },
      '2026-03-28T12:00',
      ['2026-03-29T01:00 +', '2026-03-29T03:00 -', '2026-03-30T00:30 +'],
    ],
    [
      'ends at the skip when its end is skipped',
      { ...office, active: [{ from: '01:00', to: '02:30' }] },
      '2026-03-28T12:00',
      ['2026-03-29T00:00 +', '2026-03-29T01:00 -', '2026-03-29T23:00 +'],
    ],
    [
      'is left out when all of it is skipped',
      { ...office, active: [{ from: '02:15', to: '02:45' }] },
      '2026-03-28T12:00',
      ['2026-03-30T00:15 +', '2026-03-30T00:45 -'],
    ],
    [
      'is one stretch over the hour that comes twice',
      { ...office, active: [{ from: '02:15', to: '02:45' }] },
      '2026-10-24T12:00',
      ['2026-10-25T00:15 +', '2026-10-25T01:45 -', '2026-10-26T01:15 +'],
    ],
    [
      'ends before the hour that comes twice',
      { ...office, active: [{ from: '01:00', to: '02:00' }] },
      '2026-10-24T12:00',
      ['2026-10-24T23:00 +', '2026-10-25T00:00 -', '2026-10-26T00:00 +'],
    ],
    [
      'has 25 hours on the day that has',
      { ...office, active: [{ days: 'sun' }] },
      '2026-10-24T12:00',
      ['2026-10-24T22:00 +', '2026-10-25T23:00 -'],
    ],
    [
      'half an hour from the full one',
      { ...office, timezone: 'Asia/Kolkata' },
      '2026-11-20T12:00',
      ['2026-11-20T13:30 -', '2026-11-23T01:30 +'],
    ],
    [
      'skips half an hour on Lord Howe',
      { timezone: 'Australia/Lord_Howe', active: [{ from: '02:15', to: '03:00' }] },
      '2026-10-03T00:00',
      ['2026-10-03T15:30 +', '2026-10-03T16:00 -', '2026-10-04T15:15 +'],
    ],
    [
      'begins a day that has no midnight when it begins',
      { timezone: 'Africa/Cairo', active: [{ days: 'fri' }] },
      '2026-04-22T12:00',
      ['2026-04-23T22:00 +', '2026-04-24T21:00 -'],
    ],
    [
      'leaves out a day that a country left out',
      { timezone: 'Pacific/Apia', active: [{ days: 'thu-sat', from: '10:00', to: '12:00' }] },
      '2011-12-29T12:00',
      ['2011-12-29T20:00 +', '2011-12-29T22:00 -', '2011-12-30T20:00 +', '2011-12-30T22:00 -'],
    ],
  ])('%s', (_, input, after, expected) => expect(edges(input, after, expected.length)).toEqual(expected))

  it.each<[string, object, string, RegExp]>([
    ['no zone', { active: [{}] }, 'schedule.timezone', /expected a text/],
    ['a zone that is misspelt', { ...office, timezone: 'Europe/Olso' }, 'schedule.timezone', /did you mean "Europe\/Oslo"/],
    ['an offset for a zone', { ...office, timezone: '+02:00' }, 'schedule.timezone', /IANA name/],
    ['no windows', { timezone: 'UTC' }, 'schedule.active', /list of 1 to 50/],
    ['no day', { timezone: 'UTC', active: [{ days: 'mo' }] }, 'schedule.active[0].days', /mon, tue/],
    ['a range of three', { timezone: 'UTC', active: [{ days: ['sun', 'mon-tue-wed'] }] }, 'schedule.active[0].days[1]', /range/],
    ['an hour that is none', { timezone: 'UTC', active: [{ from: '7:00' }] }, 'schedule.active[0].from', /"00:00" to "24:00"/],
    ['a number for a time', { timezone: 'UTC', active: [{ from: 700 }] }, 'schedule.active[0].from', /in quotes/],
    ['a start at 24:00', { timezone: 'UTC', active: [{ from: '24:00', to: '05:00' }] }, 'schedule.active[0].from', /next day/],
    ['an empty window', { timezone: 'UTC', active: [{ from: '05:00', to: '05:00' }] }, 'schedule.active[0].to', /whole days/],
    ['no date', { ...office, holidays: ['2026-02-29'] }, 'schedule.holidays[0]', /2026-12-25/],
    ['a schedule that is never open', { timezone: 'UTC', active: [{}], inverse: true }, 'schedule', /never/],
    ['an unknown key', { ...office, zone: 'UTC' }, 'schedule.zone', /unknown/],
  ])('refuses %s', (_, input, field, message) => {
    expect(() => parseSchedule(input, 'schedule')).toThrow(expect.objectContaining({ field, message: expect.stringMatching(message) }))
  })

  it.each<[object, object]>([
    [office, { days: 'mon-fri', from: '07:00', to: '19:00' }],
    [
      { timezone: 'UTC', active: [{}] },
      { days: 'mon-sun', from: '00:00', to: '24:00' },
    ],
    [
      { timezone: 'UTC', active: [{ days: ['wed', 'mon'] }] },
      { days: ['mon', 'wed'], from: '00:00', to: '24:00' },
    ],
    [
      { timezone: 'UTC', active: [{ days: ['sat', 'sun', 'mon'] }] },
      { days: 'sat-mon', from: '00:00', to: '24:00' },
    ],
  ])('comes back the same from its own document: %j', (input, window) => {
    const schedule = parseSchedule(input, 'schedule')
    expect(scheduleToJson(schedule)).toMatchObject({ active: [window] })
    expect(parseSchedule(scheduleToJson(schedule), 'schedule')).toEqual(schedule)
  })

  it('answers ten million times a second for times close together', () => {
    const schedule = parseSchedule(office, 'schedule')
    const startUs = us('2026-11-20T12:00')
    let open = 0
    const begin = performance.now()
    for (let i = 0; i < 5_000_000; i++) if (isOpen(schedule, startUs + (i % 1_000_000))) open++
    expect(performance.now() - begin).toBeLessThan(2500)
    expect(open).toBe(5_000_000)
  })
})

const MARGIN = 3 * 1440

/** What a clock on the wall shows (minutes since 1970), by the runtime's own calendar; the most and the least it showed until and after. */
type Wall = { readonly shown: readonly number[]; readonly latest: readonly number[]; readonly earliest: readonly number[] }

function wallOf(timezone: string, fromUs: number, minutes: number): Wall {
  const format = new Intl.DateTimeFormat('en-CA', { timeZone: timezone, dateStyle: 'short', timeStyle: 'medium', hourCycle: 'h23' })
  const wall = (timeUs: number) =>
    us(
      format
        .format(timeUs / 1000)
        .replace(', ', 'T')
        .slice(0, 16),
    ) / MINUTE_US
  const shown = Array.from({ length: minutes + 2 * MARGIN }, (_, i) => wall(fromUs + (i - MARGIN) * MINUTE_US))
  const latest = [...shown]
  for (let i = 1; i < latest.length; i++) latest[i] = Math.max(latest[i] as number, latest[i - 1] as number)
  const earliest = [...shown]
  for (let i = earliest.length - 2; i >= 0; i--) earliest[i] = Math.min(earliest[i] as number, earliest[i + 1] as number)
  return { shown, latest, earliest }
}

/** A window has begun once its start was on the wall, and is over once nothing before its end will be again. */
function plainly({ active, holidays, inverse }: Schedule, { shown, latest, earliest }: Wall): boolean[] {
  return shown.slice(MARGIN, -MARGIN).map((now, i) => {
    const [late, early] = [latest[i + MARGIN] as number, earliest[i + MARGIN] as number]
    const days = [-2, -1, 0, 1].map(away => Math.floor(now / 1440) + away).filter(day => !holidays.includes(day))
    const inside = days.some(day =>
      active.some(({ fromMinute, toMinute, days: of }) => {
        const end = (toMinute > fromMinute ? day : day + 1) * 1440 + toMinute
        return of[(day + 3) % 7] && late >= day * 1440 + fromMinute && early < end
      }),
    )
    return inside !== inverse
  })
}

/** The first minute at which the schedule says something else. */
function disagreement(schedule: Schedule, fromUs: number, expected: readonly boolean[]): string | undefined {
  const endUs = fromUs + expected.length * MINUTE_US
  for (const [minute, open] of expected.entries()) {
    // Now and then without what was asked before.
    const asked = minute % 97 === 0 ? parseSchedule(scheduleToJson(schedule), 'schedule') : schedule
    const timeUs = fromUs + minute * MINUTE_US
    if (isOpen(asked, timeUs) !== open) return `${formatTime(timeUs)} is ${open ? 'open' : 'shut'}`
    const change = expected.indexOf(!open, minute)
    const edgeUs = nextEdgeUs(asked, timeUs)
    if (change < 0 ? edgeUs < endUs : edgeUs !== fromUs + change * MINUTE_US)
      return `the edge after ${formatTime(timeUs)} is not ${formatTime(Math.min(edgeUs, endUs))}`
  }
  return undefined
}

describe('at any minute', () => {
  const clock = fc.integer({ min: 0, max: 95 }).map(quarter => {
    const minute = quarter * 15
    return `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`
  })
  const day = fc.constantFrom('mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun', 'mon-fri', 'sat-mon', 'fri-wed')
  const window = fc
    .record({ days: fc.uniqueArray(day, { minLength: 1, maxLength: 2 }), from: clock, to: clock })
    .filter(({ from, to }) => from !== to)
  // Days on which clocks change, at midnight too, by half an hour, and a day that was skipped.
  const place = fc.constantFrom(
    ['Europe/Oslo', '2026-03-27', '2026-03-29'],
    ['Europe/Oslo', '2026-10-23', '2026-10-26'],
    ['America/New_York', '2026-03-06', '2026-03-08'],
    ['Australia/Lord_Howe', '2026-04-03', '2026-04-05'],
    ['Australia/Lord_Howe', '2026-10-02', '2026-10-04'],
    ['America/Havana', '2026-10-31', '2026-11-01'],
    ['America/Sao_Paulo', '2018-02-16', '2018-02-18'],
    ['America/St_Johns', '2005-10-29', '2005-10-30'],
    ['Africa/Cairo', '2026-04-23', '2026-04-24'],
    ['Africa/Cairo', '2026-10-28', '2026-10-30'],
    ['Pacific/Apia', '2011-12-29', '2011-12-31'],
    ['Asia/Kathmandu', '2026-11-20', '2026-11-21'],
    ['Pacific/Kiritimati', '2026-11-20', '2026-11-21'],
  )

  it('is open, and has edges, as one finds by asking every minute', () => {
    const walls = new Map<string, Wall>()
    fc.assert(
      fc.property(
        place,
        fc.array(window, { minLength: 1, maxLength: 3 }),
        fc.boolean(),
        fc.boolean(),
        (where, active, holiday, inverse) => {
          const [timezone, from, date] = where as [string, string, string]
          const fromUs = us(`${from}T00:00`)
          const wall = walls.get(where.join()) ?? wallOf(timezone, fromUs, 4 * 1440)
          walls.set(where.join(), wall)
          const schedule = parseSchedule({ timezone, active, holidays: holiday ? [date] : [], inverse }, 'schedule')
          expect(disagreement(schedule, fromUs, plainly(schedule, wall))).toBeUndefined()
        },
      ),
      { numRuns: 60 },
    )
  }, 60_000)
})
