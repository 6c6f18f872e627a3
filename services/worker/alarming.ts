// Behind the engine: its changes become alarms, records of the history, and entries of the outbox, as commands of one commit; and alarms
// are looked at again when a silence, a snooze, an acknowledgement or an inhibition has ended.
import type { Redis } from 'ioredis'
import { alarmIdOf } from '../../packages/core/alarm.ts'
import { inhibits } from '../../packages/core/attention.ts'
import { type GroupKind, sharedAlarmIdOf } from '../../packages/core/group.ts'
import type { Rule } from '../../packages/core/rule.ts'
import type { Silence } from '../../packages/core/silence.ts'
import { projectKey } from '../../packages/log/key.ts'
import { type CommitCommand, chunked } from '../../packages/log/log.ts'
import { Alarms } from '../../packages/state/alarm.ts'
import { Attentions, EVERY, membersKey } from '../../packages/state/attention.ts'
import { chain, History } from '../../packages/state/history.ts'
import { Silences } from '../../packages/state/silence.ts'
import type { Changed } from './commit.ts'
import { Draft } from './draft.ts'
import { Actives, Inhibitors, type Inhibits, inhibitedOf } from './inhibit.ts'
import { Telling } from './telling.ts'

export type AlarmingPorts = {
  readonly alarms: Alarms
  readonly attentions: Attentions
  readonly history: History
  readonly silences: Silences
  /** Counts what happened to alarms. */
  changed(kind: GroupKind): void
}

/** To be committed together, and with the judge's place; `notifies`: the outbox has something then. */
export type Written = { readonly commands: CommitCommand[]; readonly notifies: boolean }

export type RulesByName = ReadonlyMap<string, Rule>

/** Alarms looked at again in one commit. */
const DUE_LIMIT = 500
const NOTHING: Written = Object.freeze({ commands: [], notifies: false })

export class Alarming {
  readonly #ports: AlarmingPorts
  /** What happened to alarms in the commit under way. */
  readonly #kinds = new Map<string, readonly GroupKind[]>()
  readonly #inhibits = new WeakMap<RulesByName, ReadonlyMap<string, readonly Inhibits[]>>()
  readonly #silences = new Map<string, { readonly version: string; readonly silences: Silence[] }>()

  constructor(ports: AlarmingPorts) {
    this.#ports = ports
  }

  /** Nothing is remembered that is not checked again; this only frees the memory. */
  forget(project: string): void {
    this.#silences.delete(project)
    this.#kinds.delete(project)
  }

  /** What was written last is committed. */
  committed(project: string): void {
    for (const kind of this.#kinds.get(project) ?? []) this.#ports.changed(kind)
    this.#kinds.delete(project)
  }

  /** See History: what ends the turn is to be committed with what is written in it. */
  takeTurn(project: string): Promise<CommitCommand> {
    return this.#ports.history.takeTurn(project)
  }

  /**
   * What these changes do, in their order.
   * @param rules that are enabled.
   */
  async commands(project: string, rules: RulesByName, changes: readonly Changed[], nowUs: number): Promise<Written> {
    if (changes.length === 0) return NOTHING
    // The head is asked for first, on the same connection: what is read after it either is of this head, or the commit is refused.
    const [head, draft] = await Promise.all([this.#ports.history.head(project), this.#draft(project, changes, nowUs)])
    const touched = [...new Set(draft.steps.map(({ alarm }) => alarm.alarmId))]
    const telling = await this.#telling(project, rules, touched, draft, nowUs)
    for (const step of draft.steps) telling.step(step)
    this.#kinds.set(
      project,
      draft.steps.map(({ kind }) => kind),
    )
    const looks = [...(await this.#inhibited(project, rules, draft, nowUs)), ...lookCommands(project, editedIn(changes, draft), nowUs)]
    const { commands } = chain(project, head, await this.#ports.history.thinned(project, telling.happenings))
    return { commands: [...commands, ...groupCommands(project, draft), ...telling.commands(draft), ...looks], notifies: telling.notifies }
  }

  /** Alarms that must be looked at again by now though no change came. */
  async due(project: string, rules: RulesByName, nowUs: number): Promise<Written> {
    const ids = await this.#ports.attentions.due(project, nowUs, DUE_LIMIT)
    if (ids.length === 0) return NOTHING
    const head = await this.#ports.history.head(project)
    if (ids.includes(EVERY))
      return { commands: [...chain(project, head, []).commands, ...(await this.#every(project, rules))], notifies: false }
    const found = await this.#ports.alarms.get(project, ids)
    const draft = new Draft(new Map(ids.map((id, i) => [id, found[i]])), new Map(), new Map(), nowUs)
    const telling = await this.#telling(project, rules, ids, draft, nowUs)
    for (const [i, id] of ids.entries()) telling.again(id, found[i])
    const { commands } = chain(project, head, await this.#ports.history.thinned(project, telling.happenings))
    return { commands: [...commands, ...telling.commands(draft)], notifies: telling.notifies }
  }

  async #draft(project: string, changes: readonly Changed[], nowUs: number): Promise<Draft> {
    const { alarms, attentions } = this.#ports
    // Only what belongs to a group has a home; whatever may have left one is named by a change without a change.
    const housed = changes.filter(({ rule, change }) => rule.groupBy.length > 0 || change === undefined)
    const pairs = [...new Map(housed.map(({ rule, device }) => [`${rule.name}\t${device.id}`, [rule.name, device.id] as const]))]
    const found = await attentions.homes(
      project,
      pairs.map(([, pair]) => pair),
    )
    const homes = new Map(pairs.map(([key], i) => [key, found[i]]))
    const ids = new Set(changes.map(({ rule, device }) => sharedAlarmIdOf(rule, device)))
    const members = new Map<string, readonly [alarmId: string, device: string]>()
    for (const { rule, device } of housed) {
      const home = homes.get(`${rule.name}\t${device.id}`)
      ids.add(alarmIdOf(rule.name, device.id))
      if (home !== undefined) ids.add(home)
      for (const id of [sharedAlarmIdOf(rule, device), ...(home === undefined ? [] : [home])])
        members.set(`${id}\t${device.id}`, [id, device.id])
    }
    const [documents, known] = await Promise.all([alarms.get(project, [...ids]), attentions.members(project, [...members.values()])])
    const draft = new Draft(
      new Map([...ids].map((id, i) => [id, documents[i]])),
      new Map([...members.keys()].map((key, i) => [key, known[i]])),
      homes,
      nowUs,
    )
    for (const changed of changes) draft.take(changed)
    return draft
  }

  async #telling(project: string, rules: RulesByName, ids: readonly string[], draft: Draft, nowUs: number): Promise<Telling> {
    const alarms = ids.flatMap(id => draft.alarms.get(id) ?? [])
    const needed = new Set(alarms.flatMap(({ rule }) => rules.get(rule)?.inhibitedBy.map(by => by.rule) ?? []))
    const [attendances, silences, ...active] = await Promise.all([
      this.#ports.alarms.attendances(project, ids),
      this.#current(project),
      ...[...needed].map(rule => this.#ports.attentions.active(project, rule)),
    ])
    // As it will be after the commit.
    const inhibitors = new Map(active.flat().map(one => [one.alarmId, one]))
    for (const { current } of draft.steps)
      if (current.state === 'active' && needed.has(current.rule)) inhibitors.set(current.alarmId, current)
      else inhibitors.delete(current.alarmId)
    const attended = new Map(ids.map((id, i) => [id, attendances[i]]))
    return new Telling(project, rules, attended, { silences, inhibitors: new Inhibitors(inhibitors.values()), nowUs })
  }

  async #current(project: string): Promise<Silence[]> {
    const version = await this.#ports.silences.version(project)
    const known = this.#silences.get(project)
    if (known?.version === version) return known.silences
    // Read after the version: what is newer than it is read again the next time.
    const silences = version === '' ? [] : await this.#ports.silences.list(project)
    this.#silences.set(project, { version, silences })
    return silences
  }

  /** What became active or ceased to be inhibits others, which are looked at when this is committed. */
  async #inhibited(project: string, rules: RulesByName, draft: Draft, nowUs: number): Promise<CommitCommand[]> {
    const ids = new Set<string>()
    const active = new Map<string, Actives>()
    for (const { before, current } of draft.steps) {
      if ((before?.state === 'active') === (current.state === 'active')) continue
      for (const { name, by } of this.#inhibitedOf(rules).get(current.rule) ?? []) {
        const others = active.get(name) ?? new Actives(await this.#ports.attentions.active(project, name))
        active.set(name, others)
        for (const other of others.inhibited(by, current)) if (inhibits(by, current, other)) ids.add(other.alarmId)
      }
    }
    return lookCommands(project, ids, nowUs)
  }

  /** Found out once for all rules: there may be ten thousand. */
  #inhibitedOf(rules: RulesByName): ReadonlyMap<string, readonly Inhibits[]> {
    const known = this.#inhibits.get(rules) ?? inhibitedOf(rules)
    this.#inhibits.set(rules, known)
    return known
  }

  /** A silence was made, changed or ended: every alarm that is active, or that something is kept back of, may be touched by it. */
  async #every(project: string, rules: RulesByName): Promise<CommitCommand[]> {
    const { attentions } = this.#ports
    const ids = new Set(await attentions.waiting(project))
    for (const rule of rules.keys()) for (const { alarmId } of await attentions.active(project, rule)) ids.add(alarmId)
    ids.delete(EVERY)
    return [['ZREM', projectKey(project, 'attention'), EVERY], ...lookCommands(project, ids, 0)]
  }
}

/** @param changed counts what happened to alarms. */
export function alarmingOn(redis: Redis, changed: (kind: GroupKind) => void): Alarming {
  return new Alarming({
    alarms: new Alarms(redis),
    attentions: new Attentions(redis),
    history: new History(redis),
    silences: new Silences(redis),
    changed,
  })
}

function groupCommands(project: string, { members, homes }: Draft): CommitCommand[] {
  const commands: CommitCommand[] = []
  for (const [key, member] of members) {
    const [alarmId, device] = key.split('\t') as [string, string]
    const hash = membersKey(project, alarmId)
    commands.push(member === undefined ? ['HDEL', hash, device] : ['HSET', hash, device, JSON.stringify(member)])
  }
  for (const [key, home] of homes)
    commands.push(home === undefined ? ['HDEL', projectKey(project, 'homes'), key] : ['HSET', projectKey(project, 'homes'), key, home])
  return commands
}

/** Alarms that are active while their rule was edited: its channels may be others. */
function editedIn(changes: readonly Changed[], { alarms }: Draft): ReadonlySet<string> {
  const ids = changes.filter(({ change }) => change === undefined).map(({ rule, device }) => sharedAlarmIdOf(rule, device))
  return new Set(ids.filter(id => alarms.get(id)?.state === 'active'))
}

function lookCommands(project: string, ids: ReadonlySet<string>, atUs: number): CommitCommand[] {
  return chunked(
    'ZADD',
    projectKey(project, 'attention'),
    [...ids].flatMap(id => [atUs, id]),
  )
}
