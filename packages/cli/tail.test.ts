// Following the stream of a real server that hangs up, falls silent, and sends hostile names.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { runCommand } from './command.ts'
import { eventually } from './transport/contract.ts'

type Serve = (response: ServerResponse, query: URLSearchParams) => void

let server: Server
let url: string
let streams: Serve[]
let queries: URLSearchParams[]
let paths: string[]
/** False: whoever asks for a name is left waiting. */
let named: boolean
let stopping: AbortController
let out: PassThrough
let err: PassThrough

beforeEach(async () => {
  streams = []
  queries = []
  paths = []
  named = true
  stopping = new AbortController()
  out = new PassThrough()
  err = new PassThrough()
  server = createServer(answer)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
})
afterEach(async () => {
  stopping.abort()
  server.closeAllConnections()
  await new Promise(resolve => server.close(resolve))
})

function answer(request: IncomingMessage, response: ServerResponse): void {
  const { pathname, searchParams } = new URL(String(request.url), url)
  if (pathname.endsWith(':stream')) {
    paths.push(pathname)
    queries.push(searchParams)
    const serve = streams.shift()
    if (serve === undefined) response.writeHead(200).flushHeaders()
    else serve(response, searchParams)
  } else if (named)
    response.end(
      JSON.stringify({ name: pathname, type: 'x', labels: pathname.endsWith('/d1') ? { name: 'Walk-in \u001b[31mfreezer' } : {} }),
    )
}

function frame(device: string, value: number, cursor: string): string {
  const data = { temperature: { value, updateTime: '2026-03-02T06:41:09.104000Z' } }
  const event = {
    eventId: cursor,
    targetName: `projects/default/devices/${device}`,
    eventType: 'temperature',
    data,
    timestamp: '2026-03-02T06:41:09.104000Z',
  }
  return `${JSON.stringify({ result: { event, cursor } })}\n`
}

const ping = `${JSON.stringify({ result: { event: { eventId: 'p', targetName: 'projects/default', eventType: 'ping', data: null, timestamp: '2026-03-02T06:41:09.104000Z' }, cursor: 'c-ping' } })}\n`

function tail(...args: string[]): Promise<number> {
  return tailIn({}, ...args)
}

function tailIn(more: Record<string, string>, ...args: string[]): Promise<number> {
  const env = { TELLTALE_HTTP_URL: url, TELLTALE_KEY_ID: 'k', TELLTALE_SECRET: 's', ...more }
  return runCommand(['tail', ...args], { out, err, env, stopped: stopping.signal })
}

function text(stream: PassThrough): string {
  return String(stream.read() ?? '')
}

test('each event is a line with time, id and, once it is known, name, type and value, and control characters stay out of the terminal', async () => {
  streams.push(response => {
    response.write(ping + frame('d2', 3, 'c0'))
    const sending = setInterval(() => response.write(frame('d1', -18.4, 'c1')), 20)
    response.on('close', () => clearInterval(sending))
  })
  let shown = ''
  out.on('data', (part: Buffer) => {
    shown += String(part)
  })
  const running = tail()
  await eventually(() => shown.includes('freezer'))
  stopping.abort()
  expect(await running).toBe(0)
  const lines = shown.trimEnd().split('\n')
  expect([lines[0], lines[1], lines.at(-1)].map(line => line?.trim().split(/ {2,}/))).toEqual([
    ['2026-03-02T06:41:09.104Z', 'd2', 'temperature', '3 °C'],
    ['2026-03-02T06:41:09.104Z', 'd1', 'temperature', '-18.4 °C'],
    ['2026-03-02T06:41:09.104Z', 'd1 (Walk-in \ufffd[31mfreezer)', 'temperature', '-18.4 °C'],
  ])
})

test('names are in one column, as wide as the widest so far; of an event without a main value all that it says is shown', async () => {
  const power = { targetName: 'projects/default/devices/p', eventType: 'power', data: { power: { watts: 5, updateTime: 'x' } } }
  const long = 'a-device-with-a-name-of-more-than-28'
  const event = JSON.stringify({ result: { event: { ...power, timestamp: '2026-03-02T06:41:09.104000Z' }, cursor: 'c' } })
  streams.push(response => response.write(`${frame('d2', 1, 'c1')}${frame(long, 2, 'c2')}${event}\n`))
  expect(await tail('--count', '3')).toBe(0)
  const lines = text(out).trimEnd().split('\n')
  expect(lines.map(line => line.search(/temperature|power/))).toEqual([56, 64, 64])
  expect(lines[2]).toMatch(/ {2}\{"watts":5\}$/)
})

test('--since is a time or how long ago', async () => {
  streams.push(response => response.write(frame('d1', 1, 'c1')))
  expect(await tail('--since', '10m', '--count', '1')).toBe(0)
  const ago = Date.now() - Date.parse(queries[0]?.get('since') ?? '')
  expect(ago).toBeGreaterThanOrEqual(600_000)
  expect(ago).toBeLessThan(605_000)
  expect(await tail('--since', 'yesterday')).toBe(2)
  expect(text(err)).toContain('--since: expected a time such as 2026-03-01T08:00:00Z, or how long ago such as 10m, got "yesterday"')
})

test('no line waits for a name', async () => {
  named = false
  streams.push(response => response.write(frame('d1', 1, 'c1') + frame('d1', 2, 'c2')))
  const started = performance.now()
  expect(await tail('--count', '2')).toBe(0)
  expect(performance.now() - started).toBeLessThan(2000)
  expect(text(out)).not.toContain('Walk-in')
})

test('filters are handed to the server', async () => {
  streams.push(response => response.write(frame('d1', 1, 'c1')))
  await tail(
    '--device',
    'd1',
    '--device',
    'd2',
    '--type',
    'temperature',
    '--device-type',
    't',
    '--label',
    'room=a',
    '--label',
    'x',
    '--label-match',
    'any',
    '--product',
    '102058',
    '--slow',
    'latest',
    '--since',
    '2026-03-01T08:00:00+01:00',
    '--count',
    '1',
  )
  expect(queries[0]?.toString()).toBe(
    'ping_interval=10s&device_ids=d1&device_ids=d2&device_types=t&event_types=temperature&label_filters=room%3Da&label_filters=x&label_match=any&product_numbers=102058&slow_policy=latest&since=2026-03-01T07%3A00%3A00.000Z',
  )
})

test('after a lost connection it goes on from the last cursor, and lines cut in two are whole again', async () => {
  const [head, rest] = [frame('d1', 2, 'c2').slice(0, 40), frame('d1', 2, 'c2').slice(40)]
  streams.push(
    response => {
      response.write(frame('d1', 1, 'c1') + head)
      setTimeout(() => response.destroy(), 20)
    },
    response => {
      response.write(head)
      setTimeout(() => response.write(rest), 20)
    },
  )
  expect(await tail('--count', '2', '--json')).toBe(0)
  expect(text(out)).toBe(frame('d1', 1, 'c1') + frame('d1', 2, 'c2'))
  expect(queries.map(query => query.get('cursor'))).toEqual([null, 'c1'])
  expect(text(err)).toMatch(/^connection lost \(http:\S+ hung up: .*\), going on from the last event\nconnected again\n$/)
})

test('a silence longer than a ping and two seconds is a lost connection; the cursor of a ping counts', async () => {
  streams.push(
    response => response.write(ping),
    response => response.write(frame('d1', 1, 'c1')),
  )
  const started = performance.now()
  expect(await tail('--ping', '100ms', '--count', '1')).toBe(0)
  expect(performance.now() - started).toBeGreaterThan(2000)
  expect(queries[1]?.get('cursor')).toBe('c-ping')
  expect(text(err)).toMatch(/was silent for 2100ms/)
})

test('a server that says 503 is asked again when it said', async () => {
  streams.push(
    response => response.writeHead(503, { 'retry-after': '1' }).end('{"error":{"message":"starting"}}'),
    response => response.write(frame('d1', 1, 'c1')),
  )
  const started = performance.now()
  expect(await tail('--count', '1')).toBe(0)
  expect(performance.now() - started).toBeGreaterThan(990)
})

test('a closing frame is followed by another connection, a refusal by the end', async () => {
  streams.push(
    response => response.end(`${frame('d1', 1, 'c1')}{"error":{"code":408,"message":"closing stream"}}\n`),
    response => response.end('{"error":{"code":403,"message":"no longer"}}\n'),
  )
  expect(await tail('--json')).toBe(1)
  expect(text(err)).toMatch(/connection lost \(closing stream\).*\nerror: .* answered 403 .*no longer\n$/s)
})

test.each([
  [401, '{"error":{"code":401,"message":"x"}}', /error: http:\S+ does not accept the key k and its secret\n/],
  [404, '{"error":{"code":404,"message":"no project default"}}', /error: .* answered 404 to devices:stream: no project default\n/],
])('a %i at the start is said once, with exit code 1', async (status, body, message) => {
  streams.push(response => response.writeHead(status).end(body))
  expect(await tail()).toBe(1)
  expect(text(err)).toMatch(message)
})

test('Ctrl-C ends it with 0', async () => {
  const running = tail()
  await eventually(() => queries.length === 1)
  stopping.abort()
  expect(await running).toBe(0)
})

const gap = `${JSON.stringify({ result: { event: { eventId: 'g', targetName: 'projects/default', eventType: 'gap', data: { gap: { from: 'c1', to: 'c7' } }, timestamp: '2026-03-02T06:41:10.104000Z' } } })}\n`

test('missing events are said loudly, the rest is shown, and the exit code is 1', async () => {
  streams.push(response => response.write(frame('d1', 1, 'c1') + gap + frame('d1', 8, 'c8')))
  expect(await tail('--count', '2')).toBe(1)
  expect(text(out).trimEnd().split('\n')).toHaveLength(2)
  expect(text(err)).toMatch(/^GAP 2026-03-02T06:41:10.104000Z: events are missing.*after c1, up to c7\)\n$/)
})

test('as JSON a gap is a line in its place', async () => {
  streams.push(response => response.write(frame('d1', 1, 'c1') + gap + frame('d1', 8, 'c8')))
  expect(await tail('--count', '2', '--json')).toBe(1)
  const lines = text(out).trimEnd().split('\n')
  expect(lines.map(line => (JSON.parse(line) as { result: { event: { eventType: string } } }).result.event.eventType)).toEqual([
    'temperature',
    'gap',
    'temperature',
  ])
})

test('alarms are followed on their own stream', async () => {
  const alarm = { alarmId: 'a', rule: 'hot', device: 'd1', labels: {}, state: 'active', severity: 'critical' }
  const more = { since: '2026-03-02T06:41:09.104000Z', message: '31 is too hot\u001b[2J', episode: 1, version: 1, acknowledgement: null }
  streams.push(response => response.write(`${JSON.stringify({ result: { alarm: { ...alarm, ...more }, cursor: 'c1' } })}\n`))
  expect(await tail('--alarms', '--count', '1')).toBe(0)
  expect(paths).toEqual(['/v2/projects/default/alarms:stream'])
  expect(text(out)).toMatch(/^2026-03-02T06:41:09.104Z {2}d1 +active critical.*hot: 31 is too hot\ufffd\[2J\n$/)
})

test('with --resume the next tail goes on where the last one ended', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-tail-'))
  const file = join(folder, 'place')
  try {
    streams.push(response => response.write(frame('d1', 1, 'c1') + frame('d1', 2, 'c2')))
    streams.push(response => response.write(frame('d1', 2, 'c2')))
    expect(await tail('--resume', file, '--count', '1')).toBe(0)
    expect(readFileSync(file, 'utf8')).toBe('c1\n')
    expect(await tail('--resume', file, '--count', '1')).toBe(0)
    expect(queries.map(query => query.get('cursor'))).toEqual([null, 'c1'])
    expect(readFileSync(file, 'utf8')).toBe('c2\n')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a place that cannot be kept ends it with a message, whether at once or when the disk is full later', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'telltale-tail-'))
  try {
    streams.push(response => response.write(ping + frame('d1', 1, 'c1')))
    expect(await tail('--resume', join(folder, 'missing', 'place'))).toBe(1)
    expect(text(err)).toMatch(/error: --resume: \S+missing\/place cannot be written \(ENOENT\)\n$/)
    streams.push(response => response.write(frame('d1', 1, 'c1')))
    expect(await tail('--resume', folder, '--count', '1')).toBe(2)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('on a terminal types have colours and the rate stands below; NO_COLOR is respected', async () => {
  Object.assign(out, { isTTY: true })
  Object.assign(err, { isTTY: true, columns: 100 })
  streams.push(response => {
    response.write(frame('d1', 1, 'c1'))
    void eventually(() => shown.includes('events/s')).then(() => response.write(frame('d1', 2, 'c2')))
  })
  let shown = ''
  err.on('data', (part: Buffer) => {
    shown += String(part)
  })
  expect(await tail('--count', '2')).toBe(0)
  expect(text(out)).toContain('\u001b[36mtemperature')
  expect(shown).toContain('\r\u001b[2K')
  // Cleared for the second line, it stands below that again.
  const drawn = shown.split('\r\u001b[2K')
  expect(drawn.some((text, i) => i > 0 && text === '' && drawn[i + 1]?.includes(' 1 events · '))).toBe(true)
  expect(shown).toMatch(/[\d.]+ events\/s · 1 events · [\d.]+ s behind · 0 reconnects/)
  streams.push(response => response.write(frame('d1', 1, 'c1')))
  expect(await tailIn({ NO_COLOR: '1' }, '--count', '1')).toBe(0)
  expect(text(out)).not.toContain('\u001b[36m')
})
