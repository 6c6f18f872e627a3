// What a list of devices may be asked: filters, an order, and the place after which a page goes on.
import { type Device, isEmulated, type LabelFilter, type LabelMatch, matchesLabels } from '../core/device.ts'
import { invalid } from '../core/failure.ts'
import { type Facet, facetsOf, parseReportedPath, type ReportedPath } from './deviceindex.ts'

/** OR inside one list, AND between them; labels as `labelMatch` says. An undefined list asks for nothing. */
export type DeviceFilter = {
  readonly ids?: ReadonlySet<string> | undefined
  readonly types?: ReadonlySet<string> | undefined
  readonly productNumbers?: ReadonlySet<string> | undefined
  readonly labels: readonly LabelFilter[]
  /** `all` unless given. */
  readonly labelMatch?: LabelMatch | undefined
  /** In lower case; part of the type, the id, or a label's key or value. */
  readonly keyword?: string | undefined
  /** Only devices of the emulator. */
  readonly emulated?: boolean | undefined
}

export type OrderKey = { readonly facet: Facet } | { readonly reported: ReportedPath } | 'name'
export type Order = { readonly by: OrderKey; readonly descending: boolean }

/**
 * A device's place in an order: its value there, then its id; those without the value come after all others. By value, not by
 * count, so that a page goes on in the same place whatever was added or removed before it.
 */
export type Place = { readonly without: boolean; readonly key: string | number; readonly id: string }

export function parseOrder(text: string | undefined): Order {
  const descending = text?.startsWith('-') === true
  return { by: orderKey(descending ? (text as string).slice(1) : (text ?? 'name')), descending }
}

function orderKey(text: string): OrderKey {
  if (text === 'name') return 'name'
  if (text === 'type') return { facet: 'type' }
  if (text === 'productNumber') return { facet: 'product' }
  if (text.startsWith('labels.') && text.length > 'labels.'.length) return { facet: `label:${text.slice('labels.'.length)}` }
  if (text.startsWith('reported.')) return { reported: parseReportedPath(text.slice('reported.'.length)) }
  throw invalid(
    'orderBy',
    'expected name, type, productNumber, labels.{key} or reported.{eventType}.{field}, with "-" in front for descending',
  )
}

export function passes(filter: DeviceFilter, device: Device): boolean {
  if (filter.ids && !filter.ids.has(device.id)) return false
  if (filter.types && !filter.types.has(device.type)) return false
  if (filter.productNumbers && !filter.productNumbers.has(device.productNumber)) return false
  if (filter.emulated === true && !isEmulated(device.id)) return false
  return (
    matchesLabels(filter.labels, device.labels, filter.labelMatch) && (filter.keyword === undefined || mentions(device, filter.keyword))
  )
}

function mentions({ id, type, labels }: Device, keyword: string): boolean {
  const has = (text: string) => text.toLowerCase().includes(keyword)
  return has(id) || has(type) || Object.entries(labels).some(([key, value]) => has(key) || has(value))
}

/** The value by which a device stands in an order of what the registry knows; undefined when it has none. */
export function facetValue(device: Device, facet: Facet): string | undefined {
  return facetsOf(device).get(facet)
}

/** Negative when a comes before b. */
export function comparePlaces(a: Place, b: Place, descending: boolean): number {
  if (a.without !== b.without) return a.without ? 1 : -1
  // Those without a value are in order of id either way.
  const sign = descending && !a.without ? -1 : 1
  return sign * (compareKeys(a.key, b.key) || compareBytes(a.id, b.id))
}

function compareKeys(a: string | number, b: string | number): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  return compareBytes(String(a), String(b))
}

/** As Redis compares: by the bytes of UTF-8, which for ASCII is the order of the characters. */
function compareBytes(a: string, b: string): number {
  if (a === b) return 0
  return WIDE.test(a) || WIDE.test(b) ? Buffer.compare(Buffer.from(a), Buffer.from(b)) : a < b ? -1 : 1
}

/** UTF-16 differs from UTF-8 in order only where there are surrogates. */
const WIDE = /[\ud800-\udfff]/
