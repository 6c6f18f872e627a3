// The peer: mosquitto and the script that many people would write. It subscribes at QoS 1, looks at ten thresholds and writes each
// message to the store, one at a time; a message is acknowledged to the broker when it is stored.
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { connectAsync, type MqttClient } from 'mqtt'
import type { DeviceEvent } from '../packages/core/event.ts'
import { parseTime } from '../packages/core/time.ts'
import { openDuckStore } from '../packages/store/duckdb.ts'
import { openInfluxStore } from '../packages/store/influx.ts'
import type { ReadingStore } from '../packages/store/store.ts'
import { findExecutable } from './executable.ts'
import { generate, type Load } from './generator.ts'
import { Histogram, type Latency, median } from './histogram.ts'
import { perEvent } from './pipeline.ts'
import { spent, usageOf } from './process.ts'
import { monotonicUs } from './wire.ts'

export type StoreChoice =
  | { readonly kind: 'duckdb'; readonly path: string }
  | { readonly kind: 'influx'; readonly url: string; readonly database: string }

export type PeerReport = {
  readonly ackedPerSecond: number
  /** Events a second until the last one is stored: what can be sustained. */
  readonly sustainedPerSecond: number
  readonly runs: readonly number[]
  readonly cpuUs: Readonly<Record<string, number>>
  /** At half of what it sustains. */
  readonly atHalf: { readonly rate: number; readonly ack: Latency; readonly stored: Latency }
}

type Progress = { readonly count: number; readonly lastUs: number; readonly stored: Latency }

const PROJECT = 'default'
const WARM_UP = 1000
const START_LIMIT_MS = 10_000
const LIMITS = [109, 108, 107, 106, 105, 104, 103, 102, 101, 90]

/** Undefined, and said, where there is no mosquitto. */
export async function measurePeer(influxUrl: string | undefined, total: number, runs: number): Promise<PeerReport | undefined> {
  const command = findExecutable('mosquitto')
  if (command === undefined) {
    console.warn('mosquitto is not installed: the peer is skipped (apt-get install mosquitto)')
    return undefined
  }
  const folder = await mkdtemp(join(tmpdir(), 'telltale-peer-'))
  const port = await freePort()
  // The queue is unbounded: with the 1,000 messages of the default most of the load would be dropped.
  const config = `listener ${port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\npersistence false\nlog_type error\n`
  await writeFile(join(folder, 'mosquitto.conf'), config)
  const broker = spawn(command, ['-c', join(folder, 'mosquitto.conf')], { stdio: 'ignore' })
  const store: StoreChoice = influxUrl
    ? { kind: 'influx', url: influxUrl, database: 'peer' }
    : { kind: 'duckdb', path: join(folder, 'readings.duckdb') }
  let script: ChildProcess | undefined
  try {
    await listening(port, 'mosquitto')
    script = fork(fileURLToPath(import.meta.url), [JSON.stringify({ port, store })], { execArgv: ['--import', 'tsx'] })
    await once(script, 'message')
    return await measure(
      script,
      broker,
      { port, login: undefined, project: PROJECT, connections: 50, devices: 1000, window: 50, total },
      runs,
    )
  } finally {
    for (const child of [script, broker]) await end(child)
    await rm(folder, { recursive: true, force: true })
  }
}

async function measure(script: ChildProcess, broker: ChildProcess, load: Load, runs: number): Promise<PeerReport> {
  await run(script, { ...load, total: WARM_UP })
  const rates: number[] = []
  const acked: number[] = []
  const usage = () => [script, broker].flatMap(({ pid }) => usageOf(pid ?? 0))
  const before = usage()
  for (let i = 0; i < runs; i++) {
    const { result, progress } = await run(script, load)
    rates.push(Math.round((load.total / (progress.lastUs - result.startedUs)) * 1e6))
    acked.push(Math.round((load.total / (result.ackedUs - result.startedUs)) * 1e6))
  }
  const cpuUs = perEvent(spent(before, usage()), load.total * runs)
  const sustainedPerSecond = median(rates)
  const rate = Math.max(1, Math.round(sustainedPerSecond / 2))
  const { result, progress } = await run(script, { ...load, total: rate * 3, rate })
  return {
    ackedPerSecond: median(acked),
    sustainedPerSecond,
    runs: rates,
    cpuUs,
    atHalf: { rate, ack: result.ack, stored: progress.stored },
  }
}

/** Runs a load and waits until the script has stored it all. */
async function run(script: ChildProcess, load: Load) {
  const { count } = await ask(script, 'begin')
  const result = await generate(load)
  for (;;) {
    const progress = await ask(script, 'progress')
    if (progress.count >= count + load.total) return { result, progress }
    await pause(20)
  }
}

/** `begin` forgets the latencies so far. */
async function ask(script: ChildProcess, question: 'begin' | 'progress'): Promise<Progress> {
  const answer = once(script, 'message')
  script.send(question)
  const [progress] = (await answer) as [Progress]
  return progress
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

export async function listening(port: number, name: string): Promise<void> {
  const deadline = performance.now() + START_LIMIT_MS
  while (!(await answers(port))) {
    if (performance.now() > deadline) throw new Error(`${name} did not start`)
    await pause(20)
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
    socket.once('close', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

/** The script itself. */
async function consume({ port, store: choice }: { port: number; store: StoreChoice }): Promise<void> {
  const store = await openStore(choice)
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`, { clientId: 'script', clean: false })
  const progress = { count: 0, lastUs: 0 }
  let latencies = new Histogram()
  // mqtt.js gives the next packet to this when the last one is done, and only then sends its PUBACK.
  const one: Pick<MqttClient, 'handleMessage'> = {
    handleMessage(packet, done) {
      const payload = Buffer.isBuffer(packet.payload) ? packet.payload.toString() : packet.payload
      const event = JSON.parse(payload) as DeviceEvent
      keep(store, event, payload).then(() => {
        progress.count++
        progress.lastUs = monotonicUs()
        latencies.add(progress.lastUs - Number.parseInt(event.eventId.slice(0, 16), 16))
        done()
      }, done)
    },
  }
  Object.assign(client, one)
  process.on('message', question => {
    if (question === 'begin') latencies = new Histogram()
    process.send?.({ ...progress, stored: latencies.summary() } satisfies Progress)
  })
  await client.subscribeAsync(`projects/${PROJECT}/devices/+/events`, { qos: 1 })
  process.send?.('ready')
}

async function keep(store: ReadingStore, event: DeviceEvent, frame: string): Promise<void> {
  const { eventId, eventType, targetName, data, timestamp } = event
  const { value } = data['temperature'] as { value: number }
  for (const limit of LIMITS) if (value > limit) process.stderr.write(`${targetName} is above ${limit}\n`)
  const device = targetName.slice(targetName.lastIndexOf('/') + 1)
  await store.write([{ project: PROJECT, device, eventType, eventId, timeUs: parseTime(timestamp) ?? 0, frame, data }])
}

async function openStore(choice: StoreChoice): Promise<ReadingStore> {
  if (choice.kind === 'duckdb') return openDuckStore({ path: choice.path })
  const none = { token: undefined, org: undefined, bucket: undefined, username: undefined, password: undefined }
  return openInfluxStore({ url: choice.url, database: choice.database, ...none })
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url))
  await consume(JSON.parse(process.argv[2] ?? '{}') as { port: number; store: StoreChoice })
