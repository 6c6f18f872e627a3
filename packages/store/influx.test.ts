// The InfluxDB adapter against the contract on a real server, and what only a server has: it goes away.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { storeContract, storeEvent } from './contract.ts'
import { openInfluxStore } from './influx.ts'
import type { Influxd } from './influxd.ts'
import { hasInfluxd, startInfluxd } from './influxd.ts'
import { pastContract } from './pastcontract.ts'
import { scanContract } from './scancontract.ts'

describe.skipIf(!hasInfluxd())('with a real influxd', () => {
  let influxd: Influxd
  beforeAll(async () => {
    influxd = await startInfluxd()
  })
  afterAll(() => influxd.stop())

  storeContract('InfluxDB', () => openInfluxStore({ url: influxd.url, database: 'contract' }))
  pastContract('InfluxDB', () => openInfluxStore({ url: influxd.url, database: 'past' }))
  scanContract('InfluxDB', () => openInfluxStore({ url: influxd.url, database: 'scan' }))

  const ALWAYS = { fromUs: 0, toUs: Number.MAX_SAFE_INTEGER, limit: 10_000 }

  async function ask(question: string): Promise<string> {
    return (await fetch(`${influxd.url}/query?db=contract&q=${encodeURIComponent(question)}`)).text()
  }

  test('names never become measurements, tag keys or numbers of another type', async () => {
    expect(
      JSON.parse(await ask('SHOW MEASUREMENTS'))
        .results[0].series[0].values.flat()
        .sort(),
    ).toEqual(['co2', 'contact', 'humidity', 'networkStatus', 'temperature'])
    expect(JSON.parse(await ask('SHOW TAG KEYS FROM "temperature"')).results[0].series[0].values.flat()).toEqual(['device', 'project'])
    const fields: [string, string][] = JSON.parse(await ask('SHOW FIELD KEYS FROM "temperature"')).results[0].series[0].values
    for (const [field, type] of fields) expect(type).toBe(field === '_id' || field === '_event' ? 'string' : 'float')
  })

  test('while the server is away a write fails as unavailable; after its return the same batch is stored once', async () => {
    const store = await openInfluxStore({ url: influxd.url, database: 'away' })
    const batch = Array.from({ length: 500 }, (_, i) => storeEvent({ device: `d${i % 7}`, timeUs: 1_763_600_000_000_000 + i }))
    await store.write(batch.slice(0, 200))
    await influxd.kill()
    await expect(store.write(batch)).rejects.toMatchObject({ name: 'Failure', code: 'unavailable' })
    await expect(store.ping()).rejects.toMatchObject({ code: 'unavailable' })
    await expect(store.events({ project: 'p', device: 'd0', ...ALWAYS })).rejects.toMatchObject({ code: 'unavailable' })
    await influxd.restart()
    expect(await store.write(batch)).toEqual({ stored: 300, duplicates: 200 })
    expect(await store.write(batch)).toEqual({ stored: 0, duplicates: 500 })
    let found = 0
    for (let i = 0; i < 7; i++) found += (await store.events({ project: 'p', device: `d${i}`, ...ALWAYS })).length
    expect(found).toBe(500)
    await store.close()
  })

  test('a store opened before its server is there works once it is', async () => {
    await influxd.kill()
    const store = await openInfluxStore({ url: influxd.url, bucket: 'early' })
    await expect(store.ping()).rejects.toMatchObject({ code: 'unavailable' })
    await influxd.restart()
    expect(await store.write([storeEvent({})])).toEqual({ stored: 1, duplicates: 0 })
    await store.close()
  })

  test('lines that the server refuses are named and all others are stored', async () => {
    const store = await openInfluxStore({ url: influxd.url, database: 'refused' })
    const batch = Array.from({ length: 200 }, (_, i) => storeEvent({ timeUs: 1_763_600_000_000_000 + i, value: i }))
    // The years 1600 and 9999 are outside what 64 bits of nanoseconds can tell.
    const bad = [storeEvent({ timeUs: -11_676_096_000_000_000 }), storeEvent({ timeUs: 253_402_300_799_000_000 })]
    const failure = await store.write([...batch.slice(0, 77), ...bad, ...batch.slice(77)]).catch(cause => cause)
    expect(failure).toMatchObject({ name: 'Failure', code: 'invalid' })
    expect(failure.cause).toMatchObject({ name: 'RefusedEvents', events: bad })
    expect(await store.write(batch)).toEqual({ stored: 0, duplicates: 200 })
    expect(await store.events({ project: 'p', device: 'd1', ...ALWAYS })).toHaveLength(200)
    await store.close()
  })

  test('a database that was dropped is made again', async () => {
    const store = await openInfluxStore({ url: influxd.url, database: 'dropped' })
    await store.write([storeEvent({})])
    const dropped = await fetch(`${influxd.url}/query?q=${encodeURIComponent('DROP DATABASE "dropped"')}`, { method: 'POST' })
    expect(JSON.parse(await dropped.text())).toEqual({ results: [{ statement_id: 0 }] })
    const event = storeEvent({ timeUs: 1_763_700_000_000_000 })
    await expect(store.write([event])).rejects.toMatchObject({ code: 'unavailable' })
    expect(await store.write([event])).toEqual({ stored: 1, duplicates: 0 })
    await store.close()
  })
})

describe('with a server that answers as told', () => {
  type Answer = { status: number; headers?: Record<string, string>; body?: string }
  const requests: { path: string; authorization: string | undefined; body: string }[] = []
  let answer: (path: string) => Answer = () => ({ status: 204 })
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', part => {
      body += String(part)
    })
    request.on('end', () => {
      requests.push({ path: request.url ?? '', authorization: request.headers.authorization, body })
      const { status, headers = {}, body: text = '' } = answer(request.url ?? '')
      response.writeHead(status, headers).end(text)
    })
  })
  beforeAll(async () => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  afterAll(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const json = { 'content-type': 'application/json' }
  const version2 = (path: string): Answer => {
    if (path.startsWith('/ping')) return { status: 204, headers: { 'x-influxdb-version': 'v2.7.1' } }
    return path.startsWith('/query') ? { status: 200, headers: json, body: '{"results":[{"statement_id":0}]}' } : { status: 204 }
  }

  test('InfluxDB 2 is written through its own API and asked in InfluxQL, both with the token', async () => {
    answer = version2
    requests.length = 0
    const store = await openInfluxStore({ url: url(), token: 'secret', org: 'my org', bucket: 'b&c' })
    expect(await store.write([storeEvent({ device: 'küche 1' })])).toEqual({ stored: 1, duplicates: 0 })
    expect(requests.map(({ path }) => path)).toEqual([
      '/ping',
      '/query?db=b%26c',
      '/query?db=b%26c',
      '/api/v2/write?org=my%20org&bucket=b%26c&precision=ns',
    ])
    expect(requests.every(({ authorization }) => authorization === 'Token secret')).toBe(true)
    expect(requests.at(-1)?.body).toMatch(
      /^temperature,device=küche\\ 1,project=p _id="e\d+",_event="\{.*\}",value=21.5 1763600000000000\d{3}$/,
    )
    await store.close()
  })

  test('an overloaded server is unavailable, and says for how long', async () => {
    answer = path => (path.includes('write') ? { status: 503, headers: { 'retry-after': '7' } } : version2(path))
    const store = await openInfluxStore({ url: url(), token: 'secret', bucket: 'b' })
    await expect(store.write([storeEvent({})])).rejects.toMatchObject({ code: 'unavailable', retryAfterMs: 7000 })
    await store.close()
  })

  test('wrong credentials are a matter of settings', async () => {
    answer = path => (path.startsWith('/ping') ? version2(path) : { status: 401, headers: json, body: '{"error":"unauthorized"}' })
    const store = await openInfluxStore({ url: url(), token: 'wrong', bucket: 'b' })
    await expect(store.ping()).rejects.toMatchObject({ code: 'setup', message: expect.stringContaining('TELLTALE_INFLUX_TOKEN') })
    await store.close()
  })

  test('a server that never answers is unavailable after the timeout', async () => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const store = await openInfluxStore({ url: `http://127.0.0.1:${port}`, database: 'd', timeoutMs: 50 })
    await expect(store.write([storeEvent({})])).rejects.toMatchObject({ code: 'unavailable' })
    await store.close()
    silent.closeAllConnections()
    silent.close()
  })

  test('settings that cannot work are refused at once', async () => {
    await expect(openInfluxStore({ url: 'localhost:8086', database: 'd' })).rejects.toMatchObject({ code: 'setup' })
    await expect(openInfluxStore({ url: 'http://localhost:8086' })).rejects.toMatchObject({ code: 'setup' })
  })
})
