// A stream of the page, through the client, against a real server of lines.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { Telltale } from '../../../packages/client/index.ts'
import { Live, linkState } from './live.ts'

const event = {
  eventId: 'e',
  targetName: 'projects/p/devices/d',
  eventType: 'temperature',
  data: { temperature: { value: 1 } },
  timestamp: '2026-01-01T00:00:00.000000Z',
}
const ping = { ...event, eventType: 'ping', targetName: 'projects/p', data: null }
const opened: { close(): void }[] = []

afterEach(() => {
  for (const one of opened.splice(0)) one.close()
})

type Serve = (response: ServerResponse, attempt: number) => void

/** A server that answers each request as `answer` says and remembers what was asked. */
async function serve(answer: Serve) {
  const asked: URLSearchParams[] = []
  const server: Server = createServer((request: IncomingMessage, response) => {
    asked.push(new URL(request.url ?? '', 'http://x').searchParams)
    answer(response, asked.length)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  opened.push({
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  })
  return { asked, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

function follow(url: string, take: (item: unknown) => void = () => {}) {
  const client = new Telltale({ url, project: 'p', auth: 'session' })
  const items: unknown[] = []
  const states: string[] = []
  const faults: unknown[] = []
  const seen = { fresh: 0, pings: 0, probes: 0 }
  const live: Live<unknown> = new Live<unknown>({
    ping: '100ms',
    open: options => client.stream(options),
    onItem: item => {
      items.push(item)
      take(item)
    },
    onFault: error => faults.push(error),
    onPing: () => seen.pings++,
    onFresh: () => seen.fresh++,
    onLink: () => states.push(live.state(true)),
    probe: async () => seen.probes++,
  })
  opened.push(live)
  return { live, items, states, faults, seen }
}

function say(response: ServerResponse, ...lines: object[]): void {
  response.write(lines.map(line => `${JSON.stringify(line)}\n`).join(''))
}

test('a connection that breaks is made again at the last cursor, and the state is loaded once', async () => {
  const server = await serve((response, attempt) => {
    say(response, { result: { event, cursor: `c${attempt}` } })
    if (attempt === 1) response.end()
  })
  const page = follow(server.url)
  await vi.waitFor(() => expect(page.items).toHaveLength(2), 5000)
  expect(server.asked.map(query => query.get('cursor'))).toEqual([null, 'c1'])
  expect(page.states).toEqual(['live', 'reconnecting', 'live'])
  expect(page.seen.fresh).toBe(1)
})

test('a server that opens streams and sends nothing is not called live', async () => {
  const server = await serve((response, attempt) => {
    if (attempt === 1) response.flushHeaders()
    else say(response, { result: { event: ping } })
  })
  const page = follow(server.url)
  await vi.waitFor(() => expect(server.asked).toHaveLength(2), 5000)
  await vi.waitFor(() => expect(page.states).toEqual(['live']), 5000)
})

test('a cursor that a healthy server does not take is given up and the state loaded afresh', async () => {
  const server = await serve((response, attempt) => {
    if (server.asked.at(-1)?.has('cursor')) return void response.writeHead(400).end('{"error":{"code":400,"message":"cursor: unknown"}}')
    say(response, { result: { event: ping, cursor: 'gone' } })
    if (attempt === 1) response.end()
  })
  const page = follow(server.url)
  await vi.waitFor(() => expect(page.seen.fresh).toBe(2), 10_000)
  expect(server.asked.map(query => query.get('cursor'))).toEqual([null, 'gone', null])
  expect(page.seen.probes).toBe(1)
})

test('a gap is handed on, and the stream goes on behind it', async () => {
  const gap = { ...event, eventType: 'gap', data: { gap: { from: 'a', to: 'b' } } }
  const server = await serve((response, attempt) => {
    if (attempt === 1) response.end(`${JSON.stringify({ result: { event: gap } })}\n`)
    else response.flushHeaders()
  })
  const page = follow(server.url)
  await vi.waitFor(() => expect(server.asked[1]?.get('cursor')).toBe('b'), 5000)
  expect(page.items).toMatchObject([{ eventType: 'gap' }])
})

test('an item that the page cannot take is reported, and the stream goes on behind it', async () => {
  const server = await serve((response, attempt) => say(response, { result: { event, cursor: `c${attempt}` } }))
  const page = follow(server.url, () => {
    if (page.items.length === 1) throw new TypeError('a mistake')
  })
  await vi.waitFor(() => expect(page.items).toHaveLength(2), 5000)
  expect(server.asked.map(query => query.get('cursor'))).toEqual([null, 'c1'])
  expect(page.states).toEqual(['live', 'reconnecting', 'live'])
  expect(page.faults).toEqual([new TypeError('a mistake')])
})

test('a paused stream holds no connection and resumes at its cursor', async () => {
  let closed = 0
  const server = await serve(response => {
    say(response, { result: { event: ping, cursor: 'c5' } })
    response.on('close', () => (closed += 1))
  })
  const page = follow(server.url)
  await vi.waitFor(() => expect(page.seen.pings).toBe(1), 5000)
  page.live.pause()
  await vi.waitFor(() => expect(closed).toBe(1), 5000)
  page.live.resume()
  await vi.waitFor(() => expect(server.asked[1]?.get('cursor')).toBe('c5'), 5000)
})

test.each([
  [true, 0, true, 'live'],
  [false, 5000, true, 'reconnecting'],
  [false, 61_000, true, 'offline'],
  [true, 0, false, 'offline'],
])('connected %s, silent for %d ms, browser online %s is %s', (connected, silentMs, online, state) => {
  expect(linkState(connected, silentMs, online)).toBe(state)
})
