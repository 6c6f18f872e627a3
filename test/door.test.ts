// What holds for a stream behind every door: who may follow, what ends it, and that a token shows up nowhere.
import { once } from 'node:events'
import { connect } from 'node:net'
import type { MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { type Frame, openReader, type Reader } from './reader.ts'
import { newAccount, newProject, type Somebody } from './tenant.ts'
import { EVENTS, eventually, removeDirectories, startTelltale, type Telltale, temperature, until } from './world.ts'

const STREAM = '/v2/projects/default/devices:stream'

let telltale: Telltale
const readers: Reader[] = []
beforeAll(async () => {
  telltale = await startTelltale({ env: { TELLTALE_LOG_LEVEL: 'trace', TELLTALE_STREAM_LIMIT: '20' } })
})
afterAll(async () => {
  for (const reader of readers) reader.close()
  await telltale.remove()
  await removeDirectories()
})

const user = (project = 'default') => newAccount(telltale, project, { [`projects/${project}`]: 'project.user' })
const remove = async (path: string) => expect((await telltale.http(path, { method: 'DELETE' })).status).toBe(200)

/** With a token in the query and no header, as a browser's EventSource asks. */
async function follow(token: string, parameters = '', { path = STREAM, sse = false } = {}): Promise<Reader> {
  const reader = await openReader(`${telltale.url()}${path}?token=${token}&${parameters}`, { sse })
  expect(reader.status).toBe(200)
  readers.push(reader)
  return reader
}

async function socket(token: string, path = STREAM): Promise<{ socket: WebSocket; frames: Frame[]; code: () => number }> {
  const opened = new WebSocket(`${telltale.url().replace('http', 'ws')}${path}?token=${token}`)
  const frames: Frame[] = []
  let code = 0
  opened.on('message', (message: Buffer) => frames.push(JSON.parse(message.toString('utf8')) as Frame))
  opened.on('close', given => {
    code = given
  })
  await once(opened, 'open')
  return { socket: opened, frames, code: () => code }
}

async function mqttOf({ keyId, secret }: Somebody, topic: string): Promise<{ client: MqttClient; gone: () => boolean; got: string[] }> {
  const client = await telltale.mqtt({ username: keyId, password: secret })
  const got: string[] = []
  let gone = false
  client.on('message', (_topic, payload) => got.push(payload.toString('utf8')))
  client.on('close', () => {
    gone = true
  })
  await client.subscribeAsync(topic)
  return { client, gone: () => gone, got }
}

describe('a right that ends', () => {
  const cases: [what: string, take: (somebody: Somebody) => Promise<void>][] = [
    ['a key that is revoked', ({ name, keyId }) => remove(`/v2/${name}/keys/${keyId}`)],
    ['an account that is deleted', ({ name }) => remove(`/v2/${name}`)],
    ['a role that is taken away', ({ id }) => remove(`/v2/projects/default/members/${id}`)],
  ]
  test.each(cases)('ends streams and MQTT sessions within a second or two: %s', async (_what, take) => {
    const somebody = await user()
    const token = await somebody.token()
    const [lines, sse, ws] = await Promise.all([follow(token, 'deviceIds=right'), follow(token, '', { sse: true }), socket(token)])
    const stream = await mqttOf(somebody, 'projects/default/devices:stream?device_ids=right')
    const ordinary = await mqttOf(somebody, 'projects/default/devices/+/events/#')
    await take(somebody)
    const startedMs = performance.now()
    await until('all of them ended', () => lines.hasEnded() && sse.hasEnded() && ws.code() !== 0 && stream.gone() && ordinary.gone())
    expect(performance.now() - startedMs).toBeLessThan(1500)
    expect(lines.frames().at(-1)).toMatchObject({ error: { code: 401 } })
    expect(sse.text()).toMatch(/data: \{"error":\{"code":401,[^\n]*\}\n\n$/)
    expect([ws.code(), ws.frames.at(-1)]).toEqual([1008, { error: expect.objectContaining({ code: 401 }) }])
    await telltale.send('POST', EVENTS, temperature('right', 1))
    await expect(
      telltale
        .mqtt({ username: somebody.keyId, password: somebody.secret })
        .then(again => again.subscribeAsync('projects/default/devices:stream')),
    ).rejects.toThrow()
    expect([...stream.got, ...ordinary.got].filter(text => text.includes('right'))).toEqual([])
  })

  test('a will of a session that lost its rights is not published', async () => {
    const somebody = await newAccount(telltale, 'default', { 'projects/default': 'project.developer' })
    const watching = await telltale.mqtt()
    const got: string[] = []
    watching.on('message', (_topic, payload) => got.push(payload.toString('utf8')))
    await watching.subscribeAsync('projects/default/#')
    const will = { topic: 'projects/default/last', payload: Buffer.from('will'), qos: 0 as const, retain: false }
    const client = await telltale.mqtt({ username: somebody.keyId, password: somebody.secret, will })
    const closed = new Promise<void>(resolve => client.once('close', () => resolve()))
    await remove(`/v2/${somebody.name}`)
    await closed
    await watching.publishAsync('projects/default/after', 'after')
    await eventually(() => expect(got).toContain('after'))
    expect(got).toEqual(['after'])
    await watching.endAsync()
  })
})

describe('all projects', () => {
  test('are followed by HTTP, WebSocket and MQTT, alarms too, by those who may see them', async () => {
    const [mine, other] = [await newProject(telltale), await newProject(telltale)]
    const somebody = await newAccount(telltale, mine, { [`projects/${mine}`]: 'project.user', 'projects/default': 'project.user' })
    const token = await somebody.token()
    const path = '/v2/projects/-/devices:stream'
    const reader = await follow(token, 'eventTypes=everywhere', { path })
    const ws = await socket(token, path)
    const alarms = await follow(token, 'pingInterval=1s', { path: '/v2/projects/-/alarms:stream' })
    const { got, client } = await mqttOf(somebody, 'projects/-/devices:stream?event_types=everywhere')
    for (const project of [mine, other, 'default']) {
      const event = {
        ...temperature('d', project),
        targetName: `projects/${project}/devices/d`,
        eventType: 'everywhere',
        data: { everywhere: { value: project } },
      }
      expect((await telltale.send('POST', `/v2/projects/${project}/events`, event)).status).toBe(200)
    }
    const seen = (frames: readonly Frame[]) =>
      frames.flatMap(({ result }) => (result?.event ? [result.event.targetName.split('/')[1] ?? ''] : [])).toSorted()
    const wanted = ['default', mine].toSorted()
    await eventually(() => expect(seen(reader.frames())).toEqual(wanted))
    await eventually(() => expect(seen(ws.frames).filter(project => wanted.includes(project))).toEqual(wanted))
    await eventually(() => expect(seen(got.map(text => JSON.parse(text) as Frame))).toEqual(wanted))
    expect(alarms.frames()[0]?.result?.event).toMatchObject({ eventType: 'ping', targetName: 'projects/-' })
    const again = await follow(token, `eventTypes=everywhere&cursor=${encodeURIComponent(reader.frames()[0]?.result?.cursor ?? '')}`, {
      path,
    })
    await again.have(1)
    expect(seen(again.frames())).toHaveLength(1)
    ws.socket.close()
    await client.endAsync()
  })
})

describe('over HTTP', () => {
  test('one stream more than a key may have is 429, with whole seconds to wait', async () => {
    const token = await (await user()).token()
    const open = await Promise.all(Array.from({ length: 20 }, () => follow(token, 'device_ids=nobody')))
    const refused = await fetch(`${telltale.url()}${STREAM}?token=${token}`)
    expect([refused.status, await refused.json()]).toMatchObject([
      429,
      { error: { code: 429, message: expect.stringContaining('20 open streams') } },
    ])
    expect(refused.headers.get('retry-after')).toMatch(/^[1-9]\d*$/)
    open[0]?.close()
    await eventually(async () => expect((await follow(token, 'device_ids=nobody')).status).toBe(200))
  })

  test('HEAD answers with the head alone, and opens nothing', async () => {
    const { keyId, secret } = telltale.key
    const headers = { authorization: `Basic ${Buffer.from(`${keyId}:${secret}`).toString('base64')}`, accept: 'text/event-stream' }
    const head = (path: string) => fetch(`${telltale.url()}${path}`, { method: 'HEAD', headers })
    const answer = await head(STREAM)
    expect([answer.status, answer.headers.get('content-type'), await answer.text()]).toEqual([200, 'text/event-stream', ''])
    expect((await head('/v2/projects/other/devices:stream')).status).toBe(404)
  })

  test('a client of HTTP/1.0 gets the lines until the connection ends', async () => {
    const { keyId, secret } = telltale.key
    const raw = connect(Number(new URL(telltale.url()).port), '127.0.0.1')
    let said = ''
    raw.setEncoding('latin1').on('data', (part: string) => {
      said += part
    })
    raw.write(
      `GET ${STREAM}?device_ids=old HTTP/1.0\r\nauthorization: Basic ${Buffer.from(`${keyId}:${secret}`).toString('base64')}\r\n\r\n`,
    )
    await until('the head is there', () => said.includes('\r\n\r\n'))
    await telltale.send('POST', EVENTS, [temperature('old', 1), temperature('old', 2)])
    await until('both are there', () => /\r\n\r\n\{"result".*\n\{"result".*\n$/.test(said))
    expect(said).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(said).not.toMatch(/transfer-encoding/i)
    raw.destroy()
  })
})

describe('a token in a query', () => {
  test('stands in no log line, no error, no header and not in the OpenAPI document (hazard 20)', async () => {
    const token = await (await user()).token()
    const bad = `${token.slice(0, -4)}AAAA`
    const said: string[] = []
    for (const path of [
      `${STREAM}?token=${bad}`,
      `/v2/projects/other/devices:stream?token=${token}`,
      `${STREAM}?token=${token}&ping_interval=1`,
      `/v2/projects/default/devices?token=${token}&page_size=x`,
      `/nothing?token=${token}`,
      `/v2/projects/default/devices/%ZZ?token=${token}`,
      `/v2/projects/default/events?token=${token}`,
    ]) {
      const answer = await fetch(`${telltale.url()}${path}`)
      expect(answer.status, path).toBeGreaterThanOrEqual(400)
      said.push(await answer.text(), JSON.stringify([...answer.headers]))
      expect(answer.headers.get('referrer-policy')).toBe('no-referrer')
    }
    const reader = await follow(token, 'device_ids=nobody')
    const raw = connect(Number(new URL(telltale.url()).port), '127.0.0.1')
    raw.write(`GET ${STREAM}?token=${token} HTTP/1.1\r\nno colon\r\n\r\n`)
    await once(raw.resume(), 'close')
    raw.destroy()
    reader.close()
    said.push((await telltale.http('/openapi.json')).text, telltale.program().said(), telltale.program().complained())
    for (const text of said) for (const secret of [token, bad]) expect(text).not.toContain(secret.slice(-40))
  })
})
