// Assertions and access tokens: what the programs of the dialect send is taken; every known trick with a JWT is refused (hazard 18).
import { createHmac, generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import jsonwebtoken from 'jsonwebtoken'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { Accounts } from '../state/account.ts'
import { type AccessToken, Identity, type Refusal } from './identity.ts'
import { Tokens } from './token.ts'

const KEY = 'k'.repeat(40)
const SECRET = '239dcd912b8041a58054f843a2a633a4'
const AUDIENCE = 'https://identity.disruptive-technologies.com/oauth2/token'
const AUDIENCES = [AUDIENCE, 'http://127.0.0.1:8080/oauth2/token']
const EMAIL = 'exporter@home.serviceaccount.telltale'

const nowSeconds = () => Math.floor(Date.now() / 1000)
const claims = (more: object = {}) => ({ iss: EMAIL, aud: AUDIENCE, iat: nowSeconds(), exp: nowSeconds() + 3600, ...more })
const HEADER = { alg: 'HS256', kid: 'export', typ: 'JWT' }

const encode = (value: object | string) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
/** Any header and payload, signed with this key. */
function forge(header: object | string, payload: object | string, key: string | Buffer = SECRET): string {
  const body = `${encode(header)}.${encode(payload)}`
  return `${body}.${createHmac('sha256', key).update(body).digest('base64url')}`
}

describe.skipIf(installed === undefined)('the token endpoint', () => {
  let server: TestRedis
  let identity: Identity
  beforeAll(async () => {
    server = await openTestRedis()
    identity = new Identity(server.redis, KEY)
    await identity.put('export', SECRET, EMAIL, { home: 'developer' })
    await identity.put('other', 'another secret of somebody', 'other@home', { home: 'user' })
  })
  afterAll(() => server.stop())

  const given = async (assertion: string) => {
    const outcome = await identity.exchange(assertion, AUDIENCES)
    if ('error' in outcome) throw new Error(`${outcome.error}: ${outcome.description}`)
    return outcome
  }
  const refused = async (assertion: string) => {
    const outcome: AccessToken | Refusal = await identity.exchange(assertion, AUDIENCES)
    return 'error' in outcome ? [outcome.error, outcome.description.split(':')[0]] : ['given']
  }

  describe('gives a token', () => {
    it('for what the Python and Node examples sign', async () => {
      const { token, seconds } = await given(jsonwebtoken.sign(claims(), SECRET, { algorithm: 'HS256', keyid: 'export' }))
      expect(seconds).toBe(3600)
      expect(token).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/)
      const caller = await identity.verifyToken(token)
      expect(caller).toMatchObject({ keyId: 'export', account: EMAIL, roles: { home: 'developer' }, expiresMs: expect.any(Number) })
      expect((caller?.expiresMs ?? 0) - Date.now()).toBeGreaterThan(3_590_000)
    })

    it.each([
      [
        'aud in an array, iat dated back by 5 s and no typ, as terraform does it',
        { alg: 'HS256', kid: 'export' },
        { aud: [AUDIENCE], iat: nowSeconds() - 5 },
      ],
      ['one of several audiences', HEADER, { aud: ['https://elsewhere', AUDIENCES[1]] }],
      ['the id of the account as its issuer', HEADER, { iss: 'export' }],
      ['a clock that is 50 s fast', HEADER, { iat: nowSeconds() + 50, nbf: nowSeconds() + 50, exp: nowSeconds() + 3650 }],
      ['a clock that is 50 s slow', HEADER, { iat: nowSeconds() - 3650, exp: nowSeconds() - 50 }],
      ['a short life', HEADER, { exp: nowSeconds() + 30 }],
    ])('for %s', async (_, header, more) => {
      expect(await given(forge(header, claims(more)))).toMatchObject({ seconds: 3600 })
    })

    it('in less than 5 ms', async () => {
      const assertion = forge(HEADER, claims())
      await given(assertion)
      const started = performance.now()
      for (let i = 0; i < 200; i++) await given(assertion)
      expect((performance.now() - started) / 200).toBeLessThan(5)
    })
  })

  describe('tells apart', () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string
    it.each([
      ['alg none', `${encode({ ...HEADER, alg: 'none' })}.${encode(claims())}.`, 'signature'],
      ['alg none with a signature', forge({ ...HEADER, alg: 'none' }, claims()), 'signature'],
      ['alg nOnE', forge({ ...HEADER, alg: 'nOnE' }, claims()), 'signature'],
      ['no alg', forge({ kid: 'export' }, claims()), 'signature'],
      ['HS512', jsonwebtoken.sign(claims(), SECRET, { algorithm: 'HS512', keyid: 'export' }), 'signature'],
      ['RS256', jsonwebtoken.sign(claims(), privateKey, { algorithm: 'RS256', keyid: 'export' }), 'signature'],
      ['HS256 with a public key', forge(HEADER, claims(), pem), 'signature'],
      ['HS256 with a public key and a newline before it', forge(HEADER, claims(), `\n${pem}`), 'signature'],
      ['HS256 with an empty secret', forge(HEADER, claims(), ''), 'signature'],
      ['HS256 with the secret of another key', forge(HEADER, claims(), 'another secret of somebody'), 'signature'],
      ['HS256 with the sealing key', forge(HEADER, claims(), KEY), 'signature'],
      ['no signature', forge(HEADER, claims()).replace(/[^.]*$/, ''), 'signature'],
      ['a changed payload', forge(HEADER, claims()).replace(/\.[^.]+\./, `.${encode(claims({ iss: 'other@home' }))}.`), 'signature'],
      ['no kid', forge({ alg: 'HS256' }, claims()), 'untrusted'],
      ['an unknown kid', forge({ ...HEADER, kid: 'nobody' }, claims()), 'untrusted'],
      ['a kid that is a path', forge({ ...HEADER, kid: '../../../../dev/null' }, claims(), ''), 'untrusted'],
      ['a kid that is SQL', forge({ ...HEADER, kid: "' UNION SELECT 'x' --" }, claims(), 'x'), 'untrusted'],
      ['a kid that is a key of Redis', forge({ ...HEADER, kid: 't:{~registry}:keys' }, claims()), 'untrusted'],
      ['a kid that is in every object', forge({ ...HEADER, kid: '__proto__' }, claims()), 'untrusted'],
      ['a kid with line breaks', forge({ ...HEADER, kid: 'export\r\nHGETALL *' }, claims()), 'untrusted'],
      ['a kid that is a list', forge({ ...HEADER, kid: ['export'] }, claims()), 'untrusted'],
      ['a kid of 100 KB within 8', forge({ ...HEADER, kid: 'k'.repeat(5000) }, claims()), 'untrusted'],
      ['another issuer', forge(HEADER, claims({ iss: 'other@home' })), 'untrusted'],
      ['no issuer', forge(HEADER, claims({ iss: undefined })), 'untrusted'],
      ['several issuers', forge(HEADER, claims({ iss: [EMAIL] })), 'untrusted'],
      ['another audience', forge(HEADER, claims({ aud: 'https://elsewhere/oauth2/token' })), 'audience'],
      ['an audience with more after it', forge(HEADER, claims({ aud: `${AUDIENCE}.evil.example` })), 'audience'],
      ['no audience', forge(HEADER, claims({ aud: undefined })), 'audience'],
      ['no exp', forge(HEADER, claims({ exp: undefined })), 'timing'],
      ['an exp in the past', forge(HEADER, claims({ iat: nowSeconds() - 3700, exp: nowSeconds() - 100 })), 'timing'],
      ['an exp that is text', forge(HEADER, claims({ exp: '9999999999' })), 'timing'],
      ['an endless exp', forge(HEADER, claims({ exp: 1e15 })), 'timing'],
      ['a life of two hours', forge(HEADER, claims({ exp: nowSeconds() + 7200 })), 'timing'],
      ['no iat', forge(HEADER, claims({ iat: undefined })), 'timing'],
      ['an iat in the future', forge(HEADER, claims({ iat: nowSeconds() + 600, exp: nowSeconds() + 900 })), 'timing'],
      ['an nbf in the future', forge(HEADER, claims({ nbf: nowSeconds() + 600 })), 'timing'],
      ['an unknown crit', forge({ ...HEADER, crit: ['x'], x: true }, claims()), 'malformed'],
      ['a crit that names nothing', forge({ ...HEADER, crit: [] }, claims()), 'malformed'],
      ['a jku', forge({ ...HEADER, jku: 'https://elsewhere/keys' }, claims()), 'malformed'],
      ['an x5u', forge({ ...HEADER, x5u: 'https://elsewhere/cert.pem' }, claims()), 'malformed'],
      ['an x5c', forge({ ...HEADER, x5c: [encode('cert')] }, claims()), 'malformed'],
      ['a jwk', forge({ ...HEADER, jwk: { kty: 'oct', k: encode('mine') } }, claims(), 'mine'), 'malformed'],
      ['an unencoded payload', forge({ ...HEADER, crit: ['b64'], b64: false }, claims()), 'malformed'],
      ['a payload that is no object', forge(HEADER, '"text"'), 'malformed'],
      ['a payload that is no JSON', forge(HEADER, 'text'), 'malformed'],
      ['a header that is no JSON', forge('text', claims()), 'malformed'],
      ['nothing', '', 'malformed'],
      ['two parts', 'a.b', 'malformed'],
      ['a newline before it', `\n${forge(HEADER, claims())}`, 'malformed'],
      ['a space after it', `${forge(HEADER, claims())} `, 'malformed'],
    ])('%s', async (_, assertion, cause) => {
      expect(await refused(assertion)).toEqual(['invalid_grant', cause])
    })

    it('an assertion of 100 KB', async () => {
      const started = performance.now()
      expect(await refused(forge(HEADER, claims({ more: 'x'.repeat(100_000) })))).toEqual(['invalid_request', 'assertion'])
      expect(performance.now() - started).toBeLessThan(50)
    })

    it('nothing by repeating what it was sent', async () => {
      for (const text of ['<img src=x>', '"\\', 'é\n'])
        for (const assertion of [
          forge({ ...HEADER, kid: text }, claims()),
          forge(HEADER, claims({ iss: text })),
          forge(HEADER, claims({ aud: text })),
        ]) {
          const outcome = await identity.exchange(assertion, AUDIENCES)
          // RFC 6749 5.2 has just these characters there.
          expect('description' in outcome ? outcome.description : '').toMatch(/^[\x20\x21\x23-\x5b\x5d-\x7e]+$/)
        }
    })
  })

  it('fetches nothing that an assertion names', async () => {
    let requests = 0
    const decoy = createServer((_, response) => {
      requests++
      response.end(JSON.stringify({ keys: [{ kty: 'oct', k: encode(SECRET), kid: 'export', alg: 'HS256' }] }))
    })
    await new Promise<void>(resolve => decoy.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(decoy.address() as AddressInfo).port}/keys`
    const named = { jku: url, x5u: url, x5c: [encode('cert')], jwk: { kty: 'oct', k: encode('mine') } }
    for (const key of ['mine', SECRET])
      for (const [name, value] of Object.entries(named))
        expect(await refused(forge({ ...HEADER, [name]: value }, claims(), key))).toEqual(['invalid_grant', 'malformed'])
    await new Promise(resolve => decoy.close(resolve))
    expect(requests).toBe(0)
  })

  describe('an access token', () => {
    it('is no assertion, no session, and nobody else’s', async () => {
      const { token } = await given(forge(HEADER, claims()))
      expect(await refused(token)).toEqual(['invalid_grant', 'untrusted'])
      expect(await identity.resumeSession(token)).toBeUndefined()
      expect(await new Identity(server.redis, `${KEY}x`).verifyToken(token)).toBeUndefined()
      const caller = await identity.verify('export', SECRET)
      expect(caller && (await identity.verifyToken((await identity.startSession(caller)).token))).toBeUndefined()
    })

    it('is not one that was changed, stripped or signed by somebody else', async () => {
      const { token } = await given(forge(HEADER, claims()))
      const [header, payload, signature] = token.split('.') as [string, string, string]
      const mine = { sub: 'export', aud: 'telltale', iat: nowSeconds(), exp: nowSeconds() + 60 }
      const texts = [
        `${header}.${payload}.`,
        `${header}.${encode({ ...mine, sub: 'other' })}.${signature}`,
        `${encode({ alg: 'none' })}.${payload}.`,
        forge(HEADER, mine),
        forge(HEADER, mine, KEY),
        `${token}${'x'.repeat(100_000)}`,
        '',
      ]
      for (const text of texts) expect(await identity.verifyToken(text)).toBeUndefined()
    })

    it.each([
      ['a jku', { jku: 'https://elsewhere/keys' }],
      ['an x5u', { x5u: 'https://elsewhere/cert.pem' }],
      ['an x5c', { x5c: [encode('cert')] }],
      ['a jwk', { jwk: { kty: 'oct', k: encode('mine') } }],
      ['an unknown crit', { crit: ['x'], x: true }],
    ])('is none with %s, also when our key signed it', async (_, more) => {
      const key = Buffer.alloc(32, 1)
      const mine = { sub: 'export', aud: 'telltale', iat: nowSeconds(), exp: nowSeconds() + 60, proof: 'x' }
      const tokens = new Tokens(key, 'telltale', 60)
      expect(await tokens.verify(forge({ alg: 'HS256' }, mine, key))).toMatchObject({ keyId: 'export' })
      expect(await tokens.verify(forge({ alg: 'HS256', ...more }, mine, key))).toBeUndefined()
    })

    it('dies with its key within a second', async () => {
      await identity.put('brief', 'secret of brief', 'brief@home', { home: 'user' })
      const { token } = await given(forge({ ...HEADER, kid: 'brief' }, claims({ iss: 'brief@home' }), 'secret of brief'))
      const elsewhere = new Identity(server.redis, KEY)
      expect(await elsewhere.verifyToken(token)).toBeDefined()
      await new Accounts(server.redis).removeKey('brief', 'brief')
      await expect.poll(() => elsewhere.verifyToken(token), { timeout: 1000, interval: 20 }).toBeUndefined()
    })
  })

  describe('what a request shows', () => {
    const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`

    it('is HTTP Basic only where the account enables it, and MQTT always', async () => {
      const accounts = new Accounts(server.redis)
      await accounts.change('home', 'export', before => ({ ...before, enableBasicAuth: false }))
      identity.forget()
      await expect(identity.authenticate({ authorization: basic(`export:${SECRET}`) })).rejects.toThrow('Basic is not enabled')
      expect(await identity.authenticate({ authorization: basic('export:another') })).toBeUndefined()
      expect(await identity.verify('export', SECRET)).toBeDefined()
      await accounts.change('home', 'export', before => ({ ...before, enableBasicAuth: true }))
      identity.forget()
      expect(await identity.authenticate({ authorization: basic(`export:${SECRET}`) })).toMatchObject({ keyId: 'export' })
    })

    it('is a token as a header or in the query, and the header decides', async () => {
      const { token } = await given(forge(HEADER, claims()))
      expect(await identity.authenticate({ authorization: `Bearer ${token}` })).toMatchObject({ keyId: 'export' })
      expect(await identity.authenticate({ authorization: `bearer ${token}` })).toMatchObject({ keyId: 'export' })
      expect(await identity.authenticate({ token })).toMatchObject({ keyId: 'export' })
      expect(await identity.authenticate({ authorization: 'Bearer x.y.z', token })).toBeUndefined()
      expect(await identity.authenticate({ authorization: '', token })).toBeUndefined()
      expect(await identity.authenticate({ token: 'x', session: token })).toBeUndefined()
      expect(await identity.authenticate({})).toBeUndefined()
    })
  })
})
