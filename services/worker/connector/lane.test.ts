// The lane from the log: order, places to begin again with, filters, and gaps.
import { describe, expect, it } from 'vitest'
import type { LogEntry } from '../../../packages/log/entry.ts'
import { LogLane, type LogLanePorts } from './lane.ts'

const entry = (id: string, ...types: string[]): LogEntry => ({
  id,
  events: types.map((eventType, i) => ({ device: 'd', eventType, timeUs: 0, frame: `${id}/${i}` })),
})
const LOG = [entry('1-0', 'a', 'b', 'a'), entry('2-0', 'b'), entry('3-0', 'a', 'a')]

function lane(place: string, more: Partial<LogLanePorts> = {}): LogLane {
  const read = async (after: string) => ({ entries: LOG.filter(({ id }) => id > after), gone: undefined })
  return new LogLane({ prefix: 'l', read, wants: () => true, missed: () => undefined, until: undefined, ...more }, place)
}

/** Everything that is handed out, each with the place after it. */
function handedOut(lane: LogLane): [frame: string, place: string][] {
  const all: [string, string][] = []
  for (let item = lane.next(); item; item = lane.next()) all.push([item.frame, lane.place()])
  return all
}

describe('a lane', () => {
  it('hands out what follows its place, in order, and goes on after any of it', async () => {
    const whole = lane('0-0')
    await whole.fill()
    const all = handedOut(whole)
    expect(all.map(([frame]) => frame)).toEqual(['1-0/0', '1-0/1', '1-0/2', '2-0/0', '3-0/0', '3-0/1'])
    for (const [i, [, place]] of all.entries()) {
      const rest = lane(place)
      await rest.fill()
      expect(handedOut(rest), place).toEqual(all.slice(i + 1))
    }
  })

  it('moves its place past what is not wanted', async () => {
    const filtered = lane('0-0', { wants: eventType => eventType === 'c' })
    await filtered.fill()
    expect([filtered.next(), filtered.place()]).toEqual([undefined, '3-0'])
  })

  it('that has an end comes to it', async () => {
    const part = lane('0-0', { prefix: 'r', until: '2-0' })
    expect(part.ended()).toBe(false)
    await part.fill()
    expect(handedOut(part)).toHaveLength(4)
    expect(part.ended()).toBe(true)
  })

  it('looks again when there is more, also when it is told so while it reads', async () => {
    const live = lane('3-0')
    await live.fill()
    expect(live.wantsMore()).toBe(false)
    live.ring()
    expect(live.wantsMore()).toBe(true)
    const reading = live.fill()
    live.ring()
    await reading
    expect(live.wantsMore()).toBe(true)
  })

  it('says once what is gone, and goes on behind it', async () => {
    const gaps: string[][] = []
    const read = async (after: string) => ({ entries: [], gone: after < '9-0' ? '9-0' : undefined })
    const late = lane('0-0', { read, missed: (...gap) => gaps.push(gap) })
    await late.fill()
    late.ring()
    await late.fill()
    expect([gaps, late.place()]).toEqual([[['0-0', '9-0']], '9-0'])
  })
})
