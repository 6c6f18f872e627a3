// What the judge remembers of one project between two reads. All of it stands in Redis too: it may be forgotten at any time.
import type { Device } from '../../packages/core/device.ts'
import { type Break, listeningFor } from '../../packages/core/listening.ts'
import { FRESH } from '../../packages/core/step.ts'
import { type Around, restore, settleAll, type Track } from '../../packages/core/track.ts'
import { parseTrackRow, type TrackRow, trackToJson } from '../../packages/core/trackrow.ts'
import { acceptedUs, compareIds } from '../../packages/log/entry.ts'
import type { Devices } from '../../packages/state/device.ts'
import { DeviceCache } from '../../packages/state/devicecache.ts'
import { recentOf } from '../../packages/state/judgement.ts'
import type { Judgement } from './commit.ts'
import { RuleSet } from './ruleset.ts'
import { type Kind, type Seat, Seen } from './seat.ts'

export type MemoryPorts = {
  readonly devices: Devices
  /** By rule and device, in the order asked for. */
  tracks(project: string, wanted: readonly (readonly [rule: string, device: string])[]): Promise<(TrackRow | undefined)[]>
  /** Lines by `{event type}\t{device}`, in the order asked for. */
  recents(project: string, series: readonly string[]): Promise<string[][]>
}

export class Memory {
  rules = new RuleSet('', [])
  /** When nothing was received. */
  breaks: readonly Break[] = []
  readonly devices: DeviceCache
  readonly #seen = new Map<string, Seen>()
  /** Seats and events, about. */
  weight = 0
  /** When alarms were last looked at of which somebody may have to be told; undefined: not yet. */
  attendedUs: number | undefined
  readonly #ports: MemoryPorts
  readonly #project: string

  constructor(ports: MemoryPorts, project: string) {
    this.#ports = ports
    this.#project = project
    this.devices = new DeviceCache(ports.devices, project)
  }

  /** Its type or labels changed, or it was removed. */
  overlook(id: string): void {
    this.devices.forget(id)
    this.#seen.delete(id)
  }

  /** Other rules than before. */
  rule(rules: RuleSet): void {
    this.rules = rules
    for (const seen of Array.from(this.#seen.values())) this.#reseat(seen, seen.known ? seen.device : undefined)
  }

  /** One that `see` has seen. */
  seen(id: string): Seen | undefined {
    return this.#seen.get(id)
  }

  /** Devices as they are now, with the rules that select them. */
  async see(ids: readonly string[]): Promise<ReadonlyMap<string, Seen>> {
    const found = new Map<string, Seen>()
    const missing: string[] = []
    for (const id of ids) {
      const seen = this.#seen.get(id)
      // One that did not exist may do so by now.
      if (seen?.known) found.set(id, seen)
      // As cut out of an entry of the log it would keep the whole of that in memory.
      else missing.push(Buffer.from(id).toString())
    }
    if (missing.length === 0) return found
    const devices = await this.devices.load(missing)
    for (const id of new Set(missing)) {
      const device = devices.get(id)
      const before = this.#seen.get(id)
      const seen = before ? this.#reseat(before, device) : new Seen(device ?? unknownDevice(id), device !== undefined, this.rules)
      this.weight += seen.seats.size
      this.#seen.set(id, seen)
      found.set(id, seen)
    }
    return found
  }

  /** What an event finds that is judged again. */
  around(seen: Seen): Around {
    seen.around ??= { device: seen.device, heard: ({ timeUs, entryId }) => listeningFor(this.breaks, acceptedUs(entryId) - timeUs) }
    return seen.around
  }

  /** What this judgement is about to write counts before what is written. */
  async load(judgement: Judgement, wanted: readonly { readonly seat: Seat; readonly seen: Seen }[]): Promise<void> {
    const missing = wanted.filter(({ seat }) => !seat.loaded)
    if (missing.length === 0) return
    const kinds = new Map<string, { readonly kind: Kind; readonly seen: Seen }>()
    for (const { seat, seen } of missing)
      for (const kind of seat.kinds) if (!kind.loaded) kinds.set(`${kind.eventType}\t${seen.device.id}`, { kind, seen })
    const [rows, recents] = await Promise.all([
      this.#ports.tracks(
        this.#project,
        missing.map(({ seat, seen }) => [seat.judged.rule.name, seen.device.id] as const),
      ),
      this.#ports.recents(this.#project, [...kinds.keys()]),
    ])
    for (const [i, [key, { kind, seen }]] of [...kinds].entries()) {
      const { lines = [], whole = false } = judgement.recents.get(key) ?? {}
      seen.fill(kind, recentOf(kind.eventType, whole ? lines : [...(recents[i] as string[]), ...lines], kind.reads))
      this.weight += kind.recent.events.length
    }
    for (const [i, { seat, seen }] of missing.entries()) {
      const { rule, after } = seat.judged
      const written = judgement.rows.get(`${rule.name}\t${seen.device.id}`)
      const row = written === undefined ? rows[i] : parseTrackRow(written)
      seat.track = restore(rule, row, seat.recents, this.around(seen), ({ entryId }) => compareIds(entryId, after) <= 0)
      seat.loaded = true
      if (row !== undefined && row.r !== rule.version) this.write(judgement, seen.device, seat)
    }
  }

  /** The rules of a device that is remembered, anew; what has not changed stays where it is, and what has is read again. */
  #reseat(earlier: Seen, device: Device | undefined): Seen {
    const seen = new Seen(device ?? earlier.device, device !== undefined, this.rules)
    seen.inherit(earlier)
    for (const [name, seat] of seen.seats) {
      const before = earlier.seats.get(name)
      if (!before?.loaded || before.judged.rule.version !== seat.judged.rule.version) continue
      seat.track = before.track
      seat.loaded = seat.kinds.every(({ loaded }) => loaded)
    }
    this.#seen.set(seen.device.id, seen)
    return seen
  }

  /** What it has come to does not change any more, whatever comes late. */
  final(judgement: Judgement, device: Device, seat: Seat): void {
    const before = seat.track
    seat.track = settleAll(seat.judged.rule, before, seat.recents)
    if (seat.track.current !== FRESH) this.write(judgement, device, seat)
  }

  write(judgement: Judgement, device: Device, { judged: { rule }, track }: Seat): void {
    judgement.rows.set(`${rule.name}\t${device.id}`, JSON.stringify(trackToJson(rule, track)))
  }
}

export function unknownDevice(id: string): Device {
  return { id, type: '', labels: {}, productNumber: '' }
}

/**
 * The recent events tell all that a condition remembers of them, once it is known that they were judged; what else changed could not be
 * told from them after an edit.
 */
export function isWorthWriting(before: Track, after: Track): boolean {
  const [a, b] = [before.current, after.current]
  return (
    a === FRESH ||
    a.phase !== b.phase ||
    a.clearSinceUs !== b.clearSinceUs ||
    a.severity !== b.severity ||
    a.waiting !== b.waiting ||
    before.clockUs !== after.clockUs ||
    before.past !== after.past
  )
}
