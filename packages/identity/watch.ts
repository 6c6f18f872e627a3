// Those who stay connected learn that their rights ended: one look at Redis per round and process, however many are watching. A token ends
// by a timer of its own.
import { Failure } from '../core/failure.ts'
import { endOf, type Known, lastsUntilMs } from './keyring.ts'
import { type Caller, covers, type Role, roleIn } from './role.ts'

/**
 * Called once, with what ended, and whether that was all: otherwise the caller may still do something. `isExpired`: who comes back with a new
 * token may go on. Must not throw.
 */
export type Ended = (reason: string, all: boolean, isExpired: boolean) => void

export type WatchPorts = {
  /** Keys whose rights changed since the last call. */
  changed(): Promise<ReadonlySet<string> | 'all'>
  /** Past every cache. Rejects with a Failure `setup` when the record cannot be read, and with anything else when that may pass. */
  look(keyId: string): Promise<Known | undefined>
  /** What failed; of what may pass, one in each round. */
  readonly troubled: Troubled
}

export type Troubled = (error: Error) => void

type Watcher = { readonly caller: Caller; readonly project: string | undefined; readonly ended: Ended; timer: NodeJS.Timeout | undefined }

const EXPIRED = 'the access token expired; come back with a new one'
/** Redis may take the rest of the second. */
const ROUND_MS = 400
const LOOKS_AT_ONCE = 200
/** Longer ones Node takes for none at all. */
const MAX_TIMER_MS = 2 ** 31 - 1

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
    const watcher: Watcher = { caller, project, ended, timer: undefined }
    const { keyId } = caller
    const watchers = this.#watchers.get(keyId) ?? new Set()
    this.#watchers.set(keyId, watchers.add(watcher))
    this.#unchecked.add(keyId)
    this.#timer ??= setInterval(() => this.#round(), ROUND_MS).unref()
    const leave = () => {
      clearTimeout(watcher.timer)
      watchers.delete(watcher)
      if (watchers.size === 0 && this.#watchers.get(keyId) === watchers) this.#watchers.delete(keyId)
      if (this.#watchers.size === 0) this.#pause()
    }
    this.#expire(watcher, leave)
    return leave
  }

  #expire(watcher: Watcher, leave: () => void): void {
    const leftMs = lastsUntilMs(watcher.caller) - Date.now()
    if (leftMs === Number.POSITIVE_INFINITY) return
    const look = () => {
      if (leftMs > MAX_TIMER_MS) return this.#expire(watcher, leave)
      leave()
      watcher.ended(EXPIRED, true, true)
    }
    watcher.timer = setTimeout(look, Math.min(MAX_TIMER_MS, Math.max(0, leftMs))).unref()
  }

  async close(): Promise<void> {
    for (const watchers of this.#watchers.values()) for (const { timer } of watchers) clearTimeout(timer)
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
      clearTimeout(watcher.timer)
      this.#watchers.get(keyId)?.delete(watcher)
      ended(reason, end !== undefined, false)
    }
    if (this.#watchers.get(keyId)?.size === 0) this.#watchers.delete(keyId)
  }
}

/** What the caller had in these projects and has no more. A device never had a role: it is what it is as long as its key. */
function lost(before: Caller, now: Known | undefined, projects: readonly string[]): string | undefined {
  const isLess = (project: string, role: Role | undefined) => role !== undefined && !covers(now && roleIn(now.caller, project), role)
  const gone = projects.find(project => isLess(project, roleIn(before, project)))
  return gone === undefined ? undefined : `the role in project ${gone} was taken away`
}
