// What was refused, decoded once more, on a real Redis: each once, in its own time, whatever happens in between, and nothing that its sender
// may not send.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DeviceEvent } from '../../../packages/core/event.ts'
import { Failure } from '../../../packages/core/failure.ts'
import { contentKey } from '../../../packages/core/id.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../../../packages/log/fixture.ts'
import { Log } from '../../../packages/log/log.ts'
import type { DecoderRecord } from '../../../packages/state/decoder.ts'
import { DecoderMemory } from '../../../packages/state/decodermemory.ts'
import { Quarantine, type Refused } from '../../../packages/state/quarantine.ts'
import { Accept } from '../accept.ts'
import type { Decoded } from '../decode/event.ts'
import type { Format } from '../decode/format.ts'
import { FORMATS } from '../decode/formats.ts'
import { decodeJson } from '../decode/json.ts'
import { Catalog } from '../decoder/catalog.ts'
import { Memories } from '../decoder/memory.ts'
import { shelfOf } from '../fixture.ts'
import { type Replayed, type ReplayPorts, replay } from './replay.ts'

/** Says nothing of what it has seen before, as formats do whose packets are numbered. */
const counted: Format = {
  ...(FORMATS.get('json') as Format),
  name: 'counted',
  decode: ({ bytes, place, memory }, clock) => {
    const key = contentKey(bytes.toString())
    if (memory.get(key) === true) return { decoded: [] }
    memory.set(key, true)
    return { decoded: decodeJson(bytes, place, clock) }
  },
}
const formats = new Map([...FORMATS, [counted.name, counted]])

describe.skipIf(installed === undefined)('a replay', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  function open(decoders: readonly DecoderRecord[] = []) {
    const project = freshProject()
    const { redis } = server
    const [log, quarantine, disk] = [new Log(redis, []), new Quarantine(redis), new DecoderMemory(redis)]
    const state = { appends: 0, failsAt: 0, most: 0, waiting: 0 }
    const accept = new Accept({
      append: (of, batch) => {
        if (++state.appends === state.failsAt) throw new Failure('unavailable', 'the log is away')
        return log.append(of, batch)
      },
      register: async () => {},
      wake: () => {},
      counted: () => {},
      failed: () => {},
    })
    const add: Accept['add'] = (event, key, suspect, settled) => {
      state.most = Math.max(state.most, ++state.waiting)
      accept.add(event, key, suspect, failure => {
        state.waiting--
        settled(failure)
      })
    }
    /** As a process that has just begun: nothing is in its memory. */
    const ports = (): ReplayPorts => ({
      quarantine,
      formats,
      catalog: new Catalog({
        formats,
        decoders: shelfOf(new Map(decoders.map(one => [one.name, one]))),
        schemas: shelfOf(new Map()),
        changes: async () => ({ newest: 0, projects: [] }),
      }),
      run: { memories: new Memories({ disk, nowMs: () => 0, troubled: () => {} }), broke: () => {} },
      accept: { add },
      checked: (_, decoded: readonly Decoded[]) => decoded,
      screen: (_, decoded) => decoded,
    })
    const again = { place: { device: 'd', eventType: 'temperature' }, delivery: 'k', mayRepeat: false }
    return {
      project,
      quarantine,
      state,
      ports,
      add: (...payloads: readonly (Partial<Refused> & { payload: Buffer })[]) =>
        quarantine.add(
          project,
          payloads.map(one => ({ source: 's', keyId: 'k', field: '', reason: 'no', again, ...one })),
        ),
      again,
      replay: (using = ports(), ids?: readonly string[]): Promise<Replayed> => replay(using, project, { from: '', ids }, false),
      events: async () =>
        (await log.read(project, '0-0', 100_000)).flatMap(({ events }) => events.map(({ frame }) => JSON.parse(frame) as DeviceEvent)),
      left: () => quarantine.list(project, '', 1000),
    }
  }
  const values = (events: readonly DeviceEvent[]) => events.map(({ data }) => (data['temperature'] as { value: number }).value)
  const payload = Buffer.from('21.5')

  it('accepts each of many that are alike, which were sent one by one; of one that may be a repeat there is only one', async () => {
    const { add, again, replay, events, left } = open()
    await add({ payload }, { payload }, { payload })
    await add({ payload, again: { ...again, mayRepeat: true } })
    expect(await left()).toHaveLength(3)
    expect(await replay()).toMatchObject({ records: 3, accepted: 3, refused: 0 })
    expect(values(await events())).toEqual([21.5, 21.5, 21.5])
    expect(await left()).toEqual([])
  })

  it('that ends after the log has it and before the quarantine has let go of it makes no duplicate and no hole', async () => {
    const { add, ports, quarantine, replay, events, left, again } = open()
    await add({ payload }, { payload }, { payload: Buffer.from('[1,{"temperature":{"value":2}}'), again: { ...again, delivery: 'other' } })
    const crash = new Error('the process has ended')
    const dying = { ...ports(), quarantine: { ...bound(quarantine), remove: () => Promise.reject(crash) } }
    await expect(replay(dying)).rejects.toBe(crash)
    expect([(await events()).length, (await left()).length]).toEqual([2, 3])
    expect(await replay()).toMatchObject({ records: 3, refused: 1 })
    expect(values(await events())).toEqual([21.5, 21.5])
    expect(await left()).toHaveLength(1)
  })

  it.each(['json', 'counted'])('of %s that ends while the log is written makes no duplicate and no hole', async format => {
    const { add, replay, state, events, left, again } = open([
      { name: 'mine', format, topics: [], contentTypes: [], options: {}, enabled: true },
    ])
    const payloads = Array.from({ length: 3 }, (_, i) =>
      Buffer.from(i === 0 ? many(1200) : `{"device":"d","data":{"temperature":{"value":${i}}}}`),
    )
    await add(...payloads.map((one, i) => ({ payload: one, again: { ...again, place: {}, asked: 'mine', delivery: `k${i}` } })))
    state.failsAt = 2
    await expect(replay()).rejects.toThrow('the log is away')
    expect(await left()).toHaveLength(3)
    expect((await events()).length).toBeLessThan(1200)
    expect(await replay()).toMatchObject({ records: 3, accepted: 1202, refused: 0 })
    expect(new Set((await events()).map(({ eventId }) => eventId)).size).toBe(1202)
    expect((await events()).length).toBe(1202)
    expect(await left()).toEqual([])
  })

  it('leaves room for what devices send, however large a payload is', async () => {
    const { add, replay, state, events, again } = open()
    await add({ payload: Buffer.from(many(10_000)), again: { ...again, place: {} } })
    expect(await replay()).toMatchObject({ accepted: 10_000 })
    expect(state.most).toBeLessThanOrEqual(500)
    expect(await events()).toHaveLength(10_000)
  })

  it('reads lines of the InfluxDB routes as lines, in the unit of their request', async () => {
    const { add, replay, events, again } = open()
    const sent = { ...again, place: {}, format: 'influx', options: { precision: 's' }, isElement: true as const }
    await add({ payload: Buffer.from('temperature,device=d value=1 1741000000'), contentType: 'text/plain', again: sent })
    expect(await replay()).toMatchObject({ accepted: 1, errors: [] })
    expect((await events())[0]).toMatchObject({ eventType: 'temperature', timestamp: '2025-03-03T11:06:40.000000Z' })
  })

  it('reads messages of durable streams as their stream does, in their own time', async () => {
    const { add, replay, events, again } = open([
      { name: 'json', format: 'csv', topics: [], contentTypes: [], options: {}, enabled: false },
    ])
    const place = { eventType: 'temperature', elseDevice: 'by-key', saidBy: 'the key' }
    const times = { arrivedUs: 1_741_000_001_000_000, sentUs: 1_741_000_000_000_000 }
    await add({ payload, again: { ...again, place, builtIn: 'json', ...times, mayRepeat: true } })
    expect(await replay()).toMatchObject({ accepted: 1, errors: [] })
    expect((await events())[0]).toMatchObject({ targetName: expect.stringMatching(/by-key$/), timestamp: '2025-03-03T11:06:40.000000Z' })
  })

  it('accepts of a device what is its own, and remembers nothing that it told of others, unless somebody names it', async () => {
    const { add, replay, events, left, again, ports, project } = open([
      { name: 'mine', format: 'counted', topics: [], contentTypes: [], options: {}, enabled: true },
    ])
    const body = Buffer.from(JSON.stringify(['d', 'other'].map(device => ({ device, data: { temperature: { value: 1 } } }))))
    const sent = { ...again, place: {}, asked: 'mine', sender: 'd' }
    await add({ payload: body, code: 'invalid', again: sent })
    const using = ports()
    expect(await replay(using)).toMatchObject({ accepted: 1, refused: 1, errors: [{ code: 'forbidden', field: 'device' }] })
    expect((await using.run.memories.load({ project, decoder: 'mine', format: 'counted' })).isEmpty).toBe(true)
    const [record] = await left()
    expect(await replay(using, [record?.id ?? ''])).toMatchObject({ accepted: 1, refused: 0 })
    expect((await events()).map(({ targetName }) => targetName.split('/').at(-1))).toEqual(['d', 'other'])
  })
})

function many(count: number): string {
  return JSON.stringify(Array.from({ length: count }, (_, i) => ({ device: 'd', data: { temperature: { value: i } } })))
}

function bound(quarantine: Quarantine): ReplayPorts['quarantine'] {
  const { after, find, remove, accepted } = quarantine
  return {
    after: after.bind(quarantine),
    find: find.bind(quarantine),
    remove: remove.bind(quarantine),
    accepted: accepted.bind(quarantine),
  }
}
