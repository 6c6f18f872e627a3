// Which nanosecond of its microsecond an event gets in InfluxDB, so that two events never share one and a repeat finds its own.
import { parseTime } from '../core/time.ts'
import type { InfluxClient, InfluxSeries } from './influxclient.ts'
import { boundary, firstSlot, identifier, literal, SLOTS, safeName, slotOf } from './line.ts'
import type { StoreEvent } from './store.ts'

/** `newestUs`: no stored event of the series is newer; undefined until the server was asked. */
export type Series = {
  readonly project: string
  readonly eventType: string
  readonly device: string
  readonly prefix: string
  newestUs: number | undefined
}

export type Slots = {
  /** -1: not to be written. */
  readonly slots: Int16Array
  /** By number in the batch: where an event that is stored already has its first place. */
  readonly places: ReadonlyMap<number, string>
  readonly duplicates: number
  readonly refused: { event: StoreEvent; reason: string }[]
}

/** The events of one series in one microsecond, by id. */
type Microsecond = Map<string, Known>
type Known = { readonly slot: number; readonly place?: string }
type Suspects = { readonly series: Series; readonly places: Map<number, Microsecond> }
type Search = { readonly suspects: readonly Suspects[]; readonly statement: string; readonly limit: number }

// A statement names so many devices, and a request holds so many statements.
const DEVICES_PER_STATEMENT = 100
const STATEMENTS_PER_REQUEST = 100

export async function slotsOf(client: InfluxClient, events: readonly StoreEvent[], series: readonly Series[]): Promise<Slots> {
  const suspects = suspectsAmong(events, series)
  if (suspects.size > 0) await lookUp(client, [...suspects.values()])
  const slots = new Int16Array(events.length)
  const places = new Map<number, string>()
  const refused: Slots['refused'] = []
  let duplicates = 0
  const written = new Set<string>()
  for (let i = 0; i < events.length; i++) {
    const event = events[i] as StoreEvent
    const its = series[i] as Series
    const others = suspects.get(its)?.places.get(event.timeUs)
    its.newestUs = Math.max(its.newestUs ?? event.timeUs, event.timeUs)
    if (others === undefined) {
      slots[i] = firstSlot(event.eventId)
      continue
    }
    const known = others.get(event.eventId)
    if (known) duplicates++
    if (known?.place !== undefined) places.set(i, known.place)
    const slot = known?.slot ?? takeSlot(others, event.eventId)
    if (slot === -1) refused.push({ event, reason: `the series has ${SLOTS} other events in the same microsecond` })
    // Written again over itself: what InfluxDB answers with need not be on its disk yet. Within the batch once is enough.
    const key = `${its.prefix}${event.timeUs} ${event.eventId}`
    slots[i] = written.has(key) ? -1 : slot
    written.add(key)
  }
  return { slots, places, duplicates, refused }
}

function takeSlot(taken: Microsecond, eventId: string): number {
  if (taken.size >= SLOTS) return -1
  const used = new Set(Array.from(taken.values(), known => known.slot))
  let slot = firstSlot(eventId)
  while (used.has(slot)) slot = (slot + 1) % SLOTS
  taken.set(eventId, { slot })
  return slot
}

/** Events that are not newer than all of their series may be there already. The others cannot be. */
function suspectsAmong(events: readonly StoreEvent[], series: readonly Series[]): Map<Series, Suspects> {
  const suspects = new Map<Series, Suspects>()
  for (let i = 0; i < events.length; i++) {
    const { timeUs } = events[i] as StoreEvent
    const its = series[i] as Series
    if (its.newestUs !== undefined && timeUs > its.newestUs) {
      its.newestUs = timeUs
      continue
    }
    const mine = suspects.get(its) ?? { series: its, places: new Map<number, Microsecond>() }
    suspects.set(its, mine)
    if (!mine.places.has(timeUs)) mine.places.set(timeUs, new Map())
  }
  return suspects
}

async function lookUp(client: InfluxClient, suspects: readonly Suspects[]): Promise<void> {
  const truncated: Suspects[] = []
  const searches = searchesFor(suspects)
  for (let at = 0; at < searches.length; at += STATEMENTS_PER_REQUEST) {
    const some = searches.slice(at, at + STATEMENTS_PER_REQUEST)
    const answers = await client.query(some.map(({ statement }) => statement))
    for (const [i, search] of some.entries()) truncated.push(...learn(search, answers[i] ?? []))
  }
  await lookUpEach(client, truncated)
}

/** One statement for many devices of a project and event type: their suspects lie close together as a rule. */
function searchesFor(suspects: readonly Suspects[]): Search[] {
  const groups = new Map<string, Suspects[]>()
  for (const mine of suspects) {
    // What is stored after the suspects matters only while the newest time of the series is unknown.
    const key = `${mine.series.project} ${mine.series.eventType} ${mine.series.newestUs === undefined}`
    const group = groups.get(key)
    if (group) group.push(mine)
    else groups.set(key, [mine])
  }
  const searches: Search[] = []
  for (const group of groups.values())
    for (let at = 0; at < group.length; at += DEVICES_PER_STATEMENT) searches.push(searchFor(group.slice(at, at + DEVICES_PER_STATEMENT)))
  return searches
}

function searchFor(suspects: readonly Suspects[]): Search {
  let [oldest, newest, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0]
  for (const { places } of suspects) {
    most = Math.max(most, places.size)
    for (const timeUs of places.keys()) {
      oldest = Math.min(oldest, timeUs)
      newest = Math.max(newest, timeUs)
    }
  }
  const limit = 4 * most + 64
  const { project, eventType, newestUs } = (suspects[0] as Suspects).series
  const upper = newestUs === undefined ? '' : ` AND time < ${boundary(newest + 1)}`
  const devices = suspects.map(({ series: { device } }) => `"device" = ${literal(device)}`).join(' OR ')
  const where = `"project" = ${literal(project)} AND (${devices}) AND time >= ${boundary(oldest)}${upper}`
  const statement = `SELECT "_id","_place" FROM ${identifier(eventType)} WHERE ${where} GROUP BY "device" LIMIT ${limit}`
  return { suspects, statement, limit }
}

/** Notes what was found; answers those of whom there is more than the search showed. */
function learn({ suspects, limit }: Search, answer: readonly InfluxSeries[]): Suspects[] {
  const byDevice = new Map(answer.map(found => [found.tags?.device, found]))
  return suspects.filter(mine => {
    const found = byDevice.get(safeName(mine.series.device))?.values ?? []
    for (const row of found) note(mine, row)
    if (found.length >= limit) return true
    mine.series.newestUs ??= newestOf(found, mine)
    return false
  })
}

function newestOf(found: InfluxSeries['values'], { places }: Suspects): number {
  const last = found.at(-1)
  if (last !== undefined) return timeOf(String(last[0]))
  // Nothing from the oldest suspect on.
  let oldest = Number.POSITIVE_INFINITY
  for (const timeUs of places.keys()) oldest = Math.min(oldest, timeUs)
  return oldest - 1
}

async function lookUpEach(client: InfluxClient, suspects: readonly Suspects[]): Promise<void> {
  for (const mine of suspects) {
    const { project, eventType, device } = mine.series
    const from = `SELECT "_id","_place" FROM ${identifier(eventType)} WHERE "project" = ${literal(project)} AND "device" = ${literal(device)}`
    const statements = [...mine.places.keys()].map(timeUs => `${from} AND time >= ${boundary(timeUs)} AND time < ${boundary(timeUs + 1)}`)
    if (mine.series.newestUs === undefined) {
      const [[newest] = []] = await client.query([`${from} ORDER BY time DESC LIMIT 1`])
      mine.series.newestUs = timeOf(String(newest?.values[0]?.[0]))
    }
    for (let at = 0; at < statements.length; at += STATEMENTS_PER_REQUEST)
      for (const [found] of await client.query(statements.slice(at, at + STATEMENTS_PER_REQUEST)))
        for (const row of found?.values ?? []) note(mine, row)
  }
}

function note({ places }: Suspects, row: readonly unknown[]): void {
  const [time, eventId, place] = row as [string, string, string | null]
  places.get(timeOf(time))?.set(eventId, { slot: slotOf(time), ...(place === null ? {} : { place }) })
}

function timeOf(time: string): number {
  const timeUs = parseTime(time)
  if (timeUs === undefined) throw new Error(`InfluxDB answered with the time ${time}`)
  return timeUs
}
