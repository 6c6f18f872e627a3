// Receipts: the events of many changes are found with few questions to the store, and nothing is asked that cannot be there.
import { describe, expect, test } from 'vitest'
import type { HistoryRecord } from '../../packages/core/chain.ts'
import { formatTime } from '../../packages/core/time.ts'
import type { EventQuery, EventRecord } from '../../packages/store/store.ts'
import { OneByOne } from './onebyone.ts'
import { receiptsOf } from './receipt.ts'

const MINUTE_US = 60_000_000
const NOW_US = Date.UTC(2026, 5, 1) * 1000

/** A store with one event a minute, of which only reading is asked. */
function storeOf(count: number) {
  const queries: EventQuery[] = []
  const all: EventRecord[] = Array.from({ length: count }, (_, i) => ({
    timeUs: NOW_US - i * MINUTE_US,
    eventId: `e${i}`,
    eventType: 'temperature',
    frame: '',
  }))
  const events = async (query: EventQuery) => {
    queries.push(query)
    return all.filter(({ timeUs }) => timeUs >= query.fromUs && timeUs < query.toUs).slice(0, query.limit)
  }
  return { queries, events }
}

const change = (seq: number, eventId: string, minutesAgo: number): HistoryRecord =>
  ({
    seq,
    kind: 'active',
    episode: seq,
    device: 'd',
    eventId,
    changeId: `c${seq}`,
    time: formatTime(NOW_US),
    at: formatTime(NOW_US - minutesAgo * MINUTE_US),
    since: formatTime(NOW_US - minutesAgo * MINUTE_US),
  }) as HistoryRecord

async function receipts(store: ReturnType<typeof storeOf>, records: readonly HistoryRecord[], retentionMs = 0) {
  const outbox = { told: async () => records.map(() => []), delivery: async () => undefined }
  return receiptsOf({ outbox, store, retentionMs }, 'p', records, records, NOW_US)
}

describe('receipts', () => {
  test('find each event where it should be, and others among those before, by few questions', async () => {
    const store = storeOf(6000)
    // Half of them began long before: an hour of `for`.
    const records = Array.from({ length: 50 }, (_, i) => change(i, `e${i * 20 + (i % 2) * 60}`, i * 20))
    const found = await receipts(store, records)
    expect(found.map(({ event }) => event?.timestamp)).toEqual(
      records.map((_, i) => formatTime(NOW_US - (i * 20 + (i % 2) * 60) * MINUTE_US)),
    )
    expect(store.queries.length).toBeLessThan(60)
  })

  test('of events that are nowhere ask no more than ten pages besides one question for each', async () => {
    const store = storeOf(20_000)
    const found = await receipts(
      store,
      Array.from({ length: 50 }, (_, i) => change(i, `no${i}`, i * 20)),
    )
    expect(found.every(({ event }) => event?.stored === false)).toBe(true)
    expect(store.queries.length).toBeLessThanOrEqual(60)
  })

  test('ask for nothing that is older than what is kept', async () => {
    const store = storeOf(6000)
    const [first, second] = await receipts(store, [change(1, 'gone', 30), change(2, 'older', 120)], 60 * 60_000)
    expect([first?.event?.stored, second?.event?.stored]).toEqual([false, false])
    expect(Math.min(...store.queries.map(({ fromUs }) => fromUs))).toBe(NOW_US - 60 * MINUTE_US)
    expect(store.queries.length).toBe(2)
  })
})

test('one after the other, the next also after a failure, and not without end', async () => {
  const turns = new OneByOne()
  const done: string[] = []
  let release = () => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  const first = turns.within('p', () => held.then(() => Promise.reject(new Error('no'))))
  const others = Array.from({ length: 19 }, (_, i) => turns.within('p', async () => void done.push(`p${i}`)))
  await expect(turns.within('p', async () => {})).rejects.toMatchObject({ code: 'too_many' })
  await turns.within('q', async () => void done.push('q'))
  expect(done).toEqual(['q'])
  release()
  await expect(first).rejects.toThrow('no')
  await Promise.all(others)
  expect(done).toEqual(['q', ...others.map((_, i) => `p${i}`)])
  await turns.within('p', async () => void done.push('last'))
  expect(done.at(-1)).toBe('last')
})
