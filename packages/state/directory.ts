// The directory: which streams are being published, where, and how many follow them, over all nodes that live.
import type { Node, NodeKind, Nodes } from './node.ts'
import { isLive, type Present, parsePresent, projectOf, streamOf } from './presence.ts'

export type LiveStream = {
  readonly project: string
  readonly stream: string
  /** Where it has been published for the longest. */
  readonly origin: Node
  readonly sinceMs: number
  readonly followers: number
  /** Whether a producer is connected; otherwise something was produced lately. */
  readonly connected: boolean
}

export type Snapshot = {
  /** By the clock of Redis. */
  readonly nowMs: number
  readonly nodes: readonly Node[]
  readonly streams: readonly LiveStream[]
  find(project: string, stream: string): LiveStream | undefined
}

/**
 * What is cleared: `idle`: streams without a connected producer, until something is produced again · `all`: also the others, until their
 * node's next heartbeat · `connected`: also the others, until their producer connects again.
 */
export type Clearing = 'idle' | 'all' | 'connected'

/** Times until which entries are cleared: each stands for itself, so that of two who clear at the same time neither undoes the other's. */
type Mark = { readonly idleMs: number; readonly beatMs: number; readonly sinceMs: number }
type Held = { readonly node: Node; readonly present: Present }

const FRESH_MS = 500
/** A directory that takes long to read is read less often. */
const SHARE = 10
/** Streams that are looked at before others have their turn. */
const AT_ONCE = 1000
const KINDS: Readonly<Record<Clearing, readonly (keyof Mark)[]>> = {
  idle: ['idleMs'],
  all: ['idleMs', 'beatMs'],
  connected: ['idleMs', 'sinceMs'],
}
const UNMARKED: Mark = { idleMs: 0, beatMs: 0, sinceMs: 0 }

/** Never scans the keyspace: reads the nodes, and what each of them holds. Anybody may ask, so what was read is good for half a second. */
export class Directory {
  readonly #nodes: Nodes
  #latest: { readonly snapshot: Promise<Snapshot>; untilMs: number } | undefined

  constructor(nodes: Nodes) {
    this.#nodes = nodes
  }

  snapshot(): Promise<Snapshot> {
    const latest = this.#latest
    if (latest && performance.now() < latest.untilMs) return latest.snapshot
    const startedMs = performance.now()
    const reading = { snapshot: this.#read(), untilMs: Number.POSITIVE_INFINITY }
    this.#latest = reading
    reading.snapshot.then(
      () => {
        const doneMs = performance.now()
        reading.untilMs = doneMs + Math.max(FRESH_MS, (doneMs - startedMs) * SHARE)
      },
      () => {
        reading.untilMs = 0
      },
    )
    return reading.snapshot
  }

  /** Clears entries of these projects; the streams themselves go on. @returns how many there were. */
  async clear(projects: ReadonlySet<string>, clearing: Clearing): Promise<number> {
    const { nowMs, nodes, streams } = await this.#read()
    const cleared = streams.filter(({ project, connected }) => projects.has(project) && !(connected && clearing === 'idle'))
    const oldestMs = Math.min(...nodes.map(({ startedMs }) => startedMs))
    // Nothing that is there now was there when these were made.
    const gone = Object.entries(await this.#nodes.marks()).filter(([, ms]) => !(Number(ms) >= oldestMs))
    const kinds = KINDS[clearing]
    const marks = [...new Set(cleared.map(({ project }) => project))].flatMap(project =>
      kinds.map(kind => [`${project} ${kind}`, String(nowMs)] as const),
    )
    await this.#nodes.mark(Object.fromEntries(marks), Object.fromEntries(gone))
    this.#latest = undefined
    return cleared.length
  }

  /** Nothing new is sent to the node from now on. */
  async terminate(id: string): Promise<void> {
    await this.#nodes.terminate(id)
    this.#latest = undefined
  }

  threshold(kind: NodeKind): Promise<number> {
    return this.#nodes.threshold(kind)
  }

  setThreshold(kind: NodeKind, percent: number): Promise<void> {
    return this.#nodes.setThreshold(kind, percent)
  }

  async #read(): Promise<Snapshot> {
    const [{ nowMs, nodes }, marks] = await Promise.all([this.#nodes.list(), this.#marks()])
    const held = await Promise.all(nodes.map(async node => ({ node, fields: await this.#nodes.held(node.id) })))
    const byKey = new Map<string, Held[]>()
    for (const { node, fields } of held)
      for (const [key, text] of Object.entries(fields)) {
        const at = { node, present: parsePresent(text) }
        const known = byKey.get(key)
        if (known) known.push(at)
        else byKey.set(key, [at])
      }
    const found = new Map<string, LiveStream>()
    let count = 0
    for (const [key, all] of byKey) {
      if (++count % AT_ONCE === 0) await new Promise(resolve => setImmediate(resolve))
      const stream = streamFrom(key, all, marks.get(projectOf(key)) ?? UNMARKED, nowMs)
      if (stream) found.set(key, stream)
    }
    return { nowMs, nodes, streams: [...found.values()], find: (project, stream) => found.get(`${project}/${stream}`) }
  }

  async #marks(): Promise<Map<string, Mark>> {
    const marks = new Map<string, Mark>()
    for (const [field, ms] of Object.entries(await this.#nodes.marks())) {
      const [project = '', kind = ''] = field.split(' ')
      marks.set(project, { ...(marks.get(project) ?? UNMARKED), [kind]: Number(ms) })
    }
    return marks
  }
}

/** Undefined when nobody publishes it. */
function streamFrom(key: string, all: readonly Held[], mark: Mark, nowMs: number): LiveStream | undefined {
  const stream = streamOf(key)
  const live = all.filter(one => isShown(one, stream, mark, nowMs)).sort((a, b) => a.present.sinceMs - b.present.sinceMs)
  const [first] = live
  return (
    first && {
      project: projectOf(key),
      stream,
      origin: first.node,
      sinceMs: first.present.sinceMs,
      followers: all.reduce((sum, { present }) => sum + present.followers, 0),
      connected: live.some(({ present }) => present.producers > 0),
    }
  )
}

function isShown({ node, present }: Held, stream: string, mark: Mark, nowMs: number): boolean {
  if (present.producers > 0 && node.beatMs > mark.beatMs && present.sinceMs > mark.sinceMs) return true
  return present.lastMs > mark.idleMs && isLive({ producers: 0, lastMs: present.lastMs }, stream, nowMs)
}
