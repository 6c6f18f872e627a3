// Rules in the bodies of requests, each mistake named by its path in the whole.
import { Failure, invalid } from '../../packages/core/failure.ts'
import { parseRule, type Rule } from '../../packages/core/rule.ts'
import { inTurns } from '../../packages/state/turn.ts'

export async function rulesIn(input: unknown, most: number): Promise<Rule[]> {
  if (!Array.isArray(input) || input.length > most) throw invalid('rules', `expected a list of at most ${most} rules`)
  const rules = await inTurns(input as unknown[], (one, i) => inside(`rules[${i}]`, () => parseRule(one)))
  const lines = new Map<string, number>()
  for (const [i, { name }] of rules.entries()) {
    const earlier = lines.get(name)
    if (earlier !== undefined) throw invalid(`rules[${i}].name`, `expected another name than that of rules[${earlier}], ${name}`)
    lines.set(name, i)
  }
  return rules
}

/** What is wrong in a part of a document, by its path in the whole. */
export function inside<T>(path: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const field = error.field ?? ''
    const said = error.message.startsWith(`${field}: `) ? error.message.slice(field.length + 2) : error.message
    throw invalid(field === '' || field === 'rule' ? path : `${path}.${field}`, said)
  }
}

export function textOf(body: unknown): string {
  return Buffer.isBuffer(body) ? body.toString('utf8') : ''
}
