// The parameters of the Red5 dialect. Those that it does not know are not looked at, as its servers do; those that it knows have to be right.
import { invalid } from '../../../../packages/core/failure.ts'
import type { Region } from './choose.ts'

export type Query = Readonly<Record<string, string | readonly string[] | undefined>>

const REGION = /^[A-Za-z0-9][\w.-]{0,62}$/
const MAX_ENDPOINTS = 100

export function oneOf(query: Query, name: string): string | undefined {
  const value = query[name]
  if (typeof value === 'string' || value === undefined) return value
  throw invalid(name, 'expected one value, got several')
}

/** Python programs write `True` (contracts.md 0.6). */
export function flag(query: Query, name: string): boolean {
  const value = oneOf(query, name)?.toLowerCase()
  if (value !== undefined && value !== 'true' && value !== 'false') throw invalid(name, 'expected true or false')
  return value === 'true'
}

export function wholeNumber(query: Query, name: string, max: number): number | undefined {
  const text = oneOf(query, name)
  if (text === undefined) return undefined
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0
  if (value < 1 || value > max) throw invalid(name, `expected a whole number from 1 to ${max}`)
  return value
}

export type Action = 'broadcast' | 'subscribe'

export type Lookup = {
  readonly action: Action
  readonly region: Region | undefined
  readonly strict: boolean
  /** More than one: as many as there are, up to this, in a list. */
  readonly endpoints: number
}

export function parseLookup(query: Query): Lookup {
  const action = oneOf(query, 'action')
  if (action !== 'broadcast' && action !== 'subscribe') throw invalid('action', 'expected broadcast or subscribe')
  // Nothing is transcoded here, and who asks for it gets what there is.
  flag(query, 'transcode')
  return {
    action,
    region: parseRegion(query),
    strict: flag(query, 'strict'),
    endpoints: wholeNumber(query, 'endpoints', MAX_ENDPOINTS) ?? 1,
  }
}

function parseRegion(query: Query): Region | undefined {
  const region = oneOf(query, 'region')
  const geozone = oneOf(query, 'geozone')
  if (region !== undefined && geozone !== undefined) throw invalid('geozone', 'expected either a region or a geozone')
  for (const [name, value] of Object.entries({ region, geozone }))
    if (value !== undefined && !REGION.test(value)) throw invalid(name, 'expected a name such as eu-north-1')
  const name = region ?? geozone
  return name === undefined ? undefined : { name, isZone: region === undefined }
}
