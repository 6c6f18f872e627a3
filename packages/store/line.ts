// An event as a line of InfluxDB's line protocol, and the names and literals of InfluxQL. Nothing hostile gets past this file as syntax.
import { escapeName, LONE_SURROGATE, storableReadings } from './name.ts'
import type { StoreEvent } from './store.ts'

/** So many events of one series can stand in one microsecond: InfluxDB keeps one point per nanosecond. */
export const SLOTS = 1000
// Quotes and backslashes would be legal but need another escape in each place; InfluxDB 1 cannot keep a line break or a final backslash.
const UNSAFE_IN_NAME = new RegExp(`[\\u0000-\\u001f\\u007f"'\\\\%]|${LONE_SURROGATE}`, 'g')
const SEPARATORS = /[ ,=]/g
// `_id` and `_event` are ours, a field with the name of a tag hides the tag, and InfluxDB drops a field named `time`.
const RESERVED = /^(?:_|device$|project$|time$)/i
const SLOT_TEXT = Array.from({ length: SLOTS }, (_, slot) => String(slot).padStart(3, '0'))
const MAX_US = 9_223_372_036_854_774

/** What all lines of a series begin with. */
export function linePrefix({ project, device, eventType }: StoreEvent): string {
  return `${escaped(eventType)},device=${escaped(safeName(device))},project=${escaped(safeName(project))} `
}

/** Numbers become floats, the only other fields are `_id`, `_event` and `_place`: so no field can ever change its type. */
export function lineOf(prefix: string, event: StoreEvent, slot: number, place?: string): string {
  let fields = `_id=${text(event.eventId)},_event=${text(event.frame)}`
  if (place !== undefined) fields += `,_place="${place}"`
  for (const [field, value] of storableReadings(event)) fields += `,${escaped(fieldKey(field))}=${value}`
  return `${prefix}${fields} ${nanoseconds(event.timeUs, slot)}`
}

// Not as a number: 2^53 ns were over in April 1970.
function nanoseconds(timeUs: number, slot: number): string {
  return timeUs > 0 ? `${timeUs}${SLOT_TEXT[slot]}` : String(BigInt(timeUs) * 1000n + BigInt(slot))
}

/** Where a range starts or ends, within what InfluxDB can tell. */
export function boundary(timeUs: number): string {
  return nanoseconds(Math.ceil(Math.min(Math.max(timeUs, -MAX_US), MAX_US)), 0)
}

/** The slot an event gets unless another event has it: the same event always begins at the same one. */
export function firstSlot(eventId: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < eventId.length; i++) hash = Math.imul(hash ^ eventId.charCodeAt(i), 0x01000193)
  return (hash >>> 0) % SLOTS
}

/** The slot in a time as InfluxDB writes it, `2026-11-21T09:00:00.123456789Z` → 789. */
export function slotOf(time: string): number {
  return Number(time.slice(20, -1).padEnd(9, '0').slice(6))
}

export function identifier(name: string): string {
  return `"${safeName(name)}"`
}

export function fieldIdentifier(field: string): string {
  return `"${fieldKey(field)}"`
}

export function literal(text: string): string {
  return `'${safeName(text)}'`
}

/** A name with nothing in it that could end a quoted one. */
export function safeName(name: string): string {
  return escapeName(name, UNSAFE_IN_NAME)
}

// Twice as fast as one pattern for both, and frames are full of quotes.
export function text(value: string): string {
  const slashed = value.includes('\\') ? value.replaceAll('\\', '\\\\') : value
  return `"${slashed.replaceAll('"', '\\"')}"`
}

function fieldKey(field: string): string {
  const name = safeName(field)
  return RESERVED.test(name) ? `_${name}` : name
}

function escaped(name: string): string {
  return name.replace(SEPARATORS, '\\$&')
}
