// One record of the alarm history in words.
import type { AlarmRecord } from '../../../packages/client/index.ts'
import { formatTimeOfDay } from './format.ts'
import { formatted } from './words.ts'

export type RecordWords = {
  readonly what: string
  readonly detail: string
  /** '' when it was the engine. */
  readonly by: string
  /** Event time of a change of the engine, server time of what a person did. */
  readonly time: string
  readonly isLate: boolean
}

const WORDS: { readonly [kind: string]: string } = {
  pending: 'began to hold',
  active: 'became active',
  escalated: 'got graver',
  deescalated: 'got less grave',
  cleared: 'cleared',
  dropped: 'was over before it was active',
  amended: 'was corrected by an event that came late',
  withdrawn: 'was withdrawn: an event that came late showed that it never was',
  acknowledged: 'acknowledged',
  unacknowledged: 'acknowledgement taken back',
  assigned: 'assigned',
  commented: 'comment',
  snoozed: 'snoozed',
  unsnoozed: 'snooze ended',
  silenced: 'silenced: nobody is told',
  unsilenced: 'silence is over',
  inhibited: 'inhibited: nobody is told',
  uninhibited: 'inhibition is over',
  removed: 'removed',
}

export function recordWords(record: AlarmRecord): RecordWords {
  const { kind } = record
  return {
    what: WORDS[kind] ?? kind,
    detail: detailOf(record),
    by: textOf(record['by']),
    time: textOf(record['at']) || record.time,
    isLate: record['late'] === true,
  }
}

function detailOf(record: AlarmRecord): string {
  const [to, until] = [textOf(record['to']), textOf(record['until'])]
  const parts = [
    textOf(record['reason']),
    record.kind === 'assigned' ? `to ${to === '' ? 'nobody' : to}` : '',
    until === '' ? '' : `until ${formatTimeOfDay(Date.parse(until), Date.parse(record.time))}`,
    textOf(record['comment']),
    record.kind === 'escalated' || record.kind === 'deescalated' ? `now ${formatted(record['severity'])}` : '',
    textOf(record['name']) === '' ? '' : `by ${textOf(record['name'])}`,
  ]
  return parts.filter(part => part !== '').join(' · ')
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
