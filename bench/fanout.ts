// Fan-out: one published event goes to every reader that asked for it. What counts is the CPU of what serves, and its memory.
import { setTimeout as pause } from 'node:timers/promises'
import type { Latency } from './histogram.ts'
import { findNchan, startNchan } from './nchan.ts'
import { openFilesLimit, spent, type Usage, usageOf } from './process.ts'
import { Readers, type ReadersOptions, readerCommand } from './readers.ts'
import { type Serving, startTelltale } from './serving.ts'
import type { Stage } from './stage.ts'
import { aligned, whole } from './table.ts'

type Scenario = {
  readonly name: string
  readonly readers: number
  readonly rate: number
  readonly groups: number
  readonly frozen?: number
  /** That serve, and as many that read; one unless said. */
  readonly processes?: number
}

export type FanOut = {
  readonly scenario: string
  readonly server: string
  readonly perSecond: number
  /** Deliveries per second of CPU of what serves. */
  readonly perCpuSecond: number
  readonly latency: Latency
  /** What the reader with the fewest got of what was meant for it. */
  readonly delivered: number
  /** Of the server, by opening one more. */
  readonly kbPerReader: number
  /** How much the server's memory grew from the first reader to the end. */
  readonly grownMb: number
}

const IDLE = 20_500
/** What a server needs besides a socket for each reader. */
const OTHER_FILES = 1500
/** No process may have more sockets than files. */
const IDLE_PROCESSES = Math.max(1, Math.ceil(IDLE / Math.max(OTHER_FILES, openFilesLimit() - OTHER_FILES)))
const SCENARIOS: readonly Scenario[] = [
  { name: '1,000 readers of 1,000/s', readers: 1000, rate: 1000, groups: 1 },
  { name: '5,000 readers of 100/s', readers: 5000, rate: 100, groups: 1 },
  { name: '5,000 readers of 1 % of 1,000/s', readers: 5000, rate: 1000, groups: 100 },
  { name: `${whole(IDLE)} readers of 1/s`, readers: IDLE, rate: 1, groups: 1, processes: IDLE_PROCESSES },
]
const HEALTHY: Scenario = { name: '2,000 readers of 200/s', readers: 2000, rate: 200, groups: 1 }
const WITH_FROZEN: Scenario = { ...HEALTHY, name: '  and a frozen one', readers: 2001, frozen: 1 }
const MANY_FROZEN: Scenario = { name: '100 frozen among 200 of 5,000/s', readers: 200, rate: 5000, groups: 1, frozen: 100 }
const WARM_UP_SECONDS = 2
/** Opened and closed first: what code and buffers need is no reader's memory. */
const FIRST_READERS = 500
const LAST_FRAMES_MS = 10_000

/** @param only those scenarios in whose name this is. */
export async function measureFanOuts(seconds: number, runs: number, only = ''): Promise<FanOut[]> {
  const command = readerCommand()
  const nginx = findNchan()
  const found: FanOut[] = []
  for (const scenario of SCENARIOS.filter(({ name }) => name.includes(only))) {
    found.push(await measureOn(await startTelltale(scenario.processes), command, scenario, seconds))
    if (nginx !== undefined) found.push(await measureOn(await startNchan(nginx, scenario.processes), command, scenario, seconds))
  }
  if (only !== '') return found
  // By turns, so that a busy machine is one for both.
  const [without, frozen]: [FanOut[], FanOut[]] = [[], []]
  for (let i = 0; i < runs; i++) {
    without.push(await measureOn(await startTelltale(), command, HEALTHY, seconds))
    frozen.push(await measureOn(await startTelltale(), command, WITH_FROZEN, seconds))
  }
  return [...found, middle(without), middle(frozen), await measureOn(await startTelltale(), command, MANY_FROZEN, seconds)]
}

/** The run with the median p99. */
function middle(runs: readonly FanOut[]): FanOut {
  return [...runs].sort((a, b) => a.latency.p99Ms - b.latency.p99Ms)[Math.floor(runs.length / 2)] as FanOut
}

/** For the table of stages. */
export async function measureFanOut(readers: number, rate: number, seconds: number): Promise<Stage> {
  const scenario = { name: 'stream: frames delivered', readers, rate, groups: 1 }
  const { perSecond, perCpuSecond } = await measureOn(await startTelltale(), readerCommand(), scenario, seconds)
  return { name: scenario.name, perSecond, perCpuSecond, note: `${readers} readers of ${rate} events/s; CPU of the stream role alone` }
}

async function measureOn(serving: Serving, command: readonly string[], scenario: Scenario, seconds: number): Promise<FanOut> {
  process.stderr.write(`${serving.name}: ${scenario.name}\n`)
  try {
    return await measure(serving, command, scenario, seconds)
  } finally {
    await serving.stop()
  }
}

async function measure(serving: Serving, command: readonly string[], scenario: Scenario, seconds: number): Promise<FanOut> {
  const { name, readers: count, rate, groups, frozen = 0, processes = 1 } = scenario
  const ports = Array.from({ length: processes }, (_, i) => serving.ports[i % serving.ports.length] as number)
  const asked: ReadersOptions = { ports, count, path: serving.path(groups), groups, frozen }
  const options = serving.authorization === undefined ? asked : { ...asked, authorization: serving.authorization }
  await (await Readers.open(command, { ...options, count: FIRST_READERS, frozen: 0 })).close()
  await pause(1000)
  const emptyMb = memoryOf(serving)
  const readers = await Readers.open(command, options)
  try {
    await pause(1000)
    const openMb = memoryOf(serving)
    const total = rate * (seconds + WARM_UP_SECONDS + 1)
    const published = serving.publish({ rate, total, groups })
    await pause(WARM_UP_SECONDS * 1000)
    const before = usage(serving)
    const startedMs = performance.now()
    readers.begin()
    await pause(seconds * 1000)
    const { frames, latency } = await readers.end()
    const elapsed = (performance.now() - startedMs) / 1000
    const cpu = Object.values(spent(before, usage(serving))).reduce((sum, one) => sum + one, 0)
    await published
    return {
      scenario: name,
      server: serving.name,
      perSecond: frames / elapsed,
      perCpuSecond: frames / cpu,
      latency,
      delivered: await deliveredOf(readers, (total * (count - frozen)) / groups),
      kbPerReader: ((openMb - emptyMb) * 1024) / count,
      grownMb: memoryOf(serving) - emptyMb,
    }
  } finally {
    await readers.close()
  }
}

function usage({ pids }: Serving): Usage[] {
  return pids.flatMap(usageOf)
}

function memoryOf(serving: Serving): number {
  return usage(serving).reduce((sum, { rssMb }) => sum + rssMb, 0)
}

async function deliveredOf(readers: Readers, expected: number): Promise<number> {
  const deadline = performance.now() + LAST_FRAMES_MS
  for (;;) {
    const { frames } = await readers.total()
    if (frames >= expected || performance.now() > deadline) return frames / expected
    await pause(100)
  }
}

export function renderFanOuts(all: readonly FanOut[]): string {
  const rows = all.map(one => {
    const { scenario, server, perSecond, perCpuSecond, latency, delivered, kbPerReader, grownMb } = one
    const peer = all.find(other => other.scenario === scenario && other.server !== server)
    const ratio = server === 'Telltale' && peer ? `${(perCpuSecond / peer.perCpuSecond).toFixed(1)}×` : ''
    const share = `${(delivered * 100).toFixed(delivered < 1 ? 2 : 0)} %`
    const figures = [whole(perSecond), whole(perCpuSecond), ratio, latency.p50Ms.toFixed(1), latency.p99Ms.toFixed(1), share]
    return [scenario, server, ...figures, kbPerReader.toFixed(1), grownMb.toFixed(0)]
  })
  return [
    aligned([['', '', 'deliveries/s', 'per CPU second', 'ratio', 'p50 ms', 'p99 ms', 'delivered', 'KB/reader', 'grown MB'], ...rows]),
    '',
    'CPU and memory are those of what serves: Telltale’s stream role as a process of its own beside gateway and Redis, without a worker;',
    'all of nginx. Events of 230 bytes go in over MQTT QoS 1 there and by HTTP POST here; readers are EventSource on one machine with them.',
    ...(IDLE_PROCESSES > 1
      ? [`A process may open ${openFilesLimit()} files here: ${whole(IDLE)} readers are served by ${IDLE_PROCESSES}, of nginx as well.`]
      : []),
  ].join('\n')
}
