// What an edit of the severity makes of an alarm that is active, by tables: which steps of a ladder are news.
import { describe, expect, it } from 'vitest'
import { parseRule } from './rule.ts'
import { type RuleState, step } from './step.ts'

const DEVICE = { id: 'freezer-1', type: 'temperature', labels: {}, productNumber: '' }
const LADDER = [
  { at: 0, severity: 'warning' },
  { at: 10, severity: 'critical' },
]
const CRITICAL = [{ at: 0, severity: 'critical' }]
const INFO = [
  { at: 0, severity: 'info' },
  { at: 10, severity: 'critical' },
]

/** `{severity before} {value}…`, then what the rule after the edit makes of further values. */
function edited(before: unknown, values: readonly number[], after: unknown, more: readonly number[]): string[] {
  let state: RuleState | undefined
  const take = (severity: unknown, value: number, minute: number) => {
    const rule = parseRule({ name: 'warm', when: { threshold: { field: 'temperature.value', above: -5 } }, severity })
    const data = { temperature: { value } }
    const timeUs = minute * 60_000_000
    const outcome = step(rule, state, { kind: 'event', device: DEVICE, eventType: 'temperature', data, timeUs, eventId: `e${minute}` })
    state = outcome.state
    return outcome.changes.map(({ kind, severity: found }) => `${kind} ${found}`)
  }
  for (const [minute, value] of values.entries()) take(before, value, minute)
  return more.flatMap((value, index) => take(after, value, values.length + index))
}

describe('an edit of the severity of an active alarm', () => {
  it.each<[string, unknown, number[], unknown, number[], string[]]>([
    ['from one to a ladder', 'warning', [5], LADDER, [5, 5], ['amended warning']],
    ['to a ladder on which it is graver', 'warning', [12], LADDER, [12, 12], ['amended critical']],
    ['to a ladder on which it is less grave', 'critical', [5], LADDER, [5], ['amended warning']],
    ['to a ladder, and then it rises', 'warning', [5], LADDER, [5, 12], ['amended warning', 'escalated critical']],
    ['to a ladder while it rises', 'warning', [5], LADDER, [12], ['escalated critical']],
    ['to a ladder without its rung', LADDER, [5], INFO, [5], ['amended info']],
    ['to a ladder of one', 'warning', [5], CRITICAL, [5, 5], ['amended critical']],
    ['from a ladder to one', LADDER, [12], 'warning', [12, 12], []],
  ])('%s tells only what the values did', (_, before, values, after, more, changes) =>
    expect(edited(before, values, after, more)).toEqual(changes),
  )
})
