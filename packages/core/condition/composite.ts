// all, any, not: conditions made of conditions, also of several event types of one device. Kleene's logic: what cannot be told stays so.
import { invalid } from '../failure.ts'
import type { StepInput } from '../step.ts'
import { MAX_PARTS, MAX_PATTERN_STEPS } from './cel.ts'
import type { Condition } from './condition.ts'
import type { Expression } from './expression.ts'
import type { Cause, ConditionKind, Memory, Schema, Verdict } from './kind.ts'

type Name = 'all' | 'any' | 'not'

export type Composite = {
  readonly kind: Name
  /** Exactly one in `not`. */
  readonly parts: readonly Condition[]
  readonly eventTypes: readonly string[]
}

/** What a part has been found to be: its last verdict stands until it says another. */
type Part = {
  readonly kind: string
  /** Undefined: it has never been told. */
  readonly holds?: boolean | undefined
  /** Of the event or moment that turned it last. */
  readonly cause?: Cause | undefined
  readonly memory?: Memory | undefined
}

type CompositeMemory = Memory & { readonly kind: Name; readonly parts: readonly Part[] }

/** `judged`: the verdicts of the parts, as they stand now. */
type CompositeVerdict = Verdict & { readonly judged: readonly Verdict[] }

/** What the table of conditions gives to those that are made of conditions, so that it need not be imported. */
export type Conditions = {
  kindOf(condition: Condition): ConditionKind<Condition>
  parse(input: unknown, path: string, depth: number): Condition
  toJson(condition: Condition): { readonly [kind: string]: unknown }
}

export const MAX_DEPTH = 4
export const MAX_CONDITIONS = 20
const NO_CAUSE: Cause = Object.freeze({ value: undefined, limit: undefined, eventId: undefined })

const DESCRIPTIONS: { readonly [name in Name]: string } = {
  all: 'holds while all of these hold',
  any: 'holds while at least one of these holds',
  not: 'holds while this does not',
}

export function composite(name: Name, conditions: Conditions): ConditionKind<Composite, CompositeMemory> {
  const condition: Schema = { $ref: '#/$defs/condition' }
  const schema: Schema = name === 'not' ? condition : { type: 'array', minItems: 1, maxItems: MAX_CONDITIONS, items: condition }
  const { kindOf } = conditions
  const describe = (part: Condition, verdict: Verdict) => {
    const told = verdict.holds !== undefined || verdict.value !== undefined || verdict.memory !== undefined
    return told ? kindOf(part).describe(part, verdict) : `nothing is known of ${kindOf(part).eventTypes(part).join(', ')} yet`
  }
  return {
    name,
    schema: { ...schema, description: DESCRIPTIONS[name] },
    parse(input, path, depth = 1) {
      if (depth > MAX_DEPTH) throw invalid(path, `expected at most ${MAX_DEPTH} of all, any and not inside each other`)
      const parts = name === 'not' ? [conditions.parse(input, path, depth + 1)] : parseParts(conditions, input, path, depth)
      const eventTypes = [...new Set(parts.flatMap(part => kindOf(part).eventTypes(part)))]
      const made = { kind: name, parts, eventTypes }
      if (countOf(made) > MAX_CONDITIONS) throw invalid(path, `expected at most ${MAX_CONDITIONS} conditions in all`)
      if (depth === 1) shareBudget(expressionsIn(made), path)
      return made
    },
    toJson: ({ parts }) => (name === 'not' ? conditions.toJson(parts[0] as Condition) : parts.map(conditions.toJson)),
    eventTypes: ({ eventTypes }) => eventTypes,
    unit({ parts }) {
      const units = new Set(parts.map(part => kindOf(part).unit(part)).filter(unit => unit !== undefined))
      return units.size === 1 ? [...units][0] : undefined
    },
    // Which part decides, and so whose value it is, changes from verdict to verdict.
    worse: () => undefined,
    levels: ({ parts }) => parts.flatMap(part => [...kindOf(part).levels(part)]),
    judge({ parts }, memory, _held, input) {
      const before = parts.map((part, index) => partOf(memory, part, index))
      const judged = parts.map((part, index) => judgePart(kindOf(part), part, before[index] as Part, input))
      const after = judged.map((verdict, index) => noted(before[index] as Part, verdict, input))
      const holds = combined(name, after)
      const decided = decidedBy(name, holds, before, after)
      const { value, limit } = judged[decided] as Verdict
      const same = memory?.parts.length === parts.length && after.every((part, index) => part === memory.parts[index])
      const stands = judged.map((verdict, index) => ({ ...verdict, holds: after[index]?.holds }))
      return { holds, value, limit, memory: same ? memory : { kind: name, parts: after }, judged: stands } as CompositeVerdict
    },
    dueUs({ parts }, memory) {
      let dueUs = Number.POSITIVE_INFINITY
      for (const [index, part] of parts.entries()) dueUs = Math.min(dueUs, dueOf(kindOf(part), part, partOf(memory, part, index)))
      return dueUs
    },
    describe({ parts }, verdict) {
      const { holds } = verdict
      const judged = judgedIn(parts, verdict)
      // What makes it so: all of them, or the first that alone is enough.
      const alone = (name === 'all' && holds === false) || (name === 'any' && holds === true)
      const said = parts.flatMap((part, index) => {
        const own = judged[index] as Verdict
        return name === 'not' || own.holds === holds ? [describe(part, own)] : []
      })
      return said.slice(0, alone ? 1 : said.length).join(' and ')
    },
    lasting({ parts }, holds, cause, duration) {
      const [first] = parts as readonly [Condition, ...Condition[]]
      if (name === 'not' || parts.length === 1) return kindOf(first).lasting(first, holds !== (name === 'not'), cause, duration)
      const kinds = parts.map(part => part.kind).join(', ')
      const all = name === 'all' ? (holds ? 'all of' : 'not all of') : holds ? 'at least one of' : 'none of'
      return `${all} ${kinds} held for ${duration}`
    },
    nearest({ parts }, verdict, held) {
      const judged = judgedIn(parts, verdict)
      const wanted = (held === undefined) !== (name === 'not')
      const ways = parts.flatMap((part, index) => {
        const own = judged[index] as Verdict
        const way = own.holds === wanted ? '' : kindOf(part).nearest(part, own, own.holds === true ? NO_CAUSE : undefined)
        return way === '' ? [] : [way]
      })
      return ways.join((name === 'all') === wanted ? ' and ' : ' or ')
    },
  }

  function countOf({ parts }: Composite): number {
    return parts.reduce((sum, part) => sum + ('parts' in part ? countOf(part) : 1), 0)
  }
}

function expressionsIn(condition: Condition): Expression[] {
  if (condition.kind === 'expression') return [condition]
  return 'parts' in condition ? condition.parts.flatMap(expressionsIn) : []
}

/** One event costs a rule no more for having its expression in pieces. */
function shareBudget(expressions: readonly Expression[], path: string): void {
  if (expressions.length < 2) return
  const sum = (key: 'parts' | 'patternSteps') => expressions.reduce((all, { cel }) => all + cel.cost[key], 0)
  if (sum('parts') > MAX_PARTS)
    throw invalid(path, `its ${expressions.length} expressions have ${sum('parts')} parts together; expected at most ${MAX_PARTS}`)
  if (sum('patternSteps') > MAX_PATTERN_STEPS) throw invalid(path, 'its patterns together are too big; expected fewer repetitions')
  for (const { cel } of expressions) cel.shareWith(expressions.length)
}

function parseParts(conditions: Conditions, input: unknown, path: string, depth: number): Condition[] {
  if (!Array.isArray(input) || input.length === 0 || input.length > MAX_CONDITIONS)
    throw invalid(path, `expected a list of 1 to ${MAX_CONDITIONS} conditions`)
  return input.map((one: unknown, index) => conditions.parse(one, `${path}[${index}]`, depth + 1))
}

/** What was kept of the part that stood in this place, if it was of this kind: the rule may have been edited. */
function partOf(memory: CompositeMemory | undefined, { kind }: Condition, index: number): Part {
  const kept = memory?.parts[index]
  return kept?.kind === kind ? kept : { kind }
}

function dueOf(kind: ConditionKind<Condition>, part: Condition, { memory, holds }: Part): number {
  return kind.dueUs(part, memory, holds === true)
}

/** A part that the input is not for says what it said. */
function judgePart(kind: ConditionKind<Condition>, part: Condition, before: Part, input: StepInput): Verdict {
  const { holds, cause, memory } = before
  const isFor = input.kind === 'event' ? kind.eventTypes(part).includes(input.eventType) : dueOf(kind, part, before) <= input.timeUs
  if (!isFor) return { holds, value: cause?.value, limit: cause?.limit, memory }
  return kind.judge(part, memory, holds === true ? (cause ?? NO_CAUSE) : undefined, input)
}

/** Of a composite inside another one that the input was not for there is only what its parts have been found to be. */
function judgedIn(parts: readonly Condition[], verdict: Verdict): readonly Verdict[] {
  const { judged, memory } = verdict as Partial<CompositeVerdict>
  if (judged !== undefined) return judged
  return parts.map((part, index) => {
    const { holds, cause, memory: own } = partOf(memory as CompositeMemory | undefined, part, index)
    return { holds, value: cause?.value, limit: cause?.limit, memory: own }
  })
}

/** The same object when there is nothing new in it. */
function noted(before: Part, { holds, value, limit, memory }: Verdict, input: StepInput): Part {
  if (holds === undefined || holds === before.holds) return memory === before.memory ? before : { ...before, memory }
  const cause = { value, limit, eventId: input.kind === 'event' ? input.eventId : undefined }
  return { kind: before.kind, holds, cause, memory }
}

function combined(name: Name, parts: readonly Part[]): boolean | undefined {
  if (name === 'not') return parts[0]?.holds === undefined ? undefined : !parts[0].holds
  const decisive = name === 'any'
  if (parts.some(({ holds }) => holds === decisive)) return decisive
  return parts.every(({ holds }) => holds !== undefined) ? !decisive : undefined
}

/** The part that made it so: one that turned just now, or else the first that says the same. */
function decidedBy(name: Name, holds: boolean | undefined, before: readonly Part[], after: readonly Part[]): number {
  if (name === 'not') return 0
  const agrees = (part: Part) => part.holds === holds
  const turned = after.findIndex((part, index) => agrees(part) && part.holds !== before[index]?.holds)
  return turned >= 0 ? turned : Math.max(0, after.findIndex(agrees))
}
