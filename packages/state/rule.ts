// Rules in Redis: the current document of each, every version there was, and a revision that tells the workers to look again.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { parseRule, type Rule, ruleToJson } from '../core/rule.ts'
import { isSameRule } from '../core/ruleplan.ts'
import { formatTime } from '../core/time.ts'
import { projectKey } from '../log/key.ts'

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
export type RuleSnapshot = { readonly revision: string; readonly rules: readonly Rule[] }

export type Author = { readonly by: string; readonly timeUs: number }

const NOBODY: Author = { by: '', timeUs: 0 }
const MAX_RULES = 10_000
const MAX_VERSIONS = 1000
/** Of this many removed rules the versions are kept. */
const MAX_REMOVED = 1000
const LIMITS = [MAX_RULES, MAX_VERSIONS, MAX_REMOVED] as const
const REMOVAL_LOOK_MS = 50
const REMOVAL_LIMIT_MS = 3000
/** Each attempt that fails is somebody else's that succeeded. */
const MAX_ATTEMPTS = 100
const UNCHANGED = 0

/**
 * All or nothing. ARGV: revision; how many rules there may be, versions and removed rules are kept; now; prefix of the lists of versions; then
 * for each change: name, document (empty: it goes), entry of the list of versions, document for the judge, which clears the alarms of what goes.
 * Answers the new revision, -1 when the rules are others meanwhile, -2 when alarms of a removed rule of one of the names still clear, -3
 * when there are too many.
 */
const CHANGE = `
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return -1 end
local count = redis.call('HLEN', KEYS[1])
for i = 7, #ARGV, 4 do
  if ARGV[i + 1] ~= '' and redis.call('HEXISTS', KEYS[3], ARGV[i]) == 1 then return -2 end
  if ARGV[i + 1] == '' then count = count - 1 else count = count + 1 - redis.call('HEXISTS', KEYS[1], ARGV[i]) end
end
if count > tonumber(ARGV[2]) then return -3 end
for i = 7, #ARGV, 4 do
  local name = ARGV[i]
  local versions = ARGV[6] .. name
  if redis.call('EXISTS', versions) == 0 and redis.call('HEXISTS', KEYS[1], name) == 1 then
    redis.call('LPUSH', versions, redis.call('HGET', KEYS[1], name))
  end
  redis.call('LPUSH', versions, ARGV[i + 2])
  redis.call('LTRIM', versions, 0, ARGV[3] - 1)
  if ARGV[i + 1] == '' then
    if redis.call('SISMEMBER', KEYS[4], name) == 1 then redis.call('HSET', KEYS[3], name, ARGV[i + 3]) end
    redis.call('HDEL', KEYS[1], name)
    redis.call('ZADD', KEYS[5], ARGV[5], name)
  else
    redis.call('HSET', KEYS[1], name, ARGV[i + 1])
    redis.call('ZREM', KEYS[5], name)
  end
end
while redis.call('ZCARD', KEYS[5]) > tonumber(ARGV[4]) do
  redis.call('DEL', ARGV[6] .. redis.call('ZPOPMIN', KEYS[5])[1])
end
return redis.call('INCR', KEYS[2])`

type Scripts = { telltaleChangeRules(keys: number, ...args: (string | number)[]): Promise<number> }

export class Rules {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis) {
    redis.defineCommand('telltaleChangeRules', { lua: CHANGE })
    this.#redis = redis as Redis & Scripts
  }

  /** By name; without those that are broken. */
  async list(project: string): Promise<Rule[]> {
    return (await this.all(project)).flatMap(one => ('problem' in one ? [] : [one]))
  }

  async all(project: string): Promise<(Rule | BrokenRule)[]> {
    const rows = await this.#redis.hgetall(projectKey(project, 'rules'))
    return Object.keys(rows)
      .sort()
      .map(name => readRule(rows[name] as string, name))
  }

  /** As `one`, also when it is broken. */
  async find(project: string, name: string): Promise<Rule | BrokenRule> {
    const row = await this.#redis.hget(projectKey(project, 'rules'), name)
    if (row === null) throw missing(project, name)
    return readRule(row, name)
  }

  async one(project: string, name: string): Promise<Rule> {
    const row = await this.#redis.hget(projectKey(project, 'rules'), name)
    if (row === null) throw missing(project, name)
    return parseRule(JSON.parse(row), name)
  }

  /** Changes with every save and removal; empty before the first. */
  async version(project: string): Promise<string> {
    return (await this.#redis.get(projectKey(project, 'rulesVersion'))) ?? ''
  }

  async snapshot(project: string): Promise<RuleSnapshot> {
    // The revision first: rules that are newer than it are found out by it.
    const revision = await this.version(project)
    return { revision, rules: await this.list(project) }
  }

  /** Newest first; also of a rule that is gone. `before`: the version that the page before ended with. */
  async versions(project: string, name: string, before: number | undefined, limit: number): Promise<RuleVersion[]> {
    const [rows, current] = await Promise.all([
      this.#redis.lrange(versionsKey(project, name), 0, -1),
      this.#redis.hget(projectKey(project, 'rules'), name),
    ])
    // Saved before versions were kept.
    if (rows.length === 0 && current !== null) rows.push(current)
    if (rows.length === 0) throw missing(project, name)
    const all = rows.map(row => JSON.parse(row) as RuleVersion | RuleDocument)
    const versions = all.map(one => ('by' in one ? (one as RuleVersion) : unsigned(one)))
    return versions.filter(({ version }) => before === undefined || version < before).slice(0, limit)
  }

  /**
   * Creates or replaces; `onlyNew`: conflict when it exists. The version grows with each save that changes something, and goes on when a
   * removed rule is made again, so that one number never means two documents. `ifVersion`: the one that the caller has seen, 0 for none;
   * when it is another by now that is a conflict.
   */
  async save(project: string, rule: Rule, onlyNew = false, author = NOBODY, ifVersion?: number): Promise<Rule> {
    let saved = rule
    await this.#retried(rule.name, async () => {
      const revision = await this.version(project)
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
      changes.map(async change => {
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
    const keys = ['rules', 'rulesVersion', 'removedRules', 'ruleStates', 'ruleGraves'].map(key => projectKey(project, key))
    const prefix = versionsKey(project, '')
    return this.#redis.telltaleChangeRules(keys.length, ...keys, revision, ...LIMITS, timeUs, prefix, ...steps.flat())
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

function versionsKey(project: string, name: string): string {
  return projectKey(project, `ruleVersions:${name}`)
}

function missing(project: string, name: string): Failure {
  return new Failure('not_found', `rule ${name} does not exist in project ${project}`, { field: 'rule' })
}

function changedMeanwhile(): Failure {
  return new Failure('conflict', 'the rules were changed by others meanwhile: look again')
}
