// What processes use, as Linux tells: CPU seconds and memory of a process and everything it started.
import { readdirSync, readFileSync } from 'node:fs'

export type Usage = { readonly name: string; readonly pid: number; readonly cpuSeconds: number; readonly rssMb: number }

/** USER_HZ: fixed at 100 for what Linux shows to programs, on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100
const PAGE_MB = 4096 / 1024 / 1024

export const canMeasure = process.platform === 'linux'

/** The process and its descendants that are alive. Empty where there is no /proc. */
export function usageOf(root: number): Usage[] {
  if (!canMeasure) return []
  const all = readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(name => read(Number(name)))
    .filter(one => one !== undefined)
  const found = all.filter(({ pid }) => pid === root)
  for (let i = 0; i < found.length; i++) found.push(...all.filter(({ parent }) => parent === found[i]?.pid))
  return found
}

type Row = Usage & { readonly parent: number }

function read(pid: number): Row | undefined {
  const stat = readIfThere(`/proc/${pid}/stat`)
  const end = stat.lastIndexOf(')')
  if (end < 0) return undefined
  const fields = stat.slice(end + 2).split(' ')
  const field = (number: number) => Number(fields[number - 3])
  const name = stat.slice(stat.indexOf('(') + 1, end)
  return { pid, name, parent: field(4), cpuSeconds: (field(14) + field(15)) / TICKS_PER_SECOND, rssMb: field(24) * PAGE_MB }
}

/** CPU seconds of its first thread alone: of a server of ours, everything but judging and storing. */
export function firstThreadSeconds(pid: number): number {
  const stat = readIfThere(`/proc/${pid}/task/${pid}/stat`)
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return stat === '' ? 0 : (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

/** CPU seconds that this machine has spent on anything since it started. */
export function busySeconds(): number {
  const [, ...fields] = readIfThere('/proc/stat').split('\n', 1)[0]?.trim().split(/\s+/) ?? []
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = fields.map(Number)
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND
}

/** Files, sockets among them, that a process may open here. */
export function openFilesLimit(): number {
  const [, hard] = /^Max open files\s+\S+\s+(\d+)/m.exec(readIfThere('/proc/self/limits')) ?? []
  return hard === undefined ? Number.POSITIVE_INFINITY : Number(hard)
}

/** Processes end while they are listed. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES') return ''
    throw error
  }
}

/** CPU seconds between two looks, by name of the program. */
export function spent(before: readonly Usage[], after: readonly Usage[]): Record<string, number> {
  const used: Record<string, number> = {}
  for (const { pid, name, cpuSeconds } of after)
    used[name] = (used[name] ?? 0) + cpuSeconds - (before.find(one => one.pid === pid)?.cpuSeconds ?? 0)
  return used
}
