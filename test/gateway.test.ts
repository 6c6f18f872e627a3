// The HTTP gateway as senders meet it: bodies without end, packed bodies, repeats, and InfluxDB's write APIs with their own clients.
import { readFile } from 'node:fs/promises'
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { HttpError, InfluxDB, Point } from '@influxdata/influxdb-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newAccount } from './tenant.ts'
import {
  type Answer,
  EVENTS,
  eventually,
  type Json,
  redisPid,
  removeDirectories,
  startTelltale,
  stored,
  type Telltale,
  temperature,
  temperatureOf,
  until,
} from './world.ts'

const LINES = { 'content-type': 'application/x-ndjson' }
const REQUEST_MS = 4000

let telltale: Telltale
beforeAll(async () => {
  telltale = await startTelltale({ env: { TELLTALE_REQUEST_TIMEOUT: `${REQUEST_MS}ms` } })
}, 60_000)
afterAll(async () => {
  await telltale?.remove()
  await removeDirectories()
})

const valuesOf = async (device: string) => (await stored(telltale, device)).map(temperatureOf)
const line = (device: string, value: unknown, more: object = {}) => `${JSON.stringify(temperature(device, value, more))}\n`
const basic = () => `Basic ${Buffer.from(`${telltale.key.keyId}:${telltale.key.secret}`).toString('base64')}`
const post = (body: string | Buffer, headers: Record<string, string> = {}, path = EVENTS): Promise<Answer> =>
  telltale.http(path, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } })

/** A request whose body is written by hand, and what comes back. */
type Upload = {
  readonly request: ClientRequest
  readonly said: () => string
  readonly answer: () => IncomingMessage | undefined
  readonly isOver: () => boolean
}

function upload(headers: Record<string, string>, path = EVENTS): Upload {
  let said = ''
  let answer: IncomingMessage | undefined
  let over = false
  const request = httpRequest(`${telltale.url()}${path}`, { method: 'POST', headers: { authorization: basic(), ...LINES, ...headers } })
  request.on('response', response => {
    answer = response
    response.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    response.on('close', () => {
      over = true
    })
  })
  request.on('error', () => {
    over = true
  })
  return { request, said: () => said, answer: () => answer, isOver: () => over }
}

const parsed = (text: string) =>
  text
    .trim()
    .split('\n')
    .map(one => JSON.parse(one) as Json)

describe('a body of lines', () => {
  test('is told of part by part as it comes, and for longer than a request may take', async () => {
    const { request, said, isOver } = upload({ accept: 'application/x-ndjson' })
    const startedMs = performance.now()
    for (let i = 0; performance.now() - startedMs < REQUEST_MS + 2500; i++) {
      request.write(line('streaming', i))
      await until('it is on disk', () => said().trim().split('\n').length > i && said() !== '')
      await until('a while has gone by', () => performance.now() - startedMs > i * 500)
    }
    request.write('{"no event":1}\n')
    await until('the refusal is told', () => said().includes('"rejected":1'))
    request.end(line('streaming', -1).trim())
    await until('it is over', isOver)
    const parts = parsed(said())
    const accepted = (await eventually(async () => {
      const values = await valuesOf('streaming')
      expect(values).toContain(-1)
      return values
    })) as unknown[]
    expect(parts.at(-1)).toEqual({ total: true, accepted: accepted.length, rejected: 1 })
    expect(parts.find(({ rejected }) => rejected === 1)).toMatchObject({ errors: [{ index: accepted.length - 1, code: 'invalid' }] })
    expect(parts.slice(0, -1).reduce((sum, part) => sum + Number(part['accepted']), 0)).toBe(accepted.length)
  }, 30_000)

  test('of a device goes on for as long as its credential is good', async () => {
    const made = await telltale.send('POST', '/v2/projects/default/devices/lining/credentials', {})
    const { secret } = made.json
    const keyId = String(made.json['name']).split('/').at(-1)
    const authorization = `Basic ${Buffer.from(`${keyId}:${String(secret)}`).toString('base64')}`
    const { request, said, isOver } = upload({ accept: 'application/x-ndjson', authorization })
    request.write(line('lining', 1))
    await until('it is on disk', () => said().includes('"accepted":1'))
    const since = performance.now()
    await until('rights were looked at', () => performance.now() - since > 1500)
    request.end(line('lining', 2))
    await until('it is over', isOver)
    expect(parsed(said()).at(-1)).toEqual({ total: true, accepted: 2, rejected: 0 })
  })

  test('of which nothing whole comes in time is cut off, and what came before is told', async () => {
    const { request, said, answer, isOver } = upload({})
    request.write(`${line('dripping', 1)}${line('dripping', 2)}{`)
    // Telegraf sends again what is refused with 503, and drops what is refused with 408.
    const influx = upload({}, '/api/v2/write?bucket=default')
    influx.request.write('t,device=late value=1 1\nt,device=late val')
    const drip = setInterval(() => request.write(' '), 500)
    await until('both are over', () => isOver() && influx.isOver(), REQUEST_MS * 3)
    clearInterval(drip)
    expect([influx.answer()?.statusCode, Number(influx.answer()?.headers['retry-after'])]).toEqual([503, 1])
    expect(JSON.parse(influx.said())).toEqual({ code: 'unavailable', message: expect.stringContaining('the first 1 lines are written') })
    influx.request.destroy()
    expect(answer()?.statusCode).toBe(408)
    expect(JSON.parse(said())).toMatchObject({ code: 408, accepted: 2, rejected: 0 })
    request.destroy()
  }, 20_000)

  test('of a sender that dies midway is kept as far as whole lines came, and no half of one', async () => {
    const { request, said } = upload({ accept: 'application/x-ndjson' })
    request.write(`${line('dying', 1)}${line('dying', 2)}`)
    await until('two are on disk', () => said().includes('"accepted"'))
    request.write(line('dying', 3).slice(0, -1))
    request.destroy()
    await post(line('dying', 4), LINES)
    await eventually(async () => expect(await valuesOf('dying')).toEqual([1, 2, 4]))
  })

  test('answers of many mistakes with the first thousand', async () => {
    const { status, json } = await post(`${line('mistaken', 1)}${'{}\n'.repeat(3000)}`, LINES)
    expect([status, json['accepted'], json['rejected'], json['omitted']]).toEqual([207, 1, 3000, 2000])
    expect((json['errors'] as Json[]).map(({ index }) => index)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1))
  })

  test('may have a line that is too long, or that is not UTF-8: it alone is refused', async () => {
    const bytes = Buffer.concat([
      Buffer.from(line('long', 1)),
      Buffer.from(`"${'x'.repeat(1024 * 1024)}"\n`),
      Buffer.from(line('long', 2)),
      Buffer.from([0xff, 0x0a]),
      Buffer.from(line('long', 3)),
    ])
    const { json } = await post(bytes, LINES)
    expect(json).toMatchObject({
      accepted: 3,
      rejected: 2,
      errors: [
        { index: 1, code: 'too_large' },
        { index: 3, code: 'invalid' },
      ],
    })
  })

  test('without any is refused', async () => {
    for (const body of ['', '\n \n']) expect((await post(body, LINES)).status).toBe(400)
  })

  test('says how far it got when the log goes away', async () => {
    const streamed = upload({ accept: 'application/x-ndjson' })
    const plain = upload({})
    for (const { request } of [streamed, plain]) request.write(line('outage', 1))
    await until('the first is on disk', () => streamed.said().includes('"accepted":1'))
    await eventually(async () => expect(await valuesOf('outage')).toEqual([1, 1]))
    const pid = await redisPid(telltale.dir)
    process.kill(pid, 'SIGSTOP')
    try {
      for (const { request } of [streamed, plain]) request.write(line('outage', 2))
      await until('both are over', () => streamed.isOver() && plain.isOver(), 20_000)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    expect(parsed(streamed.said()).at(-1)).toMatchObject({ total: true, accepted: 1, rejected: 0, code: 503, retryAfter: 1 })
    expect(plain.answer()?.statusCode).toBe(503)
    expect(Number(plain.answer()?.headers['retry-after'])).toBeGreaterThan(0)
    expect(JSON.parse(plain.said())).toMatchObject({ code: 503, accepted: 1, rejected: 0 })
    await eventually(async () => expect((await telltale.http('/readyz')).status).toBe(200))
  }, 40_000)
})

const memoryIsTold = process.platform === 'linux'
if (!memoryIsTold) console.warn('there is no /proc here: the memory of a long upload is not measured')

describe.skipIf(!memoryIsTold)('a body of 200 MB', () => {
  const rssMib = async () => {
    const status = await readFile(`/proc/${telltale.program().pid}/status`, 'utf8')
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024
  }

  test('is taken in constant memory', async () => {
    // Most of it is refused cheaply, as it stands: what the log does with as many events is not asked here.
    const block = Buffer.from(`${line('endless', 1)}${`${' '.repeat(1022)}\n`.repeat(1024)}`)
    const { request, said, isOver } = upload({})
    const before = await rssMib()
    let most = 0
    for (let i = 0; i < 200; i++) {
      if (!request.write(block)) await new Promise(resolve => request.once('drain', resolve))
      if (i % 10 === 0) most = Math.max(most, await rssMib())
    }
    request.end()
    await until('it is over', isOver, 20_000)
    expect(JSON.parse(said())).toEqual({ accepted: 200, rejected: 0, errors: [] })
    expect(most - before).toBeLessThan(120)
  }, 40_000)
})

/** One raw block in one frame [RFC 8878 3.1.1]. */
const zstdOf = (text: string) => {
  const bytes = Buffer.from(text)
  const header = Buffer.alloc(4)
  header.writeUInt32LE(bytes.length)
  const block = Buffer.alloc(3)
  block.writeUIntLE((bytes.length << 3) | 1, 0, 3)
  return Buffer.concat([Buffer.of(0x28, 0xb5, 0x2f, 0xfd, 0xa0), header, block, bytes])
}

describe('a packed body', () => {
  const packers: [encoding: string, pack: (text: string) => Buffer][] = [
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['GZIP', gzipSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
    ['br', brotliCompressSync],
    ['zstd', zstdOf],
    ['identity', text => Buffer.from(text)],
  ]
  test.each(packers)('in %s is what it was', async (encoding, pack) => {
    const device = `packed-${encoding}-${packers.findIndex(([, one]) => one === pack)}`
    const headers = { 'content-encoding': encoding }
    expect((await post(pack(JSON.stringify([temperature(device, 1), temperature(device, 2)])), headers)).json).toMatchObject({
      accepted: 2,
    })
    expect((await post(pack(line(device, 3) + line(device, 4)), { ...headers, ...LINES })).json).toMatchObject({ accepted: 2 })
    await eventually(async () => expect(await valuesOf(device)).toEqual([1, 2, 3, 4]))
  })

  test.each(packers.slice(0, -1))('in %s that is cut off or spoilt is 400, and nothing half is taken', async (encoding, pack) => {
    const device = `spoilt-${encoding}-${pack.name}`
    const packed = pack(`${line(device, 1)}${JSON.stringify(temperature(device, 2))}`)
    const spoilt = [packed.subarray(0, -5), Buffer.from('this was never packed')]
    for (const body of spoilt)
      for (const type of [LINES, {}]) {
        const { status, json } = await post(body, { 'content-encoding': encoding, ...type })
        expect([status, json['field']]).toEqual([400, 'body'])
        expect(json['error']).toMatch(/body: not \w+ as header content-encoding says/)
      }
    await post(line(device, 3), LINES)
    await eventually(async () => expect(await valuesOf(device)).toContain(3))
    expect(await valuesOf(device)).not.toContain(2)
  })

  /** What zstd 1.5 makes of 300 events with `-19 --check`: one compressed block, and a checksum. */
  const REAL_ZSTD =
    'KLUv/QRoBBAAtp5JGHAv5pBGVH6iL/D+fz+JiBApU9T8/vceDlYAPwA+AL+72e23B1xM4dgBefKIBFNgFCDT5sbBMEQgCYYiYgKXC28SkoVhYiy33BgiBoQJ' +
    'mMRDEjE8Eg5GImJuEg4KIdJITBImYBaGxEOAiEAq5iZxUEwSCGMJ59yZ2S3Peb6WUikhdM6dmd3yzvtaSqWE0Dl3ZnZLO+1rKZUSQufcmdktffprKZUSQufc' +
    'mdlt+7Wu1FM6Qj8n/bE/9sf+2K+lVEoInXNnZre0c30tpVJC6Jw7M7ulT/W1lEoJoXPuzOyWPdPXUiolhM65M7Nb8iX6WkqlhFA+n8/n8/l8Pl+tVqvVarVa' +
    'rcbbvM3bvM3bvM3bvM3bvH16enp6enp6enp67I/9sT/2x/4YgSyoEWBP2/8z0afCHBL4EQT+T4AIyAWf8AOW1bZZbQ271WrYW62G3Wpr2LeerK31MkWmrTVZ' +
    'K1NrOlljsw1MW8PQtBrWYTlSFHJSvOOgSOJAEYWDogUnxfoGiuQNimw3KBI3TQqFYlUqKlcsbaNVRV1dFepaqJppvVBeFQrlqqXoqFJUq3VFvcpVRY9rqmpd' +
    'XSvVrN6mVbmiWJXUFaifQXVVrFdVxbrV0alSLhR1pXrB+jasrRT1aqVSxn82GtKcwdCmdtKnNrSpT/qsAdZp6/+TChNAVQFEBwDiThsJwD0kSUjC/84FcoHL' +
    'BS4XuFzgcoH3Au8F3gu8F3gv8F7gvY1Gg8AJnMAJnMAJnMAJnMAJPC4uLi4uLi4uLg6uwTW4BtfgGlyDa3ANrsG1qampqampqampKSEhISEhISEhIaFOp9Pp' +
    'dOLOTqcTgJaoIO488NnfEvj/v8nQCt4/VEJSRlJCekI6IUVGSkZqQnJCKiEpBwGBXEN2NmM2UE876VSmQ3eSxJJOzc5kbbFtMDQzw3a2z1hDmZpFzctqpjVl' +
    'tbViZmOxsrc02JqY2bFY2S2NbE3MbCy2TJSQDX8qZGczsv4JDQgAFpwnCtClA6UQuZMDLgIlACMAIgAn7+SdvJOHIw9HHo48HHk48nDk4cjDkYcjD0eeI8+R' +
    '58hz5DnyyT25JwcnBycHJwcnBycHJwcnBycHJwcn7+SdvJN38k7eyQvJc/I4eZw8Th4nj5PHyeN4nDxOHif35J7ck3tyT+7JPbkH4eTh5OHk4eTh5OHk4eTh' +
    '5OHk4eQ5eU6ek+fkOXlOnpPn5DmAlpgQivIBABJYQeD/BygEP39ORUtAQ0ZHR0NCR0JGRkNGQ0eGjoaEhoyObihGQmJ6YrREtFRk6GhIaMjo6GhI6EjIyGjI' +
    'aOjI0NGQ0JDR0dGQ0JGQkdGQ0dCRoaMhMSaJpGKm'

  test('in zstd comes from the real thing, in pieces as they come, and several frames are one body', async () => {
    const packed = Buffer.from(REAL_ZSTD, 'base64')
    const skippable = Buffer.of(0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3)
    const { request, said, isOver } = upload({ 'content-encoding': 'zstd' })
    for (const byte of packed) request.write(Buffer.of(byte))
    request.end(Buffer.concat([skippable, zstdOf(line('zstd-real', 300))]))
    await until('it is over', isOver)
    expect(JSON.parse(said())).toEqual({ accepted: 301, rejected: 0, errors: [] })
    await eventually(async () => expect(new Set(await valuesOf('zstd-real')).size).toBe(301))
    const spoilt = Buffer.from(packed)
    spoilt[60] = (spoilt[60] as number) ^ 0xff
    expect((await post(spoilt, { 'content-encoding': 'zstd' })).status).toBe(400)
  })

  test('in zstd that would keep the decoder busy for minutes keeps nobody else up', async () => {
    // A block of 98,302 sequences of 65,539 bytes each, as no encoder writes it: three tables of one symbol, and hardly a bit of input.
    const block = Buffer.concat([Buffer.of(0x00, 0xff, 0xff, 0xff, 0x54, 0, 0, 52), Buffer.alloc(100, 1)])
    const header = Buffer.alloc(3)
    header.writeUIntLE((block.length << 3) | (2 << 1) | 1, 0, 3)
    const bomb = Buffer.concat([Buffer.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50), header, block])
    const wide = Buffer.concat([Buffer.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x70), header, block])
    expect((await post(wide, { 'content-encoding': 'zstd' })).json['error']).toContain('RFC 9659')
    const sent = post(bomb, { 'content-encoding': 'zstd' })
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
    expect((await sent).json).toMatchObject({ code: 400, error: expect.stringContaining('a block takes too long') })
    expect(slowestMs).toBeLessThan(500)
    const plain = JSON.stringify(temperature('after-bomb', 1))
    const again = await post(zstdOf(plain), { 'content-encoding': 'zstd' })
    expect([again.status, Number(again.headers.get('retry-after'))]).toEqual([429, expect.any(Number)])
    expect((await post(Buffer.from(plain), {})).status).toBe(200)
    const other = await newAccount(telltale, 'default', { 'projects/default': 'project.developer' })
    const authorization = `Bearer ${await other.token()}`
    expect((await post(zstdOf(plain), { 'content-encoding': 'zstd', authorization })).status).toBe(200)
  }, 20_000)

  test('is asked for only when nothing is known against it', async () => {
    const expecting = (head: string[]) =>
      new Promise<string>((resolve, reject) => {
        let said = ''
        const socket = connect(Number(new URL(telltale.url()).port), '127.0.0.1')
        socket.on('error', reject).on('data', chunk => {
          said += chunk.toString()
          if (said.startsWith('HTTP/1.1 100 ') && !said.includes('HTTP/1.1 2')) socket.write('{}')
        })
        socket.on('close', () => resolve(said))
        socket.write([`POST ${EVENTS} HTTP/1.1`, 'host: x', 'expect: 100-continue', 'connection: close', ...head, '', ''].join('\r\n'))
      })
    const known = `authorization: ${basic()}`
    expect(await expecting([known, 'content-length: 2'])).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 400 /)
    expect(await expecting(['content-length: 2'])).toMatch(/^HTTP\/1\.1 401 /)
    expect(await expecting([known, 'content-length: 2', 'content-encoding: x'])).toMatch(/HTTP\/1\.1 415 /)
  })

  test('and its headers may come from a page elsewhere', async () => {
    const headers = {
      origin: 'https://example.org',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-encoding,content-type,idempotency-key',
    }
    const { status, headers: said } = await telltale.http(EVENTS, { method: 'OPTIONS', headers })
    expect([status, said.get('access-control-allow-origin')]).toEqual([204, '*'])
    for (const name of ['authorization', 'content-encoding', 'idempotency-key'])
      expect(said.get('access-control-allow-headers')).toContain(name)
    expect((await post('{}', { origin: 'https://example.org' })).headers.get('access-control-expose-headers')).toContain('retry-after')
  })
})

describe('an Idempotency-Key', () => {
  const bodies: [what: string, type: Record<string, string>, body: (...values: number[]) => string][] = [
    ['an array', {}, (...values) => JSON.stringify(values.map(value => temperature('again-array', value)))],
    ['lines', LINES, (...values) => values.map(value => line('again-lines', value)).join('')],
  ]
  test.each(bodies)('makes a repeat of %s harmless, and drops nothing of another body', async (what, type, body) => {
    const device = what === 'lines' ? 'again-lines' : 'again-array'
    const send = (...values: number[]) => post(body(...values), { 'idempotency-key': 'round 1', ...type })
    for (const values of [
      [1, 1, 2],
      [1, 1, 2],
      [3, 1, 2],
      [3, 1, 2],
    ])
      expect((await send(...values)).json).toMatchObject({ accepted: 3 })
    await eventually(async () => expect((await valuesOf(device)).toSorted((a, b) => Number(a) - Number(b))).toEqual([1, 1, 1, 2, 2, 3]))
  })

  test('repeats also what was refused in part, and counts for one address', async () => {
    const body = JSON.stringify([temperature('again-part', 1), { no: 'event' }])
    for (let i = 0; i < 2; i++) expect((await post(body, { 'idempotency-key': 'k' })).json).toMatchObject({ accepted: 1, rejected: 1 })
    for (const device of ['again-a', 'again-b', 'again-a'])
      await post('{"temperature":{"value":1}}', { 'idempotency-key': 'k' }, `/v2/projects/default/devices/${device}:publish`)
    await eventually(async () =>
      expect([await valuesOf('again-part'), await valuesOf('again-a'), await valuesOf('again-b')]).toEqual([[1], [1], [1]]),
    )
  })

  test.each(['', 'x'.repeat(257), 'ä'])('%j is refused', async key => {
    expect((await post(JSON.stringify(temperature('keyless', 1)), { 'idempotency-key': key })).json).toMatchObject({
      code: 400,
      field: 'header idempotency-key',
    })
  })
})

describe('InfluxDB clients', () => {
  const TIME_MS = 1_772_433_669_104
  const token = () => `${telltale.key.keyId}:${telltale.key.secret}`
  const written = async (device: string) =>
    (await stored(telltale, device)).map(({ eventType, data, timestamp }) => ({ eventType, data: data[eventType], timestamp }))
  const write = (path: string, body: string | Buffer, headers: Record<string, string> = {}) =>
    fetch(`${telltale.url()}${path}`, { method: 'POST', body, headers: { authorization: `Token ${token()}`, ...headers } })

  test('of 2.x write with the official client as it is, packed and with hostile names', async () => {
    const writer = new InfluxDB({ url: telltale.url(), token: token() }).getWriteApi('any', 'default', 'ms', {
      maxRetries: 0,
      gzipThreshold: 100,
      flushInterval: 0,
    })
    const hostile = 'a,b c=d"e\\f'
    writer.writePoint(
      new Point('weather')
        .tag('device', 'v2-client')
        .tag(hostile, hostile)
        .floatField(hostile, 1.5)
        .stringField('s', `${hostile}\n2`)
        .booleanField('b', true)
        .intField('i', 7)
        .uintField('u', 8)
        .timestamp(TIME_MS),
    )
    await writer.close()
    await eventually(async () =>
      expect(await written('v2-client')).toMatchObject([
        {
          eventType: 'weather',
          data: { [hostile]: 1.5, [`${hostile}_1`]: hostile, s: `${hostile}\n2`, b: true, i: 7, u: 8 },
          timestamp: '2026-03-02T06:41:09.104000Z',
        },
      ]),
    )
  })

  test('of 1.x write by the path of the official client, and are told of bad lines while the good ones are kept', async () => {
    const writer = new InfluxDB({ url: telltale.url(), token: token() }).getWriteApi('', '', 's', { maxRetries: 0, flushInterval: 0 })
    writer.path = '/write?db=telegraf&rp=autogen&precision=s'
    writer.writeRecords([
      `t,device=v1-client value=1 ${(TIME_MS / 1000) | 0}`,
      '# a comment',
      '',
      't,device=v1-client value=',
      't,device=v1-client value=2',
    ])
    const error = await writer.flush().then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(HttpError)
    expect(error).toMatchObject({
      statusCode: 400,
      json: { error: expect.stringMatching(/^partial write: line 4: fields\.value: .* dropped=1$/) },
    })
    await eventually(async () => expect(await written('v1-client')).toHaveLength(2))
  })

  test.each([
    ['/api/v2/write?org=o&bucket=default&precision=ns', 204, undefined],
    ['/api/v2/write?org=o&bucket=default/autogen', 204, undefined],
    ['/api/v2/write?org=o&bucket=other', 404, { code: 'not found', message: 'bucket "other" not found' }],
    ['/api/v2/write?org=o', 400, { code: 'invalid', message: 'bucket: expected the id of a project' }],
    [
      '/api/v2/write?bucket=default&precision=d',
      400,
      { code: 'invalid', message: expect.stringContaining('precision: expected one of n, ns') },
    ],
    ['/write?db=default', 204, undefined],
    ['/write?db=telegraf&consistency=one', 204, undefined],
    ['/write', 400, { error: 'db: database is required' }],
  ])('that write to %s get %i', async (path, status, body) => {
    const answer = await write(path, 'x,device=paths value=1')
    expect([answer.status, answer.headers.get('x-influxdb-version')]).toEqual([status, expect.any(String)])
    const text = await answer.text()
    if (body) expect(JSON.parse(text)).toEqual(body)
    else expect(text).toBe('')
  })

  test('show who they are in every way of theirs, and are refused in their words', async () => {
    const { keyId, secret } = telltale.key
    const before = telltale.program().said().length
    const ways: [path: string, authorization: string | undefined, status: number][] = [
      ['/write?db=x', basic(), 204],
      [`/write?db=x&u=${keyId}&p=${encodeURIComponent(secret)}`, undefined, 204],
      [`/write?db=x&u=${keyId}&p=wrong`, undefined, 401],
      ['/api/v2/write?bucket=default', basic(), 204],
      ['/api/v2/write?bucket=default', `Token ${keyId}:wrong`, 401],
      [`/api/v2/write?bucket=default&u=${keyId}&p=${encodeURIComponent(secret)}`, undefined, 401],
      ['/api/v2/write?bucket=default', undefined, 401],
    ]
    for (const [path, authorization, status] of ways) {
      const answer = await fetch(`${telltale.url()}${path}`, {
        method: 'POST',
        body: 'x,device=ways value=1',
        headers: authorization ? { authorization } : {},
      })
      expect([path, answer.status]).toEqual([path, status])
      if (status === 401)
        expect(await answer.json()).toMatchObject(
          path.startsWith('/api') ? { code: 'unauthorized' } : { error: expect.stringMatching(/^authorization failed/) },
        )
    }
    expect(telltale.program().said().slice(before) + telltale.program().complained()).not.toContain(secret)
    const { text } = await telltale.http('/v2/projects/default/quarantine')
    expect(text).not.toContain(secret)
  })

  test('ask whether anybody is there, and make their database', async () => {
    const get = (path: string, method = 'GET') => fetch(`${telltale.url()}${path}`, { method })
    for (const method of ['GET', 'HEAD']) expect((await get('/ping', method)).status).toBe(204)
    expect(await (await get('/ping?verbose=true')).json()).toMatchObject({ version: expect.any(String) })
    expect(await (await get('/health')).json()).toMatchObject({ name: 'influxdb', status: 'pass' })
    const query = (q: string) =>
      fetch(`${telltale.url()}/query`, { method: 'POST', body: new URLSearchParams({ q }), headers: { authorization: basic() } })
    const made = await query('CREATE DATABASE "telegraf"')
    expect([made.status, await made.json()]).toEqual([200, { results: [{ statement_id: 0 }] }])
    const other = await query('SELECT * FROM cpu')
    expect([other.status, await other.json()]).toEqual([400, { error: expect.stringContaining('CREATE DATABASE') }])
    const startMs = performance.now()
    expect((await query(`CREATE DATABASE a${' '.repeat(500_000)}x`)).status).toBe(400)
    expect(performance.now() - startMs).toBeLessThan(2000)
    expect((await fetch(`${telltale.url()}/query?q=CREATE+DATABASE+x`, { method: 'POST' })).status).toBe(401)
  })
})
