// Mutated MQTT packets, HTTP requests and payloads of every format, by one seed: what crashed, hung, was answered by a 5xx, or grew.
import { FORMATS } from '../services/gateway/decode/formats.ts'
import { fuzzPackets } from './fuzzpackets.ts'
import { fuzzPayloads } from './fuzzpayloads.ts'
import { fuzzRequests } from './fuzzrequests.ts'
import { Server } from './server.ts'

export type Finding = { readonly what: string; readonly input: Buffer }
export type Fuzzed = {
  readonly name: string
  readonly sent: number
  readonly slowestMs: number
  /** Memory, from half of the way, when all has been met once, to the end. */
  readonly grownMb: number
  readonly findings: readonly Finding[]
}

export type FuzzOptions = {
  readonly seed: string
  readonly packets: number
  readonly requests: number
  /** Of each format. */
  readonly payloads: number
  say(text: string): void
}

const GROWN_MB = 100

export async function fuzz({ seed, packets, requests, payloads, say }: FuzzOptions): Promise<Fuzzed[]> {
  const all: Fuzzed[] = []
  for (const name of payloads > 0 ? FORMATS.keys() : []) {
    say(`format ${name}`)
    all.push(await fuzzPayloads(name, payloads, seed))
  }
  const server = await Server.start({ env: { TELLTALE_LOG_LEVEL: 'error' } })
  try {
    if (packets > 0) all.push(await fuzzPackets(server, packets, seed, say))
    if (requests > 0) all.push(await fuzzRequests(server, requests, seed, say))
    if (/uncaught|internal error|request failed|unhandled/i.test(server.state))
      all.push({ name: 'the server', sent: 0, slowestMs: 0, grownMb: 0, findings: [{ what: server.state, input: Buffer.alloc(0) }] })
  } finally {
    await server.stop()
  }
  return all
}

/** In words; none when all is well. */
export function problems({ name, findings, grownMb }: Fuzzed): string[] {
  const grown = grownMb > GROWN_MB ? [`${name}: grew by ${Math.round(grownMb)} MB`] : []
  return [...findings.map(({ what, input }) => `${name}: ${what}\n  input (base64): ${input.toString('base64')}`), ...grown]
}
