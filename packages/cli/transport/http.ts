// Events over HTTP as NDJSON batches: one request at a time on each lane, retried until the server has answered for every event.
import { setMaxListeners } from 'node:events'
import { Failure } from '../../core/failure.ts'
import { type Answer, call, isBusy, messageOf, refused } from '../api.ts'
import { backoffMs, pause } from '../pace.ts'
import type { Target } from '../target.ts'
import type { Ledger } from './ledger.ts'
import type { Outgoing, Transport } from './transport.ts'

export type HttpPlan = { readonly connections: number; readonly maxBatch: number }

export function openHttp(target: Target, plan: HttpPlan, ledger: Ledger): Transport {
  return new HttpTransport(target, plan, ledger)
}

class HttpTransport implements Transport {
  readonly ledger: Ledger
  readonly #lanes: readonly Lane[]
  readonly #laneOf = new Map<string, Lane>()
  readonly #closed = new AbortController()

  constructor(target: Target, plan: HttpPlan, ledger: Ledger) {
    this.ledger = ledger
    const { signal } = this.#closed
    // Every lane listens to it.
    setMaxListeners(0, signal)
    this.#lanes = Array.from({ length: plan.connections }, () => new Lane(target, plan.maxBatch, ledger, signal))
  }

  send(event: Outgoing): Promise<void> | undefined {
    let lane = this.#laneOf.get(event.device)
    if (lane === undefined) {
      lane = this.#lanes[this.#laneOf.size % this.#lanes.length] as Lane
      this.#laneOf.set(event.device, lane)
    }
    const room = this.ledger.offer()
    lane.push(event)
    return room
  }

  disrupt(): void {
    throw new Failure('invalid', '--fault: reconnect-storm needs --protocol mqtt', { field: '--fault' })
  }

  async close(): Promise<void> {
    this.#closed.abort()
    await Promise.all(this.#lanes.map(lane => lane.idle))
  }
}

class Lane {
  readonly #target: Target
  readonly #maxBatch: number
  readonly #ledger: Ledger
  readonly #closed: AbortSignal
  #queue: Outgoing[] = []
  #answeredOnce = false
  #busy = false
  /** Resolves when the running deliveries have ended. */
  idle: Promise<void> = Promise.resolve()

  constructor(target: Target, maxBatch: number, ledger: Ledger, closed: AbortSignal) {
    this.#target = target
    this.#maxBatch = maxBatch
    this.#ledger = ledger
    this.#closed = closed
  }

  push(event: Outgoing): void {
    this.#queue.push(event)
    if (this.#busy) return
    this.#busy = true
    // In the next turn of the loop, so that events sent in one go share a request.
    this.idle = new Promise(resolve => setImmediate(resolve)).then(() => this.#drain())
  }

  async #drain(): Promise<void> {
    try {
      while (this.#queue.length > 0 && !this.#closed.aborted) {
        const batch = this.#queue.splice(0, this.#maxBatch)
        this.#ledger.sent += batch.length
        await this.#deliver(batch)
      }
      this.#busy = false
    } catch (error) {
      // Stays busy: a lane that failed for good takes no further events.
      this.#ledger.fail(error instanceof Failure ? error : new Failure('unavailable', String(error), { cause: error }))
    }
  }

  /** Until the server has answered for each event of the batch, or we are closed. */
  async #deliver(batch: readonly Outgoing[]): Promise<void> {
    const started = performance.now()
    for (let attempt = 1; !this.#closed.aborted; attempt++) {
      if (attempt > 1) this.#ledger.retried += batch.length
      const answer = await this.#post(batch)
      if (answer?.status === 413 && batch.length > 1) return this.#halve(batch)
      if (answer !== undefined && this.#settled(batch, answer, performance.now() - started)) return
      await pause(answer?.retryAfterMs ?? backoffMs(attempt), this.#closed)
    }
  }

  /** Undefined: no answer. Before the first answer that means a wrong address, later a lost connection. */
  async #post(batch: readonly Outgoing[]): Promise<Answer | undefined> {
    const text = batch.map(event => `${event.frame}\n`).join('')
    try {
      const answer = await call(this.#target, 'POST', 'events', this.#closed, { type: 'application/x-ndjson', text })
      this.#answeredOnce = true
      return answer
    } catch (error) {
      if (!this.#answeredOnce && !this.#closed.aborted) throw error
      this.#ledger.reconnects++
      return undefined
    }
  }

  async #halve(batch: readonly Outgoing[]): Promise<void> {
    const half = batch.length >> 1
    this.#ledger.retried += batch.length
    await this.#deliver(batch.slice(0, half))
    await this.#deliver(batch.slice(half))
  }

  /** Whether the answer is final for the whole batch; throws when no later one could be better. */
  #settled(batch: readonly Outgoing[], { status, body }: Answer, tookMs: number): boolean {
    if (isBusy(status) || status === 408 || status >= 500) return false
    const outcome = outcomeOf(body)
    if (status === 413) this.#ledger.refuse(1, messageOf(body) || 'too large')
    else if (status === 200 || status === 207 || (status === 400 && outcome.accepted + outcome.rejected > 0))
      this.#account(batch, outcome, tookMs)
    else if (status === 400) this.#ledger.refuse(batch.length, messageOf(body) || 'the server answered 400')
    else throw refused(this.#target, 'POST events', status, body)
    return true
  }

  /** The server may list fewer reasons than it refused events: its count decides. */
  #account(batch: readonly Outgoing[], { accepted, rejected, errors }: Outcome, tookMs: number): void {
    if (accepted + rejected !== batch.length)
      throw new Failure(
        'unavailable',
        `${this.#target.httpUrl} accounted for ${accepted + rejected} of ${batch.length} events: is it a Telltale server?`,
      )
    for (let i = 0; i < rejected; i++) this.#ledger.refuse(1, messageOf(errors[i]) || 'no reason given')
    this.#ledger.ack(accepted, tookMs)
  }
}

type Outcome = { readonly accepted: number; readonly rejected: number; readonly errors: readonly unknown[] }

function outcomeOf(body: unknown): Outcome {
  const { accepted, rejected, errors } = Object(body) as { readonly [key in keyof Outcome]?: unknown }
  const listed = Array.isArray(errors) ? errors : []
  return { accepted: count(accepted) ?? 0, rejected: count(rejected) ?? listed.length, errors: listed }
}

function count(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && Number(value) >= 0 ? Number(value) : undefined
}
