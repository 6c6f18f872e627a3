// One timer for the pings of all streams: each at once and then at its own interval.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { KeepingSink } from './fixture.ts'
import { Frames } from './frame.ts'
import { Pings } from './ping.ts'

const frames = new Frames('p', 'event', { nowUs: () => 0, newId: () => 'ping' }, 'key')

const unknown = () => undefined

describe('pings', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('come at once and then at the interval of each stream, without drift', () => {
    const pings = new Pings()
    const start = performance.now()
    const [often, seldom] = [new KeepingSink(), new KeepingSink()]
    const times: number[] = []
    const write = often.write.bind(often)
    often.write = bytes => {
      times.push(performance.now() - start)
      write(bytes)
    }
    pings.add(often, frames, 1000, unknown)
    vi.advanceTimersByTime(130)
    const stop = pings.add(seldom, frames, 10_000, unknown)
    expect([often.events.length, seldom.events.length]).toEqual([1, 1])
    vi.advanceTimersByTime(60_000)
    expect([often.events.length, seldom.events.length]).toEqual([61, 7])
    for (const [i, ms] of times.entries()) expect(Math.abs(ms - i * 1000)).toBeLessThanOrEqual(400)
    stop()
    vi.advanceTimersByTime(60_000)
    expect(seldom.events.length).toBe(7)
  })

  it('leave no timer behind when the last stream is gone', () => {
    const pings = new Pings()
    const stops = [pings.add(new KeepingSink(), frames, 1000, unknown), pings.add(new KeepingSink(), frames, 1000, unknown)]
    expect(vi.getTimerCount()).toBe(1)
    for (const stop of [...stops, ...stops]) stop()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('say how far a stream has come, in the same bytes to all that have come as far', () => {
    const pings = new Pings()
    const sinks = ['1-0', '1-0', '2-0', undefined].map(place => {
      const sink = new KeepingSink()
      const written: Buffer[] = []
      sink.write = bytes => void written.push(bytes)
      pings.add(sink, frames, 1000, () => place && frames.cursor(place, 999_999))
      return written
    })
    vi.advanceTimersByTime(1200)
    const cursors = sinks.map(written => written.map(bytes => JSON.parse(bytes.toString()).result.cursor))
    const [one, other] = [frames.cursor('1-0', 999_999), frames.cursor('2-0', 999_999)]
    expect(cursors).toEqual([
      [one, one],
      [one, one],
      [other, other],
      [undefined, undefined],
    ])
    expect(sinks[1]?.[1]).toBe(sinks[0]?.[1])
  })

  it('are the same bytes for all that are due together, and none for whoever reads nothing', () => {
    const pings = new Pings()
    const written: Buffer[] = []
    for (let i = 0; i < 3; i++) {
      const sink = new KeepingSink()
      sink.write = bytes => void written.push(bytes)
      pings.add(sink, frames, 1000, unknown)
    }
    const full = new KeepingSink()
    pings.add(full, frames, 1000, unknown)
    full.full = true
    vi.advanceTimersByTime(1200)
    expect(written).toHaveLength(6)
    expect(written[4]).toBe(written[3])
    expect(written[5]).toBe(written[3])
    expect(full.events).toHaveLength(1)
  })
})
