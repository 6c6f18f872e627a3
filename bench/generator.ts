// The load, as a process of its own: MQTT publishers on raw sockets, as fast as their windows allow or at a fixed rate.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { Histogram, type Latency } from './histogram.ts'
import { AckScanner, connectPacket, EventPacket, type Login, monotonicUs } from './wire.ts'

export type Load = {
  readonly port: number
  readonly login: Login | undefined
  readonly project: string
  readonly connections: number
  readonly devices: number
  /** Unacknowledged publishes per connection. */
  readonly window: number
  readonly total: number
  /** Events a second; undefined: as fast as acknowledgements come. */
  readonly rate?: number | undefined
}

export type LoadResult = {
  readonly startedUs: number
  readonly ackedUs: number
  readonly ack: Latency
  readonly cpuSeconds: number
}

/** Packet ids are used in turn; more than any window, so that none is in use twice. */
const PACKET_IDS = 8192

/** Runs the load in a process of its own; resolves when everything is acknowledged. */
export async function generate(load: Load): Promise<LoadResult> {
  const child = fork(fileURLToPath(import.meta.url), [JSON.stringify(load)], { execArgv: ['--import', 'tsx'] })
  let result: LoadResult | undefined
  child.once('message', message => {
    result = message as LoadResult
  })
  await once(child, 'exit')
  if (!result) throw new Error('the load generator was cut off')
  return result
}

class Publisher {
  readonly #load: Load
  readonly #socket: Socket
  readonly #packet: EventPacket
  readonly #sentUs = new Float64Array(PACKET_IDS)
  readonly #run: Run
  #next = 0
  #open = 0

  constructor(run: Run, load: Load, number: number) {
    this.#run = run
    this.#load = load
    this.#packet = new EventPacket(load.project)
    this.#socket = connect({ port: load.port, host: '127.0.0.1', noDelay: true })
    this.#socket.write(connectPacket(`bench-${process.pid}-${number}`, load.login))
    const scanner = new AckScanner({ connected: code => run.connected(code), acked: id => this.#acked(id) })
    this.#socket.on('data', chunk => {
      scanner.push(chunk)
      if (load.rate === undefined) this.fill()
    })
    this.#socket.on('error', error => run.failed(error))
    this.#socket.on('close', () => run.failed(new Error('connection closed by the server')))
  }

  /** As much as the window allows. */
  fill(): void {
    this.send(Math.min(this.#load.window - this.#open, this.#run.left))
  }

  send(count: number): void {
    if (count <= 0) return
    const nowUs = monotonicUs()
    const { length } = this.#packet
    const bytes = Buffer.allocUnsafe(count * length)
    for (let i = 0; i < count; i++) {
      const id = this.#next
      this.#next = (this.#next + 1) % PACKET_IDS
      this.#sentUs[id] = nowUs
      const sequence = this.#run.take()
      this.#packet.write(bytes, i * length, id + 1, (sequence * 7919) % this.#load.devices, sequence, nowUs)
    }
    this.#open += count
    this.#socket.write(bytes)
  }

  #acked(packetId: number): void {
    this.#open--
    this.#run.acked(this.#sentUs[packetId - 1] as number)
  }

  end(): void {
    this.#socket.removeAllListeners('close')
    this.#socket.end(Buffer.from([0xe0, 0]))
  }
}

class Run {
  readonly #load: Load
  readonly #publishers: Publisher[]
  readonly #histogram = new Histogram()
  #connected = 0
  #sent = 0
  #acked = 0
  #startedUs = 0
  #timer: NodeJS.Timeout | undefined

  constructor(load: Load) {
    this.#load = load
    this.#publishers = Array.from({ length: load.connections }, (_, i) => new Publisher(this, load, i))
  }

  get left(): number {
    return this.#load.total - this.#sent
  }

  take(): number {
    return this.#sent++
  }

  connected(code: number): void {
    if (code !== 0) this.failed(new Error(`connection refused with code ${code}`))
    if (++this.#connected < this.#load.connections) return
    this.#startedUs = monotonicUs()
    if (this.#load.rate === undefined) for (const publisher of this.#publishers) publisher.fill()
    else this.#timer = setInterval(() => this.#sendDue(), 1)
  }

  /** Each event in a write of its own, as that many devices would send them. */
  #sendDue(): void {
    const due = Math.min(this.#load.total, Math.floor(((monotonicUs() - this.#startedUs) * (this.#load.rate ?? 0)) / 1e6))
    while (this.#sent < due) this.#publishers[this.#sent % this.#publishers.length]?.send(1)
  }

  acked(sentUs: number): void {
    this.#histogram.add(monotonicUs() - sentUs)
    if (++this.#acked < this.#load.total) return
    clearInterval(this.#timer)
    for (const publisher of this.#publishers) publisher.end()
    const { user, system } = process.cpuUsage()
    const cpuSeconds = (user + system) / 1e6
    process.send?.({ startedUs: this.#startedUs, ackedUs: monotonicUs(), ack: this.#histogram.summary(), cpuSeconds } satisfies LoadResult)
    process.disconnect()
  }

  failed(error: Error): void {
    process.stderr.write(`generator: ${error.message}\n`)
    process.exit(1)
  }
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) new Run(JSON.parse(process.argv[2] ?? '{}') as Load)
