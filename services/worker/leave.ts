// Devices that leave rules, with their alarms: all of those of a rule that is gone or disabled, and of an edited one those that it does not
// select any more. There may be a million of them: some leave in each commit, and what is left to do stands in Redis until it is done.
import type { Device } from '../../packages/core/device.ts'
import { type Rule, selects } from '../../packages/core/rule.ts'
import { retire } from '../../packages/core/step.ts'
import { standing, type TrackRow } from '../../packages/core/trackrow.ts'
import type { Orphans } from '../../packages/state/judgement.ts'
import type { Judgement } from './commit.ts'
import { type Memory, type MemoryPorts, unknownDevice } from './memory.ts'

export type LeavePorts = Pick<MemoryPorts, 'tracks'> & {
  /** Every device that has a state of a rule. */
  holders(project: string, rule: string): Promise<string[]>
  /** Every device that has a timer of a rule. */
  timed(project: string, rule: string): Promise<string[]>
  /** Rules that have states, or were removed, and are not among these any more; about as many rows as asked for. */
  orphans(project: string, enabled: ReadonlySet<string>, limit: number): Promise<Orphans>
  nowUs(): number
}

type Release = (judgement: Judgement, rule: Rule, device: Device, row: TrackRow) => void

/** What is left to do in one project. */
type Open = {
  orphans: boolean
  /** Edited rule → devices that are still to be looked at; undefined: all that have a state. */
  readonly edited: Map<string, string[] | undefined>
}

/** In one commit. */
const LEAVE_AT_ONCE = 500
const LOOK_AT_ONCE = 2000
/** Of a timer: the rule was edited, and what it waits for now has to be found out. */
export const UNKNOWN = 0
/** Behind the version and the entry of an edited rule: not all of its devices have been looked at. */
const UNFINISHED = 'unfinished'

export class Leave {
  readonly #ports: LeavePorts
  readonly #open = new Map<string, Open>()

  constructor(ports: LeavePorts) {
    this.#ports = ports
  }

  /** The rules are others than before. @param edited those of which devices may have to leave. */
  begin(project: string, edited: Iterable<string>): void {
    this.#open.set(project, { orphans: true, edited: new Map(Array.from(edited, rule => [rule, undefined])) })
  }

  isOpen(project: string): boolean {
    return this.#open.has(project)
  }

  forget(project: string): void {
    this.#open.delete(project)
  }

  /** Lets some of them go. */
  async go(project: string, memory: Memory, judgement: Judgement, release: Release): Promise<void> {
    const open = this.#open.get(project)
    if (open === undefined) return
    if (open.orphans) open.orphans = await this.#retire(project, memory, judgement)
    if (!open.orphans) await this.#look(project, open, memory, judgement, release)
    if (!open.orphans && open.edited.size === 0) this.#open.delete(project)
  }

  /** True when there are more. */
  async #retire(project: string, memory: Memory, judgement: Judgement): Promise<boolean> {
    const { leaving, more } = await this.#ports.orphans(project, new Set(memory.rules.byName.keys()), LEAVE_AT_ONCE)
    for (const { rule, notify, rows, isLast } of leaving) {
      const devices = await memory.devices.load(rows.keys())
      const reason = rule.enabled ? 'rule deleted' : 'rule disabled'
      for (const [id, row] of rows)
        for (const change of retire(rule, standing(row), this.#ports.nowUs(), reason).changes)
          judgement.changes.push({ rule, device: devices.get(id) ?? unknownDevice(id), change, quiet: !notify })
      judgement.retired.push({ rule: rule.name, devices: [...rows.keys()], isLast })
    }
    return more
  }

  async #look(project: string, { edited }: Open, memory: Memory, judgement: Judgement, release: Release): Promise<void> {
    let looked = 0
    for (const [name, left] of Array.from(edited)) {
      const judged = memory.rules.byName.get(name)
      const holders = judged === undefined ? [] : (left ?? (await this.#touched(project, name)))
      const some = holders.slice(0, LOOK_AT_ONCE - looked)
      if (judged) await this.#edit(project, memory, judgement, judged.rule, some, release)
      looked += some.length
      const rest = holders.slice(some.length)
      if (rest.length > 0) edited.set(name, rest)
      else edited.delete(name)
      // Written also when nobody has left, so that there is something to commit and the rest comes after it.
      if (judged) judgement.since.set(name, sinceOf(judged.rule.version, judged.after, rest.length > 0))
      if (looked >= LOOK_AT_ONCE || judgement.changes.length >= LEAVE_AT_ONCE) return
    }
  }

  async #touched(project: string, rule: string): Promise<string[]> {
    const [holders, timed] = await Promise.all([this.#ports.holders(project, rule), this.#ports.timed(project, rule)])
    return [...new Set([...holders, ...timed])].sort()
  }

  /** Who has left the rule is released, who is in alarm may belong to another group, and timers may end at another time. */
  async #edit(project: string, memory: Memory, judgement: Judgement, rule: Rule, ids: readonly string[], release: Release): Promise<void> {
    const devices = await memory.devices.load(ids)
    const rows = await this.#ports.tracks(
      project,
      ids.map(id => [rule.name, id] as const),
    )
    for (const [i, id] of ids.entries()) {
      const row = rows[i]
      // One that the registry does not have is judged all the same.
      const device = devices.get(id) ?? unknownDevice(id)
      judgement.timers.set(`${rule.name}\t${id}`, UNKNOWN)
      if (row && !selects(rule, device)) release(judgement, rule, device, row)
      else if (row && standing(row).phase !== 'clear') judgement.changes.push({ rule, device, change: undefined, quiet: true })
    }
  }
}

/** As `ruleSince` has it: the version that judges, the entry after which it does, and whether devices are still to leave because of it. */
export function sinceOf(version: number, after: string, isUnfinished: boolean): string {
  return `${version} ${after}${isUnfinished ? ` ${UNFINISHED}` : ''}`
}

export function parseSince(text: string): { readonly version: number; readonly after: string; readonly isUnfinished: boolean } {
  const [version, after, mark] = text.split(' ') as [string, string, string | undefined]
  return { version: Number(version), after, isUnfinished: mark === UNFINISHED }
}
