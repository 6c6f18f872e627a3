// The figures for people.
import { availableParallelism, cpus } from 'node:os'
import type { Latency } from './histogram.ts'
import type { PeerReport } from './peer.ts'
import type { PipelineReport } from './pipeline.ts'
import type { ProfileReport, Share } from './profile.ts'

export type Report = {
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string }
  readonly store: string
  readonly pipeline: PipelineReport
  readonly peer: PeerReport | undefined
  readonly profiles: readonly ProfileReport[]
}

export function machine(): Report['machine'] {
  return { cpu: cpus()[0]?.model.trim() ?? 'unknown', cores: availableParallelism(), node: process.version }
}

export function renderReport({ machine: host, store, pipeline, peer, profiles }: Report): string {
  const { latency, throughput, median, follower } = pipeline
  const others = Math.max(latency.othersCores, ...throughput.map(({ othersCores }) => othersCores))
  const first = throughput[0]
  const rows: string[][] = [['', 'Telltale', 'mosquitto + script', 'ratio']]
  rows.push([
    'sustained events/s',
    whole(median.sustainedPerSecond),
    whole(peer?.sustainedPerSecond),
    times(median.sustainedPerSecond, peer?.sustainedPerSecond),
  ])
  rows.push(['  of each run', throughput.map(one => whole(one.sustainedPerSecond)).join(' '), peer?.runs.map(whole).join(' ') ?? '-', ''])
  rows.push([
    'acknowledged events/s',
    `${whole(median.ackedPerSecond)} (on disk)`,
    peer ? `${whole(peer.ackedPerSecond)} (in memory)` : '-',
    '',
  ])
  rows.push(['CPU per event, µs', String(median.cpuUs), String(peer?.cpuUs['total'] ?? '-'), times(peer?.cpuUs['total'], median.cpuUs)])
  rows.push(['  by program, first run', programs(first?.cpuUs), programs(peer?.cpuUs), ''])
  rows.push(['memory, MB', whole(first?.rssMb), '', ''])
  rows.push([`at ${whole(latency.rate)}/s, p50 / p99 ms`, '', peer ? `at ${whole(peer.atHalf.rate)}/s` : '', ''])
  rows.push(['  publish → acknowledged', shown(latency.ack), shown(peer?.atHalf.ack), ''])
  rows.push(['  publish → streamed', shown(latency.streamed), '-', ''])
  rows.push(['  publish → stored', shown(latency.stored), shown(peer?.atHalf.stored), ''])
  rows.push(['  publish → webhook called', shown(latency.webhook), '-', ''])
  rows.push(['  CPU per event, µs', programs(latency.cpuUs), '', ''])
  return [
    `${host.cpu}, ${host.cores} cores, Node ${host.node}, store ${store}`,
    'MQTT QoS 1, 50 connections, 1,000 devices, events of 230 bytes, 10 rules, one follower of the stream',
    '',
    aligned(rows),
    '',
    `The follower got ${whole(follower.frames)} of ${whole(follower.expected)} frames, resumed ${follower.resumes} times, ${follower.gaps} gaps.`,
    ...(others > 0.1 ? [`Other programs used ${others} cores meanwhile: measure again on a quiet machine.`] : []),
    ...(latency.undelivered > 0 ? [`${latency.undelivered} alarm changes were not delivered in time.`] : []),
    ...profiles.flatMap(profile => ['', renderProfile(profile)]),
  ].join('\n')
}

function renderProfile({ busySeconds, areas, functions }: ProfileReport): string {
  const lines = (title: string, shares: readonly Share[]) => [
    title,
    ...shares.map(({ name, share, us }) => `  ${(share * 100).toFixed(1).padStart(5)} %  ${us.toFixed(2).padStart(6)} µs  ${name}`),
  ]
  return [
    `a thread of the server, busy for ${busySeconds.toFixed(1)} s:`,
    ...lines('by file', areas),
    ...lines('by function', functions),
  ].join('\n')
}

export function aligned(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  const line = (row: readonly string[]) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
  return rows.map(row => line(row).join('  ').trimEnd()).join('\n')
}

export function whole(value: number | undefined): string {
  return value === undefined || Number.isNaN(value) ? '-' : Math.round(value).toLocaleString('en-US')
}

function times(better: number | undefined, worse: number | undefined): string {
  return better === undefined || worse === undefined ? '-' : `${(better / worse).toFixed(better / worse < 10 ? 1 : 0)}×`
}

function shown(latency: Latency | undefined): string {
  return latency === undefined || latency.count === 0 ? '-' : `${latency.p50Ms.toFixed(1)} / ${latency.p99Ms.toFixed(1)}`
}

function programs(cpuUs: Readonly<Record<string, number>> | undefined): string {
  if (!cpuUs) return '-'
  return Object.entries(cpuUs)
    .filter(([name, us]) => name !== 'total' && us >= 0.1)
    .map(([name, us]) => `${name} ${us}`)
    .join(', ')
}
