// Who asked for an event: an inverted index, so that an event costs what it matches and not what is subscribed.
// Subscribers with the same filter are one interest: it is matched once, and its frames are made once.
import type { Device, LabelFilter } from '../../packages/core/device.ts'
import type { LogEvent } from '../../packages/log/entry.ts'
import { type Filter, matches, needsDevice } from './filter.ts'

export type Interest<S> = {
  /** Undefined: everything. */
  readonly filter: Filter | undefined
  readonly subscribers: Set<S>
  /** Whoever routes a batch collects here which of its events are due, and leaves it empty. */
  readonly due: number[]
}

type Posted<S> = Interest<S> & {
  readonly key: string | Filter
  readonly places: readonly Place<S>[]
  /** What is left to ask where it is found. */
  readonly rest: Filter | undefined
}

/** One value of one property, and the interests that are found by it: those in any event type, and those in some. */
type Place<S> = { readonly any: Set<Posted<S>>; readonly ofType: Map<string, Set<Posted<S>>>; readonly leave: () => void }
type Places<S> = Map<string, Place<S>>

/** Matches remembered, over all event types; about 100 bytes each. */
const MAX_REMEMBERED = 100_000
/** Filters that list more than this are not compared with others. */
const MAX_COMPARED = 50

export class Interests<S> {
  readonly #interests = new Map<string | Filter, Posted<S>>()
  readonly #everywhere: Place<S> = placeIn(new Map(), '')
  readonly #devices: Places<S> = new Map()
  readonly #products: Places<S> = new Map()
  readonly #deviceTypes: Places<S> = new Map()
  /** Under `key` and `key=value`; keys hold no `=`. */
  readonly #labels: Places<S> = new Map()
  readonly #toldOfChanges: boolean
  /** By event type, then device. */
  #remembered = new Map<string, Map<string, readonly Posted<S>[]>>()
  #rememberedCount = 0
  #needingDevice = 0

  /** @param toldOfChanges whether `forget` is called when a device changes; else what depends on it is not remembered. */
  constructor(toldOfChanges: boolean) {
    this.#toldOfChanges = toldOfChanges
  }

  add(filter: Filter | undefined, subscriber: S): Interest<S> {
    const key = keyOf(filter)
    const interest = this.#interests.get(key) ?? this.#post(filter, key)
    interest.subscribers.add(subscriber)
    return interest
  }

  remove(interest: Interest<S>, subscriber: S): void {
    if (interest.subscribers.delete(subscriber) && interest.subscribers.size === 0) this.#withdraw(interest as Posted<S>)
  }

  /** Everybody. */
  subscribers(): S[] {
    return [...this.#interests.values()].flatMap(({ subscribers }) => [...subscribers])
  }

  /** Whether `match` must be told what the registry knows of the event's device. */
  needsDevice(event: LogEvent): boolean {
    return this.#needingDevice > 0 && this.#known(event) === undefined
  }

  /** Those that the event matches, each once. */
  match(event: LogEvent, device: Device | undefined): readonly Interest<S>[] {
    const known = this.#known(event)
    if (known) return known
    const found = this.#find(event, device)
    // A device that does not exist yet may do so soon.
    if (this.#needingDevice === 0 || (device && this.#toldOfChanges)) this.#remember(event, found)
    return found
  }

  /** The registry's facts about a device have changed. */
  forget(device: string): void {
    for (const ofType of this.#remembered.values()) if (ofType.delete(device)) this.#rememberedCount--
  }

  #known({ eventType, device }: LogEvent): readonly Posted<S>[] | undefined {
    return this.#remembered.get(eventType)?.get(device)
  }

  #find(event: LogEvent, device: Device | undefined): readonly Posted<S>[] {
    const found: Posted<S>[] = []
    collect(found, event, device, this.#everywhere)
    collect(found, event, device, this.#devices.get(event.device))
    if (!device || this.#needingDevice === 0) return found
    collect(found, event, device, this.#products.get(device.productNumber))
    collect(found, event, device, this.#deviceTypes.get(device.type))
    if (this.#labels.size > 0) for (const interest of this.#findLabelled(event, device)) found.push(interest)
    return found
  }

  /** One device can stand under several labels of which any is enough. */
  #findLabelled(event: LogEvent, device: Device): Iterable<Posted<S>> {
    const found: Posted<S>[] = []
    for (const key of Object.keys(device.labels)) {
      collect(found, event, device, this.#labels.get(key))
      collect(found, event, device, this.#labels.get(`${key}=${device.labels[key]}`))
    }
    return new Set(found)
  }

  #remember({ eventType, device }: LogEvent, found: readonly Posted<S>[]): void {
    if (this.#rememberedCount >= MAX_REMEMBERED) this.#forgetAll()
    this.#rememberedCount++
    const ofType = this.#remembered.get(eventType)
    if (ofType) ofType.set(device, found)
    else this.#remembered.set(eventType, new Map([[device, found]]))
  }

  #forgetAll(): void {
    if (this.#rememberedCount === 0) return
    this.#remembered = new Map()
    this.#rememberedCount = 0
  }

  #post(filter: Filter | undefined, key: string | Filter): Posted<S> {
    const { places, rest } = filter ? this.#placesFor(filter) : { places: [this.#everywhere], rest: undefined }
    const interest: Posted<S> = { filter, subscribers: new Set(), due: [], key, places, rest }
    for (const { any, ofType } of places)
      if (!filter?.eventTypes) any.add(interest)
      else for (const type of filter.eventTypes) getOr(ofType, type, () => new Set<Posted<S>>()).add(interest)
    this.#interests.set(key, interest)
    this.#changed(filter, 1)
    return interest
  }

  #withdraw(interest: Posted<S>): void {
    const { filter, places } = interest
    for (const { any, ofType, leave } of places) {
      any.delete(interest)
      for (const type of filter?.eventTypes ?? []) {
        const set = ofType.get(type)
        if (set?.delete(interest) && set.size === 0) ofType.delete(type)
      }
      if (any.size === 0 && ofType.size === 0) leave()
    }
    this.#interests.delete(interest.key)
    this.#changed(filter, -1)
  }

  #changed(filter: Filter | undefined, change: 1 | -1): void {
    const needed = this.#needingDevice > 0
    if (filter && needsDevice(filter)) this.#needingDevice += change
    // What was found without facts about devices must not stand in for what is found with them.
    if (filter?.deviceIds && needed === this.#needingDevice > 0) for (const device of filter.deviceIds) this.forget(device)
    else this.#forgetAll()
  }

  /** Where the fewest events pass: a device is rarer than a label's value, that rarer than a type. */
  #placesFor(filter: Filter): { places: readonly Place<S>[]; rest: Filter | undefined } {
    const { deviceIds, deviceTypes, productNumbers } = filter
    // Every place keeps the event types apart.
    const left = { ...filter, eventTypes: undefined }
    if (deviceIds) return { places: placesIn(this.#devices, deviceIds), rest: restOf({ ...left, deviceIds: undefined }) }
    const labels = this.#placingLabels(filter)
    if (labels.size > 0 && (!productNumbers || [...labels].every(({ value }) => value !== undefined))) {
      const places = placesIn(this.#labels, new Set([...labels].map(labelPlace)))
      return { places, rest: restOf({ ...left, labels: filter.labels.filter(one => !labels.has(one)) }) }
    }
    if (productNumbers) return { places: placesIn(this.#products, productNumbers), rest: restOf({ ...left, productNumbers: undefined }) }
    if (deviceTypes) return { places: placesIn(this.#deviceTypes, deviceTypes), rest: restOf({ ...left, deviceTypes: undefined }) }
    return { places: [this.#everywhere], rest: undefined }
  }

  /** Of these labels every device that is wanted has one at least. */
  #placingLabels({ labels, labelMatch }: Filter): ReadonlySet<LabelFilter> {
    if (labelMatch === 'any') return new Set(labels)
    const rarest = this.#rarest(labels)
    return new Set(rarest && [rarest])
  }

  /** A label with a value before one without, and of those the one that the fewest others stand under. */
  #rarest(labels: readonly LabelFilter[]): LabelFilter | undefined {
    const crowd = ({ key, value }: LabelFilter) =>
      value === undefined ? Number.POSITIVE_INFINITY : (this.#labels.get(labelPlace({ key, value }))?.any.size ?? 0)
    return labels.reduce<LabelFilter | undefined>((best, one) => (best && crowd(best) <= crowd(one) ? best : one), undefined)
  }
}

/** Adds those of a place whom the event matches. */
function collect<S>(found: Posted<S>[], event: LogEvent, device: Device | undefined, place: Place<S> | undefined): void {
  if (!place) return
  for (const interest of place.any) if (!interest.rest || matches(interest.rest, event, device)) found.push(interest)
  const ofType = place.ofType.get(event.eventType)
  if (ofType) for (const interest of ofType) if (!interest.rest || matches(interest.rest, event, device)) found.push(interest)
}

function labelPlace({ key, value }: LabelFilter): string {
  return value === undefined ? key : `${key}=${value}`
}

function restOf(filter: Filter): Filter | undefined {
  const { deviceTypes, productNumbers, labels } = filter
  return deviceTypes || productNumbers || labels.length > 0 ? filter : undefined
}

/** The same for filters that ask for the same. */
function keyOf(filter: Filter | undefined): string | Filter {
  if (!filter) return ''
  const { deviceIds, deviceTypes, eventTypes, productNumbers, labels, labelMatch } = filter
  const sets = [deviceIds, deviceTypes, eventTypes, productNumbers]
  if (sets.some(set => set !== undefined && set.size > MAX_COMPARED) || labels.length > MAX_COMPARED) return filter
  return JSON.stringify([...sets.map(set => set && [...set].sort()), labels.map(({ key, value }) => [key, value]), labelMatch])
}

function placesIn<S>(places: Places<S>, keys: Iterable<string>): Place<S>[] {
  return [...keys].map(key => getOr(places, key, () => placeIn(places, key)))
}

function placeIn<S>(places: Places<S>, key: string): Place<S> {
  return { any: new Set(), ofType: new Map(), leave: () => void places.delete(key) }
}

function getOr<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}
