// MQTT publishers as a process of their own, with QoS 0, 1 or 2, as fast as their windows allow.
import { connect, type Socket } from 'node:net'
import { answer } from './child.ts'
import { Histogram, type Latency } from './histogram.ts'
import { connectPacket, EventPacket, type Login, monotonicUs, PacketScanner, type Qos } from './wire.ts'

export type KnockOptions = {
  readonly port: number
  readonly login: Login | undefined
  /** Undefined: as events of devices. `d00000` in it is the device's place. */
  readonly topic?: string | undefined
  readonly qos: Qos
  readonly connections: number
  /** Unacknowledged publishes per connection; with QoS 0 a PINGREQ follows each window, and its answer opens the next. */
  readonly window: number
}

export type Knocking = { readonly seconds: number }

export type Knocked = {
  readonly count: number
  /** From the first publish to the last acknowledgement. */
  readonly seconds: number
  readonly ack: Latency
}

const DEVICES = 1000
/** Packet ids are used in turn; more than any window, so that none is in use twice. */
const PACKET_IDS = 8192
const PING = Buffer.from([0xc0, 0])
const PUBACK = 0x40
const PUBREC = 0x50
const PUBCOMP = 0x70
const PINGRESP = 0xd0

/** What the connections of one run share. */
class Run {
  histogram = new Histogram()
  sent = 0
  open = 0
  going = false
  lastUs = 0
  settled = () => {}

  acked(count: number, sentUs: number): void {
    this.lastUs = monotonicUs()
    this.histogram.add(this.lastUs - sentUs)
    this.open -= count
    if (!this.going && this.open === 0) this.settled()
  }
}

class Publisher {
  readonly #options: KnockOptions
  readonly #run: Run
  readonly #socket: Socket
  readonly #packet: EventPacket
  readonly #sentUs = new Float64Array(PACKET_IDS)
  readonly #releases: number[] = []
  #next = 0
  #open = 0

  constructor(options: KnockOptions, run: Run, number: number, ready: () => void) {
    this.#options = options
    this.#run = run
    const { port, login, qos, topic } = options
    this.#packet = new EventPacket('default', topic === undefined ? { qos } : { qos, topic })
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.write(connectPacket(`knock-${process.pid}-${number}`, login))
    const scanner = new PacketScanner((first, bytes, start) => {
      if (first !== 0x20) return this.#take(first, first === PINGRESP ? 0 : bytes.readUInt16BE(start))
      if (bytes[start + 1] !== 0) throw new Error(`connection refused with code ${bytes[start + 1]}`)
      ready()
    })
    this.#socket.on('data', chunk => {
      scanner.push(chunk)
      this.#release()
      this.fill()
    })
    this.#socket.on('close', () => {
      throw new Error('connection closed by the server')
    })
  }

  fill(): void {
    const { window, qos } = this.#options
    const count = window - this.#open
    if (!this.#run.going || count <= 0 || (qos === 0 && this.#open > 0)) return
    const nowUs = monotonicUs()
    const { length } = this.#packet
    const bytes = Buffer.allocUnsafe(count * length)
    for (let i = 0; i < count; i++) {
      const id = this.#next
      this.#next = (this.#next + 1) % PACKET_IDS
      this.#sentUs[id] = nowUs
      const sequence = this.#run.sent++
      this.#packet.write(bytes, i * length, id + 1, (sequence * 7919) % DEVICES, sequence, nowUs)
    }
    this.#open += count
    this.#run.open += count
    this.#socket.write(qos === 0 ? Buffer.concat([bytes, PING]) : bytes)
  }

  #take(first: number, id: number): void {
    if (first === PUBREC) this.#releases.push(id)
    else if (first === PUBACK || first === PUBCOMP) this.#acked(1, this.#sentUs[id - 1] as number)
    else if (first === PINGRESP) this.#acked(this.#open, this.#sentUs[(this.#next + PACKET_IDS - 1) % PACKET_IDS] as number)
    else throw new Error(`a packet of type ${first >> 4} for a publisher`)
  }

  #acked(count: number, sentUs: number): void {
    this.#open -= count
    this.#run.acked(count, sentUs)
  }

  #release(): void {
    if (this.#releases.length === 0) return
    const bytes = Buffer.allocUnsafe(this.#releases.length * 4)
    for (const [i, id] of this.#releases.entries()) bytes.writeUInt32BE(0x62_02_00_00 + id, i * 4)
    this.#releases.length = 0
    this.#socket.write(bytes)
  }
}

async function prepare(options: KnockOptions): Promise<(question: Knocking) => Promise<Knocked>> {
  const run = new Run()
  const publishers: Publisher[] = []
  for (let i = 0; i < options.connections; i++) await new Promise<void>(resolve => publishers.push(new Publisher(options, run, i, resolve)))
  return ({ seconds }) =>
    new Promise(resolve => {
      const startedUs = monotonicUs()
      const before = run.sent
      run.histogram = new Histogram()
      run.going = true
      run.settled = () => resolve({ count: run.sent - before, seconds: (run.lastUs - startedUs) / 1e6, ack: run.histogram.summary() })
      for (const publisher of publishers) publisher.fill()
      setTimeout(() => {
        run.going = false
        if (run.open === 0) run.settled()
      }, seconds * 1000)
    })
}

await answer(import.meta.url, prepare)
