// Rules in Redis: the current document of each, every version there was, and a revision that tells the workers to look again.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { parseRule, type Rule, ruleToJson } from '../core/rule.ts'
import { type Inhibition, isSameRule } from '../core/ruleplan.ts'
import { formatTime } from '../core/time.ts'
import { projectKey } from '../log/key.ts'
import { ParsedRules } from './parsed.ts'
import { CHANGE } from './rulescript.ts'
import { inTurns } from './turn.ts'

/** `rule: null`: it was removed. Documents are as they were saved then, not as today's engine would read them. */
export type RuleVersion = {
  readonly version: number
  /** E-mail address of the service account; empty when that was not kept. */
  readonly by: string
  readonly time: string | null
  readonly rule: RuleDocument | null
}
export type RuleDocument = { readonly [key: string]: unknown }

/** What is stored but is no rule to this version any more. Nothing is judged by it, and its alarms stay, until it is saved anew or removed. */
export type BrokenRule = { readonly name: string; readonly document: RuleDocument; readonly problem: string }

/** One step of a change: the rule as it is to be, or the name of one that goes, with whether channels are told of alarms that clear by it. */
export type RuleChange = { readonly save: Rule } | { readonly remove: string; readonly notify: boolean }

/** All rules at one moment; a change that was made of them fails when they are others meanwhile. */
export type RuleSnapshot = {
  readonly revision: string
  readonly rules: readonly Rule[]
  /** Names of those that are none to this version any more. */
  readonly broken: readonly string[]
}

/** What rules hang on: all that inhibit them, those that inhibit these, and so on; `removed`: names among them of rules that are gone. */
export type RuleNames = { readonly inhibition: Inhibition; readonly names: readonly string[]; readonly removed: ReadonlySet<string> }

export type Author = { readonly by: string; readonly timeUs: number }

const NOBODY: Author = { by: '', timeUs: 0 }
const MAX_RULES = 10_000
const MAX_VERSIONS = 1000
/** Of this many removed rules the versions are kept. */
const MAX_REMOVED = 1000
/** Of the versions of all rules of a project; the oldest go. */
const MAX_VERSION_BYTES = 16 * 1024 * 1024
const DOCUMENTS_AT_ONCE = 500
const REMOVAL_LOOK_MS = 50
const REMOVAL_LIMIT_MS = 3000
/** Each attempt that fails is somebody else's that succeeded. */
const MAX_ATTEMPTS = 100
const UNCHANGED = 0
const KEYS = [
  'rules',
  'rulesVersion',
  'removedRules',
  'ruleStates',
  'ruleGraves',
  'shadows',
  'ruleVersionOrder',
  'ruleVersionBytes',
] as const

type Scripts = { telltaleChangeRules(keys: number, ...args: (string | number)[]): Promise<number> }

export class Rules {
  readonly #redis: Redis & Scripts
  readonly #parsed = new ParsedRules(readRule)
  readonly #limits: readonly number[]

  constructor(redis: Redis, maxVersionBytes = MAX_VERSION_BYTES) {
    this.#limits = [MAX_RULES, MAX_VERSIONS, MAX_REMOVED, maxVersionBytes]
    redis.defineCommand('telltaleChangeRules', { lua: CHANGE })
    this.#redis = redis as Redis & Scripts
  }

  /** By name; without those that are broken. */
  async list(project: string): Promise<Rule[]> {
    return (await this.all(project)).flatMap(one => ('problem' in one ? [] : [one]))
  }

  async all(project: string): Promise<(Rule | BrokenRule)[]> {
    const rows = await this.#redis.hgetall(projectKey(project, 'rules'))
    return inTurns(Object.keys(rows).sort(), name => this.#parsed.read(project, name, rows[name] as string))
  }

  /** Those whose names come after one, by name. */
  async page(project: string, after: string, limit: number): Promise<(Rule | BrokenRule)[]> {
    const names = (await this.#redis.hkeys(projectKey(project, 'rules'))).filter(name => name > after).sort()
    const rows = await this.#documents(project, names.slice(0, limit))
    return inTurns([...rows], ([name, row]) => this.#parsed.read(project, name, row))
  }

  /** What may inhibit rules that name these. */
  async namesFrom(project: string, inhibitors: readonly string[]): Promise<RuleNames> {
    const inhibition = new Map<string, readonly string[]>()
    const missing: string[] = []
    const asked = new Set(inhibitors)
    for (let next = [...asked]; next.length > 0; ) {
      const rows = await this.#documents(project, next)
      missing.push(...next.filter(name => !rows.has(name)))
      const found = await inTurns([...rows], ([name, row]) => [name, inhibitorsIn(row)] as const)
      for (const [name, own] of found) inhibition.set(name, own)
      next = [...new Set(found.flatMap(([, own]) => own))].filter(name => !asked.has(name))
      for (const name of next) asked.add(name)
    }
    const [names, scores] = await Promise.all([
      missing.length === 0 ? [] : this.#redis.hkeys(projectKey(project, 'rules')),
      missing.length === 0 ? [] : this.#redis.zmscore(projectKey(project, 'ruleGraves'), ...missing),
    ])
    return { inhibition, names: names.sort((a, b) => (a < b ? -1 : 1)), removed: new Set(missing.filter((_, i) => scores[i] !== null)) }
  }

  /** Those that there are. */
  async #documents(project: string, names: readonly string[]): Promise<Map<string, string>> {
    const rows = new Map<string, string>()
    for (let i = 0; i < names.length; i += DOCUMENTS_AT_ONCE) {
      const some = names.slice(i, i + DOCUMENTS_AT_ONCE)
      const found = await this.#redis.hmget(projectKey(project, 'rules'), ...some)
      for (const [k, row] of found.entries()) if (row !== null) rows.set(some[k] as string, row)
    }
    return rows
  }

  /** As `one`, also when it is broken. */
  async find(project: string, name: string): Promise<Rule | BrokenRule> {
    const row = await this.#redis.hget(projectKey(project, 'rules'), name)
    if (row === null) throw missing(project, name)
    return this.#parsed.read(project, name, row)
  }

  async one(project: string, name: string): Promise<Rule> {
    const found = await this.find(project, name)
    if ('problem' in found) throw new Failure('invalid', `rule ${name} is broken: ${found.problem}`)
    return found
  }

  /** Changes with every save and removal; empty before the first. */
  async version(project: string): Promise<string> {
    return (await this.#redis.get(projectKey(project, 'rulesVersion'))) ?? ''
  }

  async snapshot(project: string): Promise<RuleSnapshot> {
    // The revision first: rules that are newer than it are found out by it.
    const revision = await this.version(project)
    const all = await this.all(project)
    const broken = all.flatMap(one => ('problem' in one ? [one.name] : []))
    return { revision, rules: all.flatMap(one => ('problem' in one ? [] : [one])), broken }
  }

  /** Newest first; also of a rule that is gone. `before`: the version that the page before ended with. */
  async versions(project: string, name: string, before: number | undefined, limit: number): Promise<RuleVersion[]> {
    const newest = await this.#newest(project, name)
    // They are numbered one by one, and only the oldest go.
    const from = before === undefined ? 0 : Math.max(0, newest - before + 1)
    const [rows, current] = await Promise.all([
      this.#redis.lrange(versionsKey(project, name), from, from + limit - 1),
      this.#redis.hget(projectKey(project, 'rules'), name),
    ])
    if (newest === 0) throw missing(project, name)
    // The newest stands with the rules as well, and may have been there before versions were kept.
    if (rows.length === 0 && from === 0 && current !== null) rows.push(current)
    const all = rows.map(row => JSON.parse(row) as RuleVersion | RuleDocument)
    return all.map(one => ('by' in one ? (one as RuleVersion) : unsigned(one))).filter(one => before === undefined || one.version < before)
  }

  /**
   * Creates or replaces; `onlyNew`: conflict when it exists. The version grows with each save that changes something, and goes on when a
   * removed rule is made again, so that one number never means two documents. `ifVersion`: the one that the caller has seen, 0 for none;
   * when it is another by now that is a conflict. `check` rejects when the rule does not fit the others; they are the same when it is saved.
   */
  async save(
    project: string,
    rule: Rule,
    onlyNew = false,
    author = NOBODY,
    ifVersion?: number,
    check: () => Promise<void> = async () => {},
  ): Promise<Rule> {
    let saved = rule
    await this.#retried(rule.name, async () => {
      const revision = await this.version(project)
      await check()
      const row = await this.#redis.hget(projectKey(project, 'rules'), rule.name)
      const kept = row === null ? undefined : readRule(row, rule.name)
      const before = kept && 'problem' in kept ? undefined : kept
      if (kept && onlyNew) throw new Failure('conflict', `rule ${rule.name} exists already: PUT replaces it`)
      checkSeen(rule.name, kept && versionOf(kept), ifVersion)
      const [made] = await this.#numbered(project, [rule])
      saved = before && isSameRule(before, rule) ? before : (made as Rule)
      return saved === before ? UNCHANGED : this.#change(project, revision, [{ save: saved }], author)
    })
    return saved
  }

  async remove(project: string, name: string, notify = false, author = NOBODY): Promise<void> {
    await this.#retried(name, async () => {
      const revision = await this.version(project)
      await this.find(project, name)
      return this.#change(project, revision, [{ remove: name, notify }], author)
    })
  }

  /**
   * All of them or none. Steps that would change nothing must not be among them. Fails with `conflict` when the rules are not those of the
   * revision any more. Returns the new revision.
   */
  async apply(project: string, revision: string, changes: readonly RuleChange[], author = NOBODY): Promise<string> {
    if (changes.length === 0) return revision
    let next = 0
    const [first] = changes.flatMap(change => ('save' in change ? [change.save.name] : []))
    await this.#retried(first ?? '', async () => {
      const saved = await this.#numbered(
        project,
        changes.flatMap(change => ('save' in change ? [change.save] : [])),
      )
      const numbered = changes.map(change => ('save' in change ? { save: saved.shift() as Rule } : change))
      next = await this.#change(project, revision, numbered, author)
      if (next === -1) throw changedMeanwhile()
      return next
    })
    return String(next)
  }

  /** With the version after the newest one there was of each name. */
  async #numbered(project: string, rules: readonly Rule[]): Promise<Rule[]> {
    return Promise.all(rules.map(async rule => ({ ...rule, version: (await this.#newest(project, rule.name)) + 1 })))
  }

  async #newest(project: string, name: string): Promise<number> {
    const row =
      (await this.#redis.lindex(versionsKey(project, name), 0)) ??
      (await this.#redis.hget(projectKey(project, 'rules'), name)) ??
      '{"version":0}'
    return (JSON.parse(row) as { version: number }).version
  }

  async #change(project: string, revision: string, changes: readonly RuleChange[], { by, timeUs }: Author): Promise<number> {
    const time = timeUs === 0 ? null : formatTime(timeUs)
    const steps = await Promise.all(
      await inTurns(changes, async change => {
        if ('save' in change) {
          const document = ruleToJson(change.save)
          const entry: RuleVersion = { version: change.save.version, by, time, rule: document }
          return [change.save.name, JSON.stringify(document), JSON.stringify(entry), '']
        }
        const { remove: name, notify } = change
        const entry: RuleVersion = { version: (await this.#newest(project, name)) + 1, by, time, rule: null }
        const kept = await this.find(project, name)
        const document = 'problem' in kept ? kept.document : ruleToJson(kept)
        return [name, '', JSON.stringify(entry), JSON.stringify(notify ? { ...document, notifyRemoval: true } : document)]
      }),
    )
    const keys = KEYS.map(key => projectKey(project, key))
    const prefixes = [versionsKey(project, ''), projectKey(project, 'shadow:')]
    return this.#redis.telltaleChangeRules(keys.length, ...keys, revision, ...this.#limits, timeUs, ...prefixes, ...steps.flat())
  }

  /** A rule made again under the name of a removed one would inherit its alarms: those are cleared first, which takes a moment. */
  async #retried(name: string, attempt: () => Promise<number>): Promise<void> {
    for (let attempts = 0, waitedMs = 0; attempts < MAX_ATTEMPTS; attempts++) {
      const outcome = await attempt()
      if (outcome >= 0) return
      if (outcome === -3) throw new Failure('conflict', `a project has at most ${MAX_RULES} rules`)
      if (outcome !== -2) continue
      if (waitedMs > REMOVAL_LIMIT_MS)
        throw new Failure('conflict', `rule ${name} is being removed, with its alarms: try again in a moment`)
      await new Promise(resolve => setTimeout(resolve, REMOVAL_LOOK_MS))
      waitedMs += REMOVAL_LOOK_MS
    }
    throw changedMeanwhile()
  }
}

export function readRule(row: string, name: string): Rule | BrokenRule {
  const document = JSON.parse(row) as RuleDocument
  try {
    return parseRule(document, name)
  } catch (error) {
    if (error instanceof Failure) return { name, document, problem: error.message }
    throw error
  }
}

function versionOf(kept: Rule | BrokenRule): number {
  return 'problem' in kept ? Number(kept.document['version']) : kept.version
}

function checkSeen(name: string, before: number | undefined, seen: number | undefined): void {
  if (seen === undefined || seen === (before ?? 0)) return
  const now = before === undefined ? 'does not exist' : `is at version ${before} by now`
  throw new Failure('conflict', `ifVersion: rule ${name} ${now}, expected version ${seen}`, { field: 'ifVersion' })
}

function unsigned(document: RuleDocument): RuleVersion {
  return { version: Number(document['version']), by: '', time: null, rule: document }
}

/** Also of a document that is no rule any more. */
function inhibitorsIn(row: string): string[] {
  const { inhibitedBy } = JSON.parse(row) as { readonly inhibitedBy?: unknown }
  if (!Array.isArray(inhibitedBy)) return []
  return inhibitedBy.map((one: unknown) => (typeof one === 'string' ? one : String((Object(one) as { readonly rule?: unknown }).rule)))
}

function versionsKey(project: string, name: string): string {
  return projectKey(project, `ruleVersions:${name}`)
}

function missing(project: string, name: string): Failure {
  return new Failure('not_found', `rule ${name} does not exist in project ${project}`, { field: 'rule' })
}

function changedMeanwhile(): Failure {
  return new Failure('conflict', 'the rules were changed by others meanwhile: look again')
}
