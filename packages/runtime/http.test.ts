// HTTP as every role has it: who is let in, what a body may be, and every failure in its shape, without a socket.
import type { FastifySchema } from 'fastify'
import type { Redis } from 'ioredis'
import { Type } from 'typebox'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../core/failure.ts'
import { type Caller, Identity } from '../identity/identity.ts'
import { installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { callerIn, type HttpApp, openHttp, SESSION_COOKIE, verb } from './http.ts'
import { openLogger } from './logger.ts'

const KEY = 'x'.repeat(32)
const basic = (keyId: string, secret: string) => `Basic ${Buffer.from(`${keyId}:${secret}`).toString('base64')}`
/** Every route of the API has one. */
const named = (operationId: string) => ({ schema: { operationId } })
const mine = { authorization: basic('key', 'secret-of-key') }

describe.skipIf(installed === undefined)('http', () => {
  let server: TestRedis
  let identity: Identity
  let app: HttpApp
  let quick: Redis
  beforeAll(async () => {
    server = await openTestRedis()
    identity = new Identity(await server.connect('producer'), KEY)
    await identity.put('key', 'secret-of-key', 'me@example.com', { home: 'developer' })
    await identity.put('other', 'secret-of-other', 'other@example.com', { home: 'developer' })
    app = await openHttp({ identity, log: openLogger('silent'), version: '1.2.3', limits: { manage: undefined, ingest: undefined } })
    app.get('/open', { config: { open: true } }, async () => ({ ok: true }))
    app.get<{ Params: { project: string; device: string } }>('/v2/projects/:project/devices/:device', named('one'), async request => {
      callerIn(request, request.params.project)
      return request.params
    })
    app.post('/v2/echo', named('echo'), async request => ({ got: request.body ?? null }))
    app.post('/v2/raw', { config: { raw: true }, ...named('raw') }, async request => ({
      bytes: Buffer.isBuffer(request.body) ? request.body.length : 0,
    }))
    app.get(verb('/v2/projects/:project/devices', 'stream'), named('stream'), async () => {
      throw new Failure('invalid', 'cursor: no', { field: 'cursor' })
    })
    app.get('/v2/fail/:code', named('fail'), async request => {
      const { code } = request.params as { code: string }
      if (code === 'unavailable') throw new Failure('unavailable', 'later', { retryAfterMs: 4200 })
      if (code === 'internal') throw new Error('secret detail')
      throw new Failure(code as 'invalid', 'no')
    })
    quick = await server.connect('producer')
    app.get('/v2/store', named('store'), () => quick.ping())
  })
  afterAll(async () => {
    await app.close()
    await server.stop()
  })

  const get = (url: string, headers: Record<string, string> = mine) => app.inject({ method: 'GET', url, headers })
  const post = (url: string, payload: string | Buffer, headers: Record<string, string> = {}) =>
    app.inject({ method: 'POST', url, payload, headers: { ...mine, ...headers } })

  it('lets in whoever has a key and its secret', async () => {
    expect((await get('/v2/projects/home/devices/a')).json()).toEqual({ project: 'home', device: 'a' })
    expect((await get('/open', {})).statusCode).toBe(200)
  })

  it('refuses parameters on a route that takes none, but for a token', async () => {
    const answer = await get('/v2/projects/home/devices/a?colour=blue')
    expect([answer.statusCode, answer.json().error]).toEqual([400, 'colour: unknown parameter; known here: none'])
    expect((await post('/v2/echo?token=a', '{}')).statusCode).toBe(200)
    expect((await get('/open?colour=blue', {})).statusCode).toBe(200)
  })

  it.each([
    ['nobody', {}],
    ['an unknown key', { authorization: basic('other', 'secret-of-key') }],
    ['a wrong secret', { authorization: basic('key', 'wrong') }],
    ['a prototype', { authorization: basic('__proto__', '') }],
    ['no colon', { authorization: `Basic ${Buffer.from('key').toString('base64')}` }],
    ['another scheme', { authorization: 'Bearer x' }],
    ['no base64', { authorization: 'Basic %%%' }],
    ['a hundred kilobytes', { authorization: `Basic ${'A'.repeat(100_000)}` }],
  ])('refuses %s with 401', async (_, headers) => {
    const answer = await get('/v2/projects/home/devices/a', headers)
    expect(answer.statusCode).toBe(401)
    expect(answer.headers['www-authenticate']).toBe('Basic realm="telltale"')
    expect(answer.json()).toEqual({
      error: 'credentials missing or wrong: send HTTP Basic with a key id and its secret, or a token',
      code: 401,
      help: 'https://www.rfc-editor.org/rfc/rfc9110#status.401',
    })
  })

  it('refuses a repeated token, and does not turn to the cookie instead of one', async () => {
    const caller = await identity.verify('key', 'secret-of-key')
    const { token } = await identity.startSession(caller as Caller)
    const cookie = { cookie: `${SESSION_COOKIE}=${token}` }
    expect((await get('/v2/projects/home/devices/a', cookie)).statusCode).toBe(200)
    for (const query of ['token=', 'token=a'])
      expect((await app.inject({ method: 'POST', url: `/v2/echo?${query}`, payload: '{}', headers: cookie })).statusCode).toBe(401)
    expect((await get('/v2/projects/home/devices/a?token=a&token=b', cookie)).json()).toMatchObject({
      code: 400,
      error: 'token: expected one value, got several',
    })
  })

  it('knows no project in which the caller has no role', async () => {
    for (const project of ['other', '__proto__', 'constructor', '-']) {
      const answer = await get(`/v2/projects/${project}/devices/a`)
      expect([answer.statusCode, answer.json().error]).toEqual([404, `project ${project} does not exist`])
    }
  })

  it.each([
    ['invalid', 400],
    ['forbidden', 403],
    ['not_found', 404],
    ['conflict', 409],
    ['too_large', 413],
    ['quota_exceeded', 403],
    ['unsupported', 415],
    ['unavailable', 503],
  ])('answers a failure that is %s with %i', async (code, status) => {
    const answer = await get(`/v2/fail/${code}`)
    expect([answer.statusCode, answer.json().code]).toEqual([status, status])
    expect(answer.headers['retry-after']).toBe(status === 503 ? '5' : undefined)
  })

  it.each([
    ['{"a":1,"b":{"c":1,"\\u0063":2}}', '"c"'],
    ['[{"a":1},{"a":1, "a" : {}}]', '"a"'],
  ])('refuses a body in which a key is given twice: %s', async (body, key) => {
    expect((await post('/v2/echo', body)).json()).toMatchObject({
      code: 400,
      error: `body: the key ${key} is given twice in one object`,
      field: 'body',
    })
  })

  it('answers OPTIONS that is no preflight, too, in no other shape', async () => {
    const preflight = { origin: 'https://elsewhere', 'access-control-request-method': 'GET' }
    for (const headers of [preflight, { origin: 'https://elsewhere' }, {}]) {
      const answer = await app.inject({ method: 'OPTIONS', url: '/v2/projects/home/devices/a', headers: { ...mine, ...headers } })
      expect([answer.statusCode, answer.body]).toEqual([204, ''])
    }
  })

  it('repeats no query of an address that no route can be looked up for', async () => {
    for (const address of [`/v2/projects/home/devices/${'a'.repeat(600)}?token=hidden`, '/v2/%zz?token=hidden']) {
      const answer = await get(address)
      expect(answer.json()).toEqual({ error: expect.stringMatching(/address/), code: 400, help: expect.any(String) })
      expect(answer.body).not.toContain('hidden')
    }
  })

  it('keeps what is internal to itself', async () => {
    const answer = await get('/v2/fail/internal')
    expect([answer.statusCode, answer.json().error]).toEqual([500, 'internal error'])
    expect(answer.body).not.toContain('secret detail')
  })

  it('answers streams with an object, because their clients read one', async () => {
    const answer = await get('/v2/projects/home/devices:stream?token=x')
    expect([answer.statusCode, answer.json()]).toEqual([
      400,
      {
        error: { code: 400, message: 'cursor: no', details: [] },
        code: 400,
        help: 'https://www.rfc-editor.org/rfc/rfc9110#status.400',
      },
    ])
    expect((await get('/v2/projects/home/devices:stream', {})).json().error).toMatchObject({ code: 401 })
  })

  it('names a route that is not there without its query, which may hold a token', async () => {
    expect((await get('/v2/nothing?token=abc')).json().error).toBe('no route GET /v2/nothing')
  })

  it.each([
    '/v2/projects/home/devices/%E0%A4%A',
    '/v2/projects/home/devices/%',
    '/v2/projects/home/devices/%00',
    '/v2/projects/%2e%2e/devices/a',
    `/v2/projects/home/devices/${'a'.repeat(10_000)}`,
    `/${'a/'.repeat(5000)}`,
    '/v2/projects/home/devices/a?x=1&x=2&__proto__=3',
    '/v2/projects/home/devices/a?%E0%A4%A',
    '//v2//projects',
    '/v2/projects/home/devices/:stream',
    '/v2/:stream',
  ])('answers a URL out of shape with no more than a refusal in the usual one, %#', async url => {
    const answer = await get(url)
    expect(answer.statusCode).toBeLessThan(500)
    if (answer.statusCode >= 400) expect(answer.json()).toMatchObject({ code: answer.statusCode, error: expect.anything() })
  })

  it('takes JSON whatever the content type says, and nothing at all', async () => {
    for (const type of ['application/json', 'application/x-www-form-urlencoded', 'text/plain', 'Application/Json ; charset=x'])
      expect((await post('/v2/echo', '{"a":1}', { 'content-type': type })).json()).toEqual({ got: { a: 1 } })
    expect((await post('/v2/echo', '', { 'content-type': 'application/json' })).json()).toEqual({ got: null })
  })

  it.each([
    ['{"a":', /^body: not JSON: /],
    ['{"__proto__":{"a":1}}', 'body: not JSON: "__proto__" is not a field name'],
    ['{"a":{"__proto__":1}}', 'body: not JSON: "__proto__" is not a field name'],
    ['['.repeat(100_000), /^body: not JSON: /],
    [`${'['.repeat(100_000)}${']'.repeat(100_000)}`, /^body: not JSON: /],
  ])('refuses a body that is no good JSON, %#', async (body, message) => {
    const answer = await post('/v2/echo', body, { 'content-type': 'application/json' })
    expect([answer.statusCode, answer.json().field]).toEqual([400, 'body'])
    expect(answer.json().error).toMatch(message)
  })

  it('refuses a body beyond what a route takes with 413', async () => {
    const answer = await post('/v2/raw', Buffer.alloc(1024 * 1024 + 1))
    expect([answer.statusCode, answer.json().error]).toEqual([413, 'body: at most 1048576 bytes'])
  })

  describe('with a session', () => {
    let cookie: string
    beforeAll(async () => {
      const caller = await identity.verify('key', 'secret-of-key')
      if (!caller) throw new Error('no caller')
      cookie = `${SESSION_COOKIE}=${(await identity.startSession(caller)).token}`
    })

    it('reads like with a key', async () => {
      expect((await get('/v2/projects/home/devices/a', { cookie })).statusCode).toBe(200)
    })

    it('changes things only with the header that other sites cannot send', async () => {
      const send = (headers: Record<string, string>) => app.inject({ method: 'POST', url: '/v2/echo', payload: '{}', headers })
      expect((await send({ cookie })).statusCode).toBe(403)
      expect((await send({ cookie, 'x-telltale-console': '1' })).statusCode).toBe(200)
    })

    it('does not stand in for credentials that are wrong', async () => {
      expect((await get('/v2/projects/home/devices/a', { cookie, authorization: basic('key', 'wrong') })).statusCode).toBe(401)
    })

    it.each(['', 'x', 'a.b.c', 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJrZXkiLCJhdWQiOiJjb25zb2xlIn0.'])('is not %j', async token => {
      expect((await get('/v2/projects/home/devices/a', { cookie: `${SESSION_COOKIE}=${token}` })).statusCode).toBe(401)
    })
  })

  it('tells callers to wait while Redis is away, and when', async () => {
    quick.disconnect()
    const answer = await get('/v2/store')
    expect([answer.statusCode, answer.json().error]).toEqual([503, 'Redis cannot be reached'])
    expect(answer.headers['retry-after']).toBe('1')
  })

  it('lets pages elsewhere use it with a key or token of theirs, and never with our cookie', async () => {
    const asked = await app.inject({
      method: 'OPTIONS',
      url: '/v2/echo',
      headers: { origin: 'https://elsewhere.example', 'access-control-request-method': 'POST' },
    })
    expect(asked.statusCode).toBe(204)
    expect(asked.headers['access-control-allow-origin']).toBe('*')
    expect(asked.headers['access-control-allow-credentials']).toBeUndefined()
    expect(String(asked.headers['access-control-allow-headers']).toLowerCase()).not.toContain('x-telltale-console')
  })

  it.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])('lets pages elsewhere send %s', async method => {
    const headers = { origin: 'https://elsewhere.example', 'access-control-request-method': method }
    const asked = await app.inject({ method: 'OPTIONS', url: '/v2/echo', headers })
    expect([asked.statusCode, String(asked.headers['access-control-allow-methods']).split(', ')]).toEqual([
      204,
      expect.arrayContaining([method]),
    ])
  })

  it('looks at no key that was wrong twenty times from an address, and at the same token no more often either', async () => {
    const limits = { manage: { requests: 100, windowMs: 60_000 }, ingest: undefined }
    const guarded = await openHttp({ identity, log: openLogger('silent'), version: '1.2.3', limits })
    guarded.get('/v2/manage', named('manage'), async () => ({}))
    const status = async (headers: Record<string, string>, remoteAddress = '10.0.0.1') =>
      (await guarded.inject({ method: 'GET', url: '/v2/manage', headers, remoteAddress })).statusCode
    const wrong: Record<string, string>[] = [
      { authorization: basic('key', 'wrong') },
      { authorization: 'Bearer a.b.c' },
      { cookie: `${SESSION_COOKIE}=a.b.c` },
    ]
    for (const headers of wrong) {
      for (let i = 0; i < 20; i++) expect(await status(headers)).toBe(401)
      const refused = await guarded.inject({ method: 'GET', url: '/v2/manage', headers, remoteAddress: '10.0.0.1' })
      expect([refused.statusCode, refused.headers['retry-after']]).toEqual([429, expect.stringMatching(/^(60|[1-5]\d)$/)])
    }
    expect([await status(mine), await status(mine, '10.0.0.2')]).toEqual([429, 200])
    const other = { authorization: basic('other', 'secret-of-other') }
    expect(await status(other)).toBe(200)
    // Nothing shown is nothing guessed.
    for (let i = 0; i < 25; i++) expect(await status({})).toBe(401)
    expect(await status({ authorization: basic('key', 'wrong') }, '2001:db8::1')).toBe(401)
    await guarded.close()
  })

  it.each<[what: string, schema: FastifySchema | undefined, complaint: string]>([
    ['without an operationId', undefined, 'POST /v2/things:test: a route of the API needs an operationId'],
    [
      'whose body has no example',
      { operationId: 'x', body: Type.Object({ a: Type.String() }) },
      'POST /v2/things:test: its body needs an example',
    ],
    [
      'whose body has an example of some fields only',
      { operationId: 'x', body: Type.Object({ a: Type.String(), b: Type.String({ examples: ['b'] }) }) },
      'POST /v2/things:test: its body needs an example',
    ],
  ])('takes no route %s', async (_, schema, complaint) => {
    const other = await openHttp({
      identity,
      log: openLogger('silent'),
      version: '1.2.3',
      limits: { manage: undefined, ingest: undefined },
    })
    expect(() => other.post(verb('/v2/things', 'test'), schema ? { schema } : {}, async () => ({}))).toThrow(complaint)
    await other.close()
  })

  it('believes what a proxy says of the client only when the proxy is trusted', async () => {
    const limits = { manage: undefined, ingest: undefined }
    for (const [trustedProxies, told] of [
      [['127.0.0.0/8'], '203.0.113.7 https'],
      [['10.0.0.0/8'], '127.0.0.1 http'],
      [[], '127.0.0.1 http'],
    ] as const) {
      const proxied = await openHttp({ identity, log: openLogger('silent'), version: '1.2.3', limits, trustedProxies })
      proxied.get('/who', { config: { open: true } }, async ({ ip, protocol }) => ({ told: `${ip} ${protocol}` }))
      const headers = { 'x-forwarded-for': '198.51.100.1, 203.0.113.7', 'x-forwarded-proto': 'https' }
      expect((await proxied.inject({ url: '/who', headers })).json()).toEqual({ told })
      await proxied.close()
    }
  })

  it('tells a caller who asks too often when to come again, each caller and each kind of request for itself', async () => {
    const limits = { manage: { requests: 3, windowMs: 60_000 }, ingest: { requests: 5, windowMs: 60_000 } }
    const limited = await openHttp({ identity, log: openLogger('silent'), version: '1.2.3', limits })
    limited.get('/v2/manage', named('manage'), async () => ({}))
    limited.post('/v2/ingest', { config: { limit: 'ingest' }, ...named('ingest') }, async () => ({}))
    limited.post('/sign-in', { config: { open: true, limit: 'address' } }, async () => ({}))
    const statuses = async (count: number, method: 'GET' | 'POST', url: string, headers = mine) => {
      const found = []
      for (let i = 0; i < count; i++) found.push(await limited.inject({ method, url, headers }))
      return found.map(({ statusCode }) => statusCode)
    }
    expect(await statuses(5, 'GET', '/v2/manage')).toEqual([200, 200, 200, 429, 429])
    expect(await statuses(1, 'GET', '/v2/manage', { authorization: basic('other', 'secret-of-other') })).toEqual([200])
    expect(await statuses(6, 'POST', '/v2/ingest')).toEqual([200, 200, 200, 200, 200, 429])
    const signIns = []
    for (let i = 0; i < 601; i++) signIns.push((await limited.inject({ method: 'POST', url: '/sign-in' })).statusCode)
    expect([new Set(signIns.slice(0, 600)), signIns.at(-1)]).toEqual([new Set([200]), 429])
    const refused = await limited.inject({ method: 'GET', url: '/v2/manage', headers: mine })
    expect(refused.headers['retry-after']).toMatch(/^\d+$/)
    expect(refused.json()).toMatchObject({ code: 429, error: 'at most 3 requests in 60 s' })
    await limited.close()
  })
})
