// The rules of one project as the judge needs them: those for an event, found by type, device and labels, and remembered per device.
import type { Device } from '../../packages/core/device.ts'
import { eventTypesOf, type Rule, selects } from '../../packages/core/rule.ts'

const NONE: readonly Rule[] = []

export class RuleSet {
  readonly version: string
  readonly byName: ReadonlyMap<string, Rule>
  readonly #byType = new Map<string, Rule[]>()
  /** Device → event type → rules: the memo of the selection. */
  readonly #chosen = new Map<string, Map<string, readonly Rule[]>>()

  constructor(version: string, rules: readonly Rule[]) {
    this.version = version
    const enabled = rules.filter(rule => rule.enabled)
    this.byName = new Map(enabled.map(rule => [rule.name, rule]))
    for (const rule of enabled)
      for (const eventType of eventTypesOf(rule)) {
        const list = this.#byType.get(eventType)
        if (list) list.push(rule)
        else this.#byType.set(eventType, [rule])
      }
  }

  /** Whether any rule reads events of this type. */
  reads(eventType: string): boolean {
    return this.#byType.has(eventType)
  }

  rulesFor(device: Device, eventType: string): readonly Rule[] {
    const known = this.#chosen.get(device.id)?.get(eventType)
    if (known) return known
    const rules = this.choose(device, eventType)
    const types = this.#chosen.get(device.id) ?? new Map<string, readonly Rule[]>()
    types.set(eventType, rules)
    this.#chosen.set(device.id, types)
    return rules
  }

  /** As above, and not remembered. */
  choose(device: Device, eventType: string): readonly Rule[] {
    return this.#byType.get(eventType)?.filter(rule => selects(rule, device)) ?? NONE
  }

  /** How many devices are remembered. */
  get remembered(): number {
    return this.#chosen.size
  }

  /** Its type or labels changed. */
  forget(device: string): void {
    this.#chosen.delete(device)
  }
}
