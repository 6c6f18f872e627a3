// The conditions there are. A new one is a file beside this one, a member of the union and a line in the table.
import { invalid } from '../failure.ts'
import { type Absent, absent } from './absent.ts'
import { type Deviation, deviation } from './deviation.ts'
import { type Flapping, flapping } from './flapping.ts'
import { joinPath, readObject } from './input.ts'
import type { ConditionKind } from './kind.ts'
import { type Rate, rate } from './rate.ts'
import { type State, state } from './state.ts'
import { type Stuck, stuck } from './stuck.ts'
import { type Threshold, threshold } from './threshold.ts'
import { window } from './window.ts'
import type { Window } from './windowrule.ts'

export type Condition = Threshold | Absent | State | Rate | Stuck | Flapping | Window | Deviation

const KINDS: { readonly [name in Condition['kind']]: ConditionKind<Condition> } = {
  threshold,
  absent,
  state,
  rate,
  stuck,
  flapping,
  window,
  deviation,
}
const NAMES = Object.keys(KINDS) as Condition['kind'][]

export function kindOf(condition: Condition): ConditionKind<Condition> {
  return KINDS[condition.kind]
}

export function parseCondition(input: unknown, path: string): Condition {
  const fields = readObject(input, path, NAMES)
  const [name, ...others] = NAMES.filter(one => fields[one] !== undefined)
  if (name === undefined || others.length > 0) throw invalid(path, `expected exactly one condition of ${NAMES.join(', ')}`)
  return KINDS[name].parse(fields[name], joinPath(path, name))
}

export function conditionToJson(condition: Condition): { readonly [kind: string]: unknown } {
  return { [condition.kind]: kindOf(condition).toJson(condition) }
}
