// Shadows in Redis: a new version of a rule that the judge judges beside it, and what both did since. The judge commits every change of
// either with its place; nobody is told of a shadow's, and it makes no alarms.
import type { Redis } from 'ioredis'
import type { SidedChange } from '../core/disagreement.ts'
import { Failure } from '../core/failure.ts'
import { parseRule, type Rule, ruleToJson } from '../core/rule.ts'
import type { Change } from '../core/step.ts'
import { projectKey } from '../log/key.ts'
import type { CommitCommand } from '../log/log.ts'
import { readRule } from './rule.ts'

/** No name of a rule has a `~`, so no rule is ever called as a shadow is. */
const SUFFIX = '~shadow'
/** The oldest go first; the report then says so. */
const MOST_CHANGES = 20_000

export type Shadow = { readonly rule: Rule; readonly by: string; readonly time: string }
export type ShadowLog = { readonly changes: readonly SidedChange[]; readonly truncated: boolean }

type Row = { readonly rule: unknown; readonly by: string; readonly time: string }
type Scripts = {
  telltaleSaveShadow(keys: number, ...args: string[]): Promise<number>
  telltaleRemoveShadow(keys: number, ...args: string[]): Promise<number>
}

/** Only beside a rule that is there. What an earlier one did is no part of what this one does. */
const SAVE = `
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('DEL', KEYS[4])
redis.call('XADD', KEYS[4], '*', 'c', '')
redis.call('INCR', KEYS[3])
return 1`
/** Its states stay until the judge retires them, as those of any rule that is gone. */
const REMOVE = `
if redis.call('HDEL', KEYS[2], ARGV[1]) == 0 then return 0 end
redis.call('DEL', KEYS[4])
redis.call('INCR', KEYS[3])
return 1`

export class Shadows {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis) {
    redis.defineCommand('telltaleSaveShadow', { lua: SAVE })
    redis.defineCommand('telltaleRemoveShadow', { lua: REMOVE })
    this.#redis = redis as Redis & Scripts
  }

  /** Begins anew; one that was there is replaced, with all it had noted. */
  async put(project: string, shadow: Shadow): Promise<void> {
    const { name } = shadow.rule
    const row: Row = { rule: ruleToJson(shadow.rule), by: shadow.by, time: shadow.time }
    if ((await this.#redis.telltaleSaveShadow(4, ...keys(project, name), name, JSON.stringify(row))) === 0)
      throw new Failure('not_found', `rule ${name} does not exist in project ${project}`, { field: 'rule' })
  }

  async get(project: string, rule: string): Promise<Shadow> {
    const row = await this.#redis.hget(projectKey(project, 'shadows'), rule)
    if (row === null) throw new Failure('not_found', `rule ${rule} has no shadow in project ${project}`, { field: 'rule' })
    return shadowOf(row, rule)
  }

  /** @returns whether there was one. */
  async remove(project: string, rule: string): Promise<boolean> {
    return (await this.#redis.telltaleRemoveShadow(4, ...keys(project, rule), rule)) === 1
  }

  /** Of these rules, as the judge judges them: under their own names, and with nobody to tell. */
  async of(project: string, rules: readonly Rule[]): Promise<Rule[]> {
    if (rules.length === 0) return []
    const rows = await this.#redis.hmget(projectKey(project, 'shadows'), ...rules.map(({ name }) => name))
    return rows.flatMap((row, i) => {
      const rule = row === null ? undefined : readRule(JSON.stringify((JSON.parse(row) as Row).rule), rules[i]?.name ?? '')
      // What this version does not take any more is judged no more than a rule that it does not take.
      return rule === undefined || 'problem' in rule ? [] : [asShadow(rule)]
    })
  }

  /** What the rule (`old`) and its shadow (`new`) did since the shadow began. */
  async log(project: string, rule: string): Promise<ShadowLog> {
    const rows = await this.#redis.xrange(logKey(project, rule), '-', '+')
    const texts = rows.map(([, fields]) => fields[1] ?? '')
    // The first entry is empty: without it the oldest are gone.
    return {
      changes: texts.filter(text => text !== '').map(text => JSON.parse(text) as SidedChange),
      truncated: texts.length > 0 && texts[0] !== '',
    }
  }
}

export function shadowName(rule: string): string {
  return `${rule}${SUFFIX}`
}

/** The rule whose shadow goes by this name; undefined for a rule. */
export function ruleOfShadow(name: string): string | undefined {
  return name.endsWith(SUFFIX) ? name.slice(0, -SUFFIX.length) : undefined
}

/** Of a rule that has a shadow, or of a shadow. A log that was removed meanwhile does not come back by this. */
export function shadowCommand(project: string, name: string, alarmOf: string, member: string, change: Change): CommitCommand {
  const rule = ruleOfShadow(name)
  const noted: SidedChange = { side: rule === undefined ? 'old' : 'new', device: alarmOf, member, ...change }
  return ['XADD', logKey(project, rule ?? name), 'NOMKSTREAM', 'MAXLEN', '~', MOST_CHANGES, '*', 'c', JSON.stringify(noted)]
}

/** As the judge has it when it is gone: nothing of it is left but its states, by which it is retired. */
export function goneShadow(name: string): Rule | undefined {
  return ruleOfShadow(name) === undefined ? undefined : goneRule(name)
}

/** Only a name: nothing ever meets its condition. */
export function goneRule(name: string): Rule {
  return { ...parseRule({ when: { absent: { eventType: 'x', for: '1s' } } }, 'gone'), name }
}

function asShadow(rule: Rule): Rule {
  return { ...rule, name: shadowName(rule.name), notify: [], inhibitedBy: [] }
}

function shadowOf(row: string, name: string): Shadow {
  const { rule, by, time } = JSON.parse(row) as Row
  return { rule: parseRule(rule, name), by, time }
}

function keys(project: string, rule: string): [string, string, string, string] {
  return [projectKey(project, 'rules'), projectKey(project, 'shadows'), projectKey(project, 'rulesVersion'), logKey(project, rule)]
}

function logKey(project: string, rule: string): string {
  return projectKey(project, `shadow:${rule}`)
}
