// What every reading store does when long stretches of it are scanned, as tests: called with each adapter.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { storeEvent } from './contract.ts'
import type { ReadingStore, ScanQuery, StoreEvent } from './store.ts'

const T0 = 1_763_600_000_000_000
const MINUTE = 60_000_000
const ALWAYS = { fromUs: T0 - MINUTE, toUs: T0 + 1000 * MINUTE }

export function scanContract(name: string, open: () => Promise<ReadingStore>): void {
  describe(`${name} scanned`, () => {
    let store: ReadingStore
    let project = ''
    let projects = 0
    const run = `${process.pid}-${Date.now().toString(36)}`
    beforeAll(async () => {
      store = await open()
    })
    beforeEach(() => {
      project = `s${run}-${projects++}`
    })
    afterAll(() => store.close())

    const asked = (query: Partial<ScanQuery> = {}) => ({ project, eventTypes: ['temperature'], ...ALWAYS, ...query })
    const scanned = async (query: Partial<ScanQuery> = {}) => {
      const { series, of, timesUs, values, events } = await store.scan(asked(query))
      return Array.from(of, (number, i) => ({
        ...series[number],
        timeUs: timesUs[i],
        ...(values ? { values: values.map(column => column[i]) } : {}),
        ...(events ? { eventId: events.ids[i], frame: events.frames[i] } : {}),
      }))
    }
    const value = { eventType: 'temperature', field: 'value' }
    const wholly = ({ device, eventType, timeUs, eventId, frame }: StoreEvent) => ({ device, eventType, timeUs, eventId, frame })

    test('an empty stretch has no columns with anything in them', async () => {
      expect(await scanned()).toEqual([])
      expect(await scanned({ fields: [value] })).toEqual([])
      expect(await store.counts({ ...asked(), windowUs: MINUTE })).toEqual([])
    })

    test('events of several devices and types come oldest first, ties by event id', async () => {
      const events = [
        storeEvent({ project, device: 'b', timeUs: T0 + 1, eventId: 'z' }),
        storeEvent({ project, device: 'a', timeUs: T0 + 1, eventId: 'y' }),
        storeEvent({ project, device: 'a', timeUs: T0 + 1, eventId: 'x', eventType: 'humidity' }),
        storeEvent({ project, device: `it's "c" 100%`, timeUs: T0, eventId: 'w' }),
      ]
      await store.write([...events, storeEvent({ project, device: 'a', eventType: 'co2' })])
      expect(await scanned({ eventTypes: ['temperature', 'humidity'] })).toEqual([...events].reverse().map(wholly))
    })

    test('only the asked devices, types and times come', async () => {
      const events = Array.from({ length: 30 }, (_, i) =>
        storeEvent({ project, device: `d${i % 3}`, timeUs: T0 + i, eventType: i % 2 ? 'humidity' : 'temperature' }),
      )
      await store.write(events)
      const wanted = events.filter(
        ({ device, timeUs, eventType }) => device !== 'd0' && timeUs < T0 + 20 && timeUs > T0 && eventType === 'temperature',
      )
      expect(await scanned({ devices: ['d1', 'd2', 'nobody'], fromUs: T0 + 1, toUs: T0 + 20 })).toEqual(wanted.map(wholly))
      expect(await scanned({ devices: [] })).toEqual([])
    })

    test('with fields only numbers come, NaN for those that an event has not', async () => {
      await store.write([
        storeEvent({ project, timeUs: T0, data: { temperature: { other: 7, value: 1 } } }),
        storeEvent({ project, timeUs: T0 + 1, data: { temperature: { other: 8 } } }),
        storeEvent({ project, timeUs: T0 + 2, data: { temperature: { value: -0.5 } } }),
        storeEvent({ project, timeUs: T0 + 3, data: { temperature: { value: 'warm' } } }),
        storeEvent({ project, timeUs: T0 + 4, data: { temperature: 2.5 } }),
        storeEvent({ project, timeUs: T0 + 5, eventType: 'humidity', data: { humidity: { relativeHumidity: 40, value: 9 } } }),
      ])
      const rows = async (query: Partial<ScanQuery>) => (await scanned(query)).map(one => one.values)
      expect(await rows({ fields: [value] })).toEqual([[1], [NaN], [-0.5], [NaN], [2.5]])
      const fields = [value, { eventType: 'humidity', field: 'relativeHumidity' }, { eventType: 'temperature', field: 'other' }]
      expect(await rows({ eventTypes: ['temperature', 'humidity'], fields })).toEqual([
        [1, NaN, 7],
        [NaN, NaN, 8],
        [-0.5, NaN, NaN],
        [NaN, NaN, NaN],
        [2.5, NaN, NaN],
        [NaN, 40, NaN],
      ])
      expect(await rows({ fields: [] })).toEqual([[], [], [], [], []])
    })

    test('numbers of several fields, also within others, stay with their event when ids and times are the same', async () => {
      const data = (a: number) => ({ temperature: { a: { b: a }, 'odd "name", 100%': a + 1, time: a + 2 } })
      await store.write(
        ['x', 'y', 'z'].map((device, i) => storeEvent({ project, device, timeUs: T0, eventId: 'same', data: data(10 * i) })),
      )
      const fields = ['time', 'a.b', 'odd "name", 100%'].map(field => ({ eventType: 'temperature', field }))
      const found = (await scanned({ fields })).map(({ device, values }) => [device, values])
      expect(Object.fromEntries(found as [string, number[]][])).toEqual({ x: [2, 0, 1], y: [12, 10, 11], z: [22, 20, 21] })
    })

    test('numbers do not come when an event of the range has one of the texts that forbid it', async () => {
      const text = '"a/b":"\\"é.*"'
      await store.write([
        storeEvent({ project, timeUs: T0, data: { temperature: { value: 1, unit: '°F' } } }),
        storeEvent({ project, timeUs: T0 + 10, data: { temperature: { value: 2, 'a/b': '\\"é.*' } } }),
        storeEvent({ project, timeUs: T0 + 20, data: { temperature: { value: 3 } } }),
      ])
      const numbers = async (query: Partial<ScanQuery>) =>
        (await store.scan(asked({ fields: [value], ...query }))).values?.map(list => [...list])
      expect(await numbers({ unless: ['"unit":"'] })).toBeUndefined()
      expect(await numbers({ unless: ['"unit":"'], fromUs: T0 + 1 })).toEqual([[2, 3]])
      expect(await numbers({ unless: ['"unit":"', JSON.stringify({ 'a/b': '\\"é.*' }).slice(1, -1)], fromUs: T0 + 1 })).toBeUndefined()
      expect(await numbers({ unless: ['.*', 'un.t', text.toUpperCase()], fromUs: T0 + 11 })).toEqual([[3]])
      expect(await numbers({ unless: ['v.lue'] })).toEqual([[1, 2, 3]])
    })

    test('a stretch of many events, also within one microsecond, comes whole', async () => {
      const events = Array.from({ length: 12_000 }, (_, i) =>
        storeEvent({ project, device: `d${i % 40}`, timeUs: T0 + Math.floor(i / 400), value: i }),
      )
      await store.write(events)
      const found = await scanned({ fields: [value] })
      expect(new Set(found.map(one => one.values?.[0])).size).toBe(12_000)
      expect(found.map(one => one.timeUs)).toEqual(events.map(one => one.timeUs))
    })

    test('counts tell how many events stand in each window from the start on', async () => {
      const times = [0, 1, 59_999_999, 60_000_000, 185_000_000]
      await store.write(
        times.map((us, i) =>
          storeEvent({ project, device: `d${i}`, timeUs: T0 + 7 + us, data: { temperature: i % 2 ? {} : { value: 1, b: 2 } } }),
        ),
      )
      const found = await store.counts({ ...asked({ fromUs: T0 + 7 }), windowUs: MINUTE })
      expect(found).toEqual([
        { startUs: T0 + 7, count: 3 },
        { startUs: T0 + 7 + MINUTE, count: 1 },
        { startUs: T0 + 7 + 3 * MINUTE, count: 1 },
      ])
    })
  })
}
