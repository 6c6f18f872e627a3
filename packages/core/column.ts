// Which numbers of events a rule reads, so that stored history can be judged from columns of them and not from whole events.
import type { Condition } from './condition/condition.ts'
import type { Field } from './condition/field.ts'
import type { Rule } from './rule.ts'

/** `field`: a dotted path below the event type. */
export type NumberField = { readonly eventType: string; readonly field: string }

export type Numbers = {
  /** None of an event type: that it comes is all that counts. */
  readonly fields: readonly NumberField[]
  /** An event that has one of these texts in it must be read whole: beside a number it may say its unit, or `a.b` be one name. */
  readonly unless: readonly string[]
  /** An event without one of these numbers must be read whole: what stands there may be a text, and that counts. */
  readonly whole: readonly NumberField[]
}

type Found = { readonly fields: Map<string, NumberField>; readonly unless: Set<string>; readonly whole: Map<string, NumberField> }

const UNIT = '"unit":"'
/** Letters that are the same in JSON, however it was written. */
const PLAIN = /^[\w -]+$/

/** Undefined: a rule needs whole events. */
export function numbersOf(rules: readonly Rule[]): Numbers | undefined {
  const found: Found = { fields: new Map(), unless: new Set(), whole: new Map() }
  if (!rules.every(({ when }) => collect(when, found, false))) return undefined
  return { fields: [...found.fields.values()], unless: [...found.unless], whole: [...found.whole.values()] }
}

/** The first number that a condition compares, for a chart. */
export function chartedField(condition: Condition): Field | undefined {
  switch (condition.kind) {
    case 'all':
    case 'any':
    case 'not':
      return condition.parts.map(chartedField).find(field => field !== undefined)
    case 'window':
      return condition.source.kind === 'field' ? condition.source.field : undefined
    case 'threshold':
    case 'rate':
    case 'deviation':
      return condition.field
    case 'flapping':
      return condition.level === undefined ? undefined : condition.field
    default:
      return undefined
  }
}

/** @param whole what is said in words names what stands in the place of a number. */
function collect(condition: Condition, found: Found, whole: boolean): boolean {
  switch (condition.kind) {
    case 'all':
    case 'any':
    case 'not':
      return condition.parts.every(part => collect(part, found, whole || condition.parts.length > 1))
    case 'absent':
      return true
    case 'window':
      if (condition.source.kind === 'entering') return false
      return condition.source.kind === 'events' || add(condition.source.field, found, whole)
    case 'threshold':
    case 'rate':
    case 'deviation':
      return add(condition.field, found, whole)
    case 'stuck':
      return add(condition.field, found, true)
    case 'flapping':
      return add(condition.field, found, whole || condition.level === undefined)
    default:
      return false
  }
}

function add({ sources, measure }: Field, found: Found, whole: boolean): boolean {
  for (const { eventType, path } of sources) {
    if (path.length > 1 && !path.every(key => PLAIN.test(key) && key !== '__proto__')) return false
    const field = path.join('.')
    const key = `${eventType} ${field}`
    found.fields.set(key, { eventType, field })
    if (whole) found.whole.set(key, { eventType, field })
    for (let i = 1; i < path.length; i++) found.unless.add(`${path[i - 1]}.${path[i]}`)
  }
  if (measure !== undefined) found.unless.add(UNIT)
  return true
}
