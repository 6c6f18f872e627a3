// What is connected to a process, and when that is said: by a clock of the test's own.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { DEVICE_STREAM, isLive, Presence, parsePresent } from './presence.ts'

const START_MS = 1_800_000_000_000

describe('presence', () => {
  let elapsedMs: number
  let presence: Presence
  let inRedis: Set<string>
  beforeEach(() => {
    inRedis = new Set()
    elapsedMs = 0
    vi.spyOn(performance, 'now').mockImplementation(() => elapsedMs)
    presence = new Presence(START_MS)
  })
  afterEach(() => void vi.restoreAllMocks())

  /** What is said now, which Redis then has. */
  function say(): Record<string, string> {
    const changes = presence.take()
    if (changes.anew) inRedis.clear()
    for (const [field] of changes.put) inRedis.add(field)
    for (const field of changes.removed) inRedis.delete(field)
    presence.kept(changes, inRedis.size, presence.nowMs())
    return Object.fromEntries([...changes.put, ...changes.removed.map(field => [field, 'removed'] as const)])
  }
  it('says what is produced without a connection once in five seconds, and the last of it in any case', () => {
    presence.produced('p', 'log')
    expect(say()).toEqual({ 'p/log': `${START_MS} ${START_MS} 0 0` })
    for (elapsedMs = 1; elapsedMs < 5000; elapsedMs += 100) {
      presence.produced('p', 'log')
      expect(say()).toEqual({})
    }
    elapsedMs = 5000
    expect(say()).toEqual({ 'p/log': `${START_MS} ${START_MS + 4901} 0 0` })
    elapsedMs = 20_000
    expect(say()).toEqual({})
  })

  it.each([
    ['log', 30_000],
    [DEVICE_STREAM, 300_000],
  ])('keeps %s published for a while after the last, and no longer', (stream, lingerMs) => {
    presence.produced('p', stream)
    const said = parsePresent(Object.values(say())[0] ?? '')
    elapsedMs = lingerMs - 1
    expect([say(), isLive(said, stream, presence.nowMs())]).toEqual([{}, true])
    elapsedMs = lingerMs
    expect([say(), isLive(said, stream, presence.nowMs())]).toEqual([{ [`p/${stream}`]: 'removed' }, false])
    presence.produced('p', stream)
    expect(say()).toEqual({ [`p/${stream}`]: `${START_MS + lingerMs} ${START_MS + lingerMs} 0 0` })
  })

  it('keeps the beginning while one of several producers is connected, and begins anew afterwards', () => {
    const leave = presence.connected('p', 'cam')
    elapsedMs = 60_000
    const leaveToo = presence.connected('p', 'cam')
    leave()
    leave()
    expect(say()).toEqual({ 'p/cam': `${START_MS} 0 1 0` })
    leaveToo()
    const unfollow = presence.followed('p', 'cam')
    expect(say()).toEqual({ 'p/cam': '0 0 0 1' })
    presence.connected('p', 'cam')
    unfollow()
    expect(say()).toEqual({ 'p/cam': `${START_MS + 60_000} 0 1 0` })
  })

  it('says again what could not be said, and everything when Redis has less than it was told', () => {
    for (const name of ['a', 'b']) presence.connected('p', name)
    presence.lost(presence.take())
    expect(Object.keys(say())).toEqual(['p/a', 'p/b'])
    expect(say()).toEqual({})
    expect(presence.kept({ put: [], removed: [], anew: false }, 1, presence.nowMs())).toBe(true)
    expect(presence.take().put).toHaveLength(2)
  })

  it.each(['lost everything', 'kept what is gone'])('comes to an end of thousands of streams when Redis has %s', how => {
    const leaves = Array.from({ length: 3000 }, (_, i) => presence.connected('p', `stream-${i}`))
    for (let beat = 0; beat < 3; beat++) say()
    if (how === 'lost everything') inRedis.clear()
    else {
      inRedis.add('p/ghost')
      for (const leave of leaves.splice(0, 2999)) leave()
    }
    for (let beat = 0; beat < 5; beat++) say()
    expect([inRedis.size, say()]).toEqual([leaves.length, {}])
    presence.kept({ put: [], removed: [], anew: false }, 0, presence.nowMs())
    presence.lost(presence.take())
    expect(presence.take().anew).toBe(true)
  })

  it('adds those whom somebody else counts, and forgets them when they are gone', () => {
    const others: (readonly [string, string, number])[] = [
      ['p', 'cam', 2],
      ['p', 'cam', 1],
      ['p', 'log', 0],
    ]
    presence = new Presence(START_MS, () => others)
    const leave = presence.followed('p', 'cam')
    expect(say()).toMatchObject({ 'p/cam': '0 0 0 4' })
    expect([say(), presence.connections]).toEqual([{}, 4])
    others.splice(0, 1)
    expect(say()).toEqual({ 'p/cam': '0 0 0 2' })
    others.length = 0
    leave()
    expect(say()).toEqual({ 'p/cam': 'removed' })
  })

  it('goes by the clock of Redis', () => {
    presence.kept({ put: [], removed: [], anew: false }, 0, START_MS + 1234)
    expect(presence.nowMs()).toBe(START_MS + 1234)
  })
})
