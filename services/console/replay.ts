// Stored history through the engine: stretch by stretch from the store, a few milliseconds of the thread at a time, until it is over or
// nobody waits for it any more.
import { type NumberField, numberFieldsOf, type Range } from '../../packages/core/backtest.ts'
import type { Device } from '../../packages/core/device.ts'
import type { DeviceEvent, EventData } from '../../packages/core/event.ts'
import { eventTypesOf, type Rule, selects } from '../../packages/core/rule.ts'
import type { Devices } from '../../packages/state/device.ts'
import type { ReadingStore, ScanColumns, ScanPlace, ScanQuery } from '../../packages/store/store.ts'
import { Turn } from './turn.ts'

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
const NUMBERS_AT_ONCE = 200_000
const EVENTS_AT_ONCE = 5000
const BYTES_AT_ONCE = 8_000_000
const WINDOWS = 512
const DEVICES_AT_ONCE = 1000

/** Says after each stretch how far it is; throws when the signal is aborted. */
export async function* replay(ports: ReplayPorts, replayed: Replayed, signal: AbortSignal): AsyncGenerator<Progress> {
  const query = queryOf(replayed)
  const most = query.fields ? NUMBERS_AT_ONCE : EVENTS_AT_ONCE
  const { stretches, total } = await stretchesOf(ports.store, query, most, signal)
  const known = new Map<string, Device>()
  const fields = new Map(query.fields?.map(({ eventType, field }) => [eventType, field]))
  let events = 0
  yield { events, total }
  for await (const columns of ahead(ports.store, query, stretches, most, signal)) {
    await learn(ports.devices, replayed.project, columns, known)
    await feed(columns, replayed, known, fields, signal)
    events += columns.of.length
    yield { events, total: Math.max(total, events) }
  }
}

function queryOf({ project, sides, range, devices }: Replayed): ScanQuery {
  const eventTypes = [...new Set(sides.flatMap(({ rule }) => eventTypesOf(rule)))]
  const named = sides.map(({ rule }) => rule.select.devices)
  const ids = devices ?? (named.every(list => list.length > 0) ? [...new Set(named.flat())] : undefined)
  return { project, eventTypes, devices: ids, fields: commonFields(sides.map(({ rule }) => rule)), ...range }
}

/** Undefined when a rule needs whole events, or two rules need different numbers of one event. */
function commonFields(rules: readonly Rule[]): readonly NumberField[] | undefined {
  const byType = new Map<string, NumberField>()
  for (const rule of rules) {
    const fields = numberFieldsOf(rule)
    if (fields === undefined) return undefined
    for (const one of fields) {
      if ((byType.get(one.eventType)?.field ?? one.field) !== one.field) return undefined
      byType.set(one.eventType, one)
    }
  }
  return [...byType.values()]
}

type Stretches = { readonly stretches: readonly Range[]; readonly total: number }

/** Neighbouring windows that together have about `most` events; a fuller one is counted in finer windows. */
async function stretchesOf(store: ReplayPorts['store'], query: ScanQuery, most: number, signal: AbortSignal): Promise<Stretches> {
  signal.throwIfAborted()
  if (query.toUs <= query.fromUs) return { stretches: [], total: 0 }
  const windowUs = Math.ceil((query.toUs - query.fromUs) / WINDOWS)
  const stretches: Range[] = []
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

/** The store reads on while this is judged. A stretch that has no room at once is read on from where it ended. */
async function* ahead(
  store: ReplayPorts['store'],
  query: ScanQuery,
  stretches: readonly Range[],
  most: number,
  signal: AbortSignal,
): AsyncGenerator<ScanColumns> {
  const read = (stretch: Range, after?: ScanPlace) =>
    store.scan({ ...query, fromUs: stretch.fromUs, toUs: stretch.toUs, limit: most, maxBytes: BYTES_AT_ONCE, after })
  let next: Promise<ScanColumns> | undefined
  for (let i = 0, stretch = stretches[0]; stretch; ) {
    signal.throwIfAborted()
    const columns: ScanColumns = await (next ?? read(stretch))
    if (columns.next === undefined) stretch = stretches[++i]
    next = stretch && read(stretch, columns.next)
    // Whoever goes away does not wait for it, nor for its failure; whoever stays sees that.
    void Promise.allSettled([next])
    yield columns
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
  fields: ReadonlyMap<string, string>,
  signal: AbortSignal,
): Promise<void> {
  const { series, of, timesUs, values, events } = columns
  const lanes = series.map(({ device: id, eventType }) => {
    const device = known.get(id) as Device
    return { device, eventType, field: fields.get(eventType) ?? '', takers: sides.filter(({ rule }) => selects(rule, device)) }
  })
  const turn = new Turn(signal)
  for (let i = 0; i < of.length; i++) {
    const { device, eventType, field, takers } = lanes[of[i] as number] as (typeof lanes)[number]
    if (takers.length > 0) {
      const { eventId, data } = values ? { eventId: '', data: { [eventType]: { [field]: values[i] } } } : whole(events?.frames[i])
      for (const one of takers) one.take(device, eventType, timesUs[i] as number, eventId, data)
    }
    if (turn.isOver()) await turn.next()
  }
}

function whole(frame = ''): Pick<DeviceEvent, 'eventId' | 'data'> {
  return JSON.parse(frame) as DeviceEvent
}
