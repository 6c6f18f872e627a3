// Bodies of requests: what becomes of them, and of what their decoder remembers.
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { type Caller, Identity } from '../../../packages/identity/identity.ts'
import { installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { openHttp } from '../../../packages/runtime/http.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { addStreamed } from '../../../packages/runtime/upload.ts'
import { FORMATS } from '../decode/formats.ts'
import { Catalog } from '../decoder/catalog.ts'
import { DEVELOPER, openTaking, shelfOf } from '../fixture.ts'
import { Unpackers } from './body.ts'
import { take } from './take.ts'
import { Zstd } from './zstd.ts'

const LINES = new Catalog({
  formats: FORMATS,
  decoders: shelfOf(new Map()),
  schemas: shelfOf(new Map()),
  changes: async () => ({ newest: 0, projects: [] }),
})
const DEVICE: Caller = { keyId: 'dev', account: 'dev', roles: {}, device: { project: 'p', id: 'a' } }

describe.skipIf(installed === undefined)('a body whose decoder remembers', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  async function openDoor() {
    const { ports, ...taking } = openTaking()
    const identity = new Identity(server.redis, 'a secret key of more than thirty-two characters')
    const app = await openHttp({
      identity,
      log: openLogger('silent'),
      version: '1',
      limits: { manage: undefined, ingest: undefined },
    })
    const zstd = new Zstd()
    onTestFinished(async () => {
      await app.close()
      await zstd.close()
    })
    const ported = { ...ports, unpackers: new Unpackers(zstd), watch: () => () => {} }
    let caller = DEVELOPER
    addStreamed(app, inner => {
      inner.post('/lines', { config: { open: true, streamed: true } }, (request, reply) =>
        take({ ...ported, catalog: LINES }, request, reply, { caller, place: { project: 'p' }, decoder: undefined }),
      )
      inner.post('/x', { config: { open: true, streamed: true } }, (request, reply) =>
        take(ported, request, reply, { caller, place: { project: 'p' }, decoder: undefined }),
      )
    })
    const send = async (payload: string, by = DEVELOPER) => {
      caller = by
      return (await app.inject({ method: 'POST', url: '/x', headers: { 'content-type': 'application/once' }, payload })).statusCode
    }
    return { ...taking, send, app }
  }

  it('that has no end is answered with how far it got when the server stops, and lets it stop', async () => {
    const { app } = await openDoor()
    await app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = app.server.address() as AddressInfo
    const headers = { 'content-type': 'application/x-ndjson', accept: 'application/x-ndjson' }
    const request = httpRequest({ host: '127.0.0.1', port, path: '/lines', method: 'POST', headers })
    const told: string[] = []
    const said = () => told.join('')
    request.on('response', response => response.on('data', (chunk: Buffer) => told.push(chunk.toString())))
    request.on('error', () => undefined)
    request.write('{"device":"a","eventType":"t","data":{"t":{"value":1}}}\n{"dev')
    await until('the first is on disk', () => said().includes('"accepted":1'))
    expect(app.uploads.size).toBe(1)
    await app.close()
    expect(app.uploads.size).toBe(0)
    await until('the totals are told', () => said().includes('total'))
    const last = JSON.parse(said().trim().split('\n').at(-1) ?? '') as object
    expect(last).toMatchObject({ total: true, accepted: 1, rejected: 0, code: 503, retryAfter: 1 })
    request.destroy()
  })

  it('is new when it is sent again, when it could not be accepted', async () => {
    const { state, rows, values, send } = await openDoor()
    state.isLogAway = true
    expect(await send('a=1')).toBe(503)
    expect(rows.size).toBe(0)
    state.isLogAway = false
    expect(await send('a=1')).toBe(200)
    expect([values(), rows]).toEqual([['a=1'], new Map([['a', '1']])])
  })

  it('is to be sent again when what it tells cannot be written, and no process ends of it', async () => {
    const { state, rows, values, send } = await openDoor()
    state.isDiskAway = true
    expect(await send('a=1')).toBe(503)
    state.isDiskAway = false
    expect(await send('a=1')).toBe(200)
    expect([values(), rows]).toEqual([['a=1'], new Map([['a', '1']])])
  })

  it.each(['cold', 'warm'])('is seen by the next ones that come at the same time: %s', async state => {
    const { rows, values, send } = await openDoor()
    if (state === 'warm') await send('forget x')
    expect(await Promise.all(Array.from({ length: 3 }, () => send('a=1')))).toEqual([200, 200, 200])
    expect([values(), rows]).toEqual([['a=1'], new Map([['a', '1']])])
  })

  it('tells and asks nothing of other devices when a device has sent it', async () => {
    const { state, rows, values, send } = await openDoor()
    await send('b=1')
    for (const payload of ['b=2', 'a=1,b=2', 'forget b']) await send(payload, DEVICE)
    expect([state.sent.length, rows]).toEqual([1, new Map([['b', '1']])])
    await send('a=2', DEVICE)
    expect([state.sent.length, rows.get('own/a/a'), values()]).toEqual([2, '2', ['b=1', 'a=1', 'a=2']])
  })

  it('holds of a device its own events and those of its channels', async () => {
    const { state, values, send } = await openDoor()
    expect(await send('a=1,a:3=1,a::boot=1,b=1,a2=1,a-3=1,a:=1,a2:3=1', DEVICE)).toBe(207)
    expect(values()).toEqual(['a=1', 'a:3=1', 'a::boot=1'])
    const problems = state.refused.flatMap(([, one]) => one.problems ?? [])
    expect(problems.map(({ device, code }) => [device, code])).toEqual(Array(5).fill(['a', 'forbidden']))
  })
})
