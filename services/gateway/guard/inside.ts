// The side of a guarded connection that the broker sees: a stream of whole and well-formed packets. What it writes goes out as it is.
import { Duplex } from 'node:stream'
import type { PeerDevice } from '../../../packages/runtime/peer.ts'
import type { Done } from './ack.ts'
import type { Sent } from './outgoing.ts'

export type From = {
  /** Of the other end, as far as we know it. */
  readonly address: string
  /** Whose certificate TLS has verified. */
  readonly device?: PeerDevice | undefined
}

/** What the guard is told of its broker's side. */
export type Outside = {
  /** Bytes for the client; `done` when they are on their way. */
  write(chunks: readonly Buffer[], done: (error?: Error | null) => void): void
  /** The broker takes more. */
  wanted(): void
  /** The broker has done with the connection. */
  ended(): void
  /** A publish that went by the broker; see `turn`. */
  turn(bytes: number, done: Done, drop?: () => void): Done
  /** Who logs in is known, or nobody; what is left of it keeps no other from entering. */
  decided(): void
}

export class Inside extends Duplex {
  readonly from: From
  readonly sent: Sent
  readonly #outside: Outside

  constructor(from: From, outside: Outside, sent: Sent, readBytes: number, writeBytes: number) {
    super({ readableHighWaterMark: readBytes, writableHighWaterMark: writeBytes, decodeStrings: true })
    this.from = from
    this.sent = sent
    this.#outside = outside
  }

  /**
   * For the broker, which has read a publish and asks whether it may be: @returns what to call instead of `done`, when its turn has come.
   * `drop`, of QoS 0: called before `done` when it cannot be taken now, and goes to nobody.
   */
  turn(bytes: number, done: Done, drop?: () => void): Done {
    return this.#outside.turn(bytes, done, drop)
  }

  /** For the broker, whose answer to CONNECT is late on purpose. */
  decided(): void {
    this.#outside.decided()
  }

  override _read(): void {
    this.#outside.wanted()
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#outside.write([chunk], done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#outside.write(
      chunks.map(({ chunk }) => chunk),
      done,
    )
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#outside.ended()
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#outside.ended()
    done(error)
  }
}

/** As `Inside.turn`, of whatever connection the broker has a publish from: the will of one that is gone has no turn to wait for. */
export function turnOf(connection: object, bytes: number, done: Done, drop?: () => void): Done {
  return connection instanceof Inside && !connection.destroyed ? connection.turn(bytes, done, drop) : done
}

/** Where a connection that the broker knows comes from. */
export function fromOf(stream: object): From {
  return stream instanceof Inside ? stream.from : { address: '' }
}

/** What a connection that the broker knows has been sent. */
export function sentOf(stream: object): Sent | undefined {
  return stream instanceof Inside ? stream.sent : undefined
}

/** As `Inside.decided`. */
export function decidedOf(connection: object): void {
  if (connection instanceof Inside) connection.decided()
}
