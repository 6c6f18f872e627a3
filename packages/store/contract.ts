// What every reading store does, as tests: called with each adapter. `open` opens the same data each time it is called.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { EventData } from '../core/event.ts'
import { formatTime } from '../core/time.ts'
import type { EventPlace, EventQuery, ReadingQuery, ReadingStore, StoreEvent } from './store.ts'
import { RefusedEvents } from './store.ts'

const T0 = 1_763_600_000_000_000
const SECOND = 1_000_000
const ALWAYS = { fromUs: Number.MIN_SAFE_INTEGER, toUs: Number.MAX_SAFE_INTEGER, limit: 10_000 }

const HOSTILE = [
  `x' OR 1=1 --`,
  `") | > drop; DROP MEASUREMENT "temperature"`,
  `it's "quoted"`,
  'a,b c=d',
  'back\\slash',
  'ends in a backslash\\',
  '\\"',
  '100% %41 %',
  '🌡️ Küche',
  '__proto__',
  'constructor',
  'toString',
  '<img src=x onerror=1>',
  '=SUM(A1)',
  ' leading and trailing ',
  '$1 ? :name {x}',
]

let made = 0

/** An event as the worker hands it over: `{timeUs, value}` is enough. */
export function storeEvent(given: Partial<Omit<StoreEvent, 'frame'>> & { readonly value?: number }): StoreEvent {
  const { project = 'p', device = 'd1', eventType = 'temperature', timeUs = T0, eventId = `e${made++}`, value = 21.5 } = given
  const data: EventData = given.data ?? JSON.parse(`{${JSON.stringify(eventType)}:{"value":${value}}}`)
  const targetName = `projects/${project}/devices/${device}`
  const frame = JSON.stringify({ eventId, targetName, eventType, data, timestamp: formatTime(timeUs) })
  return { project, device, eventType, eventId, timeUs, frame, data }
}

function series(count: number, given: (i: number) => Parameters<typeof storeEvent>[0]): StoreEvent[] {
  return Array.from({ length: count }, (_, i) => storeEvent(given(i)))
}

/** Newest first; ties by event id, then event type, descending. */
function newestFirst(events: readonly StoreEvent[]): StoreEvent[] {
  const greater = (a: string, b: string) => (a < b ? 1 : a > b ? -1 : 0)
  return [...events].sort((a, b) => b.timeUs - a.timeUs || greater(a.eventId, b.eventId) || greater(a.eventType, b.eventType))
}

export function storeContract(name: string, open: () => Promise<ReadingStore>): void {
  describe(`${name} as a reading store`, () => {
    let store: ReadingStore
    let project = ''
    const run = `${process.pid}-${Date.now().toString(36)}`
    let projects = 0

    beforeAll(async () => {
      store = await open()
    })
    beforeEach(() => {
      project = `p${run}-${projects++}`
    })
    afterAll(() => store.close())

    const framesOf = async (query: Partial<EventQuery> = {}) =>
      (await store.events({ project, device: 'd1', ...ALWAYS, ...query })).map(({ frame }) => frame)
    const valuesOf = async (query: Partial<ReadingQuery> = {}) =>
      (await store.readings({ project, device: 'd1', eventType: 'temperature', field: 'value', ...ALWAYS, ...query })).map(r => r.value)
    const frames = (events: readonly StoreEvent[]) => events.map(({ frame }) => frame)

    async function paged(limit: number, query: Partial<EventQuery> = {}): Promise<string[]> {
      const found: string[] = []
      let after: EventPlace | undefined
      for (;;) {
        const page = await store.events({ project, device: 'd1', ...ALWAYS, ...query, limit, after })
        expect(page.length).toBeLessThanOrEqual(limit)
        found.push(...page.map(({ frame }) => frame))
        after = page.at(-1)
        if (after === undefined) return found
      }
    }

    test('an empty store answers with nothing', async () => {
      expect(await framesOf()).toEqual([])
      expect(await valuesOf()).toEqual([])
      expect(await store.write([])).toEqual({ stored: 0, duplicates: 0 })
    })

    test('events come back newest first and byte-equal', async () => {
      const events = series(50, i => ({ project, timeUs: T0 + i * SECOND, value: i }))
      expect(await store.write(events)).toEqual({ stored: 50, duplicates: 0 })
      const found = await store.events({ project, device: 'd1', ...ALWAYS })
      expect(found).toEqual(newestFirst(events).map(({ timeUs, eventId, eventType, frame }) => ({ timeUs, eventId, eventType, frame })))
    })

    test('pages follow each other without gap or repeat, also among events of one microsecond', async () => {
      const events = [
        ...series(40, i => ({ project, timeUs: T0, eventId: `same-${String((i * 7) % 40).padStart(2, '0')}`, value: i })),
        ...series(20, i => ({ project, timeUs: T0 + 1 + i, value: i })),
        ...series(20, i => ({ project, timeUs: T0 - 1 - i, value: i })),
      ]
      await store.write(events)
      for (const limit of [1, 7, 40, 80, 100]) expect(await paged(limit)).toEqual(frames(newestFirst(events)))
    })

    test('pages tell apart events of different types with the same id and time', async () => {
      const events = ['temperature', 'humidity', 'co2'].map(eventType => storeEvent({ project, eventType, eventId: 'one' }))
      await store.write(events)
      expect(await paged(1)).toEqual(frames(newestFirst(events)))
    })

    test('a page after a place without event type starts after all events of that id and time', async () => {
      const events = [storeEvent({ project, eventId: 'b' }), storeEvent({ project, eventId: 'a' })]
      await store.write([...events, storeEvent({ project, eventId: 'b', eventType: 'humidity' })])
      expect(await framesOf({ after: { timeUs: T0, eventId: 'b' } })).toEqual([events[1]?.frame])
    })

    test('ranges hold their start and not their end', async () => {
      const events = series(4, i => ({ project, timeUs: T0 + i, value: i }))
      await store.write(events)
      expect(await valuesOf({ fromUs: T0 + 1, toUs: T0 + 3 })).toEqual([1, 2])
      expect(await framesOf({ fromUs: T0 + 1, toUs: T0 + 3 })).toEqual(frames(newestFirst(events.slice(1, 3))))
      expect(await valuesOf({ fromUs: T0 + 4 })).toEqual([])
    })

    test('times before 1970 are kept as they are', async () => {
      const events = series(6, i => ({ project, timeUs: -3 + i, value: i }))
      await store.write(events)
      expect(await paged(2)).toEqual(frames(newestFirst(events)))
      expect(await valuesOf({ fromUs: -2, toUs: 1 })).toEqual([1, 2, 3])
    })

    test('only the asked event types are answered', async () => {
      const events = ['temperature', 'humidity', 'co2'].map((eventType, i) => storeEvent({ project, eventType, timeUs: T0 + i }))
      await store.write(events)
      expect(await framesOf({ eventTypes: ['temperature', 'co2'] })).toEqual(frames([events[2], events[0]] as StoreEvent[]))
      expect(await framesOf({ eventTypes: ['pressure'] })).toEqual([])
      expect(await framesOf({ eventTypes: [] })).toEqual([])
    })

    test('a batch written again is stored once', async () => {
      const batch = series(100, i => ({ project, device: `d${i % 3}`, timeUs: T0 + i * SECOND }))
      expect(await store.write(batch)).toEqual({ stored: 100, duplicates: 0 })
      expect(await store.write(batch)).toEqual({ stored: 0, duplicates: 100 })
      expect(await store.write([...batch].reverse())).toEqual({ stored: 0, duplicates: 100 })
      expect(await valuesOf()).toHaveLength(33)
    })

    test('an event repeated within a batch is stored once', async () => {
      const event = storeEvent({ project, timeUs: T0 })
      const older = storeEvent({ project, timeUs: T0 - SECOND })
      expect(await store.write([event, older, event, older, older])).toEqual({ stored: 2, duplicates: 3 })
      expect(await framesOf()).toEqual([event.frame, older.frame])
    })

    test('an old backfill written twice, out of order and among known events, is stored once', async () => {
      await store.write(series(50, i => ({ project, timeUs: T0 + i * SECOND, value: i })))
      const backfill = series(200, i => ({ project, timeUs: T0 - ((i * 37) % 200) * SECOND - 1, value: i }))
      expect(await store.write(backfill)).toEqual({ stored: 200, duplicates: 0 })
      expect(await store.write(backfill.toReversed())).toEqual({ stored: 0, duplicates: 200 })
      expect(await store.write(series(1, () => ({ project, timeUs: T0 - 5 * SECOND })))).toEqual({ stored: 1, duplicates: 0 })
      expect(await valuesOf()).toHaveLength(251)
    })

    test('events that were stored before the store was opened again are known', async () => {
      const batch = series(100, i => ({ project, device: `d${i % 3}`, timeUs: T0 + ((i * 7) % 100) * SECOND }))
      await store.write(batch)
      await store.close()
      store = await open()
      const fresh = storeEvent({ project, timeUs: T0 + 50 * SECOND })
      expect(await store.write([...batch, fresh])).toEqual({ stored: 1, duplicates: 100 })
      const newer = storeEvent({ project, timeUs: T0 + 1000 * SECOND })
      expect(await store.write([newer, newer])).toEqual({ stored: 1, duplicates: 1 })
    })

    test('two events of one time with different ids are both kept', async () => {
      const [a, b, c] = series(3, i => ({ project, eventId: `id-${i}`, value: i })) as [StoreEvent, StoreEvent, StoreEvent]
      expect(await store.write([a, b])).toEqual({ stored: 2, duplicates: 0 })
      expect(await store.write([c, a])).toEqual({ stored: 1, duplicates: 1 })
      expect(await framesOf()).toEqual([c.frame, b.frame, a.frame])
      expect(await valuesOf()).toEqual([0, 1, 2])
    })

    test('a microsecond holds hundreds of events of one series', async () => {
      const events = series(600, i => ({ project, eventId: `id-${i}`, value: i }))
      for (let at = 0; at < 600; at += 200) expect(await store.write(events.slice(at, at + 200))).toEqual({ stored: 200, duplicates: 0 })
      expect(await store.write(events)).toEqual({ stored: 0, duplicates: 600 })
      expect(new Set(await paged(100))).toEqual(new Set(frames(events)))
    })

    test('batches written at the same time are all stored', async () => {
      const batches = Array.from({ length: 8 }, (_, n) => series(300, i => ({ project: `${project}-${n}`, timeUs: T0 + i, value: i })))
      for (const outcome of await Promise.all(batches.map(batch => store.write(batch))))
        expect(outcome).toEqual({ stored: 300, duplicates: 0 })
      for (let n = 0; n < 8; n++) expect(await valuesOf({ project: `${project}-${n}` })).toHaveLength(300)
    })

    test('a large batch with several readings an event is stored whole', async () => {
      const data = (i: number) => ({ networkStatus: { signalStrength: i, rssi: -i, ethernet: { errors: 0 }, name: 'x', values: [1, 2] } })
      await store.write(series(3000, i => ({ project, eventType: 'networkStatus', timeUs: T0 + i, data: data(i) })))
      for (const [field, sign] of [
        ['signalStrength', 1],
        ['rssi', -1],
        ['ethernet.errors', 0],
      ] as const) {
        const values = await valuesOf({ eventType: 'networkStatus', field })
        expect(values).toHaveLength(3000)
        expect(values[2999]).toBeCloseTo(2999 * sign)
      }
      expect(await framesOf()).toHaveLength(3000)
      expect(await valuesOf({ eventType: 'networkStatus', field: 'name' })).toEqual([])
      expect(await valuesOf({ eventType: 'networkStatus', field: 'values' })).toEqual([])
    })

    test('raw readings are answered oldest first, exact, and the limit keeps the oldest', async () => {
      const values = [-40.125, 0, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, -273.15, 9007199254740991]
      await store.write(values.map((value, i) => storeEvent({ project, eventId: `v${i}`, timeUs: T0 + i, value })))
      expect(await valuesOf()).toEqual(values)
      const readings = await store.readings({ project, device: 'd1', eventType: 'temperature', field: 'value', ...ALWAYS, limit: 2 })
      expect(readings).toEqual([
        { timeUs: T0, eventId: 'v0', value: -40.125 },
        { timeUs: T0 + 1, eventId: 'v1', value: 0 },
      ])
    })

    test('readings of one time are ordered by event id, also where the limit cuts', async () => {
      await store.write(series(30, i => ({ project, eventId: `id-${String((i * 11) % 30).padStart(2, '0')}`, value: (i * 11) % 30 })))
      for (const limit of [1, 13, 30]) expect(await valuesOf({ limit })).toEqual(Array.from({ length: limit }, (_, i) => i))
    })

    test('readings go on after a place, also amid those of one time', async () => {
      const ids = Array.from({ length: 30 }, (_, i) => `id-${String((i * 11) % 30).padStart(2, '0')}`)
      const [before, behind] = [storeEvent({ project, timeUs: T0 - 1, value: -1 }), storeEvent({ project, timeUs: T0 + 1, value: 99 })]
      await store.write([before, behind, ...ids.map((eventId, i) => storeEvent({ project, eventId, value: (i * 11) % 30 }))])
      const query = { project, device: 'd1', eventType: 'temperature', field: 'value', ...ALWAYS }
      for (const limit of [1, 4, 13, 32]) {
        const found: number[] = []
        for (let after: EventPlace | undefined; ; ) {
          const page = await store.readings({ ...query, limit, after })
          expect(page.length).toBeLessThanOrEqual(limit)
          found.push(...page.map(({ value }) => value))
          after = page.at(-1)
          if (after === undefined) break
        }
        expect(found).toEqual([-1, ...Array.from({ length: 30 }, (_, i) => i), 99])
      }
    })

    test('windows are aligned to 1970, count what they hold and leave out the empty', async () => {
      const minute = 60 * SECOND
      const start = Math.floor(T0 / minute) * minute
      await store.write([
        ...series(6, i => ({ project, timeUs: start + i * 10 * SECOND, value: [-4, 2, 8, 0.5, 1, 4.5][i] as number })),
        storeEvent({ project, timeUs: start + minute, value: 1e3 }),
        storeEvent({ project, timeUs: start + 5 * minute - 1, value: -1e-3 }),
        storeEvent({ project, eventType: 'contact', timeUs: start, data: { contact: { state: 'OPEN' } } }),
      ])
      const query = { project, device: 'd1', eventType: 'temperature', field: 'value', ...ALWAYS, windowMs: 60_000 }
      const windows = [
        { startUs: start, count: 6, mean: 2, min: -4, max: 8 },
        { startUs: start + minute, count: 1, mean: 1e3, min: 1e3, max: 1e3 },
        { startUs: start + 4 * minute, count: 1, mean: -1e-3, min: -1e-3, max: -1e-3 },
      ]
      const range = { fromUs: start, toUs: start + 5 * minute }
      expect(await store.windows({ ...query, ...range })).toEqual(windows)
      expect(await store.windows({ ...query, ...range, limit: 2 })).toEqual(windows.slice(0, 2))
      const part = await store.windows({ ...query, fromUs: start + 20 * SECOND, toUs: start + 40 * SECOND })
      expect(part).toEqual([{ startUs: start, count: 2, mean: 4.25, min: 0.5, max: 8 }])
    })

    test('windows before 1970 are aligned too', async () => {
      await store.write(series(3, i => ({ project, timeUs: -1500_000 + i * SECOND, value: i })))
      const query = { project, device: 'd1', eventType: 'temperature', field: 'value', fromUs: -10 * SECOND, toUs: SECOND, limit: 9 }
      const windows = await store.windows({ ...query, windowMs: 1000 })
      expect(windows.map(({ startUs, mean }) => [startUs, mean])).toEqual([
        [-2 * SECOND, 0],
        [-SECOND, 1],
        [0, 2],
      ])
    })

    test('hostile device names come back byte-equal and do not disturb their neighbours', async () => {
      const events = HOSTILE.map((device, i) => storeEvent({ project, device, value: i }))
      const neighbour = storeEvent({ project, device: 'neighbour', value: -1 })
      expect(await store.write([...events, neighbour])).toEqual({ stored: events.length + 1, duplicates: 0 })
      for (const [i, device] of HOSTILE.entries()) {
        expect(await framesOf({ device })).toEqual([events[i]?.frame])
        expect(await valuesOf({ device })).toEqual([i])
      }
      expect(await framesOf({ device: 'neighbour' })).toEqual([neighbour.frame])
      expect(await store.write([...events, neighbour])).toEqual({ stored: 0, duplicates: events.length + 1 })
    })

    test('hostile field paths and strings are kept apart and byte-equal', async () => {
      const names = [
        ...HOSTILE,
        'time',
        'device',
        'project',
        '_id',
        '_event',
        '__id',
        '_time',
        'a\nb',
        'a\rb',
        'a\tb',
        'nul\0',
        '\ud800',
        '\udc00',
        '%uD800',
      ]
      const inner = Object.fromEntries(names.map((key, i) => [key, i]))
      const hostile = storeEvent({ project, data: JSON.parse(JSON.stringify({ temperature: inner })) })
      const texts = [...HOSTILE, 'line\nbreak', 'cr\r\n', 'nul\0', '\u2028', '\\', '"', '\\\\"', 'x'.repeat(100_000)]
      const text = storeEvent({ project, timeUs: T0 + 1, data: { temperature: { value: 1, texts } } })
      const plain = storeEvent({ project, timeUs: T0 + 2, value: 7 })
      expect(await store.write([hostile, text, plain])).toEqual({ stored: 3, duplicates: 0 })
      expect(await framesOf()).toEqual([plain.frame, text.frame, hostile.frame])
      for (const [i, field] of names.entries()) expect(await valuesOf({ field }), JSON.stringify(field)).toEqual([i])
      expect(await valuesOf()).toEqual([1, 7])
    })

    test('raw bytes in a frame, even line breaks, come back byte-equal', async () => {
      const frame = '{"a": "b",\n\t"c": "\\\\", "d": "\\""}\\'
      await store.write([{ ...storeEvent({ project }), frame }, storeEvent({ project, timeUs: T0 - 1 })])
      expect((await framesOf())[0]).toBe(frame)
    })

    test('a path that an event has twice is one reading: the last', async () => {
      await store.write([storeEvent({ project, data: { temperature: { 'a.b': 1, a: { b: 2 } } } })])
      expect(await valuesOf({ field: 'a.b' })).toEqual([2])
    })

    test('an event without any reading is an event', async () => {
      const events = series(3, i => ({ project, eventType: 'contact', timeUs: T0 + i, data: { contact: { state: 'OPEN' } } }))
      expect(await store.write(events)).toEqual({ stored: 3, duplicates: 0 })
      expect(await store.write(events)).toEqual({ stored: 0, duplicates: 3 })
      expect(await framesOf()).toEqual(frames(newestFirst(events)))
      expect(await valuesOf({ eventType: 'contact', field: 'state' })).toEqual([])
    })

    test('an event that can never be stored is named, and the others can be written without it', async () => {
      const bad = storeEvent({ project, device: 'bad', data: { temperature: { value: Number.POSITIVE_INFINITY } } })
      const good = series(5, i => ({ project, timeUs: T0 + i, value: i }))
      const failure = await store.write([...good.slice(0, 2), bad, ...good.slice(2)]).then(
        () => undefined,
        cause => cause,
      )
      expect(failure).toMatchObject({ name: 'Failure', code: 'invalid' })
      expect(failure.cause).toBeInstanceOf(RefusedEvents)
      expect(failure.cause.events).toEqual([bad])
      const { stored, duplicates } = await store.write(good)
      expect(stored + duplicates).toBe(5)
      expect(await valuesOf()).toEqual([0, 1, 2, 3, 4])
      expect(await framesOf({ device: 'bad' })).toEqual([])
    })

    test('projects do not see each other', async () => {
      const other = `${project}x`
      await store.write([storeEvent({ project, eventId: 'same', value: 1 })])
      expect(await store.write([storeEvent({ project: other, eventId: 'same', value: 2 })])).toEqual({ stored: 1, duplicates: 0 })
      expect(await valuesOf()).toEqual([1])
      expect(await valuesOf({ project: other })).toEqual([2])
    })

    test('purge forgets what is older, of one project only, and what it forgot can be stored again', async () => {
      const old = series(10, i => ({ project, timeUs: T0 + i * SECOND, value: i }))
      await store.write([...old, storeEvent({ project, eventType: 'contact', data: { contact: { state: 'OPEN' } } })])
      await store.write([storeEvent({ project: `${project}x`, value: 1 })])
      await store.purge(project, T0 + 4 * SECOND)
      expect(await valuesOf()).toEqual([4, 5, 6, 7, 8, 9])
      expect(await framesOf()).toHaveLength(6)
      expect(await valuesOf({ project: `${project}x` })).toEqual([1])
      expect(await store.write(old)).toEqual({ stored: 4, duplicates: 6 })
    })

    test('ping answers, close can be called twice, and a closed store says so', async () => {
      const own = storeEvent({ project })
      const writing = store.write([own])
      const first = store.close()
      await Promise.all([writing, first, store.close()])
      await expect(store.write([own])).rejects.toMatchObject({ code: 'unavailable' })
      await expect(store.ping()).rejects.toMatchObject({ code: 'unavailable' })
      store = await open()
      await store.ping()
      expect(await framesOf()).toEqual([own.frame])
    })
  })
}
