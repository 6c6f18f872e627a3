// Messages of streams with a decoder on their way to the log, on a real Redis: each once, in the order of its device, whoever decodes.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { DeviceEvent } from '../../../packages/core/event.ts'
import { Failure } from '../../../packages/core/failure.ts'
import { DECODER_SUBSCRIPTION } from '../../../packages/core/stream.ts'
import { Dispatch } from '../../../packages/log/durable/dispatch.ts'
import type { NewMessage } from '../../../packages/log/durable/message.ts'
import { DurableStreams, type StreamSettings } from '../../../packages/log/durable/stream.ts'
import { Subscriptions } from '../../../packages/log/durable/subscription.ts'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { Log } from '../../../packages/log/log.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { COPIER } from '../../../packages/state/connector.ts'
import { Devices } from '../../../packages/state/device.ts'
import { Quarantine, type Refused } from '../../../packages/state/quarantine.ts'
import { Accept } from '../accept.ts'
import { UNLIMITED } from '../fixture.ts'
import { Decoding } from './decoding.ts'

describe.skipIf(installed === undefined)('streams that have a decoder', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  async function open(settings: Partial<StreamSettings> = { decoder: 'json' }) {
    const { redis } = server
    const streams = new DurableStreams(redis)
    const [subscriptions, log, devices, quarantine] = [
      new Subscriptions(redis, streams),
      new Log(redis, []),
      new Devices(redis),
      new Quarantine(redis),
    ]
    const project = freshProject()
    const ref = { project, record: await streams.create(project, 's', settings) }
    let failure: Failure | undefined
    /** A process. */
    const start = () => {
      const troubled = (error: Error) => console.warn(error.message)
      const dispatch = new Dispatch({ streams, subscriptions, connect: () => server.connect(), troubled })
      const accept = new Accept({
        append: async (of, batch) => {
          if (failure) throw failure
          return log.append(of, batch)
        },
        register: (of, fresh) => devices.register(of, fresh),
        wake: () => undefined,
        counted: () => undefined,
        failed: () => undefined,
      })
      const ingest = {
        accept,
        ...UNLIMITED,
        quarantine: async (of: string, refused: readonly Refused[]) => void (await quarantine.add(of, refused)),
        rejected: () => undefined,
      }
      const decoding = new Decoding({ ingest, streams, subscriptions, dispatch, logger: openLogger('silent') })
      decoding.start()
      const stop = async () => {
        await decoding.stop()
        await dispatch.stop()
      }
      onTestFinished(stop)
      return { stop }
    }
    const isDecoded = async () => {
      const found = await subscriptions.find(ref, DECODER_SUBSCRIPTION)
      return found !== undefined && (await subscriptions.stats(ref, DECODER_SUBSCRIPTION)).backlog === 0
    }
    return {
      project,
      ref,
      streams,
      subscriptions,
      start,
      refuse: (one: Failure | undefined) => {
        failure = one
      },
      append: (messages: readonly NewMessage[]) => streams.append(ref, messages),
      done: () => until('everything is decoded', isDecoded, 10_000),
      events: async () =>
        (await log.read(project, '0-0', 1000)).flatMap(({ events }) => events.map(({ frame }) => JSON.parse(frame) as DeviceEvent)),
      refused: () => quarantine.list(project, '', 100),
    }
  }

  const message = (payload: unknown, more: Partial<NewMessage> = {}): NewMessage => ({
    payload: Buffer.from(JSON.stringify(payload)),
    ...more,
  })

  it('have their messages accepted as events of the device that the message, its key or its payload names', async () => {
    const { append, done, events, project, start } = await open()
    start()
    const temperature = { temperature: { value: 1 } }
    await append([
      message(temperature, { key: 'by-key' }),
      message(2, { key: 'other', properties: { device: 'by-property', eventType: 'temperature' } }),
      message({ targetName: `projects/${project}/devices/by-payload`, eventType: 'temperature', data: temperature }, { key: 'other' }),
      message([
        { device: 'of-many', data: temperature },
        { device: 'of-many-2', data: temperature },
      ]),
    ])
    await done()
    const names = (await events()).map(({ targetName }) => targetName.split('/').at(-1))
    expect(new Set(names)).toEqual(new Set(['by-key', 'by-payload', 'by-property', 'of-many', 'of-many-2']))
  })

  it('have the time of the event, or of its publishing, and an id that stays the same', async () => {
    const { append, done, events, ref, start, streams } = await open()
    start()
    const eventTimeUs = 1_741_000_000_123_456
    await append([message({ temperature: { value: 1 } }, { key: 'd', eventTimeUs }), message({ temperature: { value: 2 } }, { key: 'd' })])
    await done()
    const [first, second] = await events()
    expect(first?.timestamp).toBe('2025-03-03T11:06:40.123456Z')
    const [, published] = await streams.read(ref, 0, 2)
    expect(Date.parse(second?.timestamp ?? '')).toBe(published?.publishMs)
    expect(first?.eventId).not.toBe(second?.eventId)
  })

  it('have each message accepted once, also when it is given again', async () => {
    const { append, done, events, ref, start, subscriptions } = await open()
    start()
    await append(Array.from({ length: 300 }, (_, i) => message({ temperature: { value: i % 3 } }, { key: `d${i % 7}` })))
    await done()
    await subscriptions.reset(ref, DECODER_SUBSCRIPTION, { seq: 0 })
    await done()
    expect(await events()).toHaveLength(300)
  })

  it('have what is no event set aside, with where it is from, and go on', async () => {
    const { append, done, events, refused, start } = await open()
    start()
    await append([{ payload: Buffer.from('{oops') }, message({ value: 1 }), message({ temperature: { value: 3 } }, { key: 'd' })])
    await done()
    expect(await events()).toHaveLength(1)
    const reasons = (await refused()).map(({ reason }) => reason).toSorted()
    expect(reasons).toEqual([expect.stringMatching(/^device: missing: set the key/), expect.stringMatching(/^payload: not JSON/)])
    expect((await refused())[0]?.source).toMatch(/^stream s message [A-Za-z0-9+/]{16}$/)
  })

  it('have nothing lost and nothing overtaken while the log takes nothing', async () => {
    const { append, done, events, refuse, start, subscriptions, ref } = await open()
    refuse(new Failure('unavailable', 'full', { retryAfterMs: 50 }))
    start()
    await append(Array.from({ length: 50 }, (_, i) => message({ temperature: { value: i } }, { key: 'd' })))
    await until('they are given', async () => {
      const found = await subscriptions.find(ref, DECODER_SUBSCRIPTION)
      return found !== undefined && (await subscriptions.stats(ref, DECODER_SUBSCRIPTION)).unacked > 0
    })
    refuse(undefined)
    await done()
    const values = (await events()).map(({ data }) => (data['temperature'] as { value: number }).value)
    expect(values).toEqual(Array.from({ length: 50 }, (_, i) => i))
  })

  it('are shared by two processes, and each device keeps its order', async () => {
    const { append, done, events, start } = await open()
    const first = start()
    start()
    const batch = (from: number) =>
      append(Array.from({ length: 200 }, (_, i) => message({ temperature: { value: from + i } }, { key: `d${i % 9}` })))
    await batch(0)
    await first.stop()
    await batch(200)
    await done()
    const all = await events()
    expect(all).toHaveLength(400)
    for (let d = 0; d < 9; d++) {
      const own = all
        .filter(({ targetName }) => targetName.endsWith(`/d${d}`))
        .map(({ data }) => (data['temperature'] as { value: number }).value)
      expect(own).toEqual(own.toSorted((a, b) => a - b))
    }
  })

  it('give no events of what was copied into them from the log', async () => {
    const { append, done, events, start } = await open()
    start()
    await append([
      message({ temperature: { value: 1 } }, { key: 'd', producer: COPIER }),
      message({ temperature: { value: 2 } }, { key: 'd' }),
    ])
    await done()
    expect(await events()).toHaveLength(1)
  })

  it('keep nothing for a decoder when they have none any more, and begin with what is kept when they have one', async () => {
    const { append, done, events, project, ref, start, streams, subscriptions } = await open({})
    await append([message({ temperature: { value: 1 } }, { key: 'd' })])
    start()
    await streams.update(project, 's', { decoder: 'json' })
    await done()
    expect(await events()).toHaveLength(1)
    await streams.update(project, 's', { decoder: undefined })
    await until('it is let go', async () => (await subscriptions.find(ref, DECODER_SUBSCRIPTION)) === undefined)
    expect((await streams.decoded()).filter(one => one.project === project)).toEqual([])
  })

  it('let nobody else consume what waits for the decoder', async () => {
    const { ref, subscriptions } = await open({})
    const create = subscriptions.create(ref, DECODER_SUBSCRIPTION, 'key_shared')
    await expect(create).rejects.toThrow(/^subscription: expected a name that does not begin with "telltale\."/)
    await subscriptions.create(ref, DECODER_SUBSCRIPTION, 'key_shared', 'oldest', true)
    expect([(await subscriptions.list(ref)).length, await subscriptions.listOfClients(ref)]).toEqual([1, []])
  })

  it('refuse a decoder that nobody knows', async () => {
    const { project, streams } = await open()
    await expect(streams.create(project, 'other', { decoder: 'morse' })).rejects.toThrow(/^decoder: expected json or ndjson, got "morse"/)
    await expect(streams.update(project, 's', { decoder: 'morse' })).rejects.toThrow(/^decoder: /)
  })
})
