// The dialect of Memphis where the end-to-end test cannot look: schemas, stations that are not made or gone, clients that go away, and
// what strictness changes (contracts.md 3, and 7 rows 16 to 18).
import type { AddressInfo } from 'node:net'
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { Failure } from '../../../../packages/core/failure.ts'
import { Identity } from '../../../../packages/identity/identity.ts'
import { Dispatch } from '../../../../packages/log/durable/dispatch.ts'
import { DurableStreams, type Schema } from '../../../../packages/log/durable/stream.ts'
import { Subscriptions } from '../../../../packages/log/durable/subscription.ts'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../../../../packages/log/fixture.ts'
import { type HttpApp, openHttp, type Rate } from '../../../../packages/runtime/http.ts'
import { openLogger } from '../../../../packages/runtime/logger.ts'
import { fetchBatch } from './batch.ts'
import { addMemphis, type MemphisSettings } from './memphis.ts'
import { appendEach } from './produce.ts'

const KEY = 'x'.repeat(32)
const schema: Schema = { type: 'json', definition: { required: ['celsius'] } }
/** Of a schema only what these tests need: the payload has to have `celsius`. */
const check = async (_: string, __: unknown, payloads: readonly Buffer[]) => {
  if (payloads.some(payload => !payload.includes('celsius')))
    throw new Failure('invalid', "Schema validation has failed: missing properties: 'celsius'", { field: 'schema' })
}
const MISSING = "Schema validation has failed: missing properties: 'celsius'"

describe.skipIf(installed === undefined)('Memphis', () => {
  let server: TestRedis
  let identity: Identity
  let streams: DurableStreams
  let subscriptions: Subscriptions
  let dispatch: Dispatch
  let refusal: Failure | undefined
  const apps: HttpApp[] = []
  const produced: string[] = []
  let jwt = ''

  beforeAll(async () => {
    server = await openTestRedis()
    identity = new Identity(await server.connect('producer'), KEY)
    await identity.put('key', 'secret-of-key', 'me@example.com', { home: 'developer' })
    streams = new DurableStreams(server.redis, { check, refusal: () => refusal })
    subscriptions = new Subscriptions(server.redis, streams)
    dispatch = new Dispatch({ streams, subscriptions, connect: () => server.connect(), troubled: error => console.warn(error.message) })
  })
  afterAll(async () => {
    await Promise.all(apps.map(app => app.close()))
    await dispatch.stop()
    await server.stop()
  })

  async function open(settings: Partial<MemphisSettings> = {}, manage?: Rate): Promise<HttpApp> {
    const app = await openHttp({ identity, log: openLogger('silent'), version: '1', limits: { manage, ingest: undefined } })
    apps.push(app)
    const ports = { streams, dispatch, identity, produced: (project: string, stream: string) => void produced.push(`${project}/${stream}`) }
    addMemphis(app, ports, { createStations: true, strictDialects: false, root: true, ...settings })
    const credentials = { username: 'key', connection_token: 'secret-of-key' }
    jwt = (await app.inject({ method: 'POST', url: '/auth/authenticate', payload: credentials })).json<{ jwt: string }>().jwt
    return app
  }
  async function post(app: HttpApp, path: string, payload: string | object, type = 'application/json') {
    const headers = { authorization: `Bearer ${jwt}`, 'content-type': type }
    const answer = await app.inject({ method: 'POST', url: `/stations/${path}`, payload, headers })
    return [answer.statusCode, answer.json<unknown>()] as const
  }
  const stream = async (name: string) => ({ project: 'home', record: await streams.get('home', name) })
  const texts = async (name: string) => (await streams.read(await stream(name), 0, 1000)).map(({ payload }) => payload.toString())

  it('refuses a message that is not as the schema has it, and of a batch only those', async () => {
    const app = await open()
    await streams.create('home', 'checked', { schema })
    expect(await post(app, 'checked/produce/single', '{}')).toEqual([400, { error: MISSING, success: false }])
    const elements = [{ celsius: 1 }, { kelvin: 2 }, { celsius: 3 }]
    expect(await post(app, 'checked/produce/batch', elements)).toEqual([400, { success: false, sent: 2, fail: 1, errors: [MISSING] }])
    expect(await post(app, 'checked/produce/batch', [{}, {}])).toEqual([
      400,
      { success: false, sent: 0, fail: 2, errors: [MISSING, MISSING] },
    ])
    expect(await texts('checked')).toEqual(['{"celsius":1}', '{"celsius":3}'])
    expect(produced).toEqual(['home/checked'])
  })

  it('says when it was not the client’s fault', async () => {
    const app = await open()
    refusal = new Failure('unavailable', 'no room', { retryAfterMs: 3000 })
    expect(await post(app, 'full/produce/single', '{}')).toEqual([503, { error: 'no room', success: false }])
    expect(await post(app, 'full/produce/batch', [{}, {}])).toEqual([
      503,
      { success: false, sent: 0, fail: 2, errors: ['no room', 'no room'] },
    ])
    refusal = undefined
  })

  it('makes a station anew that was removed, and none where that is switched off', async () => {
    const app = await open()
    await post(app, 'fleeting/produce/single', 'one', 'text/plain')
    await new DurableStreams(server.redis).remove('home', 'fleeting')
    expect(await post(app, 'fleeting/produce/single', 'two', 'text/plain')).toEqual([200, { error: null, success: true }])
    expect(await texts('fleeting')).toEqual(['two'])
    const closed = await open({ createStations: false })
    expect(await post(closed, 'nowhere/produce/single', 'x', 'text/plain')).toEqual([
      400,
      { error: 'nowhere does not exist', success: false },
    ])
    expect(await post(closed, 'nowhere/consume/batch', { consumer_name: 'c' })).toEqual([
      400,
      { error: 'nowhere does not exist', success: false },
    ])
    expect(await post(closed, 'fleeting/produce/single', 'x', 'text/plain')).toEqual([200, { error: null, success: true }])
  })

  it('works in the account’s own project, though it has a role in another', async () => {
    const app = await open()
    await identity.put('traveller', 'secret', 'traveller@example.com', { home: 'developer' })
    await identity.put('traveller', 'secret', 'traveller@example.com', { 7: 'developer' })
    const credentials = { username: 'traveller', connection_token: 'secret' }
    jwt = (await app.inject({ method: 'POST', url: '/auth/authenticate', payload: credentials })).json<{ jwt: string }>().jwt
    await post(app, 'diary/produce/single', 'x', 'text/plain')
    expect([await streams.find('7', 'diary'), await streams.find('home', 'diary')]).toEqual([undefined, expect.anything()])
  })

  it('says what is too large', async () => {
    const app = await open()
    const error = 'body: at most 4194304 bytes'
    expect(await post(app, 'large/produce/single', 'x'.repeat(4 * 1024 * 1024 + 1), 'text/plain')).toEqual([413, { error, success: false }])
  })

  it('takes a batch of thousands, and no more of them', async () => {
    const app = await open()
    const elements = (count: number) => `[${Array.from({ length: count }, () => '{}').join()}]`
    expect(await post(app, 'many/produce/batch', elements(2500))).toEqual([200, { error: null, success: true }])
    expect((await streams.stats(await stream('many'))).lastSeq).toBe(2500)
    const error = 'body: at most 10000 elements, got 1398000'
    expect(await post(app, 'many/produce/batch', elements(1_398_000))).toEqual([413, { error, success: false }])
    const headers = { authorization: `Bearer ${jwt}`, 'content-type': 'application/json', 'x-large': 'x'.repeat(10_000) }
    const answer = await app.inject({ method: 'POST', url: '/stations/many/produce/batch', payload: elements(9000), headers })
    expect([answer.statusCode, answer.json<{ error: string }>().error]).toEqual([413, expect.stringMatching(/^headers: at most 16777216/)])
  })

  it('stores of a batch what is not refused, though all together is', async () => {
    const app = await open()
    // Written as six bytes each.
    const large = { text: '<'.repeat(720_000) }
    const elements = [{ n: 1 }, large, { n: 2 }]
    expect(await post(app, 'neighbours/produce/batch', elements)).toEqual([
      400,
      { success: false, sent: 2, fail: 1, errors: [expect.stringContaining('at most 4194304 bytes')] },
    ])
    expect(await texts('neighbours')).toEqual(['{"n":1}', '{"n":2}'])
    const fitting = { text: '<'.repeat(690_000) }
    expect((await post(app, 'together/produce/batch', [fitting, fitting, fitting, fitting, fitting]))[0]).toBe(200)
    expect((await streams.stats(await stream('together'))).lastSeq).toBe(5)
  })

  it('begins no further part of a batch when its client has gone', async () => {
    const record = await streams.create('home', 'hung-up')
    const messages = Array.from({ length: 2500 }, () => ({ payload: Buffer.from('{}') }))
    const leaving = new AbortController()
    const append: DurableStreams['append'] = (...args) => streams.append(...args).finally(() => leaving.abort())
    const failures = await appendEach({ streams: { append } }, { project: 'home', record }, messages, leaving.signal)
    expect([failures.length, (await streams.stats({ project: 'home', record })).lastSeq]).toEqual([1500, 1000])
  })

  it('keeps out of a stream that belongs to a producer of eventserver', async () => {
    const app = await open()
    const record = await streams.create('home', 'owned')
    await streams.append({ project: 'home', record }, [{ payload: Buffer.from('{}') }], { owner: 'somebody' })
    expect(await post(app, 'owned/produce/single', '{}')).toEqual([
      400,
      { error: 'stream owned belongs to another producer', success: false },
    ])
  })

  it('is strict about content types where it is told to be', async () => {
    const app = await open({ strictDialects: true })
    expect(await post(app, 'strict/produce/single', 'x', 'application/xml')).toEqual([
      415,
      { error: 'unsupported content type application/xml', success: false },
    ])
    expect((await post(app, 'strict/produce/batch', '[]', 'application/json; charset=utf-8'))[0]).toBe(415)
    expect((await post(app, 'strict/produce/batch', '[]'))[0]).toBe(200)
  })

  it('answers at the root, and refuses a token of an account that was taken away', async () => {
    const app = await open()
    expect((await app.inject('/')).json()).toEqual({ status: 'ok' })
    await identity.put('key', 'another-secret', 'me@example.com', { home: 'developer' })
    expect(await post(app, 'x/produce/single', '{}')).toEqual([401, { message: 'Unauthorized' }])
    await identity.put('key', 'secret-of-key', 'me@example.com', { home: 'developer' })
  })

  it('gives the next pair for an access token that has ended, until its refresh time after that', async () => {
    const app = await open()
    const asked = { username: 'key', password: 'secret-of-key', token_expiry_in_minutes: 1, refresh_token_expiry_in_minutes: 10 }
    jwt = (await app.inject({ method: 'POST', url: '/auth/authenticate', payload: asked })).json<{ jwt: string }>().jwt
    const refresh = () => app.inject({ method: 'POST', url: '/auth/refreshToken', headers: { authorization: `Bearer ${jwt}` } })
    try {
      vi.useFakeTimers({ now: Date.now() + 2 * 60_000, toFake: ['Date'] })
      expect(await post(app, 'x/produce/single', '{}')).toEqual([401, { message: 'Unauthorized' }])
      expect((await refresh()).statusCode).toBe(200)
      vi.useFakeTimers({ now: Date.now() + 10 * 60_000, toFake: ['Date'] })
      expect([(await refresh()).statusCode, (await refresh()).json<unknown>()]).toEqual([401, { message: 'Unauthorized' }])
    } finally {
      vi.useRealTimers()
    }
  })

  it('does not take a token that has ended for a guess: who shows it again and again may have the next pair for it', async () => {
    const app = await open({}, { requests: 10_000, windowMs: 60_000 })
    const asked = { username: 'key', password: 'secret-of-key', token_expiry_in_minutes: 1, refresh_token_expiry_in_minutes: 10 }
    jwt = (await app.inject({ method: 'POST', url: '/auth/authenticate', payload: asked })).json<{ jwt: string }>().jwt
    const headers = { authorization: `Bearer ${jwt}` }
    try {
      vi.useFakeTimers({ now: Date.now() + 2 * 60_000, toFake: ['Date'] })
      for (let i = 0; i < 25; i++) expect((await post(app, 'x/produce/single', '{}'))[0]).toBe(401)
      expect((await app.inject({ method: 'POST', url: '/auth/refreshToken', headers })).statusCode).toBe(200)
      vi.useFakeTimers({ now: Date.now() + 12 * 60_000, toFake: ['Date'] })
      for (let i = 0; i < 25; i++) expect((await app.inject({ method: 'POST', url: '/auth/refreshToken', headers })).statusCode).toBe(401)
    } finally {
      vi.useRealTimers()
    }
    jwt = `${jwt}x`
    const statuses: number[] = []
    for (let i = 0; i < 21; i++) statuses.push((await post(app, 'x/produce/single', '{}'))[0])
    expect([statuses[0], statuses[20]]).toEqual([401, 429])
  })

  it('lets nobody guess at a secret without end, whatever project or account stands behind the key', async () => {
    const app = await open({}, { requests: 1000, windowMs: 60_000 })
    const guess = (username: string) =>
      app.inject({ method: 'POST', url: '/auth/authenticate', payload: { username, connection_token: 'guess' } })
    for (let i = 0; i < 20; i++) expect((await guess(`key${['', '@home', '$7'][i % 3]}`)).statusCode).toBe(401)
    const refused = await guess('key@elsewhere')
    expect([refused.statusCode, refused.headers['retry-after'], refused.json<unknown>()]).toEqual([
      429,
      expect.stringMatching(/^\d+$/),
      { message: 'too many wrong credentials from this address: try again later' },
    ])
  })

  it('loses nothing when a client goes away that waits for a batch', async () => {
    const app = await open()
    await app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = app.server.address() as AddressInfo
    const record = await streams.create('home', 'left')
    const ref = { project: 'home', record }
    const consumers = async () => {
      const known = await subscriptions.list(ref)
      return known.length === 0 ? undefined : (await subscriptions.stats(ref, 'rest-gateway')).consumers.length
    }
    const leaving = new AbortController()
    const body = JSON.stringify({ consumer_name: 'c', batch_max_wait_time_ms: 60_000 })
    const ask = { method: 'POST', body, headers: { authorization: `Bearer ${jwt}` }, signal: leaving.signal }
    const left = fetch(`http://127.0.0.1:${port}/stations/left/consume/batch`, ask).catch((error: Error) => error.name)
    await until('it waits', async () => (await consumers()) === 1)
    leaving.abort()
    expect(await left).toBe('AbortError')
    await until('it has left', async () => (await consumers()) === 0)
    await streams.append(ref, [{ payload: Buffer.from('kept') }])
    expect(await post(app, 'left/consume/batch', { consumer_name: 'c' })).toEqual([200, [{ message: 'kept', headers: {} }]])
  })

  it.each([
    ['the secret is another', () => identity.put('guest', 'another-secret', 'guest@example.com', {})],
    ['the role is a lesser one', () => identity.put('guest', 'secret', 'guest@example.com', { home: 'user' })],
  ])('ends a wait when %s', async (_, revoke) => {
    const app = await open()
    await identity.put('guest', 'secret', 'guest@example.com', { home: 'developer' })
    const credentials = { username: 'guest', connection_token: 'secret' }
    jwt = (await app.inject({ method: 'POST', url: '/auth/authenticate', payload: credentials })).json<{ jwt: string }>().jwt
    const record = await streams.create('home', freshProject())
    const waiting = post(app, `${record.name}/consume/batch`, { consumer_name: 'c', batch_max_wait_time_ms: 60_000 })
    await until('it waits', async () => (await subscriptions.list({ project: 'home', record })).length === 1)
    await revoke()
    expect(await waiting).toEqual([401, { message: 'Unauthorized' }])
  })

  it('ends a wait with an empty batch when the server stops', async () => {
    const app = await open()
    const ref = { project: 'home', record: await streams.create('home', 'stopping') }
    const waiting = post(app, 'stopping/consume/batch', { consumer_name: 'c', batch_max_wait_time_ms: 60_000 })
    await until('it waits', async () => (await subscriptions.list(ref)).length === 1)
    await app.close()
    expect(await waiting).toEqual([200, []])
  })

  it('gives a batch all that is there, however slow the disk', async () => {
    const record = await streams.create('home', 'slow')
    await streams.append(
      { project: 'home', record },
      Array.from({ length: 30 }, () => ({ payload: Buffer.from('x') })),
    )
    // Longer than nothing may come behind the first.
    const slow = (redis: Redis) =>
      new Proxy(redis, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name, target)
          if (typeof value !== 'function') return value
          const call = (...args: unknown[]): unknown => value.apply(target, args)
          if (name !== 'streamTurnBuffer') return call
          return (...args: unknown[]) => new Promise(resolve => setTimeout(resolve, 120)).then(() => call(...args))
        },
      })
    const connect = async () => slow(await server.connect())
    const slowly = new Dispatch({ streams, subscriptions, connect, troubled: error => console.warn(error.message) })
    const wanted = { group: 'g', name: 'c', size: 20, waitMs: 30_000 }
    const there = new AbortController().signal
    expect(await fetchBatch(slowly, { project: 'home', record }, wanted, there)).toHaveLength(20)
    expect(await fetchBatch(slowly, { project: 'home', record }, wanted, there)).toHaveLength(10)
    await slowly.stop()
  })

  it('gives a batch no more than fits into an answer, and the rest with the next', async () => {
    const app = await open()
    const record = await streams.create('home', 'large')
    const payload = Buffer.alloc(1024 * 1024, 'x')
    for (let i = 0; i < 12; i++) await streams.append({ project: 'home', record }, [{ payload }])
    const counts: number[] = []
    while (counts.reduce((sum, count) => sum + count, 0) < 12) {
      const [status, messages] = await post(app, 'large/consume/batch', { consumer_name: 'c', batch_size: 12 })
      expect(status).toBe(200)
      counts.push((messages as unknown[]).length)
    }
    expect(Math.max(...counts)).toBeLessThanOrEqual(8)
  })
})
