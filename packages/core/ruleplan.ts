// What putting a set of rules in place of those that there are would do, and whether the names in them are names of something.
import { nearest } from './condition/input.ts'
import { type Difference, differencesOf } from './difference.ts'
import { invalid } from './failure.ts'
import { parseRule, type Rule, ruleToJson } from './rule.ts'

export type PlannedChange = {
  readonly rule: string
  readonly action: 'create' | 'update' | 'delete' | 'same'
  /** Of a rule that comes or goes: what it says beyond the defaults. */
  readonly differences: readonly Difference[]
}

/** In the order of their names. `remove`: rules that are not wanted go; without it they stay and are not in the plan. */
export function planRules(current: readonly Rule[], wanted: readonly Rule[], remove: boolean): PlannedChange[] {
  const before = new Map(current.map(rule => [rule.name, rule]))
  const names = new Set(wanted.map(({ name }) => name))
  const kept = wanted.map(rule => planned(before.get(rule.name), rule))
  const gone = remove ? current.filter(({ name }) => !names.has(name)).map(removed) : []
  return [...kept, ...gone].sort((a, b) => (a.rule < b.rule ? -1 : 1))
}

function planned(before: Rule | undefined, after: Rule): PlannedChange {
  const { name } = after
  if (before === undefined) return { rule: name, action: 'create', differences: differencesOf(plain(after), said(after)) }
  const differences = differencesOf(said(before), said(after))
  return { rule: name, action: differences.length === 0 ? 'same' : 'update', differences }
}

function removed(rule: Rule): PlannedChange {
  return { rule: rule.name, action: 'delete', differences: differencesOf(said(rule), plain(rule)) }
}

/** Whether saving the one over the other would change nothing. */
export function isSameRule(before: Rule, after: Rule): boolean {
  return JSON.stringify(said(before)) === JSON.stringify(said(after))
}

/** Without the version, which is the server's. */
function said(rule: Rule): { readonly [key: string]: unknown } {
  const { version: _, ...document } = ruleToJson(rule)
  return document
}

/** Of a rule that says nothing that it need not. */
function plain({ name }: Rule): { readonly [key: string]: unknown } {
  const { when: _, ...defaults } = said(parseRule({ name, when: { threshold: { field: 'temperature.value', above: 0 } } }))
  return defaults
}

/** `labelKeys`: of all devices; undefined when that is not known. */
export type KnownNames = { readonly channels: readonly string[]; readonly labelKeys: readonly string[] | undefined }

/**
 * A rule that notifies a channel nobody made would be silent for ever; one that is inhibited by a rule that is not there is a mistyped name.
 * Rules that inhibit each other in a circle would silence each other just when all of them have something to say.
 * @param path of the rule in a larger document; empty when it is the document
 */
export function checkNames(rule: Rule, path: string, all: ReadonlyMap<string, Rule>, { channels, labelKeys }: KnownNames): void {
  const at = (place: string) => (path === '' ? place : `${path}.${place}`)
  for (const [i, name] of rule.notify.entries()) checkName(name, at(`notify[${i}]`), 'channel', channels)
  for (const [i, inhibitor] of rule.inhibitedBy.entries()) {
    const place = at(`inhibitedBy[${i}]`)
    checkName(inhibitor.rule, place, 'rule', [...all.keys()])
    const circle = circleFrom(inhibitor.rule, rule.name, all)
    if (circle !== undefined)
      throw invalid(place, `${[rule.name, ...circle].join(' is inhibited by ')}: together they would silence each other`)
  }
  for (const [i, key] of rule.groupBy.entries()) checkLabel(key, at(`groupBy[${i}]`), labelKeys)
}

/** A rule may come before the devices that it is for, but hardly so when they have a label that is almost the same. */
function checkLabel(key: string, path: string, labelKeys: readonly string[] | undefined): void {
  if (labelKeys === undefined || labelKeys.includes(key)) return
  const near = nearest(key, labelKeys)
  if (near !== undefined)
    throw invalid(path, `no device has a label ${key}; did you mean "${near}"? If not, give a device that label first`)
}

function checkName(name: string, path: string, what: string, known: readonly string[]): void {
  if (known.includes(name)) return
  const near = nearest(name, known)
  const hint = near === undefined ? '' : `did you mean "${near}"? `
  throw invalid(path, `${what} ${name} does not exist; ${hint}There are: ${known.slice(0, 20).join(', ') || 'none'}`)
}

/** The way from one rule over its inhibitors to the other. */
function circleFrom(from: string, to: string, all: ReadonlyMap<string, Rule>): string[] | undefined {
  const seen = new Set<string>()
  const ways: string[][] = [[from]]
  for (let way = ways.pop(); way !== undefined; way = ways.pop()) {
    const last = way.at(-1) ?? ''
    if (last === to) return way
    if (seen.has(last)) continue
    seen.add(last)
    for (const { rule } of all.get(last)?.inhibitedBy ?? []) ways.push([...way, rule])
  }
  return undefined
}
