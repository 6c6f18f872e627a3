// Mutated HTTP requests, head and body, against a running server: each is answered below 500, or its connection closed, soon.
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { Finding, Fuzzed } from './fuzzing.ts'
import { Dice, mutated } from './mutation.ts'
import { usageOf } from './process.ts'
import type { Server } from './server.ts'

const CONNECTIONS = 16
const HANG_MS = 1000
const LINE = '{"targetName":"projects/default/devices/fuzz","eventType":"temperature","data":{"temperature":{"value":21.5}}}'

type Part = { readonly head: string; readonly body: Buffer }

function requests(): readonly Part[] {
  const filters = Array.from({ length: 50 }, (_, i) => `a/${i}${'/+'.repeat(8)}`)
  const post = (path: string, type: string, body: string | Buffer, more = '', method = 'POST') => ({
    head: `${method} ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: ${type}\r\n${more}`,
    body: Buffer.from(body),
  })
  return [
    post('/v2/projects/default/events', 'application/json', LINE),
    post('/v2/projects/default/events', 'application/json', `[${LINE},${LINE}]`, 'Idempotency-Key: k1\r\n'),
    post('/v2/projects/default/events', 'application/x-ndjson', `${LINE}\n${LINE}\n`),
    post('/v2/projects/default/events', 'application/json', gzipSync(LINE), 'Content-Encoding: gzip\r\n'),
    post('/v2/projects/default/events', 'application/cbor', Buffer.from('a16b74656d7065726174757265fb4035800000000000', 'hex')),
    post('/v2/projects/default/devices/fuzz:publish', 'application/json', '{"temperature":{"value":21.5}}'),
    post('/api/v2/write?bucket=default&precision=ms', 'text/plain', 'weather,device=fuzz temp=21.5,ok=true,n=3i,s="a b" 1769860800000'),
    post(
      '/v2/projects/default/decoders/fuzz',
      'application/json',
      JSON.stringify({ format: 'json', topics: filters, device: '{2}' }),
      '',
      'PUT',
    ),
    post('/v2/projects/default/decoders:test', 'application/json', JSON.stringify({ topic: filters[0], payload: 21.5 })),
    post('/write?db=default&precision=s', 'text/plain', 'cpu,host=fuzz usage=1.5'),
  ]
}

export async function fuzzRequests(server: Server, count: number, seed: string, say: (text: string) => void): Promise<Fuzzed> {
  const findings: Finding[] = []
  const state = { sent: 0, slowestMs: 0, warmMb: 0 }
  const kinds = requests()
  const client = async (number: number) => {
    const dice = new Dice(seed, `requests ${number}`)
    while (state.sent < count && findings.length === 0) {
      const bytes = request(server, dice.pick(kinds), dice)
      const sent = state.sent++
      const { status, tookMs } = await ask(server, bytes)
      state.slowestMs = Math.max(state.slowestMs, tookMs)
      if (status >= 500 && status !== 505) findings.push({ what: `answered ${status}`, input: bytes })
      if (tookMs > HANG_MS) findings.push({ what: `took ${Math.round(tookMs)} ms`, input: bytes })
      if (sent === Math.floor(count / 2)) state.warmMb = rssOf(server)
      if (sent % 10_000 === 0) say(`requests ${sent} of ${count}`)
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, (_, i) => client(i)))
  if ((await fetch(`http://127.0.0.1:${server.httpPort}/readyz`)).status !== 200)
    findings.push({ what: 'not ready afterwards', input: Buffer.alloc(0) })
  return { name: 'HTTP requests', sent: state.sent, slowestMs: state.slowestMs, grownMb: rssOf(server) - state.warmMb, findings }
}

function rssOf(server: Server): number {
  return usageOf(server.pid).find(({ pid }) => pid === server.pid)?.rssMb ?? 0
}

/** The length is right more often than not: else the body is not looked at. */
function request(server: Server, { head, body: good }: Part, dice: Dice): Buffer {
  const body = dice.below(4) === 0 ? good : mutated(good, dice, [good])
  const whole = `${head}Authorization: ${server.authorization}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`
  const first = Buffer.from(whole)
  return Buffer.concat([dice.below(4) === 0 ? mutated(first, dice, [first]) : first, body])
}

/** Status 0: closed without an answer. What is cut short is ended by us, so nobody waits for the rest of it. */
async function ask(server: Server, bytes: Buffer): Promise<{ status: number; tookMs: number }> {
  const startMs = performance.now()
  const socket = connect({ port: server.httpPort, host: '127.0.0.1' })
  let answer = ''
  socket.setEncoding('latin1').on('data', (part: string) => {
    if (answer.length < 100) answer += part
  })
  socket.on('error', () => socket.destroy())
  // Also after a reset, which who is cut off in the middle of a sentence gets.
  const closed = new Promise<void>(resolve => socket.once('close', () => resolve()))
  socket.end(bytes)
  await closed
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 0), tookMs: performance.now() - startMs }
}
