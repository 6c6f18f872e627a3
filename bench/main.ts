// `npm run bench`: the main path in figures of this machine, beside what a plain script on mosquitto does with the same events.
// `npm run bench -- stages`: the steps alone. `npm run bench -- fanout`: the stream, beside nginx with nchan.
// `npm run bench -- durable`: durable streams, beside NATS JetStream. `npm run bench -- detection`: which rules find which incidents.
// `npm run bench -- doors`: every way in, beside mosquitto.
// `npm run bench -- backtest`: stored history through a rule. `npm run bench -- formats`: each format alone.
// Options: --quick, --json, --store influx, --profile;
// of doors, fanout and formats --only '20,500', for what has this in its name.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { hasInfluxd, type Influxd, startInfluxd } from '../packages/store/influxd.ts'
import { measureBacktest, renderBacktest } from './backtest.ts'
import { detectAll, renderDetection } from './detection.ts'
import { measureDoors } from './door.ts'
import { renderDoors } from './doortable.ts'
import { measureDurables, renderDurables } from './durable.ts'
import { measureFanOuts, renderFanOuts } from './fanout.ts'
import { measureFormats, renderFormats } from './format.ts'
import { measurePeer } from './peer.ts'
import { measurePipeline, type PipelineReport, type Size } from './pipeline.ts'
import { type ProfileReport, profileFlags, readProfiles } from './profile.ts'
import { Server } from './server.ts'
import { measureStages, renderStages } from './stage.ts'
import { machine, type Report, renderReport } from './table.ts'

const FULL = { warmUp: 50_000, total: 200_000, runs: 3, rate: 10_000, seconds: 15, peerTotal: 3000, peerRuns: 3 }
const QUICK = { warmUp: 30_000, total: 100_000, runs: 1, rate: 10_000, seconds: 6, peerTotal: 1000, peerRuns: 1 }
const FULL_DURABLE = { total: 300_000, rate: 5000, seconds: 15 }
const FULL_DOORS = { runs: 3, seconds: 5, storm: 5000 }
const QUICK_DOORS = { runs: 1, seconds: 2, storm: 0 }
const QUICK_DURABLE = { total: 50_000, rate: 2000, seconds: 3 }

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    store: { type: 'string', default: 'duckdb' },
    only: { type: 'string', default: '' },
  },
})

const { quick, only } = values
const COMMANDS: Readonly<Record<string, () => Promise<void>>> = {
  stages: async () => {
    const stages = await measureStages(quick ? 1 : 3)
    print({ machine: machine(), stages }, () => renderStages(stages))
  },
  doors: async () => {
    const doors = await measureDoors(quick ? QUICK_DOORS : FULL_DOORS, only)
    print({ machine: machine(), doors }, () => renderDoors(machine(), doors))
  },
  fanout: async () => {
    const all = await measureFanOuts(quick ? 3 : 8, quick ? 1 : 3, only)
    print({ machine: machine(), all }, () => renderFanOuts(all))
  },
  durable: async () => {
    const all = await measureDurables(quick ? QUICK_DURABLE : FULL_DURABLE)
    print({ machine: machine(), all }, () => renderDurables(all))
  },
  backtest: async () => {
    const backtest = await measureBacktest(quick ? 1_000_000 : 10_000_000)
    print({ machine: machine(), backtest }, () => renderBacktest(backtest))
  },
  formats: async () => {
    const formats = await measureFormats(quick ? 1 : 3, only)
    print({ machine: machine(), formats }, () => renderFormats(formats))
  },
  detection: async () => printDetection(),
}

async function main(): Promise<void> {
  const [what] = positionals
  const command = what === undefined ? mainPath : COMMANDS[what]
  if (!command || (values.store !== 'duckdb' && values.store !== 'influx'))
    throw new Error(
      `usage: npm run bench -- [${Object.keys(COMMANDS).join('|')}] [--quick] [--json] [--profile] [--store duckdb|influx] [--only part of a name]`,
    )
  await command()
}

async function mainPath(): Promise<void> {
  const report = await benchmark(quick ? QUICK : FULL)
  print(report, () => renderReport(report))
}

function printDetection(): void {
  const reports = detectAll()
  print({ reports }, () => renderDetection(reports))
}

function print(report: object, render: () => string): void {
  console.log(values.json ? JSON.stringify(report, null, 2) : render())
}

async function benchmark(size: typeof FULL): Promise<Report> {
  const influx = values.store === 'influx' ? await startOwnInflux() : undefined
  try {
    const measured = await telltale(size, influx?.url)
    const peer = await measurePeer(influx?.url, size.peerTotal, size.peerRuns)
    return { machine: machine(), store: values.store, ...measured, peer }
  } finally {
    await influx?.stop()
  }
}

async function startOwnInflux(): Promise<Influxd> {
  if (!hasInfluxd()) throw new Error('--store influx needs influxd')
  return startInfluxd()
}

async function telltale(size: Size, influxUrl: string | undefined): Promise<{ pipeline: PipelineReport; profiles: ProfileReport[] }> {
  const folder = await mkdtemp(join(tmpdir(), 'telltale-profile-'))
  const env: Record<string, string> = influxUrl ? { TELLTALE_INFLUX_URL: influxUrl, TELLTALE_INFLUX_DATABASE: 'bench' } : {}
  const server = await Server.start({ env, flags: values.profile ? profileFlags(folder) : [] })
  try {
    const pipeline = await measurePipeline(server, size)
    await server.stop()
    const events = size.warmUp + size.total * size.runs + size.rate * size.seconds
    return { pipeline, profiles: values.profile ? await readProfiles(folder, events) : [] }
  } catch (error) {
    console.error(server.state)
    throw error
  } finally {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

await main()
