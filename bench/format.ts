// Each format alone, in this process: events a CPU second of payloads as systems publish them.
import type { Memory } from '../services/gateway/decode/format.ts'
import { FORMATS } from '../services/gateway/decode/formats.ts'
import { type Sample, samplesOf } from './corpus.ts'
import { median } from './histogram.ts'
import { aligned, whole } from './table.ts'

export type FormatReport = { readonly name: string; readonly bytes: number; readonly eventsEach: number; readonly perCpuSecond: number }

const RUN_MS = 500
const clock = { nowUs: () => Date.now() * 1000, newId: () => 'bench000000000000000' }

export async function measureFormats(runs: number, only: string): Promise<FormatReport[]> {
  const reports: FormatReport[] = []
  for (const name of FORMATS.keys()) if (name.includes(only)) reports.push(await measure(name, runs))
  return reports
}

export function renderFormats(reports: readonly FormatReport[]): string {
  const rows = reports.map(({ name, bytes, eventsEach, perCpuSecond }) => [name, whole(bytes), eventsEach.toFixed(1), whole(perCpuSecond)])
  return aligned([['format', 'bytes', 'events each', 'events a CPU second'], ...rows])
}

async function measure(name: string, runs: number): Promise<FormatReport> {
  const samples = samplesOf(name)
  const memory = memoryOf()
  const rates: number[] = []
  let [payloads, events] = [0, 0]
  // Two more than asked: they warm up.
  for (let run = -1; run <= runs; run++) {
    const [before, cpu, endMs] = [events, process.cpuUsage(), performance.now() + RUN_MS]
    while (performance.now() < endMs)
      for (const sample of samples) {
        events += await decode(name, sample, memory)
        payloads++
      }
    const { user, system } = process.cpuUsage(cpu)
    if (run > 0) rates.push(((events - before) / (user + system)) * 1e6)
  }
  const bytes = samples.reduce((sum, { payload }) => sum + payload.length, 0) / samples.length
  return { name, bytes, eventsEach: events / payloads, perCpuSecond: median(rates) }
}

async function decode(name: string, { payload, topic, options }: Sample, memory: Memory): Promise<number> {
  const output = FORMATS.get(name)?.decode(
    { bytes: payload, topic, place: { project: 'default', elseDevice: 'bench' }, options, memory },
    clock,
  )
  const { decoded } = output instanceof Promise ? await output : (output ?? { decoded: [] })
  return decoded.filter(one => 'event' in one).length
}

function memoryOf(): Memory {
  const [values, notes] = [new Map<string, unknown>(), new Map<string, unknown>()]
  return {
    get: key => values.get(key),
    set: (key, value) => {
      if (value === undefined) values.delete(key)
      else values.set(key, value)
    },
    fullness: () => 0,
    entries: prefix => [...values].filter(([key]) => key.startsWith(prefix)),
    noted: key => notes.get(key),
    note: (key, value) => void notes.set(key, value),
    isReplay: false,
  }
}
