// Stored history is judged from columns of numbers or from whole events, on a real DuckDB: what comes of it is the same.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Backtest } from '../../packages/core/backtest.ts'
import { Chart } from '../../packages/core/chart.ts'
import { chartedField, numbersOf } from '../../packages/core/column.ts'
import type { Device } from '../../packages/core/device.ts'
import type { EventData } from '../../packages/core/event.ts'
import { parseRule, type Rule } from '../../packages/core/rule.ts'
import { formatTime } from '../../packages/core/time.ts'
import { openDuckStore } from '../../packages/store/duckdb.ts'
import type { ReadingStore, ScanQuery } from '../../packages/store/store.ts'
import { replay } from './replay.ts'

const T0 = Date.parse('2026-03-02T00:00:00Z') * 1000
const MINUTE_US = 60_000_000
const MINUTES = 1500
const RANGE = { fromUs: T0, toUs: T0 + MINUTES * MINUTE_US }
const SIZES = { numbers: 300, events: 200 }

let folder = ''
let store: ReadingStore
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'telltale-replay-'))
  store = await openDuckStore({ path: join(folder, 'readings.duckdb') })
  await store.write(Array.from({ length: MINUTES }, (_, minute) => eventsOf(minute)).flat())
})
afterAll(async () => {
  await store?.close()
  await rm(folder, { recursive: true, force: true })
})

/** Of two devices; from time to time what stands there is in another unit, no number, missing, or as deep as it looks only by its name. */
function eventsOf(minute: number) {
  const wave = Math.round(100 * (-17 + 4 * Math.sin(minute / 40) + Math.sin(minute * 1.7))) / 100
  const inner = temperatureOf(minute, wave)
  const stuckFor = Math.floor(minute / 200) % 2 === 0
  const climate = {
    inside: { temp: wave, 'dew.point': 7 },
    outside: stuckFor ? 5 : wave * 2,
    fan: minute % 700 < 20 ? 'off' : minute % 3,
    ...(minute % 900 < 15 ? { 'inside.temp': 3 } : {}),
  }
  return [
    event('a', 'temperature', minute, inner),
    event('b', 'temperature', minute, minute % 5 ? wave + 1 : { battery: 80, value: wave + 1 }),
    event('a', 'climate', minute, climate),
    ...(minute % 400 < 60 ? [] : [event('b', 'climate', minute, { outside: wave })]),
  ]
}

function temperatureOf(minute: number, wave: number): EventData | number {
  if (minute > 500 && minute < 515) return { value: wave * 1.8 + 32, unit: '°F' }
  if (minute > 750 && minute < 760) return { value: 'broken' }
  if (minute > 1000 && minute < 1020) return { battery: 81 }
  return minute % 2 ? { value: wave } : wave
}

function event(device: string, eventType: string, minute: number, inner: EventData | number) {
  const timeUs = T0 + minute * MINUTE_US
  const data = { [eventType]: inner }
  const eventId = `${minute}`
  const targetName = `projects/p/devices/${device}`
  const frame = JSON.stringify({ eventId, targetName, eventType, data, timestamp: formatTime(timeUs) })
  return { project: 'p', device, eventType, eventId, timeUs, frame, data }
}

/** The numbers of an event are not enough for this one, nor then for what is judged beside it. */
const WHOLE = parseRule({ name: 'whole', when: { state: { field: 'nothing.here', equals: 'x' } } })

async function judged(rule: Rule, beside: readonly Rule[]) {
  const reads = { numbers: 0, whole: 0 }
  const scan = async (query: ScanQuery) => {
    const columns = await store.scan(query)
    reads[columns.values ? 'numbers' : 'whole']++
    return columns
  }
  const ports = { store: { counts: store.counts.bind(store), scan }, devices: { get: async () => [] } }
  const backtest = new Backtest(rule, RANGE)
  const field = chartedField(rule.when)
  const chart = field && new Chart(field, 7 * MINUTE_US)
  const side = {
    rule,
    take(device: Device, eventType: string, timeUs: number, eventId: string, data: EventData) {
      backtest.take(device, eventType, timeUs, eventId, data)
      if (device.id === 'a') chart?.take(eventType, timeUs, data)
    },
  }
  const others = beside.map(one => ({ rule: one, take: () => undefined }))
  const sides = [side, ...others]
  for await (const _ of replay(ports, { project: 'p', sides, range: RANGE, devices: undefined }, new AbortController().signal, SIZES));
  return { found: backtest.finish(), points: chart?.points(), reads }
}

const TEMPERATURE = 'temperature.value'
const COLD = { field: TEMPERATURE, above: -15, clearBelow: -16 }

describe('stored history is the same from numbers as from whole events', () => {
  test.each<[string, object, object?]>([
    ['threshold', { threshold: COLD }, { for: '2m', keepActive: '3m' }],
    ['threshold in the unit of the field', { threshold: { ...COLD, unit: '°C' } }],
    ['threshold in another unit', { threshold: { field: TEMPERATURE, above: 5, clearBelow: 3.2, unit: '°F' } }],
    [
      'ladder',
      { threshold: COLD },
      {
        severity: [
          { at: -15, severity: 'warning' },
          { at: -13.5, severity: 'critical' },
        ],
      },
    ],
    ['rate', { rate: { field: TEMPERATURE, per: '1m', above: 1.5, unit: '°C' } }],
    ['window', { window: { field: TEMPERATURE, function: 'mean', over: '15m', above: -15, unit: '°C' } }],
    ['window of events', { window: { eventType: 'climate', function: 'count', over: '30m', below: 40 } }],
    ['absent', { absent: { eventType: 'climate', for: '10m' } }],
    ['stuck', { stuck: { field: 'climate.outside', for: '30m', unit: '°C' } }],
    ['stuck where texts count', { stuck: { field: 'climate.fan', for: '10m' } }],
    ['flapping across a level', { flapping: { field: TEMPERATURE, changes: 6, within: '30m', level: -17, unit: '°C' } }],
    ['deviation', { deviation: { field: TEMPERATURE, over: '6h', above: 1.5, unit: '°C' } }],
    ['a field within a field', { threshold: { field: 'climate.inside.temp', above: -15 } }],
    [
      'several fields of one event',
      { all: [{ threshold: { field: 'climate.outside', above: 0 } }, { threshold: { field: 'climate.fan', above: 0.5 } }] },
    ],
    [
      'several types of events',
      { any: [{ threshold: { ...COLD, unit: '°C' } }, { not: { threshold: { field: 'climate.outside', below: 4 } } }] },
    ],
  ])('%s', async (_name, when, more = {}) => {
    const rule = parseRule({ name: 'r', when, notify: ['ops'], ...more })
    expect(numbersOf([rule])).toBeDefined()
    const byNumbers = await judged(rule, [])
    const byEvents = await judged(rule, [WHOLE])
    expect(byNumbers.reads.numbers).toBeGreaterThan(5)
    expect(byEvents.reads.numbers).toBe(0)
    expect(byEvents.found.alarms).toBeGreaterThan(0)
    expect(byNumbers.found).toEqual(byEvents.found)
    expect(byNumbers.points).toEqual(byEvents.points)
  })

  test.each<[string, object]>([
    ['state', { state: { field: 'contact.state', equals: 'OPEN' } }],
    ['expression', { expression: 'event.eventType == "temperature" && reading > 8.0' }],
    ['a composite with one of them', { all: [{ threshold: COLD }, { state: { field: 'contact.state', equals: 'OPEN' } }] }],
    ['a field in a field of an odd name', { threshold: { field: 'climate.größe.a', above: 1 } }],
  ])('%s is judged from whole events', (_name, when) => {
    expect(numbersOf([parseRule({ name: 'r', when })])).toBeUndefined()
  })
})
