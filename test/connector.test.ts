// Data connectors from the event to the receiver: at least once, whoever fails, and nobody else notices (contracts.md 1.a.9).
import { createHash } from 'node:crypto'
import jwt from 'jsonwebtoken'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type PushReceiver, startPushReceiver } from './pushed.ts'
import { EVENTS, eventually, type Json, removeDirectories, startTelltale, type Telltale, temperature, until } from './world.ts'

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

test('an event is pushed with the labels asked for and what is known of its device', async () => {
  await telltale.send('POST', '/v2/projects/default/devices', {})
  const { path } = await connector('shape', { labels: ['zone', 'absent'] })
  const ids = await publish('shape-1', 0, 1)
  await allTaken(path, ids)
  expect(JSON.parse(got(path)[0]?.body ?? '')).toEqual({
    event: expect.objectContaining({ eventId: 'shape-1-0', targetName: 'projects/default/devices/shape-1', eventType: 'temperature' }),
    labels: {},
    metadata: { deviceId: 'shape-1', projectId: 'default', deviceType: 'temperature', productNumber: '' },
  })
})

test('a signed event carries a JWT over the checksums of its bytes', async () => {
  const { path } = await connector('signed', {}, { signatureSecret: 's3cret', headers: { 'x-site': '7' } })
  await allTaken(path, await publish('signed-1', 0, 1))
  const [one] = got(path)
  const claims = jwt.verify(String(one?.headers['x-dt-signature']), 's3cret', { algorithms: ['HS256'] }) as jwt.JwtPayload
  expect(claims).toEqual({
    checksum: createHash('sha1').update(one?.body ?? '').digest('hex'),
    checksum_sha256: createHash('sha256').update(one?.body ?? '').digest('hex'),
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
