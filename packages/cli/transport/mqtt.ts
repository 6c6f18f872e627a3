// Events over MQTT 3.1.1: some connections, a bounded window of unacknowledged publishes on each, reconnecting for ever.
import { randomBytes } from 'node:crypto'
import { connect, type IClientOptions, type MqttClient } from 'mqtt'
import { Failure } from '../../core/failure.ts'
import type { Target } from '../target.ts'
import type { Ledger } from './ledger.ts'
import type { Outgoing, Transport } from './transport.ts'

export type MqttPlan = {
  readonly qos: 0 | 1
  readonly connections: number
  /** Up to this many events of one device in one publish, when they wait anyway. */
  readonly maxBatch: number
}

/** Unacknowledged publishes on one connection. */
const WINDOW = 64
/** CONNACK return code 3: come back later ([MQTT-3.2.2-4], table 3.1). */
const SERVER_UNAVAILABLE = 3
const CONNECT_TIMEOUT_MS = 10_000
const CONNECTS_AT_ONCE = 50
const CLOSE_MS = 2000

/** Resolves when every connection is up; rejects when the first answer shows that it never will be. */
export async function openMqtt(target: Target, plan: MqttPlan, ledger: Ledger, stopped: AbortSignal): Promise<Transport> {
  const run = randomBytes(4).toString('hex')
  const lanes: Lane[] = []
  const stop = new Promise<void>(resolve => stopped.addEventListener('abort', () => resolve(), { once: true }))
  try {
    while (lanes.length < plan.connections && !stopped.aborted) {
      const some = Math.min(CONNECTS_AT_ONCE, plan.connections - lanes.length)
      const opening = Array.from({ length: some }, (_, i) => new Lane(target, `telltale-${run}-${lanes.length + i}`, plan, ledger))
      lanes.push(...opening)
      await Promise.race([Promise.all(opening.map(lane => lane.opened())), stop])
    }
  } catch (error) {
    await Promise.all(lanes.map(lane => lane.close()))
    throw error
  }
  return new MqttTransport(lanes, ledger)
}

class MqttTransport implements Transport {
  readonly ledger: Ledger
  readonly #lanes: readonly Lane[]
  readonly #laneOf = new Map<string, Lane>()

  constructor(lanes: readonly Lane[], ledger: Ledger) {
    this.#lanes = lanes
    this.ledger = ledger
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
    for (const lane of this.#lanes) lane.cut()
  }

  async close(): Promise<void> {
    await Promise.all(this.#lanes.map(lane => lane.close()))
  }
}

/** One connection and the events that wait for it. */
class Lane {
  readonly #target: Target
  readonly #client: MqttClient
  readonly #plan: MqttPlan
  readonly #ledger: Ledger
  #queue: Outgoing[] = []
  #publishes = 0
  #eventsInFlight = 0
  #pumping = false
  #connectedOnce = false
  #closing: Promise<void> | undefined

  constructor(target: Target, clientId: string, plan: MqttPlan, ledger: Ledger) {
    this.#target = target
    this.#plan = plan
    this.#ledger = ledger
    this.#client = connect(target.mqttUrl, settings(target, clientId))
    this.#client.on('packetreceive', packet => {
      if (packet.cmd === 'connack' && packet.returnCode === 0) this.#welcomed()
    })
    this.#client.on('connect', () => this.#pumpSoon())
    // Without a listener Node would throw. Lost connections are retried by the client; a refused login is for good.
    this.#client.on('error', error => {
      if (this.#connectedOnce && isRefusal(error) && error.code !== SERVER_UNAVAILABLE) ledger.fail(refusal(error, target))
    })
  }

  /** Resolves when connected; rejects with a Failure at the first sign that it will not be. */
  async opened(): Promise<void> {
    const answer = new Promise<void>((resolve, reject) => {
      this.#client.once('connect', () => resolve())
      this.#client.once('error', reject)
      this.#client.once('close', () => reject(new Error('the server closed the connection')))
    })
    try {
      await answer
    } catch (error) {
      throw isRefusal(error as Error) ? refusal(error as Refusal, this.#target) : unreachable(error as Error, this.#target)
    }
  }

  push(event: Outgoing): void {
    this.#queue.push(event)
    this.#pumpSoon()
  }

  cut(): void {
    this.#client.stream.destroy()
  }

  close(): Promise<void> {
    this.#closing ??= this.#end()
    return this.#closing
  }

  /** Forced where acks are missing: the command has waited for them as long as it wanted to. */
  async #end(): Promise<void> {
    // A server that does not hang up after DISCONNECT must not hold us.
    const timer = setTimeout(() => this.#client.stream.destroy(), CLOSE_MS)
    await this.#client.endAsync(this.#eventsInFlight > 0 || !this.#client.connected)
    clearTimeout(timer)
  }

  /** Not at `connect`: the client emits that after it has sent everything without an ack once more, and got the acks. */
  #welcomed(): void {
    if (this.#connectedOnce) {
      this.#ledger.reconnects++
      // Only what was published while connected is in flight, so all of it goes out again.
      if (this.#plan.qos === 1) this.#ledger.retried += this.#eventsInFlight
    }
    this.#connectedOnce = true
  }

  /** In the next turn of the loop, so that events sent in one go can share a publish. */
  #pumpSoon(): void {
    if (this.#pumping) return
    this.#pumping = true
    setImmediate(() => {
      this.#pumping = false
      this.#pump()
    })
  }

  #pump(): void {
    let taken = 0
    while (taken < this.#queue.length && this.#publishes < WINDOW && this.#client.connected && this.#closing === undefined) {
      const batch = this.#batchFrom(taken)
      taken += batch.length
      this.#ledger.sent += batch.length
      this.#publish(batch)
    }
    if (taken > 0) this.#queue = this.#queue.slice(taken)
  }

  #batchFrom(start: number): Outgoing[] {
    const device = this.#queue[start]?.device
    let end = start
    while (end < this.#queue.length && end - start < this.#plan.maxBatch && this.#queue[end]?.device === device) end++
    return this.#queue.slice(start, end)
  }

  #publish(batch: readonly Outgoing[]): void {
    const started = performance.now()
    this.#publishes++
    this.#eventsInFlight += batch.length
    this.#client.publish(topicOf(this.#target.project, batch), payloadOf(batch), { qos: this.#plan.qos }, error => {
      this.#publishes--
      this.#eventsInFlight -= batch.length
      if (error) this.#republish(batch)
      else if (this.#plan.qos === 0) this.#ledger.release(batch.length)
      else this.#ledger.ack(batch.length, performance.now() - started)
      this.#pumpSoon()
    })
  }

  /** QoS 0 publishes that a closing connection swallowed go to the head of the queue; when we close, they stay outstanding. */
  #republish(batch: readonly Outgoing[]): void {
    if (this.#closing !== undefined) return
    this.#ledger.retried += batch.length
    this.#ledger.sent -= batch.length
    this.#queue = [...batch, ...this.#queue]
  }
}

function settings(target: Target, clientId: string): IClientOptions {
  return {
    clientId,
    username: target.keyId,
    password: target.secret,
    protocolVersion: 4,
    clean: true,
    reconnectOnConnackError: true,
    keepalive: 30,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // Spread, so that a restarted server is not met by every connection in the same instant.
    reconnectPeriod: 500 + Math.floor(Math.random() * 1000),
  }
}

function topicOf(project: string, batch: readonly Outgoing[]): string {
  const [first] = batch as [Outgoing]
  const base = `projects/${project}/devices/${first.device}/events`
  return batch.length === 1 ? `${base}/${first.eventType}` : base
}

function payloadOf(batch: readonly Outgoing[]): string {
  return batch.length === 1 ? (batch[0] as Outgoing).frame : `[${batch.map(event => event.frame).join(',')}]`
}

type Refusal = Error & { readonly code: number }

/** A CONNACK that says no ([MQTT-3.2.2-4]); other errors are the network's. */
function isRefusal(error: Error): error is Refusal {
  return 'code' in error && typeof error.code === 'number'
}

function refusal(error: Refusal, target: Target): Failure {
  if (error.code === 4 || error.code === 5)
    return new Failure(
      'unauthenticated',
      `${target.mqttUrl} refused the key ${target.keyId}: expected a key id and secret that the server knows`,
    )
  return new Failure('unavailable', `${target.mqttUrl} refused the connection: ${error.message}`)
}

function unreachable(error: Error, target: Target): Failure {
  const why = error.message || (error as NodeJS.ErrnoException).code
  return new Failure('unavailable', `no MQTT server answers at ${target.mqttUrl} (${why}): start it, or name it with --mqtt`, {
    cause: error,
  })
}
