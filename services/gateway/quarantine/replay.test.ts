// What was refused, decoded once more, on a real Redis: each once, in its own time, whatever happens in between, and nothing that its sender
// may not send.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DeviceEvent } from '../../../packages/core/event.ts'
import { Failure } from '../../../packages/core/failure.ts'
import { contentKey } from '../../../packages/core/id.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../../../packages/log/fixture.ts'
import { Log } from '../../../packages/log/log.ts'
import { newId } from '../../../packages/runtime/id.ts'
import type { DecoderRecord } from '../../../packages/state/decoder.ts'
import { DecoderMemory } from '../../../packages/state/decodermemory.ts'
import { Quarantine, type Refused } from '../../../packages/state/quarantine.ts'
import { Accept } from '../accept.ts'
import type { Decoded } from '../decode/event.ts'
import type { Format } from '../decode/format.ts'
import { FORMATS } from '../decode/formats.ts'
import { decodeJson, decodeValue } from '../decode/json.ts'
import { Catalog } from '../decoder/catalog.ts'
import { ingestTold, runDecoder, tell } from '../decoder/decoderun.ts'
import { builtInMapping } from '../decoder/mapping.ts'
import { Memories } from '../decoder/memory.ts'
import { shelfOf, UNLIMITED } from '../fixture.ts'
import { type IngestPorts, ingest } from '../ingest.ts'
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

/** `name value` by line, of one device. The first version reads no fractions and says last what it cannot read; the mended one says `level`. */
const lines = (isMended: boolean): Format => ({
  ...(FORMATS.get('json') as Format),
  name: isMended ? 'mended' : 'first',
  separable: undefined,
  decode: ({ bytes, place }, clock) => {
    const [good, bad]: [Decoded[], Decoded[]] = [[], []]
    for (const line of bytes.toString().split('\n')) {
      const [, value = '', timestamp] = line.split(' ')
      const field = isMended ? 'level' : 'value'
      const one = { device: 'd', eventType: 'depth', data: { depth: { [field]: Number(value) } }, ...(timestamp ? { timestamp } : {}) }
      if (isMended || !value.includes('.')) good.push(...decodeValue(one, place, clock, line))
      else bad.push({ failure: new Failure('invalid', 'a fraction'), element: line })
    }
    return { decoded: [...good, ...bad] }
  },
})
const formats = new Map([...FORMATS, ...[counted, lines(false), lines(true)].map(one => [one.name, one] as const)])

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
    const doors: IngestPorts = {
      accept,
      quarantine: async (of, all) => void (await quarantine.add(of, all)),
      ...UNLIMITED,
      rejected: () => {},
    }
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
      doors,
      /** As by a door. */
      send: (text: string, mayRepeat: boolean) => {
        const bytes = Buffer.from(text)
        const [{ name, format: named }] = decoders as readonly [DecoderRecord]
        const format = formats.get(named) as Format
        const payload = { project, bytes, topic: [], place: { project }, options: {}, memory: new Map() }
        const { decoded } = format.decode(payload as never, { nowUs: () => Date.now() * 1000, newId }) as { decoded: Decoded[] }
        const whole = { project, source: 's', keyId: 'k', payload: bytes, decoder: { name, format: named, version: 1 } }
        const from = {
          ...whole,
          again: { place: {}, asked: name },
          deliveryKey: (part: number | string) => `k.${part}`,
          mayRepeat: () => mayRepeat,
        }
        return new Promise<void>((resolve, reject) => ingest(doors, decoded, from, failure => (failure ? reject(failure) : resolve())))
      },
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

  it.each<[string, string, boolean]>([
    ['which may be a repeat, and gives no time', 'a 1.5\nb 2', true],
    ['which is none, and gives no time', 'a 1.5\nb 2', false],
    ['of which one part is like another', 'a 2\na 1.5\na 2', true],
    ['with times of its own', 'a 1.5 2026-11-01T10:00:00Z\nb 2 2026-11-01T10:00:01Z', false],
  ])('after a fix accepts of a payload %s what was not accepted, also where all of it looks different now', async (_, text, mayRepeat) => {
    const decoders = [decoderOf('first')]
    const { send, replay, events, left } = open(decoders)
    await send(text, mayRepeat)
    const count = text.split('\n').length
    expect([(await events()).length, (await left()).length]).toEqual([count - 1, 1])
    decoders[0] = decoderOf('mended')
    expect(await replay()).toMatchObject({ accepted: 1, refused: 0 })
    if (mayRepeat) await send(text, true)
    expect((await events()).map(({ data }) => data['depth'])).toMatchObject([
      ...Array.from({ length: count - 1 }, () => ({ value: 2 })),
      { level: 1.5 },
    ])
    expect(await left()).toEqual([])
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

  describe('of what decoders remember', () => {
    const PRESS = Buffer.from('{"id":"A4:C1:38:8D:18:B2","rssi":-60,"servicedatauuid":"fcd2","servicedata":"4000093a02"}')
    const announcement = (template: string) =>
      Buffer.from(
        `{"state_topic":"lab/t","device_class":"temperature","unit_of_measurement":"°C","unique_id":"t1","value_template":"${template}","device":{"identifiers":["probe"]}}`,
      )
    const topic = 'homeassistant/sensor/probe/t/config'

    it.each([
      ['that its own delivery told is accepted', { isTold: true as const }, 1],
      ['that another delivery told is a repeat, and no event', {}, 0],
    ])('a press %s', async (_, told, presses) => {
      const { add, replay, events, left, again, ports, project } = open()
      const using = ports()
      const sent = { ...again, place: {}, asked: 'bthome' }
      await add({ payload: PRESS, again: sent })
      expect(await replay(using)).toMatchObject({ refused: 0 })
      expect((await using.run.memories.load({ project, decoder: 'bthome', format: 'bthome' })).isEmpty).toBe(false)
      await add({ payload: PRESS, again: { ...sent, ...told, delivery: 'other' } })
      expect(await replay()).toMatchObject({ refused: 0 })
      expect((await events()).filter(({ eventType }) => eventType === 'action')).toHaveLength(1 + presses)
      expect(await left()).toEqual([])
    })

    it('a press that two gateways heard, of which something was refused, is one after all', async () => {
      const { replay, events, left, ports, project, quarantine, doors } = open()
      const using = ports()
      const format = FORMATS.get('bthome') as Format
      const full = new Failure('quota_exceeded', 'eventType rssi: no')
      const screen: IngestPorts['screen'] = (_, decoded) =>
        decoded.map(one => ('event' in one && one.event.eventType === 'rssi' ? { failure: full, element: '' } : one))
      const heard = async (delivery: string) => {
        const decoder = { format, mapping: builtInMapping(format) }
        const given = { project, bytes: PRESS, topic: [], place: {} }
        const clock = { nowUs: () => Date.now() * 1000, newId }
        const tellPorts = { run: using.run, send: () => {} }
        const made = await runDecoder(using.run, decoder, given, clock, one => tell(tellPorts, project, one, { tell: true, ask: true }))
        const from = { project, source: 's', keyId: 'k', payload: PRESS, again: { place: {}, asked: 'bthome' } }
        const keyed = { ...from, deliveryKey: (part: number | string) => `${delivery}.${part}`, mayRepeat: () => false }
        await new Promise<void>((resolve, reject) => {
          void ingestTold({ ...doors, screen }, made.hold, made.decoded, keyed, failure => (failure ? reject(failure) : resolve()))
        })
      }
      await heard('one')
      await heard('other')
      expect(await quarantine.list(project, '', 1000)).toHaveLength(2)
      expect(await replay()).toMatchObject({ records: 2, refused: 0 })
      const types = (await events()).map(({ eventType }) => eventType)
      expect(types).toContain('rssi')
      expect(types.filter(type => type === 'action')).toHaveLength(1)
      expect(await left()).toEqual([])
    })

    it('an announcement is learned, and then what it announced is accepted', async () => {
      const { add, replay, events, left, again } = open()
      await add({ payload: Buffer.from('21.5'), again: { ...again, place: {}, topic: 'homeassistant/lab' } })
      expect(await replay()).toMatchObject({ accepted: 0, learned: 0, refused: 1, errors: [{ code: 'not_found' }] })
      await add({ payload: announcement('{{ value }}'), again: { ...again, place: {}, topic } })
      await add({ payload: Buffer.from('22.5'), again: { ...again, place: {}, topic: 'lab/t' } })
      expect(await replay()).toMatchObject({ records: 3, accepted: 1, learned: 1, refused: 1 })
      expect(values(await events())).toEqual([22.5])
      expect(await left()).toHaveLength(1)
    })

    it('an announcement of a device is learned for that device alone', async () => {
      const { add, replay, again, ports, project } = open()
      await add({ payload: announcement('{{ value }}'), again: { ...again, place: {}, topic, sender: 'd' } })
      const using = ports()
      expect(await replay(using)).toMatchObject({ learned: 1, refused: 0 })
      const kept = await using.run.memories.load({ project, decoder: 'homeassistant', format: 'homeassistant' })
      expect([...kept.values.keys()].filter(key => !/^own[^a-z]d([^a-z]|$)/.test(key))).toEqual([])
      expect(kept.isEmpty).toBe(false)
    })
  })

  it('accepts of a device what is its own, and remembers nothing that it told of others, unless somebody names it', async () => {
    const { add, replay, events, left, again, ports, project } = open([
      { name: 'mine', format: 'counted', topics: [], contentTypes: [], options: {}, enabled: true },
    ])
    const body = Buffer.from(JSON.stringify(['d', 'd:3', 'd2', 'other'].map(device => ({ device, data: { temperature: { value: 1 } } }))))
    const sent = { ...again, place: {}, asked: 'mine', sender: 'd' }
    await add({ payload: body, code: 'invalid', again: sent })
    const using = ports()
    expect(await replay(using)).toMatchObject({
      accepted: 2,
      refused: 1,
      errors: [{ code: 'forbidden', field: 'device' }, { code: 'forbidden' }],
    })
    expect((await using.run.memories.load({ project, decoder: 'mine', format: 'counted' })).isEmpty).toBe(true)
    const [record] = await left()
    expect(await replay(using, [record?.id ?? ''])).toMatchObject({ accepted: 2, refused: 0 })
    expect((await events()).map(({ targetName }) => targetName.split('/').at(-1))).toEqual(['d', 'd:3', 'd2', 'other'])
  })
})

const decoderOf = (format: string): DecoderRecord => ({ name: 'mine', format, topics: [], contentTypes: [], options: {}, enabled: true })

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
