// The dialect of Macrometa, row by row (contracts.md 2), as a program meets it: streams over REST, and producers, consumers and readers over
// WebSockets.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { makeCertificate, type TestCertificate } from './certificate.ts'
import { address, base64, STREAMS, speakMacrometa, texts } from './macrometa.ts'
import { newAccount, newProject } from './tenant.ts'
import { type Answer, eventually, type Json, newDirectory, ROOT, removeDirectories, startTelltale, type Telltale } from './world.ts'

let telltale: Telltale
let certificate: TestCertificate
beforeAll(async () => {
  certificate = await makeCertificate(await newDirectory(), 'macrometa')
  telltale = await startTelltale({
    env: {
      TELLTALE_HTTPS_PORT: '0',
      TELLTALE_TLS_CERT: certificate.certPath,
      TELLTALE_TLS_KEY: certificate.keyPath,
      TELLTALE_STREAM_LIMIT: '50',
    },
  })
})
afterEach(() => cut())
afterAll(async () => {
  await telltale.remove()
  await removeDirectories()
})

const { apiKey, ask, newStream, publish, open, produce, consume, read, refused, statusOf, cut } = speakMacrometa(() => telltale)
const basic = () => `Basic ${Buffer.from(`${telltale.key.keyId}:${telltale.key.secret}`).toString('base64')}`
const codes = ({ status, json }: Answer) => [status, json['error'], json['code'], json['errorNum']]
const good = (result: unknown = expect.anything()) => ({ error: false, code: 200, result })
const backlogOf = async (topic: string) => (await ask('GET', `${STREAMS}/${topic}/backlog`)).json['result']

describe('streams over REST', () => {
  test('are made once, listed by kind, and removed, under both addresses', async () => {
    for (const [base, name] of [
      [STREAMS, 'made-a'],
      ['/_fabric/_system/streams', 'made-b'],
    ]) {
      expect((await ask('POST', `${base}/${name}?global=true`)).json).toEqual(good({ 'stream-id': `c8globals.${name}` }))
      expect((await ask('POST', `${base}/${name}?global=False`, { body: '{"name":"x"}' })).json).toEqual(
        good({ 'stream-id': `c8locals.${name}` }),
      )
      expect(codes(await ask('POST', `${base}/${name}?global=True`, { body: '' }))).toEqual([409, true, 409, 581])
    }
    const topics = async (query: string) =>
      ((await ask('GET', `${STREAMS}${query}`)).json['result'] as Json[])
        .map(({ topic }) => topic)
        .filter(topic => String(topic).includes('made'))
    expect(await topics('')).toEqual(['c8locals.made-a', 'c8locals.made-b', 'c8globals.made-a', 'c8globals.made-b'])
    expect(await topics('?global=true')).toEqual(['c8globals.made-a', 'c8globals.made-b'])
    expect(await topics('?global=false')).toEqual(['c8locals.made-a', 'c8locals.made-b'])
    const [one] = ((await ask('GET', `${STREAMS}?global=true`)).json['result'] as Json[]).filter(
      ({ topic }) => topic === 'c8globals.made-a',
    )
    expect(one).toMatchObject({
      type: 4,
      local: false,
      db: '_system',
      tenant: 'default',
      _key: expect.any(String),
      _id: expect.any(String),
    })
    for (const base of [STREAMS, '/_fabric/_system/streams']) {
      const name = base === STREAMS ? 'made-a' : 'made-b'
      expect((await ask('DELETE', `${base}/c8globals.${name}`)).json).toEqual(good(''))
      expect((await ask('DELETE', `${base}/c8locals.${name}?force=true`)).status).toBe(200)
      expect(codes(await ask('DELETE', `${base}/c8globals.${name}`))).toEqual([404, true, 404, 404])
    }
  })

  test.each([
    ['POST', '/a%25?global=true', 400],
    ['POST', '/a%?global=true', 400],
    ['POST', `/${'x'.repeat(231)}?global=true`, 400],
    ['POST', '/c8locals.x?global=true', 400],
    ['POST', '/x?global=maybe', 400],
    ['POST', '/x?global=true&global=true', 400],
    ['DELETE', '/x', 404],
    ['DELETE', '/c8globals.nothing', 404],
    ['GET', '/c8globals.nothing/stats', 404],
    ['GET', '/c8globals.nothing/backlog', 404],
    ['GET', '/c8globals.nothing/subscriptions', 404],
    ['POST', '/c8globals.nothing/publish', 404],
    ['POST', '/c8globals.nothing/expiry/10', 404],
    ['POST', '/ttl/soon', 400],
    ['GET', '/c8globals.nothing/nothing', 404],
  ] as const)('%s %s is %i, in words', async (method, path, status) => {
    const answer = await ask(method, `${STREAMS}${path}`)
    expect(codes(answer)).toEqual([status, true, status, status])
    expect(answer.json['errorMessage']).toEqual(expect.any(String))
  })

  test('take the bytes of a body as they are, whatever they say they are, and hand them on so', async () => {
    const topic = await newStream()
    const consumer = await consume(topic, 'bytes')
    for (const body of ['Hello World', '{"a":1}', '', '"quoted"', '\u0000\u0001æ'])
      expect((await ask('POST', `${STREAMS}/${topic}/publish?global=true`, { body })).json).toEqual({
        error: false,
        code: 202,
        result: { messageId: expect.any(String) },
      })
    expect(texts(await consumer.have(5))).toEqual(['Hello World', '{"a":1}', '', '"quoted"', '\u0000\u0001æ'])
    // Known by its length, before any of it has come.
    const headers = { authorization: apiKey(), 'content-length': 4 * 1024 * 1024 + 1 }
    const large = request(`${telltale.url()}${STREAMS}/${topic}/publish`, { method: 'POST', headers })
    large.flushHeaders()
    const [{ statusCode }] = (await once(large, 'response')) as [IncomingMessage]
    large.destroy()
    expect(statusCode).toBe(413)
  })

  test('tell their subscriptions, backlog and statistics', async () => {
    const topic = await newStream()
    for (const name of ['b', 'a']) await (await consume(topic, name)).close()
    await publish(topic, 'one', 'two')
    const consumer = await consume(topic, 'a', 'consumerName=me')
    await consumer.have(2)
    expect((await ask('GET', `${STREAMS}/${topic}/subscriptions?global=true`)).json).toEqual(good(['b', 'a']))
    const { json } = await ask('GET', `${STREAMS}/${topic}/stats?global=True&getPreciseBacklog=true&subscriptionBacklogSize=false`)
    expect(json['result']).toMatchObject({
      msgInCounter: 2,
      storageSize: expect.any(Number),
      subscriptions: {
        a: { msgBacklog: 2, unackedMessages: 2, type: 'Exclusive', consumers: [{ consumerName: 'me' }] },
        b: { msgBacklog: 2, consumers: [] },
      },
    })
    const backlog = await ask('GET', `${STREAMS}/${topic}/backlog?global=true`)
    expect(backlog.json['result']).toMatchObject({ totalMessages: 2, messageBacklog: 2, cursorDetails: { a: { cursorBacklog: 2 } } })
    await consumer.close()
  })

  test('are also what the devices send, which nobody else can change', async () => {
    const topic = 'c8globals.devices'
    const [consumer, reader] = [await consume(topic, 'all'), await read(topic)]
    expect(
      (await ask('POST', '/v2/projects/default/devices/d1:publish', { body: '{"temperature":{"value":21.5}}', authorization: basic() }))
        .status,
    ).toBe(200)
    for (const socket of [consumer, reader])
      expect(JSON.parse(texts(await socket.have(1))[0] ?? '')).toMatchObject({
        eventType: 'temperature',
        data: { temperature: { value: 21.5 } },
      })
    expect(await statusOf(address('producer', topic))).toBe(403)
    for (const [method, path] of [
      ['POST', '/publish'],
      ['POST', '/expiry/5'],
      ['DELETE', '?force=true'],
    ] as const)
      expect(codes(await ask(method, `${STREAMS}/${topic}${path}`))).toEqual([403, true, 403, 403])
    expect((await ask('POST', `${STREAMS}/devices?global=true`)).status).toBe(409)
  })

  test('are cleared, of all subscriptions or of one', async () => {
    const topics = [await newStream(), await newStream()]
    const backlogs = async (topic = '') =>
      Object.values(
        ((await ask('GET', `${STREAMS}/${topic}/backlog`)).json['result'] as { cursorDetails: Record<string, Json> }).cursorDetails,
      ).map(({ cursorBacklog }) => cursorBacklog)
    for (const topic of topics) {
      for (const name of ['clear-a', 'clear-b']) await (await consume(topic, name)).close()
      await publish(topic, 'one', 'two')
      expect(await backlogs(topic)).toEqual([2, 2])
    }
    expect((await ask('POST', `${STREAMS}/clearbacklog/clear-a?global=true`)).json).toEqual(good(''))
    for (const topic of topics) expect(await backlogs(topic)).toEqual([0, 2])
    expect((await ask('POST', `${STREAMS}/clearbacklog?global=false`)).status).toBe(200)
    for (const topic of topics) expect(await backlogs(topic)).toEqual([0, 2])
    expect((await ask('POST', `${STREAMS}/clearbacklog`)).status).toBe(200)
    for (const topic of topics) expect(await backlogs(topic)).toEqual([0, 0])
  })

  test('lose a subscription, here or everywhere, when nobody consumes it', async () => {
    const topics = [await newStream(), await newStream()]
    const names = async (topic = '') => (await ask('GET', `${STREAMS}/${topic}/subscriptions`)).json['result']
    for (const topic of topics) for (const name of ['gone-a', 'gone-b', 'gone-c', 'gone-d']) await (await consume(topic, name)).close()
    const [first, second] = topics
    expect((await ask('DELETE', `${STREAMS}/${first}/subscriptions/gone-a?global=true`)).json).toEqual(good(''))
    expect(codes(await ask('DELETE', `${STREAMS}/${first}/subscriptions/gone-a?global=true`))).toEqual([404, true, 404, 404])
    expect((await ask('DELETE', `${STREAMS}/subscription/gone-b`, { body: '' })).json).toEqual(good(''))
    expect((await ask('POST', `${STREAMS}/unsubscribe/gone-c`)).status).toBe(200)
    expect((await ask('DELETE', `${STREAMS}/subscription/gone-b?global=true`)).status).toBe(200)
    expect([await names(first), await names(second)]).toEqual([['gone-d'], ['gone-a', 'gone-d']])
    const consumer = await consume(first ?? '', 'gone-d')
    for (const path of [`/${first}/subscriptions/gone-d`, '/subscription/gone-d', `/${first}`])
      expect(codes(await ask('DELETE', `${STREAMS}${path}`))).toEqual([412, true, 412, 412])
    // Closed, and removed at once.
    consumer.socket.close()
    expect((await ask('DELETE', `${STREAMS}/${first}/subscriptions/gone-d`)).status).toBe(200)
    const other = await consume(first ?? '', 'gone-e')
    expect((await ask('DELETE', `${STREAMS}/${first}?force=true`)).status).toBe(200)
    expect(await other.closed).toMatchObject({ code: 4002, reason: expect.stringMatching(/^Failed to subscribe: /) })
  })

  test('keep messages as long as is said for all, for those to come too, or for one', async () => {
    const before = await ask('GET', `${STREAMS}/ttl?global=true`)
    expect(before.json).toEqual(good(259_200))
    expect((await ask('POST', `${STREAMS}/ttl/3600?global=false`)).json).toEqual(good(3600))
    expect((await ask('GET', `${STREAMS}/ttl?global=False`)).json).toEqual(good(3600))
    expect((await ask('GET', `${STREAMS}/ttl`)).json).toEqual(good(259_200))
    const topic = await newStream()
    expect((await ask('POST', `${STREAMS}/${topic}/expiry/1`)).json).toEqual(good(1))
    expect(codes(await ask('POST', `${STREAMS}/${topic}/expiry/0`))).toEqual([400, true, 400, 400])
    const consumer = await consume(topic, 'old')
    await consumer.close()
    await publish(topic, 'old')
    await eventually(async () => expect(await backlogOf(topic)).toMatchObject({ totalMessages: 0 }), 90_000)
  }, 100_000)
})

describe('whoever comes', () => {
  const otp = async (authorization = apiKey()) => String((await ask('POST', '/apid/otp', { authorization, body: '' })).json['otp'])
  const signIn = (body: unknown) => ask('POST', '/_open/auth', { body: JSON.stringify(body), authorization: '' })

  test('is let in by an API key of a project, and by a token in any case', async () => {
    const { keyId, secret } = telltale.key
    const { status, json } = await signIn({ email: keyId, password: secret })
    expect([status, json]).toEqual([200, { jwt: expect.any(String), tenant: 'default', username: keyId }])
    const jwt = String(json['jwt'])
    expect(JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString())).toMatchObject({ tenant: 'default' })
    for (const authorization of [apiKey(), apiKey().replace('apikey', 'APIKEY'), `bearer ${jwt}`, `Bearer ${jwt}`, `BEARER ${jwt}`]) {
      const user = await ask('GET', '/_api/user', { authorization })
      expect(user.json).toMatchObject(good([expect.objectContaining({ tenant: 'default', username: keyId })]))
    }
    expect((await signIn({ tenant: 'default', username: keyId, password: secret })).json['tenant']).toBe('default')
    expect((await ask('POST', '/_fabric/_system/_api/key/validate', { body: '{}' })).json['result']).toMatchObject({ tenant: 'default' })
  })

  test('is nobody with anything else', async () => {
    const { keyId, secret } = telltale.key
    for (const body of [
      { email: keyId, password: 'x' },
      { email: 'x', password: secret },
      { username: keyId, password: secret, tenant: 'x' },
    ])
      expect(codes(await signIn(body))).toEqual([401, true, 401, 401])
    for (const body of [{}, [], 'x', null, { email: keyId }, { email: 1, password: 1 }])
      expect(codes(await signIn(body))).toEqual([400, true, 400, 400])
    const wrong = [
      '',
      'apikey',
      `apikey ${keyId}.${secret}`,
      `apikey default.${keyId}.x`,
      `apikey other.${keyId}.${secret}`,
      'Bearer x',
      `Basic x`,
    ]
    for (const authorization of wrong) {
      expect(codes(await ask('GET', STREAMS, { authorization }))).toEqual([401, true, 401, 401])
      expect(codes(await ask('GET', '/datacenter/local', { authorization }))).toEqual([401, true, 401, 401])
    }
    const topic = await newStream()
    for (const authorization of wrong) expect(await statusOf(address('reader', topic), authorization)).toBe(401)
    for (const query of ['otp=x', 'otp=', 'token=x', 'otp=a&otp=b'])
      expect([400, 401]).toContain(await statusOf(address('reader', topic, { query }), ''))
  })

  test('opens one WebSocket with a one-time password, or any number with a token', async () => {
    const topic = await newStream()
    const query = `otp=${await otp()}`
    const first = await open(address('producer', topic, { query }), '')
    expect(await refused(address('producer', topic, { query }), '')).toEqual([
      401,
      expect.objectContaining({ error: true, code: 401, errorNum: 401 }),
    ])
    first.send({ payload: 'test' })
    await first.have(1)
    const { json } = await signIn({ email: telltale.key.keyId, password: telltale.key.secret })
    for (const kind of ['producer', 'reader', 'producer'] as const)
      await open(address(kind, topic, { query: `token=${String(json['jwt'])}` }), '')
  })

  test('is told a place that is this one', async () => {
    const at = async (host: string) => (await telltale.http('/datacenter/local', { headers: { authorization: apiKey(), host } })).json
    const { host } = new URL(telltale.url())
    expect(await at(host)).toMatchObject({ local: true, status: 0, tags: { url: host, api: `api-${host}` }, locationInfo: { url: host } })
  })

  test('sees no other fabric, and no project where they have no role', async () => {
    const topic = await newStream()
    for (const path of ['/_fabric/other/_api/streams', '/_fabric/other/streams/x']) {
      const method = path.endsWith('x') ? 'POST' : 'GET'
      expect(codes(await ask(method, path))).toEqual([404, true, 404, 404])
    }
    const project = await newProject(telltale)
    const stranger = await newAccount(telltale, project, { [`projects/${project}`]: 'project.admin' })
    const authorization = apiKey(stranger, project)
    expect((await ask('GET', STREAMS, { authorization })).json).toEqual(
      good([expect.objectContaining({ topic: 'c8globals.devices', tenant: project })]),
    )
    for (const kind of ['producer', 'reader'] as const) expect(await statusOf(address(kind, topic), authorization)).toBe(404)
    expect(await statusOf(address('consumer', topic, { subscription: 's' }), authorization)).toBe(404)
    expect(codes(await ask('DELETE', `${STREAMS}/${topic}`, { authorization }))).toEqual([404, true, 404, 404])
  })

  test('reads as a user, and does the rest as a developer', async () => {
    const topic = await newStream()
    const user = await newAccount(telltale, 'default', { 'projects/default': 'project.user' })
    const authorization = apiKey(user)
    expect((await ask('GET', STREAMS, { authorization })).status).toBe(200)
    await open(address('reader', topic), authorization)
    expect(await refused(address('producer', topic), authorization)).toEqual([403, expect.objectContaining({ errorNum: 403 })])
    expect(await statusOf(address('consumer', topic, { subscription: 's' }), authorization)).toBe(403)
    for (const [method, path] of [
      ['POST', '/x'],
      ['DELETE', `/${topic}`],
      ['POST', `/${topic}/publish`],
      ['POST', '/ttl/1'],
      ['POST', '/clearbacklog'],
    ] as const)
      expect(codes(await ask(method, `${STREAMS}${path}`, { authorization }))).toEqual([403, true, 403, 403])
  })

  test('is cut off within a second when the key is revoked', async () => {
    const topic = await newStream()
    const somebody = await newAccount(telltale, 'default', { 'projects/default': 'project.developer' })
    const authorization = apiKey(somebody)
    const sockets = [
      await open(address('producer', topic), authorization),
      await open(address('consumer', topic, { subscription: 's' }), authorization),
      await open(address('reader', topic, { query: `otp=${await otp(authorization)}` }), ''),
    ]
    expect((await telltale.http(`/v2/${somebody.name}/keys/${somebody.keyId}`, { method: 'DELETE' })).status).toBe(200)
    for (const socket of sockets)
      expect(await socket.closed).toEqual({ code: 4005, reason: 'Client is not authenticated: the key was revoked' })
    expect(await statusOf(address('producer', topic), authorization)).toBe(401)
  })
})

describe('a handshake', () => {
  test.each([
    ['producer', '/persistent/default/c8global._system/c8globals.none', 404],
    ['consumer', '/persistent/default/c8global._system/c8globals.none/s', 404],
    ['reader', '/persistent/default/c8global.other/c8globals.none', 404],
    ['reader', '/persistent/other/c8global._system/c8globals.none', 404],
    ['reader', '/persistent/default/c8globals.none', 400],
    ['reader', '/x', 400],
    ['consumer', '/persistent/default/c8global._system/c8globals.none/a%25b?subscriptionType=X', 404],
    ['unheardof', '/x', 404],
  ])('for a %s of %s is %i', async (kind, path, status) => {
    expect(codes({ status, json: (await refused(`/_ws/ws/v2/${kind}${path}`))[1] } as Answer)).toEqual([status, true, status, status])
  })

  test('with a value that is none is 400, and so is none at all', async () => {
    const topic = await newStream()
    for (const query of ['subscriptionType=X', 'receiverQueueSize=-1', 'pullMode=maybe', 'ackTimeoutMillis=x'])
      expect(await statusOf(address('consumer', topic, { subscription: 's', query }))).toBe(400)
    expect(await statusOf(address('consumer', topic, { subscription: 'a%25b' }))).toBe(400)
    for (const query of ['compressionType=X', 'messageRoutingMode=X'])
      expect(await statusOf(address('producer', topic, { query }))).toBe(400)
    expect(codes(await ask('GET', address('reader', topic)))).toEqual([400, true, 400, 400])
    expect((await ask('GET', `${STREAMS}/${topic}/subscriptions`)).json['result']).toEqual([])
  })

  test('of one key too many is 503', async () => {
    const topic = await newStream()
    for (let i = 0; i < 50; i++) await read(topic)
    expect(await refused(address('reader', topic))).toEqual([503, expect.objectContaining({ code: 503, errorNum: 503 })])
  })

  test('leads to local streams, and to names with slashes and spaces', async () => {
    const local = await newStream(false)
    await publish(local, 'here')
    expect(texts(await (await consume(local, 's')).have(1))).toEqual(['here'])
    expect((await ask('POST', `${STREAMS}/plant%2Fline%203?global=true`)).status).toBe(200)
    const producer = await produce('c8globals.plant/line%203')
    producer.send({ payload: base64('there') })
    await producer.have(1)
    expect(texts(await (await consume('c8globals.plant/line%203', 's')).have(1))).toEqual(['there'])
  })
})

test('the official client for JavaScript works by its address alone, over TLS as it insists', async () => {
  const port = /https:\/\/127\.0\.0\.1:(\d+)/.exec(telltale.program().said())?.[1]
  const { keyId, secret } = telltale.key
  const args = ['--import', 'tsx', 'test/jsc8.ts', `localhost:${port}`, keyId, secret, 'default']
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: certificate.certPath }
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, env, timeout: 60_000 })
  const seen = JSON.parse(stdout) as Json
  expect(seen).toEqual({
    before: false,
    created: good({ 'stream-id': 'c8globals.jsc8' }),
    again: { name: 'C8Error', status: 409, errorNum: 581 },
    after: [true, true],
    produced: { result: 'ok', messageId: expect.any(String), context: '5' },
    consumed: expect.objectContaining({ payload: 'test', properties: {}, redeliveryCount: 0 }),
    published: { error: false, code: 202, result: expect.anything() },
    second: expect.objectContaining({ payload: base64('Hello World') }),
    subscriptions: good(['sub']),
    stats: good(expect.objectContaining({ msgInCounter: 2 })),
    backlog: good(expect.objectContaining({ topicName: 'c8globals.jsc8' })),
    lifetime: [good(7200), good(7200)],
    expiry: good(3600),
    unsubscribed: good(''),
    unsubscribedAll: good(''),
    deleted: good(''),
    deletedAgain: { name: 'C8Error', status: 404, errorNum: 404 },
    login: ['jwt', 'tenant', 'username'],
    asToken: true,
  })
}, 90_000)
