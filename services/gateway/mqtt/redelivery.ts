// Which MQTT publishes may be repeats: for events that carry neither id nor time there is only the delivery itself to go by.
import { keyIdOf } from './session.ts'

/** The keys of the deliveries that a client made last, oldest first. */
type Recent = string[]

/** One connection's view of what came before it. */
export type Deliveries = {
  /** Whether a delivery with this key may be one of before; remembers it in any case. */
  mayRepeat(key: string, dup: boolean): boolean
  /** One of its deliveries was acknowledged: it has gone on from where it was before. */
  acknowledged(): void
  /** The client said goodbye, so it has all its acknowledgements [MQTT-3.14.4-1]. */
  endedCleanly(): void
}

/** A client keeps at most so much in flight; what it sent before that it knows to be acknowledged. */
const KEPT = 100
const MAX_CLIENTS = 50_000
/** Of one key: nobody who goes through client ids takes what is remembered of others. */
const MAX_OF_KEY = 10_000
/** After a restart nothing is remembered; clients that were cut off by it are back within this time. */
const BLIND_MS = 10 * 60_000

/**
 * A client that keeps its session and was cut off sends again what it has no PUBACK for [MQTT-4.4.0-1], some without DUP. So the
 * first publishes of such a connection are held against the last ones of that client, and against nobody else's: a sensor that
 * wakes and sends the same value under the same packet id again and again is no repeat.
 */
export class Redeliveries {
  /** By key, then by client. */
  readonly #clients = new Map<string, Map<string, Recent>>()
  #size = 0
  readonly #startedMs: number
  readonly #nowMs: () => number

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
    this.#startedMs = nowMs()
  }

  connect(clientId: string, keepsSession: boolean): Deliveries {
    const before = this.#known(clientId)
    const blind = before === undefined && this.#nowMs() - this.#startedMs < BLIND_MS
    const suspects = new Set(keepsSession ? before : [])
    const recent: Recent = []
    // A connection of which nothing was acknowledged changes nothing about what was sent before it.
    let older: Recent = keepsSession ? (before ?? []) : []
    let last = before
    const keep = () => {
      last = older.length > 0 ? [...older, ...recent].slice(-KEPT) : recent
      this.#keep(clientId, last)
    }
    let first = keepsSession ? KEPT : 0
    if (!keepsSession) this.#forget(keyIdOf(clientId), clientId)
    return {
      mayRepeat: (key, dup) => {
        // Only now: a connection that was cut off before it delivered anything has redelivered nothing.
        recent.push(key)
        if (recent.length > KEPT) recent.shift()
        if (keepsSession && (recent.length === 1 || older.length > 0)) keep()
        if (dup) return true
        return first-- > 0 && (blind || suspects.has(key))
      },
      acknowledged: () => {
        if (older.length === 0) return
        older = []
        if (recent.length > 0) keep()
      },
      endedCleanly: () => {
        older = []
        recent.length = 0
        const kept = this.#known(clientId)
        if (keepsSession && kept === last) keep()
      },
    }
  }

  #keep(clientId: string, recent: Recent): void {
    const key = keyIdOf(clientId)
    this.#forget(key, clientId)
    const clients = this.#clients.get(key) ?? new Map<string, Recent>()
    // Behind the others, as whoever was heard last.
    this.#clients.delete(key)
    this.#clients.set(key, clients.set(clientId, recent))
    this.#size++
    if (clients.size > MAX_OF_KEY) this.#forgetOldest(key)
    const [quietest] = this.#clients.keys()
    if (this.#size > MAX_CLIENTS && quietest !== undefined) this.#forgetOldest(quietest)
  }

  #known(clientId: string): Recent | undefined {
    return this.#clients.get(keyIdOf(clientId))?.get(clientId)
  }

  #forgetOldest(key: string): void {
    const [oldest] = this.#clients.get(key)?.keys() ?? []
    if (oldest !== undefined) this.#forget(key, oldest)
  }

  #forget(key: string, clientId: string): void {
    const clients = this.#clients.get(key)
    if (clients?.delete(clientId) !== true) return
    this.#size--
    if (clients.size === 0) this.#clients.delete(key)
  }
}
