// What the engine is measured beside: the same rules judged by walking their JSON for every event, with state by string key, as one
// writes it in an afternoon. No late events, no schedule, no ladder, no units, no reasons in words, nothing that survives a restart.

export type RuleDocument = { readonly name: string; readonly when: Json; readonly for?: number; readonly keepActive?: number }
type Json = { readonly [key: string]: unknown }
type Condition = {
  readonly field: string
  readonly above?: number
  readonly below?: number
  readonly clearBelow?: number
  readonly per: number
  readonly over: number
}
type Event = { readonly device: string; readonly eventType: string; readonly data: Json; readonly timeUs: number }
type State = { phase: 'clear' | 'pending' | 'active'; sinceUs: number; clearSinceUs: number; points: [number, number][]; last?: Json }

const HISTORY = 200

export class Interpreter {
  readonly #rules: readonly RuleDocument[]
  readonly #states = new Map<string, State>()
  alarms = 0

  constructor(rules: readonly RuleDocument[]) {
    this.#rules = rules
  }

  take(event: Event): void {
    for (const rule of this.#rules) {
      const key = `${rule.name}/${event.device}`
      let state = this.#states.get(key)
      if (state === undefined) {
        state = { phase: 'clear', sinceUs: 0, clearSinceUs: 0, points: [] }
        this.#states.set(key, state)
      }
      const holds = judge(rule.when, event, state)
      if (holds !== undefined) this.#turn(rule, state, holds, event.timeUs)
    }
  }

  #turn(rule: RuleDocument, state: State, holds: boolean, timeUs: number): void {
    if (!holds) {
      if (state.phase === 'active' && state.clearSinceUs === 0) state.clearSinceUs = timeUs
      if (state.phase === 'pending' || timeUs - state.clearSinceUs >= (rule.keepActive ?? 0)) state.phase = 'clear'
      return
    }
    state.clearSinceUs = 0
    if (state.phase === 'clear') {
      state.phase = 'pending'
      state.sinceUs = timeUs
    }
    if (state.phase === 'pending' && timeUs - state.sinceUs >= (rule.for ?? 0)) {
      state.phase = 'active'
      this.alarms++
    }
  }
}

function judge(when: Json, event: Event, state: State): boolean | undefined {
  const kind = Object.keys(when)[0] as string
  const condition = when[kind] as Condition
  switch (kind) {
    case 'threshold':
      return beyond(condition, read(condition.field, event), state.phase === 'active')
    case 'rate': {
      const value = read(condition.field, event)
      if (value === undefined) return undefined
      const before = state.points[0]
      state.points[0] = [event.timeUs, value]
      if (before === undefined) return undefined
      return beyond(condition, ((value - before[1]) * condition.per) / (event.timeUs - before[0]), state.phase === 'active')
    }
    case 'window': {
      const values = remember(condition, event, state)
      return beyond(condition, values.reduce((sum, [, value]) => sum + value, 0) / values.length, state.phase === 'active')
    }
    case 'deviation': {
      const value = read(condition.field, event)
      if (value === undefined) return undefined
      const middle = medianOf(state.points.map(([, one]) => one))
      const spread = 1.4826 * medianOf(state.points.map(([, one]) => Math.abs(one - middle)))
      state.points.push([event.timeUs, value])
      if (state.points.length > HISTORY) state.points.shift()
      return state.points.length > 50 && Math.abs(value - middle) > (condition.above ?? 0) * spread
    }
    case 'expression': {
      const result = evaluate(when['expression'] as Json, event)
      return typeof result === 'boolean' ? result : undefined
    }
    case 'all':
      return (when[kind] as Json[]).every(part => judge(part, event, state) === true)
    default:
      return (when[kind] as Json[]).some(part => judge(part, event, state) === true)
  }
}

function beyond({ above, below, clearBelow }: Condition, value: number | undefined, held: boolean): boolean | undefined {
  if (value === undefined) return undefined
  return (above !== undefined && value > (held ? (clearBelow ?? above) : above)) || (below !== undefined && value < below)
}

function read(field: string, event: Event): number | undefined {
  const [type, ...path] = field.split('.')
  if (type !== event.eventType) return undefined
  let found = event.data[event.eventType]
  for (const key of path) found = (found as Json | undefined)?.[key]
  return typeof found === 'number' ? found : undefined
}

function remember(condition: Condition, event: Event, state: State): [number, number][] {
  const value = read(condition.field, event)
  if (value !== undefined) state.points.push([event.timeUs, value])
  state.points = state.points.filter(([timeUs]) => timeUs > event.timeUs - condition.over)
  return state.points
}

function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
}

/** `{ and: [{ gt: [{ field: 'temperature.value' }, 30] }, …] }`: what a parser of expressions would leave. */
function evaluate(node: unknown, event: Event): unknown {
  if (typeof node !== 'object' || node === null) return node
  const [operator, operands] = Object.entries(node)[0] as [string, unknown]
  if (operator === 'field') return read(operands as string, event)
  if (operator === 'eventType') return event.eventType
  const [a, b] = (operands as unknown[]).map(part => evaluate(part, event))
  if (operator === 'and') return a === true && b === true
  return operator === 'gt' ? Number(a) > Number(b) : a === b
}
