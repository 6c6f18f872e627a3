// The schedule of a rule of DT's API to ours, and back (contracts.md 1.a.12): slots of whole days with times are windows.
import { joinPath, readBoolean, readChoice, readObject } from '../condition/input.ts'
import { invalid } from '../failure.ts'
import type { Schedule } from '../schedule.ts'
import { given } from './input.ts'

export type SlotSchedule = {
  readonly timezone: string
  readonly inverse: boolean
  readonly slots: readonly Slot[]
}
type Slot = { readonly days: readonly string[]; readonly times: readonly Times[] }
type Times = { readonly start: Clock; readonly end: Clock }
type Clock = { readonly hour: number; readonly minute: number }

const DAYS = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'] as const
const DAY_MINUTES = 1440
const MAX_WINDOWS = 50

/** As the document of a rule has it. */
export function parseSlots(input: unknown, path: string): { readonly [key: string]: unknown } {
  const fields = readObject(input, path, ['timezone', 'inverse', 'slots'])
  const place = joinPath(path, 'slots')
  const active = listOf(fields.slots, place, 'slots').flatMap((slot, index) => parseSlot(slot, `${place}[${index}]`))
  if (active.length === 0 || active.length > MAX_WINDOWS)
    throw invalid(place, `expected 1 to ${MAX_WINDOWS} times in all; without a schedule (null) a rule always counts`)
  const inverse = given(fields.inverse) === undefined ? false : readBoolean(fields.inverse, joinPath(path, 'inverse'))
  return { timezone: fields.timezone, active, inverse }
}

/** Undefined when slots cannot say it. */
export function slotsOf({ timezone, active, holidays, inverse }: Schedule): SlotSchedule | undefined {
  if (holidays.length > 0) return undefined
  const slots: Slot[] = []
  for (const { days, fromMinute, toMinute } of active) {
    const names = DAYS.filter((_, day) => days[day])
    const isWhole = fromMinute === 0 && toMinute === DAY_MINUTES
    const times = isWhole ? [] : [{ start: clockOf(fromMinute), end: clockOf(toMinute % DAY_MINUTES) }]
    const last = slots.at(-1)
    // Times of the same days most likely were one slot.
    if (last !== undefined && !isWhole && last.times.length > 0 && String(last.days) === String(names))
      slots[slots.length - 1] = { days: names, times: [...last.times, ...times] }
    else slots.push({ days: names, times })
  }
  return { timezone, inverse, slots }
}

function parseSlot(input: unknown, path: string): object[] {
  const fields = readObject(input, path, ['days', 'times'])
  const names = listOf(fields.days, joinPath(path, 'days'), 'days').map((day, index) => readChoice(day, `${path}.days[${index}]`, DAYS))
  const days = names.length === 0 ? undefined : [...new Set(names)].map(name => name.slice(0, 3).toLowerCase())
  const times = listOf(fields.times, joinPath(path, 'times'), 'times')
  if (times.length === 0) return [{ days }]
  return times.map((one, index) => ({ days, ...parseTimes(one, `${path}.times[${index}]`) }))
}

function parseTimes(input: unknown, path: string): { readonly from: string; readonly to: string } {
  const fields = readObject(input, path, ['start', 'end'])
  const start = parseClock(fields.start, joinPath(path, 'start'), 23)
  const end = parseClock(fields.end, joinPath(path, 'end'), 24)
  if (start === end) throw invalid(joinPath(path, 'end'), 'expected another time than start; for whole days leave "times" empty')
  // The midnight that ends a day.
  return { from: textOf(start), to: textOf(end === 0 ? DAY_MINUTES : end) }
}

function parseClock(input: unknown, path: string, lastHour: number): number {
  const fields = readObject(input, path, ['hour', 'minute'])
  const part = (key: string, most: number): number => {
    const value = given(fields[key]) ?? 0
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > most)
      throw invalid(joinPath(path, key), `expected a whole number from 0 to ${most}`)
    return value
  }
  const hour = part('hour', lastHour)
  return hour * 60 + part('minute', hour === 24 ? 0 : 59)
}

function listOf(input: unknown, path: string, what: string): readonly unknown[] {
  if (given(input) === undefined) return []
  if (!Array.isArray(input) || input.length > MAX_WINDOWS) throw invalid(path, `expected a list of at most ${MAX_WINDOWS} ${what}`)
  return input
}

function textOf(minutes: number): string {
  const { hour, minute } = clockOf(minutes)
  return `${String(hour).padStart(2, '0')}:${String(minute).padStart(2, '0')}`
}

function clockOf(minutes: number): Clock {
  return { hour: Math.floor(minutes / 60), minute: minutes % 60 }
}
