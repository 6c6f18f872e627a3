// Lists of devices, page by page, out of a million without reading them all: along the index that leaves the fewest to look at.
import type { Redis } from 'ioredis'
import type { Device } from '../core/device.ts'
import { projectKey } from '../log/key.ts'
import { type Devices, parseReported, reportedKey } from './device.ts'
import { DeviceIndexes } from './devicebuild.ts'
import { type Facet, facetKey, facetMember, type ReportedPath, reportedIndexKey, scoreAt, splitMember } from './deviceindex.ts'
import { comparePlaces, type DeviceFilter, facetValue, type Order, type Place, passes } from './devicequery.ts'
import { DeviceScripts } from './devicescript.ts'

export type Listed = { readonly device: Device; readonly place: Place }

export type Page = {
  readonly found: readonly Listed[]
  /** Where the next page begins; `again`: where this one did, because an index is still being built. */
  readonly next: Place | 'again' | 'end'
}

/** Where a page begins: after a place, or with it. */
export type From = { readonly place: Place; readonly inclusive: boolean } | undefined

/** Devices that one call looks at; a page may then be shorter than asked for, or empty, and still not be the last. */
const MAX_EXAMINED = 5000
const CHUNK = 500

/** A way along the devices in one order. `more` gives the next ones, fewer than asked for at its end. */
type Way = { more(from: From, count: number): Promise<Place[]> }

/** A part of the registry in order of id: all of it, or the devices with one value. */
type Range = { readonly key: string; readonly prefix: string; readonly low: string; readonly high: string }

/**
 * Devices that hold all that the filter can want, and how many they are at most: those in the ranges, in order of id, and those that have
 * one of the facets, which are in order of its value. The same device can be in several.
 */
type Driver = { readonly ranges: readonly Range[]; readonly facets: readonly Facet[]; readonly count: number }

export class DeviceLists {
  readonly #redis: Redis
  readonly #devices: Devices
  readonly #indexes: DeviceIndexes
  readonly #scripts: DeviceScripts
  readonly #maxExamined: number
  readonly #chunk: number

  /** @param maxExamined devices that one call looks at; more than these are not sorted in memory. */
  constructor(redis: Redis, devices: Devices, maxExamined = MAX_EXAMINED) {
    this.#maxExamined = maxExamined
    this.#chunk = Math.min(CHUNK, maxExamined)
    this.#redis = redis
    this.#devices = devices
    this.#indexes = new DeviceIndexes(redis, devices)
    this.#scripts = new DeviceScripts(redis)
  }

  /** Every device that exists throughout, matches and does not change its place in the order comes exactly once. */
  async list(project: string, filter: DeviceFilter, order: Order, from: From, limit: number): Promise<Page> {
    const total = await this.#redis.zcard(projectKey(project, 'deviceIndex'))
    const small = total <= this.#maxExamined || filter.ids !== undefined
    if (!small && usesFacets(filter, order) && !(await this.#indexes.facetsReady(project))) return AGAIN
    const driver = small ? whole(project, filter, total) : await this.#driver(project, filter, total)
    if (order.by === 'name' && isWalkable(driver) && !filter.ids)
      return this.#walk(project, filter, this.#idWay(driver.ranges, order.descending), from, limit)
    if (driver.count <= this.#maxExamined || filter.ids) return this.#sorted(project, filter, order, driver, from, limit)
    if (order.by === 'name') return this.#walk(project, filter, this.#idWay([all(project)], order.descending), from, limit)
    // Without an index nobody has the value, and all are in order of id.
    if ('reported' in order.by && (await this.#indexes.reportedReady(project, order.by.reported)) === 'building') return AGAIN
    return this.#ordered(project, filter, order, driver, from, limit)
  }

  /** The filter that the fewest devices meet. */
  async #driver(project: string, filter: DeviceFilter, total: number): Promise<Driver> {
    const drivers: Driver[] = [whole(project, filter, total)]
    const equal = (facet: Facet, values: Iterable<string>) => [...values].map(value => valueRange(project, facet, value))
    if (filter.types) drivers.push(await this.#counted(equal('type', filter.types)))
    // Devices without a product number are in no index.
    if (filter.productNumbers && !filter.productNumbers.has('')) drivers.push(await this.#counted(equal('product', filter.productNumbers)))
    drivers.push(...(await this.#labelDrivers(project, filter)))
    if (filter.emulated === true) drivers.push(await this.#counted([emulated(project)]))
    // A label that is only asked to be there has its devices in order of value: of use for sorting a few, not for walking.
    const usable = drivers.filter(driver => isWalkable(driver) || driver.count <= this.#maxExamined)
    return usable.reduce((best, one) => (one.count < best.count ? one : best))
  }

  /** Each label is one where all must hold; together they are one where any is enough. */
  async #labelDrivers(project: string, { labels, labelMatch }: DeviceFilter): Promise<Driver[]> {
    const drivers = labels.map(({ key, value }) => {
      const facet: Facet = `label:${key}`
      return value === undefined ? this.#having(project, facet) : this.#counted([valueRange(project, facet, value)])
    })
    const found = await Promise.all(drivers)
    return labelMatch === 'any' && found.length > 0 ? [together(found)] : found
  }

  async #having(project: string, facet: Facet): Promise<Driver> {
    return { ranges: [], facets: [facet], count: await this.#redis.zcard(facetKey(project, facet)) }
  }

  async #counted(ranges: readonly Range[]): Promise<Driver> {
    const counts = await Promise.all(ranges.map(({ key, low, high }) => this.#redis.zlexcount(key, low, high)))
    return { ranges, facets: [], count: counts.reduce((sum, count) => sum + count, 0) }
  }

  /** Reads along a way until the page is full, the way ends, or enough devices were looked at. */
  async #walk(
    project: string,
    filter: DeviceFilter,
    way: Way,
    start: From,
    limit: number,
    wanted?: (device: Device, place: Place) => boolean,
  ): Promise<Page> {
    const accepts = (device: Device, place: Place) => passes(filter, device) && wanted?.(device, place) !== false
    const found: Listed[] = []
    let from = start
    for (let examined = 0; examined < this.#maxExamined; ) {
      // One more than the page holds says whether there is another.
      const count = isOpen(filter) && !wanted ? limit + 1 - found.length : this.#chunk
      const { places, devices } = await this.#look(project, way, from, count)
      for (const [i, place] of places.entries()) {
        const device = devices[i]
        if (device && accepts(device, place)) found.push({ device, place })
      }
      if (found.length > limit) return { found: found.slice(0, limit), next: (found[limit - 1] as Listed).place }
      if (places.length < count) return { found, next: 'end' }
      from = { place: places.at(-1) as Place, inclusive: false }
      examined += places.length
    }
    return { found, next: from?.place ?? 'end' }
  }

  async #look(project: string, way: Way, from: From, count: number) {
    const places = await way.more(from, count)
    const ids = places.map(({ id }) => id)
    return { places, devices: await this.#devices.get(project, ids) }
  }

  /** Along the index of the order, then along the devices that are not in it. */
  async #ordered(project: string, filter: DeviceFilter, order: Order, driver: Driver, from: From, limit: number): Promise<Page> {
    const key =
      order.by === 'name' ? '' : 'facet' in order.by ? facetKey(project, order.by.facet) : reportedIndexKey(project, order.by.reported.text)
    const way = order.by !== 'name' && 'facet' in order.by ? this.#facetWay(key, order.descending) : this.#scoreWay(key, order.descending)
    const page: Page = from?.place.without ? { found: [], next: 'end' } : await this.#walk(project, filter, way, from, limit)
    if (page.next !== 'end' || (await this.#holdsAll(project, key))) return page
    if (page.found.length === limit) return { ...page, next: NOT_FOUND_YET }
    const rest = await this.#without(
      project,
      filter,
      order,
      driver,
      from?.place.without && from.place.id !== '' ? from : undefined,
      limit - page.found.length,
    )
    return { ...rest, found: [...page.found, ...rest.found] }
  }

  /**
   * Whether every device stands in the index of an order. Counted at one moment, and every index holds only devices that exist
   * (devicescript.ts, devicereport.ts): so one that lacks the value all the time is never overlooked.
   */
  async #holdsAll(project: string, key: string): Promise<boolean> {
    const transaction = this.#redis.multi().zcard(key).zcard(projectKey(project, 'deviceIndex'))
    const counts = ((await transaction.exec()) ?? []).map(([error, count]) => {
      if (error) throw error
      return count as number
    })
    return (counts[0] as number) >= (counts[1] as number)
  }

  async #without(project: string, filter: DeviceFilter, order: Order, driver: Driver, from: From, limit: number): Promise<Page> {
    const ids = this.#idWay(isWalkable(driver) ? driver.ranges : [all(project)], false)
    const { by } = order
    if (by === 'name') return { found: [], next: 'end' }
    const way: Way = {
      more: async (at, count) => (await ids.more(at, count)).map(({ id }) => ({ without: true, key: '', id })),
    }
    if ('facet' in by) return this.#walk(project, filter, way, from, limit, device => facetValue(device, by.facet) === undefined)
    const key = reportedIndexKey(project, by.reported.text)
    const known = new Set<string>()
    const checked: Way = {
      more: async (at, count) => {
        const places = await way.more(at, count)
        if (places.length === 0) return places
        const scores = await this.#redis.zmscore(
          key,
          places.map(({ id }) => id),
        )
        for (const [i, score] of scores.entries()) if (score !== null) known.add((places[i] as Place).id)
        return places
      },
    }
    return this.#walk(project, filter, checked, from, limit, ({ id }) => !known.has(id))
  }

  /** All that the driver has, sorted here. */
  async #sorted(project: string, filter: DeviceFilter, order: Order, driver: Driver, from: From, limit: number): Promise<Page> {
    const ids = filter.ids ? [...filter.ids] : await this.#idsOf(project, driver)
    const found: Listed[] = []
    for (let i = 0; i < ids.length; i += this.#chunk) {
      const devices = (await this.#devices.get(project, ids.slice(i, i + this.#chunk))).filter(
        device => device && passes(filter, device),
      ) as Device[]
      const places = await this.#placesOf(project, devices, order)
      for (const [k, device] of devices.entries()) found.push({ device, place: places[k] as Place })
    }
    const compare = (a: Place, b: Place) => comparePlaces(a, b, order.descending)
    const rest = found
      .filter(({ place }) => from === undefined || compare(place, from.place) > (from.inclusive ? -1 : 0))
      .sort((a, b) => compare(a.place, b.place))
    return { found: rest.slice(0, limit), next: rest.length > limit ? (rest[limit - 1] as Listed).place : 'end' }
  }

  async #idsOf(project: string, { ranges, facets }: Driver): Promise<string[]> {
    const inRanges = ranges.map(async ({ key, low, high, prefix }) => {
      const members = await this.#redis.zrangebylex(key, low, high)
      return members.map(member => member.slice(prefix.length))
    })
    const having = facets.map(async facet => {
      const members = await this.#redis.zrangebylex(facetKey(project, facet), '-', '+')
      return members.map(member => splitMember(member).id)
    })
    return [...new Set((await Promise.all([...inRanges, ...having])).flat())]
  }

  async #placesOf(project: string, devices: readonly Device[], { by }: Order): Promise<Place[]> {
    if (by === 'name') return devices.map(({ id }) => ({ without: false, key: '', id }))
    const keys = 'facet' in by ? devices.map(device => facetValue(device, by.facet)) : await this.#scores(project, devices, by.reported)
    return devices.map(({ id }, i) => (keys[i] === undefined ? { without: true, key: '', id } : { without: false, key: keys[i], id }))
  }

  async #scores(project: string, devices: readonly Device[], path: ReportedPath): Promise<(number | undefined)[]> {
    if (devices.length === 0) return []
    const pipeline = this.#redis.pipeline()
    for (const { id } of devices) pipeline.hget(reportedKey(project, id), path.eventType)
    return ((await pipeline.exec()) ?? []).map(([error, row]) => {
      if (error) throw error
      return typeof row === 'string' ? scoreAt(parseReported(row).data, path) : undefined
    })
  }

  #idWay(ranges: readonly Range[], descending: boolean): Way {
    const read = async ({ key, prefix, low, high }: Range, from: From, count: number) => {
      const edge = from === undefined ? undefined : `${from.inclusive ? '[' : '('}${prefix}${from.place.id}`
      const members = descending
        ? await this.#redis.zrevrangebylex(key, edge ?? high, low, 'LIMIT', 0, count)
        : await this.#redis.zrangebylex(key, edge ?? low, high, 'LIMIT', 0, count)
      return members.map((member): Place => ({ without: false, key: '', id: member.slice(prefix.length) }))
    }
    return {
      more: async (from, count) => {
        const parts = await Promise.all(ranges.map(range => read(range, from, count)))
        if (parts.length === 1) return parts[0] as Place[]
        // The first of each range hold the first of all; and they are fewer than asked for only when every range is at its end.
        return parts
          .flat()
          .sort((a, b) => comparePlaces(a, b, descending))
          .filter(({ id }, i, sorted) => id !== sorted[i - 1]?.id)
          .slice(0, count)
      },
    }
  }

  #facetWay(key: string, descending: boolean): Way {
    return {
      more: async (from, count) => {
        const edge = from === undefined ? undefined : `${from.inclusive ? '[' : '('}${facetMember(String(from.place.key), from.place.id)}`
        const members = descending
          ? await this.#redis.zrevrangebylex(key, edge ?? '+', '-', 'LIMIT', 0, count)
          : await this.#redis.zrangebylex(key, edge ?? '-', '+', 'LIMIT', 0, count)
        return members.map((member): Place => {
          const { value, id } = splitMember(member)
          return { without: false, key: value, id }
        })
      },
    }
  }

  #scoreWay(key: string, descending: boolean): Way {
    return {
      more: async (from, count) => {
        if (from !== undefined) {
          const at = { score: Number(from.place.key), id: from.place.id, inclusive: from.inclusive }
          const pairs = await this.#scripts.seek(key, at, descending, count)
          return pairs.map(([id, score]): Place => ({ without: false, key: score, id }))
        }
        const flat = await (descending
          ? this.#redis.zrevrange(key, 0, String(count - 1), 'WITHSCORES')
          : this.#redis.zrange(key, 0, String(count - 1), 'WITHSCORES'))
        return Array.from({ length: flat.length / 2 }, (_, i) => ({
          without: false,
          key: Number(flat[2 * i + 1]),
          id: flat[2 * i] as string,
        }))
      },
    }
  }
}

const AGAIN: Page = { found: [], next: 'again' }

/** Before the first of those without a value: no id is empty. */
const NOT_FOUND_YET: Place = { without: true, key: '', id: '' }

function usesFacets(filter: DeviceFilter, order: Order): boolean {
  const filtered = filter.types !== undefined || filter.productNumbers !== undefined || filter.labels.length > 0
  return filtered || (order.by !== 'name' && 'facet' in order.by)
}

function isOpen({ ids, types, productNumbers, labels, keyword, emulated }: DeviceFilter): boolean {
  return emulated !== true && [ids, types, productNumbers, keyword].every(one => one === undefined) && labels.length === 0
}

function isWalkable({ facets }: Driver): boolean {
  return facets.length === 0
}

function together(drivers: readonly Driver[]): Driver {
  return {
    ranges: drivers.flatMap(({ ranges }) => ranges),
    facets: drivers.flatMap(({ facets }) => facets),
    count: drivers.reduce((sum, { count }) => sum + count, 0),
  }
}

function all(project: string): Range {
  return { key: projectKey(project, 'deviceIndex'), prefix: '', low: '-', high: '+' }
}

function emulated(project: string): Range {
  return { ...all(project), low: '[emu', high: '(emv' }
}

function valueRange(project: string, facet: Facet, value: string): Range {
  const prefix = facetMember(value, '')
  // The prefix ends with a zero character: the next possible one ends with a one.
  return { key: facetKey(project, facet), prefix, low: `[${prefix}`, high: `(${prefix.slice(0, -1)}\x01` }
}

function whole(project: string, filter: DeviceFilter, total: number): Driver {
  return { ranges: [filter.emulated === true ? emulated(project) : all(project)], facets: [], count: total }
}
