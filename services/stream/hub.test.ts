// The hub on a real log: whoever joins when and from where gets each of its events once and in order (P4).
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { LogEntry } from '../../packages/log/entry.ts'
import { batchOf, freshProject, installed, openTestRedis, type TestRedis, until } from '../../packages/log/fixture.ts'
import { type Follower, Followers } from '../../packages/log/follow.ts'
import { Log } from '../../packages/log/log.ts'
import { Devices } from '../../packages/state/device.ts'
import { DeviceCache } from '../../packages/state/devicecache.ts'
import type { Filter } from './filter.ts'
import { KeepingSink, openTestHub } from './fixture.ts'
import type { HubPorts, Joined, Wants } from './hub.ts'
import { Past } from './past.ts'
import { Turns } from './turn.ts'

/** mulberry32. */
function dice(seed: number): (sides: number) => number {
  let state = seed
  return sides => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % sides
  }
}

const everything: Filter = {
  deviceIds: undefined,
  deviceTypes: undefined,
  eventTypes: undefined,
  productNumbers: undefined,
  labels: [],
  labelMatch: 'all',
}

const whole: Wants = { filter: undefined, policy: 'disconnect' }

/** Every third event is of device b, the only one that a filter names. */
function wantedOf(sent: readonly string[], filter: Filter | undefined): string[] {
  return sent.filter(id => filter?.deviceIds === undefined || Number(id.split('.')[1]) % 3 === 1)
}

describe.skipIf(installed === undefined)('a hub', () => {
  let server: TestRedis
  let log: Log
  let devices: Devices
  let project: string
  beforeAll(async () => {
    server = await openTestRedis()
    log = new Log(server.redis, [])
    devices = new Devices(server.redis)
  })
  beforeEach(() => {
    project = freshProject()
  })
  afterAll(() => server.stop())

  const openHub = (change: Partial<HubPorts> = {}) => openTestHub(server, log, devices, project, change)

  /** Events `n.0`, `n.1` … of devices a, b, c in turn. */
  const append = async (name: string, count: number) => {
    const events = Array.from({ length: count }, (_, i) => ({ device: 'abc'[i % 3] as string, timeUs: 1, id: `${name}.${i}` }))
    const { entryId } = await log.append(project, batchOf(project, events))
    return { ids: events.map(({ id }) => id), entryId: entryId as string }
  }

  it.each([1, 2, 3, 4])('gives each subscriber its events once, in order, however it comes and goes, with seed %i', async seed => {
    const roll = dice(seed)
    await devices.register(
      project,
      ['a', 'b', 'c'].map(id => [id, 'temperature'] as const),
    )
    // Two processes that serve the same project and are not equally quick.
    const hubs = await Promise.all([openHub(), openHub()])
    const sent: string[] = []
    const filters: (Filter | undefined)[] = [
      undefined,
      { ...everything, deviceIds: new Set(['b']) },
      { ...everything, deviceTypes: new Set(['temperature']) },
    ]
    type Reader = { sink: KeepingSink; got: string[]; filter: Filter | undefined; last: string | undefined; joined: Joined }
    const readers: Reader[] = []
    const connect = async (reader: Pick<Reader, 'got' | 'filter'>, cursor: string | undefined) => {
      const { hub, frames } = hubs[roll(2)] as (typeof hubs)[number]
      const sink = new KeepingSink()
      const joined = hub.join(
        sink,
        { filter: reader.filter, policy: 'disconnect' },
        cursor === undefined ? { entryId: '0-0', index: -1 } : frames.parseCursor(cursor),
      )
      await joined.caughtUp
      return { ...reader, sink, last: cursor, joined }
    }
    const disturb = async (reader: Reader) => {
      if (roll(3) === 0) reader.sink.full = true
      if (roll(3) !== 0) return
      reader.sink.closed = true
      // What a ping would say, or the last event.
      const reached = roll(2) === 0 ? reader.joined.reached() : undefined
      reader.joined.leave()
      const { cursor, events } = reader.sink
      const from = reached && hubs[0].frames.cursor(reached.entryId, reached.index)
      Object.assign(reader, await connect({ got: [...reader.got, ...events], filter: reader.filter }, from ?? cursor ?? reader.last))
    }
    for (let i = 0; i < 120; i++) {
      const appended = append(`${i}`, 1 + roll(6)).then(({ ids }) => void sent.push(...ids))
      if (roll(3) === 0) await appended
      if (roll(6) === 0) readers.push(await connect({ got: [], filter: filters[roll(3)] }, undefined))
      const one = readers[roll(readers.length + 1)]
      if (one) await disturb(one)
      await appended
    }
    for (const { sink, got, filter } of readers) {
      const due = wantedOf(sent, filter)
      const all = () => [...got, ...sink.events]
      await until(`${due.length} events`, () => all().length >= due.length)
      expect(all()).toEqual(due)
    }
    expect(readers.length).toBeGreaterThan(5)
  })

  it('repeats nothing to a subscriber whose cursor is ahead of its own reading', async () => {
    let arrived: Follower['arrived'] = () => Promise.reject(new Error('not started'))
    const { hub, frames } = await openHub({
      follow: async follower => {
        arrived = follower.arrived
        return { position: () => '0-0', stop: async () => {} }
      },
    })
    const [first, second, third] = [await append('1', 3), await append('2', 3), await append('3', 3)]
    const sink = new KeepingSink()
    await hub.join(sink, whole, frames.parseCursor(frames.cursor(second.entryId, 1))).caughtUp
    expect(sink.events).toEqual(['2.2'])
    sink.full = true
    for (const { entryId } of [first, second, third])
      await arrived(await log.read(project, '0-0', 10).then(all => all.filter(({ id }) => id === entryId)))
    await until('the third', () => sink.events.length >= 4)
    expect(sink.events).toEqual(['2.2', '3.0', '3.1', '3.2'])
  })

  it('says what is gone to whoever comes back too late, and goes on after it', async () => {
    const [first, , third, fourth] = [await append('1', 1), await append('2', 1), await append('3', 1), await append('4', 1)]
    await log.trim(project, fourth.entryId)
    const { hub, frames } = await openHub()
    const sink = new KeepingSink()
    await hub.join(sink, whole, frames.parseCursor(frames.cursor(first.entryId, 0))).caughtUp
    expect(sink.events).toEqual([`gap ${first.entryId} ${third.entryId}`, '4.0'])
  })

  it('says from where on an entry is gone of which a reader has had a part', async () => {
    const [first, second] = [await append('1', 5), await append('2', 1)]
    await log.trim(project, second.entryId)
    const { hub } = await openHub()
    const gaps: unknown[] = []
    const sink = new KeepingSink()
    sink.gap = (after, to) => void gaps.push({ after, to })
    await hub.join(sink, whole, { entryId: first.entryId, index: 2 }).caughtUp
    expect(gaps).toEqual([{ after: { entryId: first.entryId, index: 2 }, to: first.entryId }])
    expect(sink.events).toEqual(['2.0'])
  })

  it('asks for labels anew where nothing tells that they change, as in the stream of alarms', async () => {
    await devices.register(project, [['a', 'temperature']])
    const { hub } = await openHub({ toldOfChanges: false, devices: new DeviceCache(devices, project, 0) })
    const [cold, others] = [new KeepingSink(), new KeepingSink()]
    const labelled: Filter = { ...everything, labels: [{ key: 'zone', value: 'cold' }] }
    await hub.join(cold, { filter: labelled, policy: 'disconnect' }, undefined).caughtUp
    await hub.join(others, whole, undefined).caughtUp
    const seen: number[] = []
    for (const [add, remove] of [
      [{}, []],
      [{ zone: 'cold' }, []],
      [{ zone: 'warm' }, []],
      [{ zone: 'cold' }, []],
      [{}, ['zone']],
    ] as const) {
      await devices.relabel(project, 'a', add, remove)
      const before = others.events.length
      await append(`${before}`, 1)
      await until('all but the labels have it', () => others.events.length > before)
      seen.push(cold.events.length)
    }
    expect(seen).toEqual([0, 1, 1, 2, 2])
  })

  it('serves those who join with a filter of labels while it asks for those of others', async () => {
    await devices.register(project, [['a', 'temperature']])
    await devices.relabel(project, 'a', { zone: 'cold' }, [])
    const cache = new DeviceCache(devices, project)
    let meanwhile = async () => {}
    const load = cache.load.bind(cache)
    cache.load = async ids => {
      const loaded = await load(ids)
      await meanwhile()
      return loaded
    }
    const { hub } = await openHub({ devices: cache })
    const [first, second] = [new KeepingSink(), new KeepingSink()]
    const wants: Wants = { filter: { ...everything, labels: [{ key: 'zone', value: undefined }] }, policy: 'disconnect' }
    await hub.join(first, wants, undefined).caughtUp
    meanwhile = async () => {
      meanwhile = async () => {}
      await hub.join(second, { ...wants, filter: { ...everything, deviceTypes: new Set(['temperature']) } }, undefined).caughtUp
    }
    await append('1', 1)
    await until('the first', () => first.events.length === 1)
    expect(second.events).toEqual(['1.0'])
  })

  it('serves those who join at the last moment before it routes what arrived', async () => {
    await devices.register(project, [['a', 'temperature']])
    const cache = new DeviceCache(devices, project)
    let loaded = () => {}
    const load = cache.load.bind(cache)
    cache.load = async ids => {
      const devices = await load(ids)
      loaded()
      return devices
    }
    const { hub } = await openHub({ devices: cache })
    const wants = (type: string): Wants => ({
      filter: { ...everything, deviceTypes: new Set(['temperature', type]) },
      policy: 'disconnect',
    })
    const first = new KeepingSink()
    hub.join(first, wants('0'), undefined)
    const late: { readonly sink: KeepingSink; readonly reached: string | undefined }[] = []
    loaded = () => {
      loaded = () => {}
      const join = (depth: number) => {
        const sink = new KeepingSink()
        const joined = hub.join(sink, wants(`${depth}`), undefined)
        late.push({ sink, reached: joined.reached()?.entryId })
        if (depth < 10) queueMicrotask(() => join(depth + 1))
      }
      join(1)
    }
    const { entryId } = await append('1', 1)
    await until('the first', () => first.events.length === 1)
    expect(late).toHaveLength(10)
    for (const { sink, reached } of late) expect(sink.events).toEqual(reached === entryId ? [] : ['1.0'])
  })

  it('tells those whom nothing concerns how far they have come, and nobody who is not there', async () => {
    const { hub } = await openHub()
    const [quiet, slow] = [new KeepingSink(), new KeepingSink()]
    const never = { ...everything, eventTypes: new Set(['never']) }
    const joined = hub.join(quiet, { filter: never, policy: 'disconnect' }, undefined)
    const dropping = hub.join(slow, { filter: undefined, policy: 'drop' }, undefined)
    slow.drained = () => new Promise(() => {})
    slow.full = true
    const { entryId } = await append('1', 2)
    await until('it has gone by', () => joined.reached()?.entryId === entryId)
    expect(quiet.events).toEqual([])
    expect(dropping.reached()).toBeUndefined()
    joined.leave()
    expect(joined.reached()).toBeUndefined()
  })

  it('loses nothing that comes while it reads a log of which all is gone', async () => {
    const [first, second] = [await append('1', 1), await append('2', 1)]
    let late: string | undefined
    const past = new Past(log, project, 'log', { log: new Turns(1), store: new Turns(1) })
    const { hub, frames } = await openHub({
      read: (after, upTo, reader) =>
        past.read(after, upTo, {
          full: false,
          take: async chunk => {
            if (late === undefined) {
              late = (await append('3', 1)).entryId
              await until('live delivery', () => watcher.events.includes('3.0'))
            }
            return reader.take(chunk)
          },
        }),
    })
    await log.trim(project, '99999999999999-0')
    const watcher = new KeepingSink()
    await hub.join(watcher, whole, undefined).caughtUp
    const sink = new KeepingSink()
    await hub.join(sink, whole, frames.parseCursor(frames.cursor(first.entryId, 0))).caughtUp
    await until('the new one', () => sink.events.includes('3.0'))
    expect(sink.events).toEqual([`gap ${first.entryId} ${second.entryId}`, '3.0'])
  })

  it('says to live subscribers what it missed while it was frozen', async () => {
    const first = await append('1', 1)
    let thaw = () => {}
    let isFrozen = false
    const frozen = new Promise<void>(resolve => {
      thaw = resolve
    })
    const { hub } = await openHub({
      follow: follower => {
        const arrived = async (entries: readonly LogEntry[]) => {
          isFrozen = true
          await frozen
          await follower.arrived(entries)
        }
        const followers = new Followers({ log, connect: () => server.connect(), troubled: () => {} })
        return followers.follow(project, 'log', { ...follower, arrived }, first.entryId)
      },
    })
    const sink = new KeepingSink()
    hub.join(sink, whole, undefined)
    const before = await append('2', 1)
    await until('it is frozen, with that in its hands', () => isFrozen)
    const missed = await append('3', 1)
    const next = await append('4', 1)
    await log.trim(project, next.entryId)
    thaw()
    await until('all', () => sink.events.includes('4.0'))
    expect(sink.events).toEqual(['2.0', `gap ${before.entryId} ${missed.entryId}`, '4.0'])
  })

  it('ends its readers when it cannot go on, and whoever is not there is not asked', async () => {
    let stuck = () => {}
    const { hub } = await openHub({
      follow: async follower => {
        stuck = () => follower.stuck?.(new Error('nothing is read'))
        return { position: () => '0-0', stop: async () => {} }
      },
    })
    const [sink, gone] = [new KeepingSink(), new KeepingSink()]
    hub.join(sink, whole, undefined)
    hub.join(gone, whole, undefined).leave()
    stuck()
    expect([sink.closed, gone.closed]).toEqual([true, false])
  })

  it('sends the same bytes to all who want everything', async () => {
    const { hub } = await openHub()
    const chunks: Buffer[] = []
    for (let i = 0; i < 3; i++) {
      const sink = new KeepingSink()
      sink.write = chunk => void chunks.push(chunk)
      await hub.join(sink, whole, undefined).caughtUp
    }
    await append('1', 5)
    await until('all three', () => chunks.length === 3)
    expect(chunks[1]).toBe(chunks[0])
    expect(chunks[2]).toBe(chunks[0])
  })

  it('has those who left and those who are closed in nobody’s way', async () => {
    const { hub } = await openHub()
    const [gone, closed, there] = [new KeepingSink(), new KeepingSink(), new KeepingSink()]
    const { leave } = hub.join(gone, whole, undefined)
    await hub.join(closed, whole, undefined).caughtUp
    await hub.join(there, whole, undefined).caughtUp
    leave()
    closed.end()
    await append('1', 2)
    await until('the one that is there', () => there.events.length === 2)
    expect([gone.events, closed.events]).toEqual([[], []])
  })
})
