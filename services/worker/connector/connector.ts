// Data connectors: each is a consumer of its project's log with a place of its own (contracts.md 1.a.9). The process that holds a
// partition's lease pushes for its projects; nothing is woken, read or queued per event where there is no connector.
import { partitionOf, type Running } from '../../../packages/queue/queue.ts'
import type { Change } from '../../../packages/state/connector.ts'
import { type ConnectorPorts, ProjectPush } from './project.ts'
import { Trouble } from './trouble.ts'

/** How soon a change is noticed; asking costs one command. */
const LOOK_MS = 100
/** A change whose notice was lost with a process is found by looking at everything. */
const LOOK_AT_ALL_MS = 30_000
/** Of everything, so much at a time: changes do not wait for it. */
const PAGE = 200
const PARALLEL = 8
/** While looking itself fails. */
const MAX_LOOK_MS = 5000

export class Connecting {
  readonly #ports: ConnectorPorts
  readonly #partitions: number
  readonly #held = new Set<number>()
  readonly #projects = new Map<string, ProjectPush>()
  readonly #trouble = new Trouble()
  /** To be looked at though nothing is known to have changed. */
  #rest: Change[] = []
  /** The version up to which changes have been looked at; 0: of none. */
  #seen = 0
  #lookAtAllMs = 0
  /** In a row. */
  #failures = 0
  #timer: NodeJS.Timeout | undefined
  #round: Promise<void> | undefined
  #stopped = false

  constructor(ports: ConnectorPorts, partitions: number) {
    this.#ports = ports
    this.#partitions = partitions
  }

  start(): void {
    this.#timer = setTimeout(
      () => {
        this.#round = this.#look()
          .catch((error: Error) => {
            this.#failures++
            this.#ports.logger.warn({ reason: error.message }, 'data connectors not looked at')
          })
          .finally(() => {
            if (!this.#stopped) this.start()
          })
      },
      Math.min(MAX_LOOK_MS, LOOK_MS * 2 ** Math.min(this.#failures, 10)),
    )
  }

  /** Pushes for the projects of this partition until stopped. */
  open(partition: number): Running {
    this.#held.add(partition)
    this.#seen = 0
    return {
      stop: async () => {
        this.#held.delete(partition)
        await this.#round
        await this.#stopAll(project => partitionOf(project, this.#partitions) === partition)
      },
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#round
    await this.#stopAll(() => true)
  }

  async #stopAll(which: (project: string) => boolean): Promise<void> {
    const chosen = [...this.#projects].filter(([project]) => which(project))
    for (const [project] of chosen) this.#projects.delete(project)
    const stopped = await Promise.allSettled(chosen.map(([, push]) => push.stop()))
    const failed = stopped.find(({ status }) => status === 'rejected')
    if (failed?.status === 'rejected') throw failed.reason
  }

  async #look(): Promise<void> {
    const { connectors } = this.#ports
    const [now, seen] = [performance.now(), this.#seen]
    const isAll = now >= this.#lookAtAllMs
    const { version, projects } = await connectors.changes(isAll ? 0 : seen)
    this.#failures = 0
    if (isAll) {
      this.#rest = projects.filter(one => one.version <= seen)
      this.#lookAtAllMs = now + LOOK_AT_ALL_MS
    }
    // A partition that came meanwhile has nothing seen.
    if (this.#seen === seen) this.#seen = version
    const changed = projects.filter(one => one.version > seen)
    for (const { project } of changed) this.#trouble.forget(project)
    await this.#updateAll([...changed, ...this.#trouble.due(now).map(project => ({ project, version: 0 }))], true)
    await this.#updateAll(this.#rest.splice(0, PAGE), false)
  }

  async #updateAll(changes: readonly Change[], isNews: boolean): Promise<void> {
    const rest = changes.filter(({ project }) => this.#held.has(partitionOf(project, this.#partitions))).values()
    const run = async () => {
      for (const change of rest)
        if (!this.#stopped) await this.#update(change, isNews).catch((error: Error) => this.#failed(change.project, error))
    }
    await Promise.all(Array.from({ length: PARALLEL }, run))
  }

  async #update(change: Change, isNews: boolean): Promise<void> {
    const { connectors } = this.#ports
    const { project } = change
    const push = this.#projects.get(project) ?? new ProjectPush(this.#ports, project, () => this.#trouble.add(project))
    this.#projects.set(project, push)
    const pushing = await push.update()
    if (pushing === 'none' || pushing === 'idle') this.#projects.delete(project)
    if (pushing === 'partly') this.#trouble.add(project)
    if (isNews && change.version > 0) await connectors.seen(change)
    if (pushing === 'none' && change.version > 0) await connectors.forget(change)
  }

  #failed(project: string, error: Error): void {
    this.#trouble.add(project)
    this.#ports.logger.warn({ project, reason: error.message }, 'data connectors not opened')
  }
}
