// Active alarms found by their labels: of thousands only a few can inhibit an alarm, or be inhibited by one, and only those are looked at.
import type { Active } from '../../packages/core/attention.ts'
import type { Inhibitor, Rule } from '../../packages/core/rule.ts'

/** Undefined: of the same device. */
type Keys = readonly string[] | undefined

/** Alarms of one rule. */
export class Actives {
  readonly #alarms: readonly Active[]
  readonly #byKeys = new Map<string, Map<string, Active[]>>()
  /** Of its groups; one, unless its `groupBy` was edited. */
  readonly #groupKeys: readonly (readonly string[])[]

  constructor(alarms: readonly Active[]) {
    this.#alarms = alarms
    const shapes = alarms.flatMap(({ group }) => (group === null ? [] : [Object.keys(group)]))
    this.#groupKeys = [...new Map(shapes.map(keys => [JSON.stringify(keys), keys])).values()]
  }

  /** Among these are all that such an inhibitor finds to inhibit the alarm. */
  inhibiting({ equal }: Inhibitor, alarm: Active): Active[] {
    const wanted: Keys[] = equal.length > 0 ? [equal] : [undefined, ...this.#groupKeys]
    return wanted.flatMap(keys => this.#like(keys, alarm))
  }

  /** Among these are all that the alarm inhibits, as such an inhibitor. */
  inhibited({ equal }: Inhibitor, alarm: Active): Active[] {
    if (equal.length > 0) return this.#like(equal, alarm)
    return this.#like(alarm.group === null ? undefined : Object.keys(alarm.group), alarm)
  }

  #like(keys: Keys, alarm: Active): Active[] {
    const name = JSON.stringify(keys ?? null)
    const index = this.#byKeys.get(name) ?? new Map<string, Active[]>()
    if (!this.#byKeys.has(name)) {
      this.#byKeys.set(name, index)
      for (const one of this.#alarms) {
        const sign = signOf(keys, one)
        const others = index.get(sign)
        if (others) others.push(one)
        else index.set(sign, [one])
      }
    }
    return index.get(signOf(keys, alarm)) ?? []
  }
}

/** The active alarms of the rules that inhibit others, by rule. */
export class Inhibitors {
  readonly #byRule: ReadonlyMap<string, Actives>

  constructor(alarms: Iterable<Active>) {
    const byRule = new Map<string, Active[]>()
    for (const alarm of alarms) {
      const others = byRule.get(alarm.rule)
      if (others) others.push(alarm)
      else byRule.set(alarm.rule, [alarm])
    }
    this.#byRule = new Map([...byRule].map(([rule, some]) => [rule, new Actives(some)]))
  }

  near(rule: Pick<Rule, 'inhibitedBy'> | undefined, alarm: Active): Active[] {
    return rule?.inhibitedBy.flatMap(by => this.#byRule.get(by.rule)?.inhibiting(by, alarm) ?? []) ?? []
  }
}

export type Inhibits = { readonly name: string; readonly by: Inhibitor }

/** Which rules each rule inhibits. */
export function inhibitedOf(rules: ReadonlyMap<string, Rule>): ReadonlyMap<string, readonly Inhibits[]> {
  const byRule = new Map<string, Inhibits[]>()
  for (const { name, inhibitedBy } of rules.values())
    for (const by of inhibitedBy) {
      const known = byRule.get(by.rule)
      if (known) known.push({ name, by })
      else byRule.set(by.rule, [{ name, by }])
    }
  return byRule
}

/** A label that is not there is the empty one. */
function signOf(keys: Keys, { device, labels }: Active): string {
  return keys === undefined ? device : JSON.stringify(keys.map(key => (Object.hasOwn(labels, key) ? labels[key] : '')))
}
