// The stream with resume, against a real server of server-sent events.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { EventSource } from 'eventsource'
import { afterEach, expect, test, vi } from 'vitest'
import { type Frame, Live, linkState, readFrame, retryDelayMs, streamUrl } from './live.ts'

const event = {
  eventId: 'e',
  targetName: 'projects/p/devices/d',
  eventType: 'temperature',
  data: { temperature: { value: 1 } },
  timestamp: '',
}
const ping = JSON.stringify({ result: { event: { ...event, eventType: 'ping', targetName: 'projects/p', data: null } } })
const opened: { close(): void }[] = []

afterEach(() => {
  for (const one of opened.splice(0)) one.close()
})

/** A server that answers each request as `answer` says and remembers what was asked. */
async function stream(answer: (response: ServerResponse, attempt: number) => void) {
  const asked: string[] = []
  const server: Server = createServer((request: IncomingMessage, response) => {
    asked.push(request.url ?? '')
    answer(response, asked.length)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  opened.push({
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  })
  return { asked, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/devices:stream` }
}

function follow(url: string, probe: () => Promise<'signed-in' | 'signed-out' | 'unreachable'> = async () => 'unreachable') {
  const frames: Frame[] = []
  const states: string[] = []
  let fresh = 0
  const live: Live = new Live({
    url,
    pingMs: 100,
    graceMs: 100,
    retryMs: 30,
    openSource: address => new EventSource(address),
    onFrame: frame => frames.push(frame),
    onFresh: () => (fresh += 1),
    onLink: () => states.push(live.state(true)),
    probe,
  })
  opened.push(live)
  return { live, frames, states, fresh: () => fresh }
}

function begin(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.flushHeaders()
}

test('silence is noticed without an error and the stream resumes at the last cursor', async () => {
  const server = await stream((response, attempt) => {
    begin(response)
    response.write(`id: c${attempt}\ndata: ${JSON.stringify({ result: { event } })}\n\n`)
  })
  const page = follow(server.url)
  await vi.waitFor(() => expect(page.frames).toHaveLength(2), 5000)
  expect(server.asked.slice(0, 2)).toEqual(['/devices:stream?ping_interval=0.1s', '/devices:stream?ping_interval=0.1s&cursor=c1'])
  expect(page.states.slice(0, 3)).toEqual(['live', 'reconnecting', 'live'])
  expect(page.fresh()).toBe(1)
})

test('a server that opens streams and sends nothing is not called live again', async () => {
  const server = await stream((response, attempt) => {
    begin(response)
    if (attempt === 4) response.write(`data: ${ping}\n\n`)
  })
  const page = follow(server.url)
  await vi.waitFor(() => expect(page.frames).toHaveLength(1), 5000)
  expect(page.states).toEqual(['live', 'reconnecting', 'live'])
})

test('pings keep a quiet stream alive', async () => {
  const server = await stream(response => {
    begin(response)
    const timer = setInterval(() => response.write(`data: ${ping}\n\n`), 50)
    response.on('close', () => clearInterval(timer))
  })
  const page = follow(server.url)
  await vi.waitFor(() => expect(page.frames.length).toBeGreaterThan(15), 5000)
  expect(server.asked).toHaveLength(1)
  expect(page.states).toEqual(['live'])
})

test('an error frame ends the connection and the next one resumes', async () => {
  const server = await stream((response, attempt) => {
    begin(response)
    if (attempt === 1) response.write(`id: c9\ndata: ${ping}\n\ndata: {"error":{"code":408,"message":"closing stream"}}\n\n`)
  })
  const page = follow(server.url)
  await vi.waitFor(() => expect(server.asked).toHaveLength(2), 5000)
  expect(server.asked[1]).toContain('cursor=c9')
  expect(page.frames.map(frame => frame.kind)).toEqual(['ping'])
})

test('a cursor that is refused again and again by a healthy server is given up and the state loaded afresh', async () => {
  const server = await stream((response, attempt) => {
    if (attempt > 1 && server.asked.at(-1)?.includes('cursor')) return void response.writeHead(400).end()
    begin(response)
    response.write(`id: gone\ndata: ${ping}\n\n`)
    if (attempt === 1) setTimeout(() => response.destroy(), 20)
  })
  const page = follow(server.url, async () => 'signed-in')
  await vi.waitFor(() => expect(page.fresh()).toBe(2), 15_000)
  expect(server.asked.filter(url => url.includes('cursor=gone'))).toHaveLength(3)
})

test('a paused stream holds no connection and resumes at its cursor', async () => {
  let closed = 0
  const server = await stream(response => {
    begin(response)
    response.write(`id: c5\ndata: ${ping}\n\n`)
    response.on('close', () => (closed += 1))
  })
  const page = follow(server.url)
  await vi.waitFor(() => expect(page.frames).toHaveLength(1), 5000)
  page.live.pause()
  await vi.waitFor(() => expect(closed).toBe(1), 5000)
  page.live.resume()
  await vi.waitFor(() => expect(server.asked[1]).toContain('cursor=c5'), 5000)
})

test.each([
  [true, 0, true, 'live'],
  [false, 5000, true, 'reconnecting'],
  [false, 61_000, true, 'offline'],
  [true, 0, false, 'offline'],
])('connected %s, silent for %d ms, browser online %s is %s', (connected, silentMs, online, state) => {
  expect(linkState(connected, silentMs, online)).toBe(state)
})

test('frames are told apart', () => {
  expect(readFrame(ping).kind).toBe('ping')
  expect(readFrame(JSON.stringify({ result: { event } })).kind).toBe('event')
  expect(readFrame(JSON.stringify({ result: { event: { ...event, eventType: 'gap' } } })).kind).toBe('gap')
  expect(readFrame('{"result":{"alarm":{"alarmId":"a"}}}').kind).toBe('alarm')
  expect(readFrame('{"error":{"code":401,"message":"expired"}}')).toEqual({ kind: 'error', message: 'expired' })
})

test('attempts are spread and never more than 12.5 s apart', () => {
  expect(retryDelayMs(500, 1, 0)).toBe(375)
  expect(retryDelayMs(500, 3, 0.5)).toBe(2000)
  expect(retryDelayMs(500, 1000, 1)).toBe(12_500)
})

test('a cursor is sent as it is, whatever is in it', () => {
  expect(streamUrl('/s', 10_000, 'a&b=1')).toBe('/s?ping_interval=10s&cursor=a%26b%3D1')
})
