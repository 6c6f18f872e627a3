// What people read when an alarm changes: a template with {{names}}, checked when the rule is saved. Text, never code.
import type { Device } from './device.ts'
import { invalid } from './failure.ts'

export type Message = {
  readonly text: string
  readonly parts: readonly Part[]
}

/** What stands between the braces, or literal text. */
type Part = { readonly name: string } | { readonly literal: string }

export type MessageFacts = {
  readonly rule: string
  /** Of the rule; its name when it has none. */
  readonly title: string
  readonly severity: string
  readonly state: string
  readonly value: number | string | null
  readonly unit: string | null
  readonly limit: number | null
  readonly reason: string
  readonly since: string
  readonly updateTime: string
  readonly device: Device
}

export const MAX_TEMPLATE_CHARS = 2000
/** Longer ones are cut: chat and SMS gateways refuse them, and a label can be of any length. */
export const MAX_MESSAGE_CHARS = 4000
const LABEL = 'device.labels.'

const NAMES: ReadonlyMap<string, (facts: MessageFacts) => number | string | null> = new Map([
  ['rule', facts => facts.rule],
  ['title', facts => facts.title],
  ['severity', facts => facts.severity],
  ['state', facts => facts.state],
  ['value', facts => facts.value],
  ['unit', facts => facts.unit],
  ['limit', facts => facts.limit],
  ['reason', facts => facts.reason],
  ['since', facts => facts.since],
  ['updateTime', facts => facts.updateTime],
  ['device.id', facts => facts.device.id],
  ['device.type', facts => facts.device.type],
  ['device.productNumber', facts => facts.device.productNumber],
] satisfies [string, (facts: MessageFacts) => number | string | null][])

export function parseMessage(text: string, path = 'message'): Message {
  if (text === '' || text.length > MAX_TEMPLATE_CHARS) throw invalid(path, `expected a text of 1 to ${MAX_TEMPLATE_CHARS} characters`)
  const parts: Part[] = []
  let from = 0
  for (let open = text.indexOf('{{'); open >= 0; open = text.indexOf('{{', from)) {
    const close = text.indexOf('}}', open + 2)
    if (close < 0) throw invalid(path, `expected "}}" after "${text.slice(open, open + 20)}"`)
    if (open > from) parts.push({ literal: text.slice(from, open) })
    parts.push({ name: checkName(text.slice(open + 2, close).trim(), path) })
    from = close + 2
  }
  if (from < text.length) parts.push({ literal: text.slice(from) })
  return { text, parts }
}

/** Used by rules that have none of their own. */
export const DEFAULT_MESSAGE = parseMessage('{{device.labels.name}}: {{rule}} is {{state}}, {{reason}}')

function checkName(name: string, path: string): string {
  if (NAMES.has(name) || (name.startsWith(LABEL) && name.length > LABEL.length)) return name
  throw invalid(path, `expected no "{{${name.slice(0, 64)}}}"; valid names: ${[...NAMES.keys()].join(', ')}, ${LABEL}KEY`)
}

export function renderMessage(message: Message, facts: MessageFacts): string {
  let text = ''
  for (const part of message.parts) {
    text += 'literal' in part ? part.literal : textOf(part.name, facts)
    if (text.length > MAX_MESSAGE_CHARS) return cut(text)
  }
  return text
}

function textOf(name: string, facts: MessageFacts): string {
  if (!name.startsWith(LABEL)) return String(NAMES.get(name)?.(facts) ?? '')
  const key = name.slice(LABEL.length)
  if (Object.hasOwn(facts.device.labels, key)) return facts.device.labels[key] as string
  return key === 'name' ? facts.device.id : ''
}

function cut(text: string): string {
  const kept = text.slice(0, MAX_MESSAGE_CHARS - 1)
  // Half a surrogate pair is not a character, and some receivers refuse the whole message for it.
  return `${/[\ud800-\udbff]$/.test(kept) ? kept.slice(0, -1) : kept}…`
}
