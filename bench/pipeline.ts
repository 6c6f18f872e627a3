// The main path, measured from outside: a real server with ten rules, one follower and a webhook, under closed and open load.
import { setTimeout as pause } from 'node:timers/promises'
import { Follower } from './follower.ts'
import { generate, type Load } from './generator.ts'
import { Histogram, type Latency, median } from './histogram.ts'
import { type Probed, Receiver, startProbes } from './probe.ts'
import { busySeconds, spent, usageOf } from './process.ts'
import type { Server } from './server.ts'
import { monotonicUs, sentTimes } from './wire.ts'

export type Size = {
  readonly warmUp: number
  readonly total: number
  readonly runs: number
  readonly rate: number
  readonly seconds: number
}

export type Throughput = {
  /** Events a second until the last acknowledgement. */
  readonly ackedPerSecond: number
  /** Events a second until the last one is judged, stored and streamed too: what can be sustained. */
  readonly sustainedPerSecond: number
  readonly ack: Latency
  /** Microseconds of CPU per event, by program; `total` is their sum. */
  readonly cpuUs: Readonly<Record<string, number>>
  readonly rssMb: number
  readonly generatorCpuUs: number
  /** Cores that programs which are no part of this were using meanwhile: above 0.1 or so the run says little. */
  readonly othersCores: number
}

export type Latencies = Probed & {
  readonly rate: number
  readonly ack: Latency
  readonly streamed: Latency
  readonly cpuUs: Readonly<Record<string, number>>
  readonly othersCores: number
}

export type PipelineReport = {
  readonly latency: Latencies
  readonly throughput: readonly Throughput[]
  readonly median: { readonly ackedPerSecond: number; readonly sustainedPerSecond: number; readonly cpuUs: number }
  readonly follower: { readonly frames: number; readonly expected: number; readonly resumes: number; readonly gaps: number }
}

const CONNECTIONS = 50
const WINDOW = 50
const DEVICES = 1000
const DRAIN_LIMIT_MS = 120_000
const POLL_MS = 50

export async function measurePipeline(server: Server, size: Size): Promise<PipelineReport> {
  const receiver = await Receiver.open()
  await setUp(server, receiver)
  const stream = new Streamed()
  const follower = new Follower({ port: server.httpPort, authorization: server.authorization, lines: chunk => stream.take(chunk) })
  try {
    await run(server, load(server, size.warmUp), stream)
    const latency = await measureLatency(server, receiver, size, stream)
    const throughput: Throughput[] = []
    for (let i = 0; i < size.runs; i++) throughput.push(await measureThroughput(server, size.total, stream))
    return {
      latency,
      throughput,
      median: {
        ackedPerSecond: median(throughput.map(one => one.ackedPerSecond)),
        sustainedPerSecond: median(throughput.map(one => one.sustainedPerSecond)),
        cpuUs: median(throughput.map(one => one.cpuUs['total'] ?? Number.NaN)),
      },
      follower: { frames: stream.frames, expected: stream.expected, resumes: follower.resumes, gaps: follower.gaps },
    }
  } finally {
    follower.stop()
    receiver.close()
  }
}

/** Nine rules that look at every event and never fire, and one that does. */
async function setUp(server: Server, receiver: Receiver): Promise<void> {
  await server.request('PUT', 'channels/hook', { type: 'webhook', url: receiver.url })
  for (let i = 1; i <= 9; i++)
    await server.request('POST', 'rules', { name: `quiet-${i}`, when: { threshold: { field: 'temperature.value', above: 99 + i } } })
  const siren = { select: { devices: ['siren'] }, when: { threshold: { field: 'temperature.value', above: 90 } }, notify: ['hook'] }
  await server.request('POST', 'rules', { name: 'siren', ...siren })
}

function load(server: Server, total: number, rate?: number): Load {
  const { mqttPort: port, login } = server
  return { port, login, project: 'default', connections: CONNECTIONS, devices: DEVICES, window: WINDOW, total, rate }
}

/** What the follower has got. */
class Streamed {
  frames = 0
  expected = 0
  latencies = new Histogram()

  take(chunk: Buffer): void {
    const nowUs = monotonicUs()
    sentTimes(chunk, sentUs => {
      this.frames++
      this.latencies.add(nowUs - sentUs)
    })
  }
}

/** Runs a load and waits until every consumer and the follower have everything. */
async function run(server: Server, work: Load, stream: Streamed) {
  const before = await server.metrics()
  stream.expected += work.total
  stream.latencies = new Histogram()
  const result = await generate(work)
  const deadline = performance.now() + DRAIN_LIMIT_MS
  for (;;) {
    const now = await server.metrics()
    const gained = (name: string) => (now[name] ?? 0) - (before[name] ?? 0)
    const least = Math.min(gained('telltale_events_stored_total'), gained('telltale_events_consumed_total{consumer="judge"}'))
    if (least >= work.total && stream.frames >= stream.expected) return { result, doneUs: monotonicUs() }
    if (performance.now() > deadline)
      throw new Error(`after ${DRAIN_LIMIT_MS / 1000} s ${least} of ${work.total} events were processed, ${stream.frames} streamed`)
    await pause(POLL_MS)
  }
}

async function measureThroughput(server: Server, total: number, stream: Streamed): Promise<Throughput> {
  const { result, doneUs, used, othersCores } = await account(server, () => run(server, load(server, total), stream))
  return {
    ackedPerSecond: Math.round((total / (result.ackedUs - result.startedUs)) * 1e6),
    sustainedPerSecond: Math.round((total / (doneUs - result.startedUs)) * 1e6),
    ack: result.ack,
    cpuUs: perEvent(used, total),
    rssMb: Math.round(usageOf(server.pid).reduce((sum, { rssMb }) => sum + rssMb, 0)),
    generatorCpuUs: Math.round((result.cpuSeconds / total) * 1e7) / 10,
    othersCores,
  }
}

async function measureLatency(server: Server, receiver: Receiver, { rate, seconds }: Size, stream: Streamed): Promise<Latencies> {
  const probes = await startProbes(server, receiver)
  const { result, used, othersCores } = await account(server, () => run(server, load(server, rate * seconds, rate), stream))
  const probed = await probes.stop()
  const cpuUs = perEvent(used, rate * seconds)
  return { rate, ack: result.ack, streamed: stream.latencies.summary(), ...probed, cpuUs, othersCores }
}

type Ran = Awaited<ReturnType<typeof run>>

/** Whose CPU time it was while that ran: the server's by program, and what neither it nor the benchmark used. */
async function account(server: Server, work: () => Promise<Ran>) {
  const before = usageOf(server.pid)
  const own = process.cpuUsage()
  const busy = busySeconds()
  const startedMs = performance.now()
  const ran = await work()
  const used = spent(before, usageOf(server.pid))
  const { user, system } = process.cpuUsage(own)
  const ours = Object.values(used).reduce((sum, one) => sum + one, (user + system) / 1e6 + ran.result.cpuSeconds)
  const seconds = (performance.now() - startedMs) / 1000
  return { ...ran, used, othersCores: Math.max(0, Math.round(((busySeconds() - busy - ours) / seconds) * 100) / 100) }
}

export function perEvent(used: Readonly<Record<string, number>>, events: number): Record<string, number> {
  const us = (seconds: number) => Math.round((seconds / events) * 1e7) / 10
  const total = Object.values(used).reduce((sum, seconds) => sum + seconds, 0)
  return { ...Object.fromEntries(Object.entries(used).map(([name, seconds]) => [name, us(seconds)])), total: us(total) }
}
