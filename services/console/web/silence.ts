// Silences in words, and a silence as it is typed.
import type { NewSilence, Silence, SilenceMatcher } from '../../../packages/client/index.ts'

export function matcherWords(matchers: readonly SilenceMatcher[]): string {
  return matchers.map(matcher => `${matcher.field} is ${'equals' in matcher ? matcher.equals : matcher.in.join(' or ')}`).join(' and ')
}

export type MatcherDraft = { readonly field: string; readonly values: string }

/** Values are parted by commas; what has no value is left out. */
export function matchersOf(drafts: readonly MatcherDraft[]): SilenceMatcher[] {
  return drafts.flatMap(({ field, values }) => {
    const list = values
      .split(',')
      .map(value => value.trim())
      .filter(value => value !== '')
    const [only] = list
    if (field === '' || only === undefined) return []
    const named = field as SilenceMatcher['field']
    return [list.length === 1 ? { field: named, equals: only } : { field: named, in: list }]
  })
}

export const SPANS: readonly (readonly [name: string, ms: number])[] = [
  ['30 minutes', 1_800_000],
  ['1 hour', 3_600_000],
  ['2 hours', 7_200_000],
  ['8 hours', 28_800_000],
  ['24 hours', 86_400_000],
  ['3 days', 259_200_000],
  ['7 days', 604_800_000],
]

/** @param start as an input of date and time gives it, in the time of this browser; '' now. */
export function silenceOf(drafts: readonly MatcherDraft[], reason: string, start: string, spanMs: number, nowMs: number): NewSilence {
  const startMs = start === '' ? nowMs : new Date(start).getTime()
  return {
    matchers: matchersOf(drafts),
    reason: reason.trim(),
    ...(start === '' ? {} : { startTime: new Date(startMs).toISOString() }),
    endTime: new Date(startMs + spanMs).toISOString(),
  }
}

const ORDER: Readonly<Record<Silence['state'], number>> = { active: 0, pending: 1, expired: 2 }

/** What is in force first, then what will be; within each what ends first, of those that ended the last. */
export function orderSilences(silences: readonly Silence[]): Silence[] {
  return silences.toSorted(
    (a, b) =>
      ORDER[a.state] - ORDER[b.state] || (a.state === 'expired' ? b.endTime.localeCompare(a.endTime) : a.endTime.localeCompare(b.endTime)),
  )
}
