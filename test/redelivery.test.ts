// What is sent twice is one event; what only looks so is two; and nothing is promised while the log hangs.
import type { MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { DeviceEvent } from '../packages/core/event.ts'
import { publishOn } from './load.ts'
import type { Reader } from './reader.ts'
import { openWire } from './wire.ts'
import {
  EVENTS,
  eventually,
  redisPid,
  removeDirectories,
  startTelltale,
  stored,
  type Telltale,
  target,
  temperature,
  temperatureOf,
  until,
} from './world.ts'

const TIME = '2026-03-02T06:41:09.104000Z'

let telltale: Telltale
let client: MqttClient
let reader: Reader

beforeAll(async () => {
  telltale = await startTelltale()
  client = await telltale.mqtt()
  reader = await telltale.stream()
})
afterAll(async () => {
  await client.endAsync()
  reader.close()
  await telltale.remove()
  await removeDirectories()
})

/** What the stream brings of a device, once it has brought that many. */
async function followed(device: string, count: number): Promise<DeviceEvent[]> {
  const own = () => reader.events().filter(({ targetName }) => targetName === target(device))
  await until(`${count} events of ${device} are followed`, () => own().length >= count)
  return own()
}

const valuesOf = async (device: string) => (await stored(telltale, device)).map(temperatureOf)

describe('what is sent twice', () => {
  /** Everything that is stored of a device once something sent after it is stored too. */
  async function storedInTheEnd(device: string): Promise<unknown[]> {
    await client.publishAsync(`d/${device}-end/temperature`, '0', { qos: 1 })
    await eventually(async () => expect(await valuesOf(`${device}-end`)).toEqual([0]))
    return valuesOf(device)
  }

  test('the same eventId is one event, whichever door it comes through and however often', async () => {
    const event = temperature('twice-id', 1, { eventId: 'twice' })
    await Promise.all([1, 2, 3].map(() => telltale.send('POST', EVENTS, event)))
    expect((await telltale.send('POST', EVENTS, [event, event])).json).toEqual({ accepted: 2, rejected: 0, errors: [] })
    await client.publishAsync(`${target('twice-id')}/events`, JSON.stringify(event), { qos: 1 })
    expect(await storedInTheEnd('twice-id')).toEqual([1])
    expect(await followed('twice-id', 1)).toHaveLength(1)
  })

  test('the same content with its own time is one event; another value at that time is another', async () => {
    const at = (value: number) => temperature('twice-content', value, { timestamp: TIME })
    for (const event of [at(1), at(1), at(2), at(2)]) await telltale.send('POST', EVENTS, event)
    expect(new Set(await storedInTheEnd('twice-content'))).toEqual(new Set([1, 2]))
    expect(await stored(telltale, 'twice-content')).toHaveLength(2)
  })

  test('a packet of thousands of events without id or time does not hold the server up', async () => {
    const events = JSON.stringify(Array.from({ length: 5000 }, (_, i) => temperature('many', i)))
    await client.publishAsync(`${target('many')}/events`, events, { qos: 1 })
    await client.publishAsync(`d/many-end/temperature`, '0', { qos: 1 })
    await eventually(async () => expect(await stored(telltale, 'many')).toHaveLength(5000))
  })

  test('an Idempotency-Key makes a retry harmless, and only a retry', async () => {
    const post = (key: string) => telltale.send('POST', EVENTS, temperature('retried', 1), { 'idempotency-key': key })
    for (const key of ['first', 'first', 'first', 'second']) expect((await post(key)).status).toBe(200)
    expect(await storedInTheEnd('retried')).toEqual([1, 1])
  })

  test.each([true, false])('a packet that a cut-off client sends again is one event, DUP %s', async dup => {
    const device = `redelivered-${dup}`
    const first = await openWire(telltale.mqttPort(), telltale.key, device, false)
    await first.publish(7, `d/${device}/temperature`, '5')
    await first.cut()
    const second = await openWire(telltale.mqttPort(), telltale.key, device, false)
    await second.publish(7, `d/${device}/temperature`, '5', dup)
    await second.publish(8, `d/${device}/temperature`, '5')
    await second.leave()
    expect(await storedInTheEnd(device)).toEqual([5, 5])
  })

  test.each([true, false])('a battery sensor that wakes to send the same value is heard each time, clean session %s', async clean => {
    const device = `battery-${clean}`
    for (let i = 0; i < 5; i++) {
      const wire = await openWire(telltale.mqttPort(), telltale.key, device, clean)
      await wire.publish(1, `d/${device}/temperature`, '21.5')
      await wire.leave()
    }
    expect(await storedInTheEnd(device)).toEqual([21.5, 21.5, 21.5, 21.5, 21.5])
  })
})

describe('while Redis hangs', () => {
  test('nothing is acknowledged, senders are told to wait, and afterwards everything goes through once', async () => {
    const waiting = await openWire(telltale.mqttPort(), telltale.key, 'patient', false)
    const busy = await telltale.mqtt()
    const load = publishOn(busy, 'hanging-load')
    await until('publishes are acknowledged', () => load.acked.size > 100)
    const pid = await redisPid(telltale.dir)
    process.kill(pid, 'SIGSTOP')
    try {
      waiting.send({ cmd: 'publish', qos: 1, dup: false, retain: false, messageId: 9, topic: 'd/hanging-mqtt/temperature', payload: '1' })
      const post = telltale.send('POST', EVENTS, temperature('hanging-http', 1), { 'idempotency-key': 'hanging' })
      const [posted, ready, health] = await Promise.all([post, telltale.http('/readyz'), telltale.http('/healthz')])
      expect(posted.status).toBe(503)
      expect(Number(posted.headers.get('retry-after'))).toBeGreaterThan(0)
      expect([ready.status, ready.json['status']]).toEqual([503, 'not ready'])
      expect(health.status).toBe(200)
      await until('the connection is closed', () => waiting.hasEnded())
      expect(waiting.received.filter(({ cmd }) => cmd === 'puback')).toEqual([])
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await load.end()
    await eventually(async () => expect((await telltale.http('/readyz')).status).toBe(200))
    const again = await openWire(telltale.mqttPort(), telltale.key, 'patient', false)
    await again.publish(9, 'd/hanging-mqtt/temperature', '1', true)
    await again.leave()
    await eventually(async () => {
      expect((await telltale.send('POST', EVENTS, temperature('hanging-http', 1), { 'idempotency-key': 'hanging' })).status).toBe(200)
    })
    await client.publishAsync('d/hanging-end/temperature', '0', { qos: 1 })
    await eventually(async () => expect(await valuesOf('hanging-end')).toEqual([0]))
    expect(await valuesOf('hanging-mqtt')).toEqual([1])
    expect(await valuesOf('hanging-http')).toEqual([1])
    const values = await valuesOf('hanging-load')
    expect([...load.acked].filter(value => !values.includes(value))).toEqual([])
    expect(new Set(values).size).toBe(values.length)
  })
})
