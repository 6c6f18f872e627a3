// InfluxDB goes away for a while: everything but the store goes on, and then the readings arrive, each once (P2, P5).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasInfluxd, type Influxd, startInfluxd } from '../packages/store/influxd.ts'
import { publishOn } from './load.ts'
import { type Receiver, SECRET, startReceiver } from './receiver.ts'
import { eventually, removeDirectories, startTelltale, stored, type Telltale, temperatureOf, until } from './world.ts'

const PROJECT = '/v2/projects/default'

describe.skipIf(!hasInfluxd())('while InfluxDB is away', () => {
  let influxd: Influxd
  let telltale: Telltale
  let receiver: Receiver

  beforeAll(async () => {
    ;[influxd, receiver] = await Promise.all([startInfluxd(), startReceiver()])
    telltale = await startTelltale({
      env: { TELLTALE_INFLUX_URL: influxd.url, TELLTALE_INFLUX_DATABASE: 'telltale', TELLTALE_WEBHOOK_ALLOW_PRIVATE: 'true' },
    })
    await telltale.send('PUT', `${PROJECT}/channels/ops`, { type: 'webhook', url: receiver.url, secret: SECRET })
    const when = { threshold: { field: 'temperature.value', above: 30 } }
    await telltale.send('PUT', `${PROJECT}/rules/hot`, { when, select: { devices: ['oven'] }, notify: ['ops'] })
  })
  afterAll(async () => {
    await telltale.remove()
    await receiver.stop()
    await influxd.stop()
    await removeDirectories()
  })

  const reading = (device: string, value: number) =>
    telltale.send('POST', `${PROJECT}/devices/${device}:publish`, { temperature: { value } })
  const storeFailures = () => telltale.program().complained().split('drain failed').length - 1

  async function storeLagMs(): Promise<number> {
    const { json } = await telltale.http(`${PROJECT}/status`)
    return (json['consumers'] as { store: { lagMs: number } }).store.lagMs
  }

  async function allOnce(device: string, acked: ReadonlySet<number>): Promise<void> {
    await eventually(async () => {
      const values = (await stored(telltale, device)).map(temperatureOf)
      expect([...acked].filter(value => !values.includes(value))).toEqual([])
      expect(new Set(values).size).toBe(values.length)
    }, 20_000)
  }

  test('alarms, webhooks and streams go on, it stays ready and names the store; then every reading arrives once', async () => {
    const client = await telltale.mqtt()
    const reader = await telltale.stream('device_ids=steady')
    const load = publishOn(client, 'steady', { window: 10 })
    await until('readings are stored', async () => (await stored(telltale, 'steady')).length > 100)

    await influxd.kill()
    await eventually(async () => {
      const { status, json } = await telltale.http('/readyz')
      expect([status, json['status'], json['redis']]).toEqual([200, 'ready', 'ok'])
      expect(json['store']).not.toBe('ok')
    })
    const before = load.acked.size
    await reading('oven', 31)
    await eventually(() => expect(receiver.taken().map(({ type }) => type)).toEqual(['alarm.active']))
    expect((await telltale.http(`${PROJECT}/devices/steady/events`)).status).toBe(503)
    await until('the store is seconds behind', async () => (await storeLagMs()) > 4000, 20_000)
    // Tried again about once a second, not as fast as events come.
    expect(storeFailures()).toBeLessThan(40)
    expect(load.acked.size).toBeGreaterThan(before + 1000)
    await load.end()
    await reader.have(load.acked.size)
    await reading('oven', 20)
    await eventually(() => expect(receiver.taken().map(({ type }) => type)).toEqual(['alarm.active', 'alarm.cleared']))

    await influxd.restart()
    await allOnce('steady', load.acked)
    await eventually(async () => expect((await stored(telltale, 'oven')).map(temperatureOf)).toEqual([31, 20]))
    expect((await telltale.http('/readyz')).json['store']).toBe('ok')
    expect(reader.events().map(temperatureOf)).toEqual(Array.from({ length: reader.events().length }, (_, i) => i))
    await client.endAsync()
    reader.close()
  }, 60_000)

  test('it also starts without InfluxDB, accepts, and stores when it comes', async () => {
    await influxd.kill()
    expect(await telltale.stop()).toBe(0)
    await telltale.restart()
    expect((await reading('early', 1)).status).toBe(200)
    await influxd.restart()
    await eventually(async () => expect((await stored(telltale, 'early')).map(temperatureOf)).toEqual([1]), 20_000)
  }, 60_000)
})
