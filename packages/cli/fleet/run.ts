// The run of a simulated fleet: register the devices, send their events at the wanted rate, say what became of them.
import { randomBytes } from 'node:crypto'
import { pause } from '../../client/pace.ts'
import { explained, openClient } from '../api.ts'
import { deliver, type Feed, hasRoom, isComplete, type Plan } from '../delivery.ts'
import { eventIdOf, outgoing } from '../shape.ts'
import type { SimulateOptions } from '../simulate.ts'
import { startStorm } from '../storm.ts'
import { printSummary } from '../summary.ts'
import type { Target } from '../target.ts'
import type { Terminal } from '../terminal.ts'
import type { Transport } from '../transport/transport.ts'
import { type FaultMemory, nextFault, noFaults } from './fault.ts'
import { type Draft, Fleet } from './fleet.ts'
import { createRandom, type Random } from './random.ts'

const REGISTERED_AT_ONCE = 8
/** After a stall the schedule is caught up by at most this much, so that a server that comes back is not met by a flood; a run may end that much late. */
const CATCH_UP_MS = 1000

/** True when everything was acknowledged. */
export async function simulateFleet(target: Target, options: SimulateOptions, plan: Plan, terminal: Terminal): Promise<boolean> {
  const { devices, protocol } = options
  const seed = options.seed ?? randomBytes(4).toString('hex')
  const fleet = new Fleet(devices, seed)
  if (options.register) await registerFleet(target, fleet, terminal.stopped)
  const sending = new Sending(target, fleet, options, seed)
  const course = { done: () => sending.taken, total: Number.isFinite(sending.limit) ? sending.limit : undefined }
  const feed: Feed = transport => sending.feed(transport, terminal.stopped)
  const delivery = await deliver(target, plan, terminal, course, feed)
  const facts = { project: target.project, protocol, devices, seed, withheld: sending.withheld }
  const silent = sending.withheld > 0 ? ` · ${sending.withheld} events withheld by drop-outs` : ''
  await printSummary(terminal, options.json === true, facts, delivery, [`${devices} devices over ${protocol} · seed ${seed}${silent}`])
  return isComplete(delivery)
}

async function registerFleet(target: Target, fleet: Fleet, stopped: AbortSignal): Promise<void> {
  const waiting = [...fleet.devices]
  const client = openClient(target)
  const register = async () => {
    for (let device = waiting.shift(); device !== undefined && !stopped.aborted; device = waiting.shift())
      await client.devices.put(device.id, { type: device.type, labels: device.labels }).catch((error: unknown) => {
        throw explained(target, `PUT devices/${device?.id}`, error)
      })
  }
  await Promise.all(Array.from({ length: REGISTERED_AT_ONCE }, register))
}

class Sending {
  /** Drafts taken from the fleet so far, and how many there will be. */
  taken = 0
  readonly limit: number
  withheld = 0
  readonly #target: Target
  readonly #fleet: Fleet
  readonly #options: SimulateOptions
  readonly #seed: string
  readonly #faulty = new Map<string, { random: Random; memory: FaultMemory }>()

  constructor(target: Target, fleet: Fleet, options: SimulateOptions, seed: string) {
    this.#target = target
    this.#fleet = fleet
    this.#options = options
    this.#seed = seed
    const { count = Number.POSITIVE_INFINITY, duration = Number.POSITIVE_INFINITY, rate } = options
    this.limit = Math.min(count, Math.ceil((duration / 1000) * rate))
  }

  async feed(transport: Transport, stopped: AbortSignal): Promise<void> {
    const { rate, duration = Number.POSITIVE_INFINITY, fault } = this.#options
    const storm = startStorm(transport, fault?.['reconnect-storm'], createRandom(this.#seed, 'storm'))
    const startMs = performance.now()
    const fromUs = this.#options.from ?? Date.now() * 1000
    let dueMs = startMs
    let goOn = true
    for (; goOn && this.taken < this.limit && performance.now() - startMs < duration + CATCH_UP_MS; this.taken++) {
      const aheadMs = dueMs - performance.now()
      if (aheadMs >= 1) await pause(aheadMs, stopped)
      if (stopped.aborted || transport.ledger.failure !== undefined) break
      goOn = await hasRoom(transport, this.#sendNext(transport, fromUs), stopped)
      dueMs = Math.max(dueMs + 1000 / rate, performance.now() - CATCH_UP_MS)
    }
    storm.stop()
  }

  #sendNext(transport: Transport, fromUs: number): Promise<void> | undefined {
    const { rate, speedup, from } = this.#options
    const clockUs = fromUs + Math.round((this.taken * 1e6 * speedup) / rate)
    const draft = this.#fleet.next(this.taken, clockUs)
    // The number of the event is in its id: two events of one device in the same microsecond are two.
    const stamped = from === undefined ? { ...draft, timeUs: nowUs() } : draft
    const eventId = eventIdOf(this.#seed, draft.device, draft.eventType, stamped.timeUs, this.taken)
    const sent = this.#withFaults(stamped)
    if (sent !== undefined) return transport.send(outgoing(this.#target.project, sent, eventId))
    this.withheld++
    return undefined
  }

  #withFaults(draft: Draft): Draft | undefined {
    const { fault } = this.#options
    if (fault === undefined) return draft
    const faulty = this.#faulty.get(draft.device) ?? { random: createRandom(this.#seed, `fault/${draft.device}`), memory: noFaults }
    this.#faulty.set(draft.device, faulty)
    const next = nextFault(fault, faulty.memory, draft, faulty.random)
    faulty.memory = next.memory
    return next.draft
  }
}

function nowUs(): number {
  return Math.round((performance.timeOrigin + performance.now()) * 1000)
}
