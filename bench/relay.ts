// Ordinary broker traffic as a process of its own: publishers, and subscribers of all that they publish. What may be under way is bounded, so
// that a broker is measured by what it delivers and not by what it can keep.
import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { answer } from './child.ts'
import { Histogram, type Latency } from './histogram.ts'
import { connectPacket, EventPacket, type Login, monotonicUs, PacketScanner, sentTime, subscribePacket } from './wire.ts'

export type RelayOptions = {
  readonly port: number
  readonly login: Login | undefined
  /** `d00000` in it is the device's place. */
  readonly topic: string
  readonly filter: string
  /** Of publishers and subscribers. */
  readonly qos: 0 | 1
  readonly publishers: number
  readonly subscribers: number
  /** Publishes that not all subscribers have yet. */
  readonly underway: number
}

export type Relaying = { readonly seconds: number }

export type Relayed = {
  readonly deliveries: number
  /** From the first publish to the last delivery. */
  readonly seconds: number
  /** Of what should have been. */
  readonly share: number
  readonly latency: Latency
}

const DEVICES = 1000
const PACKET_IDS = 8192
/** Before the event's id, in its JSON. */
const ID_AT = '{"eventId":"'.length
const LAST_MS = 10_000
const LOOK_MS = 5

class Relay {
  readonly #options: RelayOptions
  readonly #packet: EventPacket
  readonly #payload: number
  readonly #publishers: Socket[] = []
  #histogram = new Histogram()
  #sent = 0
  #delivered = 0
  #lastUs = 0
  #going = false

  constructor(options: RelayOptions) {
    this.#options = options
    this.#packet = new EventPacket('default', { qos: options.qos, topic: options.topic })
    this.#payload = this.#packet.length - this.#packet.bodyAt
  }

  async open(): Promise<void> {
    const { publishers, subscribers } = this.#options
    for (let i = 0; i < subscribers; i++) await this.#subscriber(i)
    for (let i = 0; i < publishers; i++) this.#publishers.push(await this.#connect(`relay-from-${i}`, () => {}))
  }

  async run(seconds: number): Promise<Relayed> {
    const startedUs = monotonicUs()
    const [sent, delivered] = [this.#sent, this.#delivered]
    const { subscribers } = this.#options
    this.#histogram = new Histogram()
    this.#going = true
    this.#pump()
    await pause(seconds * 1000)
    this.#going = false
    const deadline = performance.now() + LAST_MS
    while (this.#delivered < this.#sent * subscribers && performance.now() < deadline) await pause(LOOK_MS)
    const deliveries = this.#delivered - delivered
    const share = deliveries / ((this.#sent - sent) * subscribers)
    return { deliveries, seconds: (this.#lastUs - startedUs) / 1e6, share, latency: this.#histogram.summary() }
  }

  async #subscriber(number: number): Promise<void> {
    const { filter, qos } = this.#options
    const acks: number[] = []
    let granted = () => {}
    const socket = await this.#connect(
      `relay-to-${number}`,
      (first, bytes, start, end) => {
        if (first >> 4 === 9) {
          if ((bytes[start + 2] ?? 128) > 2) throw new Error(`the subscription to ${filter} is refused`)
          return granted()
        }
        if (first >> 4 !== 3) return
        if (qos === 1) acks.push(bytes.readUInt16BE(end - this.#payload - 2))
        this.#took(sentTime(bytes, end - this.#payload + ID_AT))
      },
      () => {
        if (acks.length > 0) socket.write(pubacks(acks))
        acks.length = 0
        this.#pump()
      },
    )
    await new Promise<void>(resolve => {
      granted = resolve
      socket.write(subscribePacket(filter, qos))
    })
  }

  #connect(id: string, found: ConstructorParameters<typeof PacketScanner>[0], read: () => void = () => {}): Promise<Socket> {
    const { port, login } = this.#options
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    socket.write(connectPacket(`${id}-${process.pid}`, login))
    return new Promise((resolve, reject) => {
      const scanner = new PacketScanner((first, bytes, start, end) => {
        if (first !== 0x20) found(first, bytes, start, end)
        else if (bytes[start + 1] === 0) resolve(socket)
        else reject(new Error(`connection refused with code ${bytes[start + 1]}`))
      })
      socket.on('data', chunk => {
        scanner.push(chunk)
        read()
      })
      socket.on('close', () => {
        throw new Error('connection closed by the server')
      })
    })
  }

  #took(sentUs: number): void {
    this.#delivered++
    this.#lastUs = monotonicUs()
    this.#histogram.add(this.#lastUs - sentUs)
  }

  /** Fills up what may be under way, shared out among the publishers. */
  #pump(): void {
    if (!this.#going) return
    const { underway, subscribers } = this.#options
    const count = underway - (this.#sent - Math.floor(this.#delivered / subscribers))
    // A few at a time: a write for each delivery would cost more than what it measures.
    if (count < underway / 4) return
    const each = Math.ceil(count / this.#publishers.length)
    for (const socket of this.#publishers) this.#send(socket, each)
  }

  #send(socket: Socket, count: number): void {
    const { length } = this.#packet
    const bytes = Buffer.allocUnsafe(count * length)
    const nowUs = monotonicUs()
    for (let i = 0; i < count; i++) {
      const sequence = this.#sent++
      this.#packet.write(bytes, i * length, 1 + (sequence % PACKET_IDS), (sequence * 7919) % DEVICES, sequence, nowUs)
    }
    socket.write(bytes)
  }
}

function pubacks(ids: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(ids.length * 4)
  for (const [i, id] of ids.entries()) bytes.writeUInt32BE(0x40_02_00_00 + id, i * 4)
  return bytes
}

await answer(import.meta.url, async (options: RelayOptions) => {
  const relay = new Relay(options)
  await relay.open()
  return ({ seconds }: Relaying) => relay.run(seconds)
})
