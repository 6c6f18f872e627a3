// `npm run bench -- durable`: durable streams through their WebSocket, beside NATS JetStream with file storage doing the same, both over
// TCP to a server process, from the same client process.

import { Histogram, type Latency } from './histogram.ts'
import { findNats, startNats } from './nats.ts'
import { spent, usageOf } from './process.ts'
import { startStreamServer } from './streamserver.ts'
import { aligned, machine, whole } from './table.ts'

/** A system that is measured. Payloads begin with the time at which they were sent. */
export type Durable = {
  readonly name: string
  readonly pid: number
  /** A fresh stream with one subscription. */
  make(stream: string): Promise<void>
  producer(stream: string): Promise<DurableProducer>
  /** Calls for each message; it is acked then. */
  consume(stream: string, took: (payload: Uint8Array) => void): Promise<() => Promise<void>>
  /** How many are not acked. */
  backlog(stream: string): Promise<number>
  stop(): Promise<void>
}

export type DurableProducer = {
  /** Resolves when it is acknowledged. */
  append(payload: Buffer): Promise<void>
  close(): Promise<void>
}

export type DurableReport = {
  readonly name: string
  readonly appendPerSecond: number
  readonly appendCpuUs: number
  readonly flowPerSecond: number
  readonly flowCpuUs: number
  readonly atRate: { readonly rate: number; readonly acked: Latency; readonly consumed: Latency }
}

export type DurableSize = { readonly total: number; readonly rate: number; readonly seconds: number }

const PRODUCERS = 8
/** Not yet acknowledged, of each producer. */
const WINDOW = 200
const PAYLOAD_BYTES = 200

export async function measureDurables(size: DurableSize): Promise<DurableReport[]> {
  const nats = findNats()
  const starts = [startStreamServer, ...(nats === undefined ? [] : [() => startNats(nats)])]
  const reports: DurableReport[] = []
  for (const start of starts) {
    const system = await start()
    try {
      reports.push(await measure(system, size))
    } finally {
      await system.stop()
    }
  }
  return reports
}

async function measure(system: Durable, { total, rate, seconds }: DurableSize): Promise<DurableReport> {
  await system.make('warm')
  await produce(system, 'warm', Math.round(total / 5))
  await system.make('append')
  const append = await timed(system, total, () => produce(system, 'append', total))
  await system.make('flow')
  const flow = await timed(system, total, async () => {
    const stop = await system.consume('flow', () => undefined)
    await produce(system, 'flow', total)
    await acked(system, 'flow')
    await stop()
  })
  await system.make('rate')
  const consumed = new Histogram()
  const stop = await system.consume('rate', payload => consumed.add(nowUs() - Number(Buffer.from(payload).readDoubleLE(0))))
  const acknowledged = await steadily(system, 'rate', rate, seconds)
  await acked(system, 'rate')
  await stop()
  return {
    name: system.name,
    appendPerSecond: append.perSecond,
    appendCpuUs: append.cpuUs,
    flowPerSecond: flow.perSecond,
    flowCpuUs: flow.cpuUs,
    atRate: { rate, acked: acknowledged, consumed: consumed.summary() },
  }
}

async function timed(system: Durable, total: number, run: () => Promise<void>): Promise<{ perSecond: number; cpuUs: number }> {
  const [before, beganUs] = [usageOf(system.pid), nowUs()]
  await run()
  const tookUs = nowUs() - beganUs
  const cpuSeconds = Object.values(spent(before, usageOf(system.pid))).reduce((sum, one) => sum + one, 0)
  return { perSecond: Math.round((total / tookUs) * 1e6), cpuUs: Math.round((cpuSeconds / total) * 1e7) / 10 }
}

/** As fast as acknowledgements come. */
async function produce(system: Durable, stream: string, total: number): Promise<void> {
  const producers = await Promise.all(Array.from({ length: PRODUCERS }, () => system.producer(stream)))
  let left = total
  const send = async (producer: DurableProducer) => {
    while (left-- > 0) await producer.append(payload())
  }
  await Promise.all(producers.flatMap(producer => Array.from({ length: WINDOW }, () => send(producer))))
  await Promise.all(producers.map(producer => producer.close()))
}

/** At a steady rate, in small groups; returns how long acknowledgements took. */
async function steadily(system: Durable, stream: string, rate: number, seconds: number): Promise<Latency> {
  const producers = await Promise.all(Array.from({ length: PRODUCERS }, () => system.producer(stream)))
  const latency = new Histogram()
  const beganUs = nowUs()
  const waiting: Promise<void>[] = []
  for (let sent = 0; sent < rate * seconds; ) {
    const due = Math.min(rate * seconds, Math.floor(((nowUs() - beganUs) / 1e6) * rate))
    for (; sent < due; sent++) {
      const sentUs = nowUs()
      waiting.push((producers[sent % PRODUCERS] as DurableProducer).append(payload()).then(() => latency.add(nowUs() - sentUs)))
    }
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  await Promise.all(waiting)
  await Promise.all(producers.map(producer => producer.close()))
  return latency.summary()
}

function payload(): Buffer {
  const bytes = Buffer.alloc(PAYLOAD_BYTES, 0x20)
  bytes.writeDoubleLE(nowUs(), 0)
  return bytes
}

async function acked(system: Durable, stream: string): Promise<void> {
  while ((await system.backlog(stream)) > 0) await new Promise(resolve => setTimeout(resolve, 5))
}

function nowUs(): number {
  return performance.now() * 1000
}

export function renderDurables(reports: readonly DurableReport[]): string {
  const [ours, peer] = reports
  const ratio = (read: (one: DurableReport) => number) => (ours && peer ? `${(read(ours) / read(peer)).toFixed(2)}x` : '')
  const row = (title: string, read: (one: DurableReport) => number) => [title, ...reports.map(one => whole(read(one))), ratio(read)]
  const ms = (title: string, read: (one: DurableReport) => Latency) => [
    title,
    ...reports.map(one => `${read(one).p50Ms} / ${read(one).p99Ms} ms`),
    ratio(one => read(one).p99Ms),
  ]
  const host = machine()
  return [
    `${host.cpu}, ${host.cores} cores, Node ${host.node}`,
    `${PRODUCERS} connections, ${WINDOW} messages of ${PAYLOAD_BYTES} bytes in flight on each, one consumer that acks each message`,
    '',
    aligned([
      ['', ...reports.map(({ name }) => name), 'ratio'],
      row('append with ack, messages/s', one => one.appendPerSecond),
      row('  CPU of the server, µs a message', one => one.appendCpuUs),
      row('produce, consume, ack, messages/s', one => one.flowPerSecond),
      row('  CPU of the server, µs a message', one => one.flowCpuUs),
      ms(`at ${whole(ours?.atRate.rate)}/s: acknowledged, p50 / p99`, one => one.atRate.acked),
      ms('  consumed', one => one.atRate.consumed),
    ]),
    '',
    'Telltale acknowledges what is on disk (fsync in groups); JetStream what is in its file cache (it syncs every two minutes).',
  ].join('\n')
}
