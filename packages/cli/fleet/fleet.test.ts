// The simulated building: the same seed gives the same series, and the series look like the real thing.
import { expect, test } from 'vitest'
import { parseTime } from '../../core/time.ts'
import { type Draft, Fleet } from './fleet.ts'

const MONDAY_US = parseTime('2026-03-02T00:00:00Z') ?? 0
const HOUR_US = 3600e6
const DAY_US = 24 * HOUR_US

/** Every device once per `stepUs`, for so many days. */
function run(seed: string, days: number, stepUs: number, devices = 18): Draft[] {
  const fleet = new Fleet(devices, seed)
  const drafts: Draft[] = []
  for (let at = MONDAY_US; at < MONDAY_US + days * DAY_US; at += stepUs)
    for (let device = 0; device < devices; device++) drafts.push(fleet.next(device, at))
  return drafts
}

const week = run('plausible', 7, 300e6)

function values(device: string, eventType: string, field: string): { timeUs: number; value: number }[] {
  const own = week.filter(draft => draft.device === device && draft.eventType === eventType)
  return own.map(({ timeUs, fields }) => ({ timeUs, value: Number(fields[field]) }))
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length
}

function atHour(series: { timeUs: number; value: number }[], hour: number): number {
  return mean(series.filter(({ timeUs }) => Math.floor(((timeUs - MONDAY_US) % DAY_US) / HOUR_US) === hour).map(({ value }) => value))
}

function share(eventType: string, state: string, hours: (hour: number) => boolean): number {
  const at = (draft: Draft) => Math.floor(((draft.timeUs - MONDAY_US) % DAY_US) / HOUR_US)
  const working = week.filter(draft => draft.eventType === eventType && draft.timeUs < MONDAY_US + 5 * DAY_US && hours(at(draft)))
  return working.filter(draft => draft.fields.state === state).length / working.length
}

test('the same seed gives the same series, another seed another one', () => {
  expect(run('a', 1, HOUR_US)).toEqual(run('a', 1, HOUR_US))
  expect(run('b', 1, HOUR_US)).not.toEqual(run('a', 1, HOUR_US))
})

test('the first nine devices show every kind, and each is labelled by name, room and floor', () => {
  const { devices } = new Fleet(9, 'x')
  expect(new Set(devices.map(({ type }) => type))).toEqual(
    new Set(['temperature', 'humidity', 'contact', 'waterDetector', 'motion', 'co2', 'power']),
  )
  for (const { labels } of devices) expect(labels).toMatchObject({ name: expect.any(String), room: expect.any(String), floor: '1' })
})

test('a large fleet has as many different devices as asked for', () => {
  const ids = new Set(new Fleet(1000, 'x').devices.map(({ id }) => id))
  expect(ids.size).toBe(1000)
})

test('an office is warmer in the afternoon than before dawn, and stays habitable', () => {
  const office = values('sim-1-office-temperature', 'temperature', 'value')
  expect(atHour(office, 15) - atHour(office, 3)).toBeGreaterThan(2)
  for (const { value } of office) expect(value).toSatisfy((c: number) => c > 15 && c < 28)
})

test('the noise of a room has a memory: neighbouring values are closer than distant ones', () => {
  const store = values('sim-1-cold-store-temperature', 'temperature', 'value').map(({ value }) => value)
  const apart = (lag: number) => mean(store.slice(lag).map((value, i) => Math.abs(value - Number(store[i]))))
  expect(apart(1)).toBeLessThan(apart(24) * 0.6)
})

test('relative humidity falls as its room warms', () => {
  const room = week.filter(draft => draft.eventType === 'humidity' && draft.device === 'sim-1-kitchen-humidity')
  const x = room.map(({ fields }) => Number(fields.temperature))
  const y = room.map(({ fields }) => Number(fields.relativeHumidity))
  const covariance = mean(x.map((value, i) => (value - mean(x)) * (Number(y[i]) - mean(y))))
  expect(covariance).toBeLessThan(-0.5)
  for (const value of y) expect(value).toSatisfy((percent: number) => percent >= 5 && percent <= 98)
})

test('CO₂ rises with the people in the room and never falls below the air outside', () => {
  const co2 = values('sim-1-office-co2', 'co2', 'ppm').filter(({ timeUs }) => timeUs < MONDAY_US + 5 * DAY_US)
  expect(atHour(co2, 11)).toBeGreaterThan(atHour(co2, 4) + 300)
  for (const { value } of co2) expect(value).toSatisfy((ppm: number) => Number.isInteger(ppm) && ppm > 380 && ppm < 2500)
})

test('doors open and people move in working hours, seldom at night', () => {
  const day = (hour: number) => hour >= 10 && hour < 16
  const night = (hour: number) => hour < 5
  expect(share('contact', 'OPEN', day)).toBeGreaterThan(3 * share('contact', 'OPEN', night))
  expect(share('motion', 'MOTION_DETECTED', day)).toBeGreaterThan(5 * share('motion', 'MOTION_DETECTED', night))
})

test('water is rare', () => {
  expect(share('waterPresent', 'PRESENT', () => true)).toBeLessThan(0.02)
})

test('an energy counter only rises, and as fast as the power says', () => {
  const watts = values('sim-1-cold-store-power', 'power', 'watts').map(({ value }) => value)
  const counter = values('sim-1-cold-store-power', 'power', 'wattHours').map(({ value }) => value)
  for (let i = 1; i < counter.length; i++) expect(counter[i]).toBeGreaterThanOrEqual(Number(counter[i - 1]))
  expect(Number(counter.at(-1)) / (mean(watts) * 7 * 24)).toBeCloseTo(1, 1)
})

test('batteries only drain, slowly', () => {
  const charge = values('sim-1-office-temperature', 'batteryStatus', 'percentage').map(({ value }) => value)
  expect(charge.length).toBeGreaterThan(50)
  for (let i = 1; i < charge.length; i++) expect(charge[i]).toBeLessThanOrEqual(Number(charge[i - 1]))
  expect(Number(charge[0]) - Number(charge.at(-1))).toBeLessThan(3)
})
