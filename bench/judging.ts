// The judge as the worker runs it, with what it remembers of 10,000 devices: entries of the log in, commands for the commit out. Its ports
// are in memory, so what is measured is the worker alone: frames parsed, rules found, events kept and put in order, rows made.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { parseRule, type Rule } from '../packages/core/rule.ts'
import { formatTime } from '../packages/core/time.ts'
import { indexLine, type LogEntry, parseEntry } from '../packages/log/entry.ts'
import type { Devices } from '../packages/state/device.ts'
import { Judge } from '../services/worker/judge.ts'
import { whole } from './table.ts'

export type JudgingCase = {
  readonly name: string
  readonly rules: readonly Rule[] /** How many of them select a device that sends. */
  readonly selecting: number
}

type Rates = { readonly perSecond: number; readonly perCpuSecond: number }

const DEVICES = 10_000
const EVERY_MS = 10_000

export function judgingCases(): JudgingCase[] {
  return [
    { name: '1 rule, 10,000 devices', rules: thresholds(1), selecting: 1 },
    { name: '10 rules, 10,000 devices', rules: thresholds(10), selecting: 10 },
    { name: '3 of 10,003 rules, 10,000 devices', rules: [...thresholds(3), ...others(10_000)], selecting: 3 },
  ]
}

/** After five minutes of events: as many are remembered then as ever. The clock runs while the judge does, and stands while events are made. */
export async function prepareJudging({ rules }: JudgingCase): Promise<() => Promise<Rates>> {
  const judging = new Judging({ devices: DEVICES, rules, everyMs: EVERY_MS })
  for (let i = 0; i < 30; i++) await judging.take(judging.prepare(1))
  return async () => {
    let [events, seconds, cpuUs] = [0, 0, 0]
    for (let i = 0; i < 10; i++) {
      const reads = judging.prepare(1)
      const [cpu, started] = [process.cpuUsage(), performance.now()]
      events += await judging.take(reads)
      seconds += (performance.now() - started) / 1000
      const { user, system } = process.cpuUsage(cpu)
      cpuUs += user + system
    }
    return { perSecond: events / seconds, perCpuSecond: (events / cpuUs) * 1e6 }
  }
}

/** What one more rule costs for each device: clear, and in alarm; and a device with its recent events. */
export async function measureMemory(): Promise<{ name: string; perSecond: number; perCpuSecond: number; note: string }> {
  const [one, eleven, alarmed] = [await remembered(thresholds(1)), await remembered(thresholds(11)), await remembered(freezing(11))]
  const rule = (heap: number) => whole((heap - one.heap) / 10 / DEVICES)
  const note = `bytes of heap a rule and device: ${rule(eleven.heap)} clear, ${rule(alarmed.heap)} in alarm; in Redis none and ${whole(alarmed.rowBytes)}; with all its 12 to 24 recent events a device ${whole(one.heap / DEVICES)} of heap`
  return { name: 'worker: memory', perSecond: Number.NaN, perCpuSecond: Number.NaN, note }
}

async function remembered(rules: readonly Rule[]): Promise<{ readonly heap: number; readonly rowBytes: number }> {
  const before = heapUsed()
  const judging = new Judging({ devices: DEVICES, rules, everyMs: EVERY_MS })
  for (let i = 0; i < 30; i++) await judging.take(judging.prepare(1))
  const heap = heapUsed() - before
  const { rows, rowBytes } = judging
  return { heap, rowBytes: rows === 0 ? 0 : rowBytes / rows }
}

/** Node does not hand out its collector unless asked at the start, or so. */
function heapUsed(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return process.memoryUsage().heapUsed
}

export type Size = { readonly devices: number; readonly rules: readonly Rule[]; readonly everyMs: number }

const BATCH = 500
const START_MS = 1_700_000_000_000

/** Rules that select every device, and by their number differ in their level only. */
export function thresholds(count: number, prefix = 'rule'): Rule[] {
  return Array.from({ length: count }, (_, i) =>
    parseRule({ name: `${prefix}-${i}`, when: { threshold: { field: 'temperature.value', above: 30 + i, clearBelow: 28 } }, for: '2m' }),
  )
}

/** Rules that hold of every event: each device is in alarm of each. */
function freezing(count: number): Rule[] {
  return Array.from({ length: count }, (_, i) =>
    parseRule({ name: `rule-${i}`, when: { threshold: { field: 'temperature.value', below: 100 + i } } }),
  )
}

/** Rules each of which selects a device that does not send. */
export function others(count: number): Rule[] {
  return Array.from({ length: count }, (_, i) =>
    parseRule({ name: `other-${i}`, select: { labels: [`room=${i}`] }, when: { threshold: { field: 'temperature.value', above: 30 } } }),
  )
}

export class Judging {
  readonly #size: Size
  readonly #judge: Judge
  #round = 0
  /** That were to be committed so far. */
  rows = 0
  rowBytes = 0

  constructor(size: Size) {
    this.#size = size
    const none = async () => []
    this.#judge = new Judge({
      devices: { get: async (_: string, ids: readonly string[]) => ids.map(deviceOf) } as unknown as Devices,
      rulesVersion: async () => '1',
      rules: async () => [...size.rules],
      since: async () => ({}),
      held: none,
      holders: none,
      tracks: async (_, wanted) => wanted.map(() => undefined),
      recents: async (_, series) => series.map(() => []),
      due: none,
      orphans: async () => ({ leaving: [], more: false }),
      alarming: {
        commands: nothing,
        due: nothing,
        takeTurn: async () => ['DEL', ''],
        committed: () => {},
        forget: () => {},
      },
      timed: none,
      breaks: async () => [],
      nowUs: () => START_MS * 1000,
      notify: async () => {},
      latenessMs: 120_000,
    })
  }

  /** What the log holds of so many rounds; in each every device sends once. */
  prepare(rounds: number): LogEntry[][] {
    return Array.from({ length: rounds }, () => this.#entries(this.#round++))
  }

  async take(reads: readonly (readonly LogEntry[])[]): Promise<number> {
    let events = 0
    for (const entries of reads) {
      for (let at = 0; at < entries.length; at += 20) {
        const some = entries.slice(at, at + 20)
        const commands = await this.#judge.take('default', some, { after: '0-0', entries: some })
        for (const [name, key, ...values] of commands)
          if (name === 'HSET' && String(key).includes(':state:')) this.#count(values.map(String))
      }
      events += this.#size.devices
    }
    return events
  }

  #count(pairs: readonly string[]): void {
    this.rows += pairs.length / 2
    this.rowBytes += pairs.join('').length
  }

  #entries(round: number): LogEntry[] {
    const { devices, everyMs } = this.#size
    const ms = START_MS + round * everyMs
    const entries: LogEntry[] = []
    for (let from = 0; from < devices; from += BATCH) {
      const lines: string[] = []
      const frames: string[] = []
      for (let i = from; i < Math.min(devices, from + BATCH); i++) {
        lines.push(indexLine(`device-${i}`, 'temperature', ms * 1000 + i))
        frames.push(frameOf(i, round, ms))
      }
      entries.push(parseEntry(`${ms}-${from}`, ['i', lines.join('\n'), 'f', frames.join('\n')]))
    }
    return entries
  }
}

const nothing = async () => ({ commands: [], notifies: false })

function deviceOf(id: string) {
  return { id, type: 'temperature', labels: { site: 'oslo' }, productNumber: '' }
}

/** As the gateway makes it: 230 bytes. In 8 of 500 rounds it is too warm. */
function frameOf(i: number, round: number, ms: number): string {
  const warm = (round + i) % 500 < 8 ? 15 : 0
  const timestamp = formatTime(ms * 1000 + i)
  const value = 20 + (((round + i) * 7919) % 600) / 100 + warm
  const eventId = `${round.toString(36).padStart(8, '0')}${i.toString(36).padStart(12, '0')}`
  const targetName = `projects/default/devices/device-${i}`
  return JSON.stringify({
    eventId,
    targetName,
    eventType: 'temperature',
    data: { temperature: { value, updateTime: timestamp } },
    timestamp,
  })
}
