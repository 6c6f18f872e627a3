// Pings, so that nobody between here and a client thinks that an idle WebSocket is a dead one, and dead ones are found
// (contracts.md 2.b.8).
import type { Accepted } from '../../upgrade.ts'

type Peer = Accepted['peer']
type Beating = { readonly peer: Peer; readonly patienceMs: number; heardMs: number }

const EVERY_MS = 25_000

export class Heartbeat {
  readonly #everyMs: number
  readonly #nowMs: () => number
  readonly #beating = new Set<Beating>()
  #timer: NodeJS.Timeout | undefined

  constructor(everyMs = EVERY_MS, nowMs = () => performance.now()) {
    this.#everyMs = everyMs
    this.#nowMs = nowMs
  }

  /**
   * @param patienceMs how long it may answer no ping. Clients that wait for nothing answer none: what reads only after it has sent is well
   * and silent for as long as it has nothing to send.
   */
  watch(peer: Peer, patienceMs: number): void {
    const beating: Beating = { peer, patienceMs, heardMs: this.#nowMs() }
    const heard = () => {
      beating.heardMs = this.#nowMs()
    }
    for (const event of ['message', 'ping', 'pong'] as const) peer.on(event, heard)
    this.#beating.add(beating)
    this.#timer ??= setInterval(() => this.#beat(), this.#everyMs).unref()
    peer.once('close', () => {
      this.#beating.delete(beating)
      if (this.#beating.size > 0) return
      clearInterval(this.#timer)
      this.#timer = undefined
    })
  }

  #beat(): void {
    const nowMs = this.#nowMs()
    for (const beating of this.#beating) {
      const { peer, patienceMs, heardMs } = beating
      // It is we who do not listen.
      if (peer.isPaused) beating.heardMs = nowMs
      else if (nowMs - heardMs > patienceMs) peer.terminate()
      if (peer.readyState === peer.OPEN) peer.ping()
    }
  }
}
