// What explanations, suggestions and backtests read of the past: in how many bytes, and how long others wait meanwhile.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseRule } from '../../packages/core/rule.ts'
import { openDuckStore } from '../../packages/store/duckdb.ts'
import type { EventRecord, ReadingStore } from '../../packages/store/store.ts'
import { explainInTurns, lateOf, newest } from './explain.ts'
import { replay, type SIZES } from './replay.ts'
import { Sample } from './suggest.ts'

const T0 = Date.parse('2026-03-02T00:00:00Z') * 1000
const MINUTE_US = 60_000_000
const WHEN = { threshold: { field: 'temperature.value', above: 5 } }
const DEVICE = { id: 'd', type: '', labels: {}, productNumber: '' }
const rule = parseRule({ name: 'r', when: WHEN })

describe('the past that is explained', () => {
  let folder = ''
  let store: ReadingStore
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'telltale-explain-'))
    store = await openDuckStore({ path: join(folder, 'readings.duckdb') })
    const event = (device: string, minute: number, blob: string) => {
      const data = { temperature: { value: minute }, note: { blob } }
      const [timeUs, eventId] = [T0 + minute * MINUTE_US, `${device}-${minute}`]
      const frame = JSON.stringify({ eventId, targetName: device, eventType: 'temperature', data, timestamp: '' })
      return { project: 'p', device, eventType: 'temperature', timeUs, eventId, frame, data }
    }
    await store.write(Array.from({ length: 2500 }, (_, minute) => event('small', minute, '')))
    await store.write(Array.from({ length: 400 }, (_, i) => ({ ...event('crowd', 0, ''), eventId: `crowd-${i}` })))
    await store.write(Array.from({ length: 300 }, (_, minute) => event('large', minute, 'x'.repeat(60_000))))
  }, 60_000)
  afterAll(async () => {
    await store?.close()
    await rm(folder, { recursive: true, force: true })
  })

  const read = (device: string, minute: number) => newest(store, 'p', device, rule, T0 + minute * MINUTE_US, new AbortController().signal)
  const spanOf = ({ records, truncated }: Awaited<ReturnType<typeof read>>) => [
    ...[records[0], records.at(-1)].map(one => one && (one.timeUs - T0) / MINUTE_US),
    truncated,
  ]

  test('ends after so many events, newest first', async () => {
    expect(spanOf(await read('small', 2400))).toEqual([401, 2400, true])
    expect(spanOf(await read('small', 500))).toEqual([0, 500, false])
    expect(spanOf(await read('nobody', 500))).toEqual([undefined, undefined, false])
  })

  test('ends after so many bytes', async () => {
    const { records, truncated } = await read('large', 299)
    const bytes = records.reduce((sum, { frame }) => sum + frame.length, 0)
    expect([truncated, records.at(-1)?.timeUs]).toEqual([true, T0 + 299 * MINUTE_US])
    expect(bytes).toBeLessThan(8_100_000)
    expect(bytes).toBeGreaterThan(7_900_000)
  })

  test('is judged in turns, and no longer than somebody waits', async () => {
    const { records } = await read('small', 2400)
    const source = Array.from({ length: 20 }, (_, i) => `abs(reading - ${i}) > ${i}`).join(' && ')
    const slow = parseRule({ name: 'r', when: { expression: { expression: source, field: 'temperature.value' } } })
    const gone = new AbortController()
    const explained = explainInTurns(slow, DEVICE, records, T0 + 2400 * MINUTE_US, gone.signal)
    setImmediate(() => gone.abort(new Error('gone')))
    await expect(explained).rejects.toThrow('gone')
  })

  const whole = parseRule({ name: 'r', when: { expression: { expression: 'event.eventId != ""', eventTypes: ['temperature'] } } })
  const replayOf = (device: string, minutes: number, take: () => void, signal: AbortSignal, judged = whole, sizes?: typeof SIZES) => {
    const devices = { get: async (_: string, ids: readonly string[]) => ids.map(id => ({ ...DEVICE, id })) }
    const range = { fromUs: T0, toUs: T0 + minutes * MINUTE_US }
    return replay({ store, devices }, { project: 'p', sides: [{ rule: judged, take }], range, devices: [device] }, signal, sizes)
  }

  test('is replayed in pieces of so many bytes, each event once', async () => {
    let taken = 0
    const events: number[] = []
    const take = () => {
      taken++
    }
    for await (const progress of replayOf('large', 300, take, new AbortController().signal)) events.push(progress.events)
    expect(taken).toBe(300)
    expect([events.length, events.at(-1)]).toEqual([4, 300])
  })

  test('is replayed in pieces even where all of it is of one moment', async () => {
    const pieces: number[] = []
    let taken = 0
    const take = () => {
      taken++
    }
    const { signal } = new AbortController()
    for await (const { events } of replayOf('crowd', 1, take, signal, rule, { numbers: 100, events: 50 })) pieces.push(events)
    expect(taken).toBe(400)
    expect(pieces.slice(0, 4)).toEqual([0, 50, 100, 150])
  })

  test('is replayed with a look at the clock after every event, however few there are', async () => {
    const gone = new AbortController()
    let taken = 0
    const take = () => {
      taken++
      const endMs = performance.now() + 20
      while (performance.now() < endMs);
      if (taken === 1) setImmediate(() => gone.abort(new Error('gone')))
    }
    const replayed = async () => {
      for await (const _ of replayOf('small', 50, take, gone.signal)) gone.signal.throwIfAborted()
    }
    await expect(replayed()).rejects.toThrow('gone')
    expect(taken).toBeLessThan(5)
  })
})

test('events are late that were further behind the newest of their type than they may be when they came', () => {
  const record = (eventType: string, minute: number, acceptedMs: number): EventRecord => {
    return { eventType, timeUs: T0 + minute * MINUTE_US, eventId: `${minute}`, frame: '', acceptedMs }
  }
  const records = [record('a', 1, 30), record('a', 7, 40), record('a', 9, 50), record('a', 10, 20), record('b', 2, 60)]
  expect(lateOf(records, 120_000).map(({ eventId }) => eventId)).toEqual(['1', '7'])
})

describe('a sample', () => {
  const take = (sample: Sample, minute: number) =>
    sample.take(DEVICE, 'temperature', T0 + minute * MINUTE_US, 'e', {
      temperature: { value: 1, other: 'x' },
      more: { text: 'y'.repeat(1000) },
    })

  test('keeps of an event what the rule reads', () => {
    const sample = new Sample(rule, ['d'])
    take(sample, 0)
    expect(sample.events[0]?.data).toEqual({ temperature: { value: 1 } })
  })

  test('of whole events ends after so many bytes', () => {
    const sample = new Sample(parseRule({ name: 'r', when: { absent: { eventType: 'temperature', for: '1m' } } }), ['d'], 5000)
    for (let minute = 0; minute < 100; minute++) take(sample, minute)
    expect(sample.events).toHaveLength(5)
    expect(sample.endUs({ fromUs: T0, toUs: T0 + 100 * MINUTE_US })).toBe(T0 + 4 * MINUTE_US + 1)
  })
})
