// One WebSocket's way out: frames in order, bounded because whoever writes looks at `full`; and its end, in words.
import type { Accepted } from '../../../../packages/runtime/upgrade.ts'
import { FAULTS, type Fault } from './frame.ts'

/** What a peer may leave unread before nothing more is put behind it. */
const MAX_UNREAD_BYTES = 4 * 1024 * 1024
/** RFC 6455 5.5: a control frame holds 125 bytes, two of them the code. */
const MAX_REASON_BYTES = 120
/** Of a control frame that is masked. */
const CONTROL_HEAD_BYTES = 6

export class Outlet {
  readonly #accepted: Accepted
  readonly #closed: () => unknown
  #ended = false
  #sent = 0

  /** @param closed called once it was closed from here. */
  constructor(accepted: Accepted, closed: () => unknown) {
    this.#accepted = accepted
    this.#closed = closed
  }

  /** More is unread than a peer may leave. */
  get full(): boolean {
    return this.#accepted.socket.writableLength > MAX_UNREAD_BYTES
  }

  /** Frames. */
  get sent(): number {
    return this.#sent
  }

  /** Bytes that the network has accepted, pings and all. */
  get taken(): number {
    const { bytesWritten, writableLength } = this.#accepted.socket
    return bytesWritten - writableLength
  }

  /** Nothing that is sent arrives any more, and nothing that comes counts. */
  get ended(): boolean {
    return this.#ended || this.#accepted.peer.readyState !== this.#accepted.peer.OPEN
  }

  /** In one write. */
  send(frames: readonly string[]): void {
    if (this.ended) return
    const { peer, socket } = this.#accepted
    this.#sent += frames.length
    socket.cork()
    for (const frame of frames) peer.send(frame)
    socket.uncork()
  }

  /** Calls back each time that everything written has been taken. */
  onDrain(act: () => void): void {
    this.#accepted.socket.on('drain', act)
  }

  /** Calls back with how much has come of a message that is not whole, whenever something comes. */
  onPart(act: (bytes: number) => void): void {
    const { peer, socket } = this.#accepted
    let whole = socket.bytesRead
    peer.on('message', () => {
      whole = socket.bytesRead
    })
    // May stand in the midst of a message.
    for (const event of ['ping', 'pong'] as const)
      peer.on(event, (data: Buffer) => {
        whole += data.length + CONTROL_HEAD_BYTES
      })
    socket.on('data', () => act(socket.bytesRead - whole))
  }

  /** Nothing is read from the peer until `listen`. */
  deafen(): void {
    this.#accepted.peer.pause()
  }

  listen(): void {
    this.#accepted.peer.resume()
  }

  /** With one of Pulsar's numbers. */
  fail(fault: Fault, reason: string): void {
    this.close(4000 + fault, `${FAULTS[fault]}: ${reason}`)
  }

  close(code: number, reason: string): void {
    if (this.ended) return
    this.#ended = true
    // Or its answer would not be read.
    this.#accepted.peer.resume()
    this.#accepted.peer.close(code, clip(reason))
    this.#closed()
  }
}

/** Whole characters only: the peer checks that it is UTF-8. */
function clip(reason: string): string {
  const bytes = Buffer.from(reason, 'utf8')
  return bytes.length <= MAX_REASON_BYTES
    ? reason
    : bytes
        .subarray(0, MAX_REASON_BYTES)
        .toString('utf8')
        .replace(/\uFFFD+$/, '')
}
