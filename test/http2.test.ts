// TLS: HTTP/1.1 and HTTP/2 on one port, the same API and the same streams; certificates that are wrong, and that change.
import { once } from 'node:events'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2'
import { request } from 'node:https'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { readCertificate } from '../packages/runtime/certificate.ts'
import { type Identification, makeAuthority, makeCertificate, type TestAuthority, type TestCertificate } from './certificate.ts'
import type { Frame } from './reader.ts'
import {
  EVENTS,
  eventually,
  exited,
  newDirectory,
  removeDirectories,
  run,
  startTelltale,
  type Telltale,
  temperature,
  temperatureOf,
  until,
} from './world.ts'

const STREAM = '/v2/projects/default/devices:stream'

let dir: string
let good: TestCertificate
let authority: TestAuthority
let telltale: Telltale
const sessions: ClientHttp2Session[] = []

const tlsEnv = ({ certPath, keyPath }: Pick<TestCertificate, 'certPath' | 'keyPath'>) => ({
  TELLTALE_HTTPS_PORT: '0',
  TELLTALE_MQTTS_PORT: '0',
  TELLTALE_TLS_CERT: certPath,
  TELLTALE_TLS_KEY: keyPath,
})
const httpsPort = (of = telltale) => Number(/https:\/\/127\.0\.0\.1:(\d+)/.exec(of.program().said())?.[1])
const mqttsPort = (of = telltale) => Number(/mqtts:\/\/127\.0\.0\.1:(\d+)/.exec(of.program().said())?.[1])
const basic = (of = telltale) => `Basic ${Buffer.from(`${of.key.keyId}:${of.key.secret}`).toString('base64')}`

beforeAll(async () => {
  dir = await newDirectory()
  good = await makeCertificate(dir, 'good')
  authority = await makeAuthority(dir, 'devices')
  telltale = await startTelltale({ env: { ...tlsEnv(good), TELLTALE_TLS_CA: authority.caPath, TELLTALE_STREAM_PATIENCE: '3s' } })
})
afterAll(async () => {
  for (const session of sessions) session.destroy()
  await telltale.remove()
  await removeDirectories()
})

function open(of = telltale): ClientHttp2Session {
  const session = connect(`https://localhost:${httpsPort(of)}`, { ca: good.cert })
  // A server that goes away ends it: whoever waits sees that in its streams.
  session.on('error', () => session.destroy())
  sessions.push(session)
  return session
}

type Answer = {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  text(): string
  readonly stream: ClientHttp2Stream
}

async function ask(session: ClientHttp2Session, path: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> {
  const stream = session.request({ ':path': path, authorization: basic(), ...headers }, { endStream: body === undefined })
  let text = ''
  stream.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  stream.on('error', () => stream.destroy())
  if (body !== undefined) stream.end(body)
  const [head] = (await once(stream, 'response')) as [Record<string, unknown>]
  return { status: Number(head[':status']), headers: head, text: () => text, stream }
}

async function whole(answer: Promise<Answer>): Promise<{ status: number; text: string }> {
  const { status, text, stream } = await answer
  if (!stream.readableEnded) await once(stream, 'end')
  return { status, text: text() }
}

const framesOf = (text: string): Frame[] =>
  text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Frame)
const valuesOf = (text: string) => framesOf(text).flatMap(({ result }) => (result?.event ? [temperatureOf(result.event)] : []))

async function publish(device: string, ...values: number[]): Promise<void> {
  const { status, text } = await telltale.send(
    'POST',
    EVENTS,
    values.map(value => temperature(device, value)),
  )
  if (status !== 200) throw new Error(text)
}

describe('over HTTP/2', () => {
  test('the API answers as over HTTP/1.1, errors too', async () => {
    const session = open()
    const sent = await whole(
      ask(session, EVENTS, { ':method': 'POST', 'content-type': 'application/json' }, JSON.stringify(temperature('h2-api', 1))),
    )
    expect(sent).toEqual({ status: 200, text: '{"accepted":1,"rejected":0,"errors":[]}' })
    const missing = await whole(ask(session, '/v2/projects/default/devices/nobody'))
    expect(missing.status).toBe(404)
    expect(JSON.parse(missing.text)).toMatchObject({ code: 404, error: expect.any(String), help: expect.any(String) })
    expect(await whole(ask(session, STREAM, { authorization: 'Basic eDp5' }))).toMatchObject({
      status: 401,
      text: expect.stringContaining('"error":{"code":401'),
    })
    expect((await whole(ask(session, '/v2/projects/default/events', { ':method': 'POST' }, '{"x":'))).status).toBe(400)
  })

  test('many streams share one connection, NDJSON and SSE, and the first bytes come at once', async () => {
    const session = open()
    const lines = await Promise.all(Array.from({ length: 20 }, () => ask(session, `${STREAM}?device_ids=h2-many&ping_interval=10s`)))
    const sse = await ask(session, `${STREAM}?device_ids=h2-many`, { accept: 'text/event-stream', 'accept-encoding': 'gzip, br' })
    expect(sse.headers).toMatchObject({ ':status': 200, 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    for (const name of ['content-encoding', 'transfer-encoding', 'connection', 'keep-alive']) expect(sse.headers[name]).toBeUndefined()
    expect(lines[0]?.headers).toMatchObject({ 'content-type': 'application/json' })
    await publish('h2-many', 1, 2)
    for (const { text } of lines)
      await eventually(() =>
        expect(framesOf(text()).map(({ result }) => result?.event?.eventType)).toEqual(['ping', 'temperature', 'temperature']),
      )
    await eventually(() => expect(sse.text().match(/^id: /gm)).toHaveLength(2))
    const cursor = framesOf(lines[0]?.text() ?? '')[1]?.result?.cursor
    const again = await ask(session, `${STREAM}?device_ids=h2-many&cursor=${cursor}`)
    await eventually(() => expect(valuesOf(again.text())).toEqual([2]))
    const before = Number(/^telltale_streams_open (\d+)/m.exec((await telltale.http('/metrics')).text)?.[1])
    for (const { stream } of lines) stream.close()
    await eventually(async () => {
      const now = Number(/^telltale_streams_open (\d+)/m.exec((await telltale.http('/metrics')).text)?.[1])
      expect(now).toBe(before - lines.length)
    })
    session.close()
  })

  test('a stream that is not read is held back and cut off; the others of its connection live on', async () => {
    const session = open()
    const slow = session.request({ ':path': `${STREAM}?device_ids=h2-slow`, authorization: basic() })
    slow.on('error', () => slow.destroy())
    const [head] = (await once(slow, 'response')) as [Record<string, unknown>]
    expect(head[':status']).toBe(200)
    const healthy = await ask(session, `${STREAM}?device_ids=h2-slow`)
    const open_ = async () => Number(/^telltale_streams_open (\d+)/m.exec((await telltale.http('/metrics')).text)?.[1])
    const before = await open_()
    const filler = 'x'.repeat(60_000)
    for (let n = 0; n < 100; n++) {
      const event = { ...temperature('h2-slow', n), data: { temperature: { value: n, filler } } }
      await telltale.send('POST', EVENTS, event)
    }
    await eventually(() => expect(valuesOf(healthy.text())).toHaveLength(100))
    await eventually(async () => expect(await open_()).toBe(before - 1), 25_000)
    await publish('h2-slow', 100)
    await eventually(() => expect(valuesOf(healthy.text())).toHaveLength(101))
    session.destroy()
  }, 40_000)

  test('HEAD tells what GET would, and ends', async () => {
    expect(await whole(ask(open(), STREAM, { ':method': 'HEAD' }))).toEqual({ status: 200, text: '' })
  })

  test('a connection has at most 128 streams at once', async () => {
    const session = open()
    let answered = 0
    for (let n = 0; n < 200; n++) {
      const stream = session.request({ ':path': `${STREAM}?device_ids=nobody`, authorization: basic() })
      stream.on('response', () => answered++).on('error', () => stream.destroy())
    }
    await until('128 are there', () => answered === 128)
    expect(session.remoteSettings.maxConcurrentStreams).toBe(128)
    expect(await whole(ask(open(), '/healthz'))).toMatchObject({ status: 200 })
    expect(answered).toBe(128)
    session.destroy()
  })

  test('a client that opens and resets without end is cut off, and others are served', async () => {
    const session = open()
    await once(session, 'connect')
    for (let round = 0; round < 200 && !session.closed && !session.destroyed; round++) {
      for (let n = 0; n < 50; n++) {
        const stream = session.request({ ':path': '/healthz' })
        stream.on('error', () => stream.destroy())
        stream.close(8)
      }
      const { status } = await whole(ask(open(), '/healthz'))
      expect(status).toBe(200)
    }
    expect(session.closed || session.destroyed).toBe(true)
  })

  test('headers beyond the limit are refused', async () => {
    const session = open()
    const stream = session.request({ ':path': '/healthz', 'x-huge': 'x'.repeat(100_000) })
    const outcome = await Promise.race([
      once(stream, 'response').then(([head]) => Number((head as Record<string, unknown>)[':status'])),
      once(stream, 'close').then(() => 431),
    ]).catch(() => 431)
    expect(outcome).toBe(431)
    session.destroy()
    expect(await whole(ask(open(), '/healthz'))).toMatchObject({ status: 200 })
  })
})

describe('over HTTP/1.1 on the same port', () => {
  test('the API, a stream and a WebSocket are there', async () => {
    const options = { host: 'localhost', port: httpsPort(), ca: good.cert, headers: { authorization: basic() }, agent: false as const }
    const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
      request({ ...options, path: `${STREAM}?device_ids=tls-1` }, resolve)
        .once('error', reject)
        .end()
    })
    expect([response.statusCode, response.httpVersion, response.headers['transfer-encoding']]).toEqual([200, '1.1', 'chunked'])
    let text = ''
    response.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
    const socket = new WebSocket(`wss://localhost:${httpsPort()}${STREAM}?device_ids=tls-1`, {
      ca: good.cert,
      headers: { authorization: basic() },
    })
    let message = ''
    socket.on('message', (part: Buffer) => {
      message = part.toString('utf8')
    })
    await once(socket, 'open')
    await publish('tls-1', 7)
    await eventually(() => expect(valuesOf(text)).toEqual([7]))
    await eventually(() => expect(valuesOf(message)).toEqual([7]))
    socket.close()
    response.destroy()
  })

  test('what is no TLS, or an old one, is turned away', async () => {
    const plain = await fetch(`http://127.0.0.1:${httpsPort()}/healthz`).catch((error: unknown) => error)
    expect(plain).toBeInstanceOf(Error)
    const old = connectTls({ host: 'localhost', port: httpsPort(), ca: good.cert, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' })
    await expect(once(old, 'secureConnect')).rejects.toThrow()
  })
})

describe('a shutdown', () => {
  /** The server has its headers and asks for its body when this resolves. */
  const beginPublish = async (other: Telltale) => {
    const body = JSON.stringify(temperature('h1-last', 1))
    const address = { host: 'localhost', port: httpsPort(other), ca: good.cert, agent: false as const, method: 'POST', path: EVENTS }
    const sent = request({ ...address, headers: { authorization: basic(other), expect: '100-continue', 'content-length': body.length } })
    const answered = once(sent, 'response') as Promise<[IncomingMessage]>
    sent.flushHeaders()
    await once(sent, 'continue')
    return async () => {
      sent.end(body)
      const [{ statusCode, headers }] = await answered
      return { status: statusCode, connection: headers.connection }
    }
  }
  const isRefused = async (other: Telltale) => {
    const socket = connectTls({ host: 'localhost', port: httpsPort(other), ca: good.cert })
    const outcome = await once(socket, 'secureConnect').then(
      () => false,
      () => true,
    )
    socket.destroy()
    return outcome
  }

  test('tells the connection to go, its streams why, lets a publish end, and is over in time', async () => {
    const other = await startTelltale({ env: tlsEnv(good) })
    const session = open(other)
    const went = once(session, 'goaway')
    const stream = session.request({ ':path': `${STREAM}?device_ids=nobody`, authorization: basic(other), accept: 'text/event-stream' })
    let text = ''
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
    await once(stream, 'response')
    const idle = open(other)
    await once(idle, 'connect')
    const publish = await beginPublish(other)
    const startedMs = performance.now()
    const stopped = other.stop()
    await until('no connection is taken any more', () => isRefused(other))
    expect(await publish()).toEqual({ status: 200, connection: 'close' })
    expect(await stopped).toBe(0)
    expect(performance.now() - startedMs).toBeLessThan(10_000)
    expect((await went)[0]).toBe(0)
    expect(text).toMatch(/retry: \d+\n\ndata: \{"error":\{"code":408,.*"message":"closing stream"/)
    await other.remove()
  }, 30_000)
})

describe('a certificate', () => {
  test('that is wrong stops the start with the name of its setting', async () => {
    const other = await makeCertificate(dir, 'other')
    const old = await makeCertificate(dir, 'old', -1)
    const text = join(dir, 'text.pem')
    await writeFile(text, 'not a certificate\n')
    const cases: [files: { certPath: string; keyPath: string }, line: RegExp][] = [
      [{ ...good, certPath: join(dir, 'none.pem') }, /^TELLTALE_TLS_CERT: .*none\.pem cannot be read \(ENOENT\)$/],
      [{ ...good, keyPath: text }, /^TELLTALE_TLS_KEY: .*text\.pem: expected a PEM private key/],
      [{ ...good, certPath: text }, /^TELLTALE_TLS_CERT: .*text\.pem: expected a PEM certificate/],
      [{ ...good, keyPath: other.keyPath }, /^TELLTALE_TLS_KEY: .*other\.key\.pem is not the key of the certificate in .*good\.cert\.pem$/],
      [old, /^TELLTALE_TLS_CERT: .*old\.cert\.pem expired on .*; renew it$/],
    ]
    for (const [{ certPath, keyPath }, line] of cases) {
      const files = { cert: { setting: 'TELLTALE_TLS_CERT', path: certPath }, key: { setting: 'TELLTALE_TLS_KEY', path: keyPath } }
      await expect(readCertificate(files, Date.now())).rejects.toThrow(line)
    }
    const program = run(await newDirectory(), { env: tlsEnv(old) })
    expect((await exited(program)).code).toBe(1)
    expect(program.complained()).toMatch(/^telltale: TELLTALE_TLS_CERT: .*old\.cert\.pem expired on .*; renew it$/m)
  }, 60_000)

  test('that expires soon is warned of, and one that is exchanged holds for new connections while old ones stay', async () => {
    const soon = await makeCertificate(dir, 'soon', 3)
    const files = { certPath: join(dir, 'live.cert.pem'), keyPath: join(dir, 'live.key.pem'), caPath: join(dir, 'live.ca.pem') }
    const install = async (from: TestCertificate) => {
      await copyFile(from.certPath, files.certPath)
      await copyFile(from.keyPath, files.keyPath)
    }
    await install(soon)
    await copyFile(authority.caPath, files.caPath)
    const server = await startTelltale({ env: { ...tlsEnv(files), TELLTALE_TLS_CA: files.caPath, TELLTALE_LOG_LEVEL: 'info' } })
    try {
      expect(server.program().complained()).toMatch(/"daysLeft":2,.*certificate expires soon/)
      const serial = async () => {
        const socket = connectTls({ host: 'localhost', port: httpsPort(server), rejectUnauthorized: false })
        await once(socket, 'secureConnect')
        const { serialNumber } = socket.getPeerCertificate()
        socket.destroy()
        return serialNumber
      }
      const first = await serial()
      const session = connect(`https://localhost:${httpsPort(server)}`, { ca: soon.cert })
      const following = session.request({ ':path': `${STREAM}?device_ids=nobody&ping_interval=1s`, authorization: basic(server) })
      const device = await mqtts({ ca: soon.cert, ...(await authority.sign({ cn: 'kept' })) }, server)
      let lost = false
      device.on('close', () => {
        lost = true
      })
      let pings = 0
      following.setEncoding('utf8').on('data', () => pings++)
      await install(good)
      await eventually(async () => expect(await serial()).not.toBe(first), 15_000)
      const had = pings
      expect(device.connected && !lost).toBe(true)
      await until('the old connection is still served', () => pings > had + 1)
      // Half exchanged: the old one stays, and the log says so.
      await copyFile(soon.certPath, files.certPath)
      const second = await serial()
      await until('it is said', () => server.program().complained().includes('certificate not exchanged'), 15_000)
      expect(await serial()).toBe(second)
      // Asked for by a signal it is read at once. Another authority: whoever came by a certificate has to come again, and may not.
      await install(good)
      await copyFile((await makeAuthority(dir, 'others')).caPath, files.caPath)
      server.program().signal('SIGHUP')
      await until('the device is cut off', () => lost)
      device.end(true)
      session.destroy()
    } finally {
      await server.remove()
    }
  }, 60_000)
})

/** Whoever is refused is not asked again. */
async function mqtts(options: IClientOptions & Partial<Identification>, of = telltale): Promise<MqttClient> {
  return connectAsync(`mqtts://localhost:${mqttsPort(of)}`, { ca: good.cert, reconnectPeriod: 0, ...options }, false)
}

describe('MQTT over TLS', () => {
  const stored = (device: string) => telltale.http(`/v2/projects/default/devices/${device}`)

  test('takes a key as over TCP', async () => {
    const client = await mqtts({ username: telltale.key.keyId, password: telltale.key.secret })
    await client.publishAsync('d/by-key/temperature', '1', { qos: 1 })
    await client.endAsync()
    await eventually(async () => expect((await stored('by-key')).status).toBe(200))
    await expect(mqtts({ username: telltale.key.keyId, password: 'wrong' })).rejects.toMatchObject({ code: 5 })
    await expect(mqtts({})).rejects.toMatchObject({ code: 5 })
  })

  test('takes a certificate for the device that it names, which needs no password', async () => {
    const names = [
      [{ cn: 'by-cn' }, 'by-cn'],
      [{ cn: 'by-o', o: 'default' }, 'by-o'],
      [{ altNames: [{ type: 2 as const, value: 'by-dns' }] }, 'by-dns'],
      [{ cn: 'x', altNames: [{ type: 6 as const, value: 'https://t.example/v2/projects/default/devices/by-uri' }] }, 'by-uri'],
    ] as const
    for (const [name, device] of names) {
      const client = await mqtts({ ...(await authority.sign(name)), clientId: device })
      await client.publishAsync(`d/${device}/temperature`, '21.5', { qos: 1 })
      await client.publishAsync(`projects/default/devices/${device}/events/level`, '40', { qos: 1 })
      await client.endAsync()
      await eventually(async () => {
        const { reported } = (await stored(device)).json as { reported: object }
        expect(Object.keys(reported).toSorted()).toEqual(['level', 'temperature'])
      })
    }
  })

  test('lets a certificate act as no other device', async () => {
    const shown = await authority.sign({ cn: 'narrow' })
    const client = await mqtts({ ...shown, username: 'narrow' })
    await client.publishAsync('d/victim/temperature', '1', { qos: 1 })
    await client.publishAsync('projects/default/devices/victim/events', JSON.stringify(temperature('victim', 1)), { qos: 1 })
    await client.publishAsync('d/narrow/temperature', '2', { qos: 1 })
    await client.endAsync()
    await eventually(async () => expect((await stored('narrow')).status).toBe(200))
    expect((await stored('victim')).status).toBe(404)
    await expect(mqtts({ ...shown, username: 'victim' })).rejects.toMatchObject({ code: 4 })
    await expect(mqtts({ ...shown, username: 'victim', password: 'x' })).rejects.toMatchObject({ code: 5 })
    await expect(mqtts({ ...shown, username: telltale.key.keyId, password: telltale.key.secret })).rejects.toMatchObject({ code: 5 })
  })

  test('refuses certificates of others, of projects that are not here, and with names that are wider than a device (hazard 7)', async () => {
    const stranger = await (await makeAuthority(dir, 'strangers')).sign({ cn: 'narrow' })
    await expect(mqtts(stranger)).rejects.toThrow()
    await expect(mqtts({ cert: good.cert, key: await readFile(good.keyPath, 'utf8') })).rejects.toThrow()
    await expect(mqtts(await authority.sign({ cn: 'd', o: 'elsewhere' }))).rejects.toMatchObject({ code: 5 })
    for (const id of ['%2B', 'd%23', 'a%2Fb', '%00']) {
      const shown = await authority.sign({ altNames: [{ type: 6, value: `urn:t:projects/default/devices/${id}` }] })
      await expect(mqtts(shown)).rejects.toMatchObject({ code: 5 })
    }
  })

  test('is had over WebSocket too', async () => {
    const url = `wss://localhost:${httpsPort()}/mqtt`
    const usual = { ca: good.cert, reconnectPeriod: 0 }
    const key = await connectAsync(url, { ...usual, username: telltale.key.keyId, password: telltale.key.secret })
    const got: string[] = []
    key.on('message', topic => got.push(topic))
    await key.subscribeAsync('projects/default/devices/by-wss/#')
    const device = await connectAsync(url, { ...usual, wsOptions: { ...usual, ...(await authority.sign({ cn: 'by-wss' })) } })
    await device.publishAsync('d/by-wss/temperature', '1', { qos: 1 })
    await eventually(() => expect(got).toEqual(['projects/default/devices/by-wss/events/temperature']))
    await Promise.all([key.endAsync(), device.endAsync()])
  })
})

describe('a device over HTTPS', () => {
  const post = async (shown: Identification, path: string, body: object): Promise<number | undefined> => {
    const sent = request(`https://localhost:${httpsPort()}${path}`, { method: body === NOTHING ? 'GET' : 'POST', ca: good.cert, ...shown })
    sent.end(body === NOTHING ? undefined : JSON.stringify(body))
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    response.resume()
    return response.statusCode
  }
  const NOTHING = {}

  test('publishes its own events by its certificate, with HTTP/1.1 and HTTP/2, and does nothing else', async () => {
    const shown = await authority.sign({ cn: 'web-1' })
    expect(await post(shown, '/v2/projects/default/devices/web-1:publish', { temperature: { value: 1 } })).toBe(200)
    expect(await post(shown, '/v2/projects/default/devices/web-2:publish', { temperature: { value: 1 } })).toBe(403)
    expect(await post(shown, '/v2/projects/other/devices/web-1:publish', { temperature: { value: 1 } })).toBe(404)
    expect(await post(shown, EVENTS, [temperature('web-1', 1), temperature('web-2', 2)])).toBe(207)
    expect(await post(shown, '/v2/projects/default/devices', NOTHING)).toBe(403)
    const session = connect(`https://localhost:${httpsPort()}`, { ca: good.cert, ...shown })
    sessions.push(session)
    const stream = session.request({ ':path': EVENTS, ':method': 'POST', 'content-type': 'application/json' })
    stream.end(JSON.stringify(temperature('web-1', 3)))
    const [head] = (await once(stream, 'response')) as [Record<string, unknown>]
    expect(head[':status']).toBe(200)
  })
})
