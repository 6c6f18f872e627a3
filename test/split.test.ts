// Scaled mode: gateway, two workers, stream and console as processes of their own on one Redis and one InfluxDB.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasInfluxd, type Influxd, startInfluxd } from '../packages/store/influxd.ts'
import { publishOn } from './load.ts'
import { type Receiver, SECRET, startReceiver } from './receiver.ts'
import { type SharedRedis, startSharedRedis } from './redis.ts'
import { eventually, removeDirectories, startTelltale, stored, type Telltale, temperatureOf, until } from './world.ts'

const PROJECT = '/v2/projects/default'
const KEY = { keyId: 'split', secret: 'a-secret-for-all-of-them' }
const TAKEOVER_MS = 6000

describe.skipIf(!hasInfluxd())('roles in processes of their own', () => {
  let redis: SharedRedis
  let influxd: Influxd
  let receiver: Receiver
  let gateway: Telltale
  let workers: Telltale[]
  let stream: Telltale
  let people: Telltale

  beforeAll(async () => {
    redis = await startSharedRedis()
    ;[influxd, receiver] = await Promise.all([startInfluxd(), startReceiver()])
    const env = {
      TELLTALE_REDIS_URL: redis.url,
      TELLTALE_INFLUX_URL: influxd.url,
      TELLTALE_INFLUX_DATABASE: 'telltale',
      TELLTALE_SECRET_KEY: 'the same thirty-two characters everywhere',
      TELLTALE_ADMIN_KEY_ID: KEY.keyId,
      TELLTALE_ADMIN_SECRET: KEY.secret,
      TELLTALE_WEBHOOK_ALLOW_PRIVATE: '127.0.0.0/8',
    }
    const start = (role: string) => startTelltale({ env, roles: [role], key: KEY })
    gateway = await start('gateway')
    ;[stream, people, ...workers] = await Promise.all([start('stream'), start('console'), start('worker'), start('worker')])
  }, 60_000)
  afterAll(async () => {
    await Promise.all([people, stream, ...workers, gateway].map(telltale => telltale.remove()))
    await redis.stop()
    await receiver.stop()
    await influxd.stop()
    await removeDirectories()
  }, 60_000)

  test('each has its own doors, and says when it is ready', async () => {
    for (const telltale of [gateway, ...workers, stream, people]) {
      const { status, json } = await telltale.http('/readyz')
      expect([status, json['status'], json['redis']]).toEqual([200, 'ready', 'ok'])
    }
    expect((await gateway.http(`${PROJECT}/devices`)).status).toBe(404)
    expect((await people.http(`${PROJECT}/devices:stream`)).status).toBe(404)
    expect((await stream.send('POST', `${PROJECT}/events`, {})).status).toBe(404)
    expect(gateway.mqttPort()).toBeGreaterThan(0)
    expect(people.mqttPort()).toBe(0)
  })

  test('what is published at the gateway is judged, stored, streamed, told and shown', async () => {
    const events = await stream.stream('device_ids=oven')
    const alarms = await stream.stream('', { path: `${PROJECT}/alarms:stream` })
    await people.send('PUT', `${PROJECT}/channels/ops`, { type: 'webhook', url: receiver.url, secret: SECRET })
    const when = { threshold: { field: 'temperature.value', above: 30 } }
    const saved = await people.send('PUT', `${PROJECT}/rules/hot`, { when, select: { devices: ['oven'] }, notify: ['ops'] })
    expect(saved.status).toBe(200)
    const client = await gateway.mqtt()
    await client.publishAsync('d/oven/temperature', '31.5', { qos: 1 })
    await eventually(() => expect(events.events().map(temperatureOf)).toEqual([31.5]))
    await eventually(() => expect(alarms.alarms()).toMatchObject([{ device: 'oven', state: 'active', value: 31.5 }]))
    await eventually(() => expect(receiver.taken()).toMatchObject([{ type: 'alarm.active', valid: true }]))
    await eventually(async () => expect((await stored(people, 'oven')).map(temperatureOf)).toEqual([31.5]))
    const retained: string[] = []
    client.on('message', (_topic, payload) => void retained.push((JSON.parse(payload.toString()) as { state: string }).state))
    await client.subscribeAsync('projects/default/alarms/#')
    await eventually(() => expect(retained).toEqual(['active']))
    await client.endAsync()
    for (const reader of [events, alarms]) reader.close()
  })

  test('a killed worker’s partitions are taken over within seconds, with nothing lost or doubled', async () => {
    const judged = await stream.stream('', { path: `${PROJECT}/alarms:stream` })
    const client = await gateway.mqtt()
    const reader = await stream.stream('device_ids=steady')
    const load = publishOn(client, 'steady', { window: 5 })
    await until('readings are stored', async () => (await stored(people, 'steady')).length > 100)
    // One project is judged and stored by whichever worker holds its partitions: each in turn is killed and comes back.
    for (const [i, worker] of workers.entries()) {
      await worker.kill()
      const killedMs = performance.now()
      const device = `after-${i}`
      await people.send('PUT', `${PROJECT}/rules/${device}`, {
        when: { threshold: { field: 'temperature.value', above: 30 } },
        select: { devices: [device] },
        notify: ['ops'],
      })
      await client.publishAsync(`d/${device}/temperature`, '40', { qos: 1 })
      await until('the rest judges', () => judged.alarms().some(alarm => alarm.device === device), TAKEOVER_MS)
      await until('the rest stores', async () => (await stored(people, device)).length === 1, TAKEOVER_MS)
      await until('the rest tells', () => receiver.taken().some(({ alarm }) => alarm.device === device), TAKEOVER_MS)
      expect(performance.now() - killedMs).toBeLessThan(TAKEOVER_MS)
      await worker.restart()
    }
    await load.end()
    await reader.have(load.acked.size)
    await eventually(async () => {
      const values = (await stored(people, 'steady')).map(temperatureOf)
      expect([...load.acked].filter(value => !values.includes(value))).toEqual([])
      expect(new Set(values).size).toBe(values.length)
    })
    expect(reader.events().map(temperatureOf)).toEqual(Array.from({ length: reader.events().length }, (_, i) => i))
    expect(new Set(receiver.taken().map(({ id }) => id)).size).toBe(3)
    expect(judged.alarms().map(({ device, state }) => [device, state])).toEqual([
      ['after-0', 'active'],
      ['after-1', 'active'],
    ])
    await client.endAsync()
    for (const one of [reader, judged]) one.close()
  }, 60_000)
})
