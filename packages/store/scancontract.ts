// What every reading store does when long stretches of it are scanned, as tests: called with each adapter.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { storeEvent } from './contract.ts'
import type { ReadingStore, ScanPage, ScanQuery, StoreEvent } from './store.ts'

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
    const ROOM = { limit: 1000, maxBytes: 1_000_000 }
    /** All that there is, page by page. */
    const pagesOf = async (query: Partial<ScanPage> = {}) => {
      const pages = []
      for (let after: ScanPage['after'], begun = false; !begun || after; begun = true) {
        const { series, of, timesUs, values, events, next } = await store.scan({ ...asked(query), ...ROOM, ...query, after })
        const page = Array.from(of, (number, i) => ({
          ...series[number],
          timeUs: timesUs[i],
          ...(values ? { value: values[i] } : {}),
          ...(events ? { eventId: events.ids[i], frame: events.frames[i] } : {}),
        }))
        if (page.length > 0 || pages.length === 0) pages.push(page)
        after = next
      }
      return pages
    }
    const scanned = async (query: Partial<ScanPage> = {}) => (await pagesOf(query)).flat()
    const wholly = ({ device, eventType, timeUs, eventId, frame }: StoreEvent) => ({ device, eventType, timeUs, eventId, frame })

    test('an empty stretch has no columns with anything in them', async () => {
      expect(await scanned()).toEqual([])
      expect(await scanned({ fields: [{ eventType: 'temperature', field: 'value' }] })).toEqual([])
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

    test('a stretch is read on from where a page of so many events or bytes ended', async () => {
      const events = Array.from({ length: 40 }, (_, i) =>
        storeEvent({ project, device: `d${i % 4}`, timeUs: T0 + Math.floor(i / 2), eventId: `e${i % 3}-${String(i).padStart(2, '0')}` }),
      )
      await store.write(events)
      const wanted = events.toSorted((a, b) => a.timeUs - b.timeUs || (a.eventId < b.eventId ? -1 : 1)).map(wholly)
      const size = wanted[0]?.frame.length ?? 0
      for (const room of [{ limit: 7 }, { maxBytes: 5 * size }, { limit: 1 }, { maxBytes: 1 }]) {
        const pages = await pagesOf(room)
        expect(pages.flat()).toEqual(wanted)
        expect(pages.length).toBeGreaterThan(5)
        expect(Math.max(...pages.map(({ length }) => length))).toBeLessThanOrEqual(8)
      }
      const numbers = await pagesOf({ fields: [{ eventType: 'temperature', field: 'value' }], limit: 7 })
      expect(numbers.flat().map(({ device, timeUs }) => [device, timeUs])).toEqual(wanted.map(({ device, timeUs }) => [device, timeUs]))
      expect(numbers.length).toBeGreaterThan(5)
    })

    test('events of one time and id are told apart by their device and type where a page ends between them', async () => {
      const events = Array.from({ length: 12 }, (_, i) => storeEvent({ project, device: `d${i}`, timeUs: T0, eventId: 'same' }))
      await store.write(events)
      const found = await scanned({ limit: 5 })
      expect(found).toHaveLength(12)
      expect(new Set(found.map(({ device }) => device))).toEqual(new Set(events.map(({ device }) => device)))
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

    test('with fields only numbers come, one of each event that has it', async () => {
      await store.write([
        storeEvent({ project, timeUs: T0, data: { temperature: { value: 1, other: 7 } } }),
        storeEvent({ project, timeUs: T0 + 1, data: { temperature: { other: 8 } } }),
        storeEvent({ project, timeUs: T0 + 2, data: { temperature: { value: -0.5 } } }),
        storeEvent({ project, timeUs: T0 + 3, eventType: 'humidity', data: { humidity: { relativeHumidity: 40, value: 9 } } }),
      ])
      const value = { eventType: 'temperature', field: 'value' }
      expect((await scanned({ fields: [value] })).map(one => one.value)).toEqual([1, -0.5])
      const both = [value, { eventType: 'humidity', field: 'relativeHumidity' }]
      expect((await scanned({ eventTypes: ['temperature', 'humidity'], fields: both })).map(one => one.value)).toEqual([1, -0.5, 40])
    })

    test('a stretch of many events, also within one microsecond, comes whole', async () => {
      const events = Array.from({ length: 12_000 }, (_, i) =>
        storeEvent({ project, device: `d${i % 40}`, timeUs: T0 + Math.floor(i / 400), value: i }),
      )
      await store.write(events)
      const found = await scanned({ fields: [{ eventType: 'temperature', field: 'value' }] })
      expect(new Set(found.map(one => one.value)).size).toBe(12_000)
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
