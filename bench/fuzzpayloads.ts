// Mutated payloads for each format, in this process: each must come to events or to a Failure, soon, and leave nothing behind.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Failure } from '../packages/core/failure.ts'
import type { Memory } from '../services/gateway/decode/format.ts'
import { FORMATS } from '../services/gateway/decode/formats.ts'
import { largeSamplesOf, type Sample, samplesOf } from './corpus.ts'
import type { Finding, Fuzzed } from './fuzzing.ts'
import { Dice, mutated } from './mutation.ts'

const HANG_MS = 1000
/** What is refused goes to the quarantine: no more than what was sent, and what stands around it. */
const MAX_GROWTH = 4
/** Events say more than what was sent: names, times, ids. Of thousands of small ones it is many times as much. */
const MAX_MADE_BYTES = 16 * 1024 * 1024
const SHOWN = 1024
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
  for (const sample of findings.length === 0 ? largeSamplesOf(name) : []) {
    const { tookMs, broke, refusedBytes, madeBytes } = await decoded(name, sample, sample.payload, memoryOf())
    sent++
    slowestMs = Math.max(slowestMs, tookMs)
    const input = sample.payload.subarray(0, SHOWN)
    if (broke !== undefined) findings.push({ what: broke, input })
    if (tookMs > HANG_MS) findings.push({ what: `took ${Math.round(tookMs)} ms for ${sample.payload.length} bytes`, input })
    if (refusedBytes > MAX_GROWTH * sample.payload.length)
      findings.push({ what: `refused ${refusedBytes} bytes of ${sample.payload.length}`, input })
    if (madeBytes > Math.max(MAX_MADE_BYTES, 16 * sample.payload.length))
      findings.push({ what: `made ${madeBytes} bytes of ${sample.payload.length}`, input })
  }
  return { name, sent, slowestMs, grownMb: heapMb() - warmMb, findings }
}

async function decoded(
  name: string,
  { topic, options }: Sample,
  bytes: Buffer,
  memory: Memory,
): Promise<{ tookMs: number; broke: string | undefined; refusedBytes: number; madeBytes: number }> {
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
    const took = tookMs()
    const refused = (output?.decoded ?? []).flatMap(one => ('failure' in one ? [one.element.length] : []))
    const made = (output?.decoded ?? []).flatMap(one => ('event' in one ? [one.event.frame.length] : []))
    return { tookMs: took, broke: undefined, refusedBytes: sumOf(refused), madeBytes: sumOf(made) }
  } catch (error) {
    const broke = error instanceof Failure ? undefined : String((error as Error).stack)
    return { tookMs: tookMs(), broke, refusedBytes: 0, madeBytes: 0 }
  }
}

function sumOf(lengths: readonly number[]): number {
  return lengths.reduce((sum, length) => sum + length, 0)
}

/** As the gateway bounds it. */
function memoryOf(): Memory {
  const [values, notes] = [new Map<string, string>(), new Map<string, unknown>()]
  return {
    get: key => {
      const text = values.get(key)
      return text === undefined ? undefined : (JSON.parse(text) as unknown)
    },
    set: (key, value) => {
      if (value === undefined || values.size > 1000) values.delete(key)
      else values.set(key, JSON.stringify(value))
    },
    fullness: () => 0,
    entries: prefix => [...values].flatMap(([key, text]) => (key.startsWith(prefix) ? [[key, JSON.parse(text) as unknown] as const] : [])),
    noted: key => notes.get(key),
    note: (key, value) => {
      if (notes.size < 1000) notes.set(key, value)
    },
    isReplay: false,
  }
}

function heapMb(): number {
  // Without it what is only not collected yet would count.
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  return process.memoryUsage().heapUsed / 1024 / 1024
}
