// Whose clock is wrong: looked at for each event that has a time of its own, told once a second, and only where something changed.
import { EARLIEST_US } from '../../../packages/core/clock.ts'
import { formatTime } from '../../../packages/core/time.ts'
import type { ClockState, DeviceClock } from '../../../packages/state/deviceclock.ts'

/** Networks and batches make events late; this far ahead, or for ever late by the same, is a clock. */
const TOLERANCE_US = 60_000_000
/** As many in a row, over so long, and no more apart than that: what is sent again after an outage comes ever less late. */
const RUN = { events: 10, us: 60_000_000, spreadUs: 30_000_000 }
/** As many right ones in a row, until a clock is right again. */
const RIGHT = 3
/** In all, and of one project: who invents devices with wrong times takes nobody else's room. */
const MAX_WATCHED = 100_000
const MAX_OF_PROJECT = 20_000
const AMONG = 20
const ASK_EVERY_MS = 30_000
/** Projects that are remembered as having sent something; beyond it all are met anew. */
const MAX_PROJECTS = 10_000

type Watch = { clock: DeviceClock | undefined; right: number; count: number; firstUs: number; leastUs: number; mostUs: number }
type Changes = Map<string, DeviceClock | undefined>

export class ClockWatch {
  readonly #watched = new Map<string, Map<string, Watch>>()
  readonly #changes = new Map<string, Changes>()
  /** Projects that sent anything, when it was asked last what is known of them, and whether they sent since. */
  readonly #asked = new Map<string, { readonly askedMs: number; isUsed: boolean }>()
  #size = 0

  /** @param aheadUs how far an event's own time is ahead of its arrival. */
  observe(project: string, device: string, aheadUs: number, arrivedUs: number): void {
    const asked = this.#asked.get(project)
    if (asked) asked.isUsed = true
    else this.#meet(project)
    const watches = this.#watched.get(project)
    const isRight = aheadUs <= TOLERANCE_US && aheadUs >= -TOLERANCE_US
    const known = watches?.get(device)
    if (isRight) {
      if (known) this.#seenRight(project, device, known)
      return
    }
    const watch = known ?? this.#watch(project, device)
    if (!watch) return
    watch.right = 0
    const state = stateOf(watch, aheadUs, arrivedUs)
    if (state === undefined || state === watch.clock?.state) return
    watch.clock = { state, offsetSeconds: Math.round(aheadUs / 1e6), since: formatTime(arrivedUs) }
    this.#changed(project, device, watch.clock)
  }

  #meet(project: string): void {
    if (this.#asked.size >= MAX_PROJECTS) this.#asked.clear()
    this.#asked.set(project, { askedMs: Number.NEGATIVE_INFINITY, isUsed: true })
  }

  /** Of which projects it is time to ask again; of those that sent nothing since, when they send again. */
  due(nowMs: number): string[] {
    const due: string[] = []
    for (const [project, { askedMs, isUsed }] of this.#asked) {
      if (nowMs - askedMs < ASK_EVERY_MS) continue
      if (isUsed) due.push(project)
      if (isUsed) this.#asked.set(project, { askedMs: nowMs, isUsed: false })
      else this.#asked.delete(project)
    }
    return due
  }

  /** What others found, or this process before it was restarted. */
  known(project: string, clocks: ReadonlyMap<string, DeviceClock>): void {
    for (const [device, clock] of clocks) {
      if (this.#changes.get(project)?.has(device)) continue
      const watch = this.#watched.get(project)?.get(device) ?? (this.#hasRoom(project) ? this.#watch(project, device) : undefined)
      if (watch) watch.clock = clock
    }
  }

  /** Those were all: the clocks of others are right, or their devices are gone. */
  knownAll(project: string, wrong: ReadonlySet<string>): void {
    for (const [device, watch] of this.#watched.get(project) ?? [])
      if (!wrong.has(device) && !this.#changes.get(project)?.has(device)) watch.clock = undefined
  }

  /** What is to be written, once. */
  take(): ReadonlyMap<string, Changes> {
    const changes = new Map(this.#changes)
    this.#changes.clear()
    return changes
  }

  /** It could not be written: again the next time, unless there is newer. */
  putBack(project: string, changes: Changes): void {
    const newer = this.#changes.get(project)
    this.#changes.set(project, new Map([...changes, ...(newer ?? [])]))
  }

  #hasRoom(project: string): boolean {
    return this.#size < MAX_WATCHED && (this.#watched.get(project)?.size ?? 0) < MAX_OF_PROJECT
  }

  #watch(project: string, device: string): Watch | undefined {
    const watches = this.#watched.get(project) ?? new Map<string, Watch>()
    if (!this.#hasRoom(project)) this.#makeRoom(watches)
    if (this.#size >= MAX_WATCHED) return undefined
    this.#watched.set(project, watches)
    const watch = { clock: undefined, right: 0, count: 0, firstUs: 0, leastUs: 0, mostUs: 0 }
    watches.set(device, watch)
    this.#size++
    return watch
  }

  /** Whoever was watched longest among the first, of whom nothing is said yet; else the one watched longest: it is found again. */
  #makeRoom(watches: Map<string, Watch>): void {
    const first = [...take(watches, AMONG)]
    const [device] = first.find(([, { clock }]) => clock === undefined) ?? first[0] ?? []
    if (device === undefined) return
    watches.delete(device)
    this.#size--
  }

  #seenRight(project: string, device: string, watch: Watch): void {
    watch.count = 0
    if (++watch.right < RIGHT) return
    this.#watched.get(project)?.delete(device)
    this.#size--
    if (watch.clock) this.#changed(project, device, undefined)
  }

  #changed(project: string, device: string, clock: DeviceClock | undefined): void {
    const changes = this.#changes.get(project) ?? new Map<string, DeviceClock | undefined>()
    this.#changes.set(project, changes.set(device, clock))
  }
}

function* take<T>(all: Iterable<T>, count: number): Generator<T> {
  let left = count
  for (const one of all) {
    if (left-- === 0) return
    yield one
  }
}

function stateOf(watch: Watch, aheadUs: number, arrivedUs: number): ClockState | undefined {
  if (aheadUs > TOLERANCE_US) return 'ahead'
  if (arrivedUs + aheadUs < EARLIEST_US) return 'unset'
  const least = Math.min(watch.leastUs, aheadUs)
  const most = Math.max(watch.mostUs, aheadUs)
  if (watch.count === 0 || most - least > RUN.spreadUs)
    Object.assign(watch, { count: 1, firstUs: arrivedUs, leastUs: aheadUs, mostUs: aheadUs })
  else Object.assign(watch, { count: watch.count + 1, leastUs: least, mostUs: most })
  return watch.count >= RUN.events && arrivedUs - watch.firstUs >= RUN.us ? 'behind' : undefined
}
