// Durable streams as they are managed: over REST, by the client and from the command line, all on one server.
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand } from '../packages/cli/command.ts'
import { Telltale as Client } from '../packages/client/index.ts'
import { done, newAccount, newProject } from './tenant.ts'
import { type Answer, eventually, type Json, newDirectory, ROOT, removeDirectories, startTelltale, type Telltale } from './world.ts'

const STREAMS = '/v2/projects/default/streams'
const DEVELOPER = { 'projects/default': 'project.developer' }

let telltale: Telltale
let client: Client
beforeAll(async () => {
  telltale = await startTelltale()
  client = new Client({ url: telltale.url(), ...telltale.key, project: 'default' })
}, 60_000)
afterAll(async () => {
  await client.close()
  await telltale.remove()
  await removeDirectories()
})

const texts = (messages: readonly { readonly text: string | null }[]) => messages.map(({ text }) => text)
const refused = (promise: Promise<unknown>) =>
  promise.then(
    () => {
      throw new Error('nothing was refused')
    },
    (error: unknown) => error,
  )

describe('a stream', () => {
  test('may have a name with everything in it, and is found by it', async () => {
    const name = 'plant/line 3/é:reset+x@y,z=1&'
    await client.streams.create(name, { description: 'odd' })
    expect(await client.streams.get(name)).toMatchObject({ name, description: 'odd' })
    await client.streams.append(name, { payload: 'hello' })
    expect(texts((await client.streams.messages(name)).messages)).toEqual(['hello'])
    const { resource } = await client.streams.get(name)
    expect((await telltale.http(`/v2/${resource}`)).json).toMatchObject({ name })
    await client.streams.remove(name)
    expect(await refused(client.streams.get(name))).toMatchObject({ status: 404, field: 'stream' })
  })

  test('is created once, put again without harm, and changed field by field', async () => {
    const made = await client.streams.create('settings', { retention: { maxAge: '12h' } })
    expect(made.retention).toEqual({ maxAge: '12h', maxBytes: 0, untilAcked: true })
    expect(await refused(client.streams.create('settings'))).toMatchObject({ status: 409 })
    await client.streams.append('settings', { payload: 'stays' })
    await client.streams.update('settings', { retention: { untilAcked: false }, description: 'd' })
    expect((await client.streams.get('settings')).retention).toEqual({ maxAge: '12h', maxBytes: 0, untilAcked: false })
    const mask = `${STREAMS}/settings?updateMask=retention.maxBytes`
    const masked = await done(telltale.send('PATCH', mask, { description: 'ignored', retention: { maxAge: '1h', maxBytes: 5000 } }))
    expect(masked).toMatchObject({ description: 'd', retention: { maxAge: '12h', maxBytes: 5000, untilAcked: false } })
    const put = await client.streams.put('settings', {})
    expect(put).toMatchObject({ description: '', retention: { maxAge: '3d', maxBytes: 0, untilAcked: true }, stats: { messageCount: 1 } })
  })

  test('is changed by many at the same time, and keeps what each of them gave', async () => {
    await client.streams.create('contested')
    for (let round = 1; round <= 10; round++) {
      const maxBytes = round * 1000
      const changes = [{ maxAge: `${round}h` }, { maxBytes }, { untilAcked: round % 2 === 0 }]
      await Promise.all(changes.map(retention => client.streams.update('contested', { retention })))
      const { retention } = await client.streams.get('contested')
      expect(retention).toEqual({ maxAge: `${round}h`, maxBytes, untilAcked: round % 2 === 0 })
    }
  })

  test('is one of a list, in pages', async () => {
    for (const name of ['page-1', 'page-2', 'page-3']) await client.streams.put(name)
    const names: string[] = []
    for await (const page of client.streams.pages({ pageSize: 2 })) names.push(...page.map(({ name }) => name))
    expect(names.filter(name => name.startsWith('page-'))).toEqual(['page-1', 'page-2', 'page-3'])
    const found = await client.streams.list({ query: ' 2 PAGE', pageSize: 10 })
    expect([found.streams.map(({ name }) => name), found.nextPageToken]).toEqual([['page-2'], ''])
  })

  test.each<[string, string, unknown, string]>([
    ['a name that is none', 'POST /streams', { name: 'a//b' }, 'name'],
    ['an age that is none', 'POST /streams', { name: 'wrong', retention: { maxAge: 'long' } }, 'retention.maxAge'],
    ['a size beyond all numbers', 'POST /streams', { name: 'wrong', retention: { maxBytes: 1e30 } }, 'body.retention.maxBytes'],
    [
      'a schema that is none',
      'POST /streams',
      { name: 'wrong', schema: { type: 'json', definition: { type: 'float' } } },
      'schema.definition.type',
    ],
    ['a decoder that nobody has', 'POST /streams', { name: 'wrong', decoder: 'morse' }, 'decoder'],
    ['an unknown field', 'POST /streams', { name: 'wrong', retain: 1 }, 'body.retain'],
    ['no payload', 'POST /streams/page-1/messages', { key: 'a' }, 'payload'],
    ['two payloads', 'POST /streams/page-1/messages', { messages: [{ text: 'a', json: 1 }] }, 'messages.0.payload'],
    ['a payload that is no base64', 'POST /streams/page-1/messages', { payload: 'not base64!' }, 'payload'],
    ['a time that is none', 'POST /streams/page-1/messages', { text: 'a', eventTime: 'noon' }, 'eventTime'],
    ['a place beyond the end', 'POST /streams/page-1/subscriptions', { name: 's', position: { afterSeq: 7 } }, 'position.afterSeq'],
  ])('%s is refused by its field', async (_, route, body, field) => {
    const [method = '', path = ''] = route.split(' ')
    const { status, json } = await telltale.send(method, `/v2/projects/default${path}`, body)
    expect({ status, field: json['field'] }).toEqual({ status: 400, field })
  })

  test('checks what is appended by its schema, names every problem, and appends nothing of such a call', async () => {
    const definition = { type: 'object', properties: { celsius: { type: 'number' } }, required: ['celsius', 'unit'] }
    await client.streams.create('checked', { schema: { type: 'json', definition } })
    const messages = [{ payload: { celsius: 1, unit: 'C' } }, { payload: { celsius: 'warm' } }]
    expect(await refused(client.streams.append('checked', messages))).toMatchObject({
      status: 400,
      field: 'schema',
      message: "Schema validation has failed: missing properties: 'unit'; 'celsius': must be number",
    })
    expect((await client.streams.get('checked')).stats.messageCount).toBe(0)
    await client.streams.update('checked', { schema: null })
    await client.streams.append('checked', messages)
    expect((await client.streams.get('checked')).stats.messageCount).toBe(2)
  })
})

describe('messages', () => {
  test('keep all they came with, and are appended once under one Idempotency-Key', async () => {
    await client.streams.create('kept')
    const message = { payload: { celsius: 4.65 }, key: 'dev-9', properties: { unit: 'C' }, name: 'Reading', eventTime: new Date(0) }
    const first = await client.streams.append('kept', [message, { payload: Uint8Array.of(0, 255) }], { idempotencyKey: 'once' })
    const again = await client.streams.append('kept', [message, { payload: Uint8Array.of(0, 255) }], { idempotencyKey: 'once' })
    expect(again).toEqual(first.map(appended => ({ ...appended, duplicate: true })))
    const { messages } = await client.streams.messages('kept', { order: 'oldest' })
    expect(messages).toMatchObject([
      {
        seq: 1,
        text: '{"celsius":4.65}',
        key: 'dev-9',
        properties: { unit: 'C' },
        name: 'Reading',
        number: 1,
        eventTime: '1970-01-01T00:00:00.000000Z',
      },
      { seq: 2, text: null, payload: 'AP8=', size: 2, key: null, properties: {}, producer: telltale.key.keyId },
    ])
  })

  test.each<[string, string, string]>([
    ['a number without end', '{"json":{"a":[0,1e999]}}', 'json.a.1'],
    ['an integer that is kept as another', '{"messages":[{"json":1},{"json":12345678901234567890}]}', 'messages.1.json'],
    ['half a surrogate pair', '{"text":"\\ud800"}', 'text'],
    ['half a surrogate pair in a key', '{"json":{"b":{"\\udc00":1}}}', 'json.b'],
  ])('%s is refused, as it would be altered', async (_, body, field) => {
    await client.streams.put('exact')
    const { status, json } = await telltale.http(`${STREAMS}/exact/messages`, { method: 'POST', body })
    expect([status, json['field'], json['error']]).toEqual([400, field, expect.stringContaining('as text')])
  })

  test('of large numbers are kept as they were written', async () => {
    await client.streams.put('exact')
    const values = '[10000000000000000,12345678901234567000,0.1,1e+300,"12345678901234567890 \ud83d\ude00"]'
    await done(telltale.http(`${STREAMS}/exact/messages`, { method: 'POST', body: `{"json":${values}}` }))
    const [message] = (await client.streams.messages('exact')).messages
    expect(message?.text).toBe(values.replace('\\ud83d\\ude00', '😀'))
  })

  test('are looked through from either end, by place and by time, in pages', async () => {
    await client.streams.create('browsed')
    await client.streams.append(
      'browsed',
      Array.from({ length: 25 }, (_, i) => ({ payload: `m${i + 1}` })),
    )
    const all: number[] = []
    for await (const page of client.streams.messagePages('browsed', { pageSize: 10 })) all.push(...page.map(({ seq }) => seq))
    expect(all).toEqual(Array.from({ length: 25 }, (_, i) => 25 - i))
    const between = await client.streams.messages('browsed', { order: 'oldest', afterSeq: 3, beforeSeq: 6 })
    expect(texts(between.messages)).toEqual(['m4', 'm5'])
    const [first] = (await client.streams.messages('browsed', { order: 'oldest', pageSize: 1 })).messages
    const before = await client.streams.messages('browsed', { endTime: first?.publishTime ?? '' })
    expect(before.messages).toEqual([])
    expect((await client.streams.messages('browsed', { startTime: first?.publishTime ?? '' })).messages).toHaveLength(25)
  })

  test('a page token of a stream that was made anew leads nowhere', async () => {
    const { nextPageToken } = await client.streams.messages('browsed', { pageSize: 1 })
    await client.streams.remove('browsed')
    await client.streams.create('browsed')
    expect(await refused(client.streams.messages('browsed', { pageToken: nextPageToken }))).toMatchObject({
      status: 400,
      field: 'pageToken',
    })
  })
})

describe('a subscription', () => {
  test('is pulled from, acked, nacked, put back and cleared', async () => {
    await client.streams.create('pulled')
    const { subscriptions } = client.streams
    await subscriptions.create('pulled', 'one', { type: 'shared' })
    await client.streams.append(
      'pulled',
      ['a', 'b', 'c'].map(payload => ({ payload })),
    )
    const first = await subscriptions.pull('pulled', 'one', { maxMessages: 2, waitMs: 5000 })
    expect(first.map(({ text, redeliveryCount }) => [text, redeliveryCount])).toEqual([
      ['a', 0],
      ['b', 0],
    ])
    await subscriptions.ack('pulled', 'one', [first[0]?.messageId ?? ''])
    await subscriptions.nack('pulled', 'one', [first[1]?.messageId ?? ''])
    const rest: [string | null, number][] = []
    await eventually(async () => {
      for (const { text, redeliveryCount, messageId } of await subscriptions.pull('pulled', 'one', { waitMs: 500 })) {
        rest.push([text, redeliveryCount])
        await subscriptions.ack('pulled', 'one', [messageId])
      }
      expect(rest.toSorted(([a], [b]) => ((a ?? '') < (b ?? '') ? -1 : 1))).toEqual([
        ['b', 1],
        ['c', 0],
      ])
    })
    await eventually(async () => expect((await subscriptions.get('pulled', 'one')).stats).toMatchObject({ backlogCount: 0, ackedCount: 3 }))
    await client.streams.append(
      'pulled',
      ['d', 'e'].map(payload => ({ payload })),
    )
    expect((await subscriptions.reset('pulled', 'one', { afterSeq: 3 })).stats.backlogCount).toBe(2)
    expect((await subscriptions.clear('pulled', 'one')).stats.backlogCount).toBe(0)
  })

  test('gives out again what was not acked before its lease ended', async () => {
    await client.streams.create('leased')
    await client.streams.subscriptions.create('leased', 'one')
    await client.streams.append('leased', { payload: 'again' })
    const pull = () => client.streams.subscriptions.pull('leased', 'one', { leaseMs: 1000, waitMs: 5000 })
    expect(await pull()).toMatchObject([{ text: 'again', redeliveryCount: 0 }])
    expect(await pull()).toMatchObject([{ text: 'again', redeliveryCount: 1 }])
  })

  test('is pulled from no longer by who has lost the role, or whose key is revoked', async () => {
    await client.streams.create('revoked')
    const { subscriptions } = client.streams
    const guests = [await newAccount(telltale, 'default', DEVELOPER), await newAccount(telltale, 'default', DEVELOPER)] as const
    const pulled: Promise<Answer>[] = []
    for (const guest of guests) {
      await subscriptions.create('revoked', guest.id)
      pulled.push(guest.call('POST', `${STREAMS}/revoked/subscriptions/${guest.id}:pull`, { waitMs: 20_000 }))
      await eventually(async () => expect((await subscriptions.get('revoked', guest.id)).consumers).toHaveLength(1))
    }
    await done(telltale.http(`/v2/projects/default/members/${guests[0].id}`, { method: 'DELETE' }))
    await done(telltale.http(`/v2/${guests[1].name}/keys/${guests[1].keyId}`, { method: 'DELETE' }))
    // The project of others does not exist.
    expect((await Promise.all(pulled)).map(({ status }) => status)).toEqual([404, 401])
    await client.streams.append('revoked', { payload: 'not for them' })
    for (const { id } of guests)
      expect(await subscriptions.pull('revoked', id, { waitMs: 10_000 })).toMatchObject([{ text: 'not for them', redeliveryCount: 0 }])
  })

  test('lets several pull at the same time, each message to one of them', async () => {
    await client.streams.create('together')
    await client.streams.subscriptions.create('together', 'one')
    const pulls = Array.from({ length: 4 }, () => client.streams.subscriptions.pull('together', 'one', { maxMessages: 5, waitMs: 10_000 }))
    await eventually(async () => expect((await client.streams.get('together')).stats.consumerCount).toBe(1))
    await client.streams.append(
      'together',
      Array.from({ length: 20 }, (_, i) => ({ payload: String(i) })),
    )
    const seen = texts((await Promise.all(pulls)).flat())
    for (;;) {
      const more = await client.streams.subscriptions.pull('together', 'one', { maxMessages: 20 })
      if (more.length === 0) break
      seen.push(...texts(more))
    }
    expect(seen.map(Number).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i))
  })

  test('answers an empty pull when the wait is over, and one that is removed at once', async () => {
    await client.streams.create('quiet')
    await client.streams.subscriptions.create('quiet', 'one')
    expect(await client.streams.subscriptions.pull('quiet', 'one')).toEqual([])
    const waiting = refused(client.streams.subscriptions.pull('quiet', 'one', { waitMs: 20_000 }))
    expect(await refused(client.streams.subscriptions.remove('quiet', 'one'))).toMatchObject({ status: 409, field: 'consumers' })
    await client.streams.subscriptions.remove('quiet', 'one', { force: true })
    expect(await waiting).toMatchObject({ status: 404, field: 'subscription' })
    expect(await refused(client.streams.subscriptions.pull('quiet', 'one'))).toMatchObject({ status: 404, field: 'subscription' })
  })

  test('knows its own messages only', async () => {
    await client.streams.create('foreign')
    const [{ messageId } = { messageId: '' }] = await client.streams.append('foreign', { payload: 'x' })
    await client.streams.subscriptions.create('pulled', 'other')
    const answer = await refused(client.streams.subscriptions.ack('pulled', 'other', [messageId]))
    expect(answer).toMatchObject({ status: 400, field: 'messageIds.0' })
  })

  test('stays as it is when it is created again, and is no other type', async () => {
    await client.streams.subscriptions.create('foreign', 'two', { type: 'key_shared' })
    expect(await client.streams.subscriptions.create('foreign', 'two', { type: 'key_shared' })).toMatchObject({ type: 'key_shared' })
    expect(await refused(client.streams.subscriptions.create('foreign', 'two', { type: 'exclusive' }))).toMatchObject({
      status: 409,
      field: 'type',
    })
  })
})

describe('who may', () => {
  test('look is a user, change and consume a developer; others find nothing, and changes are on record', async () => {
    await client.streams.put('guarded')
    await client.streams.subscriptions.create('guarded', 'one')
    const reader = await newAccount(telltale, 'default', { 'projects/default': 'project.user' })
    const stranger = await newAccount(telltale, 'default')
    const [read, message, pull] = [`${STREAMS}/guarded/messages`, { text: 'x' }, `${STREAMS}/guarded/subscriptions/one:pull`]
    expect((await reader.call('GET', read)).status).toBe(200)
    expect((await reader.call('POST', read, message)).status).toBe(403)
    expect((await reader.call('POST', pull, {})).status).toBe(403)
    expect((await reader.call('DELETE', `${STREAMS}/guarded`)).status).toBe(403)
    expect((await stranger.call('GET', read)).status).toBe(404)
    await client.streams.update('guarded', { description: 'on record' })
    const { records } = (await telltale.http('/v2/projects/default/audit?pageSize=5')).json as { records: Json[] }
    expect(records).toContainEqual(expect.objectContaining({ method: 'PATCH', path: `${STREAMS}/guarded`, keyId: telltale.key.keyId }))
  })
})

test('a project with streams is not deleted', async () => {
  const project = await newProject(telltale)
  await done(telltale.send('POST', `/v2/projects/${project}/streams`, { name: 'last' }))
  const { status, json } = await telltale.http(`/v2/projects/${project}`, { method: 'DELETE' })
  expect([status, json['error']]).toEqual([400, expect.stringContaining('streams')])
  await done(telltale.http(`/v2/projects/${project}/streams/last`, { method: 'DELETE' }))
  await done(telltale.http(`/v2/projects/${project}`, { method: 'DELETE' }))
})

describe('telltale streams', () => {
  async function run(...args: string[]) {
    const out = new PassThrough()
    const err = new PassThrough()
    const { keyId, secret } = telltale.key
    const env = { TELLTALE_HTTP_URL: telltale.url(), TELLTALE_KEY_ID: keyId, TELLTALE_SECRET: secret }
    const code = await runCommand(['streams', ...args], { out, err, env, stopped: new AbortController().signal })
    return { code, out: String(out.read() ?? ''), err: String(err.read() ?? '') }
  }

  test('creates, appends, reads, shows, resets and deletes', async () => {
    const lines = join(await newDirectory(), 'lines')
    await writeFile(lines, 'second\n\nthird\n')
    expect(await run('create', 'cli/one', '--max-age', '12h', '--keep-acked')).toMatchObject({ code: 0, out: 'created cli/one\n' })
    expect(await run('append', 'cli/one', 'first \u202e', '--key', 'k', '--property', 'unit=C')).toMatchObject({ code: 0 })
    expect((await run('append', 'cli/one', '--lines', lines)).out).toBe('appended 2 messages\n')
    const read = await run('read', 'cli/one', '--last', '2')
    expect(read.out).toMatch(/^2 {2}\S+ {2}second\n3 {2}\S+ {2}third\n$/)
    const all = await run('read', 'cli/one', '--after', '0', '--json')
    expect(
      all.out
        .trim()
        .split('\n')
        .map(line => (JSON.parse(line) as { seq: number }).seq),
    ).toEqual([1, 2, 3])
    expect((await run('read', 'cli/one', '--since', '1h')).out).toMatch(/^1 {2}\S+ {2}key=k unit=C {2}first \ufffd\n/)
    await client.streams.subscriptions.create('cli/one', 'historian')
    expect((await run('show', 'cli/one')).out).toMatch(/kept +for 12h\n.*historian +shared +0 +3 +0/s)
    expect((await run('reset', 'cli/one', 'historian', '--to', 'latest')).out).toBe('subscription historian has 0 messages before it\n')
    expect((await run('list')).out).toMatch(/^stream +messages.*\ncli\/one +3 /s)
    expect(await run('delete', 'cli/one')).toMatchObject({ code: 2, err: expect.stringContaining('3 messages') as string })
    expect(await run('delete', 'cli/one', '--yes')).toMatchObject({ code: 0 })
    expect(await run('show', 'cli/one')).toMatchObject({ code: 1, err: expect.stringContaining('does not exist') as string })
  })

  test('deletes a stream with connected consumers only by force', async () => {
    await client.streams.create('in use')
    await client.streams.append('in use', { payload: 'kept' })
    await client.streams.subscriptions.create('in use', 'busy')
    const [pulled] = await client.streams.subscriptions.pull('in use', 'busy')
    const refusal = { status: 409, code: 'conflict', field: 'consumers', message: expect.stringContaining('busy') as string }
    expect(await refused(client.streams.remove('in use'))).toMatchObject(refusal)
    expect(await run('delete', 'in use', '--yes')).toMatchObject({ code: 1, err: expect.stringContaining('force') as string })
    await client.streams.subscriptions.ack('in use', 'busy', [pulled?.messageId ?? ''])
    expect(await run('delete', 'in use', '--yes', '--force')).toMatchObject({ code: 0 })
    expect(await refused(client.streams.get('in use'))).toMatchObject({ status: 404 })
  })

  test('says what is wrong with an option', async () => {
    expect(await run('reset', 'page-1', 'x', '--to', 'noon')).toMatchObject({
      code: 2,
      err: expect.stringContaining('--to: expected') as string,
    })
    expect(await run('create', 'x', '--message', 'A')).toMatchObject({ code: 2, err: expect.stringContaining('--schema') as string })
    expect(await run('append', 'page-1')).toMatchObject({ code: 2, err: expect.stringContaining('--lines') as string })
  })
})

async function live(): Promise<void> {
  await done(telltale.send('POST', '/v2/projects/default/devices/demo-1:publish', { temperature: { value: 21.5 } }))
  await eventually(async () => {
    const { text } = await telltale.http('/streammanager/api/2.0/event/list')
    expect(text).toContain('"devices"')
  })
}

test.each([
  ['streams.md', ['"name":"plant-a"', '"seq":3,"duplicate":false', '"text":"one"', 'historian', '\n{"celsius":4.75}\n', 'deleted plant-a']],
  ['bridges.md', ['"type":"STREAM"', '"key":"demo-1"', '"decoder":"json"', '"seq":1']],
  ['dialects/disruptive.md', ['"triggerDelay":"900s"', '"title":"freezer too warm"', '\n{}\n']],
  ['dialects/eventserver.md', ['"ReadingTaken"', '"OK"']],
  ['dialects/macrometa.md', ['"stream-id":"c8globals.readings"', '"messageId"']],
  ['dialects/memphis.md', ['"success":true', 'celsius']],
  ['dialects/red5.md', ['"name":"devices"', '"currentSubscribers"']],
])(
  'the commands of docs/%s do what they say',
  async (name, answers) => {
    const guide = await readFile(join(ROOT, 'docs', name), 'utf8')
    // What is published is in the directory soon after.
    if (name === 'dialects/red5.md') await live()
    const blocks = [...guide.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block)
    const strict = `set -euo pipefail
    curl() { command curl -sS --fail-with-body "$@"; echo; }
    npx() { shift; node ${ROOT}packages/cli/telltale.js "$@"; }`
    const { keyId, secret } = telltale.key
    const script = [strict, ...blocks]
      .join('\n')
      .replaceAll('127.0.0.1:8080', new URL(telltale.url()).host)
      .replaceAll('./data/', `${telltale.dir}/`)
      .replaceAll(/(?<![$\w])KEY_ID(?!\w|=)/g, keyId)
      .replaceAll(/\bSECRET\b/g, secret)
    const env = {
      PATH: process.env['PATH'],
      NODE_PATH: join(ROOT, 'node_modules'),
      TELLTALE_HTTP_URL: telltale.url(),
      TELLTALE_DATA_DIR: telltale.dir,
    }
    const { stdout } = await promisify(execFile)('bash', ['-c', script], { cwd: await newDirectory(), env, timeout: 50_000 })
    for (const said of answers) expect(stdout).toContain(said)
  },
  60_000,
)

test('one key wears the clothes of every dialect, and none when it is gone', async () => {
  const somebody = await newAccount(telltale, 'default', { 'projects/default': 'project.admin' })
  const { keyId, secret } = somebody
  const token = await somebody.token()
  await done(telltale.send('PATCH', `/v2/${somebody.name}`, { enableBasicAuth: true }))
  const call = (method: string, path: string, headers: Readonly<Record<string, string>> = {}, body?: unknown) =>
    fetch(`${telltale.url()}${path}`, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
  const basic = { authorization: `Basic ${Buffer.from(`${keyId}:${secret}`).toString('base64')}` }
  const apikey = { authorization: `apikey default.${keyId}.${secret}` }
  const type = { 'content-type': 'application/json' }
  const event = {
    event: { name: 'Seen', version: 1 },
    system: { id: 'gw', name: 'gw', time: '2025-03-02 06:41:09', timezone: 'Europe/Oslo' },
    trigger: { type: 'automatic', name: 'poll' },
    payload: { n: 1 },
  }
  const clothes: Readonly<Record<string, () => Promise<Response>>> = {
    '/v2 by Basic': () => call('GET', '/v2/projects/default/devices', basic),
    '/v2 by a token': () => call('GET', `/v2/projects/default/devices?token=${token}`),
    Macrometa: () => call('GET', '/_fabric/_system/_api/streams', apikey),
    'Macrometa, one time': () => call('POST', '/apid/otp', apikey),
    Memphis: () => call('POST', '/auth/authenticate', type, { username: keyId, connection_token: secret }),
    eventserver: () => call('POST', '/api/v1/streams/clothes/events', { ...type, ...basic, 'x-producer-id': randomUUID() }, event),
    Red5: () => call('DELETE', `/streammanager/api/2.0/admin/event?accessToken=${keyId}:${secret}`),
  }
  const statuses = async () =>
    Object.fromEntries(await Promise.all(Object.entries(clothes).map(async ([name, ask]) => [name, (await ask()).status])))
  const all = (status: number) => Object.fromEntries(Object.keys(clothes).map(name => [name, status]))
  // A writer that is not the first is known, and refused for that.
  expect(await statuses()).toEqual(all(200))
  expect((await clothes['eventserver']?.())?.status).toBe(423)
  await done(telltale.http(`/v2/${somebody.name}/keys/${keyId}`, { method: 'DELETE' }))
  await eventually(async () => expect(await statuses()).toEqual({ ...all(401), Red5: 400 }))
})
