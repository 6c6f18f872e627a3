// How grave an alarm is: one severity, or a ladder of them over the values of its condition.
import { type Condition, kindOf } from './condition/condition.ts'
import { readChoice, readNumber, readObject } from './condition/input.ts'
import { invalid } from './failure.ts'

export type Severity = 'info' | 'warning' | 'critical'

/** This severity from this value on, in the direction in which values get worse. */
export type Rung = { readonly at: number; readonly severity: Severity }

export const SEVERITIES: readonly Severity[] = ['info', 'warning', 'critical']

export function parseSeverity(input: unknown, when: Condition): { readonly severity: Severity; readonly ladder: readonly Rung[] } {
  if (input === undefined) return { severity: 'warning', ladder: [] }
  if (!Array.isArray(input)) return { severity: readChoice(input, 'severity', SEVERITIES), ladder: [] }
  const ladder = input.map(parseRung)
  const [first] = ladder
  if (first === undefined) throw invalid('severity', 'expected at least one of { at, severity }')
  checkLadder(ladder, kindOf(when).worse(when))
  return { severity: first.severity, ladder }
}

export function ladderToJson(ladder: readonly Rung[]): readonly Rung[] {
  return ladder.map(({ at, severity }) => ({ at, severity }))
}

/** The rung that a value stands on; below the first one it stands on the first: the condition holds, so the alarm has a severity. */
export function severityAt(ladder: readonly Rung[], worse: 'higher' | 'lower' | undefined, value: number): Severity | undefined {
  const reached = ladder.findLast(({ at }, index) => index === 0 || (worse === 'lower' ? value <= at : value >= at))
  return reached?.severity
}

function parseRung(input: unknown, index: number): Rung {
  const path = `severity[${index}]`
  const { at, severity } = readObject(input, path, ['at', 'severity'])
  return { at: readNumber(at, `${path}.at`), severity: readChoice(severity, `${path}.severity`, SEVERITIES) }
}

function checkLadder(ladder: readonly Rung[], worse: 'higher' | 'lower' | undefined): void {
  if (worse === undefined)
    throw invalid('severity', 'a ladder needs a condition whose values get worse in one direction; expected one severity')
  for (const [index, { at, severity }] of ladder.entries()) {
    const before = ladder[index - 1]
    if (before === undefined) continue
    if (worse === 'higher' ? at <= before.at : at >= before.at)
      throw invalid(`severity[${index}].at`, `expected ${worse} than ${before.at}: rungs go from the least to the gravest`)
    if (SEVERITIES.indexOf(severity) <= SEVERITIES.indexOf(before.severity))
      throw invalid(`severity[${index}].severity`, `expected graver than ${before.severity}`)
  }
}
