// One of two servers under the same load, and what the load cost it: by turns, so that a busy machine is one for both.
import type { Latency } from './histogram.ts'
import { busySeconds, firstThreadSeconds, spent, usageOf } from './process.ts'
import type { Login } from './wire.ts'

export type DoorSize = {
  readonly runs: number
  readonly seconds: number
  /** Clients of a storm; 0: no storm. */
  readonly storm: number
}

/** What is measured: where it listens, and whose CPU and memory it is. */
export type Side = {
  readonly name: string
  readonly port: number
  readonly pid: number
  readonly login: Login | undefined
  settle(): Promise<void>
}

/** One way in, or one kind of work. */
export type Rate = {
  readonly perSecond: number
  /** Of all programs of the server. */
  readonly perCpuSecond: number
  /** Microseconds by program. */
  readonly cpuUs: Readonly<Record<string, number>>
  /** Of these, the door's own: the first thread of the server. */
  readonly doorUs: number
  readonly latency: Latency
  /** Of what was sent; the rest was dropped. */
  readonly share: number
}

export type Look = { readonly busy: number; readonly ours: ReturnType<typeof usageOf>; readonly ms: number }

export function look(): Look {
  return { busy: busySeconds(), ours: usageOf(process.pid), ms: performance.now() }
}

/** Cores that programs used which are no part of this. */
export function othersCores(before: Look): number {
  const now = look()
  const ours = Object.values(spent(before.ours, now.ours)).reduce((sum, one) => sum + one, 0)
  return Math.max(0, (now.busy - before.busy - ours) / ((now.ms - before.ms) / 1000))
}

type Ran = { readonly count: number; readonly seconds: number; readonly latency: Latency; readonly share: number }

/** One run and what it cost, until everything that comes of it is done. */
export async function accounted(side: Pick<Side, 'pid' | 'settle'>, run: () => Promise<Ran>): Promise<Rate> {
  const before = usageOf(side.pid)
  const door = firstThreadSeconds(side.pid)
  const { count, seconds, latency, share } = await run()
  await side.settle()
  const used = spent(before, usageOf(side.pid))
  const cpu = Object.values(used).reduce((sum, one) => sum + one, 0)
  const cpuUs = Object.fromEntries(Object.entries(used).map(([name, one]) => [name, (one / count) * 1e6]))
  const doorUs = ((firstThreadSeconds(side.pid) - door) / count) * 1e6
  return { perSecond: count / seconds, perCpuSecond: count / cpu, cpuUs, doorUs, latency, share }
}

function middle(rates: readonly Rate[]): Rate {
  return [...rates].sort((a, b) => a.perCpuSecond - b.perCpuSecond)[Math.floor(rates.length / 2)] as Rate
}

export type Runner = { run(seconds: number): Promise<Rate>; close(): Promise<void> }

/** By turns, so that a busy machine is one for both; the first second of each warms up. */
export async function byTurns(runners: readonly Runner[], { runs, seconds }: DoorSize): Promise<Rate[]> {
  const rates = runners.map((): Rate[] => [])
  try {
    for (const runner of runners) await runner.run(1)
    for (let i = 0; i < runs; i++) for (const [k, runner] of runners.entries()) rates[k]?.push(await runner.run(seconds))
    return rates.map(middle)
  } finally {
    for (const runner of runners) await runner.close()
  }
}
