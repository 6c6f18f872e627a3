// Slow readers: what each policy gives them, what they may hold of memory, and that nobody else notices (P5, hazard 37).
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { batchOf, freshProject, installed, openTestRedis, type Sent, type TestRedis, until } from '../../packages/log/fixture.ts'
import { Log } from '../../packages/log/log.ts'
import { Devices } from '../../packages/state/device.ts'
import { KeepingSink, openTestHub } from './fixture.ts'
import type { Cursor } from './frame.ts'
import type { HubPorts, Policy } from './hub.ts'
import { Past } from './past.ts'
import { Turns } from './turn.ts'

const CAPACITY = 20_000

/** Takes so many bytes and then nothing, until it is told to read on. */
class JammedSink extends KeepingSink {
  unread = 0
  mostUnread = 0
  readonly gaps: { readonly after: Cursor | string; readonly to: string }[] = []
  ended: string | undefined
  #capacity = CAPACITY
  #waiting: (() => void)[] = []

  override write(bytes: Buffer): void {
    super.write(bytes)
    this.unread += bytes.length
    this.mostUnread = Math.max(this.mostUnread, this.unread)
    this.full = this.unread > this.#capacity
  }

  override gap(after: Cursor | string, to: string): void {
    this.gaps.push({ after, to })
  }

  override drained(): Promise<void> {
    return this.full && !this.closed ? new Promise(resolve => this.#waiting.push(resolve)) : Promise.resolve()
  }

  override end(_code?: number, _status?: string, message?: string): void {
    this.ended = message
    this.closed = true
  }

  /** Reads on; `capacity` is what it then takes before it is full again. */
  read(capacity = Number.POSITIVE_INFINITY): void {
    this.#capacity = capacity
    this.unread = 0
    this.full = false
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  get isWaited(): boolean {
    return this.#waiting.length > 0
  }
}

describe.skipIf(installed === undefined)('a slow reader', () => {
  let server: TestRedis
  let log: Log
  let devices: Devices
  let project: string
  let sent: string[]
  let watcher: KeepingSink
  beforeAll(async () => {
    server = await openTestRedis()
    log = new Log(server.redis, [])
    devices = new Devices(server.redis)
  })
  beforeEach(() => {
    project = freshProject()
    sent = []
    watcher = new KeepingSink()
  })
  afterAll(() => server.stop())

  const open = async (change: Partial<HubPorts> = {}) => {
    const { hub, frames } = await openTestHub(server, log, devices, project, change)
    const join = (sink: KeepingSink, policy: Policy, from?: Cursor) => hub.join(sink, { filter: undefined, policy }, from).caughtUp
    await join(watcher, 'disconnect')
    return { join, frames }
  }

  const padding = 'x'.repeat(1000)

  /** In one entry; resolves when the healthy reader has them. */
  const send = async (count: number, of: Partial<Sent> = {}) => {
    const events = Array.from({ length: count }, (_, i) => ({
      device: `d${i % 3}`,
      timeUs: 1,
      data: { padding },
      ...of,
      id: `${sent.length + i}`,
    }))
    const { entryId } = await log.append(project, batchOf(project, events))
    sent.push(...events.map(({ id }) => id))
    await until('the healthy one has them', () => watcher.events.length === sent.length)
    return entryId as string
  }

  it('that goes on from the log misses nothing, and waits there without holding more than it takes', async () => {
    const { join } = await open()
    const sink = new JammedSink()
    await join(sink, 'disconnect')
    for (let i = 0; i < 20; i++) await send(20)
    expect(sink.isWaited).toBe(true)
    expect(sink.events.length).toBeLessThan(60)
    while (sink.events.length < sent.length) {
      await until('it is waited for', () => sink.isWaited || sink.events.length === sent.length)
      sink.read(CAPACITY)
    }
    expect(sink.events).toEqual(sent)
    expect(sink.mostUnread).toBeLessThan(CAPACITY + 80_000)
  })

  it('is cut off when the log no longer holds what comes next', async () => {
    const { join } = await open()
    const sink = new JammedSink()
    await join(sink, 'disconnect')
    await send(40)
    await send(40)
    await log.trim(project, await send(1))
    sink.read()
    await until('it is ended', () => sink.ended !== undefined)
    expect(sink.ended).toBe('too slow: what comes next is no longer kept; resume from the last frame')
    expect(sink.gaps).toEqual([])
    expect(sink.events).toEqual(sent.slice(0, sink.events.length))
  })

  it('that may miss something is told what, to the event, and goes on live', async () => {
    const { join } = await open()
    const sink = new JammedSink()
    await join(sink, 'drop')
    await send(200)
    const last = await send(5)
    const had = sink.events.length
    expect(had).toBeLessThan(200)
    expect(sink.gaps).toEqual([])
    sink.read()
    await until('the gap', () => sink.gaps.length === 1)
    await send(3)
    expect(sink.events).toEqual([...sent.slice(0, had), ...sent.slice(-3)])
    expect(sink.gaps[0]?.to).toBe(last)
    // Who asks for what lies in the gap gets just that.
    const missed = new KeepingSink()
    await join(missed, 'disconnect', sink.gaps[0]?.after as Cursor)
    await until('the missed ones', () => missed.events.length >= sent.length - had)
    expect(missed.events).toEqual(sent.slice(had))
  })

  it('that takes nothing but what comes after is told of no gap when nothing was missed', async () => {
    const { join } = await open()
    const sink = new JammedSink()
    await join(sink, 'drop')
    await send(20)
    expect(sink.full).toBe(true)
    sink.read()
    await send(1)
    await until('the live one', () => sink.events.length === 21)
    expect(sink.gaps).toEqual([])
  })

  it('of the latest gets the newest event of each device and type, in the order of the log', async () => {
    const { join } = await open()
    const sink = new JammedSink()
    await join(sink, 'latest')
    await send(30, { device: 'filler' })
    const had = sink.events.length
    const [a, b] = [
      { device: 'a', eventType: 'temperature' },
      { device: 'b', eventType: 'temperature' },
    ]
    for (const of of [a, b, { ...a, eventType: 'humidity' }, b, a]) await send(1, of)
    expect(sink.events.length).toBe(had)
    sink.read()
    await until('the latest', () => sink.events.length === had + 3)
    expect(sink.events.slice(had)).toEqual(sent.slice(-3))
    expect(sink.gaps).toEqual([])
    await send(2)
    expect(sink.events.slice(had + 3)).toEqual(sent.slice(-2))
  })

  it('of the latest of very many devices is kept a bounded part, and told so', async () => {
    const { join } = await open()
    const sink = new JammedSink()
    await join(sink, 'latest')
    await send(30, { device: 'filler' })
    const had = sink.events.length
    for (let i = 0; i < 400; i++) await send(1, { device: `many-${i}` })
    sink.read()
    await until('the latest', () => sink.events.length > had)
    const latest = sink.events.slice(had)
    expect(latest).toEqual(sent.slice(-latest.length))
    expect(latest.length).toBeGreaterThan(150)
    expect(latest.length).toBeLessThan(260)
    expect(sink.gaps).toHaveLength(1)
  })

  it('of several projects is written no more than one that reads one, whatever its policy', async () => {
    const names = Array.from({ length: 30 }, () => freshProject())
    const hubs = await Promise.all(names.map(async name => (await openTestHub(server, log, devices, name)).hub))
    const shared = new JammedSink()
    const policies: Policy[] = ['disconnect', 'drop', 'latest']
    const joined = hubs.map((hub, i) => hub.join(shared, { filter: undefined, policy: policies[i % 3] as Policy }, undefined))
    // Half of them has it live, half goes on from the log.
    const past = hubs.map(hub => hub.join(shared, { filter: undefined, policy: 'disconnect' }, { entryId: '0-0', index: -1 }))
    const ids = await Promise.all(
      names.map(async name => {
        const events = Array.from({ length: 60 }, (_, i) => ({ device: 'd', timeUs: 1, data: { padding }, id: `${name}.${i}` }))
        await log.append(name, batchOf(name, events))
        return events.map(({ id }) => id)
      }),
    )
    await until('all have come', () => joined.every(one => one.reached() === undefined))
    expect(shared.mostUnread).toBeLessThan(CAPACITY + 80_000)
    await until('all are written', () => {
      if (shared.isWaited) shared.read(CAPACITY)
      const wanted = ids.flatMap((own, i) => (i % 3 === 0 ? [...own, ...own] : own))
      return shared.events.length >= wanted.length && wanted.every(id => shared.events.includes(id))
    })
    expect(shared.mostUnread).toBeLessThan(CAPACITY + 340_000)
    await Promise.all(past.map(one => one.caughtUp))
  })

  it('holds nothing of what is read for it: a hundred that stand still are read for once, two at a time', async () => {
    const past = new Past(log, project, 'log', { log: new Turns(2), store: new Turns(2) })
    let [reading, mostReading, reads] = [0, 0, 0]
    const { join } = await open({
      read: (after, upTo, reader) =>
        past.read(after, upTo, {
          full: false,
          take: async chunk => {
            reads++
            mostReading = Math.max(mostReading, ++reading)
            // As long as another read takes.
            await log.last(project)
            const taken = await reader.take(chunk)
            reading--
            return taken
          },
        }),
    })
    for (let i = 0; i < 20; i++) await send(100)
    const sinks = Array.from({ length: 100 }, () => new JammedSink())
    const joined = sinks.map(sink => join(sink, 'disconnect', { entryId: '0-0', index: -1 }))
    await until('all stand still', () => sinks.every(sink => sink.isWaited))
    expect(mostReading).toBe(2)
    expect(reads).toBe(100)
    expect(Math.max(...sinks.map(({ mostUnread }) => mostUnread))).toBeLessThan(CAPACITY + 80_000)
    for (const sink of sinks) sink.end()
    for (const sink of sinks) sink.read()
    await Promise.all(joined)
    await send(1)
  })
})
