// What the judge remembers of a project's devices: which rules sit on each, how far each of those has come, and the events of late.
import type { Device } from '../../packages/core/device.ts'
import { Recent } from '../../packages/core/recent.ts'
import { eventTypesOf } from '../../packages/core/rule.ts'
import { type Around, NEW, type Track } from '../../packages/core/track.ts'
import { acceptedUs } from '../../packages/log/entry.ts'
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
  recent: Recent
  loaded: boolean
  readonly seats: Seat[]
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
    for (const judged of rules.choose(device)) this.#sit(judged)
  }

  #sit(judged: Judged): void {
    const kinds = eventTypesOf(judged.rule).map(eventType => this.#kind(eventType))
    const seat: Seat = { judged, track: NEW, loaded: false, kinds, recents: kinds.map(({ recent }) => recent) }
    for (const kind of kinds) kind.seats.push(seat)
    this.seats.set(judged.rule.name, seat)
  }

  #kind(eventType: string): Kind {
    const known = this.kinds.get(eventType)
    if (known) return known
    const kind: Kind = { eventType, recent: new Recent(), loaded: false, seats: [] }
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

/** Over all recent events that the rule reads. */
export function newestOffsetOf({ recents }: Seat): number {
  const newest = recents.flatMap(({ events }) => events.slice(-1)).toSorted((a, b) => b.timeUs - a.timeUs)[0]
  return newest === undefined ? 0 : acceptedUs(newest.entryId) - newest.timeUs
}
