// Single events sent beside the load, to see how long they take to a place that keeps no time of its own: the store, a webhook.
import { createServer, type Server as HttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { connectAsync, type MqttClient } from 'mqtt'
import { formatTime } from '../packages/core/time.ts'
import { Histogram, type Latency } from './histogram.ts'
import type { Server } from './server.ts'
import { monotonicUs } from './wire.ts'

const SIREN_EVERY_MS = 100
const MARKER_EVERY_MS = 200
const POLL_MS = 2
const MARKER_LIMIT_MS = 20_000
const DELIVERY_LIMIT_MS = 10_000

export type Probed = {
  readonly stored: Latency
  readonly webhook: Latency
  /** Alarm changes that nobody was told of within the limit. */
  readonly undelivered: number
}

export type Probes = { stop(): Promise<Probed> }

/** The receiver of alarm changes: tells when each arrived. */
export class Receiver {
  readonly #server: HttpServer
  #heard: (updateTime: string) => void = () => {}

  private constructor(server: HttpServer) {
    this.#server = server
  }

  static async open(): Promise<Receiver> {
    const server = createServer()
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const receiver = new Receiver(server)
    server.on('request', (request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const body = JSON.parse(Buffer.concat(chunks).toString()) as { data: { updateTime: string } }
        receiver.#heard(body.data.updateTime)
        response.writeHead(204).end()
      })
    })
    return receiver
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/hook`
  }

  onChange(heard: (updateTime: string) => void): void {
    this.#heard = heard
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}

export async function startProbes(server: Server, receiver: Receiver): Promise<Probes> {
  const { user, password } = server.login
  const client = await connectAsync(`mqtt://127.0.0.1:${server.mqttPort}`, { username: user, password, clientId: 'bench-probe' })
  const stopping = new AbortController()
  const webhook = new Histogram()
  const stored = new Histogram()
  const running = Promise.all([sound(client, receiver, webhook, stopping.signal), mark(client, server, stored, stopping.signal)])
  return {
    async stop() {
      stopping.abort()
      const [undelivered] = await running
      await client.endAsync()
      return { stored: stored.summary(), webhook: webhook.summary(), undelivered }
    },
  }
}

/** Too hot, well, too hot …: an alarm that becomes active and clears, ten times a second. */
async function sound(client: MqttClient, receiver: Receiver, latencies: Histogram, stopping: AbortSignal): Promise<number> {
  const sent = new Map<string, number>()
  receiver.onChange(updateTime => {
    const at = sent.get(updateTime)
    if (at !== undefined && sent.delete(updateTime)) latencies.add(monotonicUs() - at)
  })
  // Ends with a clear one, so that the next run begins as this one did.
  for (let i = 0; !stopping.aborted || i % 2 === 1; i++) {
    const timestamp = formatTime(Date.now() * 1000)
    sent.set(timestamp, monotonicUs())
    const event = { data: { temperature: { value: i % 2 === 0 ? 99 : 10 } }, timestamp }
    client.publish('projects/default/devices/siren/events/temperature', JSON.stringify(event), { qos: 1 })
    await pause(SIREN_EVERY_MS)
  }
  const deadline = performance.now() + DELIVERY_LIMIT_MS
  while (sent.size > 0 && performance.now() < deadline) await pause(POLL_MS)
  return sent.size
}

/** One marker after the other: stored when the history API has it. */
async function mark(client: MqttClient, server: Server, latencies: Histogram, stopping: AbortSignal): Promise<void> {
  const since = new Date().toISOString()
  await server.request('PUT', 'devices/marker', { type: 'temperature' })
  // Unique to this run: an id that the server has seen is a redelivery.
  for (let i = 0; !stopping.aborted; i++) {
    const eventId = `marker-${since}-${i}`
    const at = monotonicUs()
    client.publish('projects/default/devices/marker/events/temperature', JSON.stringify({ eventId, value: 20 }), { qos: 1 })
    while ((await newest(server, since)) !== eventId) {
      if (monotonicUs() - at > MARKER_LIMIT_MS * 1000) throw new Error(`${eventId} was not stored in ${MARKER_LIMIT_MS} ms`)
      await pause(POLL_MS)
    }
    latencies.add(monotonicUs() - at)
    await pause(MARKER_EVERY_MS)
  }
}

async function newest(server: Server, since: string): Promise<string | undefined> {
  const path = `devices/marker/events?pageSize=1&startTime=${encodeURIComponent(since)}`
  const { events } = await server.request<{ events: { eventId: string }[] }>('GET', path)
  return events[0]?.eventId
}
