// For the tests of conditions: a rule stepped through readings, with the state written and read between every two.
import { parseRule } from '../rule.ts'
import { type Change, type RuleState, renewed, type StepInput, type StepOutcome, step } from '../step.ts'

const DEVICE = { id: 'freezer-1', type: 'temperature', labels: {}, productNumber: '' }
export const MINUTE_US = 60_000_000

/** Minutes, and what the field `value` of event type `a` is then; `tick` is the passing of time alone. */
export type Moment = readonly [minutes: number, value: unknown] | readonly [minutes: number, 'tick', listeningSince: number]

export type Run = {
  /** `+` holds (active), `-` does not, after each moment. */
  readonly marks: string
  readonly changes: readonly Change[]
  readonly reasons: readonly string[]
  readonly state: RuleState | undefined
  /** `active@5`: five minutes in. */
  readonly brief: string
}

export function run(when: object, moments: readonly Moment[], more: object = {}, from?: RuleState): Run {
  const rule = parseRule({ name: 'rule', when, ...more })
  let state = from && renewed(rule, from)
  let marks = ''
  const changes: Change[] = []
  const reasons: string[] = []
  for (const moment of moments) {
    const outcome: StepOutcome = step(rule, state, inputOf(moment))
    state = JSON.parse(JSON.stringify(outcome.state)) as RuleState
    marks += state.phase === 'active' ? '+' : '-'
    changes.push(...outcome.changes)
    reasons.push(outcome.reason)
  }
  const brief = changes.map(change => `${change.kind}@${change.atUs / MINUTE_US}`).join(' ')
  return { marks, changes, reasons, state, brief }
}

function inputOf(moment: Moment): StepInput {
  const [minutes, value] = moment
  const timeUs = Math.round(minutes * MINUTE_US)
  if (moment.length === 3) return { kind: 'time', timeUs, listeningSinceUs: moment[2] * MINUTE_US }
  const data = { a: typeof value === 'object' && value !== null && !Array.isArray(value) ? value : { value } }
  return { kind: 'event', device: DEVICE, eventType: 'a', data, timeUs, eventId: `e${minutes}` }
}

/** A reading each minute. */
export function minutely(values: readonly unknown[]): Moment[] {
  return values.map((value, index) => [index, value] as const)
}
