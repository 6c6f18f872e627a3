// The conditions there are. A new one is a file beside this one, a member of the union and a line in the table.
import { invalid } from '../failure.ts'
import { type Absent, absent } from './absent.ts'
import { type Composite, type Conditions, composite } from './composite.ts'
import { type Deviation, deviation } from './deviation.ts'
import { type Expression, expression } from './expression.ts'
import { type Flapping, flapping } from './flapping.ts'
import { joinPath, readObject } from './input.ts'
import type { ConditionKind, Schema } from './kind.ts'
import { type Rate, rate } from './rate.ts'
import { type State, state } from './state.ts'
import { type Stuck, stuck } from './stuck.ts'
import { type Threshold, threshold } from './threshold.ts'
import { window } from './window.ts'
import type { Window } from './windowrule.ts'

export type Condition = Threshold | State | Rate | Window | Absent | Deviation | Flapping | Stuck | Expression | Composite

const conditions: Conditions = { kindOf, parse: parseCondition, toJson: conditionToJson }
const KINDS: { readonly [name in Condition['kind']]: ConditionKind<Condition> } = {
  threshold,
  state,
  rate,
  window,
  absent,
  deviation,
  flapping,
  stuck,
  expression,
  all: composite('all', conditions),
  any: composite('any', conditions),
  not: composite('not', conditions),
}
const NAMES = Object.keys(KINDS) as Condition['kind'][]

/** Of one condition, with every kind there is. */
export function conditionSchema(): Schema {
  const properties = Object.fromEntries(NAMES.map(name => [name, KINDS[name].schema]))
  return {
    type: 'object',
    description: 'exactly one condition',
    additionalProperties: false,
    minProperties: 1,
    maxProperties: 1,
    properties,
  }
}

export function kindOf(condition: Condition): ConditionKind<Condition> {
  return KINDS[condition.kind]
}

export function parseCondition(input: unknown, path: string, depth = 1): Condition {
  const fields = readObject(input, path, NAMES)
  const [name, ...others] = NAMES.filter(one => fields[one] !== undefined)
  if (name === undefined || others.length > 0) throw invalid(path, `expected exactly one condition of ${NAMES.join(', ')}`)
  return KINDS[name].parse(fields[name], joinPath(path, name), depth)
}

export function conditionToJson(condition: Condition): { readonly [kind: string]: unknown } {
  return { [condition.kind]: kindOf(condition).toJson(condition) }
}
