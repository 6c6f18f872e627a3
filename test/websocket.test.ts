// The stream as a WebSocket: the same frames, one a message; refusals are plain answers; every end says why.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ClientOptions, WebSocket } from 'ws'
import type { Frame } from './reader.ts'
import { EVENTS, eventually, removeDirectories, startTelltale, type Telltale, temperature, temperatureOf, until } from './world.ts'

const STREAM = '/v2/projects/default/devices:stream'

let telltale: Telltale
beforeAll(async () => {
  telltale = await startTelltale({ env: { TELLTALE_STREAM_PATIENCE: '3s' } })
})
afterAll(async () => {
  await telltale.remove()
  await removeDirectories()
})

type Follower = {
  readonly socket: WebSocket
  frames(): Frame[]
  values(): unknown[]
  /** Resolves with the close code. */
  readonly closed: Promise<number>
}

const basic = () => `Basic ${Buffer.from(`${telltale.key.keyId}:${telltale.key.secret}`).toString('base64')}`

async function follow(query: string, options: ClientOptions = {}, path = STREAM): Promise<Follower> {
  const url = `${telltale.url().replace('http', 'ws')}${path}?${query}`
  const socket = new WebSocket(url, { ...options, headers: { authorization: basic(), ...options.headers } })
  const messages: string[] = []
  socket.on('message', (message: Buffer, binary) => messages.push(binary ? 'binary' : message.toString('utf8')))
  const closed = once(socket, 'close').then(([code]) => code as number)
  await once(socket, 'open')
  const frames = () => messages.map(text => JSON.parse(text) as Frame)
  const values = () =>
    frames().flatMap(({ result }) => (result?.event && result.event.eventType !== 'ping' ? [temperatureOf(result.event)] : []))
  return { socket, frames, values, closed }
}

/** The answer to a handshake, as it came. */
async function shake(path: string, headers: Readonly<Record<string, string>>, method = 'GET'): Promise<string> {
  const socket = connect(Number(new URL(telltale.url()).port), '127.0.0.1')
  const handshake = { host: new URL(telltale.url()).host, connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' }
  const all = { ...handshake, 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', ...headers }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
  const said = listen(socket)
  await until('the answer is there', () => /\r\n\r\n/.test(said()))
  if (!said().startsWith('HTTP/1.1 101')) await until('the connection is closed', () => socket.closed)
  socket.destroy()
  return said()
}

/** Open, and nothing answers by itself. */
async function raw(path: string): Promise<{ readonly socket: Socket; said(): string }> {
  const socket = connect(Number(new URL(telltale.url()).port), '127.0.0.1')
  const said = listen(socket)
  const head = `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n`
  socket.write(`${head}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: ${basic()}\r\n\r\n`)
  await until('it is open', () => said().startsWith('HTTP/1.1 101'))
  return { socket, said }
}

function listen(socket: Socket): () => string {
  let said = ''
  socket.setEncoding('latin1').on('data', (text: string) => {
    said += text
  })
  return () => said
}

async function publish(device: string, ...values: number[]): Promise<void> {
  const { status, text } = await telltale.send(
    'POST',
    EVENTS,
    values.map(value => temperature(device, value)),
  )
  if (status !== 200) throw new Error(text)
}

describe('a WebSocket', () => {
  test('carries the frames of NDJSON, one a text message, and resumes from a cursor', async () => {
    const reader = await telltale.stream('device_ids=ws-1')
    const first = await follow('deviceIds=ws-1&ping_interval=1s')
    await until('a ping comes at once', () => first.frames().length === 1, 500)
    expect(first.frames()[0]?.result?.event).toMatchObject({ eventType: 'ping', targetName: 'projects/default', data: null })
    await publish('ws-1', 1, 2, 3)
    await reader.have(3)
    await eventually(() => expect(first.values()).toEqual([1, 2, 3]))
    const events = first.frames().filter(({ result }) => result?.event?.eventType !== 'ping' && result?.cursor !== undefined)
    expect(events).toEqual(reader.frames())
    const again = await follow(`device_ids=ws-1&cursor=${events[0]?.result?.cursor}`)
    await publish('ws-1', 4)
    await eventually(() => expect(again.values()).toEqual([2, 3, 4]))
    for (const { socket } of [first, again]) socket.close()
    expect(await first.closed).toBe(1005)
    reader.close()
  })

  test('carries messages of every size whole', async () => {
    const follower = await follow('device_ids=ws-big')
    const send = async (size: number) => {
      const event = { ...temperature('ws-big', size), data: { temperature: { value: size, filler: 'x'.repeat(size) } } }
      expect((await telltale.send('POST', EVENTS, event)).status).toBe(200)
    }
    const sizes = [10_000, 60_000]
    for (const size of sizes) await send(size)
    await eventually(() => expect(follower.values()).toEqual(sizes))
    // The largest event there may be is less than 64 KiB; its frame is more, which takes another form of head [RFC 6455 5.2].
    const overhead = JSON.stringify(follower.frames()[0]?.result?.event).length - 10_000
    const largest = 64 * 1024 - overhead
    await send(largest)
    await eventually(() => expect(follower.values()).toEqual([...sizes, largest]))
    expect(JSON.stringify(follower.frames().at(-1)).length).toBeGreaterThan(0xffff)
    follower.socket.close()
  })

  test('follows alarms, and one device', async () => {
    const alarms = await follow('', {}, '/v2/projects/default/alarms:stream')
    await telltale.send('PUT', '/v2/projects/default/devices/ws-one', { type: 'temperature' })
    const one = await follow('', {}, '/v2/projects/default/devices/ws-one:stream')
    await publish('ws-other', 1)
    await publish('ws-one', 2)
    await eventually(() => expect(one.values()).toEqual([2]))
    alarms.socket.close()
    one.socket.close()
  })

  test('answers a ping of its peer, and is closed when its peer has something to say', async () => {
    const follower = await follow('device_ids=nobody')
    follower.socket.ping('x')
    await once(follower.socket, 'pong')
    follower.socket.send('hello')
    expect(await follower.closed).toBe(1003)
    expect(follower.frames().at(-1)).toMatchObject({ error: { code: 400, message: 'nothing is expected here' } })
    const shouting = await follow('device_ids=nobody')
    shouting.socket.send('x'.repeat(2000))
    expect(await shouting.closed).toBe(1009)
  })

  test('that was told to close gets no frame behind that', async () => {
    const follower = await raw(`${STREAM}?device_ids=ws-behind`)
    // A masked text, then nothing: it neither closes nor reads on.
    follower.socket.write(Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x61]))
    await until('it was told', () => follower.said().includes('\x03\xebnothing is expected here'))
    const healthy = await follow('device_ids=ws-behind')
    for (const value of [1, 2]) await publish('ws-behind', value)
    await eventually(() => expect(healthy.values()).toEqual([1, 2]))
    healthy.socket.close()
    follower.socket.destroy()
    expect(follower.said()).toMatch(/nothing is expected here$/)
  })

  test('that pings without end and reads nothing is cut off', async () => {
    const { socket } = await raw(`${STREAM}?device_ids=nobody`)
    socket.on('error', () => socket.destroy())
    socket.pause()
    const ping = Buffer.concat([Buffer.from([0x89, 0xfd, 0, 0, 0, 0]), Buffer.alloc(125)])
    const pings = Buffer.concat(Array.from({ length: 1000 }, () => ping))
    await until('it is cut off', () => {
      socket.write(pings)
      return socket.closed
    })
  })

  test('that sends what is no frame is closed', async () => {
    const { socket, said } = await raw(STREAM)
    // Unmasked [RFC 6455 5.1].
    socket.write(Buffer.from([0x81, 0x01, 0x61]))
    await until('it is closed', () => socket.closed)
    expect(said().slice(-10)).toContain('\x03\xea')
  })
})

describe('a handshake', () => {
  test('is refused in words, before the upgrade, in the shape of stream errors', async () => {
    const authorization = basic()
    const cases: [path: string, headers: Record<string, string>, status: number, message: string][] = [
      [STREAM, {}, 401, 'credentials'],
      ['/v2/projects/other/devices:stream', { authorization }, 404, 'project other does not exist'],
      [`${STREAM}?ping_interval=1`, { authorization }, 400, 'pingInterval: expected seconds'],
      [`${STREAM}?cursor=x`, { authorization }, 400, 'cursor: expected'],
      [STREAM, { authorization, 'sec-websocket-version': '8' }, 400, 'header sec-websocket-version: expected 13'],
      [STREAM, { authorization, 'sec-websocket-key': 'x' }, 400, 'header sec-websocket-key: expected 16 bytes'],
    ]
    for (const [path, headers, status, message] of cases) {
      const said = await shake(path, headers)
      expect(said).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
      const body = JSON.parse(said.slice(said.indexOf('\r\n\r\n') + 4)) as { error: { code: number; message: string } }
      expect(body).toMatchObject({ error: { code: status, message: expect.stringContaining(message) }, code: status })
    }
  })

  test('with the console’s cookie is for its own pages only', async () => {
    const { keyId, secret } = telltale.key
    const login = await telltale.send('POST', '/console/session', { keyId, secret })
    const cookie = login.headers.get('set-cookie')?.split(';')[0] ?? ''
    expect(cookie).toMatch(/^telltale_session=/)
    const { host } = new URL(telltale.url())
    expect(await shake(STREAM, { cookie, origin: `http://${host}` })).toMatch(/^HTTP\/1.1 101 /)
    for (const origin of ['http://evil.example', `http://${host}.evil.example`, 'null', ''])
      expect(await shake(STREAM, { cookie, origin })).toMatch(/^HTTP\/1.1 403 /)
    expect(await shake(STREAM, { cookie })).toMatch(/^HTTP\/1.1 403 /)
    // A program's key is no cookie: nobody else's page can send it.
    expect(await shake(STREAM, { authorization: basic(), origin: 'http://evil.example' })).toMatch(/^HTTP\/1.1 101 /)
  })

  test('on another route gets that route’s answer, and the connection ends', async () => {
    expect(await shake('/healthz', {})).toMatch(/^HTTP\/1.1 200 /)
    expect(await shake('/nothing', { authorization: basic() })).toMatch(/^HTTP\/1.1 404 /)
  })

  test('that is refused is closed, also when its peer never ends its side', async () => {
    const upgrade = 'connection: Upgrade\r\nupgrade: websocket\r\n'
    const asks = [
      `GET ${STREAM} HTTP/1.1\r\nhost: x\r\n${upgrade}\r\n`,
      `GET /healthz HTTP/1.1\r\nhost: x\r\n${upgrade}\r\n`,
      'GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n',
    ]
    for (const ask of asks) {
      const socket = connect({ port: Number(new URL(telltale.url()).port), host: '127.0.0.1', allowHalfOpen: true })
      // The server has forgotten it, and says so to whatever comes.
      socket.on('error', () => socket.destroy())
      const said = listen(socket)
      socket.write(ask)
      await until('it is answered', () => said().includes('\r\n\r\n') && socket.readableEnded)
      await until('it is closed', () => {
        socket.write('x')
        return socket.closed
      })
    }
  })

  test('begins with GET', async () => {
    const said = await shake(STREAM, { authorization: basic() }, 'HEAD')
    expect(said).toMatch(/^HTTP\/1.1 400 /)
    expect(telltale.program().complained()).toBe('')
  })

  test('to another protocol is passed over, also with a body', async () => {
    const socket = connect(Number(new URL(telltale.url()).port), '127.0.0.1')
    const said = listen(socket)
    const body = JSON.stringify(temperature('h2c', 1))
    const offer = 'connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n'
    const head = `POST ${EVENTS} HTTP/1.1\r\nhost: x\r\nauthorization: ${basic()}\r\n${offer}content-type: application/json\r\n`
    socket.write(`${head}content-length: ${body.length}\r\n\r\n${body.slice(0, 20)}`)
    socket.write(body.slice(20))
    await until('it is answered', () => said().includes('"accepted":1'))
    expect(said()).toMatch(/^HTTP\/1.1 200 /)
    socket.destroy()
  })
})

describe('the end', () => {
  test('by age, and by a shutdown, is an error frame and the close code 1001', async () => {
    const small = await startTelltale({ env: { TELLTALE_STREAM_MAX_AGE: '1s' } })
    const other = telltale
    telltale = small
    try {
      const follower = await follow('device_ids=nobody')
      expect(await follower.closed).toBe(1001)
      expect(follower.frames().at(-1)).toMatchObject({ error: { code: 408, message: 'closing stream' } })
      const last = await follow('device_ids=nobody')
      const stopping = small.stop()
      expect(await last.closed).toBe(1001)
      expect(last.frames().at(-1)).toMatchObject({ error: { code: 408, message: 'closing stream' } })
      expect(await stopping).toBe(0)
    } finally {
      telltale = other
      await small.remove()
    }
  })

  test('of a reader that takes nothing is a cut, and nobody else is slower for it', async () => {
    const { hostname, port } = new URL(telltale.url())
    const socket = connect(Number(port), hostname)
    const head = `GET ${STREAM}?device_ids=ws-slow HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n`
    socket.write(`${head}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: ${basic()}\r\n\r\n`)
    await once(socket, 'readable')
    const healthy = await follow('device_ids=ws-slow')
    const open = async () => Number(/^telltale_streams_open (\d+)/m.exec((await telltale.http('/metrics')).text)?.[1])
    const before = await open()
    const filler = 'x'.repeat(60_000)
    for (let n = 0; n < 200; n++)
      await telltale.send('POST', EVENTS, { ...temperature('ws-slow', n), data: { temperature: { value: n, filler } } })
    await eventually(() => expect(healthy.values()).toHaveLength(200))
    await eventually(async () => expect(await open()).toBe(before - 1), 25_000)
    socket.destroy()
    healthy.socket.close()
  }, 40_000)
})
