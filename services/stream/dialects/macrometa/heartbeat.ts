// Pings, so that nobody between here and a client thinks that an idle WebSocket is a dead one, and dead ones are found
// (contracts.md 2.b.8).
import type { Accepted } from '../../../../packages/runtime/upgrade.ts'
import type { Outlet } from './outlet.ts'

type Peer = Accepted['peer']
export type Watched = {
  readonly outlet: Pick<Outlet, 'full' | 'sent' | 'taken'>
  /** How long it may be silent when it may be well and not reading. */
  readonly patienceMs: number
  /**
   * Of a peer that may read only while an answer is owed to it; whether one is. Without this it may read always, but while it is at work on
   * what it was sent.
   */
  isOwed?(): boolean
}
type Beating = Watched & {
  readonly peer: Peer
  heardMs: number
  /** What it had taken at the last beat. */
  taken: number
  /** Frames that were sent before the last ping, and before the last one that was answered. */
  sentBeforePing: number
  sentBeforePong: number | undefined
  /** It was owed nothing at the last ping, and has said nothing since. */
  idle: boolean
  /** It has answered a ping although it was owed nothing: it reads always. */
  listens: boolean
}

const EVERY_MS = 25_000
/** Of a peer that answers pings. */
const MISSED = 3
/** Who takes nothing for so long is stuck, whatever it is. */
const STUCK_MS = 5 * 60_000

export class Heartbeat {
  readonly #everyMs: number
  readonly #nowMs: () => number
  readonly #beating = new Set<Beating>()
  #timer: NodeJS.Timeout | undefined

  constructor(everyMs = EVERY_MS, nowMs = () => performance.now()) {
    this.#everyMs = everyMs
    this.#nowMs = nowMs
  }

  /** Ends the peer when it is gone: after three missed pings when it would surely have answered them, otherwise after its patience. */
  watch(peer: Peer, watched: Watched): void {
    const none = { taken: 0, sentBeforePing: 0, sentBeforePong: undefined, idle: false, listens: false }
    const beating: Beating = { ...watched, peer, heardMs: this.#nowMs(), ...none }
    const heard = () => {
      beating.heardMs = this.#nowMs()
    }
    for (const event of ['message', 'ping', 'pong'] as const) peer.on(event, heard)
    peer.on('message', () => {
      beating.idle = false
    })
    peer.on('pong', () => {
      beating.listens ||= beating.idle
      beating.sentBeforePong = beating.sentBeforePing
    })
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
    for (const beating of this.#beating) {
      const { peer, outlet, isOwed } = beating
      this.#look(beating)
      if (peer.readyState !== peer.OPEN) continue
      beating.sentBeforePing = outlet.sent
      beating.idle = isOwed?.() === false
      peer.ping()
    }
  }

  #look(beating: Beating): void {
    const { peer, outlet, taken } = beating
    const nowMs = this.#nowMs()
    beating.taken = outlet.taken
    // Where we do not listen, that it takes something is all that it can show; unless it is we who are behind.
    if (outlet.full ? beating.taken > taken : peer.isPaused) beating.heardMs = nowMs
    else if (nowMs - beating.heardMs > this.#patienceMs(beating)) peer.terminate()
  }

  #patienceMs({ outlet, patienceMs, isOwed, listens, sentBeforePong }: Beating): number {
    if (outlet.full) return Math.min(patienceMs, STUCK_MS)
    const reads = isOwed ? listens : outlet.sent === sentBeforePong
    return reads ? Math.min(patienceMs, MISSED * this.#everyMs) : patienceMs
  }
}
