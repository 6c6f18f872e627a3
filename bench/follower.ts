// A program that follows the stream: NDJSON on a raw socket, resumed with its last cursor whenever it is cut off.
import { connect, type Socket } from 'node:net'

export type FollowerOptions = {
  readonly port: number
  readonly authorization: string
  /** Gets whole lines; several at a time. */
  lines(chunk: Buffer): void
}

const RETRY_MS = 50
const NEWLINE = 10
const CURSOR = Buffer.from('"cursor":"')
const GAP = Buffer.from('"eventType":"gap"')
const ERROR = Buffer.from('{"error":')

export class Follower {
  readonly #options: FollowerOptions
  #socket: Socket | undefined
  #cursor: string | undefined
  readonly #since = new Date().toISOString()
  #rest: Buffer = Buffer.alloc(0)
  #headed = false
  #stopped = false
  /** How often it was cut off and went on. */
  resumes = 0
  /** How often the server said that something is gone. */
  gaps = 0
  /** Error frames: the server's word on why it cuts off. */
  readonly errors: string[] = []

  constructor(options: FollowerOptions) {
    this.#options = options
    this.#open()
  }

  stop(): void {
    this.#stopped = true
    this.#socket?.destroy()
  }

  #open(): void {
    if (this.#stopped) return
    const from = this.#cursor === undefined ? `since=${this.#since}` : `cursor=${this.#cursor}`
    const socket = connect({ port: this.#options.port, host: '127.0.0.1', noDelay: true })
    this.#socket = socket
    this.#rest = Buffer.alloc(0)
    this.#headed = false
    // HTTP/1.0: the body then comes bare, without chunks around it.
    const head = [
      `GET /v2/projects/default/devices:stream?ping_interval=5s&${from} HTTP/1.0`,
      `authorization: ${this.#options.authorization}`,
    ]
    socket.write(`${head.join('\r\n')}\r\n\r\n`)
    socket.on('data', chunk => this.#take(chunk))
    // `close` follows every error, and there it goes on.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      if (this.#stopped) return
      if (this.#headed) this.resumes++
      setTimeout(() => this.#open(), RETRY_MS)
    })
  }

  #take(chunk: Buffer): void {
    const held = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const bytes = this.#headed ? held : this.#body(held)
    if (bytes === undefined) {
      this.#rest = held
      return
    }
    const end = bytes.lastIndexOf(NEWLINE) + 1
    this.#rest = bytes.subarray(end)
    if (end > 0) this.#lines(bytes.subarray(0, end))
  }

  #body(held: Buffer): Buffer | undefined {
    const end = held.indexOf('\r\n\r\n')
    if (end < 0) return undefined
    const status = held.subarray(9, 12).toString()
    // A server that is just starting may answer 503; it is asked again.
    if (status !== '200' && status !== '503') throw new Error(`the stream answered ${held.subarray(0, end + 200).toString()}`)
    if (status === '200') this.#headed = true
    return held.subarray(end + 4)
  }

  #lines(chunk: Buffer): void {
    const at = chunk.lastIndexOf(CURSOR)
    if (at >= 0) this.#cursor = chunk.toString('latin1', at + CURSOR.length, chunk.indexOf('"', at + CURSOR.length))
    if (chunk.includes(GAP)) this.gaps++
    const error = chunk.indexOf(ERROR)
    if (error >= 0) this.errors.push(chunk.toString('latin1', error, error + 300))
    this.#options.lines(chunk)
  }
}
