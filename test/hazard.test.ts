// What hostile or broken HTTP clients send, byte by byte (hazards 15, 16, 17), and what they do not take (37): refused in words, and
// nobody else is worse off.

import { readFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { EVENTS, removeDirectories, startTelltale, stored, type Telltale, target, temperature, until } from './world.ts'

/** Less than the 28 s of those who set nothing. */
const REQUEST_MS = 6000

let telltale: Telltale
let authorization: string
beforeAll(async () => {
  telltale = await startTelltale({ env: { TELLTALE_REQUEST_TIMEOUT: `${REQUEST_MS / 1000}s` } })
  authorization = `authorization: Basic ${Buffer.from(`${telltale.key.keyId}:${telltale.key.secret}`).toString('base64')}`
})
afterAll(async () => {
  await telltale.remove()
  await removeDirectories()
})
afterEach(async () => {
  const startedMs = performance.now()
  expect((await telltale.http('/healthz')).status).toBe(200)
  expect(performance.now() - startedMs).toBeLessThan(1000)
})

type Said = { readonly status: number; readonly body: Readonly<Record<string, unknown>>; readonly ms: number }

function open(): { socket: Socket; said: () => string } {
  const socket = connect(Number(new URL(telltale.url()).port), '127.0.0.1')
  let said = ''
  socket.setEncoding('latin1').on('data', (part: string) => {
    said += part
  })
  // The server may cut it off while we still send: what it said before counts.
  socket.on('error', () => socket.destroy())
  return { socket, said: () => said }
}

/** Sends these bytes, and waits until the server has closed the connection. */
async function send(text: string | Buffer, limitMs = 5000): Promise<Said> {
  const { socket, said } = open()
  const startedMs = performance.now()
  socket.write(text)
  await until(`the connection is closed after ${said().slice(0, 200)}`, () => socket.closed, limitMs)
  const [head = '', body = ''] = said().split('\r\n\r\n', 2)
  return {
    status: Number(head.split(' ')[1]),
    body: body === '' ? {} : (JSON.parse(Buffer.from(body, 'latin1').toString()) as Said['body']),
    ms: performance.now() - startedMs,
  }
}

const headOf = (route: string, ...lines: string[]) => [`${route} HTTP/1.1`, 'host: x', authorization, ...lines, '', ''].join('\r\n')
const events = (...lines: string[]) => headOf(`POST ${EVENTS}`, ...lines)
const device = (...lines: string[]) => headOf('PUT /v2/projects/default/devices/hostile', ...lines)

function withBody(head: (...lines: string[]) => string, body: string | Buffer, ...lines: string[]): Buffer {
  return Buffer.concat([Buffer.from(head(...lines, `content-length: ${Buffer.byteLength(body)}`, 'connection: close')), Buffer.from(body)])
}

const valued = (value: string) =>
  `{"targetName":"projects/default/devices/hostile","eventType":"temperature","data":{"temperature":{"value":${value}}}}`

describe('a body', () => {
  const cases: [what: string, body: () => string, message: RegExp][] = [
    ['1e999', () => valued('1e999'), /finite number/],
    ['-1e999', () => valued('-1e999'), /finite number/],
    ['NaN', () => valued('NaN'), /not JSON/],
    ['2^53 + 1', () => valued('9007199254740993'), /data\.temperature\.value: expected an integer within ±9007199254740991/],
    ['-2^53 - 1', () => valued('-9007199254740993'), /expected an integer within/],
    ['__proto__', () => valued('{"__proto__":{"polluted":1}}'), /__proto__/],
    ['a depth of 10,000', () => valued('['.repeat(10_000) + ']'.repeat(10_000)), /nested deeper than 16/],
    ['a depth of a million, never closed', () => '['.repeat(1_000_000), /not JSON/],
    ['300 fields', () => valued(`{${Array.from({ length: 300 }, (_, i) => `"k${i}":1`).join()}}`), /at most 256 fields/],
    [
      'an event type that is given twice',
      () => valued('1').replace('"eventType"', '"eventType":"temperature","eventType":"humidity","x"'),
      /the key "eventType" is given twice/,
    ],
    ['a value that is given twice', () => valued('1,"value":2'), /the key "value" is given twice/],
  ]
  test.each(cases)('with %s is refused', async (_what, body, message) => {
    const said = await send(withBody(events, body(), 'content-type: application/json'))
    expect(said).toMatchObject({ status: 400, body: { code: 400, error: expect.stringMatching(message), help: expect.any(String) } })
  })

  test('with a million fields is refused, and others are served meanwhile', async () => {
    const fields = Array.from({ length: 1_000_000 }, (_, i) => `"k${i}":1`).join()
    const [said, other] = await Promise.all([
      send(withBody(events, valued(`{${fields}}`), 'content-type: application/json'), 20_000),
      telltale.http('/healthz'),
    ])
    expect([said.status, other.status]).toEqual([400, 200])
    expect((await send(withBody(device, `{${fields}}`))).status).toBe(413)
  }, 30_000)

  test('with the largest exact integer is kept exactly', async () => {
    expect((await send(withBody(events, valued('9007199254740991')))).status).toBe(200)
    await until('it is stored', async () => (await stored(telltale, 'hostile')).length === 1)
    expect(JSON.stringify(await stored(telltale, 'hostile'))).toContain('9007199254740991')
  })

  test('of a management route is bounded in size and depth', async () => {
    // Refused by the header, before any of it has come. Who sends it all the same may be cut off before they have read the answer.
    expect([413, Number.NaN]).toContainEqual((await send(withBody(device, `{"type":"${'x'.repeat(10 * 1024 * 1024)}"}`))).status)
    expect(await send(device('content-length: 10000000', 'connection: close'))).toMatchObject({ status: 413 })
    const deep = `{"labels":${'['.repeat(10_000)}${']'.repeat(10_000)}}`
    expect(await send(withBody(device, deep))).toMatchObject({ status: 400, body: { code: 400 } })
  })

  test.each(['gzip', 'br', 'deflate', 'zstd', 'x'])('that is packed (%s) is refused where it may not be, a bomb too', async encoding => {
    const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024))
    expect(await send(withBody(device, bomb, `content-encoding: ${encoding}`))).toMatchObject({
      status: 415,
      body: { code: 415, error: expect.stringContaining('header content-encoding: expected identity') },
    })
  })

  test.each(['x', 'gzip, gzip', 'identity, gzip', 'compress'])(
    'that is packed as nobody knows (%s) is refused with what is known',
    async encoding => {
      const said = await send(withBody(events, gzipSync(valued('1')), `content-encoding: ${encoding}`))
      expect(said).toMatchObject({
        status: 415,
        body: { code: 415, error: expect.stringMatching(/expected one of gzip, deflate, br, zstd/) },
      })
    },
  )

  const BOMB = 200 * 1024 * 1024
  test.each([
    ['JSON', 'application/json', 413],
    ['lines', 'application/x-ndjson', 400],
  ])(
    'of %s that unpacks to 200 MB holds nobody up',
    async (_what, type, status) => {
      const bomb = gzipSync(Buffer.alloc(BOMB, ' '))
      const sent = send(withBody(events, bomb, 'content-encoding: gzip', `content-type: ${type}`), 20_000)
      let done = false
      void sent.finally(() => {
        done = true
      })
      let slowestMs = 0
      while (!done) {
        const askedMs = performance.now()
        expect((await telltale.http('/healthz')).status).toBe(200)
        slowestMs = Math.max(slowestMs, performance.now() - askedMs)
      }
      expect((await sent).status).toBe(status)
      expect(slowestMs).toBeLessThan(500)
    },
    30_000,
  )

  test('that never comes is cut off when its time is over, and so are headers; a thousand of them are in nobody’s way', async () => {
    const slow = Array.from({ length: 1000 }, (_, i) => {
      const { socket, said } = open()
      socket.write(i % 2 === 0 ? `GET /healthz HTTP/1.1\r\nhost: x\r\n` : events('content-length: 100'))
      const drip = setInterval(() => socket.writable && socket.write(i % 2 === 0 ? 'a: b\r\n' : 'x'), 2000)
      socket.once('close', () => clearInterval(drip))
      return { socket, said }
    })
    const startedMs = performance.now()
    let slowestMs = 0
    await until(
      'all of them are cut off',
      async () => {
        const askedMs = performance.now()
        expect((await telltale.send('POST', EVENTS, temperature('patient', 1))).status).toBe(200)
        slowestMs = Math.max(slowestMs, performance.now() - askedMs)
        return slow.every(({ socket }) => socket.closed)
      },
      REQUEST_MS + 10_000,
    )
    const tookMs = performance.now() - startedMs
    // They are looked for every second.
    expect(tookMs).toBeGreaterThan(REQUEST_MS)
    expect(slowestMs).toBeLessThan(1500)
    expect(slow.filter(({ said }) => said().startsWith('HTTP/1.1 408 ')).length).toBe(1000)
  }, 60_000)
})

describe('a content type', () => {
  test.each(['application/json\ta', 'application/json garbage', 'application/', 'x'])('%j is refused', async type => {
    for (const head of [events, device])
      expect(await send(withBody(head, '{"type":1}', `content-type: ${type}`))).toMatchObject({ status: 415, body: { code: 415 } })
  })

  test.each([
    'Application/Json ;',
    'APPLICATION/JSON; charset=utf-8',
    'application/json;;;=',
    'application/x-www-form-urlencoded',
    'text/html',
  ])('%j does not get around the checks', async type => {
    const labelled = await send(withBody(device, '{"labels":{"a":1}}', `content-type: ${type}`))
    expect(labelled).toMatchObject({ status: 400, body: { error: expect.stringContaining('labels') } })
    const sent = await send(withBody(events, valued('1').replace('"temperature"', '"no type"'), `content-type: ${type}`))
    expect([400, 415]).toContain(sent.status)
  })
})

describe('a request that could be read in two ways', () => {
  const chunks = '0\r\n\r\n'
  const cases: [what: string, bytes: () => string][] = [
    ['a length and chunks', () => events('content-length: 5', 'transfer-encoding: chunked') + chunks],
    ['chunks and a length', () => events('transfer-encoding: chunked', 'content-length: 5') + chunks],
    ['two lengths', () => `${events('content-length: 5', 'content-length: 6')}12345`],
    ['a list of lengths', () => `${events('content-length: 5, 5')}12345`],
    ['a signed length', () => `${events('content-length: +5')}12345`],
    ['another transfer encoding', () => events('transfer-encoding: xchunked')],
    ['chunks that are not the last encoding', () => events('transfer-encoding: chunked, identity') + chunks],
    ['chunks twice', () => events('transfer-encoding: chunked, chunked') + chunks],
    ['lines that end with LF alone', () => events('content-length: 0').replaceAll('\r\n', '\n')],
    ['a chunk’s line that ends with LF alone', () => `${events('transfer-encoding: chunked')}2;a=b\n[]\r\n${chunks}`],
    ['a chunk extension without end', () => `${events('transfer-encoding: chunked')}2;${'a'.repeat(20_000)}\r\n[]\r\n${chunks}`],
    ['a space before the colon', () => events('transfer-encoding : chunked') + chunks],
    ['a folded header', () => events('x: a\r\n b')],
    ['a NUL in a header', () => events('x: a\0b')],
    ['a length that is hexadecimal', () => `${events('content-length: 0x5')}12345`],
  ]
  test.each(cases)('(%s) is 400, and the connection is closed', async (_what, bytes) => {
    const smuggled = 'GET /healthz HTTP/1.1\r\nhost: smuggled\r\n\r\n'
    const said = await send(bytes() + smuggled)
    expect(said).toMatchObject({
      status: 400,
      body: { code: 400, error: 'the request is not HTTP as RFC 9112 has it', help: expect.any(String) },
    })
  })

  test('is not one that has a chunk extension in good form: it is passed over, as RFC 9112 7.1.1 says', async () => {
    const body = valued('1')
    const said = await send(
      `${events('transfer-encoding: chunked', 'connection: close')}${body.length.toString(16)};a=b\r\n${body}\r\n${chunks}`,
    )
    expect(said).toMatchObject({ status: 200, body: { accepted: 1 } })
  })

  test('and comes behind an open stream ends it, with nothing of ours in between', async () => {
    const { socket, said } = open()
    socket.write(headOf('GET /v2/projects/default/devices:stream?ping_interval=1s'))
    await until('it has begun', () => said().includes('"ping"'))
    socket.write('this is not HTTP\r\n\r\n')
    await until('the connection is closed', () => socket.closed, 5000)
    expect(said().match(/HTTP\/1\.1 /g)).toHaveLength(1)
    expect(said()).not.toContain('RFC 9112')
  })

  test('and comes behind a whole request is not taken for the answer to that', async () => {
    const body = valued('1')
    const { socket, said } = open()
    socket.write(`${events(`content-length: ${body.length}`)}${body}this is not HTTP\r\n\r\n`)
    await until('the connection is closed', () => socket.closed, 5000)
    expect(said()).not.toContain('HTTP/1.1 400')
  })

  test('an expectation that nobody knows, and a request that names no host, are refused in words', async () => {
    expect(await send(headOf('GET /healthz', 'expect: miracles'))).toMatchObject({
      status: 417,
      body: { code: 417, help: expect.any(String) },
    })
    const nameless = 'GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n'
    expect(await send(nameless)).toMatchObject({
      status: 400,
      body: { code: 400, error: 'header host: expected the address that was asked, but it is missing' },
    })
  })

  test('headers of more than 16 KiB are 431', async () => {
    expect(await send(events(`x: ${'a'.repeat(20_000)}`))).toMatchObject({ status: 431, body: { code: 431 } })
  })
})

const memoryIsTold = process.platform === 'linux'
if (!memoryIsTold) console.warn('there is no /proc here: what frozen readers cost is not measured')

describe.skipIf(!memoryIsTold)('readers that take nothing', () => {
  const READERS = 100
  const POLICIES = ['disconnect', 'drop', 'latest']
  /** 256 KiB unread, the piece of 64 KiB that went beyond, and 256 KiB of newest events that `latest` keeps. */
  const BOUND_KIB = 256 + 64 + 256
  /**
   * Ten times the bound is 560 MiB: garbage that is not yet collected is in it, and 75 MB of frames that were made for all of them at
   * once. A server that kept what they do not take would need 2,700 MB: 30 MB for each, but for some 3 MB that the system holds.
   */
  const LIMIT_MIB = (10 * READERS * BOUND_KIB) / 1024
  const BATCHES = 40
  const BATCH = 25
  const TEXT = 'x'.repeat(30_000)

  const openStreams = async () => Number(/^telltale_streams_open (\d+)/m.exec((await telltale.http('/metrics')).text)?.[1])
  const rssMib = async () => {
    const status = await readFile(`/proc/${telltale.program().pid}/status`, 'utf8')
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024
  }

  /** 30 MB of events of as many devices. @returns the most memory of the server that was seen meanwhile. */
  async function flood(): Promise<number> {
    let mostMib = 0
    for (let batch = 0; batch < BATCHES; batch++) {
      const text = Array.from({ length: BATCH }, (_, i) => ({
        targetName: target(`flood-${batch}-${i}`),
        eventType: 'flood',
        data: { text: TEXT },
      }))
      expect((await telltale.send('POST', EVENTS, text)).status).toBe(200)
      mostMib = Math.max(mostMib, await rssMib())
    }
    return mostMib
  }

  test('cost the server a bounded amount of memory each, whatever their policy, and get what it says when they read on', async () => {
    // What such events cost without any reader.
    const quietMib = await flood()
    const before = await openStreams()
    const frozen = Array.from({ length: READERS }, (_, i) => {
      const { socket, said } = open()
      socket.pause()
      const policy = POLICIES[i % POLICIES.length] as string
      // Each with a filter of its own, so that no two share the bytes of a frame.
      const query = `event_types=flood&event_types=own-${i}&slow_policy=${policy}`
      socket.write(headOf(`GET /v2/projects/default/devices:stream?${query}`))
      return { socket, said, policy }
    })
    onTestFinished(() => frozen.forEach(({ socket }) => void socket.destroy()))
    await until('all of them are open', async () => (await openStreams()) === before + READERS)
    const grownMib = (await flood()) - quietMib
    expect(grownMib).toBeLessThan(LIMIT_MIB)
    const [disconnect, drop, latest] = POLICIES.map(policy => frozen.find(one => one.policy === policy))
    for (const reader of [disconnect, drop, latest]) reader?.socket.resume()
    const has = (reader: typeof drop, text: string) => reader?.said().includes(text) === true
    const last = `flood-${BATCHES - 1}-${BATCH - 1}"`
    // Only who was full has missed something.
    await until('who drops is told of a gap', () => has(drop, '"gap"'))
    await until('who waits for the latest has it', () => has(latest, last))
    await until('the third reads on from the log', () => has(disconnect, last), 10_000)
    expect(has(disconnect, '"gap"')).toBe(false)
  }, 60_000)
})
