// The steps of the path alone, in this process: what each could do if it had the machine to itself.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Log } from '../packages/log/log.ts'
import { connectRedis, openRedis } from '../packages/redis/index.ts'
import { openLogger } from '../packages/runtime/logger.ts'
import { Accept } from '../services/gateway/accept.ts'
import type { Incoming } from '../services/gateway/decode/event.ts'
import { decodeJson } from '../services/gateway/decode/json.ts'
import { guardOnly, measureDoor, parserOnly } from './doorway.ts'
import { CASES, type EngineCase, prepareEngine, prepareInterpreter } from './engine.ts'
import { measureFanOut } from './fanout.ts'
import { median } from './histogram.ts'
import { prepareMatching } from './interest.ts'
import { type JudgingCase, judgingCases, measureMemory, prepareJudging } from './judging.ts'
import { aligned, whole } from './table.ts'

export type Stage = { readonly name: string; readonly perSecond: number; readonly perCpuSecond: number; readonly note: string }

const DEVICES = 10_000

export async function measureStages(runs: number): Promise<Stage[]> {
  return [
    ...(await engine(runs)),
    ...(await worker(runs)),
    await repeated(runs, 'guard: packets cut and checked', 'one publish of a whole event each', guardOnly),
    await repeated(runs, 'beside it: the parser of the broker', 'the same bytes, and nothing done with the packets', parserOnly),
    await door(runs),
    await repeated(runs, 'decode: one whole event of 190 bytes', 'JSON to a valid event and its frame', decode),
    await repeated(runs, 'accept: to an entry on disk', 'Redis with appendfsync always; CPU of this process only', accept),
    await matching(runs, 'index', 'each found anew'),
    await matching(runs, 'memo', 'as found before for its device and type'),
    await measureFanOut(1000, 1000, 5),
  ]
}

export function renderStages(stages: readonly Stage[]): string {
  const rows = stages.map(({ name, perSecond, perCpuSecond, note }) => [name, whole(perSecond), whole(perCpuSecond), note])
  return aligned([['', 'a second', 'a CPU second', ''], ...rows])
}

type Work = () => Promise<number> | number

async function repeated(runs: number, name: string, note: string, work: Work): Promise<Stage> {
  const perSecond: number[] = []
  const perCpuSecond: number[] = []
  // One more than asked: the first one warms up.
  for (let i = 0; i <= runs; i++) {
    const cpu = process.cpuUsage()
    const started = performance.now()
    const count = await work()
    const seconds = (performance.now() - started) / 1000
    const { user, system } = process.cpuUsage(cpu)
    if (i === 0) continue
    perSecond.push(count / seconds)
    perCpuSecond.push((count / (user + system)) * 1e6)
  }
  return { name, perSecond: median(perSecond), perCpuSecond: median(perCpuSecond), note }
}

function matching(runs: number, kind: 'index' | 'memo', how: string): Promise<Stage> {
  const count = 500_000
  const match = prepareMatching(kind, 'devices')
  return repeated(runs, 'stream: one event, 10,000 subscriptions', `15 match, ${how}`, () => match(count).events)
}

/** Each kind beside the interpreter; all have run before, so that none finds an engine compiled for itself alone. */
async function engine(runs: number): Promise<Stage[]> {
  for (const one of CASES) {
    prepareEngine(one)(50_000)
    prepareInterpreter(one)(20_000)
  }
  const stages: Stage[] = []
  for (const one of CASES) stages.push(await beside(runs, one))
  return stages
}

async function beside(runs: number, one: EngineCase): Promise<Stage> {
  const [work, plain] = [prepareEngine(one), prepareInterpreter(one)]
  const ours = await repeated(runs, `engine: ${one.name}`, '', () => work(one.events))
  const theirs = await repeated(runs, '', '', () => plain(one.events / 5))
  const ratio = (ours.perCpuSecond / theirs.perCpuSecond).toFixed(1)
  return { ...ours, note: `${ratio}× a plain interpreter of the same rule, ${whole(theirs.perCpuSecond)} a CPU second` }
}

async function door(runs: number): Promise<Stage> {
  const rates = []
  for (let i = 0; i < runs; i++) rates.push(await measureDoor(200_000))
  return {
    name: 'MQTT: from the socket to the batch and back',
    perSecond: median(rates.map(rate => rate.perSecond)),
    perCpuSecond: median(rates.map(rate => rate.perCpuSecond)),
    note: 'QoS 1, 50 clients with windows of 50; a log that is there at once',
  }
}

async function worker(runs: number): Promise<Stage[]> {
  const stages: Stage[] = []
  for (const one of judgingCases()) stages.push(await inWorker(runs, one))
  return [...stages, await measureMemory()]
}

async function inWorker(runs: number, one: JudgingCase): Promise<Stage> {
  const run = await prepareJudging(one)
  const rates = []
  for (let i = 0; i < runs; i++) rates.push(await run())
  const perSecond = median(rates.map(rate => rate.perSecond)) * one.selecting
  const perCpuSecond = median(rates.map(rate => rate.perCpuSecond)) * one.selecting
  return {
    name: `worker: ${one.name}`,
    perSecond,
    perCpuSecond,
    note: `judgements; ${whole(perCpuSecond / one.selecting)} events a CPU second`,
  }
}

const clock = { nowUs: () => Date.now() * 1000, newId: () => 'id' }
const place = { project: 'default' }

function payload(i: number): Buffer {
  const timestamp = new Date(1_700_000_000_000 + i).toISOString()
  const data = { temperature: { value: 20 + (i % 1000) / 100, updateTime: timestamp } }
  const targetName = `projects/default/devices/d${i % DEVICES}`
  return Buffer.from(JSON.stringify({ eventId: `event-${i}`, targetName, eventType: 'temperature', data, timestamp }))
}

function decode(): number {
  const payloads = Array.from({ length: 1000 }, (_, i) => payload(i))
  const rounds = 200
  for (let round = 0; round < rounds; round++) for (const one of payloads) decodeJson(one, place, clock)
  return payloads.length * rounds
}

let appended = 0

async function accept(): Promise<number> {
  const dir = await mkdtemp(join(tmpdir(), 'telltale-stage-'))
  const log = openLogger('error')
  const redis = await openRedis({
    url: undefined,
    dir,
    binary: undefined,
    fsync: 'always',
    maxMemoryBytes: 1024 ** 3,
    log,
    progress: text => process.stderr.write(text),
  })
  try {
    const client = await connectRedis(redis.target, { name: 'bench', patience: 'producer', log })
    const count = 100_000
    const events = Array.from({ length: count }, () => incoming(appended++))
    await acceptAll(new Log(client as ConstructorParameters<typeof Log>[0], []), events)
    client.disconnect()
    return count
  } finally {
    await redis.close()
    await rm(dir, { recursive: true, force: true })
  }
}

function incoming(i: number): Incoming {
  const [decoded] = decodeJson(payload(i), place, clock)
  if (!decoded || !('event' in decoded)) throw new Error('the event was refused')
  return decoded.event
}

/** As publishers with open windows do: 2,500 events wait for their acknowledgement at any time. */
function acceptAll(log: Log, events: readonly Incoming[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let next = 0
    let settled = 0
    const one = () => {
      const event = events[next++]
      if (event)
        accepting.add(event, event.key ?? '', true, failure => {
          if (failure) reject(failure)
          if (++settled === events.length) resolve()
          one()
        })
    }
    const accepting = new Accept({
      append: (project, batch) => log.append(project, batch),
      register: async () => {},
      wake: () => {},
      counted: () => {},
      failed: reject,
    })
    for (let i = 0; i < 2500; i++) one()
  })
}
