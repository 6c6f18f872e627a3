// Events over HTTP through the client's queues, one for each connection, so that the events of a device keep their order.
import type { Publisher, Telltale, TelltaleError } from '../../client/index.ts'
import { Failure } from '../../core/failure.ts'
import { explained, openClient } from '../api.ts'
import type { Target } from '../target.ts'
import type { Ledger } from './ledger.ts'
import type { Outgoing, Transport } from './transport.ts'

export type HttpPlan = { readonly connections: number; readonly maxBatch: number }

export function openHttp(target: Target, plan: HttpPlan, ledger: Ledger): Transport {
  return new HttpTransport(target, plan, ledger)
}

class HttpTransport implements Transport {
  readonly ledger: Ledger
  readonly #target: Target
  readonly #client: Telltale
  readonly #lanes: readonly Publisher[]
  readonly #laneOf = new Map<string, Publisher>()
  #closed = false

  constructor(target: Target, { connections, maxBatch }: HttpPlan, ledger: Ledger) {
    this.ledger = ledger
    this.#target = target
    this.#client = openClient(target)
    // The ledger says how much may be outstanding, and the command when to stop trying.
    const unlimited = Number.POSITIVE_INFINITY
    const settings = { lingerMs: 0, maxBatch, maxQueued: unlimited, giveUpAfterMs: unlimited, waitForServer: false }
    const watch = {
      sent: (events: number) => (ledger.sent += events),
      retried: (events: number) => (ledger.retried += events),
      lost: () => ledger.reconnects++,
    }
    this.#lanes = Array.from({ length: connections }, () => this.#client.publisher(settings, watch))
  }

  send({ device, frame }: Outgoing): Promise<void> | undefined {
    let lane = this.#laneOf.get(device)
    if (lane === undefined) {
      lane = this.#lanes[this.#laneOf.size % this.#lanes.length] as Publisher
      this.#laneOf.set(device, lane)
    }
    const room = this.ledger.offer()
    lane.add(frame, (error, tookMs) => this.#settled(error, tookMs))
    return room
  }

  disrupt(): void {
    throw new Failure('invalid', '--fault: reconnect-storm needs --protocol mqtt', { field: '--fault' })
  }

  async close(): Promise<void> {
    // What has no answer by now stays outstanding.
    this.#closed = true
    await Promise.all(this.#lanes.map(lane => lane.close(0)))
    await this.#client.close()
  }

  /** An event that is wrong is refused; everything else that a later attempt would not change ends the run. */
  #settled(error: TelltaleError | undefined, tookMs: number): void {
    if (error === undefined) this.ledger.ack(1, tookMs)
    else if (this.#closed) return
    else if (error.code === 'invalid' || error.code === 'too_large') this.ledger.refuse(1, error.message)
    else this.ledger.fail(explained(this.#target, 'POST events', error) as Failure)
  }
}
