// Data connectors: each is a consumer of its project's log with a place of its own (contracts.md 1.a.9). The process that holds a
// partition's lease pushes for its projects; nothing is woken, read or queued per event where there is no connector.
import { partitionOf, type Running } from '../../../packages/queue/queue.ts'
import { type ConnectorPorts, ProjectPush } from './project.ts'

/** How soon a change is noticed; asking costs one GET. */
const LOOK_MS = 100
/** A change whose notice was lost with a process is found by looking at everything. */
const LOOK_AT_ALL_MS = 10_000

export class Connecting {
  readonly #ports: ConnectorPorts
  readonly #partitions: number
  readonly #held = new Set<number>()
  readonly #projects = new Map<string, ProjectPush>()
  #seen: string | undefined
  #seenMs = 0
  #timer: NodeJS.Timeout | undefined
  #round: Promise<void> | undefined
  #stopped = false

  constructor(ports: ConnectorPorts, partitions: number) {
    this.#ports = ports
    this.#partitions = partitions
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#round = this.#look()
        .catch((error: Error) => this.#ports.logger.warn({ reason: error.message }, 'data connectors not looked at'))
        .finally(() => {
          if (!this.#stopped) this.start()
        })
    }, LOOK_MS)
  }

  /** Pushes for the projects of this partition until stopped. */
  open(partition: number): Running {
    this.#held.add(partition)
    this.#seen = undefined
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
    await Promise.all(chosen.map(([, push]) => push.stop()))
  }

  async #look(): Promise<void> {
    const { connectors, logger } = this.#ports
    const version = await connectors.version()
    if (version === this.#seen && performance.now() - this.#seenMs < LOOK_AT_ALL_MS) return
    this.#seen = version
    this.#seenMs = performance.now()
    for (const project of await connectors.projects()) {
      if (!this.#held.has(partitionOf(project, this.#partitions)) || this.#stopped) continue
      try {
        await this.#push(project).update()
        await connectors.seen(project, version)
      } catch (error) {
        logger.warn({ project, err: error }, 'data connectors not opened')
        this.#lookAgain()
      }
    }
  }

  #push(project: string): ProjectPush {
    const push = this.#projects.get(project) ?? new ProjectPush(this.#ports, project, () => this.#lookAgain())
    this.#projects.set(project, push)
    return push
  }

  #lookAgain(): void {
    this.#seen = undefined
  }
}
