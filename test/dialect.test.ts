// The rules that hold on every route of the Disruptive Technologies dialect, row by row (contracts.md §0, 1.a.2, 1.a.11).
import { request } from 'node:http'
import jsonwebtoken from 'jsonwebtoken'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, EVENTS, type Json, removeDirectories, startTelltale, type Telltale, temperature, until } from './world.ts'

const PROJECT = '/v2/projects/default'
const XID = /^[0-9a-v]{20}$/

let telltale: Telltale
beforeAll(async () => {
  telltale = await startTelltale()
  for (const device of ['one', 'two', 'three']) expect((await telltale.send('POST', EVENTS, temperature(device, 20))).status).toBe(200)
}, 60_000)
afterAll(async () => {
  await telltale?.remove()
  await removeDirectories()
})

const post = (path: string, body: string, type: string) => telltale.http(path, { method: 'POST', body, headers: { 'content-type': type } })
const emulated = async (type = 'temperature') => {
  const { status, json } = await telltale.send('POST', `${PROJECT}/devices`, { type, labels: { name: 'n' } })
  expect(status).toBe(200)
  return json
}
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const basic = (keyId: string, secret: string) => `Basic ${Buffer.from(`${keyId}:${secret}`).toString('base64')}`
const signed = (keyid: string, secret: string) => jsonwebtoken.sign({ iss: 'x@y' }, secret, { algorithm: 'HS256', keyid, expiresIn: 60 })
const idOf = (resource: Json) => String(resource['name']).split('/').at(-1) as string

/** Sends exactly these headers, with a body of exactly these bytes. */
function raw(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body = '',
): Promise<{ status: number; text: string }> {
  const { keyId, secret } = telltale.key
  const authorization = `Basic ${Buffer.from(`${keyId}:${secret}`).toString('base64')}`
  return new Promise((resolve, reject) => {
    const asked = request(`${telltale.url()}${path}`, { method, headers: { authorization, ...headers }, agent: false }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      response.once('end', () => resolve({ status: response.statusCode ?? 0, text }))
    })
    asked.once('error', reject)
    asked.end(body)
  })
}

describe('every route', () => {
  it('takes an empty body that says it is JSON, on POST and on DELETE (§0.1)', async () => {
    const device = await emulated()
    const json = { 'content-type': 'application/json' }
    const published = await raw('POST', `/v2/${String(device['name'])}:publish`, json)
    expect([published.status, JSON.parse(published.text).error]).toEqual([
      400,
      'body: expected one event, an array of events, or one event per line',
    ])
    const changed = await raw('POST', `/v2/${String(device['name'])}/labels`, json)
    expect([changed.status, JSON.parse(changed.text).error]).toEqual([400, 'body.key: expected a string, but it is missing'])
    expect(await raw('DELETE', `/v2/${String(device['name'])}`, json)).toEqual({ status: 200, text: '{}' })
  })

  it('takes JSON that says it is a form, or says nothing (§0.3)', async () => {
    for (const type of ['application/x-www-form-urlencoded', 'text/plain', 'application/json; charset=utf-8'])
      expect((await post(`${PROJECT}/devices:batchUpdate`, '{"devices":[],"addLabels":{"a":"b"}}', type)).json).toEqual({ batchErrors: [] })
  })

  it('takes a GET that says it carries JSON and does not (§0.5)', async () => {
    expect((await raw('GET', `${PROJECT}/devices`, { 'content-type': 'application/json' })).status).toBe(200)
  })

  it('takes lists as repeated keys in both spellings, mixed (§0.7, §0.8)', async () => {
    const { json } = await telltale.http(`${PROJECT}/devices?device_ids=one&deviceIds=two&device_types=temperature&pageSize=10&page_token=`)
    expect((json['devices'] as Json[]).map(idOf).toSorted()).toEqual(['one', 'two'])
    const { json: joined } = await telltale.http(`${PROJECT}/devices?device_ids=one,two`)
    expect(joined['devices']).toEqual([])
  })

  it('knows colon verbs, also in names with colons (§0.9)', async () => {
    const name = encodeURIComponent('aa:bb:cc')
    expect((await telltale.send('POST', `${PROJECT}/devices/aa:bb:cc:publish`, { temperature: { value: 1 } })).status).toBe(200)
    await until('it is there', async () => (await telltale.http(`${PROJECT}/devices/${name}`)).status === 200)
    expect((await telltale.http(`${PROJECT}/devices/aa:bb:cc`)).json['name']).toBe('projects/default/devices/aa:bb:cc')
  })

  it('answers success with exactly 200 and a JSON body (§0.12)', async () => {
    const device = await emulated()
    for (const [method, path, body] of [
      ['POST', ':publish', { temperature: { value: 21.5 } }],
      ['POST', '/labels', { key: 'zone', value: 'north' }],
      ['PATCH', '/labels/zone', { value: 'south' }],
      ['DELETE', '/labels/zone', undefined],
      ['DELETE', '', undefined],
    ] as const) {
      const { status, text } = await telltale.send(method, `/v2/${String(device['name'])}${path}`, body)
      expect([method, path, status, typeof JSON.parse(text)]).toEqual([method, path, 200, 'object'])
    }
  })

  it('may be called by pages of other origins (§0.14)', async () => {
    const { status, headers } = await telltale.http(`${PROJECT}/devices`, { headers: { origin: 'https://elsewhere.example' } })
    expect([status, headers.get('access-control-allow-origin')]).toEqual([200, '*'])
  })
})

describe('identifiers (1.a.2)', () => {
  it('are xids, of emulated devices with emu in front', async () => {
    const id = idOf(await emulated())
    expect([id.length, id.slice(0, 3), XID.test(id.slice(3))]).toEqual([23, 'emu', true])
    const stream = await telltale.stream('device_ids=one')
    await telltale.send('POST', EVENTS, temperature('one', 21))
    const [event] = await stream.have(1)
    expect(event?.eventId).toMatch(XID)
    expect(event?.targetName).toBe('projects/default/devices/one')
    stream.close()
  })

  it('stand in names without a leading slash, in errors too', async () => {
    const names = ['projects/default/devices/one', 'projects/default/devices/nobody']
    const { json } = await telltale.send('POST', `${PROJECT}/devices:batchUpdate`, { devices: names, addLabels: { a: 'b' } })
    expect(json).toEqual({ batchErrors: [{ device: names[1], status: { code: 'NOT_FOUND', message: expect.any(String) } }] })
  })

  it('of a project may be a dash, which is all that one may see', async () => {
    expect((await telltale.http('/v2/projects/-/devices/one')).json['name']).toBe('projects/default/devices/one')
    expect((await telltale.http('/v2/projects/-/devices/nobody')).status).toBe(404)
  })
})

describe('an error (1.a.11)', () => {
  const cases: [number, string, string, unknown, Record<string, string>?][] = [
    [400, 'GET', `${PROJECT}/devices?page_size=x`, undefined],
    [401, 'GET', `${PROJECT}/devices`, undefined, { authorization: 'Bearer nonsense' }],
    [404, 'GET', `${PROJECT}/devices/nobody`, undefined],
    [404, 'GET', '/v2/projects/nowhere/devices', undefined],
    [409, 'POST', `${PROJECT}/devices/one/labels`, { key: 'taken', value: 'again' }],
    [413, 'PUT', `${PROJECT}/rules/big`, { message: 'x'.repeat(1_100_000) }],
  ]
  it.each(cases)('%i of %s %s says what, its code and where help is', async (status, method, path, body, headers) => {
    await telltale.send('POST', `${PROJECT}/devices:batchUpdate`, { devices: ['projects/default/devices/one'], addLabels: { taken: 'x' } })
    const answer =
      body === undefined ? await telltale.http(path, { method, headers: headers ?? {} }) : await telltale.send(method, path, body)
    expect([answer.status, answer.json]).toEqual([
      status,
      expect.objectContaining({ error: expect.any(String), code: status, help: expect.any(String) }),
    ])
  })

  it('429 says in whole seconds when to come again, after 25 requests in 5 s, opening a stream included', async () => {
    const limited = await startTelltale({ env: { TELLTALE_RATE_LIMIT: '25/5s' } })
    for (let i = 0; i < 24; i++) expect((await limited.http(`${PROJECT}/devices`)).status).toBe(200)
    const stream = await limited.stream()
    expect(stream.status).toBe(200)
    stream.close()
    const refused = await limited.http(`${PROJECT}/devices`)
    expect([refused.status, refused.json['code']]).toEqual([429, 429])
    expect(refused.headers.get('retry-after')).toMatch(/^[1-5]$/)
    const noStream = await limited.stream()
    expect(noStream.status).toBe(429)
    await until('its body is there', () => noStream.text().includes('\n') || noStream.hasEnded())
    expect(JSON.parse(noStream.text()).error).toMatchObject({ code: 429 })
    expect((await limited.send('POST', EVENTS, temperature('a', 1))).status).toBe(200)

    // Nor can a secret be guessed at: each of the three doors that take one is closed to who was wrong twenty times.
    const { keyId } = limited.key
    const open = (path: string, body: string) => limited.http(path, { method: 'POST', body, headers: { authorization: '' } })
    const doors: Record<string, (guessed: string, secret: string) => Promise<Answer>> = {
      basic: (guessed, secret) => limited.http(EVENTS, { method: 'POST', headers: { authorization: basic(guessed, secret) } }),
      session: (guessed, secret) => open('/console/session', JSON.stringify({ keyId: guessed, secret })),
      token: (guessed, secret) =>
        open('/oauth2/token', String(new URLSearchParams({ grant_type: JWT_BEARER, assertion: signed(guessed, secret) }))),
    }
    for (const [name, door] of Object.entries(doors)) {
      const guessed = `${name}-of-nobody`
      const statuses = new Set<number>()
      for (let i = 0; i < 20; i++) statuses.add((await door(guessed, `guess ${i}`)).status)
      expect([...statuses]).toEqual([name === 'token' ? 400 : 401])
      const closed = await door(guessed, 'guess')
      expect([closed.status, closed.json['code'], closed.headers.get('retry-after')]).toEqual([
        429,
        429,
        expect.stringMatching(/^\d{1,2}$/),
      ])
      // Whoever has another key, behind the same address, is let in.
      expect((await door(keyId, limited.key.secret)).status).not.toBe(429)
    }
    await limited.remove()
  })
})
