// Programs written for Memphis's REST gateway and for eventserver, against the real server: contracts.md 3 and 4, row by row.
import { randomUUID } from 'node:crypto'
import axios from 'axios'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newAccount, newProject } from './tenant.ts'
import { type Answer, type Ask, eventually, type Json, removeDirectories, startTelltale, type Telltale, until } from './world.ts'

let telltale: Telltale
beforeAll(async () => {
  telltale = await startTelltale()
}, 60_000)
afterAll(async () => {
  await telltale?.remove()
  await removeDirectories()
})

/** Without the key that is sent otherwise. */
async function call(path: string, ask: Ask = {}): Promise<Answer> {
  const response = await fetch(`${telltale.url()}${path}`, ask)
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') === true
  return { status: response.status, headers: response.headers, text, json: isJson ? (JSON.parse(text) as Json) : {} }
}

const JSON_TYPE = { 'content-type': 'application/json' }
const post = (path: string, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
  call(path, { method: 'POST', body: JSON.stringify(body), headers: { ...JSON_TYPE, ...headers } })
const what = ({ status, json }: Answer) => [status, json]
const basic = (user: string, secret: string) => `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`

describe('a client of Memphis', () => {
  const UNAUTHORIZED = [401, { message: 'Unauthorized' }]
  const OK = [200, { error: null, success: true }]
  const authenticate = (body: object = {}) =>
    post('/auth/authenticate', { username: telltale.key.keyId, connection_token: telltale.key.secret, ...body })
  const refresh = (body: unknown, headers: Readonly<Record<string, string>> = {}) => post('/auth/refreshToken', body, headers)

  let jwt = ''
  beforeAll(async () => {
    jwt = String((await authenticate()).json['jwt'])
  })
  const bearer = () => ({ authorization: `Bearer ${jwt}` })
  const single = (station: string, body: string | Buffer, type: string, headers: Readonly<Record<string, string>> = {}) =>
    call(`/stations/${station}/produce/single`, { method: 'POST', body, headers: { 'content-type': type, ...bearer(), ...headers } })
  const batch = (station: string, body: unknown, headers: Readonly<Record<string, string>> = {}) =>
    post(`/stations/${station}/produce/batch`, body, { ...bearer(), ...headers })
  const consume = (station: string, body: object = {}, headers = bearer()) =>
    post(`/stations/${station}/consume/batch`, { consumer_name: 'c1', batch_max_wait_time_ms: 200, ...body }, headers)
  type Message = { readonly message: string; readonly headers: Record<string, string> }
  /** As many as are there, in one batch or several. */
  async function consumed(station: string, count: number, body: object = {}): Promise<Message[]> {
    const messages: Message[] = []
    await until(`${count} messages in ${station}`, async () => {
      const { status, json } = await consume(station, { batch_size: count - messages.length, ...body })
      expect(status).toBe(200)
      messages.push(...(json as unknown as Message[]))
      return messages.length >= count
    })
    return messages
  }

  describe('that authenticates', () => {
    it('gets two tokens, with their durations in milliseconds, and no other key', async () => {
      const answer = await authenticate()
      expect(answer.status).toBe(200)
      expect(answer.json).toEqual({
        expires_in: 900_000,
        jwt: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
        jwt_refresh_token: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
        refresh_token_expires_in: 18_000_000,
      })
      expect(answer.headers.get('set-cookie')).toBe(
        `jwt-refresh-token=${String(answer.json['jwt_refresh_token'])}; Max-Age=18000; Path=/; HttpOnly; SameSite=Strict`,
      )
    })

    it('gets them by a password too, and for as long as it asks', async () => {
      const { keyId, secret } = telltale.key
      const asked = { password: secret, token_expiry_in_minutes: 60, refresh_token_expiry_in_minutes: 600, account_id: 1 }
      const { data } = await axios.post<Json>(`${telltale.url()}/auth/authenticate?accountId=3`, { username: keyId, ...asked })
      expect(data).toMatchObject({ expires_in: 3_600_000, refresh_token_expires_in: 36_000_000 })
      const usual = { username: `${keyId}$123`, token_expiry_in_minutes: 0, refresh_token_expiry_in_minutes: -5 }
      expect((await authenticate(usual)).json).toMatchObject({ expires_in: 900_000, refresh_token_expires_in: 18_000_000 })
    })

    it.each([
      [{ username: 'a' }, [{ field: 'ConnectionToken', reason: 'required' }]],
      [{ connection_token: 'a' }, [{ field: 'Username', reason: 'required' }]],
      [
        {},
        [
          { field: 'Username', reason: 'required' },
          { field: 'ConnectionToken', reason: 'required' },
        ],
      ],
      [{ username: 7, connection_token: 'a' }, 'username: expected a text'],
      [{ username: 'a', connection_token: 'a', token_expiry_in_minutes: '5' }, 'token_expiry_in_minutes: expected a whole number'],
      [[], 'body: expected a JSON object'],
    ])('is told what is missing or wrong in %j', async (body, message) => {
      expect(what(await post('/auth/authenticate', body))).toEqual([400, { message }])
    })

    it('is told that its body is no JSON', async () => {
      const answer = await call('/auth/authenticate', { method: 'POST', body: '{"username"', headers: JSON_TYPE })
      expect([answer.status, answer.json['message']]).toEqual([400, expect.stringMatching(/^body: not JSON/)])
    })

    it('with wrong credentials gets none, whichever of them are wrong', async () => {
      for (const wrong of [{ connection_token: 'wrong' }, { username: 'nobody' }, { username: `${telltale.key.keyId}@elsewhere` }])
        expect(what(await authenticate(wrong))).toEqual([401, { message: 'Wrong credentials' }])
    })
  })

  describe('that refreshes', () => {
    it('may show the refresh token in the body, in the cookie, or the access token with an empty form', async () => {
      const { jwt: access, jwt_refresh_token: token } = (await authenticate()).json
      const asked = { jwt_refresh_token: token, token_expiry_in_minutes: 60, refresh_token_expiry_in_minutes: 600 }
      const byBody = await refresh(asked)
      expect(byBody.json).toMatchObject({ expires_in: 3_600_000, refresh_token_expires_in: 36_000_000 })
      const byCookie = await call('/auth/refreshToken', { method: 'POST', headers: { cookie: `jwt-refresh-token=${String(token)}` } })
      const form = { authorization: `Bearer ${String(access)}`, 'content-type': 'application/x-www-form-urlencoded' }
      const byBearer = await call('/auth/refreshToken', { method: 'POST', body: '', headers: form })
      for (const { status, json, headers } of [byBody, byCookie, byBearer]) {
        expect(status).toBe(200)
        expect(Object.keys(json)).toEqual(['expires_in', 'jwt', 'jwt_refresh_token', 'refresh_token_expires_in'])
        expect(headers.get('set-cookie')).toContain(`jwt-refresh-token=${String(json['jwt_refresh_token'])};`)
        const next = { authorization: `Bearer ${String(json['jwt'])}` }
        expect((await consume('refreshed', { batch_max_wait_time_ms: 1 }, next)).status).toBe(200)
      }
    })

    it('is not held up by a cookie that is out of date, and finds the address in any case', async () => {
      const headers = { ...bearer(), cookie: 'jwt-refresh-token=old' }
      for (const path of ['/auth/refreshtoken', '/Auth/RefreshToken/', '/AUTH/REFRESHTOKEN?x=1'])
        expect((await call(path, { method: 'POST', headers })).status).toBe(200)
    })

    it.each<[string, unknown, Record<string, string>]>([
      ['nothing', {}, {}],
      ['no token', { jwt_refresh_token: 'x' }, {}],
      ['a wrong cookie', {}, { cookie: 'jwt-refresh-token=a.b.c' }],
      ['a header without a scheme', {}, { authorization: 'a.b.c' }],
    ])('with %s gets none', async (_, body, headers) => {
      expect(what(await refresh(body, headers))).toEqual(UNAUTHORIZED)
    })
  })

  describe('with its token', () => {
    it('is let in behind any one word, or by the query', async () => {
      const wait = { batch_max_wait_time_ms: 1 }
      for (const word of ['Bearer', 'Bearer:', 'bearer', 'JWT'])
        expect((await consume('words', wait, { authorization: `${word} ${jwt}` })).status).toBe(200)
      const body = JSON.stringify({ consumer_name: 'c1', ...wait })
      const queried = await call(`/stations/words/consume/batch?authorization=${jwt}`, { method: 'POST', body, headers: JSON_TYPE })
      expect(queried.status).toBe(200)
    })

    it('is not let in by anything else', async () => {
      const { jwt_refresh_token: token } = (await authenticate()).json
      const { keyId, secret } = telltale.key
      for (const authorization of [
        '',
        jwt,
        `Bearer  ${jwt}`,
        `Bearer ${jwt} x`,
        `Bearer ${jwt}x`,
        `Bearer ${String(token)}`,
        basic(keyId, secret),
      ])
        expect(what(await consume('words', {}, { authorization }))).toEqual(UNAUTHORIZED)
      expect(what(await call('/stations/words/produce/single?authorization=a&authorization=b', { method: 'POST' }))).toEqual(UNAUTHORIZED)
    })

    it('works in its own project, or in the one that it names, and with the role that it has there', async () => {
      const other = await newProject(telltale)
      const { keyId, secret } = await newAccount(telltale, other, {
        'projects/default': 'project.user',
        [`projects/${other}`]: 'project.developer',
      })
      const tokenOf = async (username: string) => {
        const { json } = await authenticate({ username, connection_token: secret })
        return { authorization: `Bearer ${String(json['jwt'])}` }
      }
      expect(what(await single('home', 'there', 'text/plain', await tokenOf(keyId)))).toEqual(OK)
      expect((await consume('home')).json).toEqual([])
      const named = await tokenOf(`${keyId}@${other}`)
      expect((await consume('home', {}, named)).json).toEqual([{ message: 'there', headers: expect.any(Object) }])
      const reader = await single('home', 'x', 'text/plain', await tokenOf(`${keyId}@default`))
      expect([reader.status, reader.json['success']]).toEqual([403, false])
    }, 30_000)
  })

  describe('that produces one message', () => {
    it.each([
      ['text/plain', 'hello\r\n <world>'],
      ['text/csv; charset=utf-8', 'a,b'],
      ['application/json', ' { "b" : 1, "a" : 12345678901234567890 } '],
      ['application/json', 'not JSON at all'],
      ['application/json; charset=utf-8', '{}'],
      ['application/x-protobuf', '\b\u0096\u0001'],
    ])('as %s has its bytes kept as they came', async (type, body) => {
      const station = `verbatim-${randomUUID()}`
      expect(what(await single(station, body, type))).toEqual(OK)
      expect(await consumed(station, 1)).toEqual([{ message: body, headers: expect.objectContaining({ 'Content-Type': type }) }])
    })

    it('of another type is told that it is not supported', async () => {
      for (const type of ['application/xml', 'application/octet-stream'])
        expect(what(await single('types', 'x', type))).toEqual([400, { error: `unsupported content type ${type}`, success: false }])
    })

    it('has its headers forwarded, but for what lets it in', async () => {
      const headers = { 'X-Site': 'north', 'x-a-b': '1', cookie: 'jwt-refresh-token=secret', 'x-forwarded-for': '10.0.0.1' }
      await single('headers', 'x', 'text/plain', headers)
      const [message] = await consumed('headers', 1)
      expect(message?.headers).toMatchObject({ 'Content-Type': 'text/plain', 'X-Site': 'north', 'X-A-B': '1' })
      expect(JSON.stringify(message)).not.toMatch(/authorization|cookie|secret|forwarded|host/i)
    })

    it('may use no header that is reserved', async () => {
      const answer = await single('headers', 'x', 'text/plain', { $memphis_producer: 'x' })
      expect(what(answer)).toEqual([400, { error: 'headers: keys in headers should not start with $memphis', success: false }])
    })

    it('may send it again under one key, and it is there once', async () => {
      for (const key of ['k1', 'k1', 'k2']) expect(what(await single('again', key, 'text/plain', { 'idempotency-key': key }))).toEqual(OK)
      expect((await consumed('again', 2)).map(({ message }) => message)).toEqual(['k1', 'k2'])
      expect((await consume('again')).json).toEqual([])
    })

    it('finds the address in any case, but for the station', async () => {
      const ask = { method: 'POST', body: 'x', headers: { 'content-type': 'text/plain', ...bearer() } }
      expect(what(await call('/Stations/CaSe/Produce/SINGLE/', ask))).toEqual(OK)
      expect((await consume('case')).json).toEqual([])
      expect(await consumed('CaSe', 1)).toHaveLength(1)
    })

    it('is told what is wrong with the name of a station', async () => {
      const named = await single(encodeURIComponent('a#b'), 'x', 'text/plain')
      expect([named.status, named.json['success']]).toEqual([400, false])
    })
  })

  describe('that produces a batch', () => {
    it('gets each element as a message, written as Go writes it, in order', async () => {
      const elements = [{ b: '<&>', a: [1.5, 1e21, { z: 1, y: null }] }, {}, { n: 2 }]
      const { data } = await axios.post<unknown>(`${telltale.url()}/stations/batch/produce/batch`, elements, { headers: bearer() })
      expect(data).toEqual({ error: null, success: true })
      const messages = await consumed('batch', 3)
      expect(messages.map(({ message }) => message)).toEqual([
        '{"a":[1.5,1e+21,{"y":null,"z":1}],"b":"\\u003c\\u0026\\u003e"}',
        '{}',
        '{"n":2}',
      ])
    })

    it('may be of more than a thousand, or of none', async () => {
      const elements = Array.from({ length: 2500 }, (_, n) => ({ n }))
      expect(what(await batch('many', elements))).toEqual(OK)
      expect(what(await batch('many', []))).toEqual(OK)
      const messages = await consumed('many', 2500)
      expect(messages.map(({ message }) => message)).toEqual(elements.map(one => JSON.stringify(one)))
    })

    it('is told that it has to be an array of objects', async () => {
      const error = 'unsupported request: expected an array of JSON objects'
      for (const body of [{}, [1], [{}, 'x'], [null], [[]], 'x'])
        expect(what(await batch('shape', body))).toEqual([400, { error, success: false }])
      const text = await call('/stations/shape/produce/batch', { method: 'POST', body: '[{}', headers: { ...JSON_TYPE, ...bearer() } })
      expect([text.status, text.json['success']]).toEqual([400, false])
      const error2 = 'unsupported content type text/plain'
      expect(what(await batch('shape', [{}], { 'content-type': 'text/plain' }))).toEqual([400, { error: error2, success: false }])
    })
  })

  describe('that consumes', () => {
    const produce = async (station: string, count: number) => {
      const elements = Array.from({ length: count }, (_, n) => ({ n }))
      expect(what(await batch(station, elements))).toEqual(OK)
    }
    const numbers = (messages: readonly Message[]) => messages.map(({ message }) => (JSON.parse(message) as { n: number }).n)

    it('gets ten unless it says, each once in a group, and every group gets all', async () => {
      await produce('groups', 25)
      const first = await consume('groups')
      expect(numbers(first.json as unknown as Message[])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      expect(numbers(await consumed('groups', 15, { consumer_name: 'c2' }))).toEqual(Array.from({ length: 15 }, (_, i) => i + 10))
      expect((await consume('groups')).json).toEqual([])
      expect(numbers(await consumed('groups', 25, { consumer_group: 'late' }))).toHaveLength(25)
    })

    it('waits for what is not there yet', async () => {
      const waiting = consume('waited', { batch_size: 1, batch_max_wait_time_ms: 30_000 })
      await eventually(async () => {
        const { status } = await consume('waited', { consumer_group: 'other', batch_max_wait_time_ms: 1 })
        expect(status).toBe(200)
      })
      await produce('waited', 1)
      expect(numbers((await waiting).json as unknown as Message[])).toEqual([0])
    })

    it.each([
      [{ consumer_name: '' }, 'Consumer name is required'],
      [{ consumer_name: undefined }, 'Consumer name is required'],
      [{ batch_size: -1 }, 'batch_size: expected 1 to 5000'],
      [{ batch_size: 5001 }, 'batch_size: expected 1 to 5000'],
      [{ batch_max_wait_time_ms: 60_001 }, 'batch_max_wait_time_ms: expected 1 to 60000'],
      [{ batch_size: 1.5 }, 'batch_size: expected a whole number'],
      [{ consumer_group: 7 }, 'consumer_group: expected a text'],
    ])('is told what is wrong with %j', async (body, error) => {
      expect(what(await consume('wrong', body))).toEqual([400, { error, success: false }])
    })

    it('is told that its body is no JSON', async () => {
      const answer = await call('/stations/wrong/consume/batch', { method: 'POST', body: '{', headers: { ...JSON_TYPE, ...bearer() } })
      expect(what(answer)).toEqual([400, { error: 'Invalid request body', success: false }])
    })
  })

  it('finds the gateway alive without a token', async () => {
    expect(what(await call('/monitoring/status'))).toEqual([200, { status: 'ok' }])
    expect((await call('/')).status).toBe(200)
  })

  it('in a browser may send any header from anywhere', async () => {
    const headers = {
      origin: 'https://app.example',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,x-anything',
    }
    const answer = await call('/stations/any/produce/single', { method: 'OPTIONS', headers })
    expect([answer.status, answer.headers.get('access-control-allow-origin'), answer.headers.get('access-control-allow-headers')]).toEqual([
      204,
      '*',
      'authorization,x-anything',
    ])
  })
})

describe('a client of eventserver', () => {
  const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
  const PRODUCER = '7f3a1c52-0b6d-4c1e-9a57-3d2e8f1b6c40'
  const TYPE = 'application/json; charset=utf-8'
  const NOT_FOUND = [404, 'Not Found']
  const authorization = () => basic(telltale.key.keyId, telltale.key.secret)
  const said = ({ status, text }: Answer) => [status, JSON.parse(text) as unknown]

  const document = (name = 'ReadingTaken', celsius = 4.65) => ({
    event: { name, version: 1 },
    system: { id: 'gw-7', name: 'cold store', time: '2025-03-02 06:41:09', timezone: 'Europe/Oslo' },
    trigger: { type: 'automatic', name: '/opt/gw/poll' },
    payload: { celsius },
  })
  type Headers = Readonly<Record<string, string>>
  const record = (stream: string, body: unknown = document(), headers: Headers = {}) => {
    const all = { accept: TYPE, 'content-type': TYPE, 'x-producer-id': PRODUCER, authorization: authorization(), ...headers }
    return call(`/api/v1/streams/${stream}/events`, { method: 'POST', body: JSON.stringify(body), headers: all })
  }
  const recorded = async (stream: string, body?: unknown) => {
    const [status, id] = said(await record(stream, body))
    expect([status, id]).toEqual([200, expect.stringMatching(UUID)])
    return String(id)
  }
  const get = (path: string, headers: Headers = {}) =>
    call(`/api/v1${path}`, { headers: { 'content-type': TYPE, authorization: authorization(), ...headers } })
  const provide = (stream: string, query: string, consumer: string) =>
    get(`/streams/${stream}/events?${query}`, { 'x-consumer-id': consumer })
  const acknowledge = (stream: string, id: string, consumer: string, body = 'action=ACK', headers: Headers = {}) => {
    const form = { 'content-type': 'application/x-www-form-urlencoded', 'x-consumer-id': consumer, authorization: authorization() }
    return call(`/api/v1/streams/${stream}/events/${id}`, { method: 'POST', body, headers: { ...form, ...headers } })
  }
  type Event = { readonly eventId: string; readonly event: { readonly id: string; readonly name: string }; readonly payload: Json }
  const provided = async (stream: string, consumer: string, query = 'eventName=ReadingTaken&limit=100') => {
    const { status, json, headers } = await provide(stream, query, consumer)
    expect([status, headers.get('content-type')]).toEqual([200, TYPE])
    return json as unknown as Event[]
  }

  describe('that records', () => {
    it('gets the id of the event as a JSON text', async () => {
      const answer = await record('first')
      expect([answer.status, answer.headers.get('content-type')]).toEqual([200, TYPE])
      expect(answer.text).toMatch(/^"[0-9a-f-]{36}"$/)
      expect(JSON.parse(answer.text)).toMatch(UUID)
    })

    it('is locked out of the stream of another, of fifty at once all but one', async () => {
      const producers = Array.from({ length: 50 }, () => randomUUID())
      const answers = await Promise.all(producers.map(id => record('contested', document(), { 'x-producer-id': id })))
      const statuses = answers.map(({ status }) => status)
      expect(statuses.filter(status => status === 200)).toHaveLength(1)
      expect(statuses.filter(status => status === 423)).toHaveLength(49)
      const locked = answers.filter(({ status }) => status === 423).map(({ text }) => text)
      expect(new Set(locked)).toEqual(new Set(['"Locked - Second writers not allowed"']))
      const owner = producers[statuses.indexOf(200)] as string
      // However its id is written.
      for (const id of [owner, owner.toUpperCase(), `{${owner}}`])
        expect((await record('contested', document(), { 'x-producer-id': id })).status).toBe(200)
    })

    it('may own many streams, and name them freely', async () => {
      const name = encodeURIComponent('plant 1/line é')
      await recorded(name)
      expect(await provided(name, randomUUID())).toHaveLength(1)
    })

    it('may send it again under one key, and it is there once', async () => {
      const key = { 'idempotency-key': 'k1' }
      const [status, id] = said(await record('twice', document(), key))
      expect([status, id]).toEqual([200, expect.stringMatching(UUID)])
      expect(said(await record('twice', document(), key))).toEqual([200, id])
      expect(await provided('twice', randomUUID())).toHaveLength(1)
    })

    it.each<[string, Headers]>([
      ['no credentials', { authorization: '' }],
      ['a wrong secret', { authorization: basic('admin', 'wrong') }],
      ['an unknown key', { authorization: basic('nobody', 'x') }],
      ['another scheme', { authorization: 'Digest x' }],
      ['no colon', { authorization: `Basic ${Buffer.from('x').toString('base64')}` }],
    ])('with %s is refused before all else', async (_, headers) => {
      const answer = await record('%23', 'no document', { ...headers, 'x-producer-id': 'x' })
      expect([answer.status, answer.text, answer.headers.get('content-type')]).toEqual([401, '"Unauthorized"', TYPE])
      expect(answer.headers.get('www-authenticate')).toBe('Basic realm="telltale"')
    })

    it.each<[string, unknown, Headers]>([
      ['x-producer-id: expected a UUID', document(), { 'x-producer-id': 'gw-7' }],
      ['event: expected an object, but it is missing', {}, {}],
      ['event.version: expected a whole number from 1', { ...document(), event: { name: 'a', version: 0 } }, {}],
      ['event.id: it is given by the server', { ...document(), event: { id: 'x', name: 'a', version: 1 } }, {}],
      ['system.timezone: expected a name such as Europe/Oslo', { ...document(), system: { ...document().system, timezone: 'Oslo' } }, {}],
      ['payload: expected an object', { ...document(), payload: [1] }, {}],
      ['body: expected an object', [], {}],
    ])('is told why it is malformed: %s', async (why, body, headers) => {
      expect(said(await record('malformed', body, headers))).toEqual([400, `Bad Request - ${why}`])
    })

    it('is told that it has to say who it is, that a name is none, and that a stream is not made by what is malformed', async () => {
      const headers = { authorization: authorization() }
      const nobody = await call('/api/v1/streams/malformed/events', { method: 'POST', body: JSON.stringify(document()), headers })
      expect(said(nobody)).toEqual([400, 'Bad Request - x-producer-id: expected a UUID, but it is missing'])
      const broken = await call('/api/v1/streams/malformed/events', {
        method: 'POST',
        body: '{"event"',
        headers: { ...headers, 'x-producer-id': PRODUCER },
      })
      expect([broken.status, broken.text]).toEqual([400, expect.stringMatching(/^"Bad Request - body: not JSON/)])
      expect((await record('a%23b')).text).toMatch(/^"Bad Request - stream: expected/)
      expect(said(await provide('malformed', 'eventName=a&limit=1', PRODUCER))).toEqual(NOT_FOUND)
    })

    it('may be of any account that may use HTTP Basic, in its own project or one that it names', async () => {
      const other = await newProject(telltale)
      const roles = { 'projects/default': 'project.user', [`projects/${other}`]: 'project.developer' }
      const { name, keyId, secret, token } = await newAccount(telltale, other, roles)
      const mine = { authorization: basic(keyId, secret) }
      expect((await record('mine', document(), mine)).text).toMatch(/^"Unauthorized - Basic is not enabled/)
      expect((await record('mine', document(), { authorization: `Bearer ${await token()}` })).status).toBe(200)
      await telltale.send('PATCH', `/v2/${name}`, { enableBasicAuth: true })
      await eventually(async () => expect((await record('mine', document(), mine)).status).toBe(200))
      expect((await record('mine', document(), { authorization: basic(`${keyId}@${other}`, secret) })).status).toBe(200)
      expect((await record('mine', document(), { authorization: basic(`${keyId}@default`, secret) })).text).toMatch(/^"Forbidden - /)
      expect((await record('mine', document(), { authorization: basic(`${keyId}@nowhere`, secret) })).status).toBe(401)
      expect(said(await provide('mine', 'eventName=ReadingTaken&limit=9', PRODUCER))).toEqual(NOT_FOUND)
    }, 30_000)
  })

  describe('that consumes', () => {
    it('gets events of one name in order, each as it was recorded with its id inside, until it has acknowledged them', async () => {
      const ids = [
        await recorded('read', document('A', 1)),
        await recorded('read', document('B', 2)),
        await recorded('read', document('A', 3)),
      ]
      const consumer = randomUUID()
      const all = await provided('read', consumer, 'eventName=A&limit=10')
      expect(all).toEqual([
        { ...document('A', 1), eventId: ids[0], event: { id: ids[0], name: 'A', version: 1 } },
        { ...document('A', 3), eventId: ids[2], event: { id: ids[2], name: 'A', version: 1 } },
      ])
      expect(await provided('read', consumer, 'eventName=A&limit=10')).toEqual(all)
      expect(await provided('read', consumer, 'eventName=A&limit=1')).toEqual(all.slice(0, 1))
      expect(said(await acknowledge('read', ids[0] as string, consumer))).toEqual([200, 'OK'])
      expect(await provided('read', consumer, 'eventName=A&limit=10')).toEqual(all.slice(1))
      expect(await provided('read', consumer, 'eventName=B&limit=10')).toHaveLength(1)
      expect(await provided('read', randomUUID(), 'eventName=A&limit=10')).toEqual(all)
      expect(await provided('read', consumer, 'eventName=C&limit=10')).toEqual([])
    })

    it('gets every one of many that were recorded at once, numbered without gaps', async () => {
      const values = Array.from({ length: 60 }, (_, n) => n)
      await recorded('busy', document('ReadingTaken', -1))
      await Promise.all(values.map(n => recorded('busy', document('ReadingTaken', n))))
      const consumer = randomUUID()
      const seen: unknown[] = []
      for (
        let events = await provided('busy', consumer);
        events.length > 0;
        events = await provided('busy', consumer, 'eventName=ReadingTaken&limit=7')
      )
        for (const { eventId, payload } of events) {
          seen.push(payload['celsius'])
          expect(said(await acknowledge('busy', eventId, consumer))).toEqual([200, 'OK'])
        }
      expect(seen.toSorted((a, b) => Number(a) - Number(b))).toEqual([-1, ...values])
    })

    it('is told what is missing or malformed, and that there is no such stream', async () => {
      await recorded('asked')
      const why = async (query: string, consumer: string) => (await provide('asked', query, consumer)).text
      for (const limit of ['0', '-1', 'x', '1.5', '', '1&limit=2'])
        expect(await why(`eventName=a&limit=${limit}`, PRODUCER)).toMatch(/^"Bad Request - limit: expected/)
      expect(await why('limit=1', PRODUCER)).toBe('"Bad Request - eventName: expected once, but it is missing"')
      expect(await why('eventName=a', PRODUCER)).toMatch(/^"Bad Request - limit: expected once, but/)
      expect(await why('eventName=a&limit=1', 'x')).toBe('"Bad Request - x-consumer-id: expected a UUID"')
      expect(said(await get('/streams/asked/events?eventName=a&limit=1'))).toEqual([
        400,
        'Bad Request - x-consumer-id: expected a UUID, but it is missing',
      ])
      // 400 is found before 404.
      expect((await provide('unknown', 'eventName=a', PRODUCER)).status).toBe(400)
      expect(said(await provide('unknown', 'eventName=a&limit=1', PRODUCER))).toEqual(NOT_FOUND)
    })
  })

  describe('that acknowledges', () => {
    it('does so in order, once', async () => {
      const ids = [await recorded('ordered'), await recorded('ordered'), await recorded('ordered')] as const
      const consumer = randomUUID()
      const mismatch = (from: number, to: number) => [400, `Bad Request - Consumer offset mismatch: ${from}->${to}`]
      expect(said(await acknowledge('ordered', ids[1], consumer))).toEqual(mismatch(1, 2))
      expect(said(await acknowledge('ordered', ids[0], consumer))).toEqual([200, 'OK'])
      expect(said(await acknowledge('ordered', ids[0], consumer))).toEqual(mismatch(2, 1))
      expect(said(await acknowledge('ordered', ids[2], consumer))).toEqual(mismatch(2, 3))
      const both = await Promise.all([acknowledge('ordered', ids[1], consumer), acknowledge('ordered', ids[1], consumer)])
      expect(new Set(both.map(({ status }) => status))).toEqual(new Set([200, 400]))
      expect(said(await acknowledge('ordered', ids[2], consumer, '{"action":"ACK"}', JSON_TYPE))).toEqual([200, 'OK'])
    })

    it('finds no event of another stream, none that was made up, and no stream that is not there', async () => {
      const [mine, theirs] = [await recorded('mine1'), await recorded('theirs')]
      const forged = mine.replace(/.$/, last => (last === '0' ? '1' : '0'))
      for (const [stream, id] of [
        ['mine1', theirs],
        ['mine1', forged],
        ['mine1', randomUUID()],
        ['nowhere', mine],
      ] as const)
        expect(said(await acknowledge(stream, id, PRODUCER))).toEqual(NOT_FOUND)
      expect(said(await acknowledge('mine1', mine, PRODUCER))).toEqual([200, 'OK'])
    })

    it('is told what is malformed', async () => {
      const id = await recorded('acked')
      for (const body of ['', 'action=NACK', 'action=ack', 'ACK'])
        expect(said(await acknowledge('acked', id, PRODUCER, body))).toEqual([400, 'Bad Request - action: expected ACK'])
      expect(said(await acknowledge('acked', 'x', PRODUCER))).toEqual([400, 'Bad Request - eventId: expected a UUID'])
      expect(said(await acknowledge('acked', id, 'x'))).toEqual([400, 'Bad Request - x-consumer-id: expected a UUID'])
      expect(said(await acknowledge('acked', id, PRODUCER, 'action=ACK', { authorization: '' }))).toEqual([401, 'Unauthorized'])
    })
  })

  it('is told of addresses that are none in its own shape, and of those beside its own not', async () => {
    expect(said(await get('/nothing'))).toEqual(NOT_FOUND)
    expect((await telltale.http('/api/v3/nothing', { method: 'POST' })).json['code']).toBe(404)
    const health = await call('/api/v1/health')
    expect([health.status, health.text]).toEqual([200, '{"status":"OK"}'])
  })

  it('meets a client of Memphis in no stream: each is locked out of the other’s', async () => {
    const { json } = await post('/auth/authenticate', { username: telltale.key.keyId, connection_token: telltale.key.secret })
    const produce = (stream: string) => post(`/stations/${stream}/produce/single`, {}, { authorization: `Bearer ${String(json['jwt'])}` })
    await recorded('theirs-alone')
    const error = 'stream theirs-alone belongs to another producer'
    expect(what(await produce('theirs-alone'))).toEqual([400, { error, success: false }])
    expect((await produce('a-station')).status).toBe(200)
    expect((await record('a-station')).status).toBe(423)
  })
})
