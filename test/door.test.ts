// What holds for a stream behind every door: who may follow, what ends it, and that a token shows up nowhere.
import { once } from 'node:events'
import { connect } from 'node:net'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import { generate, parser } from 'mqtt-packet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { type Frame, openReader, type Reader } from './reader.ts'
import { done, newAccount, newProject, type Somebody } from './tenant.ts'
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

  test('means topics of its own project by those of no project, which nobody of another project hears or forges', async () => {
    const project = await newProject(telltale)
    const tenant = await newAccount(telltale, project, { [`projects/${project}`]: 'project.developer' })
    const wire = await openWire(telltale.mqttPort(), tenant, 'tenant', true)
    const operator = await openWire(telltale.mqttPort(), telltale.key, 'operator', true)
    expect([await subscribe(wire, 'shared/#'), await subscribe(operator, 'shared/#')]).toEqual([[1], [1]])
    await wire.publish(1, 'shared/x', 'of the tenant')
    await operator.publish(1, 'shared/x', 'of the operator')
    await until('each has heard', () => heard(operator).length > 0 && heard(wire).length > 0)
    expect([heard(wire), heard(operator)]).toEqual([['of the tenant'], ['of the operator']])
    await Promise.all([wire.leave(), operator.leave()])
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

describe('a credential of a device', () => {
  type Credential = { readonly name: string; readonly id: string; readonly secret: string }
  const credential = async (device: string, project = 'default') =>
    (await done(telltale.http(`/v2/projects/${project}/devices/${device}/credentials`, { method: 'POST' }))) as Credential
  const login = ({ id, secret }: Credential, more: IClientOptions = {}) => telltale.mqtt({ username: id, password: secret, ...more })
  const headers = ({ id, secret }: Credential) => ({ authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` })

  test('lets it publish its own events over MQTT and HTTP, before it is known, and nothing of others', async () => {
    const project = await newProject(telltale)
    const own = await credential('cred-1', project)
    const client = await login(own)
    await client.publishAsync('d/cred-1/temperature', '21.5', { qos: 1 })
    await client.publishAsync(`projects/${project}/devices/cred-1/events/level`, '4', { qos: 1 })
    await client.publishAsync('d/cred-1:3/temperature', '20', { qos: 1 })
    for (const topic of ['d/cred-2/temperature', 'd/cred-12/temperature', `projects/${project}/devices/cred-2/events/temperature`])
      await client.publishAsync(topic, '1', { qos: 1 })
    const event = (device: string) => ({ ...temperature(device, 1), targetName: `projects/${project}/devices/${device}` })
    const post = (path: string, body: unknown) => telltale.http(path, { method: 'POST', headers: headers(own), body: JSON.stringify(body) })
    const both = await post(`/v2/projects/${project}/events`, [event('cred-1'), event('cred-2')])
    expect([both.status, both.json]).toMatchObject([207, { accepted: 1, rejected: 1, errors: [{ index: 1, code: 'forbidden' }] }])
    expect((await post(`/v2/projects/${project}/devices/cred-1:publish`, { temperature: { value: 1 } })).status).toBe(200)
    expect((await post(`/v2/projects/${project}/devices/cred-2:publish`, { temperature: { value: 1 } })).status).toBe(403)
    expect((await post(`/v2/projects/${project}/devices/cred-1:3:publish`, { level: { value: 1 } })).status).toBe(200)
    expect((await post(`/v2/projects/${project}/devices/cred-12:publish`, { temperature: { value: 1 } })).status).toBe(403)
    expect((await post(`/api/v2/write?bucket=${project}`, 'temperature,device=cred-1 value=1')).status).toBe(403)
    expect((await post('/v2/projects/default/devices/cred-1:publish', { temperature: { value: 1 } })).status).toBe(404)
    await eventually(async () => {
      const { devices } = await done(telltale.http(`/v2/projects/${project}/devices`))
      expect(
        (devices as { name: string; reported: object }[]).map(({ name, reported }) => [name, Object.keys(reported).toSorted()]),
      ).toEqual([
        [`projects/${project}/devices/cred-1`, ['level', 'temperature']],
        [`projects/${project}/devices/cred-1:3`, ['level', 'temperature']],
      ])
    })
    await client.endAsync()
  })

  test('lets it announce its sensors for what it sends itself', async () => {
    const project = await newProject(telltale)
    const client = await login(await credential('node-1', project))
    const said = (device: string, topic: string) => JSON.stringify({ dev: { ids: [device] }, stat_t: topic, dev_cla: 'temperature' })
    await client.publishAsync('homeassistant/sensor/node-1/t/config', said('node-1', 'attic/t/state'), { qos: 1 })
    await client.publishAsync('homeassistant/sensor/node-2/t/config', said('node-2', 'cellar/t/state'), { qos: 1 })
    await client.publishAsync('attic/t/state', '21.5', { qos: 1 })
    await client.publishAsync('cellar/t/state', '21.5', { qos: 1 })
    await eventually(async () => {
      const { devices } = await done(telltale.http(`/v2/projects/${project}/devices`))
      expect((devices as { name: string }[]).map(({ name }) => name)).toEqual([`projects/${project}/devices/node-1`])
    })
    const { quarantine } = (await done(telltale.http(`/v2/projects/${project}/quarantine`))) as { quarantine?: { code: string }[] }
    expect(quarantine?.map(({ code }) => code)).toEqual(['forbidden'])
    await client.endAsync()
  })

  test('opens nothing else: no route, no sign-in, no token, no dialect', async () => {
    const own = await credential('cred-3')
    const { paths } = (await telltale.http('/openapi.json')).json as { paths: Record<string, Record<string, { security?: unknown[] }>> }
    const open = ['/healthz', '/readyz', '/metrics', '/v2/roles', '/v2/roles/{role}', '/v2/rules.schema.json', '/oauth2/token']
    const entered: string[] = []
    for (const [path, operations] of Object.entries(paths))
      for (const method of Object.keys(operations)) {
        if (open.includes(path) || /\/events$|:publish$/.test(path)) continue
        const real = path
          .replaceAll('{project}', 'default')
          .replaceAll('{device}', 'cred-3')
          .replace(/\{\w+\}/g, 'x')
        const { status } = await fetch(`${telltale.url()}${real}`, { method: method.toUpperCase(), headers: headers(own) })
        if (status !== 403) entered.push(`${method} ${path} ${status}`)
      }
    expect(entered).toEqual([])
    const session = await telltale.send('POST', '/console/session', { keyId: own.id, secret: own.secret })
    expect(session.status).toBe(401)
    const memphis = await telltale.send('POST', '/auth/authenticate', { username: own.id, connection_token: own.secret })
    expect(memphis.status).toBe(401)
    const macrometa = await telltale.send('POST', '/_open/auth', {
      email: own.id,
      username: own.id,
      password: own.secret,
      tenant: 'default',
    })
    expect(macrometa.status).toBeGreaterThanOrEqual(400)
  })

  test('is listed without its secret, at most ten a device, and ends what it has open within a second or two', async () => {
    const path = '/v2/projects/default/devices/cred-4/credentials'
    const made = [await credential('cred-4'), await credential('cred-4')] as const
    const listed = await telltale.http(path)
    expect(listed.text).not.toContain('secret')
    expect(listed.json).toMatchObject({ credentials: made.map(({ name, id }) => ({ name, id })), nextPageToken: '' })
    for (let i = 2; i < 10; i++) await credential('cred-4')
    expect((await telltale.http(path, { method: 'POST' })).status).toBe(409)
    for (const [take, mine] of [
      [() => remove(`/v2/${made[0].name}`), made[0]],
      [() => remove('/v2/projects/default/devices/cred-4'), made[1]],
    ] as const) {
      const client = await login(mine)
      let gone = false
      client.on('close', () => {
        gone = true
      })
      await client.publishAsync('d/cred-4/temperature', '1', { qos: 1 })
      await eventually(async () => expect((await telltale.http('/v2/projects/default/devices/cred-4')).status).toBe(200))
      const startedMs = performance.now()
      await take()
      await until('the session has ended', () => gone)
      expect(performance.now() - startedMs).toBeLessThan(5000)
      await expect(login(mine)).rejects.toMatchObject({ code: 5 })
      expect((await telltale.http(EVENTS, { method: 'POST', headers: headers(mine), body: '{}' })).status).toBe(401)
    }
    expect((await telltale.http(path)).json).toMatchObject({ credentials: [] })
  })

  test('goes with its project', async () => {
    const project = await newProject(telltale)
    const own = await credential('cred-5', project)
    const client = await login(own)
    const gone = new Promise<void>(resolve => client.once('close', () => resolve()))
    await remove(`/v2/projects/${project}`)
    await gone
    await expect(login(own)).rejects.toMatchObject({ code: 5 })
  })

  test('is made by developers, and seen by users', async () => {
    const [seeing, making] = [await user(), await newAccount(telltale, 'default', { 'projects/default': 'project.developer' })]
    const path = '/v2/projects/default/devices/cred-6/credentials'
    expect((await seeing.call('POST', path)).status).toBe(403)
    expect((await making.call('POST', path)).status).toBe(200)
    expect((await seeing.call('GET', path)).json).toMatchObject({ credentials: [{ id: expect.stringMatching(/^dev/) }] })
    expect((await making.call('POST', '/v2/projects/default/devices/%2B/credentials')).status).toBe(400)
  })
})

describe('MQTT over WebSocket', () => {
  const url = () => `${telltale.url().replace('http', 'ws')}/mqtt`
  const connectPacket = ({ keyId, secret }: Key) =>
    generate({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clientId: 'ws',
      clean: true,
      keepalive: 60,
      username: keyId,
      password: Buffer.from(secret),
    })
  const knock = async (protocols: string | string[] = 'mqtt', options = {}) => {
    const peer = new WebSocket(url(), protocols, options)
    const packets: string[] = []
    const reading = parser()
    reading.on('packet', packet => packets.push(packet.cmd))
    const closed = new Promise<number>(resolve => peer.on('close', resolve))
    peer.on('message', (bytes: Buffer, isBinary) => void (isBinary ? reading.parse(bytes) : packets.push('text')))
    await once(peer, 'open')
    return { peer, packets, closed }
  }

  test('is what it is over TCP, for mqtt.js', async () => {
    const { keyId, secret } = telltale.key
    const client = await connectAsync(url(), { username: keyId, password: secret, reconnectPeriod: 0 })
    const got: string[] = []
    client.on('message', (_topic, payload) => got.push(payload.toString('utf8')))
    await client.subscribeAsync('projects/default/devices/ws-1/#', { qos: 1 })
    const large = JSON.stringify({ note: 'x'.repeat(40_000) })
    await client.publishAsync('projects/default/devices/ws-1/notes', large, { qos: 1 })
    await client.publishAsync('d/ws-1/temperature', '1', { qos: 1 })
    await eventually(() => expect(got).toHaveLength(2))
    expect(got[0]).toBe(large)
    await client.endAsync()
    await expect(connectAsync(url(), { username: keyId, password: 'wrong', reconnectPeriod: 0 }, false)).rejects.toMatchObject({ code: 5 })
  })

  test('takes packets that span frames, frames that hold several, and pings [MQTT-6.0.0-2]', async () => {
    const { peer, packets } = await knock()
    for (const byte of connectPacket(telltale.key)) peer.send(Buffer.from([byte]))
    await until('CONNACK', () => packets.includes('connack'))
    const ping = generate({ cmd: 'pingreq' })
    peer.send(Buffer.concat([ping, ping, ping]))
    const pong = once(peer, 'pong')
    peer.ping()
    await pong
    await until('all answered', () => packets.length === 4)
    expect(packets).toEqual(['connack', 'pingresp', 'pingresp', 'pingresp'])
    peer.close()
  })

  test('ends with text, and with frames that are too long [MQTT-6.0.0-1]', async () => {
    const text = await knock()
    text.peer.send(connectPacket(telltale.key).toString('latin1'))
    expect([await text.closed, text.packets]).toEqual([1003, []])
    const long = await knock()
    long.peer.send(Buffer.alloc(2 * 1024 * 1024))
    expect(await long.closed).toBe(1009)
  })

  test('is one of the subprotocols that are MQTT [MQTT-6.0.0-3] [MQTT-6.0.0-4], from pages of any site', async () => {
    for (const [offered, taken] of [
      [['mqtt'], 'mqtt'],
      [['chat', 'mqtt'], 'mqtt'],
      [['mqttv3.1'], 'mqttv3.1'],
      [['mqttv3.1', 'mqtt'], 'mqtt'],
    ] as const) {
      const { peer } = await knock([...offered], { headers: { origin: 'https://elsewhere.example' } })
      expect(peer.protocol).toBe(taken)
      peer.terminate()
    }
    for (const offered of [[], ['chat']]) await expect(knock(offered)).rejects.toThrow('Unexpected server response: 400')
    expect((await telltale.http('/mqtt')).status).toBe(400)
  })
})
