// What of the log is what a device reported last: the newest by its own clock where that can be right.
import { describe, expect, it } from 'vitest'
import { formatTime } from '../../packages/core/time.ts'
import type { LogEntry } from '../../packages/log/entry.ts'
import type { ReportedValue } from '../../packages/state/devicereport.ts'
import { reportConsumer } from './report.ts'

const NOW_MS = Date.UTC(2026, 5, 1)
const NOW_US = NOW_MS * 1000
const MINUTE = 60_000_000

function entry(seconds: number, ...events: readonly (readonly [device: string, timeUs: number, value: unknown])[]): LogEntry {
  return {
    id: `${NOW_MS + seconds * 1000}-0`,
    events: events.map(([device, timeUs, value]) => ({
      device,
      eventType: 'temperature',
      timeUs,
      frame: JSON.stringify({ data: { temperature: { value, updateTime: formatTime(Math.max(0, timeUs)) } } }),
    })),
  }
}

/** A consumer, and what it has written last of each device. */
function reporter() {
  const kept = new Map<string, ReportedValue>()
  const consumer = reportConsumer(async (_, values) => {
    for (const value of values) kept.set(value.device, value)
  })
  const take = (...entries: LogEntry[]) => consumer.take('p', entries, { after: '0-0', entries })
  return {
    take,
    value: (device: string) => (kept.get(device)?.data as { value: unknown } | undefined)?.value,
    timeUs: (device: string) => kept.get(device)?.timeUs,
  }
}

describe('what a device reported last', () => {
  it('is the newest of one read, and the later in the log of two at the same time', async () => {
    const { take, value } = reporter()
    await take(entry(0, ['a', NOW_US - 3 * MINUTE, 1], ['a', NOW_US - MINUTE, 3], ['a', NOW_US - 2 * MINUTE, 2]))
    expect(value('a')).toBe(3)
    await take(entry(0, ['a', NOW_US, 1], ['a', NOW_US, 2]))
    expect(value('a')).toBe(2)
  })

  it('is as old as it arrived when the clock is of the future or of 1970', async () => {
    const { take, timeUs } = reporter()
    await take(entry(0, ['a', NOW_US + 86_400 * 1_000_000, 1], ['b', 0, 1]))
    expect([timeUs('a'), timeUs('b')]).toEqual([NOW_US, NOW_US])
    await take(entry(1, ['a', NOW_US + 1_000_000, 2], ['b', 5, 2]))
    expect([timeUs('a'), timeUs('b')]).toEqual([NOW_US + 1_000_000, NOW_US + 1_000_000])
  })

  it('is kept apart for devices named like parts of a program', async () => {
    const { take, value } = reporter()
    await take(entry(0, ['__proto__', NOW_US, 1], ['constructor', NOW_US, 2], ['a b', NOW_US, 3]))
    expect(['__proto__', 'constructor', 'a b', 'toString'].map(value)).toEqual([1, 2, 3, undefined])
  })

  it('has no part in changes of labels', async () => {
    const { take, value } = reporter()
    await take({ id: `${NOW_MS}-0`, events: [{ device: 'a', eventType: 'labelsChanged', timeUs: NOW_US, frame: '{"data":{}}' }] })
    expect(value('a')).toBeUndefined()
  })
})
