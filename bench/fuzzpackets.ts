// Mutated MQTT packets against a running server: it must cut off what is wrong and go on serving everybody else.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { generate, type Packet } from 'mqtt-packet'
import type { Finding, Fuzzed } from './fuzzing.ts'
import { Dice, mutated } from './mutation.ts'
import { usageOf } from './process.ts'
import type { Server } from './server.ts'

const CONNECTIONS = 32
const PACKETS_EACH = 20
const PROBE_EVERY = 200
const HANG_MS = 1000
const PATIENCE_MS = 5000

/** One of each kind, and of the kinds that have several forms more. */
function packets(): readonly Buffer[] {
  const topic = 'projects/default/devices/fuzz/events/temperature'
  const all: Packet[] = [
    { cmd: 'publish', topic, payload: '21.5', qos: 0, dup: false, retain: false },
    { cmd: 'publish', topic, payload: '{"value":21.5}', qos: 1, dup: false, retain: false, messageId: 7 },
    { cmd: 'publish', topic: 'projects/default/topics/a/b', payload: 'x', qos: 2, dup: false, retain: true, messageId: 8 },
    { cmd: 'publish', topic: 'spBv1.0/g/NDATA/n', payload: Buffer.from([8, 1, 24, 0]), qos: 1, dup: true, retain: false, messageId: 9 },
    { cmd: 'puback', messageId: 7 },
    { cmd: 'pubrec', messageId: 8 },
    { cmd: 'pubrel', messageId: 8 },
    { cmd: 'pubcomp', messageId: 8 },
    { cmd: 'subscribe', messageId: 10, subscriptions: [{ topic: 'projects/default/topics/+/#', qos: 1 }] },
    { cmd: 'unsubscribe', messageId: 11, unsubscriptions: ['projects/default/topics/+/#'] },
    { cmd: 'pingreq' },
    { cmd: 'disconnect' },
  ]
  return all.map(packet => generate(packet))
}

function hello(server: Server, clientId: string): Buffer {
  const { user, password } = server.login
  const will = { topic: 'projects/default/topics/will', payload: Buffer.from('gone'), qos: 1, retain: false } as const
  const login = { username: user, password: Buffer.from(password) }
  return generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId, clean: true, keepalive: 5, will, ...login })
}

export async function fuzzPackets(server: Server, count: number, seed: string, say: (text: string) => void): Promise<Fuzzed> {
  const findings: Finding[] = []
  const kinds = packets()
  const state = { sent: 0, round: 0, slowestMs: 0, warmMb: 0 }
  const client = async (number: number) => {
    const dice = new Dice(seed, `packets ${number}`)
    while (state.sent < count && findings.length === 0) {
      const round = state.round++
      const bytes = volley(server, kinds, dice, `fuzz-${number}`)
      state.sent += PACKETS_EACH
      await fire(server, bytes)
      if (round % PROBE_EVERY !== 0) continue
      const tookMs = await probe(server)
      state.slowestMs = Math.max(state.slowestMs, tookMs)
      if (tookMs > HANG_MS) findings.push({ what: `a good client waited ${Math.round(tookMs)} ms`, input: bytes })
      if (state.warmMb === 0 && state.sent > count / 2) state.warmMb = rssOf(server)
      say(`packets ${state.sent} of ${count}`)
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, (_, i) => client(i)))
  state.slowestMs = Math.max(state.slowestMs, await probe(server))
  return { name: 'MQTT packets', sent: state.sent, slowestMs: state.slowestMs, grownMb: rssOf(server) - state.warmMb, findings }
}

function rssOf(server: Server): number {
  return usageOf(server.pid).find(({ pid }) => pid === server.pid)?.rssMb ?? 0
}

/** Mostly a good CONNECT before what is wrong: a bad one ends it all at once. */
function volley(server: Server, kinds: readonly Buffer[], dice: Dice, clientId: string): Buffer {
  const first = hello(server, clientId)
  const opening = dice.below(5) === 0 ? mutated(first, dice, kinds) : first
  const rest = Array.from({ length: PACKETS_EACH - 1 }, () => {
    const packet = dice.pick(kinds)
    return dice.below(4) === 0 ? packet : mutated(packet, dice, kinds)
  })
  return Buffer.concat([opening, ...rest])
}

/** Until it is cut off, or has answered for a moment: what is half a packet is waited for by design. */
async function fire(server: Server, bytes: Buffer): Promise<void> {
  const socket = connect({ port: server.mqttPort, host: '127.0.0.1', noDelay: true })
  // Also after a reset, which who is cut off in the middle of a sentence gets.
  const closed = new Promise<void>(resolve => socket.once('close', () => resolve()))
  socket.on('error', () => socket.destroy())
  socket.resume()
  socket.end(bytes)
  const late = setTimeout(() => socket.destroy(), PATIENCE_MS)
  await closed
  clearTimeout(late)
}

/** How long CONNACK and a PUBACK take a good client. Rejects when they do not come. */
async function probe(server: Server): Promise<number> {
  const startMs = performance.now()
  const socket = connect({ port: server.mqttPort, host: '127.0.0.1', noDelay: true })
  try {
    await answers(socket, hello(server, 'probe'), 0x20, server)
    const topic = 'd/probe/temperature'
    await answers(socket, generate({ cmd: 'publish', topic, payload: '1', qos: 1, dup: false, retain: false, messageId: 1 }), 0x40, server)
    return performance.now() - startMs
  } finally {
    socket.destroy()
  }
}

async function answers(socket: Socket, bytes: Buffer, first: number, server: Server): Promise<void> {
  socket.write(bytes)
  const signal = AbortSignal.timeout(PATIENCE_MS)
  for (;;) {
    const [part] = (await once(socket, 'data', { signal }).catch((error: unknown) => {
      throw new Error(`a good client was not answered; ${server.state}`, { cause: error })
    })) as [Buffer]
    if (part[0] === first) return
  }
}
