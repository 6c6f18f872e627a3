// By what devices are found without reading them all: the names of the indexes in Redis, and what stands in them for one device.
import type { Device } from '../core/device.ts'
import { invalid } from '../core/failure.ts'
import { parseTime } from '../core/time.ts'
import { projectKey } from '../log/key.ts'
import type { CommitCommand } from '../log/log.ts'

/**
 * `type`, `product` or `label:{key}`: a sorted set with a member `value\0id` for each device that has the value, so that one range
 * answers «has it», «has this value» and «in order of it». Changed only together with the device, by a script.
 */
export type Facet = 'type' | 'product' | `label:${string}`

export function facetKey(project: string, facet: Facet): string {
  return projectKey(project, `facet:${facet}`)
}

export function facetMember(value: string, id: string): string {
  return `${value}\0${id}`
}

/** A value may hold a zero character, an id cannot. */
export function splitMember(member: string): { value: string; id: string } {
  const at = member.lastIndexOf('\0')
  return { value: member.slice(0, at), id: member.slice(at + 1) }
}

export function facetsOf(device: Device): Map<Facet, string> {
  const facets = new Map<Facet, string>()
  if (device.type !== '') facets.set('type', device.type)
  if (device.productNumber !== '') facets.set('product', device.productNumber)
  for (const [key, value] of Object.entries(device.labels)) facets.set(`label:${key}`, value)
  return facets
}

/** What changes in the indexes when a device changes; undefined stands for one that does not exist. */
export function facetCommands(project: string, before: Device | undefined, after: Device | undefined): CommitCommand[] {
  const id = (before ?? after)?.id ?? ''
  const old = before ? facetsOf(before) : new Map<Facet, string>()
  const fresh = after ? facetsOf(after) : new Map<Facet, string>()
  const commands: CommitCommand[] = []
  for (const [facet, value] of old)
    if (fresh.get(facet) !== value) commands.push(['ZREM', facetKey(project, facet), facetMember(value, id)])
  for (const [facet, value] of fresh)
    if (old.get(facet) !== value) commands.push(['ZADD', facetKey(project, facet), 0, facetMember(value, id)])
  return commands
}

/** A field of what devices reported, such as `temperature.value`: the event type, then the way to it. */
export type ReportedPath = { readonly text: string; readonly eventType: string; readonly fields: readonly string[] }

const MAX_PATH_CHARS = 200

/** The part of `orderBy` after `reported.`. An event type that has a dot in its name cannot be told from a field. */
export function parseReportedPath(text: string): ReportedPath {
  const [eventType = '', ...fields] = text.split('.')
  if (text.length > MAX_PATH_CHARS || eventType === '' || fields.length === 0 || fields.includes(''))
    throw invalid('orderBy', 'expected reported.{eventType}.{field}, such as reported.temperature.value')
  return { text, eventType, fields }
}

/** Sorted set of the devices that reported the field: score as `scoreOf` says, member the id. Kept by the report consumer. */
export function reportedIndexKey(project: string, path: string): string {
  return projectKey(project, `order:${path}`)
}

/** The order of a reported value as a number; undefined when the device has none. */
export function scoreAt(data: unknown, { fields }: ReportedPath): number | undefined {
  let value = data
  for (const field of fields) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, field)) return undefined
    value = (value as Record<string, unknown>)[field]
  }
  return scoreOf(value)
}

const STRING_FLOOR = 0x7e00_0000_0000_0000n
/** Numbers of a size that no sensor has would run into the texts. */
const MAX_NUMBER = 1e298

/**
 * Numbers by size, false before true, times by time; other texts after all numbers, by their first seven bytes in UTF-8 (as many
 * as a score has room for), and where these are equal the devices are in order of id.
 */
export function scoreOf(value: unknown): number | undefined {
  if (typeof value === 'number') return Math.max(-MAX_NUMBER, Math.min(MAX_NUMBER, value))
  if (typeof value === 'boolean') return value ? 1 : 0
  if (typeof value !== 'string') return undefined
  return parseTime(value) ?? textScore(value)
}

/** Doubles above zero are ordered as their bits are, so the bytes become the low bits of a very large one. */
function textScore(text: string): number {
  const bytes = Buffer.alloc(8)
  bytes.write(text.slice(0, 7), 1, 7, 'utf8')
  bytes.writeBigUInt64BE(STRING_FLOOR + bytes.readBigUInt64BE())
  return bytes.readDoubleBE()
}
