// Those who stay connected learn that their rights ended: one look at Redis per round and process, however many are watching.
import { Failure } from '../core/failure.ts'
import { endOf, type Known } from './keyring.ts'
import { type Caller, covers, type Role, roleIn } from './role.ts'

/** Called once, with what ended, and whether that was all: otherwise the caller may still do something. Must not throw. */
export type Ended = (reason: string, all: boolean) => void

export type WatchPorts = {
  /** Keys whose rights changed since the last call. */
  changed(): Promise<ReadonlySet<string> | 'all'>
  /** Past every cache. Rejects with a Failure `setup` when the record cannot be read, and with anything else when that may pass. */
  look(keyId: string): Promise<Known | undefined>
  /** What failed; of what may pass, one in each round. */
  readonly troubled: Troubled
}

export type Troubled = (error: Error) => void

type Watcher = { readonly caller: Caller; readonly project: string | undefined; readonly ended: Ended }

/** Redis may take the rest of the second. */
const ROUND_MS = 400
const LOOKS_AT_ONCE = 200

export class Watches {
  readonly #ports: WatchPorts
  readonly #watchers = new Map<string, Set<Watcher>>()
  /** Watched since the last round: a right may have ended between its proof and its watch. */
  #unchecked = new Set<string>()
  #failed: Error | undefined
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined

  constructor(ports: WatchPorts) {
    this.#ports = ports
  }

  add(caller: Caller, ended: Ended, project: string | undefined): () => void {
    const watcher: Watcher = { caller, project, ended }
    const { keyId } = caller
    const watchers = this.#watchers.get(keyId) ?? new Set()
    this.#watchers.set(keyId, watchers.add(watcher))
    this.#unchecked.add(keyId)
    this.#timer ??= setInterval(() => this.#round(), ROUND_MS).unref()
    return () => {
      watchers.delete(watcher)
      if (watchers.size === 0 && this.#watchers.get(keyId) === watchers) this.#watchers.delete(keyId)
      if (this.#watchers.size === 0) this.#pause()
    }
  }

  async close(): Promise<void> {
    this.#watchers.clear()
    this.#pause()
    await this.#running
  }

  #pause(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #round(): void {
    this.#running ??= this.#check().finally(() => {
      this.#running = undefined
    })
  }

  async #check(): Promise<void> {
    const unchecked = this.#unchecked
    this.#unchecked = new Set()
    let changed: ReadonlySet<string> | 'all'
    try {
      changed = await this.#ports.changed()
    } catch (error) {
      for (const keyId of unchecked) this.#unchecked.add(keyId)
      this.#ports.troubled(error as Error)
      return
    }
    const keys = changed === 'all' ? this.#watchers.keys() : [...unchecked, ...changed]
    const affected = [...new Set(keys)].filter(keyId => this.#watchers.has(keyId))
    for (let i = 0; i < affected.length; i += LOOKS_AT_ONCE)
      await Promise.all(affected.slice(i, i + LOOKS_AT_ONCE).map(keyId => this.#look(keyId)))
    if (this.#failed) this.#ports.troubled(this.#failed)
    this.#failed = undefined
  }

  async #look(keyId: string): Promise<void> {
    let now: Known | undefined
    try {
      now = await this.#ports.look(keyId)
    } catch (error) {
      if (!(error instanceof Failure && error.code === 'setup')) {
        // Asked again in the next round.
        this.#unchecked.add(keyId)
        this.#failed = error as Error
        return
      }
      // Nobody can say what it allows, so it allows nothing; others are not kept waiting for it.
      this.#ports.troubled(error)
    }
    this.#tell(keyId, now)
  }

  #tell(keyId: string, now: Known | undefined): void {
    // Thousands may watch with the same roles.
    const verdicts = new Map<Caller['roles'], string | undefined>()
    for (const watcher of this.#watchers.get(keyId) ?? []) {
      const { caller, project, ended } = watcher
      if (project === undefined && !verdicts.has(caller.roles)) verdicts.set(caller.roles, lost(caller, now, Object.keys(caller.roles)))
      const end = endOf(caller, now)
      const reason = end ?? (project === undefined ? verdicts.get(caller.roles) : lost(caller, now, [project]))
      if (reason === undefined) continue
      this.#watchers.get(keyId)?.delete(watcher)
      ended(reason, end !== undefined)
    }
    if (this.#watchers.get(keyId)?.size === 0) this.#watchers.delete(keyId)
  }
}

/** What the caller had in these projects and has no more. */
function lost(before: Caller, now: Known | undefined, projects: readonly string[]): string | undefined {
  const gone = projects.find(project => !covers(now && roleIn(now.caller, project), roleIn(before, project) as Role))
  return gone === undefined ? undefined : `the role in project ${gone} was taken away`
}
