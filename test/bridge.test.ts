// Between device events and durable streams, both ways: copied once, decoded once, whoever is killed meanwhile, and never in circles.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import type { DeviceEvent } from '../packages/core/event.ts'
import { DECODER_SUBSCRIPTION, DEVICES } from '../packages/core/stream.ts'
import { Dispatch } from '../packages/log/durable/dispatch.ts'
import { DurableStreams, type Ref, type StreamSettings } from '../packages/log/durable/stream.ts'
import { Subscriptions } from '../packages/log/durable/subscription.ts'
import { connectRedis } from '../packages/redis/index.ts'
import { openLogger } from '../packages/runtime/logger.ts'
import { Connectors } from '../packages/state/connector.ts'
import { Feeds } from '../packages/state/feed.ts'
import {
  EVENTS,
  eventually,
  type Json,
  removeDirectories,
  startTelltale,
  stored,
  type Telltale,
  temperature,
  temperatureOf,
  until,
} from './world.ts'

const CONNECTORS = '/v2/projects/default/dataconnectors'
const project = 'default'

let telltale: Telltale
let core: Core

/** Durable streams as another process has them, on the Redis of this Telltale. */
type Core = { readonly streams: DurableStreams; readonly subscriptions: Subscriptions; readonly dispatch: Dispatch; stop(): Promise<void> }

async function openCore(): Promise<Core> {
  const { socket } = JSON.parse(await readFile(join(telltale.dir, 'redis/running.json'), 'utf8')) as { socket: string }
  const clients: Redis[] = []
  const connect = async (name: string) => {
    const client = (await connectRedis({ path: socket }, { name, patience: 'worker', log: openLogger('silent') })) as Redis
    clients.push(client)
    return client
  }
  const redis = await connect('test')
  const streams = new DurableStreams(redis)
  const connectors = new Connectors(redis)
  const feeds = new Feeds(redis, of => connectors.touch(of))
  const subscriptions = new Subscriptions(redis, streams, (of, start) => feeds.need(of, start))
  const dispatch = new Dispatch({ streams, subscriptions, connect, troubled: error => console.warn(error.message) })
  const stop = async () => {
    await dispatch.stop()
    for (const client of clients) client.disconnect()
  }
  return { streams, subscriptions, dispatch, stop }
}

beforeAll(async () => {
  telltale = await startTelltale()
  core = await openCore()
})
afterAll(async () => {
  await core.stop()
  await telltale.remove()
  await removeDirectories()
})

/** Everything is another one afterwards, its Redis too. */
async function killAndRestart(): Promise<void> {
  await core.stop()
  await telltale.kill()
  await telltale.restart()
  core = await openCore()
}

async function stream(name: string, settings: Partial<StreamSettings> = {}): Promise<Ref> {
  return { project, record: await core.streams.create(project, name, settings) }
}

async function connector(name: string, more: Json = {}): Promise<string> {
  const body = { type: 'STREAM', streamConfig: { stream: name }, ...more }
  const { status, text, json } = await telltale.send('POST', CONNECTORS, body)
  expect(status, text).toBe(200)
  const url = `/v2/${String(json['name'])}`
  onTestFinished(async () => void (await telltale.http(url, { method: 'DELETE' })))
  return url
}

const humid = (device: string, n: number) => ({
  ...temperature(device, n),
  eventId: `${device}-h${n}`,
  eventType: 'humidity',
  data: { humidity: { temperature: 20, relativeHumidity: n % 100 } },
})

async function publish(events: readonly object[]): Promise<void> {
  for (let i = 0; i < events.length; i += 500) {
    const { status, text } = await telltale.send('POST', EVENTS, events.slice(i, i + 500))
    expect(status, text).toBe(200)
  }
}

/** Ids of the events in a stream, in its order. */
async function idsIn(ref: Ref): Promise<string[]> {
  const ids: string[] = []
  for (let after = 0; ; ) {
    const messages = await core.streams.read(ref, after, 1000)
    if (messages.length === 0) return ids
    ids.push(...messages.map(({ payload }) => (JSON.parse(String(payload)) as DeviceEvent).eventId))
    after = messages.at(-1)?.seq ?? after
  }
}

test('a filtered copy and the stream of the devices have everything once and in order, also when Telltale is killed in the middle', async () => {
  const ref = await stream('humid')
  const devices = { project, record: await core.streams.get(project, DEVICES) }
  await publish([temperature('copied-1', 0, { eventId: 'before' })])
  await core.subscriptions.create(devices, 's', 'exclusive')
  const url = await connector('humid', { events: ['humidity'] })
  const ids: string[] = []
  for (let round = 0; round < 2; round++) {
    const numbers = Array.from({ length: 1500 }, (_, i) => round * 1500 + i)
    const events = numbers.flatMap(n => [humid('copied-1', n), { ...temperature('copied-1', n), eventId: `copied-1-t${n}` }])
    await publish(events)
    ids.push(...events.map(({ eventId }) => eventId))
    if (round < 1) await killAndRestart()
  }
  const wanted = ids.filter(id => id.startsWith('copied-1-h'))
  await until('all of them', async () => (await core.streams.stats(ref)).lastSeq >= wanted.length, 60_000)
  expect(await idsIn(ref)).toEqual(wanted)
  const [message] = await core.streams.read(ref, 0, 1)
  expect(message).toMatchObject({ key: 'copied-1', properties: { device: 'copied-1', eventType: 'humidity', eventId: 'copied-1-h0' } })
  await eventually(async () =>
    expect((await telltale.http(`${url}:metrics`)).json).toMatchObject({ progress: { failingSince: null, gapCount: 0 } }),
  )
  expect(await consumed(devices, 's', ids.length)).toEqual(ids)
  await core.subscriptions.remove(devices, 's')
}, 120_000)

/** Ids of so many events as a consumer gets them. */
async function consumed(ref: Ref, subscription: string, count: number): Promise<string[]> {
  const ids: string[] = []
  const consumer = await core.dispatch.join(
    ref,
    { subscription, type: 'exclusive', window: 500 },
    {
      receive: deliveries => {
        ids.push(...deliveries.map(({ message }) => (JSON.parse(String(message.payload)) as DeviceEvent).eventId))
        setImmediate(() => consumer.ack(deliveries.map(({ message }) => message.seq)))
      },
      ended: failure => expect(failure).toBeUndefined(),
    },
  )
  await until('all of them', () => ids.length >= count, 60_000)
  await consumer.leave()
  return ids
}

test('a stream that is gone holds its connector, which says so, and loses nothing', async () => {
  await stream('comes-and-goes')
  const url = await connector('comes-and-goes', { events: ['humidity'] })
  await core.streams.remove(project, 'comes-and-goes')
  await publish([humid('held-1', 1), humid('held-1', 2)])
  const lastError = 'stream comes-and-goes does not exist'
  await eventually(async () => expect((await telltale.http(`${url}:metrics`)).json).toMatchObject({ progress: { lastError } }))
  const ref = await stream('comes-and-goes')
  await until('both', async () => (await core.streams.stats(ref)).lastSeq === 2, 20_000)
  expect(await idsIn(ref)).toEqual(['held-1-h1', 'held-1-h2'])
}, 40_000)

test('a data connector of type STREAM has a shape of its own, and is refused with a reason', async () => {
  await stream('shape')
  const url = await connector('shape', { displayName: 'copy', labels: ['zone'] })
  const { json } = await telltale.http(url)
  expect(json).toEqual({
    name: url.slice('/v2/'.length),
    displayName: 'copy',
    type: 'STREAM',
    status: 'ACTIVE',
    events: [],
    labels: ['zone'],
    streamConfig: { stream: 'shape' },
  })
  expect((await telltale.send('PATCH', url, json)).json).toEqual(json)
  const refused = async (body: Json, reason: RegExp, method = 'POST', path = CONNECTORS) => {
    const { status, json: answer } = await telltale.send(method, path, body)
    expect([status, answer['error']]).toEqual([400, expect.stringMatching(reason)])
  }
  const labels = Array.from({ length: 25 }, (_, i) => `label-${i}`)
  await refused({ type: 'STREAM', streamConfig: { stream: 'shape' }, labels }, /^labels: expected at most 24/)
  await refused({ type: 'STREAM' }, /^streamConfig\.stream: /)
  await refused({ type: 'STREAM', streamConfig: { stream: 'nowhere' } }, /^streamConfig\.stream: .*"nowhere"/)
  await refused({ type: 'STREAM', streamConfig: { stream: DEVICES } }, /^streamConfig\.stream: /)
  const owned = await stream('owned')
  await core.streams.append(owned, [{ payload: Buffer.from('{}') }], { owner: 'only-me' })
  await refused({ type: 'STREAM', streamConfig: { stream: 'owned' } }, /^streamConfig\.stream: .*one producer/)
  await refused({ type: 'STREAM', streamConfig: { stream: 'shape' }, httpConfig: { url: 'https://example.com/' } }, /^httpConfig: /)
  await refused({ type: 'HTTP_PUSH', httpConfig: { url: 'https://example.com/' }, streamConfig: { stream: 'shape' } }, /^streamConfig: /)
  await refused({ type: 'HTTP_PUSH', httpConfig: { url: 'https://example.com/' } }, /^type: /, 'PATCH', url)
})

test('what the devices send is a stream that every project has, and that nobody else writes or removes', async () => {
  expect((await core.streams.list(project)).map(({ name }) => name)).toContain(DEVICES)
  const ref = { project, record: await core.streams.get(project, DEVICES) }
  await expect(core.streams.append(ref, [{ payload: Buffer.from('{}') }])).rejects.toMatchObject({ code: 'forbidden' })
  await expect(core.streams.remove(project, DEVICES)).rejects.toMatchObject({ code: 'forbidden' })
  await expect(core.streams.create(project, DEVICES)).rejects.toMatchObject({ code: 'conflict' })
})

test('a producer of messages is a sensor: each is stored once, and what is no event is in the quarantine', async () => {
  const ref = await stream('sensors', { decoder: 'json' })
  const devices = ['decoded-0', 'decoded-1', 'decoded-2', 'decoded-3']
  const messages = Array.from({ length: 1000 }, (_, i) => ({
    payload: Buffer.from(JSON.stringify({ temperature: { value: i } })),
    key: devices[i % devices.length] as string,
  }))
  const bad = Array.from({ length: 5 }, () => ({ payload: Buffer.from('{"temperature":'), key: 'decoded-0' }))
  await core.streams.append(ref, messages.slice(0, 500))
  await core.streams.append(ref, bad)
  await killAndRestart()
  await core.streams.append(ref, messages.slice(500))
  await until(
    'everything is decoded',
    async () => {
      const found = await core.subscriptions.find(ref, DECODER_SUBSCRIPTION)
      return found !== undefined && (await core.subscriptions.stats(ref, DECODER_SUBSCRIPTION)).backlog === 0
    },
    60_000,
  )
  for (const [d, device] of devices.entries()) {
    const values = messages.map((_, i) => i).filter(i => i % devices.length === d)
    await eventually(async () => expect((await stored(telltale, device)).map(temperatureOf).toSorted(byNumber)).toEqual(values), 20_000)
  }
  const { json } = await telltale.http('/v2/projects/default/quarantine?pageSize=100')
  const refused = (json['quarantine'] as { source: string; payload: string }[]).filter(({ source }) =>
    source.startsWith('stream sensors message '),
  )
  expect(new Set(refused.map(({ source }) => source)).size).toBe(5)
  expect(refused[0]?.payload).toBe('{"temperature":')
}, 120_000)

/** Many are published in one millisecond. */
const byNumber = (a: unknown, b: unknown) => Number(a) - Number(b)

test('a connector that copies into a stream with a decoder makes no circle', async () => {
  const ref = await stream('circle', { decoder: 'json' })
  await connector('circle', { events: ['temperature'] })
  await core.streams.append(ref, [{ payload: Buffer.from('{"temperature":{"value":7}}'), key: 'circle-1' }])
  await until('its event is copied', async () => (await core.streams.stats(ref)).lastSeq >= 2, 20_000)
  await until('the copy is passed over', async () => (await core.subscriptions.stats(ref, DECODER_SUBSCRIPTION)).ackedTo >= 2, 20_000)
  // What comes behind it shows that nothing else was on its way.
  await core.streams.append(ref, [{ payload: Buffer.from('{"temperature":{"value":8}}'), key: 'circle-1' }])
  await until('the next is copied', async () => (await core.streams.stats(ref)).lastSeq >= 4, 20_000)
  expect((await core.streams.stats(ref)).lastSeq).toBe(4)
  await eventually(async () => expect((await stored(telltale, 'circle-1')).map(temperatureOf)).toEqual([7, 8]))
}, 60_000)
