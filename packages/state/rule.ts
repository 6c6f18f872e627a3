// Rules in Redis: the current document of each, and a version that tells the workers to look again.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { parseRule, type Rule, ruleToJson } from '../core/rule.ts'
import { projectKey } from '../log/key.ts'

const SAVE = `
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('INCR', KEYS[2])`
/** The judge still needs the document, to clear the alarms of the rule. */
const REMOVE = `
local document = redis.call('HGET', KEYS[1], ARGV[1])
if not document then return 0 end
if redis.call('SISMEMBER', KEYS[4], ARGV[1]) == 1 then redis.call('HSET', KEYS[3], ARGV[1], document) end
redis.call('HDEL', KEYS[1], ARGV[1])
return redis.call('INCR', KEYS[2])`

const REMOVAL_LOOK_MS = 50
const REMOVAL_LIMIT_MS = 3000

type Scripts = {
  telltaleSaveRule(keys: number, ...args: string[]): Promise<number>
  telltaleRemoveRule(keys: number, ...args: string[]): Promise<number>
}

export class Rules {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis) {
    redis.defineCommand('telltaleSaveRule', { lua: SAVE })
    redis.defineCommand('telltaleRemoveRule', { lua: REMOVE })
    this.#redis = redis as Redis & Scripts
  }

  async list(project: string): Promise<Rule[]> {
    const rows = await this.#redis.hgetall(projectKey(project, 'rules'))
    return Object.keys(rows)
      .sort()
      .map(name => parseRule(JSON.parse(rows[name] as string), name))
  }

  async one(project: string, name: string): Promise<Rule> {
    const row = await this.#redis.hget(projectKey(project, 'rules'), name)
    if (row === null) throw new Failure('not_found', `rule ${name} does not exist in project ${project}`, { field: 'rule' })
    return parseRule(JSON.parse(row), name)
  }

  /** Creates or replaces; the version grows by one with each save. `onlyNew`: conflict when it exists. */
  async save(project: string, rule: Rule, onlyNew: boolean): Promise<Rule> {
    await this.#awaitRemoval(project, rule.name)
    const row = await this.#redis.hget(projectKey(project, 'rules'), rule.name)
    if (row !== null && onlyNew) throw new Failure('conflict', `rule ${rule.name} exists already: PUT replaces it`)
    const version = row === null ? 1 : parseRule(JSON.parse(row), rule.name).version + 1
    const saved = { ...rule, version }
    await this.#redis.telltaleSaveRule(2, ...this.#keys(project), rule.name, JSON.stringify(ruleToJson(saved)))
    return saved
  }

  /** A rule made again under the name of a removed one would inherit its alarms: those are cleared first, which takes a moment. */
  async #awaitRemoval(project: string, name: string): Promise<void> {
    for (let waitedMs = 0; (await this.#redis.hexists(projectKey(project, 'removedRules'), name)) === 1; waitedMs += REMOVAL_LOOK_MS) {
      if (waitedMs > REMOVAL_LIMIT_MS)
        throw new Failure('conflict', `rule ${name} is being removed, with its alarms: try again in a moment`)
      await new Promise(resolve => setTimeout(resolve, REMOVAL_LOOK_MS))
    }
  }

  async remove(project: string, name: string): Promise<void> {
    if (
      (await this.#redis.telltaleRemoveRule(
        4,
        ...this.#keys(project),
        ...['removedRules', 'ruleStates'].map(key => projectKey(project, key)),
        name,
      )) === 0
    )
      throw new Failure('not_found', `rule ${name} does not exist in project ${project}`, { field: 'rule' })
  }

  /** Changes with every save and removal; empty before the first. */
  async version(project: string): Promise<string> {
    return (await this.#redis.get(projectKey(project, 'rulesVersion'))) ?? ''
  }

  #keys(project: string): [string, string] {
    return [projectKey(project, 'rules'), projectKey(project, 'rulesVersion')]
  }
}
