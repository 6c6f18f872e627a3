// The history of alarms as a chain of hashes: what its records are, and what shows that one was removed, edited, moved or cut off.
import type { AlarmState } from './alarm.ts'
import type { Severity } from './rule.ts'
import type { ChangeKind } from './step.ts'

export type RecordKind =
  | ChangeKind
  | 'joined'
  | 'left'
  | 'acknowledged'
  | 'unacknowledged'
  | 'assigned'
  | 'commented'
  | 'snoozed'
  | 'unsnoozed'
  | 'silenced'
  | 'unsilenced'
  | 'inhibited'
  | 'uninhibited'

/** What happened, before it has a place in the chain. Times are RFC 3339; keys without a value are left out, not null. */
export type Happening = {
  /** By the server's clock, when it was written. */
  readonly time: string
  readonly kind: RecordKind
  /** Empty for what happened to no alarm, such as a silence that was made. */
  readonly alarmId: string
  readonly rule: string
  readonly ruleVersion: number
  readonly device: string
  readonly episode: number
  /** Of the engine's changes: the alarm after it. */
  readonly state?: AlarmState
  readonly severity?: Severity
  readonly since?: string
  readonly activeSince?: string
  readonly clearedAt?: string
  /** Event time. */
  readonly at?: string
  readonly value?: number | string
  readonly limit?: number
  readonly unit?: string
  readonly reason?: string
  readonly eventId?: string
  readonly late?: boolean
  readonly changeId?: string
  /** Of a group's: the device that changed, and how many are in alarm since. */
  readonly member?: string
  readonly devices?: number
  /** Of people's: who, and what they said. */
  readonly by?: string
  readonly comment?: string
  readonly to?: string
  readonly until?: string
  /** Id of the silence, or of the alarm that inhibits. */
  readonly cause?: string
}

/** `seq` counts from 1 without a gap. `hash` is of the hash before it and of everything else here, see `sealOf`. */
export type HistoryRecord = Happening & { readonly seq: number; readonly hash: string }

/** Where a chain stands: the last record before what follows. */
export type Head = { readonly seq: number; readonly hash: string }

export const GENESIS: Head = { seq: 0, hash: '0'.repeat(64) }

/** sha256 of a text in UTF-8, as hex: core has none of its own. */
export type Digest = (text: string) => string

/** JSON with the keys of every object in order and no space, so that the same record is the same text everywhere. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  // By code units, as every language can; not by any locale.
  const keys = Object.keys(value).sort()
  let text = ''
  for (const key of keys) {
    const one = (value as Readonly<Record<string, unknown>>)[key]
    if (one !== undefined) text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${canonicalJson(one)}`
  }
  return `{${text}}`
}

/** The hash of a record: over the hash before it, a line break, and the canonical JSON of the record without its hash. */
export function sealOf(previous: string, record: Omit<HistoryRecord, 'hash'>, digest: Digest): string {
  return digest(`${previous}\n${canonicalJson(record)}`)
}

/** These happenings as the records that follow the head. */
export function chained(head: Head, happenings: readonly Happening[], digest: Digest): HistoryRecord[] {
  let { seq, hash } = head
  return happenings.map(happening => {
    seq++
    const record = { ...happening, seq }
    hash = sealOf(hash, record, digest)
    return { ...record, hash }
  })
}

export type Verdict = {
  /** How many records stand in their place, from the first on. */
  readonly verified: number
  readonly head: Head
  /** Undefined: nothing is wrong. */
  readonly broken:
    | { /** Of the first record that is not there, or not as it was. */ readonly seq: number; readonly reason: string }
    | undefined
}

/**
 * Whether these records follow upon `base` without a gap, and none of them was changed.
 * @param base what is before the oldest one kept; GENESIS for a chain that never was trimmed.
 * @param end where the chain must end, if the caller knows it: only this shows that the newest records were cut off.
 */
export function verify(records: readonly HistoryRecord[], base: Head, digest: Digest, end?: Head): Verdict {
  let head = base
  for (const [verified, { hash, ...record }] of records.entries()) {
    const broken = (reason: string) => ({ verified, head, broken: { seq: head.seq + 1, reason } })
    if (record.seq !== head.seq + 1) return broken(gap(head.seq + 1, record.seq))
    if (sealOf(head.hash, record, digest) !== hash)
      return broken(`record ${record.seq} was changed, or does not follow upon record ${head.seq} as it is here`)
    head = { seq: record.seq, hash }
  }
  const verified = records.length
  if (end === undefined || (end.seq === head.seq && end.hash === head.hash)) return { verified, head, broken: undefined }
  const reason =
    end.seq > head.seq ? `records ${head.seq + 1} to ${end.seq} are missing at the end` : `the chain should end with record ${end.seq}`
  return { verified, head, broken: { seq: head.seq + 1, reason } }
}

function gap(expected: number, found: number): string {
  if (found < expected) return `record ${found} stands where record ${expected} belongs`
  return found === expected + 1 ? `record ${expected} is missing` : `records ${expected} to ${found - 1} are missing`
}
