// A device that keeps its promise: it remembers what was acknowledged and sends again, after every reconnect, what was not.
import { connect, type Socket } from 'node:net'
import { formatTime } from '../packages/core/time.ts'
import { AckScanner, connectPacket, type Login, monotonicUs, publishPacket } from './wire.ts'

export type Sent = {
  /** Known to the device alone when it sends no id: then time and content are the identity. */
  readonly eventId: string | undefined
  readonly timestamp: string
  readonly value: number
}

export type PublisherOptions = {
  readonly port: number
  readonly login: Login
  readonly device: string
  /** Called with the time of the last sending of what was acknowledged. */
  acked(sentUs: number): void
}

type Open = { readonly event: Sent; readonly bytes: Buffer; sentUs: number }

const WINDOW = 200
const RETRY_MS = 20
const MAX_PACKET_ID = 65_535
const VALUES = 1000

export class KeepingPublisher {
  readonly acked: Sent[] = []
  resent = 0
  readonly #options: PublisherOptions
  readonly #open = new Map<number, Open>()
  #socket: Socket | undefined
  /** The same, while the server takes publishes on it. */
  #ready: Socket | undefined
  #stopped = false
  #count = 0
  #packetId = 0
  #lastUs = 0

  constructor(options: PublisherOptions) {
    this.#options = options
    this.#connect()
  }

  get unacked(): number {
    return this.#open.size
  }

  /** Sends up to this many new events; fewer when too many are unacknowledged. */
  send(count: number): void {
    const socket = this.#ready
    for (let i = 0; socket && i < count && this.#open.size < WINDOW; i++) {
      const event = this.#next()
      this.#packetId = (this.#packetId % MAX_PACKET_ID) + 1
      const sending = { event, bytes: this.#encode(event), sentUs: monotonicUs() }
      this.#open.set(this.#packetId, sending)
      socket.write(sending.bytes)
    }
  }

  stop(): void {
    this.#stopped = true
    this.#socket?.destroy()
  }

  /** Every other event has an id; each has a time of its own. */
  #next(): Sent {
    const number = this.#count++
    this.#lastUs = Math.max(this.#lastUs + 1, Date.now() * 1000)
    const eventId = number % 2 === 0 ? `${this.#options.device}-${number}` : undefined
    return { eventId, timestamp: formatTime(this.#lastUs), value: (number % VALUES) / 10 }
  }

  #encode({ eventId, timestamp, value }: Sent): Buffer {
    const { device } = this.#options
    const targetName = `projects/default/devices/${device}`
    const event = { eventId, targetName, eventType: 'temperature', data: { temperature: { value } }, timestamp }
    return publishPacket(`projects/default/devices/${device}/events`, this.#packetId, Buffer.from(JSON.stringify(event)))
  }

  #connect(): void {
    if (this.#stopped) return
    const { port, login, device } = this.#options
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    const scanner = new AckScanner({ connected: code => this.#welcomed(socket, code), acked: packetId => this.#settle(packetId) })
    socket.write(connectPacket(device, login))
    socket.on('data', chunk => scanner.push(chunk))
    // `close` follows every error, and there it connects again.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      this.#ready = undefined
      setTimeout(() => this.#connect(), RETRY_MS)
    })
    this.#socket = socket
  }

  #welcomed(socket: Socket, code: number): void {
    if (code !== 0) {
      socket.destroy()
      return
    }
    this.#ready = socket
    for (const open of this.#open.values()) {
      open.sentUs = monotonicUs()
      this.resent++
      socket.write(open.bytes)
    }
  }

  #settle(packetId: number): void {
    const open = this.#open.get(packetId)
    if (!open) throw new Error(`acknowledgement of packet ${packetId}, which is not open`)
    this.#open.delete(packetId)
    this.acked.push(open.event)
    this.#options.acked(open.sentUs)
  }
}
