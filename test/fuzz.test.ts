// Whatever is sent to whichever route of the REST surface: never a 5xx, never a hang, errors always in the dialect's shape, and an
// answer of success is what the document promises. Generated from the OpenAPI document, so a new route is fuzzed by being there.
import { type IncomingHttpHeaders, request } from 'node:http'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bodySchema, breaches, documentOf, isStream, type Operation, operationsOf, type Parameter, type Schema } from './specification.ts'
import { removeDirectories, startTelltale, type Telltale } from './world.ts'

const RUNS = Number(process.env['TELLTALE_FUZZ_RUNS'] ?? 25)
const SEED = Number(process.env['TELLTALE_FUZZ_SEED'] ?? 20261121)
const LIMIT_MS = 8000

let telltale: Telltale
let operations: Operation[]
beforeAll(async () => {
  telltale = await startTelltale()
  operations = operationsOf(await documentOf(telltale))
}, 60_000)
afterAll(async () => {
  await telltale?.remove()
  await removeDirectories()
})

type Sent = {
  readonly path: string
  readonly type: string | undefined
  readonly body: string | undefined
  readonly login: 'ours' | 'none' | 'wrong'
}
type Got = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string }

describe('no request', () => {
  it('is answered with a 5xx, with silence, or with an error out of shape', async () => {
    expect(operations.length).toBeGreaterThan(40)
    for (const operation of operations) await fuzz(operation)
    expect((await telltale.http('/readyz')).status).toBe(200)
    expect(telltale.program().said()).not.toContain('request failed')
    expect(telltale.program().said()).not.toContain('internal error')
  }, 240_000)
})

async function fuzz(operation: Operation): Promise<void> {
  const name = `${operation.method} ${operation.path}`
  await fc.assert(
    fc.asyncProperty(requests(operation), async sent => {
      const got = await ask(operation.method, sent, isStream(operation))
      expect(
        problemOf(operation, sent, got),
        `${name} ${JSON.stringify(sent).slice(0, 1500)} → ${got.status} ${got.text.slice(0, 500)}`,
      ).toBe('')
    }),
    { numRuns: RUNS, seed: SEED },
  )
}

function problemOf(operation: Operation, { login }: Sent, { status, headers, text }: Got): string {
  if (status >= 500) return 'a 5xx'
  if (status === 429 && !/^\d+$/.test(headers['retry-after'] ?? '')) return 'a 429 without an integer Retry-After'
  if (status >= 400) return errorProblem(operation, status, text)
  if (login !== 'ours' && operation.path.startsWith('/v2/projects/')) return 'answered without credentials'
  if (isStream(operation)) return ''
  if (headers['content-type']?.startsWith('text/plain')) return breaches(operation, status, text)
  const json = parsed(text)
  return json === undefined ? 'not JSON' : breaches(operation, status, json)
}

/** contracts.md 6.0. */
function errorProblem({ path }: Operation, status: number, text: string): string {
  const body = parsed(text) as { error?: unknown; code?: unknown; help?: unknown; error_description?: unknown } | undefined
  if (body === undefined) return 'an error that is not JSON'
  if (path === '/oauth2/token') return typeof body.error === 'string' ? '' : 'not an OAuth error'
  if (body.code !== status) return 'code is not the status'
  if (typeof body.help !== 'string') return 'no help'
  const inner = body.error as { code?: unknown; message?: unknown } | string
  if (typeof inner === 'string') return path.endsWith(':stream') ? 'a stream error that is a text' : ''
  return path.endsWith(':stream') && inner.code === status && typeof inner.message === 'string' ? '' : 'an error out of shape'
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function ask(method: string, { path, type, body, login }: Sent, stream: boolean): Promise<Got> {
  const { keyId, secret } = telltale.key
  const password = { ours: secret, wrong: 'wrong', none: '' }[login]
  const headers: Record<string, string> = {}
  if (login !== 'none') headers['authorization'] = `Basic ${Buffer.from(`${keyId}:${password}`).toString('base64')}`
  if (type !== undefined) headers['content-type'] = type
  return new Promise((resolve, reject) => {
    const sent = request(`${telltale.url()}${path}`, { method, headers, timeout: LIMIT_MS, agent: false }, response => {
      const { statusCode: status = 0 } = response
      if (stream && status === 200) {
        sent.destroy()
        resolve({ status, headers: response.headers, text: '' })
        return
      }
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      response.once('end', () => resolve({ status, headers: response.headers, text }))
    })
    sent.once('timeout', () => sent.destroy(new Error(`no answer in ${LIMIT_MS} ms`)))
    sent.once('error', reject)
    sent.end(body)
  })
}

// ---- what is sent

const HOSTILE = [
  '',
  ' ',
  '.',
  '..',
  '-',
  '*',
  '__proto__',
  'constructor',
  'toString',
  'null',
  'true',
  '0',
  '-1',
  '1e999',
  '9007199254740993',
  'a'.repeat(300),
  "x' OR 1=1 --",
  '") |> drop',
  '<img src=x onerror=alert(1)>',
  '\u0000',
  '\ud800',
  'é😀\u2028',
  '%00',
  '../../etc/passwd',
  'a:b:c',
  'a/b',
  'a\tb\nc',
  '$where',
  '{"a":1}',
  'projects/default/devices/a',
  '2026-01-01T00:00:00Z',
  '2026-13-45T99:99:99Z',
  '10s',
  '1h',
  'whsec_AAAA',
  'http://127.0.0.1/',
  'https://example.com/',
  'roles/project.admin',
] as const // prettier-ignore

const hostile = fc.constantFrom(...HOSTILE)
const anything = fc.oneof(hostile, fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null), fc.jsonValue({ maxDepth: 3 }))

function requests(operation: Operation): fc.Arbitrary<Sent> {
  const schema = bodySchema(operation)
  const body = schema ? fc.oneof({ weight: 6, arbitrary: bodies(schema) }, { weight: 1, arbitrary: rawBodies }) : fc.constant(undefined)
  return fc.record({
    path: paths(operation),
    type: fc.oneof(
      { weight: 5, arbitrary: fc.constant('application/json') },
      fc.constantFrom(
        undefined,
        'text/plain',
        'application/x-www-form-urlencoded',
        'application/json\ta',
        'application/json garbage',
        'Application/Json ;',
        'image/png',
      ),
    ),
    body,
    login: fc.oneof({ weight: 8, arbitrary: fc.constant('ours' as const) }, fc.constantFrom('none' as const, 'wrong' as const)),
  })
}

const rawBodies = fc.oneof(
  fc.constantFrom(
    '',
    '{',
    '[]',
    'null',
    '{"a":1e999}',
    '{"__proto__":{"x":1}}',
    `${'['.repeat(5000)}${']'.repeat(5000)}`,
    '"\ud800"',
    '{"a":1,"a":2}',
    '\ufeff{}',
  ),
  fc.string(),
)

function paths({ path, parameters }: Operation): fc.Arbitrary<string> {
  const inPath = parameters.filter(parameter => parameter.in === 'path')
  const inQuery = parameters.filter(parameter => parameter.in === 'query')
  const values = fc.record(Object.fromEntries(inPath.map(parameter => [parameter.name, pathValues(parameter)])))
  const pairs = fc.array(
    fc.constantFrom('', ...inQuery.map(({ name }) => name)).chain(name => pair(name, inQuery)),
    { maxLength: 4 },
  )
  return fc.tuple(values, pairs).map(([chosen, query]) => {
    const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encode(chosen[name] as string))
    return query.length === 0 ? filled : `${filled}?${query.join('&')}`
  })
}

/** Most often the project that is there, so that what lies behind the door is met. */
function pathValues({ name }: Parameter): fc.Arbitrary<string> {
  const usual =
    name === 'project' ? fc.constantFrom('default', 'default', '-') : fc.constantFrom('a', 'device-1', 'emu00000000000000000000')
  return fc.oneof({ weight: 4, arbitrary: usual }, hostile, fc.string({ minLength: 1, maxLength: 40 }))
}

function pair(name: string, known: readonly Parameter[]): fc.Arbitrary<string> {
  const schema = known.find(parameter => parameter.name === name)?.schema ?? {}
  const snake = name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)
  const spelled = name === '' ? hostile : fc.constantFrom(name, snake)
  const value = fc.oneof(hostile, valid(schema.items ?? schema), fc.string())
  return fc.tuple(spelled, value).map(([key, one]) => `${encode(key)}=${encode(String(one))}`)
}

/** Lone surrogates cannot be percent-encoded; a client that has one sends its replacement. */
function encode(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString())
}

function bodies(schema: Schema): fc.Arbitrary<string> {
  const good = valid(schema)
  return fc.oneof(good, mutated(good), mutated(good), anything).map(value => JSON.stringify(value) ?? '')
}

/** A value that fits the schema, as far as the schema says. */
function valid(schema: Schema): fc.Arbitrary<unknown> {
  if (schema.const !== undefined) return fc.constant(schema.const)
  if (schema.enum) return fc.constantFrom(...schema.enum)
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map(valid))
  switch (schema.type) {
    case 'string':
      return fc.oneof(hostile, fc.string()).map(text => text.slice(0, schema.maxLength ?? 1000))
    case 'integer':
      return fc.integer({ min: schema.minimum ?? -1000, max: schema.maximum ?? 100_000 })
    case 'number':
      return fc.double({ min: schema.minimum ?? -1e6, max: schema.maximum ?? 1e6, noNaN: true })
    case 'boolean':
      return fc.boolean()
    case 'array':
      return fc.array(valid(schema.items ?? {}), { maxLength: 3 })
    case 'object':
      return objects(schema)
    default:
      return anything
  }
}

function objects({ properties = {}, required = [], additionalProperties }: Schema): fc.Arbitrary<unknown> {
  const fields = Object.fromEntries(Object.entries(properties).map(([name, field]) => [name, valid(field)]))
  const known = fc.record(fields, { requiredKeys: required.filter(name => name in fields) })
  if (Object.keys(fields).length > 0 || typeof additionalProperties !== 'object') return known
  return fc.dictionary(fc.oneof(hostile, fc.string()), valid(additionalProperties), { maxKeys: 4 })
}

/** One place in it is something else. */
function mutated(good: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.tuple(good, anything, fc.nat(50)).map(([value, other, at]) => replaced(value, other, at).value)
}

function replaced(value: unknown, other: unknown, at: number): { value: unknown; left: number } {
  if (at === 0) return { value: other, left: -1 }
  if (typeof value !== 'object' || value === null) return { value, left: at - 1 }
  let left = at - 1
  const entries = Object.entries(value).map(([key, inner]) => {
    if (left < 0) return [key, inner] as const
    const result = replaced(inner, other, left)
    left = result.left
    return [key, result.value] as const
  })
  return { value: Array.isArray(value) ? entries.map(([, inner]) => inner) : Object.fromEntries(entries), left }
}
