// What each device reported last: the newest by its own clock where that can be right, and never an older one again.
import { describe, expect, it } from 'vitest'
import { formatTime } from '../../packages/core/time.ts'
import type { LogEntry } from '../../packages/log/entry.ts'
import type { CommitCommand } from '../../packages/log/log.ts'
import { parseReported } from '../../packages/state/device.ts'
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

/** A consumer over a registry that is kept here. */
function reporter(paths: readonly string[] = []) {
  const kept = new Map<string, string>()
  let reads = 0
  const consumer = reportConsumer({
    read: async (_, wanted) => {
      reads++
      return [...wanted].map(([device, types]) => types.map(type => kept.get(`${device}\t${type}`) ?? null))
    },
    paths: async () => paths,
  })
  const take = async (...entries: LogEntry[]) => {
    const commands: CommitCommand[] = await consumer.take('p', entries, { after: '0-0', entries })
    for (const [, key, type, value] of commands) kept.set(`${key.split(':reported:')[1]}\t${type}`, String(value))
  }
  const value = (device: string) => {
    const row = kept.get(`${device}\ttemperature`)
    return row === undefined ? undefined : (parseReported(row).data as { value: unknown }).value
  }
  return { consumer, take, value, reads: () => reads }
}

describe('what a device reported last', () => {
  it('is the newest of one read and of several', async () => {
    const { take, value } = reporter()
    await take(entry(0, ['a', NOW_US - 3 * MINUTE, 1], ['a', NOW_US - MINUTE, 3], ['a', NOW_US - 2 * MINUTE, 2]))
    expect(value('a')).toBe(3)
    await take(entry(1, ['a', NOW_US - 2 * MINUTE, 9]))
    expect(value('a')).toBe(3)
  })

  it('never goes back to an older one, also when it has been forgotten', async () => {
    const { consumer, take, value, reads } = reporter()
    await take(entry(0, ['a', NOW_US, 1]))
    await take(entry(0, ['a', NOW_US - 1, 0]))
    expect(reads()).toBe(1)
    consumer.forget('p')
    await take(entry(1, ['a', NOW_US - MINUTE, 0]))
    expect([value('a'), reads()]).toEqual([1, 2])
  })

  it('is the later in the log of two at the same time', async () => {
    const { take, value } = reporter()
    await take(entry(0, ['a', NOW_US, 1], ['a', NOW_US, 2]))
    await take(entry(1, ['a', NOW_US, 3]))
    expect(value('a')).toBe(3)
  })

  it('cannot be pushed aside by a clock of the future or of 1970', async () => {
    const { take, value } = reporter()
    await take(entry(0, ['a', NOW_US + 86_400 * 1_000_000, 1], ['b', 0, 1]))
    expect([value('a'), value('b')]).toEqual([1, 1])
    await take(entry(1, ['a', NOW_US + 1_000_000, 2], ['b', 5, 2]))
    expect([value('a'), value('b')]).toEqual([2, 2])
  })

  it('is kept apart for devices named like parts of a program', async () => {
    const { take, value } = reporter()
    await take(entry(0, ['__proto__', NOW_US, 1], ['constructor', NOW_US, 2], ['a b', NOW_US, 3]))
    expect(['__proto__', 'constructor', 'a b', 'toString'].map(value)).toEqual([1, 2, 3, undefined])
  })

  it('is put in order by the fields that somebody orders by, and taken out when it lacks them', async () => {
    const { consumer } = reporter(['temperature.value', 'co2.ppm'])
    const entries = [entry(0, ['a', NOW_US, 4], ['b', NOW_US, null], ['c', NOW_US, 'warm'], ['a', NOW_US + 1, 5])]
    const commands = await consumer.take('p', entries, { after: '0-0', entries })
    expect(commands.filter(([name]) => name !== 'HSET')).toEqual([
      ['ZADD', 't:{p}:order:temperature.value', 5, 'a', expect.any(Number), 'c'],
      ['ZREM', 't:{p}:order:temperature.value', 'b'],
    ])
  })

  it('has no part in changes of labels', async () => {
    const { consumer } = reporter()
    const relabelled = { id: `${NOW_MS}-0`, events: [{ device: 'a', eventType: 'labelsChanged', timeUs: NOW_US, frame: '{"data":{}}' }] }
    expect(await consumer.take('p', [relabelled], { after: '0-0', entries: [relabelled] })).toEqual([])
  })
})
