// What a condition is to the engine: every other file of this folder exports one object of this shape.
import type { StepInput } from '../step.ts'

/** What a condition keeps between steps, as plain JSON; `kind` tells whose it is after the rule was edited. */
export type Memory = { readonly kind: string }

/** What made the condition begin or stop to hold. */
export type Cause = {
  readonly value: number | string | undefined
  readonly limit: number | undefined
  /** Undefined when the passing of time did it. */
  readonly eventId: string | undefined
}

export type Verdict = {
  /** Undefined: this cannot be told (the field is missing, nothing is known yet), and the last verdict stands. */
  readonly holds: boolean | undefined
  /** What was seen; beside `holds: undefined` possibly a description of what was found in place of a number. */
  readonly value: number | string | undefined
  readonly limit: number | undefined
  /** The same object as before when there is nothing new to keep. */
  readonly memory: Memory | undefined
}

/** A JSON Schema (2020-12) of one part of a rule, for editors. */
export type Schema = { readonly [keyword: string]: unknown }

/**
 * One kind of condition. It only says whether it holds; `for`, `keepActive`, the schedule, the ladder of severities and the alarm
 * are the engine's (step.ts). Methods, not function properties, so that a `ConditionKind<Threshold>` can stand in a table of kinds.
 */
export interface ConditionKind<C, M extends Memory = Memory> {
  /** The key below `when`. */
  readonly name: string
  /** Of what stands below that key: every key with its type, meaning (`description`) and an example. */
  readonly schema: Schema
  /** `depth`: how many composites it would stand in, and one; only they ask. */
  parse(input: unknown, path: string, depth?: number): C
  /** What `parse` gives the same condition for. */
  toJson(condition: C): unknown
  /** The event types it must be given, for indexing; always the same array for one condition. */
  eventTypes(condition: C): readonly string[]
  /** Of the values it compares, for people. */
  unit(condition: C): string | undefined
  /**
   * In which direction its values get worse, for a ladder of severities; undefined when they have none (both sides of a band, no
   * number), and then a ladder is refused.
   */
  worse(condition: C): 'higher' | 'lower' | undefined
  /** How far behind a level a value must be before it is clear again; a ladder's rungs are left by the same. */
  deadBand?(condition: C): number
  /** Values to draw as lines across a chart of `chart`'s field, if there are any; in the unit of the condition. */
  levels(condition: C): readonly number[]
  /**
   * `held` is what made it hold when it holds now. Times never go backwards from one call to the next, and a `time` input
   * comes exactly at `dueUs`. This is the hot path: allocate a verdict and nothing else when nothing changes.
   */
  judge(condition: C, memory: M | undefined, held: Cause | undefined, input: StepInput): Verdict
  /** When the passing of time alone may next change the verdict, else Infinity. After `judge` at that time it must be later. */
  dueUs(condition: C, memory: M | undefined, holds: boolean): number
  /** The verdict in plain words. */
  describe(condition: C, verdict: Verdict): string
  /** That it has held (or not held) without a break for a duration, in plain words. */
  lasting(condition: C, holds: boolean, cause: Cause, duration: string): string
  /**
   * The nearest thing that would have turned this verdict over, in plain words (`temperature.value above -15, which is 3.2 more`); empty
   * when there is none to name. For `explain`.
   */
  nearest(condition: C, verdict: Verdict, held: Cause | undefined): string
}
