// How the command line writes an event: its data by event type, an id that a repetition gives again, and the frame on the wire.
import { createHash } from 'node:crypto'
import { type EventData, mainField } from '../core/event.ts'
import { formatTime } from '../core/time.ts'
import type { Outgoing } from './transport/transport.ts'

/** Periodic types carry their samples; SDKs read these fields unconditionally (contracts.md 1.a.5). */
const SAMPLED: ReadonlySet<string> = new Set(['temperature', 'humidity'])

/** `{ value: 21.5 }` of `temperature` → `{ temperature: { value: 21.5, updateTime, samples, isBackfilled } }`. */
function dataOf(eventType: string, fields: EventData, timestamp: string): EventData {
  if (SAMPLED.has(eventType))
    return {
      [eventType]: { ...fields, samples: [{ ...fields, sampleTime: timestamp }], isBackfilled: false, updateTime: timestamp, ...fields },
    }
  return { [eventType]: isStandard(eventType) ? { updateTime: timestamp, ...fields } : fields }
}

/** Types with a field of their own are the standard ones, and all of those carry `updateTime`. */
function isStandard(eventType: string): boolean {
  return mainField(eventType) !== 'value' || eventType === 'touch'
}

const ID_ALPHABET = '0123456789abcdefghijklmnopqrstuv'
const ID_LENGTH = 20

/** 20 characters like an xid (100 bits of SHA-256): the same parts give the same id, so that a repetition is known as one. */
export function eventIdOf(...parts: readonly (string | number)[]): string {
  const digest = createHash('sha256').update(parts.join('\u0000')).digest()
  let id = ''
  for (let bit = 0; id.length < ID_LENGTH; bit += 5) id += ID_ALPHABET[(digest.readUInt16BE(bit >> 3) >> (11 - (bit & 7))) & 31]
  return id
}

type Draft = { readonly device: string; readonly eventType: string; readonly fields: EventData; readonly timeUs: number }

export function outgoing(project: string, draft: Draft, eventId: string): Outgoing {
  const timestamp = formatTime(draft.timeUs)
  const targetName = `projects/${project}/devices/${draft.device}`
  const data = dataOf(draft.eventType, draft.fields, timestamp)
  const frame = JSON.stringify({ eventId, targetName, eventType: draft.eventType, data, timestamp })
  return { device: draft.device, eventType: draft.eventType, frame }
}
