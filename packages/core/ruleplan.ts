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
  return pairsOf(current, wanted, remove).map(planRule)
}

/** What there is and what is wanted under one name, in the order of the names; one of the two may be missing. */
export type RulePair = { readonly before: Rule | undefined; readonly after: Rule } | { readonly before: Rule; readonly after: undefined }

/** The parts of `planRules`, for who must not take as long as all of it at once: `planRule` of each. */
export function pairsOf(current: readonly Rule[], wanted: readonly Rule[], remove: boolean): RulePair[] {
  const before = new Map(current.map(rule => [rule.name, rule]))
  const names = new Set(wanted.map(({ name }) => name))
  const kept = wanted.map((after): RulePair => ({ before: before.get(after.name), after }))
  const gone = remove ? current.filter(({ name }) => !names.has(name)).map((one): RulePair => ({ before: one, after: undefined })) : []
  const nameOf = ({ before, after }: RulePair) => (after ?? before)?.name ?? ''
  return [...kept, ...gone].sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
}

export function planRule({ before, after }: RulePair): PlannedChange {
  return after === undefined ? removed(before) : planned(before, after)
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
export type KnownNames = {
  readonly channels: readonly string[]
  readonly labelKeys: readonly string[] | undefined
  /** For hints; those that are looked at need not be among them. */
  readonly rules?: readonly string[]
  /** Rules that are gone. */
  readonly removed?: ReadonlySet<string>
}

const MAX_CHARS = 32 * 1024

/** Documents are kept in many versions. */
export function checkSize({ rule, path }: Named): void {
  const { length } = JSON.stringify(ruleToJson(rule))
  if (length > MAX_CHARS)
    throw invalid(path || 'rule', `has ${length} characters with all its settings; expected at most ${MAX_CHARS}: select devices by labels`)
}

/** A rule whose names are looked at. `path`: of it in a larger document; empty when it is the document. */
export type Named = { readonly rule: Rule; readonly path: string }

/** The names of the rules that inhibit each of these, by its name. */
export type Inhibition = ReadonlyMap<string, readonly string[]>

/**
 * A rule that notifies a channel nobody made would be silent for ever; one that is inhibited by a rule that is not there is a mistyped name.
 * Rules that inhibit each other in a circle would silence each other just when all of them have something to say.
 * @param others rules that stay as they are: at least all that these hang on, however far; those that these replace do not count
 * @param known names of rules, for hints
 */
export function checkNames(rules: readonly Named[], others: Inhibition, known: KnownNames): void {
  const inhibition = new Map([...others, ...rules.map(({ rule }) => [rule.name, inhibitorsOf(rule)] as const)])
  const channels = new Set(known.channels)
  const labelKeys = new Set(known.labelKeys)
  for (const { rule, path } of rules) {
    const at = (place: string) => (path === '' ? place : `${path}.${place}`)
    for (const [i, name] of rule.notify.entries())
      if (!channels.has(name)) throw unknownName(name, at(`notify[${i}]`), 'channel', known.channels)
    for (const [i, { rule: name }] of rule.inhibitedBy.entries())
      if (!inhibition.has(name)) throw unknownRule(name, at(`inhibitedBy[${i}]`), inhibition, known)
    for (const [i, key] of rule.groupBy.entries()) if (!labelKeys.has(key)) checkLabel(key, at(`groupBy[${i}]`), known.labelKeys)
  }
  checkCircles(rules, inhibition)
}

function unknownRule(name: string, path: string, inhibition: Inhibition, { rules = [], removed }: KnownNames): Error {
  if (removed?.has(name)) return invalid(path, `rule ${name} was removed: leave it out here, or make it again first`)
  return unknownName(name, path, 'rule', [...new Set([...rules, ...inhibition.keys()])].sort())
}

export function inhibitorsOf({ inhibitedBy }: Pick<Rule, 'inhibitedBy'>): readonly string[] {
  return inhibitedBy.map(({ rule }) => rule)
}

/** A rule may come before the devices that it is for, but hardly so when they have a label that is almost the same. */
function checkLabel(key: string, path: string, labelKeys: readonly string[] | undefined): void {
  const near = labelKeys && nearest(key, labelKeys)
  if (near !== undefined)
    throw invalid(path, `no device has a label ${key}; did you mean "${near}"? If not, give a device that label first`)
}

const MOST_COMPARED = 2000

function unknownName(name: string, path: string, what: string, known: readonly string[]): Error {
  const near = nearest(name, known.slice(0, MOST_COMPARED))
  const hint = near === undefined ? '' : `did you mean "${near}"? `
  return invalid(path, `${what} ${name} does not exist; ${hint}There are: ${known.slice(0, 20).join(', ') || 'none'}`)
}

/** The way from a rule that was asked about to where the search is; `next`: which of its inhibitors is looked at next. */
type Step = { readonly name: string; next: number }

/** One search, depth first, through all of them together: whatever it has left behind is on no circle. */
function checkCircles(rules: readonly Named[], inhibition: Inhibition): void {
  const done = new Set<string>()
  for (const { rule } of rules) {
    if (done.has(rule.name)) continue
    const way: Step[] = [{ name: rule.name, next: 0 }]
    const onWay = new Set([rule.name])
    for (let last = way.at(-1); last !== undefined; last = way.at(-1)) {
      const name = inhibition.get(last.name)?.[last.next++]
      if (name === undefined) {
        way.pop()
        onWay.delete(last.name)
        done.add(last.name)
      } else if (onWay.has(name)) throw circular(rules, way, name)
      else if (!done.has(name)) {
        way.push({ name, next: 0 })
        onWay.add(name)
      }
    }
  }
}

const MOST_SHOWN = 20

/** Said of the first rule on the way that was asked about and is on the circle; else of the one that leads to it. */
function circular(rules: readonly Named[], way: readonly Step[], back: string): Error {
  const asked = new Map(rules.map(one => [one.rule.name, one]))
  const begin = way.findIndex(({ name }) => name === back)
  const circle = way.slice(begin)
  const turned = Math.max(
    0,
    circle.findIndex(({ name }) => asked.has(name)),
  )
  const steps = [...circle.slice(turned), ...circle.slice(0, turned)]
  const at = steps.find(({ name }) => asked.has(name)) ?? (way[0] as Step)
  const { path } = asked.get(at.name) as Named
  const place = `${path === '' ? '' : `${path}.`}inhibitedBy[${at.next - 1}]`
  const names = [...steps, steps[0] as Step].map(({ name }) => name)
  const shown = names.length <= MOST_SHOWN ? names : [...names.slice(0, MOST_SHOWN), `${names.length - MOST_SHOWN} more`]
  return invalid(place, `${shown.join(' is inhibited by ')}: together they would silence each other`)
}
