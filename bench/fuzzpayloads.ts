// Mutated payloads for each format, in this process: each must come to events or to a Failure, soon, and leave nothing behind.
import { Failure } from '../packages/core/failure.ts'
import type { Memory } from '../services/gateway/decode/format.ts'
import { FORMATS } from '../services/gateway/decode/formats.ts'
import { type Sample, samplesOf } from './corpus.ts'
import type { Finding, Fuzzed } from './fuzzing.ts'
import { Dice, mutated } from './mutation.ts'

const HANG_MS = 1000
const clock = { nowUs: () => Date.now() * 1000, newId: () => 'fuzz0000000000000000' }

export async function fuzzPayloads(name: string, count: number, seed: string): Promise<Fuzzed> {
  const dice = new Dice(seed, name)
  const samples = samplesOf(name)
  const others = samples.map(({ payload }) => payload)
  const findings: Finding[] = []
  let slowestMs = 0
  let warmMb = 0
  const memory = memoryOf()
  let sent = 0
  for (; sent < count && findings.length === 0; sent++) {
    const sample = dice.pick(samples)
    const payload = mutated(sample.payload, dice, others)
    const { tookMs, broke } = await decoded(name, sample, payload, memory)
    slowestMs = Math.max(slowestMs, tookMs)
    if (broke !== undefined) findings.push({ what: broke, input: payload })
    if (tookMs > HANG_MS) findings.push({ what: `took ${Math.round(tookMs)} ms`, input: payload })
    if (sent === Math.floor(count / 2)) warmMb = heapMb()
  }
  return { name, sent, slowestMs, grownMb: heapMb() - warmMb, findings }
}

async function decoded(
  name: string,
  { topic, options }: Sample,
  bytes: Buffer,
  memory: Memory,
): Promise<{ tookMs: number; broke: string | undefined }> {
  const startMs = performance.now()
  const cpu = process.cpuUsage()
  // What other programs took of the time is not the format's.
  const tookMs = () => {
    const { user, system } = process.cpuUsage(cpu)
    return Math.min(performance.now() - startMs, (user + system) / 1000)
  }
  const place = { project: 'default', elseDevice: 'fuzz' }
  try {
    const output = await FORMATS.get(name)?.decode({ bytes, topic, place, options, memory }, clock)
    for (const one of output?.decoded ?? []) if ('event' in one) JSON.parse(one.event.frame)
    return { tookMs: tookMs(), broke: undefined }
  } catch (error) {
    const broke = error instanceof Failure ? undefined : String((error as Error).stack)
    return { tookMs: tookMs(), broke }
  }
}

/** As the gateway bounds it. */
function memoryOf(): Memory {
  const values = new Map<string, string>()
  return {
    get: key => {
      const text = values.get(key)
      return text === undefined ? undefined : (JSON.parse(text) as unknown)
    },
    set: (key, value) => {
      if (value === undefined || values.size > 1000) values.delete(key)
      else values.set(key, JSON.stringify(value))
    },
  }
}

function heapMb(): number {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed / 1024 / 1024
}
