// Data connectors from the event to the receiver: at least once, whoever fails, and nobody else notices (contracts.md 1.a.9).
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import jwt from 'jsonwebtoken'
import { generate } from 'selfsigned'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type PushReceiver, type Reply, startPushReceiver } from './pushed.ts'
import {
  EVENTS,
  eventually,
  type Json,
  newDirectory,
  removeDirectories,
  startTelltale,
  type Telltale,
  temperature,
  until,
} from './world.ts'

const CONNECTORS = '/v2/projects/default/dataconnectors'
const ENV = { TELLTALE_WEBHOOK_ALLOW_PRIVATE: '127.0.0.0/8', TELLTALE_CONNECTOR_TIMEOUT: '500ms' }

let telltale: Telltale
let receiver: PushReceiver

beforeAll(async () => {
  receiver = await startPushReceiver()
  telltale = await startTelltale({ env: ENV })
})
afterEach(async () => {
  receiver.answer({ status: 200 })
  for (const { name } of (await telltale.http(CONNECTORS)).json['dataConnectors'] as { name: string }[])
    await telltale.http(`/v2/${name}`, { method: 'DELETE' })
})
afterAll(async () => {
  await telltale.remove()
  await receiver.stop()
  await removeDirectories()
})

type Made = { readonly name: string; readonly path: string; readonly url: string }

/** Each has a path of its own at the receiver. */
async function connector(hook: string, more: Json = {}, httpConfig: Json = {}): Promise<Made> {
  const body = { type: 'HTTP_PUSH', httpConfig: { url: `${receiver.url}/${hook}`, ...httpConfig }, ...more }
  const { status, text, json } = await telltale.send('POST', CONNECTORS, body)
  expect(status, text).toBe(200)
  const name = json['name'] as string
  return { name, path: `/${hook}`, url: `/v2/${name}` }
}

/** Publishes numbered events and gives their ids. */
async function publish(device: string, from: number, to: number): Promise<string[]> {
  const ids = Array.from({ length: to - from }, (_, i) => `${device}-${from + i}`)
  const events = ids.map((eventId, i) => temperature(device, from + i, { eventId }))
  const { status, text } = await telltale.send('POST', EVENTS, events)
  expect(status, text).toBe(200)
  return ids
}

const got = (path: string) => receiver.pushed.filter(one => one.path === path)
const allTaken = (path: string, ids: readonly string[], limitMs = 10_000) =>
  eventually(() => expect([...new Set(receiver.taken(path))].toSorted()).toEqual(ids.toSorted()), limitMs)

const metricsOf = async ({ url }: Made) => (await telltale.http(`${url}:metrics`)).json as { metrics: Json; progress: Json }
/** These answers to the first requests to this connector, in order, and then 2xx. */
const answerFirst = ({ path }: Made, replies: Reply[]) =>
  receiver.answer(one => (one.path === path ? replies.shift() : undefined) ?? { status: 204 })

test('an event is pushed with the labels asked for, as they are now, and what is known of its device', async () => {
  const { path } = await connector('shape', { labels: ['zone', 'absent'] })
  await allTaken(path, await publish('shape-1', 0, 1))
  const metadata = { deviceId: 'shape-1', projectId: 'default', deviceType: 'temperature', productNumber: '' }
  expect(JSON.parse(got(path)[0]?.body ?? '')).toEqual({
    event: expect.objectContaining({ eventId: 'shape-1-0', targetName: 'projects/default/devices/shape-1', eventType: 'temperature' }),
    labels: {},
    metadata,
  })
  const labels = { devices: ['projects/default/devices/shape-1'], addLabels: { zone: 'nørd', floor: '2' } }
  expect((await telltale.send('POST', '/v2/projects/default/devices:batchUpdate', labels)).status).toBe(200)
  await until('the change of labels is pushed', () => got(path).some(({ event }) => event.eventType === 'labelsChanged'))
  await publish('shape-1', 1, 2)
  await until('the next event is pushed', () => got(path).length === 3)
  expect(got(path)[2]).toMatchObject({ labels: { zone: 'nørd' }, metadata })
})

test('only the types asked for are pushed', async () => {
  const { path } = await connector('types', { events: ['humidity'] })
  await publish('types-1', 0, 5)
  const data = { humidity: { temperature: 20, relativeHumidity: 40 } }
  const event = { ...temperature('types-1', 0, { eventId: 'humid' }), eventType: 'humidity', data }
  await telltale.send('POST', EVENTS, event)
  await allTaken(path, ['humid'])
  expect(got(path)).toHaveLength(1)
})

test('a signed event carries a JWT over the checksums of its bytes', async () => {
  const { path } = await connector('signed', {}, { signatureSecret: 's3cret', headers: { 'x-site': '7' } })
  await allTaken(path, await publish('signed-1', 0, 1))
  const [one] = got(path)
  const claims = jwt.verify(String(one?.headers['x-dt-signature']), 's3cret', { algorithms: ['HS256'] }) as jwt.JwtPayload
  expect(claims).toEqual({
    checksum: createHash('sha1')
      .update(one?.body ?? '')
      .digest('hex'),
    checksum_sha256: createHash('sha256')
      .update(one?.body ?? '')
      .digest('hex'),
    iat: expect.any(Number),
    exp: (claims.iat ?? 0) + 3600,
    jti: expect.stringMatching(/^[0-9a-v]{20}$/),
  })
  expect(one?.headers['x-site']).toBe('7')
})

test('a failing receiver is tried again until it has everything', async () => {
  const { path } = await connector('again')
  receiver.answer({ status: 500 })
  const ids = await publish('again-1', 0, 30)
  await until('some attempts', () => got(path).length >= 10)
  receiver.answer({ status: 200 })
  await allTaken(path, ids)
})

test('no answer in time, a redirect, a client error and "gone" are failures like any other', async () => {
  const made = await connector('odd')
  const { path } = made
  const redirect = { status: 302, headers: { location: `${receiver.url}/elsewhere` } }
  answerFirst(made, [{ status: 0 }, redirect, { status: 404 }, { status: 410 }])
  const ids = await publish('odd-1', 0, 1)
  await allTaken(path, ids, 60_000)
  expect(got(path).map(({ status }) => status)).toEqual([0, 302, 404, 410, 204])
  const pauses = got(path).map(({ atMs }, i, all) => atMs - (all[i - 1]?.atMs ?? atMs))
  for (const [i, fullMs] of [1000, 2000, 4000].entries()) expect(pauses[i + 2]).toBeGreaterThanOrEqual(fullMs / 2)
  expect(got('/elsewhere')).toEqual([])
}, 70_000)

test('Retry-After holds everything back, and no longer than it says', async () => {
  const made = await connector('later')
  const { path } = made
  answerFirst(made, [{ status: 503, headers: { 'retry-after': '2' } }])
  const ids = await publish('later-1', 0, 1)
  await until('the first attempt', () => got(path).length === 1)
  ids.push(...(await publish('later-1', 1, 3)))
  await allTaken(path, ids)
  const [refused, next] = got(path)
  expect((next?.atMs ?? 0) - (refused?.atMs ?? 0)).toBeGreaterThanOrEqual(1990)
})

test('an event that is refused holds back none of the others', async () => {
  const { path } = await connector('poison')
  receiver.answer(({ event }) => ({ status: event.eventId === 'poison-1-3' ? 400 : 200 }))
  const ids = await publish('poison-1', 0, 50)
  await allTaken(path, ids.toSpliced(3, 1))
  receiver.answer({ status: 200 })
  await allTaken(path, ids)
})

test('a receiver that hangs gets few attempts, and another connector’s events do not wait for it', async () => {
  const dead = await connector('dead')
  const healthy = await connector('healthy')
  receiver.answer(({ path }) => ({ status: path === dead.path ? 0 : 200 }))
  const latencies: number[] = []
  for (let i = 0; i < 40; i++) {
    const sent = Date.now()
    const [id] = await publish('mixed-1', i, i + 1)
    await until('pushed', () => receiver.taken(healthy.path).includes(id as string))
    latencies.push((got(healthy.path).at(-1)?.atMs ?? 0) - sent)
  }
  expect(latencies.toSorted((a, b) => a - b)[38]).toBeLessThan(250)
  expect(got(dead.path).length).toBeLessThan(20)
  receiver.answer({ status: 200 })
  await until('the dead one has everything', () => new Set(receiver.taken(dead.path)).size === 40, 40_000)
}, 60_000)

test('killed at any moment, nothing is lost and no more than what was under way comes twice', async () => {
  const { path } = await connector('killed')
  const ids: string[] = []
  for (let round = 0; round < 3; round++) {
    const before = receiver.taken(path).length
    ids.push(...(await publish('killed-1', ids.length, ids.length + 400)))
    await until('it is under way', () => receiver.taken(path).length > before + 50)
    await telltale.kill()
    await telltale.restart()
  }
  await allTaken(path, ids, 20_000)
  expect(receiver.taken(path).length - ids.length).toBeLessThan(3 * 150)
}, 60_000)

test('a connector that is disabled drops events, and enabling it brings nothing back', async () => {
  const made = await connector('off')
  await allTaken(made.path, await publish('off-1', 0, 1))
  expect((await telltale.send('PATCH', made.url, { status: 'USER_DISABLED' })).json['status']).toBe('USER_DISABLED')
  await publish('off-1', 1, 3)
  expect((await telltale.http(`${made.url}:sync`, { method: 'POST' })).status).toBe(409)
  expect((await telltale.send('PATCH', made.url, { status: 'ACTIVE' })).json['status']).toBe('ACTIVE')
  await publish('off-1', 3, 4)
  await allTaken(made.path, ['off-1-0', 'off-1-3'])
})

test('one that has failed for too long is disabled by the system, whatever was open is dropped', async () => {
  const impatient = await startTelltale({ env: { ...ENV, TELLTALE_CONNECTOR_GIVE_UP: '2s' } })
  try {
    receiver.answer({ status: 500 })
    const body = { type: 'HTTP_PUSH', httpConfig: { url: `${receiver.url}/given-up` } }
    const { json } = await impatient.send('POST', CONNECTORS, body)
    const url = `/v2/${String(json['name'])}`
    await impatient.send('POST', EVENTS, temperature('given-up-1', 1))
    await until('it is disabled', async () => (await impatient.http(url)).json['status'] === 'SYSTEM_DISABLED', 20_000)
    await until('it is said', () => impatient.program().complained().includes('data connector disabled'))
    const attempts = got('/given-up').length
    receiver.answer({ status: 200 })
    await impatient.send('PATCH', url, { status: 'ACTIVE' })
    await impatient.send('POST', EVENTS, temperature('given-up-1', 2, { eventId: 'after' }))
    await until('pushed', () => got('/given-up').length > attempts)
    expect(got('/given-up').slice(attempts)).toMatchObject([{ event: { eventId: 'after' } }])
  } finally {
    await impatient.remove()
  }
}, 60_000)

test('a sync pushes the latest event of each type of every device, with the ids they had', async () => {
  const devices = Array.from({ length: 120 }, (_, i) => `sync-${i}`)
  const events = devices.flatMap(device => [1, 2].map(n => temperature(device, n, { eventId: `${device}-${n}` })))
  await telltale.send('POST', EVENTS, events)
  await until('reported', async () => {
    const { text } = await telltale.http('/v2/projects/default/devices/sync-119')
    return text.includes('"value":2')
  })
  const made = await connector('sync')
  expect((await telltale.http(`${made.url}:sync`, { method: 'POST' })).json).toEqual({})
  const wanted = devices.map(device => `${device}-2`)
  await eventually(() => expect(receiver.taken(made.path)).toEqual(expect.arrayContaining(wanted)))
  await until('it is done', async () => ((await metricsOf(made)).progress['sync'] as Json)['done'] === true)
  expect(receiver.taken(made.path).filter(id => /^sync-\d+-1$/.test(id))).toEqual([])
})

test('a replay pushes a range again, one at a time, and goes on after a kill', async () => {
  const startTime = new Date().toISOString()
  const ids = await publish('replay-1', 0, 300)
  const made = await connector('replay')
  const replay = (body: Json) => telltale.send('POST', `${made.url}:replay`, body)
  expect((await replay({ startTime })).json).toEqual({})
  expect((await replay({ startTime })).status).toBe(409)
  await until('it is under way', () => got(made.path).length > 20)
  await telltale.kill()
  await telltale.restart()
  await allTaken(made.path, ids, 30_000)
  await until('it is done', async () => ((await metricsOf(made)).progress['replay'] as Json)['done'] === true)
  expect(receiver.taken(made.path).length - ids.length).toBeLessThan(150)
  expect((await replay({ startTime, endTime: startTime })).status).toBe(400)
  expect((await replay({ startTime: 'yesterday' })).status).toBe(400)
  const { status } = await replay({ startTime: '2020-01-01T00:00:00Z', endTime: '2020-01-02T00:00:00Z' })
  expect(status).toBe(200)
}, 60_000)

test('metrics count attempts and their time', async () => {
  const made = await connector('metrics')
  answerFirst(made, [{ status: 500 }])
  await allTaken(made.path, await publish('metrics-1', 0, 9))
  await eventually(async () => expect((await metricsOf(made)).metrics).toMatchObject({ successCount: 9, errorCount: 1 }))
  const { metrics, progress } = await metricsOf(made)
  expect(metrics['latency99p']).toMatch(/^\d+\.\d{3}s$/)
  expect(progress).toMatchObject({ openCount: 0, gapCount: 0, droppedCount: 0, failingSince: null })
})

test('what is sent back unchanged leaves the receiver what it is; another one has not failed yet', async () => {
  const httpConfig = { signatureSecret: 's3cret', headers: { 'x-site': '7' } }
  const made = await connector('same', {}, httpConfig)
  receiver.answer({ status: 500 })
  await publish('same-1', 0, 1)
  await until('it fails', async () => (await metricsOf(made)).progress['failingSince'] !== null)
  const since = (await metricsOf(made)).progress['failingSince'] as string
  await telltale.send('PATCH', made.url, { displayName: 'same', httpConfig: { url: `${receiver.url}/same`, ...httpConfig } })
  const after = Date.parse((await metricsOf(made)).progress['failingSince'] as string)
  expect(Math.abs(after - Date.parse(since))).toBeLessThan(100)
  receiver.answer({ status: 0 })
  await telltale.send('PATCH', made.url, { httpConfig: { headers: { 'x-site': '8' } } })
  expect((await metricsOf(made)).progress['failingSince']).toBeNull()
})

describe('the resource', () => {
  test('has the shape that clients of the dialect know, and takes what they send', async () => {
    const body = { displayName: 'historian', type: 'HTTP_PUSH', status: 'ACTIVE', events: null, labels: ['zone'], pubsubConfig: null }
    const httpConfig = { url: `${receiver.url}/shape`, signatureSecret: 's3cret', headers: { 'x-site': '7' } }
    const { status, json } = await telltale.send('POST', CONNECTORS, { ...body, httpConfig })
    expect([status, json]).toEqual([
      200,
      {
        name: expect.stringMatching(/^projects\/default\/dataconnectors\/[0-9a-v]{20}$/),
        displayName: 'historian',
        type: 'HTTP_PUSH',
        status: 'ACTIVE',
        events: [],
        labels: ['zone'],
        httpConfig,
      },
    ])
    const url = `/v2/${String(json['name'])}`
    expect((await telltale.http(url)).json).toEqual(json)
    expect((await telltale.http(CONNECTORS)).json).toEqual({ dataConnectors: [json], nextPageToken: '' })
    const patch = { displayName: 'other', httpConfig: { headers: {} } }
    const after = { ...json, displayName: 'other', httpConfig: { ...httpConfig, headers: {} } }
    expect((await telltale.send('PATCH', url, patch)).json).toEqual(after)
    // A mask keeps what it does not name.
    const more = {
      displayName: 'no',
      status: 'USER_DISABLED',
      events: ['touch'],
      httpConfig: { headers: { a: 'b' }, signatureSecret: 'x' },
    }
    expect((await telltale.send('PATCH', `${url}?updateMask=httpConfig.signatureSecret,labels`, more)).json).toEqual({
      ...after,
      httpConfig: { ...after.httpConfig, signatureSecret: 'x' },
    })
    const back = { httpConfig: { signatureSecret: 's3cret' } }
    expect((await telltale.send('PATCH', `${url}?update_mask=http_config`, back)).json).toEqual(after)
    // Some clients send back all that they have.
    expect((await telltale.send('PATCH', url, { ...after, events: ['touch'] })).json).toEqual({ ...after, events: ['touch'] })
    expect((await telltale.http(`${url}:metrics`)).json).toMatchObject({
      metrics: { successCount: 0, errorCount: 0, latency99p: '0.000s' },
    })
    expect((await telltale.http(url, { method: 'DELETE' })).json).toEqual({})
    expect((await telltale.http(url)).status).toBe(404)
    expect((await telltale.http(url, { method: 'DELETE' })).status).toBe(404)
  })

  test('is refused with a reason', async () => {
    const good = { type: 'HTTP_PUSH', httpConfig: { url: `${receiver.url}/x` } }
    const refused = async (body: Json, reason: RegExp) => {
      const { status, json } = await telltale.send('POST', CONNECTORS, body)
      expect([status, json['error']]).toEqual([400, expect.stringMatching(reason)])
    }
    await refused({ ...good, type: 'AWS_SQS', awsSqsConfig: { queueUrl: 'x' } }, /^type: expected HTTP_PUSH.*got "AWS_SQS"/)
    await refused({ httpConfig: good.httpConfig }, /^type: /)
    await refused({ type: 'HTTP_PUSH' }, /^httpConfig\.url: /)
    await refused({ ...good, events: ['no spaces'] }, /^events\.0: /)
    await refused({ ...good, status: 'SYSTEM_DISABLED' }, /^status: expected ACTIVE or USER_DISABLED/)
    await refused({ ...good, colour: 'red' }, /colour: unknown field/)
    await refused({ ...good, httpConfig: { url: 'http://8.8.8.8/hook' } }, /^httpConfig\.url: expected https/)
    await refused({ ...good, httpConfig: { url: 'https://10.0.0.1/hook' } }, /not a public address/)
    await refused({ ...good, httpConfig: { url: 'ftp://x/hook' } }, /^httpConfig\.url: expected http/)
    await refused(
      { ...good, httpConfig: { ...good.httpConfig, headers: { 'X-Dt-Signature': 'mine' } } },
      /^httpConfig\.headers\.X-Dt-Signature: /,
    )
    await refused({ ...good, httpConfig: { ...good.httpConfig, headers: { a: 'b\r\nc: d' } } }, /^httpConfig\.headers\.a: /)
    expect((await telltale.http(CONNECTORS)).json['dataConnectors']).toEqual([])
  })

  test('is one of ten at most', async () => {
    for (let i = 0; i < 10; i++) await connector(`ten-${i}`)
    const { status, json } = await telltale.send('POST', CONNECTORS, { type: 'HTTP_PUSH', httpConfig: { url: `${receiver.url}/11` } })
    expect([status, json['error']]).toEqual([409, expect.stringContaining('10 data connectors')])
  })

  test('does not exist for those of other projects', async () => {
    const { url } = await connector('tenant')
    const other = url.replace('/default/', '/elsewhere/')
    for (const path of [other, `${other}:metrics`, '/v2/projects/elsewhere/dataconnectors'])
      expect((await telltale.http(path)).status, path).toBe(404)
    for (const verb of ['sync', 'replay'])
      expect((await telltale.send('POST', `${other}:${verb}`, { startTime: '2025-01-01T00:00:00Z' })).status, verb).toBe(404)
    expect((await telltale.http(other, { method: 'DELETE' })).status).toBe(404)
  })
})

test('by default a receiver must be public and speak TLS', async () => {
  const guarded = await startTelltale()
  try {
    for (const url of [
      receiver.url,
      'http://example.com/hook',
      'https://127.0.0.1/hook',
      'https://[::1]/hook',
      'https://169.254.169.254/',
    ]) {
      const { status } = await guarded.send('POST', CONNECTORS, { type: 'HTTP_PUSH', httpConfig: { url } })
      expect(status, url).toBe(400)
    }
    const { url } = { url: `https://localhost:${new URL(receiver.url).port}/inside` }
    const { json } = await guarded.send('POST', CONNECTORS, { type: 'HTTP_PUSH', httpConfig: { url } })
    await guarded.send('POST', EVENTS, temperature('inside-1', 1))
    const metrics = `/v2/${String(json['name'])}:metrics`
    await eventually(async () =>
      expect((await guarded.http(metrics)).json).toMatchObject({
        progress: { lastError: expect.stringContaining('not a public address') },
      }),
    )
  } finally {
    await guarded.remove()
  }
})

test('a receiver that speaks TLS is only trusted with a certificate that is', async () => {
  const altNames = [{ type: 7 as const, ip: '127.0.0.1' }]
  const extensions = [
    { name: 'basicConstraints' as const, cA: true },
    { name: 'subjectAltName' as const, altNames },
  ]
  const { private: key, cert } = await generate([{ name: 'commonName', value: 'localhost' }], { algorithm: 'sha256', extensions })
  const secure = await startPushReceiver({ key, cert })
  const file = join(await newDirectory(), 'ca.pem')
  await writeFile(file, cert)
  const trusting = await startTelltale({ env: { ...ENV, NODE_EXTRA_CA_CERTS: file } })
  try {
    const body = { type: 'HTTP_PUSH', httpConfig: { url: `${secure.url}/tls` } }
    await trusting.send('POST', CONNECTORS, body)
    const { json } = await telltale.send('POST', CONNECTORS, body)
    await trusting.send('POST', EVENTS, temperature('tls-1', 1, { eventId: 'trusted' }))
    await telltale.send('POST', EVENTS, temperature('tls-1', 1, { eventId: 'untrusted' }))
    await until('it is pushed', () => secure.taken().includes('trusted'))
    const metrics = `/v2/${String(json['name'])}:metrics`
    await eventually(async () =>
      expect((await telltale.http(metrics)).json).toMatchObject({ progress: { lastError: expect.stringContaining('self-signed') } }),
    )
    expect(secure.taken()).toEqual(['trusted'])
  } finally {
    await trusting.remove()
    await secure.stop()
  }
})

test('what was trimmed from the log is pushed from the store', async () => {
  const forgetful = await startTelltale({ env: { ...ENV, TELLTALE_LOG_RETENTION: '1s' } })
  try {
    const startTime = new Date().toISOString()
    const ids = Array.from({ length: 700 }, (_, i) => `old-${i}`)
    await forgetful.send(
      'POST',
      EVENTS,
      ids.map((eventId, i) => temperature('old-1', i, { eventId })),
    )
    const entries = async () => ((await forgetful.http('/v2/projects/default/status')).json['log'] as { entries: number }).entries
    await until(
      'the log is trimmed',
      async () => {
        await forgetful.send('POST', EVENTS, temperature('new-1', 1))
        return (await entries()) < 100
      },
      30_000,
    )
    const { json } = await forgetful.send('POST', CONNECTORS, { type: 'HTTP_PUSH', httpConfig: { url: `${receiver.url}/old` } })
    const url = `/v2/${String(json['name'])}`
    expect((await forgetful.send('POST', `${url}:replay`, { startTime })).status).toBe(200)
    await eventually(() => expect(receiver.taken('/old')).toEqual(expect.arrayContaining(ids)), 30_000)
    expect((await forgetful.http(`${url}:metrics`)).json).toMatchObject({ progress: { gapCount: 0 } })
  } finally {
    await forgetful.remove()
  }
}, 60_000)

test('a rule of the alerting API is one of ours, tells its own webhook with its own signature, and takes that with it (1.a.12)', async () => {
  const rules = '/v2alpha/projects/default/rules'
  const secret = 'n0t a whsec'
  const webhook = (more: Json = {}) => [
    { displayName: 'L1', escalateAfter: '1800s', actions: [{ type: 'WEBHOOK', webhook: { url: `${receiver.url}/alerts`, ...more } }] },
  ]
  const body = {
    displayName: 'freezer too warm',
    devices: ['projects/default/devices/alert-1'],
    trigger: { field: 'temperature', range: { upper: -15, type: 'OUTSIDE' }, triggerCount: 1 },
    resolvedNotifications: true,
    message: '$name has $celsius°C',
    escalationLevels: webhook({ signatureSecret: secret, headers: { 'x-site': '7' } }),
  }
  const { status, text, json: made } = await telltale.send('POST', rules, body)
  expect(status, text).toBe(200)
  expect(text).not.toContain(secret)
  const name = String(made['name'])
  expect(name).toMatch(/^projects\/default\/rules\/[0-9a-v]{20}$/)
  expect(made['escalationLevels']).toEqual(webhook({ signatureSecret: '', headers: { 'x-site': '' } }))
  const ours = (await telltale.http(`/v2/${name}`)).json
  expect(ours).toMatchObject({ title: 'freezer too warm', when: { threshold: { above: -15 } }, unacknowledgeAfter: '4h' })

  await telltale.send('POST', EVENTS, temperature('alert-1', -9))
  await until('it is told', () => got('/alerts').length > 0)
  const [told] = got('/alerts')
  expect(JSON.parse(told?.body ?? '')).toMatchObject({ type: 'alarm.active', data: { message: 'alert-1 has -9°C' } })
  expect(told?.headers).toMatchObject({ 'x-site': '7' })
  const claims = jwt.verify(String(told?.headers['x-dt-signature']), secret) as Json
  expect(claims['checksum_sha256']).toBe(
    createHash('sha256')
      .update(told?.body ?? '')
      .digest('hex'),
  )

  // What comes back may be sent again: nobody was shown the secret, so it stays.
  const again = { ...made, displayName: 'much too warm', triggerDelay: '60s' }
  expect((await telltale.send('PUT', `/v2alpha/${name}`, again)).json).toEqual(again)
  expect((await telltale.http(`/v2/${name}`)).json).toMatchObject({ title: 'much too warm', for: '1m', notify: ours['notify'], version: 2 })
  expect((await telltale.send('PUT', `/v2alpha/${name}`, { ...again, reminderNotifications: true })).json).toMatchObject({
    code: 400,
    field: 'reminderNotifications',
    help: expect.any(String),
  })

  // Ours are seen there as far as they can be said, also by who administers the organization.
  const threshold = { field: 'temperature.value', above: 8, unit: '°C' }
  const keepActive = '5m'
  await telltale.send('PUT', '/v2/projects/default/rules/alert-plain', { when: { threshold } })
  await telltale.send('PUT', '/v2/projects/default/rules/alert-more', { when: { threshold }, keepActive })
  const names = async (path: string) => ((await telltale.http(path)).json['rules'] as { name: string }[]).map(rule => rule.name)
  const both = [name, 'projects/default/rules/alert-plain'].toSorted()
  expect([await names(rules), await names('/v2alpha/organizations/default/rules?pageSize=9')]).toEqual([both, both])
  const first = (await telltale.http(`${rules}?page_size=1`)).json
  expect(await names(`${rules}?page_token=${String(first['nextPageToken'])}`)).toEqual(both.slice(1))
  for (const [method, path] of [
    ['GET', 'alert-more'],
    ['DELETE', 'alert-more'],
    ['GET', 'alert-none'],
  ] as const)
    expect((await telltale.http(`${rules}/${path}`, { method })).status).toBe(404)

  const { channels } = (await telltale.http('/v2/projects/default/channels')).json
  expect(channels).toMatchObject([{ rule: name.split('/').at(-1), url: `${receiver.url}/alerts`, headers: ['x-site'] }])
  expect((await telltale.http(`/v2alpha/${name}`, { method: 'DELETE' })).json).toEqual({})
  expect((await telltale.http('/v2/projects/default/audit')).text).toContain(`"path":"/v2alpha/${name}"`)
  expect((await telltale.http('/v2/projects/default/channels')).json['channels']).toEqual([])
  expect((await telltale.http(`/v2/${name}`)).status).toBe(404)
})
