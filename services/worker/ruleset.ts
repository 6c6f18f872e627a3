// The rules of one project as the judge needs them: those for a device are found by what is rarest in each selector, not one by one.
import type { Device } from '../../packages/core/device.ts'
import { type Reads, readsOf } from '../../packages/core/kept.ts'
import { eventTypesOf, type Rule, selects } from '../../packages/core/rule.ts'

/** A version of a rule judges what came after this entry of the log; what came before was judged by the version of then. */
export type Judged = { readonly rule: Rule; readonly after: string }

export class RuleSet {
  readonly version: string
  readonly byName: ReadonlyMap<string, Judged>
  readonly rules: ReadonlyMap<string, Rule>
  /** By event type what any rule reads of it. */
  readonly #reads = new Map<string, Reads>()
  readonly #bySign = new Map<string, Judged[]>()

  constructor(version: string, rules: readonly Judged[]) {
    this.version = version
    this.byName = new Map(rules.map(judged => [judged.rule.name, judged]))
    this.rules = new Map(rules.map(({ rule }) => [rule.name, rule]))
    const byType = new Map<string, Rule[]>()
    for (const { rule } of rules)
      for (const eventType of eventTypesOf(rule)) {
        const list = byType.get(eventType)
        if (list) list.push(rule)
        else byType.set(eventType, [rule])
      }
    for (const [eventType, readers] of byType) this.#reads.set(eventType, readsOf(readers, eventType))
    for (const judged of rules)
      for (const sign of signsOf(judged.rule)) {
        const list = this.#bySign.get(sign)
        if (list) list.push(judged)
        else this.#bySign.set(sign, [judged])
      }
  }

  /** Of events of a type; undefined: no rule looks at them. */
  reads(eventType: string): Reads | undefined {
    return this.#reads.get(eventType)
  }

  /** Those that select a device, by name. */
  choose(device: Device): Judged[] {
    const labels = Object.entries(device.labels).flatMap(([key, value]) => [`label ${key}=${value}`, `key ${key}`])
    const signs = ['all', `device ${device.id}`, `type ${device.type}`, ...labels]
    return signs
      .flatMap(sign => this.#bySign.get(sign) ?? [])
      .filter(({ rule }) => selects(rule, device))
      .sort((a, b) => (a.rule.name < b.rule.name ? -1 : 1))
  }
}

/** Under which a rule is found: one of each device it selects has one of these, and of most others none. */
function signsOf({ select: { devices, labels, deviceTypes } }: Rule): string[] {
  if (devices.length > 0) return devices.map(id => `device ${id}`)
  const exact = labels.find(({ value }) => value !== undefined)
  if (exact) return [`label ${exact.key}=${exact.value}`]
  if (deviceTypes.length > 0) return deviceTypes.map(type => `type ${type}`)
  const [any] = labels
  return [any ? `key ${any.key}` : 'all']
}
