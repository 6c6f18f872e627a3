// What every reading store does with the log's past, as tests: called with each adapter, as `contract.ts` is.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createRandom } from '../cli/fleet/random.ts'
import { storeEvent } from './contract.ts'
import type { LogPlace, Past, ReadingStore, StoreEvent } from './store.ts'
import { LAST_INDEX } from './store.ts'

const T0 = 1_763_600_000_000_000
const MS0 = 1_763_600_000_000
type Placed = StoreEvent & { readonly place: LogPlace }

const START: LogPlace = { entryId: '0-0', index: LAST_INDEX }

const behind = (entryId: string): LogPlace => ({ entryId, index: LAST_INDEX })

export function pastContract(name: string, open: () => Promise<ReadingStore>): void {
  describe(`${name} as the log's past`, () => {
    let store: ReadingStore
    let project = ''
    const run = `${process.pid}-${Date.now().toString(36)}`
    let projects = 0

    beforeAll(async () => {
      store = await open()
    })
    beforeEach(() => {
      project = `q${run}-${projects++}`
    })
    afterAll(() => store.close())

    let made = 0
    const placed = (entryId: string, index: number, more: Parameters<typeof storeEvent>[0] = {}) => ({
      ...storeEvent({ project, timeUs: T0 + made++, ...more }),
      place: { entryId, index },
    })
    const entry = (entryId: string, events: number) => Array.from({ length: events }, (_, i) => placed(entryId, i))
    const past = (after: LogPlace, to: string, limit = 1000) => store.past({ project, after, to, limit })
    const framesOf = ({ events }: Pick<Past, 'events'>) => events.map(({ frame }) => frame)
    const frames = (events: readonly StoreEvent[]) => events.map(({ frame }) => frame)

    async function readAll(after: LogPlace, to: string, limit: number): Promise<{ frames: string[]; gaps: Past['gap'][] }> {
      const read = { frames: [] as string[], gaps: [] as Past['gap'][] }
      for (let at = after; at.entryId !== to || at.index !== LAST_INDEX; ) {
        const page = await past(at, to, limit)
        expect(page.events.length).toBeLessThanOrEqual(limit)
        if (page.gap) read.gaps.push(page.gap)
        read.frames.push(...framesOf(page))
        expect(page.next).not.toEqual(at)
        at = page.next
      }
      return read
    }

    test('events come back in the order of the log with all that a stream needs, whatever their own times are', async () => {
      const events = [
        placed(`${MS0}-0`, 0, { timeUs: T0 + 5e6, device: 'b c,d=e"f\\' }),
        placed(`${MS0}-0`, 1, { timeUs: -7, device: 'küche 🌡️', eventType: 'humidity' }),
        placed(`${MS0}-1`, 0, { timeUs: T0 - 9e9, device: `x' OR 1=1 --`, eventType: 'contact', data: { contact: { state: 'OPEN' } } }),
        placed(`${MS0 + 3}-0`, 0),
      ]
      await store.write(events, { project, after: '0-0', to: `${MS0 + 3}-0` })
      const found = await past(START, `${MS0 + 3}-0`)
      expect(found).toEqual({
        gap: undefined,
        events: events.map(({ place, device, eventType, timeUs, frame }) => ({ place, device, eventType, timeUs, frame })),
        next: behind(`${MS0 + 3}-0`),
      })
    })

    test('pages follow each other without gap or repeat, also within an entry and a millisecond', async () => {
      const ids = [`${MS0}-0`, `${MS0}-1`, `${MS0}-2`, `${MS0 + 1}-0`, `${MS0 + 900}-0`, `${MS0 + 901}-7`]
      const events = ids.flatMap((id, i) => entry(id, [3, 40, 1, 7, 1, 12][i] as number))
      const to = ids.at(-1) as string
      await store.write(events, { project, after: '0-0', to })
      for (const limit of [1, 5, 64, 100]) expect(await readAll(START, to, limit)).toEqual({ frames: frames(events), gaps: [] })
      for (const at of [0, 2, 3, 42, 43, 62]) {
        const after = (events[at] as StoreEvent).place as LogPlace
        expect((await readAll(after, to, 10)).frames).toEqual(frames(events.slice(at + 1)))
      }
    })

    test('it answers up to the asked entry and no further', async () => {
      const events = [...entry(`${MS0}-0`, 2), ...entry(`${MS0}-1`, 2), ...entry(`${MS0 + 1}-0`, 2)]
      await store.write(events, { project, after: '0-0', to: `${MS0 + 1}-0` })
      expect(await past(START, `${MS0}-0`)).toMatchObject({ events: [{}, {}], next: behind(`${MS0}-0`) })
      expect(framesOf(await past(START, `${MS0}-1`))).toEqual(frames(events.slice(0, 4)))
      expect(await past(behind(`${MS0}-1`), `${MS0}-1`)).toEqual({ events: [], next: behind(`${MS0}-1`) })
    })

    test('the order holds among the many entries that a clock set back leaves in one millisecond', async () => {
      const ids = [0, 1, 998, 999, 1000, 1001, 1999, 2000, 123_456].map(seq => `${MS0}-${seq}`)
      const events = [...ids, `${MS0 + 1}-0`].flatMap(id => entry(id, 2))
      await store.write(events.toReversed(), { project, after: '0-0', to: `${MS0 + 1}-0` })
      for (const limit of [1, 3, 100]) expect(await readAll(START, `${MS0 + 1}-0`, limit)).toEqual({ frames: frames(events), gaps: [] })
    })

    test('an event that came twice has its first place only, a batch written again changes nothing', async () => {
      const first = entry(`${MS0}-0`, 3)
      const again = first.map((event, i) => ({ ...event, place: { entryId: `${MS0 + 5}-0`, index: i + 1 } }))
      const second = [placed(`${MS0 + 5}-0`, 0), ...again, placed(`${MS0 + 5}-0`, 4)]
      const to = `${MS0 + 5}-0`
      await store.write(first, { project, after: '0-0', to: `${MS0}-0` })
      await store.write(second, { project, after: `${MS0}-0`, to })
      const expected = { frames: frames([...first, second[0] as StoreEvent, second[4] as StoreEvent]), gaps: [] }
      expect(await readAll(START, to, 2)).toEqual(expected)
      await store.write(first, { project, after: '0-0', to: `${MS0}-0` })
      await store.write([...first, ...second], { project, after: '0-0', to })
      expect(await readAll(START, to, 2)).toEqual(expected)
      const { events } = await past(START, to)
      expect(events.map(({ place }) => place.index)).toEqual([0, 1, 2, 0, 4])
    })

    test('an event of the history tells when it was accepted, one that was stored without a place does not', async () => {
      const one = placed(`${MS0}-0`, 0)
      const unplaced = { ...placed(`${MS0}-0`, 1, { timeUs: one.timeUs - 1 }), place: undefined }
      await store.write([one, unplaced], { project, after: '0-0', to: `${MS0}-0` })
      const { device } = one
      const events = await store.events({ project, device, fromUs: one.timeUs - 10, toUs: one.timeUs + 10, limit: 10 })
      expect(events.map(({ acceptedMs }) => acceptedMs)).toEqual([MS0, undefined])
    })

    test('an event that came twice in one batch has its first place', async () => {
      const [one] = entry(`${MS0}-0`, 1) as [StoreEvent]
      await store.write([one, { ...one, place: { entryId: `${MS0 + 1}-0`, index: 0 } }], { project, after: '0-0', to: `${MS0 + 1}-0` })
      expect((await past(START, `${MS0 + 1}-0`)).events.map(({ place }) => place)).toEqual([one.place])
    })

    test('an event that was stored without a place gets the one at which it is written again', async () => {
      const events = entry(`${MS0}-0`, 30)
      await store.write(events.slice(0, 20).map(event => ({ ...event, place: undefined })))
      expect((await past(START, `${MS0}-0`)).events).toEqual([])
      expect(await store.write(events, { project, after: '0-0', to: `${MS0}-0` })).toEqual({ stored: 10, duplicates: 20 })
      expect(await readAll(START, `${MS0}-0`, 7)).toEqual({ frames: frames(events), gaps: [] })
    })

    test('what no write has completed is a gap, before, between and after what is known', async () => {
      const [a, b] = [entry(`${MS0 + 10}-0`, 2), entry(`${MS0 + 20}-0`, 2)]
      await store.write(a, { project, after: `${MS0 + 5}-0`, to: `${MS0 + 12}-0` })
      await store.write(b, { project, after: `${MS0 + 15}-0`, to: `${MS0 + 20}-0` })
      const gap = (after: LogPlace, to: string) => ({ after, to: behind(to) })
      expect(await readAll(behind(`${MS0}-0`), `${MS0 + 30}-0`, 3)).toEqual({
        frames: frames([...a, ...b]),
        gaps: [
          gap(behind(`${MS0}-0`), `${MS0 + 5}-0`),
          gap(behind(`${MS0 + 12}-0`), `${MS0 + 15}-0`),
          gap(behind(`${MS0 + 20}-0`), `${MS0 + 30}-0`),
        ],
      })
      expect((await readAll(behind(`${MS0 + 5}-0`), `${MS0 + 12}-0`, 3)).gaps).toEqual([])
      // Within an entry of which nothing is known the rest of it is missing too.
      const half = { entryId: `${MS0 + 5}-0`, index: 3 }
      expect((await readAll(half, `${MS0 + 12}-0`, 3)).gaps).toEqual([gap(half, `${MS0 + 5}-0`)])
      expect((await readAll({ entryId: `${MS0 + 10}-0`, index: 0 }, `${MS0 + 12}-0`, 3)).frames).toEqual(frames(a.slice(1)))
    })

    test('an empty store has a gap and nothing else', async () => {
      const gap = { after: behind(`${MS0}-0`), to: behind(`${MS0 + 9}-0`) }
      expect(await past(gap.after, `${MS0 + 9}-0`)).toEqual({ gap, events: [], next: gap.to })
    })

    test('a stretch of the log without events is no gap', async () => {
      await store.write([], { project, after: '0-0', to: `${MS0}-0` })
      await store.write([], { project, after: `${MS0}-0`, to: `${MS0 + 1}-0` })
      const events = entry(`${MS0 + 2}-0`, 1)
      await store.write(events, { project, after: `${MS0 + 1}-0`, to: `${MS0 + 2}-0` })
      expect(await readAll(START, `${MS0 + 2}-0`, 1)).toEqual({ frames: frames(events), gaps: [] })
    })

    test('a reading that was purged leaves a gap up to the last event that went, and nothing older comes back', async () => {
      const ids = Array.from({ length: 10 }, (_, i) => `${MS0 + i * 100}-0`)
      const events = ids.map((id, i) => placed(id, 0, { timeUs: (MS0 + i * 100) * 1000 }))
      for (const [i, id] of ids.entries()) await store.write(events.slice(i, i + 1), { project, after: ids[i - 1] ?? '0-0', to: id })
      const last = ids.at(-1) as string
      await store.purge(project, (MS0 + 350) * 1000)
      const gap = { after: START, to: behind(ids[3] as string) }
      expect(await readAll(START, last, 4)).toEqual({ frames: frames(events.slice(4)), gaps: [gap] })
      expect((await readAll(behind(ids[3] as string), last, 4)).gaps).toEqual([])
      expect((await readAll(behind(ids[1] as string), last, 4)).gaps).toEqual([{ ...gap, after: behind(ids[1] as string) }])
      const more = placed(`${MS0 + 2000}-0`, 0)
      await store.write([more], { project, after: last, to: `${MS0 + 2000}-0` })
      await store.purge(project, (MS0 + 350) * 1000)
      expect(await readAll(START, `${MS0 + 2000}-0`, 4)).toEqual({ frames: frames([...events.slice(4), more]), gaps: [gap] })
    })

    test('a purge that cuts through what one write completed leaves what was accepted since', async () => {
      const ids = [`${MS0}-0`, `${MS0 + 1}-0`, `${MS0 + 100}-0`]
      const events = ids.map(id => placed(id, 0, { timeUs: MS0 * 1000 }))
      await store.write(events, { project, after: '0-0', to: ids[2] as string })
      await store.purge(project, (MS0 + 50) * 1000)
      expect(await readAll(START, ids[2] as string, 9)).toEqual({
        frames: frames(events.slice(2)),
        gaps: [{ after: START, to: behind(ids[1] as string) }],
      })
    })

    test('late data does not tear holes into the past when it is older than what is kept', async () => {
      const late = placed(`${MS0 + 100}-0`, 0, { timeUs: T0 - 9e12 })
      const events = [placed(`${MS0 + 99}-0`, 0), late, placed(`${MS0 + 101}-0`, 0)]
      await store.write(events, { project, after: '0-0', to: `${MS0 + 101}-0` })
      await store.purge(project, (MS0 - 1000) * 1000)
      expect(await readAll(START, `${MS0 + 101}-0`, 9)).toEqual({ frames: frames(events), gaps: [] })
    })

    test('projects do not see each other', async () => {
      await store.write(entry(`${MS0}-0`, 2), { project, after: '0-0', to: `${MS0}-0` })
      const mine = { project: `${project}-x`, after: START, to: `${MS0}-0`, limit: 9 }
      expect((await store.past(mine)).events).toEqual([])
      await store.purge(`${project}-x`, Number.MAX_SAFE_INTEGER)
      expect((await past(START, `${MS0}-0`)).events).toHaveLength(2)
    })

    test.each([1, 2, 3, 4, 5])('any sequence of writes, repeats and holes answers each event once or tells its gap (%i)', async round => {
      const random = createRandom(`past ${round}`, name)
      const below = (n: number) => Math.floor(random() * n)
      const kept: Placed[] = []
      const holes: [after: string, to: string][] = []
      let last = '0-0'
      for (const batch of batches(below)) {
        const span = { project, after: last, to: batch.at(-1)?.place.entryId ?? last }
        last = span.to
        if (random() < 0.1) holes.push([span.after, span.to])
        else {
          const seen = kept.slice(below(kept.length)).slice(0, 1)
          await store.write([...batch, ...seen.map(event => ({ ...event, place: { entryId: last, index: 900 } }))], span)
          if (random() < 0.2) await store.write(batch, span)
          kept.push(...batch)
        }
      }
      const { frames: found, gaps } = await readAll(START, last, [1, 2, 7, 20, 100][round - 1] as number)
      expect(found).toEqual(frames(kept))
      expect(gaps.map(gap => [gap?.after.entryId, gap?.to.entryId])).toEqual(joined(holes))
    })

    /** Of up to four entries of up to five events, some of them within a millisecond. */
    function batches(below: (n: number) => number): Placed[][] {
      let [ms, seq] = [MS0, 0]
      const next = () => {
        const step = below(3)
        ms += step
        seq = step === 0 ? seq + 1 : 0
        const [id, timeUs] = [`${ms}-${seq}`, ms * 1000]
        return Array.from({ length: 1 + below(5) }, (_, index) => placed(id, index, { timeUs: timeUs + (made % 1000) }))
      }
      return Array.from({ length: 40 }, () => Array.from({ length: 1 + below(4) }, next).flat())
    }
  })
}

function joined(holes: readonly [string, string][]): [string, string][] {
  const all: [string, string][] = []
  for (const [after, to] of holes) {
    const last = all.at(-1)
    if (last?.[1] === after) last[1] = to
    else all.push([after, to])
  }
  return all
}
