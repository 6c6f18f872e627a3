// Streams over MQTT: whoever subscribes to `projects/{project}/devices:stream?…` gets what HTTP followers get, on exactly that topic.
import { connect } from 'node:net'
import type { IClientOptions, MqttClient } from 'mqtt'
import { generate } from 'mqtt-packet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { publishOn } from './load.ts'
import type { Frame } from './reader.ts'
import { openWire } from './wire.ts'
import { EVENTS, eventually, removeDirectories, startTelltale, type Telltale, temperature, temperatureOf, until } from './world.ts'

const TOPIC = 'projects/default/devices:stream'

let telltale: Telltale
const clients: MqttClient[] = []

beforeAll(async () => {
  telltale = await startTelltale({ env: { TELLTALE_LABEL_FILTERS: 'any', TELLTALE_STREAM_PATIENCE: '3s' } })
})
afterAll(async () => {
  for (const client of clients) client.end(true)
  await telltale.remove()
  await removeDirectories()
})

type Follower = { readonly client: MqttClient; readonly topics: string[]; frames(): Frame[]; values(): unknown[] }

async function open(options: IClientOptions = {}): Promise<MqttClient> {
  const client = await telltale.mqtt(options)
  clients.push(client)
  return client
}

async function follow(topic: string, qos: 0 | 1 = 0, options: IClientOptions = {}): Promise<Follower> {
  const client = await open(options)
  const topics: string[] = []
  const messages: string[] = []
  client.on('message', (on, payload) => {
    topics.push(on)
    messages.push(payload.toString('utf8'))
  })
  const [granted] = await client.subscribeAsync(topic, { qos })
  expect(granted).toMatchObject({ topic, qos })
  const frames = () => messages.map(text => JSON.parse(text) as Frame)
  const values = () =>
    frames().flatMap(({ result }) => (result?.event && result.event.eventType !== 'ping' ? [temperatureOf(result.event)] : []))
  return { client, topics, frames, values }
}

async function publish(device: string, ...values: number[]): Promise<void> {
  const { status, text } = await telltale.send(
    'POST',
    EVENTS,
    values.map(value => temperature(device, value)),
  )
  if (status !== 200) throw new Error(text)
}

const openStreams = async () => Number(/^telltale_streams_open (\d+)/m.exec((await telltale.http('/metrics')).text)?.[1])

describe('a stream topic', () => {
  test.each([0, 1] as const)('carries the frames of HTTP, whichever door the events came by, with QoS %i', async qos => {
    const device = `mq-${qos}`
    const topic = `${TOPIC}?device_ids=${device}&eventTypes=temperature`
    const reader = await telltale.stream(`device_ids=${device}`)
    const follower = await follow(topic, qos)
    await publish(device, 1, 2)
    const sender = await open()
    await sender.publishAsync(`d/${device}/temperature`, '3', { qos: 1 })
    await sender.publishAsync(`d/${device}/humidity`, '{"relativeHumidity":50,"temperature":20}', { qos: 1 })
    await reader.have(4)
    await eventually(() => expect(follower.values()).toEqual([1, 2, 3]))
    expect(follower.frames()).toEqual(reader.frames().slice(0, 3))
    expect(new Set(follower.topics)).toEqual(new Set([topic]))
    const again = await follow(`${TOPIC}?device_ids=${device}&cursor=${follower.frames()[0]?.result?.cursor}`, qos)
    await eventually(() => expect(again.frames()).toHaveLength(3))
    reader.close()
  })

  test('takes filters by label, pings, one device, and alarms', async () => {
    await telltale.send('PUT', '/v2/projects/default/devices/mq-north', { type: 'temperature', labels: { zone: 'north' } })
    const north = await follow(`${TOPIC}?label_filters=zone%3Dnorth&ping_interval=1s`)
    await telltale.send('PUT', '/v2/projects/default/devices/mq-one', { type: 'temperature' })
    const one = await follow('projects/default/devices/mq-one:stream')
    const alarms = await follow('projects/default/alarms:stream', 1)
    await publish('mq-south', 1)
    await publish('mq-north', 2)
    await publish('mq-one', 3)
    await eventually(() => expect(north.values()).toEqual([2]))
    await eventually(() => expect(one.values()).toEqual([3]))
    await until('there are pings', () => north.frames().filter(({ result }) => result?.event?.eventType === 'ping').length >= 2)
    expect(alarms.frames()).toEqual([])
  })

  test('takes any of several labels where the installation is set so, as HTTP and lists do, and all of them when asked to', async () => {
    const base = '/v2/projects/default/devices'
    await telltale.send('PUT', `${base}/mq-cold`, { type: 'temperature', labels: { mq: 'cold' } })
    await telltale.send('PUT', `${base}/mq-both`, { type: 'temperature', labels: { mq: 'cold', mqSite: '' } })
    await telltale.send('PUT', `${base}/mq-bare`, { type: 'temperature' })
    const two = 'label_filters=mq%3Dcold&label_filters=mqSite'
    const any = await follow(`${TOPIC}?${two}`)
    const all = await follow(`${TOPIC}?${two}&label_match=all`)
    const before = await openStreams()
    const reader = await telltale.stream(two)
    for (const [i, device] of ['mq-cold', 'mq-bare', 'mq-both'].entries()) await publish(device, i)
    await eventually(() => expect(any.values()).toEqual([0, 2]))
    await eventually(() => expect(all.values()).toEqual([2]))
    await reader.have(2)
    expect(reader.frames()).toEqual(any.frames())
    const listed = async (query: string) =>
      ((await telltale.http(`${base}?${query}`)).json['devices'] as { name: string }[]).map(({ name }) => name.split('/')[3])
    expect([await listed(two), await listed(`${two}&labelMatch=all`)]).toEqual([['mq-both', 'mq-cold'], ['mq-both']])
    reader.close()
    // Others count them.
    await eventually(async () => expect(await openStreams()).toBe(before))
  })

  test('ends with the subscription, and with the connection', async () => {
    const before = await openStreams()
    const follower = await follow(`${TOPIC}?device_ids=mq-ending`)
    await follower.client.subscribeAsync(`${TOPIC}?device_ids=mq-second`)
    expect(await openStreams()).toBe(before + 2)
    await follower.client.unsubscribeAsync(`${TOPIC}?device_ids=mq-ending`)
    expect(await openStreams()).toBe(before + 1)
    await publish('mq-ending', 1)
    await publish('mq-second', 2)
    await eventually(() => expect(follower.values()).toEqual([2]))
    await follower.client.endAsync()
    await eventually(async () => expect(await openStreams()).toBe(before))
  })

  test('is refused with 0x80 when it is not to be had, and nobody can publish to it', async () => {
    const client = await open()
    const refused = [
      'projects/other/devices:stream',
      `${TOPIC}?ping_interval=1`,
      `${TOPIC}?colour=blue`,
      `${TOPIC}?cursor=x`,
      `${TOPIC}?event_types=a%20b`,
      'projects/default/rules:stream',
    ]
    for (const topic of refused.slice(0, 5)) await expect(client.subscribeAsync(topic), topic).rejects.toThrow()
    const follower = await follow(TOPIC)
    const liar = await open()
    liar.on('error', () => liar.end(true))
    liar.publish(TOPIC, '{"result":{}}', { qos: 1 })
    await new Promise<void>(resolve => liar.once('close', () => resolve()))
    await publish('mq-truth', 1)
    await eventually(() => expect(follower.values()).toContain(1))
    expect(follower.frames().every(({ result }) => result?.event !== undefined)).toBe(true)
  })

  test('leaves ordinary topics of the same client as they are', async () => {
    const client = await open()
    const got: string[] = []
    client.on('message', topic => got.push(topic))
    await client.subscribeAsync(`${TOPIC}?device_ids=mq-both`, { qos: 1 })
    await client.subscribeAsync('projects/default/devices/+/events/#', { qos: 1 })
    const sender = await open()
    const load = publishOn(sender, 'mq-both', { window: 50 })
    await until('there is load', () => load.acked.size > 2000)
    await load.end()
    const count = load.acked.size
    const of = (prefix: string) => got.filter(topic => topic.startsWith(prefix)).length
    await eventually(() => expect([of(TOPIC), of('projects/default/devices/mq-both/')]).toEqual([count, count]))
  })

  test('goes on in a session that lasts, from now', async () => {
    const options = { clientId: 'mq-lasting', clean: false }
    const first = await follow(`${TOPIC}?device_ids=mq-lasting`, 1, options)
    await publish('mq-lasting', 1)
    await eventually(() => expect(first.values()).toEqual([1]))
    await first.client.endAsync()
    const again = await open(options)
    const got: unknown[] = []
    again.on('message', (_topic, payload) => got.push((JSON.parse(payload.toString('utf8')) as Frame).result?.event))
    await publish('mq-lasting', 2)
    await eventually(() => expect(got).toHaveLength(1))
  })
})

describe('a session that is restored', () => {
  const restored = async (clientId: string, topic: string) => {
    const first = await openWire(telltale.mqttPort(), telltale.key, clientId, false)
    first.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 1 }] })
    await until('SUBACK', () => first.received.some(({ cmd }) => cmd === 'suback'))
    await first.cut()
    const again = await openWire(telltale.mqttPort(), telltale.key, clientId, false)
    await until('a frame is there', () => again.received.some(({ cmd }) => cmd === 'publish'))
    return again
  }

  test.each(['ping_interval=1s', 'since=2020-01-01T00:00:00Z'])(
    'has its CONNACK before anything of its streams [MQTT-3.2.0-1]: %s',
    async query => {
      await publish('mq-restored', 1)
      const wire = await restored(`mq-restored-${query.slice(0, 4)}`, `${TOPIC}?device_ids=mq-restored&${query}`)
      expect(wire.received[0]).toMatchObject({ cmd: 'connack', returnCode: 0, sessionPresent: true })
      const ids = wire.received.flatMap(packet => (packet.cmd === 'publish' ? [packet.messageId] : []))
      expect(new Set(ids).size).toBe(ids.length)
      await wire.leave()
    },
  )
})

/** Connects and subscribes, and then reads nothing more. */
async function stall(topic: string, clientId: string) {
  const { keyId, secret } = telltale.key
  const socket = connect({ port: telltale.mqttPort(), host: '127.0.0.1' })
  // The server cuts it off: that is what is waited for.
  socket.on('error', () => socket.destroy())
  socket.write(
    generate({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clientId,
      clean: true,
      keepalive: 0,
      username: keyId,
      password: Buffer.from(secret),
    }),
  )
  socket.write(generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 0 }] } as never))
  let got = 0
  const taken = (part: Buffer) => {
    got += part.length
  }
  socket.on('data', taken)
  await until('CONNACK and SUBACK are there', () => got >= 4 + 5)
  socket.off('data', taken)
  socket.pause()
  return socket
}

describe('a subscriber that stops reading', () => {
  const filler = 'x'.repeat(30_000)
  const flood = async (device: string, events: number) => {
    for (let n = 0; n < events; n++)
      expect((await telltale.send('POST', EVENTS, { ...temperature(device, n), data: { temperature: { value: n, filler } } })).status).toBe(
        200,
      )
  }

  test('holds up neither ingest nor other subscribers, on an ordinary topic', async () => {
    const socket = await stall('projects/default/devices/mq-stalled/events/#', 'mq-stalled')
    const client = await open()
    const got: string[] = []
    const other = await open()
    other.on('message', topic => got.push(topic))
    await other.subscribeAsync('projects/default/devices/mq-stalled/events/#')
    const slowest = { ms: 0 }
    const payload = JSON.stringify({ value: 1, filler })
    for (let n = 0; n < 300; n++) {
      const startedMs = performance.now()
      await client.publishAsync('d/mq-stalled/temperature', payload, { qos: 1 })
      slowest.ms = Math.max(slowest.ms, performance.now() - startedMs)
    }
    // The acknowledgement does not wait for subscribers; the stalled one is cut off after a second.
    expect(slowest.ms).toBeLessThan(1000)
    await eventually(() => expect(got).toHaveLength(300))
    socket.destroy()
  }, 30_000)

  test('of a stream is held back alone, and cut off', async () => {
    const socket = await stall(`${TOPIC}?device_ids=mq-slow`, 'mq-slow')
    const healthy = await follow(`${TOPIC}?device_ids=mq-slow`)
    const before = await openStreams()
    await flood('mq-slow', 300)
    await eventually(() => expect(healthy.values()).toHaveLength(300))
    await eventually(async () => expect(await openStreams()).toBe(before - 1), 25_000)
    socket.destroy()
  }, 40_000)

  test('and asked for the newest only, gets the newest when it reads on', async () => {
    const socket = await stall(`${TOPIC}?device_ids=mq-latest&slow_policy=latest`, 'mq-latest')
    await flood('mq-latest', 200)
    let text = ''
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1')
    })
    socket.resume()
    await until('the newest is there', () => text.includes('"value":199,'))
    expect((text.match(/"eventId":/g) ?? []).length).toBeLessThan(200)
    socket.destroy()
  })
})
