// What the judge remembers of a project's devices: which rules sit on each, how far each of those has come, and the events of late.
import type { Device } from '../../packages/core/device.ts'
import { READS_ALL, type Reads } from '../../packages/core/kept.ts'
import { Recent } from '../../packages/core/recent.ts'
import { eventTypesOf } from '../../packages/core/rule.ts'
import { type Around, NEW, type Track } from '../../packages/core/track.ts'
import { acceptedUs } from '../../packages/log/entry.ts'
import type { Lines } from './commit.ts'
import type { Judged, RuleSet } from './ruleset.ts'

/** One rule on one device. */
export type Seat = {
  judged: Judged
  /** NEW until `loaded`. */
  track: Track
  loaded: boolean
  /** Of the types that the rule reads. */
  readonly kinds: readonly Kind[]
  readonly recents: Recent[]
}

/** One type of event of one device. */
export type Kind = {
  readonly eventType: string
  readonly reads: Reads
  recent: Recent
  loaded: boolean
  readonly seats: Seat[]
  /** What the judgement under way is about to write of it. */
  lines: Lines | undefined
}

/** A device, with the rules that select it. */
export class Seen {
  readonly device: Device
  /** False: the registry does not have it, and may have it soon. */
  readonly known: boolean
  readonly kinds = new Map<string, Kind>()
  readonly seats = new Map<string, Seat>()
  /** For events that are judged again. */
  around: Around | undefined

  constructor(device: Device, known: boolean, rules: RuleSet) {
    this.device = device
    this.known = known
    for (const judged of rules.choose(device)) this.#sit(judged, rules)
  }

  #sit(judged: Judged, rules: RuleSet): void {
    const kinds = eventTypesOf(judged.rule).map(eventType => this.#kind(eventType, rules))
    const seat: Seat = { judged, track: NEW, loaded: false, kinds, recents: kinds.map(({ recent }) => recent) }
    for (const kind of kinds) kind.seats.push(seat)
    this.seats.set(judged.rule.name, seat)
  }

  #kind(eventType: string, rules: RuleSet): Kind {
    const known = this.kinds.get(eventType)
    if (known) return known
    const kind: Kind = {
      eventType,
      reads: rules.reads(eventType) ?? READS_ALL,
      recent: new Recent(),
      loaded: false,
      seats: [],
      lines: undefined,
    }
    this.kinds.set(eventType, kind)
    return kind
  }

  /** Takes over what was remembered under earlier rules. */
  inherit(earlier: Seen): void {
    for (const [eventType, kind] of this.kinds) {
      const before = earlier.kinds.get(eventType)
      if (before?.loaded) this.fill(kind, before.recent)
    }
  }

  fill(kind: Kind, recent: Recent): void {
    kind.recent = recent
    kind.loaded = true
    for (const seat of kind.seats) seat.recents[seat.kinds.indexOf(kind)] = recent
  }
}

/** How far the device's clock is behind the server's, by its newest event: a late one says nothing about it. */
export function offsetOf({ events }: Recent, timeUs: number, arrivedUs: number): number {
  const newest = events[events.length - 1]
  return newest === undefined || newest.timeUs <= timeUs ? arrivedUs - timeUs : acceptedUs(newest.entryId) - newest.timeUs
}

/** The same by what is remembered, if anything is. */
export function newestOffsetOf({ recents }: Seat): number | undefined {
  const newest = recents
    .flatMap(({ events }) => events.slice(-1))
    .sort((a, b) => a.timeUs - b.timeUs)
    .at(-1)
  return newest && acceptedUs(newest.entryId) - newest.timeUs
}
