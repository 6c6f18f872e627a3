// Stored history through the engine: stretch by stretch from the store, a few milliseconds of the thread at a time, until it is over or
// nobody waits for it any more.
import type { Range } from '../../packages/core/backtest.ts'
import { type Numbers, numbersOf } from '../../packages/core/column.ts'
import type { Device } from '../../packages/core/device.ts'
import type { DeviceEvent, EventData } from '../../packages/core/event.ts'
import { eventTypesOf, type Rule, selects } from '../../packages/core/rule.ts'
import type { Devices } from '../../packages/state/device.ts'
import { Turns } from '../../packages/state/turn.ts'
import type { ReadingStore, ScanColumns, ScanPlace, ScanQuery } from '../../packages/store/store.ts'

export type ReplayPorts = {
  readonly store: Pick<ReadingStore, 'counts' | 'scan'>
  readonly devices: Pick<Devices, 'get'>
}

export type Replayed = {
  readonly project: string
  /** Each event goes to those that select its device. */
  readonly sides: readonly {
    readonly rule: Rule
    take(device: Device, eventType: string, timeUs: number, eventId: string, data: EventData): void
  }[]
  readonly range: Range
  /** Undefined: all that the rules select. */
  readonly devices: readonly string[] | undefined
}

export type Progress = { readonly events: number; readonly total: number }

// Whole events are far larger than their numbers.
export const SIZES = { numbers: 200_000, events: 5000 }
const WINDOWS = 512
/** Of whole events: this is judged while as much is read. */
const BYTES_AT_ONCE = 8_000_000
const DEVICES_AT_ONCE = 1000

/** Says after each stretch how far it is; throws when the signal is aborted. */
export async function* replay(ports: ReplayPorts, replayed: Replayed, signal: AbortSignal, sizes = SIZES): AsyncGenerator<Progress> {
  const query = queryOf(replayed)
  const numbers = numbersOf(replayed.sides.map(({ rule }) => rule))
  const { stretches, total } = await stretchesOf(ports.store, query, numbers ? sizes.numbers : sizes.events, signal)
  const known = new Map<string, Device>()
  let events = 0
  yield { events, total }
  const read = numbers
    ? byNumbers(ports.store, query, numbers, stretches, sizes, signal)
    : whole(ports.store, query, stretches, sizes.events, signal)
  for await (const columns of read) {
    await learn(ports.devices, replayed.project, columns, known)
    await feed(columns, replayed, known, numbers, signal)
    events += columns.of.length
    yield { events, total: Math.max(total, events) }
  }
}

function queryOf({ project, sides, range, devices }: Replayed): ScanQuery {
  const eventTypes = [...new Set(sides.flatMap(({ rule }) => eventTypesOf(rule)))]
  const named = sides.map(({ rule }) => rule.select.devices)
  const ids = devices ?? (named.every(list => list.length > 0) ? [...new Set(named.flat())] : undefined)
  return { project, eventTypes, devices: ids, ...range }
}

async function* whole(
  store: ReplayPorts['store'],
  query: ScanQuery,
  stretches: readonly Stretch[],
  limit: number,
  signal: AbortSignal,
): AsyncGenerator<ScanColumns> {
  for await (const { columns } of ahead(store, query, stretches, limit, signal)) yield columns
}

/** A stretch in which numbers alone do not tell is read again, event by event; so is at once what is too much even as numbers. */
async function* byNumbers(
  store: ReplayPorts['store'],
  query: ScanQuery,
  numbers: Numbers,
  stretches: readonly Stretch[],
  sizes: typeof SIZES,
  signal: AbortSignal,
): AsyncGenerator<ScanColumns> {
  const { fields, unless } = numbers
  const again = async function* ({ fromUs, toUs }: Range) {
    const range = { ...query, fromUs, toUs }
    yield* whole(store, range, (await stretchesOf(store, range, sizes.events, signal)).stretches, sizes.events, signal)
  }
  for (let from = 0; from < stretches.length; ) {
    const crowd = stretches.findIndex(({ count }, i) => i >= from && count > sizes.numbers)
    const to = crowd < 0 ? stretches.length : crowd
    for await (const { stretch, columns } of ahead(store, { ...query, fields, unless }, stretches.slice(from, to), undefined, signal))
      if (isTold(columns, numbers)) yield columns
      else yield* again(stretch)
    const crowded = stretches[to]
    if (crowded) yield* again(crowded)
    from = to + 1
  }
}

function isTold({ values, series, of }: ScanColumns, { fields, whole }: Numbers): boolean {
  if (values === undefined) return false
  return whole.every(({ eventType, field }) => {
    const column = values[fields.findIndex(one => one.eventType === eventType && one.field === field)] as Float64Array
    return column.every((value, i) => !Number.isNaN(value) || series[of[i] as number]?.eventType !== eventType)
  })
}

type Stretch = Range & { readonly count: number }
type Stretches = { readonly stretches: readonly Stretch[]; readonly total: number }

/** Neighbouring windows that together have about `most` events; a fuller one is counted in finer windows. */
async function stretchesOf(store: ReplayPorts['store'], query: ScanQuery, most: number, signal: AbortSignal): Promise<Stretches> {
  signal.throwIfAborted()
  if (query.toUs <= query.fromUs) return { stretches: [], total: 0 }
  const windowUs = Math.ceil((query.toUs - query.fromUs) / WINDOWS)
  const stretches: Stretch[] = []
  let total = 0
  let open: { fromUs: number; toUs: number; count: number } | undefined
  for (const { startUs, count } of await store.counts({ ...query, windowUs })) {
    total += count
    const toUs = Math.min(startUs + windowUs, query.toUs)
    if (open && open.count + count <= most) {
      open = { fromUs: open.fromUs, toUs, count: open.count + count }
      continue
    }
    if (open) stretches.push(open)
    open = { fromUs: startUs, toUs, count }
    if (count <= most || windowUs === 1) continue
    stretches.push(...(await stretchesOf(store, { ...query, fromUs: startUs, toUs }, most, signal)).stretches)
    open = undefined
  }
  if (open) stretches.push(open)
  return { stretches, total }
}

type Read = { readonly stretch: Stretch; readonly columns: ScanColumns }

/** The store reads on while this is judged. A stretch of whole events that has no room at once is read on from where it ended. */
async function* ahead(
  store: ReplayPorts['store'],
  query: ScanQuery,
  stretches: readonly Stretch[],
  limit: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<Read> {
  const scan = ({ fromUs, toUs }: Stretch, after?: ScanPlace) =>
    store.scan({ ...query, fromUs, toUs, room: limit === undefined ? undefined : { limit, maxBytes: BYTES_AT_ONCE, after } })
  let next: Promise<ScanColumns> | undefined
  for (let i = 0, stretch = stretches[0]; stretch; ) {
    signal.throwIfAborted()
    const read = { stretch, columns: await (next ?? scan(stretch)) }
    if (read.columns.next === undefined) stretch = stretches[++i]
    next = stretch && scan(stretch, read.columns.next)
    // Whoever goes away does not wait for it, nor for its failure; whoever stays sees that.
    void Promise.allSettled([next])
    yield read
  }
}

/** Devices as they are now; of one that was removed only its id is known. */
async function learn(devices: Pick<Devices, 'get'>, project: string, { series }: ScanColumns, known: Map<string, Device>): Promise<void> {
  const missing = [...new Set(series.map(({ device }) => device))].filter(id => !known.has(id))
  for (let i = 0; i < missing.length; i += DEVICES_AT_ONCE) {
    const ids = missing.slice(i, i + DEVICES_AT_ONCE)
    const found = await devices.get(project, ids)
    for (const [k, id] of ids.entries()) known.set(id, found[k] ?? { id, type: '', labels: {}, productNumber: '' })
  }
}

async function feed(
  columns: ScanColumns,
  { sides }: Replayed,
  known: ReadonlyMap<string, Device>,
  numbers: Numbers | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { series, of, timesUs, values, events } = columns
  const lanes = series.map(({ device: id, eventType }) => {
    const device = known.get(id) as Device
    return { device, eventType, dataAt: dataReader(eventType, numbers, values), takers: sides.filter(({ rule }) => selects(rule, device)) }
  })
  const turns = new Turns()
  for (let i = 0; i < of.length; i++) {
    const { device, eventType, dataAt, takers } = lanes[of[i] as number] as (typeof lanes)[number]
    if (takers.length > 0) {
      const { eventId, data } = events ? parsed(events.frames[i]) : { eventId: '', data: dataAt(i) }
      for (const one of takers) one.take(device, eventType, timesUs[i] as number, eventId, data)
    }
    // Of numbers many are judged in the time that looking at the clock takes.
    if ((events === undefined && i % 16 !== 0) || !turns.isOver) continue
    await turns.giveWay(signal)
  }
}

function parsed(frame = ''): Pick<DeviceEvent, 'eventId' | 'data'> {
  return JSON.parse(frame) as DeviceEvent
}

type Inner = { [key: string]: Inner | number }

/** Of the events of a type, by their place in the columns, as much as the numbers say. */
function dataReader(eventType: string, numbers: Numbers | undefined, values: ScanColumns['values']): (i: number) => EventData {
  const own = (numbers?.fields ?? []).flatMap(({ eventType: type, field }, number) => {
    const column = values?.[number]
    return type === eventType && column ? [{ path: field.split('.'), column }] : []
  })
  const [first, ...others] = own
  const [name, ...deeper] = first?.path ?? []
  if (first !== undefined && name !== undefined && others.length === 0 && deeper.length === 0) {
    const { column } = first
    return i => (Number.isNaN(column[i]) ? { [eventType]: {} } : { [eventType]: { [name]: column[i] as number } })
  }
  return i => {
    const inner: Inner = {}
    for (const { path, column } of own) if (!Number.isNaN(column[i])) put(inner, path, column[i] as number)
    return { [eventType]: inner }
  }
}

function put(inner: Inner, path: readonly string[], value: number): void {
  let place = inner
  for (const key of path.slice(0, -1)) {
    const next = Object.hasOwn(place, key) ? (place[key] as Inner) : {}
    place[key] = next
    place = next
  }
  place[path.at(-1) as string] = value
}
