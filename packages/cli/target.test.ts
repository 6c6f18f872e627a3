// Where the server is and who we are: options before the environment before what the embedded server left.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { resolveTarget } from './target.ts'

const folder = mkdtempSync(join(tmpdir(), 'telltale-target-'))
afterAll(() => rmSync(folder, { recursive: true }))
const login = { TELLTALE_KEY_ID: 'env-key', TELLTALE_SECRET: 'env-secret' }

test('without anything but a login the server is on this machine at its usual ports', () => {
  expect(resolveTarget({}, login)).toEqual({
    httpUrl: 'http://127.0.0.1:8080',
    mqttUrl: 'mqtt://127.0.0.1:1883',
    keyId: 'env-key',
    secret: 'env-secret',
    project: 'default',
  })
})

test('options win over the environment, and URLs over hosts and ports', () => {
  const env = { ...login, TELLTALE_HTTP_URL: 'https://a.example/', TELLTALE_HOST: '::', TELLTALE_MQTT_PORT: '2883', TELLTALE_PROJECT: 'p1' }
  expect(resolveTarget({ keyId: 'k', secret: 's', project: 'p2' }, env)).toEqual({
    httpUrl: 'https://a.example',
    mqttUrl: 'mqtt://127.0.0.1:2883',
    keyId: 'k',
    secret: 's',
    project: 'p2',
  })
  expect(resolveTarget({ http: 'http://b.example:1' }, { ...env, TELLTALE_HOST: '::1' })).toMatchObject({
    httpUrl: 'http://b.example:1',
    mqttUrl: 'mqtt://[::1]:2883',
  })
})

test('the key that the embedded server left is used when nothing else is said', () => {
  writeFileSync(join(folder, 'admin.json'), JSON.stringify({ keyId: 'left', secret: 'behind', project: 'attic' }))
  expect(resolveTarget({}, { TELLTALE_DATA_DIR: folder })).toMatchObject({ keyId: 'left', secret: 'behind', project: 'attic' })
})

test('without credentials the three ways to give them are named', () => {
  const message = /--key-id and --secret, or TELLTALE_KEY_ID and TELLTALE_SECRET, or .*admin\.json/
  expect(() => resolveTarget({}, { TELLTALE_DATA_DIR: join(folder, 'none') })).toThrow(message)
})

test('half a login, a broken file and a URL of the wrong kind are named', () => {
  expect(() => resolveTarget({ keyId: 'k' }, {})).toThrow(/^--secret: expected/)
  expect(() => resolveTarget({ secret: 's' }, {})).toThrow(/^--key-id: expected/)
  expect(() => resolveTarget({ mqtt: 'http://x' }, login)).toThrow(/^--mqtt: expected a URL such as mqtt:/)
  expect(() => resolveTarget({}, { ...login, TELLTALE_HTTP_URL: 'x' })).toThrow(/^TELLTALE_HTTP_URL: expected/)
  expect(() => resolveTarget({ project: 'No Such' }, login)).toThrow(/^--project: expected/)
  writeFileSync(join(folder, 'admin.json'), '{')
  expect(() => resolveTarget({}, { TELLTALE_DATA_DIR: folder })).toThrow(/admin\.json: expected JSON/)
})
