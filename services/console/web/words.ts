// A rule in words, for people who have not written it. What is not known here is said as it is written.
import { isObject, type Json, listAt, textAt } from './draft.ts'
import { formatNumber } from './format.ts'

type Words = (condition: Json) => string

/** Of the document below `when`; '' when there is nothing in it yet. */
export function conditionWords(when: unknown): string {
  if (!isObject(when)) return ''
  const [kind] = Object.keys(when)
  if (kind === undefined) return ''
  const inner = when[kind]
  if (kind === 'all') return joined(inner, ' and ')
  if (kind === 'any') return joined(inner, ' or ')
  if (kind === 'not') return `not (${conditionWords(inner)})`
  if (!isObject(inner)) return typeof inner === 'string' ? inner : kind
  return (WORDS[kind] ?? (fields => plain(kind, fields)))(inner)
}

function joined(list: unknown, word: string): string {
  if (!Array.isArray(list)) return ''
  return list
    .map((one: unknown) => {
      const text = conditionWords(one)
      return isObject(one) && ('all' in one || 'any' in one) ? `(${text})` : text
    })
    .join(word)
}

const WORDS: { readonly [kind: string]: Words } = {
  threshold: fields => `${textOf(fields['field'])} ${levelWords(fields)}`,
  state: stateWords,
  rate: fields =>
    `${textOf(fields['field'])} ${levelWords(fields, { above: 'changes by more than', below: 'changes by less than' })} per ${textOf(fields['per'])}`,
  window: fields => `${windowWords(fields)} over ${textOf(fields['over'])} ${levelWords(fields)}`,
  deviation: fields =>
    `${textOf(fields['field'])} is ${textOf(fields['above'])} deviations ${DIRECTIONS[textOf(fields['direction'])] ?? ''}from usual${fields['season'] === undefined ? '' : ` (${textOf(fields['season'])})`}`,
  expression: fields => textOf(fields['expression']),
  absent: fields => `no ${textOf(fields['eventType'])} for ${absence(fields)}`,
  stuck: fields => `${textOf(fields['field'])} does not change for ${textOf(fields['for'])}`,
  flapping: fields => `${textOf(fields['field'])} changes ${textOf(fields['changes'])} times within ${textOf(fields['within'])}`,
}

const DIRECTIONS: { readonly [direction: string]: string } = { up: 'up ', down: 'down ', high: 'up ', low: 'down ' }

function windowWords(fields: Json): string {
  if (fields['entering'] !== undefined) return `how often ${textOf(fields['field'])} becomes ${formatted(fields['entering'])}`
  return `${textOf(fields['function'])} of ${textOf(fields['field'] ?? fields['eventType'])}`
}

/** `above -15 °C`, `outside 2 to 8`. */
export function levelWords(fields: Json, names: Json = {}): string {
  const unit = typeof fields['unit'] === 'string' ? fields['unit'] : ''
  const at = (value: unknown) => `${typeof value === 'number' ? formatNumber(value) : textOf(value)}${unit === '' ? '' : `\u00a0${unit}`}`
  const { above, below } = fields
  const [low, high] = [fields['outside'] ?? fields['inside']].flatMap(band => (Array.isArray(band) ? (band as unknown[]) : []))
  if (low !== undefined && high !== undefined) return `${'outside' in fields ? 'outside' : 'inside'} ${formatted(low)} to ${at(high)}`
  if (above !== undefined && below !== undefined) return `outside ${formatted(below)} to ${at(above)}`
  if (above !== undefined) return `${textOf(names['above'] ?? 'above')} ${at(above)}`
  if (below !== undefined) return `${textOf(names['below'] ?? 'below')} ${at(below)}`
  return ''
}

function stateWords(fields: Json): string {
  const { changes } = fields
  if (!isObject(changes)) return `${textOf(fields['field'])} is ${textOf(fields['equals'])}`
  const { from, to } = changes
  return `${textOf(fields['field'])} changes${from === undefined ? '' : ` from ${formatted(from)}`}${to === undefined ? '' : ` to ${formatted(to)}`}`
}

function absence({ for: long, times }: Json): string {
  const parts = [times === undefined ? '' : `${formatted(times)}× its usual interval`, long === undefined ? '' : formatted(long)]
  return parts.filter(Boolean).join(', else ') || '…'
}

/** `deviation of temperature.value: score 4, over 7d`. */
function plain(kind: string, fields: Json): string {
  const { field, ...others } = fields
  const rest = Object.entries(others).flatMap(([key, value]) =>
    value === undefined || value === false ? [] : [`${key} ${formatted(value)}`],
  )
  return `${kind}${field === undefined ? '' : ` of ${textOf(field)}`}${rest.length === 0 ? '' : `: ${rest.join(', ')}`}`
}

export function formatted(value: unknown): string {
  if (typeof value === 'number') return formatNumber(value)
  if (typeof value === 'string') return value
  if (Array.isArray(value)) return value.map(formatted).join(value.some(isObject) ? '; ' : ' or ')
  if (isObject(value))
    return Object.entries(value)
      .flatMap(([key, one]) => (one === undefined ? [] : [`${key} ${formatted(one)}`]))
      .join(', ')
  return value === undefined ? 'nothing' : JSON.stringify(value)
}

function textOf(value: unknown): string {
  return value === undefined ? '…' : formatted(value)
}

/** The gravest last: `warning, critical from -5`. */
export function severityWords(rule: Json): string {
  const { severity } = rule
  if (!Array.isArray(severity)) return typeof severity === 'string' ? severity : 'warning'
  const rungs = (severity as unknown[]).filter(isObject)
  return rungs.map(({ at, severity: name }) => `${textOf(name)} from ${textOf(at)}`).join(', ')
}

/** `holds 5m before it is active, clears after 2m`. */
export function timingWords(rule: Json): string {
  const long = (key: string) => {
    const text = textAt(rule, [key])
    return text === '' || /^0+(ms|s|m|h|d)$/.test(text) ? undefined : text
  }
  const [hold, keep, lapse] = [long('for'), long('keepActive'), long('unacknowledgeAfter')]
  return [
    ...(hold === undefined ? [] : [`for ${hold}`]),
    ...(keep === undefined ? [] : [`clears after ${keep}`]),
    ...(lapse === undefined ? [] : [`acknowledgement lapses after ${lapse}`]),
    ...(isObject(rule['schedule']) ? ['on schedule'] : []),
    ...(listAt(rule, ['groupBy']).length === 0 ? [] : [`one alarm per ${listAt(rule, ['groupBy']).join(', ')}`]),
  ].join(' · ')
}

/** Which devices; `all devices` when the rule leaves none out. */
export function selectWords(rule: Json): string {
  const parts = [
    listAt(rule, ['select', 'deviceTypes']).join(' or '),
    listAt(rule, ['select', 'labels']).join(' and '),
    listAt(rule, ['select', 'devices']).join(' or '),
  ].filter(part => part !== '')
  return parts.length === 0 ? 'all devices' : parts.join(', ')
}
