// Who is let in, end to end: service accounts, keys that are exchanged for others, tokens as programs of the dialect ask for them.
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import axios from 'axios'
import jsonwebtoken from 'jsonwebtoken'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callWith, done, idOf, newAccount, newProject, newToken, REAL_AUDIENCE, text } from './tenant.ts'
import { eventually, type Json, removeDirectories, startTelltale, type Telltale, until } from './world.ts'

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const ACCOUNTS = '/v2/projects/default/serviceaccounts'
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/

let telltale: Telltale
beforeAll(async () => {
  telltale = await startTelltale({
    env: {
      TELLTALE_TOKEN_AUDIENCES: `https://telltale.example/token, ${REAL_AUDIENCE}`,
      TELLTALE_PUBLIC_URL: 'https://telltale.example.com/',
    },
  })
})
afterAll(async () => {
  await telltale.remove()
  await removeDirectories()
})

const basic = (keyId: string, secret: string) => ({ authorization: `Basic ${Buffer.from(`${keyId}:${secret}`).toString('base64')}` })
const nowSeconds = () => Math.floor(Date.now() / 1000)

async function token(fields: Record<string, string> | string, type = 'application/x-www-form-urlencoded') {
  const body = typeof fields === 'string' ? fields : new URLSearchParams(fields).toString()
  return fetch(`${telltale.url()}/oauth2/token`, { method: 'POST', headers: { 'content-type': type }, body })
}

describe('a service account', () => {
  test('is made, shown, changed and deleted in the shape of the dialect', async () => {
    const made = await done(telltale.send('POST', ACCOUNTS, { displayName: 'historian' }))
    const id = idOf(made['name'])
    expect(made).toEqual({
      name: `projects/default/serviceaccounts/${id}`,
      email: `${id}@default.serviceaccount.telltale`,
      displayName: 'historian',
      enableBasicAuth: false,
      createTime: expect.stringMatching(TIME),
      updateTime: made['createTime'],
    })
    expect(id).toMatch(/^[0-9a-v]{20}$/)
    expect(await done(telltale.http(`${ACCOUNTS}/${id}`))).toEqual(made)
    // A mask keeps what it does not name.
    const patched = await done(
      telltale.send('PATCH', `${ACCOUNTS}/${id}?update_mask=displayName`, { displayName: 'h2', enableBasicAuth: true }),
    )
    expect(patched).toMatchObject({ displayName: 'h2', enableBasicAuth: false })
    expect(await done(telltale.send('PATCH', `${ACCOUNTS}/${id}`, { enableBasicAuth: true }))).toMatchObject({
      displayName: 'h2',
      enableBasicAuth: true,
    })
    const listed = (await done(telltale.http(ACCOUNTS)))['serviceAccounts'] as Json[]
    expect(listed.map(account => account['email'])).toEqual(expect.arrayContaining(['admin@localhost', made['email']]))
    expect(await done(telltale.http(`${ACCOUNTS}/${id}`, { method: 'DELETE' }))).toEqual({})
    expect((await telltale.http(`${ACCOUNTS}/${id}`)).status).toBe(404)
  })

  test('and whatever else is patched refuses a mask that names what is not there, and parameters that it does not know', async () => {
    const { name } = await done(telltale.send('POST', ACCOUNTS, { displayName: 'masked' }))
    const routes: [path: string, body: object][] = [
      [`/v2/${String(name)}`, { displayName: 'x' }],
      ['/v2/projects/default', { displayName: 'x' }],
      ['/v2/organizations/default', { displayName: 'x' }],
      ['/v2/projects/default/members/nobody', { roles: ['roles/project.user'] }],
      ['/v2/organizations/default/members/nobody', { roles: ['roles/organization.admin'] }],
      ['/v2/projects/default/devices/nobody/labels/zone', { value: 'x' }],
      ['/v2/projects/default/dataconnectors/nobody', { displayName: 'x' }],
    ]
    for (const [path, body] of routes) {
      const masked = await telltale.send('PATCH', `${path}?updateMask=bogus`, body)
      expect([path, masked.status, masked.json['error']]).toEqual([
        path,
        400,
        expect.stringMatching(/^updateMask: unknown path bogus; known here: \w/),
      ])
      expect([path, (await telltale.send('PATCH', `${path}?colour=red`, body)).json['field']]).toEqual([path, 'colour'])
    }
  })

  test('may do nothing until it is a member, and then what its role allows', async () => {
    const somebody = await newAccount(telltale, 'default')
    expect((await done(somebody.call('GET', '/v2/projects')))['projects']).toEqual([])
    expect((await somebody.call('GET', '/v2/projects/default')).status).toBe(404)
    await done(telltale.send('POST', '/v2/projects/default/members', { email: somebody.email, roles: ['roles/project.user'] }))
    await eventually(async () => expect((await somebody.call('GET', '/v2/projects/default/devices')).status).toBe(200), 1500)
  })

  test('uses HTTP Basic only when that is enabled; MQTT always', async () => {
    const somebody = await newAccount(telltale, 'default', { 'projects/default': 'project.developer' })
    const withBasic = () => telltale.http('/v2/projects/default/devices', { headers: basic(somebody.keyId, somebody.secret) })
    const wrong = await telltale.http('/v2/projects/default/devices', { headers: basic(somebody.keyId, 'wrong') })
    expect(wrong).toMatchObject({ status: 401, json: { error: expect.stringContaining('credentials missing or wrong') } })
    // Why, to nobody but who knows the secret.
    expect(await withBasic()).toMatchObject({ status: 401, json: { error: expect.stringMatching(/^Basic is not enabled for this/) } })
    const client = await telltale.mqtt({ username: somebody.keyId, password: somebody.secret })
    await client.publishAsync('d/by-mqtt/temperature', '21', { qos: 1 })
    await client.endAsync()
    await done(telltale.send('PATCH', `/v2/${somebody.name}`, { enableBasicAuth: true }))
    expect((await withBasic()).status).toBe(200)
    const followers = await Promise.all(
      ['default', '-'].map(project =>
        telltale.stream('', { path: `/v2/projects/${project}/devices:stream`, headers: basic(somebody.keyId, somebody.secret) }),
      ),
    )
    await done(telltale.send('PATCH', `/v2/${somebody.name}`, { enableBasicAuth: false }))
    const offMs = performance.now()
    expect((await withBasic()).status).toBe(401)
    await until('both streams have ended', () => followers.every(follower => follower.hasEnded()))
    expect(performance.now() - offMs).toBeLessThan(1500)
    for (const follower of followers) expect(follower.frames().at(-1)?.error).toMatchObject({ code: 401 })
    await (await telltale.mqtt({ username: somebody.keyId, password: somebody.secret })).endAsync()
  })

  test('lists in pages', async () => {
    const project = await newProject(telltale)
    const names: string[] = []
    for (let i = 0; i < 5; i++) names.push(text(await done(telltale.send('POST', `/v2/projects/${project}/serviceaccounts`, {})), 'name'))
    const seen: unknown[] = []
    for (let pageToken = ''; ; ) {
      const page = await done(telltale.http(`/v2/projects/${project}/serviceaccounts?page_size=2&pageToken=${pageToken}`))
      seen.push(...(page['serviceAccounts'] as Json[]).map(account => account['name']))
      pageToken = page['nextPageToken'] as string
      if (pageToken === '') break
    }
    expect(seen).toEqual(names.toSorted())
  })
})

describe('a key', () => {
  test('shows its secret once', async () => {
    const { name } = await newAccount(telltale, 'default')
    const { key, secret } = (await done(telltale.http(`/v2/${name}/keys`, { method: 'POST' }))) as { key: Json; secret: string }
    expect(key).toEqual({
      name: `${name}/keys/${text(key, 'id')}`,
      id: expect.stringMatching(/^[0-9a-v]{20}$/),
      createTime: expect.stringMatching(TIME),
    })
    expect(secret).toMatch(/^[0-9a-f]{64}$/)
    expect(await done(telltale.http(`/v2/${text(key, 'name')}`))).toEqual(key)
    const list = await telltale.http(`/v2/${name}/keys`)
    expect(list.json['keys']).toContainEqual(key)
    expect(list.text).not.toContain(secret)
  })

  test('is exchanged for another one without a pause; ten at most', async () => {
    const somebody = await newAccount(telltale, 'default', { 'projects/default': 'project.user' })
    const keys = `/v2/${somebody.name}/keys`
    const { key, secret } = (await done(telltale.http(keys, { method: 'POST' }))) as { key: { id: string; name: string }; secret: string }
    const fresh = await newToken(telltale, somebody.email, key.id, secret)
    expect((await somebody.call('GET', '/v2/projects/default')).status).toBe(200)
    expect((await callWith(telltale, fresh, 'GET', '/v2/projects/default')).status).toBe(200)
    await done(telltale.http(`${keys}/${somebody.keyId}`, { method: 'DELETE' }))
    expect((await somebody.call('GET', '/v2/projects/default')).status).toBe(401)
    expect((await callWith(telltale, fresh, 'GET', '/v2/projects/default')).status).toBe(200)
    await expect(somebody.token()).rejects.toThrow('untrusted')
    for (let i = 0; i < 9; i++) await done(telltale.http(keys, { method: 'POST' }))
    expect(await telltale.http(keys, { method: 'POST' })).toMatchObject({
      status: 409,
      json: { error: expect.stringContaining('10 keys') },
    })
    expect(((await done(telltale.http(keys)))['keys'] as Json[]).length).toBe(10)
  })

  test('of the last admin of an organization stays, so that nobody locks everybody out', async () => {
    const admin = telltale.key.keyId
    const { status, json } = await telltale.http(`${ACCOUNTS}/${admin}/keys/${admin}`, { method: 'DELETE' })
    expect([status, json['error']]).toEqual([409, expect.stringContaining('last one')])
    expect((await telltale.http(`${ACCOUNTS}/${admin}`, { method: 'DELETE' })).status).toBe(409)
    expect((await telltale.http(`/v2/organizations/default/members/${admin}`, { method: 'DELETE' })).status).toBe(409)
  })

  test('dies with its account, and so do its tokens', async () => {
    const somebody = await newAccount(telltale, 'default', { 'projects/default': 'project.user' })
    await done(telltale.http(`/v2/${somebody.name}`, { method: 'DELETE' }))
    expect((await somebody.call('GET', '/v2/projects/default')).status).toBe(401)
    await expect(telltale.mqtt({ username: somebody.keyId, password: somebody.secret })).rejects.toThrow(/[Nn]ot authorized/)
    const members = (await done(telltale.http('/v2/projects/default/members')))['members'] as Json[]
    expect(members.map(member => member['email'])).not.toContain(somebody.email)
  })
})

test('a session that was signed out of is over, also for who kept its cookie, and what is open by it ends', async () => {
  const somebody = await newAccount(telltale, 'default', { 'projects/default': 'project.user' })
  const signIn = async () => {
    const body = JSON.stringify({ keyId: somebody.keyId, secret: somebody.secret })
    const { headers } = await fetch(`${telltale.url()}/console/session`, { method: 'POST', body })
    return (headers.get('set-cookie') ?? '').split(';', 1)[0] ?? ''
  }
  const statusOf = async (cookie: string) => (await fetch(`${telltale.url()}/console/session`, { headers: { cookie } })).status
  const [cookie, other] = [await signIn(), await signIn()]
  const stream = await fetch(`${telltale.url()}/v2/projects/default/devices:stream`, { headers: { cookie } })
  const read = stream.text()
  expect([await statusOf(cookie), stream.status]).toEqual([200, 200])
  const signedOut = await fetch(`${telltale.url()}/console/session`, { method: 'DELETE', headers: { cookie } })
  expect([signedOut.status, signedOut.headers.get('set-cookie')]).toEqual([200, expect.stringContaining('telltale_session=;')])
  expect([await statusOf(cookie), await statusOf(other)]).toEqual([401, 200])
  expect(await read).toContain('"error"')
})

describe('the token endpoint', () => {
  test('answers an example program that gets a token by axios and jsonwebtoken, and reads with it', async () => {
    const somebody = await newAccount(telltale, 'default', { 'projects/default': 'project.user' })
    const assertion = jsonwebtoken.sign(
      { iat: nowSeconds(), exp: nowSeconds() + 3600, aud: REAL_AUDIENCE, iss: somebody.email },
      somebody.secret,
      {
        header: { alg: 'HS256', kid: somebody.keyId },
        algorithm: 'HS256',
      },
    )
    const form = new URLSearchParams({ assertion, grant_type: JWT_BEARER }).toString()
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' }
    const { data, status, headers: answered } = await axios.post(`${telltale.url()}/oauth2/token`, form, { headers, proxy: false })
    expect([status, answered['cache-control']]).toEqual([200, 'no-store'])
    expect(data).toEqual({ access_token: expect.any(String), token_type: 'Bearer', expires_in: 3600 })
    const bearer = { headers: { Authorization: `Bearer ${data.access_token}` }, proxy: false as const }
    expect((await axios.get(`${telltale.url()}/v2/projects/default/devices`, bearer)).status).toBe(200)
    expect((await axios.get(`${telltale.url()}/v2/projects/default/devices?token=${data.access_token}`, { proxy: false })).status).toBe(200)
  })

  test('takes its own address, those of the settings, and JSON in place of a form', async () => {
    const { email, keyId, secret } = await newAccount(telltale, 'default')
    const assertionFor = (aud: string) => jsonwebtoken.sign({ iss: email, aud }, secret, { keyid: keyId, expiresIn: 60 })
    const host = new URL(telltale.url()).host
    for (const aud of [`http://${host}/oauth2/token`, `https://${host}/oauth2/token`, 'https://telltale.example/token'])
      expect((await token({ grant_type: JWT_BEARER, assertion: assertionFor(aud) })).status).toBe(200)
    const fields = { grant_type: JWT_BEARER, assertion: assertionFor(REAL_AUDIENCE) }
    for (const type of ['application/json', 'application/x-www-form-urlencoded', 'text/plain'])
      expect((await token(JSON.stringify(fields), type)).status).toBe(200)
    expect((await token({ grant_type: JWT_BEARER, assertion: assertionFor('https://elsewhere/oauth2/token') })).status).toBe(400)
  })

  test('takes its public address, and none that only the caller says it has', async () => {
    const { email, keyId, secret } = await newAccount(telltale, 'default')
    const { port } = new URL(telltale.url())
    const statusFor = async (host: string, aud: string) => {
      const assertion = jsonwebtoken.sign({ iss: email, aud }, secret, { keyid: keyId, expiresIn: 60 })
      const sent = request(`${telltale.url()}/oauth2/token`, { method: 'POST', headers: { host } })
      sent.end(new URLSearchParams({ grant_type: JWT_BEARER, assertion }).toString())
      const [response] = (await once(sent, 'response')) as [IncomingMessage]
      response.resume()
      return response.statusCode
    }
    const taken: [host: string, aud: string][] = [
      ['anything', 'https://telltale.example.com/oauth2/token'],
      [`localhost:${port}`, `http://localhost:${port}/oauth2/token`],
      [`[::1]:${port}`, `http://[::1]:${port}/oauth2/token`],
    ]
    for (const [host, aud] of taken) expect([host, await statusFor(host, aud)]).toEqual([host, 200])
    for (const host of ['other', `other:${port}`, '127.0.0.1.other', 'localhost.other', '10.0.0.1'])
      expect([host, await statusFor(host, `http://${host}/oauth2/token`)]).toEqual([host, 400])
  })

  test('refuses as RFC 6749 has it, with the cause first', async () => {
    const { email, keyId, secret } = await newAccount(telltale, 'default')
    const sign = (claims: object, key = secret, kid = keyId) =>
      jsonwebtoken.sign({ iss: email, aud: REAL_AUDIENCE, ...claims }, key, { keyid: kid })
    const hour = { exp: nowSeconds() + 3600 }
    const refusals: [Record<string, string> | string, string, RegExp][] = [
      [{ grant_type: JWT_BEARER, assertion: sign({ iat: nowSeconds() - 7200, exp: nowSeconds() - 3600 }) }, 'invalid_grant', /^timing/],
      [{ grant_type: JWT_BEARER, assertion: sign(hour, secret, 'nobody') }, 'invalid_grant', /^untrusted/],
      [{ grant_type: JWT_BEARER, assertion: sign({ ...hour, iss: 'me' }) }, 'invalid_grant', /^untrusted/],
      [{ grant_type: JWT_BEARER, assertion: sign(hour, 'x'.repeat(64)) }, 'invalid_grant', /^signature/],
      [{ grant_type: 'password', assertion: sign(hour) }, 'unsupported_grant_type', /^grant_type/],
      [{ grant_type: JWT_BEARER }, 'invalid_grant', /^malformed/],
      [{ assertion: sign(hour) }, 'invalid_request', /^grant_type/],
      [`grant_type=${JWT_BEARER}&grant_type=${JWT_BEARER}&assertion=${sign(hour)}`, 'invalid_request', /once/],
      [`{"grant_type":"x","grant_type":"${JWT_BEARER}","assertion":"${sign(hour)}"}`, 'invalid_request', /once/],
      ['', 'invalid_request', /^grant_type/],
      ['{"grant_type":', 'invalid_request', /^grant_type/],
      ['{"grant_type":{"a":1},"assertion":[]}', 'invalid_request', /^grant_type/],
    ]
    for (const [fields, error, description] of refusals) {
      const answer = await token(fields)
      expect([answer.status, answer.headers.get('cache-control')]).toEqual([400, 'no-store'])
      expect(await answer.json()).toEqual({ error, error_description: expect.stringMatching(description) })
    }
    expect((await token({ grant_type: JWT_BEARER, assertion: 'x'.repeat(100_000) })).status).toBe(413)
  })

  test('gives tokens that are never in the log', async () => {
    const somebody = await newAccount(telltale, 'default')
    const held = await somebody.token()
    for (const path of ['/v2/projects/default/devices', '/v2/nothing', '/v2/projects/default/devices/%'])
      await fetch(`${telltale.url()}${path}?token=${held}`)
    expect(`${telltale.program().said()}${telltale.program().complained()}`).not.toContain(held.slice(0, 30))
  })
})
