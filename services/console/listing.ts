// Pages of devices over one project or all that the caller may see, and the token that leads from one to the next.
import { createHmac } from 'node:crypto'
import { invalid } from '../../packages/core/failure.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import type { DeviceLists, Listed } from '../../packages/state/devicelist.ts'
import { comparePlaces, type DeviceFilter, type Order, type Place } from '../../packages/state/devicequery.ts'

export type ListRequest = {
  /** In order of name. */
  readonly projects: readonly string[]
  readonly filter: DeviceFilter
  readonly order: Order
  readonly limit: number
  readonly token: string | undefined
  /** All that was asked, but for size and token: another question makes the token void. */
  readonly question: string
  /** What tokens are sealed with: known to all processes of this installation and nobody else. */
  readonly tokenKey: string
}

export type ListedIn = Listed & { readonly project: string }
type Result = { readonly found: readonly ListedIn[]; readonly next: Spot | undefined }

/** After a place in a project; without a place: at its beginning. */
type Spot = { readonly project: string; readonly place: Place | undefined }

/** Of the wildcard, in one call. */
const MAX_PROJECTS = 20

export async function listDevices(
  lists: DeviceLists,
  request: ListRequest,
): Promise<{ found: readonly ListedIn[]; nextPageToken: string }> {
  const spot = readToken(request)
  const { found, next } = await (request.order.by === 'name' ? inTurn(lists, request, spot) : merged(lists, request, spot))
  return { found, nextPageToken: next ? writeToken(request, next) : '' }
}

/** In order of name one project comes after the other. */
async function inTurn(lists: DeviceLists, { projects, filter, order, limit }: ListRequest, spot: Spot | undefined): Promise<Result> {
  const way = order.descending ? projects.toReversed() : projects
  const left = spot ? way.filter(project => project === spot.project || project > spot.project !== order.descending) : way
  const found: ListedIn[] = []
  for (const [i, project] of left.entries()) {
    if (found.length === limit || i === MAX_PROJECTS) return { found, next: { project, place: undefined } }
    const place = project === spot?.project ? spot.place : undefined
    const page = await lists.list(project, filter, order, place && { place, inclusive: false }, limit - found.length)
    found.push(...page.found.map(one => ({ ...one, project })))
    if (page.next !== 'end') return { found, next: { project, place: page.next === 'again' ? place : page.next } }
  }
  return { found, next: undefined }
}

/** In any other order the projects' pages are merged, as far as all of them have been read. */
async function merged(lists: DeviceLists, { projects, filter, order, limit }: ListRequest, spot: Spot | undefined): Promise<Result> {
  const again = { found: [], next: spot ?? { project: '', place: undefined } }
  const found: ListedIn[] = []
  const open: { project: string; place: Place }[] = []
  for (let i = 0; i < projects.length; i += MAX_PROJECTS) {
    const some = projects.slice(i, i + MAX_PROJECTS)
    const pages = await Promise.all(some.map(project => lists.list(project, filter, order, fromSpot(spot, project), limit)))
    for (const [k, page] of pages.entries()) {
      const project = some[k] as string
      if (page.next === 'again') return again
      found.push(...page.found.map(one => ({ ...one, project })))
      if (page.next !== 'end') open.push({ project, place: page.next })
    }
  }
  const compare = (a: { project: string; place: Place }, b: { project: string; place: Place }) =>
    comparePlaces(a.place, b.place, order.descending) || (a.project < b.project ? -1 : Number(a.project > b.project))
  const [frontier] = open.sort(compare)
  const sure = found.filter(one => frontier === undefined || compare(one, frontier) <= 0).sort(compare)
  const page = sure.slice(0, limit)
  const last = page.at(-1)
  if (sure.length > limit && last) return { found: page, next: last }
  return { found: page, next: frontier }
}

/** Devices of several projects can have the same place: then the projects are in order of name. */
function fromSpot(spot: Spot | undefined, project: string): Parameters<DeviceLists['list']>[3] {
  return spot?.place && { place: spot.place, inclusive: project > spot.project }
}

const SEPARATOR = '\n'

function writeToken(request: ListRequest, { project, place }: Spot): string {
  const parts = place ? [place.without ? 'w' : typeof place.key === 'number' ? 'n' : 's', place.id, String(place.key)] : []
  const text = [project, ...parts].join(SEPARATOR)
  return encodeToken(`${sealOf(request, text)}${SEPARATOR}${text}`)
}

/** Only what was given out for this question is a place in its order: anything else could be a place in none. */
function readToken(request: ListRequest): Spot | undefined {
  const token = decodeToken(request.token)
  if (token === undefined) return undefined
  const end = token.indexOf(SEPARATOR)
  const text = token.slice(end + 1)
  if (end < 0 || token.slice(0, end) !== sealOf(request, text))
    throw invalid('pageToken', 'expected the nextPageToken of a page with the same filters and order')
  const [project = '', kind, id = '', ...rest] = text.split(SEPARATOR)
  if (kind === undefined) return { project, place: undefined }
  const value = rest.join(SEPARATOR)
  return { project, place: { without: kind === 'w', key: kind === 'n' ? Number(value) : value, id } }
}

function sealOf({ question, tokenKey }: ListRequest, text: string): string {
  return createHmac('sha256', tokenKey).update(`devices\n${question}\n${text}`).digest('base64url').slice(0, 16)
}
