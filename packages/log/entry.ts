// One log entry is one batch: an index line and a frame line per event, so that filters need not parse JSON.
import { Failure } from '../core/failure.ts'

/** One event as the log keeps it. `frame` is ASCII JSON of the DeviceEvent on one line. */
export type LogEvent = {
  readonly device: string
  readonly eventType: string
  readonly timeUs: number
  readonly frame: string
}

export type LogEntry = {
  /** `{ms}-{seq}`: Redis' own, strictly growing; the ms are when the batch was accepted. */
  readonly id: string
  readonly events: readonly LogEvent[]
}

/** Names hold no tab or line break (core/event.ts), so neither separator needs escaping. */
export function indexLine(device: string, eventType: string, timeUs: number): string {
  return `${device}\t${eventType}\t${timeUs}`
}

export function parseEntry(id: string, fields: readonly string[]): LogEntry {
  const index = field(id, fields, 'i').split('\n')
  const frames = field(id, fields, 'f').split('\n')
  if (index.length !== frames.length)
    throw new Failure('invalid', `log entry ${id}: ${index.length} index lines for ${frames.length} frames`)
  const events = new Array<LogEvent>(frames.length)
  for (let i = 0; i < frames.length; i++) {
    const line = index[i] as string
    const first = line.indexOf('\t')
    const second = line.indexOf('\t', first + 1)
    events[i] = {
      device: line.slice(0, first),
      eventType: line.slice(first + 1, second),
      timeUs: Number(line.slice(second + 1)),
      frame: frames[i] as string,
    }
  }
  return { id, events }
}

function field(id: string, fields: readonly string[], name: string): string {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return fields[i + 1] as string
  throw new Failure('invalid', `log entry ${id} has no field ${name}`)
}

/** The time at which an entry was accepted, by its id. */
export function acceptedUs(entryId: string): number {
  return Number(entryId.slice(0, entryId.indexOf('-'))) * 1000
}

/** Order of two entry ids. */
export function compareIds(a: string, b: string): number {
  const [aMs, aSeq] = a.split('-') as [string, string]
  const [bMs, bSeq] = b.split('-') as [string, string]
  return Number(aMs) - Number(bMs) || Number(aSeq) - Number(bSeq)
}
