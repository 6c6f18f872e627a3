// HTTP clients as a process of their own, on raw sockets that are kept: one request after the other on each, as fast as answers come.
import { connect, type Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { answer } from './child.ts'
import { Histogram, type Latency } from './histogram.ts'
import { EventPacket, monotonicUs } from './wire.ts'

export type Form = 'one' | 'array' | 'lines' | 'gzip' | 'endless' | 'influx' | 'influx gzip'

export type PostOptions = {
  readonly port: number
  readonly path: string
  readonly authorization: string | undefined
  readonly form: Form
  readonly connections: number
}

export type Posting = { readonly seconds: number }

export type Posted = {
  readonly events: number
  /** From the first request to the last answer. */
  readonly seconds: number
  readonly latency: Latency
  /** Of the first answer that was no success, when there was one. */
  readonly refusal: string | undefined
}

const BATCH = 1000
const DEVICES = 1000
const COMMA = 44
const NEWLINE = 10
const TYPES: Readonly<Record<Form, string>> = {
  one: 'application/json',
  array: 'application/json',
  lines: 'application/x-ndjson',
  gzip: 'application/x-ndjson',
  endless: 'application/x-ndjson',
  influx: 'text/plain',
  'influx gzip': 'text/plain',
}

/** Bodies, each of events that nobody has sent before. */
class Bodies {
  readonly #packet = new EventPacket('default')
  readonly #scratch = Buffer.alloc(this.#packet.length)
  readonly #form: Form
  readonly events: number
  #sequence = 0

  constructor(form: Form) {
    this.#form = form
    this.events = form === 'one' ? 1 : BATCH
  }

  next(): Buffer {
    if (this.#form === 'array') return this.#joined(COMMA)
    const lines = this.#form.startsWith('influx') ? this.#points() : this.#joined(NEWLINE)
    return this.#form.endsWith('gzip') ? gzipSync(lines, { level: 1 }) : lines
  }

  #joined(separator: number): Buffer {
    const { length, bodyAt } = this.#packet
    const each = length - bodyAt + 1
    const isArray = separator === COMMA
    const bytes = Buffer.allocUnsafe(this.events * each + (isArray ? 1 : 0))
    const first = isArray ? 1 : 0
    const nowUs = monotonicUs()
    for (let i = 0; i < this.events; i++) {
      const sequence = this.#sequence++
      this.#packet.write(this.#scratch, 0, 1, (sequence * 7919) % DEVICES, sequence, nowUs)
      this.#scratch.copy(bytes, first + i * each, bodyAt)
      bytes[first + (i + 1) * each - 1] = separator
    }
    if (!isArray) return bytes
    bytes[0] = 0x5b
    bytes[bytes.length - 1] = 0x5d
    return bytes
  }

  #points(): Buffer {
    const nowMs = Date.now()
    const lines = Array.from({ length: BATCH }, () => {
      const sequence = this.#sequence++
      const value = (10 + (sequence % 4000) / 100).toFixed(2)
      return `temperature,device=d${(sequence * 7919) % DEVICES} value=${value} ${nowMs}${String(sequence % 1_000_000).padStart(6, '0')}`
    })
    return Buffer.from(lines.join('\n'))
  }
}

type Answer = { readonly status: number; readonly head: string }

/** One connection; `heard` is called once per answer, with its end. */
class Poster {
  readonly #options: PostOptions
  readonly #socket: Socket
  #said: Buffer = Buffer.alloc(0)
  heard: (answer: Answer) => void = () => {}

  constructor(options: PostOptions) {
    this.#options = options
    this.#socket = connect({ port: options.port, host: '127.0.0.1', noDelay: true })
    this.#socket.on('data', chunk => this.#take(chunk))
    this.#socket.on('error', error => this.heard({ status: 0, head: error.message }))
    this.#socket.on('close', () => this.heard({ status: 0, head: 'connection closed by the server' }))
  }

  send(body: Buffer): void {
    this.#socket.write(this.#head(`content-length: ${body.length}`))
    this.#socket.write(body)
  }

  /** Without end, until `more` has none; a piece when the last one is on its way. */
  sendAll(more: () => Buffer | undefined): void {
    this.#socket.write(this.#head('transfer-encoding: chunked'))
    const go = () => {
      for (;;) {
        const piece = more()
        if (piece === undefined) return void this.#socket.write('0\r\n\r\n')
        this.#socket.write(`${piece.length.toString(16)}\r\n`)
        this.#socket.write(piece)
        if (!this.#socket.write('\r\n')) return void this.#socket.once('drain', go)
      }
    }
    go()
  }

  #head(...more: string[]): string {
    const { path, authorization, form } = this.#options
    const lines = [`POST ${path} HTTP/1.1`, 'host: localhost', `content-type: ${TYPES[form]}`, ...more]
    if (authorization !== undefined) lines.push(`authorization: ${authorization}`)
    if (form.endsWith('gzip')) lines.push('content-encoding: gzip')
    return `${lines.join('\r\n')}\r\n\r\n`
  }

  #take(chunk: Buffer): void {
    this.#said = this.#said.length === 0 ? chunk : Buffer.concat([this.#said, chunk])
    const end = this.#said.indexOf('\r\n\r\n')
    if (end < 0) return
    const head = this.#said.toString('latin1', 0, end)
    const size = /content-length: (\d+)/i.exec(head)?.[1]
    const whole =
      size === undefined && /transfer-encoding/i.test(head) ? this.#said.indexOf('0\r\n\r\n', end) + 5 : end + 4 + Number(size ?? 0)
    if (whole < end || this.#said.length < whole) return
    const text = this.#said.toString('latin1', 0, Math.min(whole, end + 500))
    this.#said = this.#said.subarray(whole)
    this.heard({ status: Number(head.slice(9, 12)), head: text })
  }
}

async function prepare(options: PostOptions): Promise<(question: Posting) => Promise<Posted>> {
  const posters = Array.from({ length: options.connections }, () => new Poster(options))
  const bodies = new Bodies(options.form)
  return async ({ seconds }) => {
    const startedUs = monotonicUs()
    const endUs = startedUs + seconds * 1e6
    const histogram = new Histogram()
    let events = 0
    let refusal: string | undefined
    const refused = ({ status, head }: Answer) => {
      if (status >= 200 && status < 300 && status !== 207) return false
      refusal ??= head
      return true
    }
    const one = (poster: Poster, settled: () => void) => {
      if (monotonicUs() >= endUs) return settled()
      const body = bodies.next()
      const sentUs = monotonicUs()
      poster.heard = heard => {
        if (refused(heard)) return settled()
        histogram.add(monotonicUs() - sentUs)
        events += bodies.events
        one(poster, settled)
      }
      poster.send(body)
    }
    const all = (poster: Poster, settled: () => void) => {
      let sent = 0
      poster.heard = heard => {
        if (!refused(heard)) events += sent
        settled()
      }
      poster.sendAll(() => {
        if (monotonicUs() >= endUs || refusal !== undefined) return undefined
        sent += bodies.events
        return bodies.next()
      })
    }
    const work = options.form === 'endless' ? all : one
    await Promise.all(posters.map(poster => new Promise<void>(resolve => work(poster, resolve))))
    return { events, seconds: (monotonicUs() - startedUs) / 1e6, latency: histogram.summary(), refusal }
  }
}

await answer(import.meta.url, prepare)
