// What holds for a stream behind every door: who may follow, what ends it, and that a token shows up nowhere.
import { once } from 'node:events'
import { connect } from 'node:net'
import type { MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { type Frame, openReader, type Reader } from './reader.ts'
import { newAccount, newProject, type Somebody } from './tenant.ts'
import { openWire, type Wire } from './wire.ts'
import { EVENTS, eventually, type Key, removeDirectories, startTelltale, type Telltale, temperature, until } from './world.ts'

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

describe('a session over MQTT', () => {
  const granted = ({ received }: Wire) => received.flatMap(packet => (packet.cmd === 'suback' ? packet.granted : []))
  const heard = ({ received }: Wire) => received.flatMap(packet => (packet.cmd === 'publish' ? [packet.payload.toString()] : []))
  const open = (key: Key, clientId: string) => openWire(telltale.mqttPort(), key, clientId, false)
  const subscribe = async (wire: Wire, ...topics: string[]) => {
    const before = granted(wire).length
    wire.send({ cmd: 'subscribe', messageId: 1, subscriptions: topics.map(topic => ({ topic, qos: 1 as const })) })
    await until('SUBACK', () => granted(wire).length > before)
    return granted(wire).slice(before)
  }
  const developer = (...projects: string[]) =>
    newAccount(telltale, projects[0] ?? '', Object.fromEntries(projects.map(project => [`projects/${project}`, 'project.developer'])))

  test('belongs to its key: the same client id of another key is another session', async () => {
    const [mine, other] = [await newProject(telltale), await newProject(telltale)]
    const [owner, stranger] = [await developer(mine), await developer(other)]
    const wire = await open(owner, 'one-name')
    await subscribe(wire, `projects/${mine}/x`)
    const theirs = await open(stranger, 'one-name')
    expect(theirs.received[0]).toMatchObject({ cmd: 'connack', sessionPresent: false })
    const sender = await telltale.mqtt()
    await sender.publishAsync(`projects/${mine}/x`, 'while connected', { qos: 1 })
    await until('it is there', () => heard(wire).includes('while connected'))
    expect(wire.hasEnded()).toBe(false)
    await wire.cut()
    await theirs.leave()
    await sender.publishAsync(`projects/${mine}/x`, 'while away', { qos: 1 })
    const [again, stillTheirs] = [await open(owner, 'one-name'), await open(stranger, 'one-name')]
    await until('it is there', () => heard(again).includes('while away'))
    expect(again.received[0]).toMatchObject({ cmd: 'connack', sessionPresent: true })
    expect([heard(theirs), heard(stillTheirs)]).toEqual([[], []])
    expect(telltale.program().complained()).toContain('"client":"one-name"')
    for (const each of [again, stillTheirs]) await each.leave()
    await sender.endAsync()
  })

  test('is not sent what waited for it in a project that it lost meanwhile, nor what it was refused', async () => {
    const [mine, lost, other] = [await newProject(telltale), await newProject(telltale), await newProject(telltale)]
    const somebody = await developer(mine, lost)
    const wire = await open(somebody, 'loses')
    expect(await subscribe(wire, `projects/${mine}/x`, `projects/${lost}/x`, `projects/${other}/x`)).toEqual([1, 1, 128])
    await wire.cut()
    const sender = await telltale.mqtt()
    const publish = async (text: string) => {
      for (const project of [lost, other, mine]) await sender.publishAsync(`projects/${project}/x`, `${text} ${project}`, { qos: 1 })
    }
    await publish('before')
    await remove(`/v2/projects/${lost}/members/${somebody.id}`)
    await publish('after')
    await eventually(async () => expect((await somebody.call('GET', `/v2/projects/${lost}`)).status).toBe(404))
    const again = await open(somebody, 'loses')
    await publish('since')
    await until('the last is there', () => heard(again).includes(`since ${mine}`))
    expect(heard(again)).toEqual([`before ${mine}`, `after ${mine}`, `since ${mine}`])
    await again.leave()
    await sender.endAsync()
  })

  test('needs no new connection to use a role that was given since', async () => {
    const [mine, other] = [await newProject(telltale), await newProject(telltale)]
    const somebody = await developer(mine)
    const wire = await open(somebody, 'gains')
    expect(await subscribe(wire, `projects/${other}/x`, `projects/${other}/devices:stream`)).toEqual([128, 128])
    const given = { email: somebody.email, roles: ['roles/project.developer'] }
    expect((await telltale.send('POST', `/v2/projects/${other}/members`, given)).status).toBe(200)
    await eventually(async () => expect(await subscribe(wire, `projects/${other}/x`, `projects/${other}/devices:stream`)).toEqual([1, 1]))
    await wire.publish(2, `projects/${other}/x`, 'hello')
    await until('it is there', () => heard(wire).includes('hello'))
    await wire.publish(3, `projects/${other}/devices/d/events/temperature`, '1')
    await until('it is there', () => heard(wire).some(text => text.startsWith('{"result":{"event"')))
    await remove(`/v2/projects/${other}/members/${somebody.id}`)
    await until('it is cut off, for what it gained and lost', () => wire.hasEnded())
  })

  test('shares topics of no project only between those who run all of this, and says so', async () => {
    const admin = await newAccount(telltale, await newProject(telltale), {})
    const wire = await openWire(telltale.mqttPort(), admin, 'tenant', true)
    const operator = await openWire(telltale.mqttPort(), telltale.key, 'operator', true)
    expect([await subscribe(wire, 'shared/#'), await subscribe(operator, 'shared/#')]).toEqual([[128], [1]])
    wire.send({ cmd: 'publish', qos: 1, dup: false, retain: true, messageId: 1, topic: 'shared/x', payload: 'forged' })
    await until('it is cut off', () => wire.hasEnded())
    await operator.publish(1, 'shared/x', 'true')
    await until('it is there', () => heard(operator).length > 0)
    expect(heard(operator)).toEqual(['true'])
    expect(telltale.program().complained()).toMatch(/"level":"?(40|warn)[^\n]*shared[^\n]*is of no project[^\n]*\n/)
    await operator.leave()
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
