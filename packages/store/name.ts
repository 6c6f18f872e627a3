// Names and numbers as both stores can keep them: what a database would alter, cut or refuse is escaped or refused here.
import { readingsOf } from '../core/event.ts'
import { Failure } from '../core/failure.ts'
import type { StoreEvent } from './store.ts'
import { RefusedEvents } from './store.ts'

/** Half a surrogate pair: UTF-8 cannot carry it, so two names that differ only there would become one. */
export const LONE_SURROGATE = '[\\ud800-\\udbff](?![\\udc00-\\udfff])|(?<![\\ud800-\\udbff])[\\udc00-\\udfff]'

/** Percent-escapes what `unsafe` (a global pattern that must contain `%`) matches: different names stay different. */
export function escapeName(name: string, unsafe: RegExp): string {
  return name.replace(unsafe, escapeUnit)
}

function escapeUnit(unit: string): string {
  const code = unit.charCodeAt(0)
  return code < 0x100 ? `%${code.toString(16).toUpperCase().padStart(2, '0')}` : `%u${code.toString(16).toUpperCase()}`
}

/** The name that `escapeName` was given. */
export function unescapeName(escaped: string): string {
  return escaped.replace(/%u([0-9A-F]{3,4})|%([0-9A-F]{2})/g, (_, wide: string | undefined, narrow: string | undefined) =>
    String.fromCharCode(Number.parseInt(wide ?? narrow ?? '', 16)),
  )
}

/** The event's readings, each path once (`{"a.b":1,"a":{"b":2}}` has one twice: the last stands). */
export function storableReadings(event: StoreEvent): [field: string, value: number][] {
  const readings = readingsOf(event.eventType, event.data)
  for (const [field, value] of readings) if (!Number.isFinite(value)) throw notFinite(event, field)
  if (readings.length < 2) return readings
  const byField = new Map(readings)
  return byField.size === readings.length ? readings : [...byField]
}

function notFinite(event: StoreEvent, field: string): Failure {
  const path = `data.${event.eventType}.${field}`
  const message = `${path}: expected a finite number`
  return new Failure('invalid', message, { field: path, cause: new RefusedEvents(message, [event]) })
}
