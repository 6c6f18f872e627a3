// Where two versions of a rule disagree: the alarms of both on the same devices, side by side.
import type { Episode } from './backtest.ts'
import type { Severity } from './severity.ts'

/** A change of either version of a rule, as it was noted when it came about. */
export type SidedChange = {
  readonly side: 'old' | 'new'
  /** Of whom the alarm is. */
  readonly device: string
  /** Which device of it. */
  readonly member?: string | undefined
  readonly kind: string
  readonly atUs: number
  readonly severity?: Severity | undefined
  readonly sinceUs?: number | undefined
  readonly activeUs?: number | undefined
  readonly value?: number | string | undefined
  readonly limit?: number | undefined
  readonly reason: string
}

/** Changes in the order in which they came about → alarms; one that was active before the first change begins at `fromUs`. */
export function episodesOf(changes: readonly SidedChange[], side: SidedChange['side'], fromUs: number): Episode[] {
  const episodes: Episode[] = []
  const last = new Map<string, number>()
  const replace = (device: string, change: (episode: Episode) => Episode) => {
    const at = last.get(device)
    const episode = at === undefined ? undefined : episodes[at]
    if (at === undefined || episode === undefined) return false
    episodes[at] = change(episode)
    return true
  }
  for (const change of changes) {
    if (change.side !== side) continue
    const { kind, atUs, member: device = change.device } = change
    if (kind === 'active') last.set(device, episodes.push(begun(change, atUs)) - 1)
    if (kind === 'cleared' && !replace(device, episode => ({ ...episode, clearedUs: atUs })))
      last.set(device, episodes.push({ ...begun(change, fromUs), clearedUs: atUs }) - 1)
    if (kind === 'amended' && change.activeUs !== undefined) {
      const activeUs = change.activeUs
      replace(device, episode => ({ ...episode, activeUs }))
    }
    if (kind === 'withdrawn') replace(device, episode => ({ ...episode, clearedUs: episode.activeUs - 1 }))
  }
  return episodes.filter(({ activeUs, clearedUs }) => clearedUs === undefined || clearedUs >= activeUs)
}

function begun({ device, severity = 'warning', sinceUs, value, limit, reason }: SidedChange, activeUs: number): Episode {
  return { device, severity, sinceUs: sinceUs ?? activeUs, activeUs, clearedUs: undefined, value, limit, reason }
}

/**
 * `missing` only the old version was in alarm, `extra` only the new one was, `shifted` both were, from or until another time. A side can
 * have several episodes where the other has one.
 */
export type Disagreement = {
  readonly kind: 'missing' | 'extra' | 'shifted'
  readonly device: string
  readonly old: readonly Episode[]
  readonly new: readonly Episode[]
}

export type Comparison = {
  /** Alarms that both versions had, from and until the same times. */
  readonly agreements: number
  readonly missing: number
  readonly extra: number
  readonly shifted: number
  /** In order of time, as many as asked for. */
  readonly disagreements: readonly Disagreement[]
}

export function compareEpisodes(before: readonly Episode[], after: readonly Episode[], most: number): Comparison {
  const byDevice = new Map<string, { old: Episode[]; new: Episode[] }>()
  const sideOf = (device: string) => {
    const known = byDevice.get(device)
    if (known) return known
    const both = { old: [], new: [] }
    byDevice.set(device, both)
    return both
  }
  for (const one of before) sideOf(one.device).old.push(one)
  for (const one of after) sideOf(one.device).new.push(one)
  const counts = { agreements: 0, missing: 0, extra: 0, shifted: 0 }
  const disagreements: Disagreement[] = []
  for (const [device, sides] of byDevice)
    for (const cluster of clustersOf(sides.old, sides.new)) {
      const kind = verdictOf(cluster)
      counts[kind]++
      if (kind !== 'agreements') disagreements.push({ kind, device, ...cluster })
    }
  return { ...counts, disagreements: disagreements.toSorted((a, b) => startOf(a) - startOf(b)).slice(0, most) }
}

type Cluster = { readonly old: Episode[]; readonly new: Episode[] }

/** Episodes that overlap, directly or by others between them. */
function clustersOf(before: readonly Episode[], after: readonly Episode[]): Cluster[] {
  const all = [...before.map(one => ({ one, side: 'old' as const })), ...after.map(one => ({ one, side: 'new' as const }))]
  all.sort((a, b) => a.one.activeUs - b.one.activeUs)
  const clusters: Cluster[] = []
  let endUs = Number.NEGATIVE_INFINITY
  for (const { one, side } of all) {
    if (one.activeUs > endUs || clusters.length === 0) clusters.push({ old: [], new: [] })
    clusters.at(-1)?.[side].push(one)
    endUs = Math.max(endUs, one.clearedUs ?? Number.POSITIVE_INFINITY)
  }
  return clusters
}

function verdictOf({ old, new: after }: Cluster): 'agreements' | Disagreement['kind'] {
  if (after.length === 0) return 'missing'
  if (old.length === 0) return 'extra'
  const same =
    old.length === after.length && old.every((one, i) => one.activeUs === after[i]?.activeUs && one.clearedUs === after[i]?.clearedUs)
  return same ? 'agreements' : 'shifted'
}

function startOf({ old, new: after }: Disagreement): number {
  return Math.min(old[0]?.activeUs ?? Number.POSITIVE_INFINITY, after[0]?.activeUs ?? Number.POSITIVE_INFINITY)
}
