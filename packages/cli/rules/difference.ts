// What would change, for people: a sign and the name of each rule, and below it each path with what was and what will be.
import type { RuleChange, RuleDifference } from '../../client/index.ts'
import { type Palette, printable } from '../terminal.ts'
import { counted } from './run.ts'

const MAX_CHARS = 120
const SIGNS = { create: '+', update: '~', delete: '-', same: ' ' } as const

export function planLines(changes: readonly RuleChange[], palette: Palette): string[] {
  const colors = { create: palette.green, update: palette.yellow, delete: palette.red, same: palette.dim }
  const shown = changes.filter(({ action }) => action !== 'same')
  return shown.flatMap(({ rule, action, differences }) => {
    const head = colors[action](`${SIGNS[action]} ${printable(rule)}`)
    const width = Math.min(40, Math.max(0, ...differences.map(({ path }) => path.length)))
    const below = differences.map(one => `    ${printable(one.path).padEnd(width)}  ${valuesText(action, one, palette)}`)
    return [head, ...below]
  })
}

function valuesText(action: RuleChange['action'], { from, to }: RuleDifference, palette: Palette): string {
  const nothing = palette.dim('–')
  const was = from === null ? nothing : palette.red(valueText(from))
  const willBe = to === null ? nothing : palette.green(valueText(to))
  return action === 'create' ? willBe : action === 'delete' ? was : `${was} → ${willBe}`
}

export function summaryOf(changes: readonly RuleChange[], done: boolean): string {
  const count = (action: RuleChange['action']) => changes.filter(one => one.action === action).length
  const parts = [
    [count('create'), done ? 'created' : 'to create'],
    [count('update'), done ? 'updated' : 'to update'],
    [count('delete'), done ? 'deleted' : 'to delete'],
    [count('same'), 'unchanged'],
  ] as const
  const said = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`)
  return said.length === 0 ? 'no rules' : `${counted(changes.length, 'rule')}: ${said.join(', ')}`
}

export function valueText(value: unknown): string {
  const text = printable(plainText(value))
  return text.length > MAX_CHARS ? `${text.slice(0, MAX_CHARS - 1)}…` : text
}

/** As YAML has it on one line, near enough to be read. */
function plainText(value: unknown): string {
  if (typeof value === 'string') return value === '' || /^\s|\s$|[\n:#,[\]{}]/.test(value) ? JSON.stringify(value) : value
  if (Array.isArray(value)) return `[${value.map(plainText).join(', ')}]`
  if (typeof value !== 'object' || value === null) return String(value)
  return `{ ${Object.entries(value)
    .map(([key, inner]) => `${key}: ${plainText(inner)}`)
    .join(', ')} }`
}
