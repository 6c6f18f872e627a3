// Where the server's threads spend their time: V8 CPU profiles, added up by file of ours and by library.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

type CallFrame = { readonly functionName: string; readonly url: string; readonly lineNumber: number }
type ProfileNode = { readonly id: number; readonly callFrame: CallFrame; readonly children?: readonly number[] }
type CpuProfile = { readonly nodes: readonly ProfileNode[]; readonly samples: readonly number[]; readonly timeDeltas: readonly number[] }

export type Share = { readonly name: string; readonly share: number; readonly us: number }
export type ProfileReport = { readonly busySeconds: number; readonly areas: readonly Share[]; readonly functions: readonly Share[] }

const SHOWN = 30

/** Flags that make node leave a profile in the folder when it exits. */
export function profileFlags(folder: string): string[] {
  return ['--cpu-prof', `--cpu-prof-dir=${folder}`, '--cpu-prof-interval=500']
}

/** One report per thread, the busiest first. @param events what the server did in its life; `us` is per event. */
export async function readProfiles(folder: string, events: number): Promise<ProfileReport[]> {
  const files = (await readdir(folder)).filter(name => name.endsWith('.cpuprofile'))
  const texts = await Promise.all(files.map(name => readFile(join(folder, name), 'utf8')))
  return texts.map(text => addUp(JSON.parse(text) as CpuProfile, events)).sort((a, b) => b.busySeconds - a.busySeconds)
}

function addUp({ nodes, samples, timeDeltas }: CpuProfile, events: number): ProfileReport {
  const byId = new Map(nodes.map(node => [node.id, node]))
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map(child => [child, id] as const)))
  const areas = new Map<string, number>()
  const functions = new Map<string, number>()
  let busyUs = 0
  for (const [i, id] of samples.entries()) {
    const frame = byId.get(id)?.callFrame
    if (!frame || frame.functionName === '(idle)') continue
    const us = timeDeltas[i] ?? 0
    busyUs += us
    add(areas, areaOf(id, byId, parents), us)
    add(functions, `${frame.functionName || '(anonymous)'} ${shortened(frame.url)}`, us)
  }
  const shares = (sums: Map<string, number>): Share[] =>
    [...sums]
      .sort(([, a], [, b]) => b - a)
      .slice(0, SHOWN)
      .map(([name, us]) => ({ name, share: us / busyUs, us: us / events }))
  return { busySeconds: busyUs / 1e6, areas: shares(areas), functions: shares(functions) }
}

function add(sums: Map<string, number>, name: string, us: number): void {
  sums.set(name, (sums.get(name) ?? 0) + us)
}

/** The nearest caller that is a file of ours or a library: `JSON.parse` belongs to whoever called it. */
function areaOf(id: number, byId: ReadonlyMap<number, ProfileNode>, parents: ReadonlyMap<number, number>): string {
  for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
    const { functionName = '', url = '' } = byId.get(at)?.callFrame ?? {}
    if (functionName === '(garbage collector)' || functionName === '(program)') return functionName
    const short = shortened(url)
    if (/^(services|packages)\//.test(short)) return short
    const [, library] = /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(short) ?? []
    if (library !== undefined) return library
  }
  return 'node'
}

function shortened(url: string): string {
  return url.replace(/^.*\/(?=node_modules\/)/, '').replace(/^.*\/dist\/(?=services|packages)/, '')
}
