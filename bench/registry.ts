// `node --import tsx bench/registry.ts [devices]`: lists of a project with a million devices on the embedded Redis, each kind of call
// walked from its first page on; what a device costs in memory; how fast devices register and the report consumer follows.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import { parseLabelFilter } from '../packages/core/device.ts'
import { formatTime } from '../packages/core/time.ts'
import type { LogEntry } from '../packages/log/entry.ts'
import { Log } from '../packages/log/log.ts'
import { connectRedis, findRedis, startRedis } from '../packages/redis/index.ts'
import { Devices, reportedKey } from '../packages/state/device.ts'
import { DeviceLists, type From } from '../packages/state/devicelist.ts'
import { type DeviceFilter, parseOrder } from '../packages/state/devicequery.ts'
import { Reports } from '../packages/state/devicereport.ts'
import { reportConsumer } from '../services/worker/report.ts'
import { Histogram } from './histogram.ts'
import { aligned, machine, whole } from './table.ts'

const TOTAL = Number(process.argv[2] ?? 1_000_000)
const CALLS = 200
const PROJECT = 'bench'
const TYPES = ['temperature', 'humidity', 'co2', 'motion', 'contact', 'touch', 'ccon', 'proximity']
const quiet = { info() {}, warn() {}, error: (facts: object, message: string) => console.error(message, facts) }

const NONE: DeviceFilter = { labels: [] }
const labelled = (...filters: string[]): DeviceFilter => ({ labels: filters.map(parseLabelFilter) })

/** By what is asked, and how many match of a million. */
const QUESTIONS: readonly (readonly [string, DeviceFilter, string])[] = [
  ['all, by name', NONE, 'name'],
  ['all, by -name', NONE, '-name'],
  ['one type (125,000)', { ...NONE, types: new Set(['co2']) }, 'name'],
  ['a label with a value (10,000)', labelled('zone=z7'), 'name'],
  ['a label with a value (100)', labelled('room=r77'), 'name'],
  ['a label that 1,000 have', labelled('spare'), 'name'],
  ['label and type (1,250)', { ...labelled('zone=z7'), types: new Set(['contact']) }, 'name'],
  ['product number (100,000)', { ...NONE, productNumbers: new Set(['10005']) }, 'name'],
  ['100 ids', { ...NONE, ids: new Set(Array.from({ length: 100 }, (_, i) => idOf(i * 77))) }, 'name'],
  ['all, by labels.name', NONE, 'labels.name'],
  ['all, by -type', NONE, '-type'],
  ['all, by labels.spare (most are without)', NONE, 'labels.spare'],
  ['a label with a value (10,000), by labels.name', labelled('zone=z7'), 'labels.name'],
  ['a label with a value (100), by labels.name', labelled('room=r77'), 'labels.name'],
  ['keyword that a hundredth has', { ...NONE, keyword: 'z7' }, 'name'],
  ['keyword that none has', { ...NONE, keyword: 'nowhere' }, 'name'],
  ['all, by -reported.temperature.value', NONE, '-reported.temperature.value'],
  ['one type (125,000), by reported.temperature.value', { ...NONE, types: new Set(['co2']) }, 'reported.temperature.value'],
  ['all, by reported.networkStatus.signalStrength (100 values)', NONE, 'reported.networkStatus.signalStrength'],
]

function idOf(i: number): string {
  return `c${((i * 2_654_435_761) % 4_294_967_296).toString(36).padStart(7, '0')}bench${String(i).padStart(7, '0')}`
}

async function main(): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'telltale-registry-'))
  const binary = await findRedis({ dir, binary: 'redis-server', progress() {} })
  const server = await startRedis({ dir, binary, maxMemoryBytes: 8e9, fsync: 'always', log: quiet })
  const redis = (await connectRedis({ path: server.path }, { name: 'bench', patience: 'worker', log: quiet })) as Redis
  try {
    const host = machine()
    console.log(`${host.cpu}, ${host.cores} cores, Node ${host.node}; ${whole(TOTAL)} devices in one project, every write on disk\n`)
    await measureReport(redis)
    await redis.flushall()
    const devices = new Devices(redis)
    await fill(redis, devices)
    await measureLists(redis, devices)
  } finally {
    redis.disconnect()
    await server.stop()
    await rm(dir, { recursive: true, force: true })
  }
}

async function usedBytes(redis: Redis): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1])
}

/** Runs `work` for every number below `count`, so many at once. */
async function each(count: number, atOnce: number, work: (i: number) => Promise<unknown>): Promise<number> {
  const begunMs = performance.now()
  let next = 0
  const run = async () => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: atOnce }, run))
  return (count / (performance.now() - begunMs)) * 1000
}

async function fill(redis: Redis, devices: Devices): Promise<void> {
  const rows: string[][] = [['', 'per second', 'bytes a device']]
  const step = async (name: string, work: () => Promise<number>) => {
    const before = await usedBytes(redis)
    const rate = await work()
    rows.push([name, whole(rate), whole(((await usedBytes(redis)) - before) / TOTAL)])
  }
  const typeOf = (i: number) => TYPES[i % TYPES.length] as string
  await step('registered by their first event (500 at once, 4 batches)', async () => {
    const batches = await each(TOTAL / 500, 4, b =>
      devices.register(
        PROJECT,
        Array.from({ length: 500 }, (_, k) => [idOf(b * 500 + k), typeOf(b * 500 + k)] as const),
      ),
    )
    return batches * 500
  })
  await step('product number and 3 labels (256 at once)', () =>
    each(TOTAL, 256, i => {
      const labels: Record<string, string> = { name: `Sensor ${i % 50_000}`, zone: `z${Math.floor(i / 8) % 100}`, room: `r${i % 10_000}` }
      if (i % 1000 === 0) labels['spare'] = 'yes'
      return devices.put(PROJECT, { id: idOf(i), type: typeOf(i), labels, productNumber: `1000${i % 10}` })
    }),
  )
  await step('two reported values', async () => {
    const updateTime = formatTime(Date.now() * 1000)
    const batches = await each(TOTAL / 1000, 4, b => {
      const pipeline = redis.pipeline()
      for (let i = b * 1000; i < (b + 1) * 1000; i++) {
        const value = Math.round(Math.sin(i) * 10_000) / 100
        const temperature = { value, updateTime, samples: [{ value, sampleTime: updateTime }], isBackfilled: false }
        const networkStatus = {
          signalStrength: i % 100,
          rssi: -i % 100,
          transmissionMode: 'LOW_POWER_STANDARD_MODE',
          cloudConnectors: [],
          updateTime,
        }
        pipeline.hset(
          reportedKey(PROJECT, idOf(i)),
          'temperature',
          `1 ${JSON.stringify(temperature)}`,
          'networkStatus',
          `1 ${JSON.stringify(networkStatus)}`,
        )
      }
      return pipeline.exec()
    })
    return batches * 1000
  })
  console.log(`${aligned(rows)}\n`)
}

async function measureLists(redis: Redis, devices: Devices): Promise<void> {
  const lists = new DeviceLists(redis, devices)
  const rows: string[][] = [['', 'p50 ms', 'p99 ms', 'max ms', 'devices a call']]
  for (const [name, filter, orderBy] of QUESTIONS) {
    const order = parseOrder(orderBy)
    const before = await usedBytes(redis)
    const begunMs = performance.now()
    let built = 0
    let slowestMs = 0
    for (
      let stepMs = performance.now();
      (await lists.list(PROJECT, filter, order, undefined, 100)).next === 'again';
      stepMs = performance.now()
    ) {
      built++
      slowestMs = Math.max(slowestMs, performance.now() - stepMs)
    }
    if (built > 0) {
      const bytes = ((await usedBytes(redis)) - before) / TOTAL
      const seconds = (performance.now() - begunMs) / 1000
      console.log(
        `index for ${orderBy}: built in ${built} calls, ${seconds.toFixed(1)} s, the slowest ${whole(slowestMs)} ms, ${whole(bytes)} bytes a device`,
      )
    }
    rows.push([name, ...(await measureWalk(devices, lists, filter, orderBy))])
  }
  console.log(`\nlist calls of up to 100 devices with what they reported, ${CALLS} of each, page after page\n\n${aligned(rows)}`)
}

async function measureWalk(devices: Devices, lists: DeviceLists, filter: DeviceFilter, orderBy: string): Promise<string[]> {
  const latency = new Histogram()
  const order = parseOrder(orderBy)
  let from: From
  let found = 0
  for (let call = 0; call < CALLS; call++) {
    const begunMs = performance.now()
    const page = await lists.list(PROJECT, filter, order, from, 100)
    await devices.reported(
      PROJECT,
      page.found.map(({ device }) => device.id),
    )
    latency.add((performance.now() - begunMs) * 1000)
    found += page.found.length
    from = page.next === 'end' || page.next === 'again' ? undefined : { place: page.next, inclusive: false }
  }
  const { p50Ms, p99Ms, maxMs } = latency.summary()
  return [...[p50Ms, p99Ms, maxMs].map(ms => ms.toFixed(1)), whole(found / CALLS)]
}

/** Rounds of the report consumer over 50,000 devices, each with one event, without an ordered field and with two. */
async function measureReport(redis: Redis): Promise<void> {
  const log = new Log(redis, [])
  const devices = new Devices(redis)
  const reports = new Reports(redis)
  for (const paths of [[], ['temperature.value', 'temperature.updateTime']]) {
    const project = `report${paths.length}`
    for (const path of paths) await redis.hset(`t:{${project}}:indexes`, path, 'done')
    await devices.register(
      project,
      Array.from({ length: 50_000 }, (_, i) => [idOf(i), 'temperature'] as const),
    )
    const consumer = reportConsumer((name, values) => reports.write(name, values))
    const times: number[] = []
    for (let round = 0; round < 6; round++) {
      const entries = entriesOf(project, round)
      const begunMs = performance.now()
      for (let i = 0; i < entries.length; i += 20) {
        const place = await log.place(project, 'report')
        const read = { after: '0-0', entries: entries.slice(i, i + 20) }
        const commands = await consumer.take(project, read.entries, read)
        await log.commit(project, 'report', place, `${round}-${i}`, commands)
      }
      times.push(performance.now() - begunMs)
    }
    const steady = times.slice(1).toSorted((a, b) => a - b)[2] as number
    console.log(
      `report consumer, 50,000 devices, ${paths.length} ordered fields: first round ${whole(times[0])} ms, then ${whole(steady)} ms`,
    )
  }
}

function entriesOf(project: string, round: number): LogEntry[] {
  const nowMs = Date.now()
  return Array.from({ length: 100 }, (_, b) => ({
    id: `${nowMs + round}-${b}`,
    events: Array.from({ length: 500 }, (_, k) => {
      const device = idOf(b * 500 + k)
      const timeUs = (nowMs + round) * 1000
      const updateTime = formatTime(timeUs)
      const temperature = { samples: [{ value: k, sampleTime: updateTime }], isBackfilled: false, value: k, updateTime }
      const event = {
        eventId: `e${round}`,
        targetName: `projects/${project}/devices/${device}`,
        eventType: 'temperature',
        data: { temperature },
      }
      return { device, eventType: 'temperature', timeUs, frame: JSON.stringify(event) }
    }),
  }))
}

await main()
