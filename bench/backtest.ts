// `npm run bench -- backtest`: ten million stored readings through a rule, from a DuckDB file that is filled in one piece.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { DuckDBInstance } from '@duckdb/node-api'
import { Backtest } from '../packages/core/backtest.ts'
import { parseRule } from '../packages/core/rule.ts'
import { openDuckStore } from '../packages/store/duckdb.ts'
import { replay } from '../services/console/replay.ts'
import { aligned, whole } from './table.ts'

export type BacktestReport = {
  readonly readings: number
  readonly devices: number
  readonly fillMs: number
  readonly rules: readonly RuleReport[]
}
type RuleReport = {
  readonly name: string
  readonly elapsedMs: number
  readonly cpuMs: number
  readonly eventsPerSecond: number
  readonly longestTurnMs: number
  readonly alarms: number
}

const DEVICES = 1000
const T0 = Date.parse('2026-03-01T00:00:00Z') * 1000
const MINUTE_US = 60_000_000

const FIELD = { field: 'temperature.value', unit: '°C' }
const RULES: readonly (readonly [name: string, when: object])[] = [
  ['threshold', { threshold: { ...FIELD, above: -15, clearBelow: -16 } }],
  ['rate', { rate: { ...FIELD, per: '1m', above: 1 } }],
  ['flapping', { flapping: { ...FIELD, level: -16, changes: 6, within: '30m' } }],
  ['stuck', { stuck: { ...FIELD, for: '15m' } }],
  ['window-mean', { window: { ...FIELD, function: 'mean', over: '15m', above: -15 } }],
]

/** Whole events, as devices send them: the frames are there, and have to be passed by. */
const FILL = `
insert into entry
select (i % ${DEVICES} + 1)::integer, ${T0} + (i // ${DEVICES}) * ${MINUTE_US} + (i % ${DEVICES}) * 1000, 'e' || lpad(i::varchar, 19, '0'), true,
  'value', round(-18 + 3 * sin(i / 377000.0 + i % ${DEVICES}) + random(), 2),
  '{"eventId":"e' || lpad(i::varchar, 19, '0') || '","targetName":"projects/bench/devices/freezer-' || (i % ${DEVICES})
    || '","eventType":"temperature","data":{"temperature":{"value":-18.25,"updateTime":"2026-03-02T06:41:09.104000Z"}},"timestamp":"2026-03-02T06:41:09.104000Z"}',
  null, null from range($count::bigint) r(i)`

export async function measureBacktest(readings: number): Promise<BacktestReport> {
  const folder = await mkdtemp(join(tmpdir(), 'telltale-backtest-'))
  try {
    const path = join(folder, 'readings.duckdb')
    const fillMs = await fill(path, readings)
    const rules: RuleReport[] = []
    for (const [name, when] of RULES) rules.push({ name, ...(await judge(path, readings, name, when)) })
    return { readings, devices: DEVICES, fillMs, rules }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function fill(path: string, readings: number): Promise<number> {
  // It makes the tables.
  await (await openDuckStore({ path })).close()
  const beganMs = performance.now()
  const instance = await DuckDBInstance.create(path, { threads: '2' })
  const connection = await instance.connect()
  await connection.run(`insert into series select i + 1, 'bench', 'freezer-' || i, 'temperature' from range(${DEVICES}) r(i)`)
  await connection.run(FILL, { count: BigInt(readings) })
  await connection.run('checkpoint')
  connection.closeSync()
  instance.closeSync()
  return performance.now() - beganMs
}

async function judge(path: string, readings: number, name: string, when: object) {
  const rule = parseRule({ name, when, for: '5m' })
  const range = { fromUs: T0, toUs: T0 + (readings / DEVICES + 1) * MINUTE_US }
  const store = await openDuckStore({ path })
  const turns = monitorEventLoopDelay({ resolution: 1 })
  turns.enable()
  const cpu = process.cpuUsage()
  const beganMs = performance.now()
  const backtest = new Backtest(rule, range)
  const side = { rule, take: backtest.take.bind(backtest) }
  const ports = { store, devices: { get: async () => [] } }
  let events = 0
  for await (const progress of replay(ports, { project: 'bench', sides: [side], range, devices: undefined }, new AbortController().signal))
    events = progress.events
  const { alarms } = backtest.finish()
  const elapsedMs = performance.now() - beganMs
  const { user, system } = process.cpuUsage(cpu)
  turns.disable()
  await store.close()
  return { elapsedMs, cpuMs: (user + system) / 1000, eventsPerSecond: (events / elapsedMs) * 1000, longestTurnMs: turns.max / 1e6, alarms }
}

export function renderBacktest({ readings, devices, fillMs, rules }: BacktestReport): string {
  const head = ['rule', 'judged in, ms', 'processor, ms', 'events/s', 'longest turn, ms', 'alarms']
  const rows = rules.map(one => [
    one.name,
    whole(one.elapsedMs),
    whole(one.cpuMs),
    whole(one.eventsPerSecond),
    one.longestTurnMs.toFixed(1),
    whole(one.alarms),
  ])
  const method = `rules with a unit and for: 5m over ${whole(readings)} stored events of ${devices} devices (DuckDB, one thread of it), filled in ${whole(fillMs)} ms`
  return `${method}\n\n${aligned([head, ...rows])}`
}
