// How grave an alarm is: one severity, or a ladder of them over the values of its condition.
import { type Condition, kindOf } from './condition/condition.ts'
import { readChoice, readNumber, readObject } from './condition/input.ts'
import { invalid } from './failure.ts'

export type Severity = 'info' | 'warning' | 'critical'

/** This severity from this value on, in the direction in which values get worse; left again only behind `leaveAt`. */
export type Rung = { readonly at: number; readonly leaveAt: number; readonly severity: Severity }

export const SEVERITIES: readonly Severity[] = ['info', 'warning', 'critical']

export function parseSeverity(input: unknown, when: Condition): { readonly severity: Severity; readonly ladder: readonly Rung[] } {
  if (input === undefined) return { severity: 'warning', ladder: [] }
  if (!Array.isArray(input)) return { severity: readChoice(input, 'severity', SEVERITIES), ladder: [] }
  const kind = kindOf(when)
  const direction = kind.worse(when)
  const away = (kind.deadBand?.(when) ?? 0) * (direction === 'lower' ? 1 : -1)
  const ladder = input.map((one, index) => parseRung(one, index, away))
  const [first] = ladder
  if (first === undefined) throw invalid('severity', 'expected at least one of { at, severity }')
  checkLadder(ladder, direction)
  return { severity: first.severity, ladder }
}

export function ladderToJson(ladder: readonly Rung[]): readonly { readonly at: number; readonly severity: Severity }[] {
  return ladder.map(({ at, severity }) => ({ at, severity }))
}

/**
 * The rung that a value stands on, coming from another one. Before the first it stands on the first: the condition holds, so the alarm
 * has a severity.
 */
export function severityAt(
  ladder: readonly Rung[],
  worse: 'higher' | 'lower' | undefined,
  value: number | string | undefined,
  from: Severity | undefined,
): Severity | undefined {
  let stands = 0
  const present = ladder.findIndex(({ severity }) => severity === from)
  for (const [index, { at, leaveAt }] of ladder.entries()) {
    const level = index <= present ? leaveAt : at
    if (typeof value === 'number' && (worse === 'lower' ? value <= level : value >= level)) stands = index
  }
  return ladder[stands]?.severity
}

function parseRung(input: unknown, index: number, away: number): Rung {
  const path = `severity[${index}]`
  const fields = readObject(input, path, ['at', 'severity'])
  const at = readNumber(fields.at, `${path}.at`)
  return { at, leaveAt: at + away, severity: readChoice(fields.severity, `${path}.severity`, SEVERITIES) }
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
