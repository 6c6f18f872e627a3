// Matching alone: 10,000 different subscriptions, of which some fifteen match each event.
import type { Device } from '../packages/core/device.ts'
import type { LogEvent } from '../packages/log/entry.ts'
import { type Filter, matches } from '../services/stream/filter.ts'
import { Interests } from '../services/stream/interest.ts'

const SUBSCRIPTIONS = 10_000
const DEVICES = 10_000
const TYPES = ['temperature', 'humidity', 'touch', 'networkStatus']

const none = { deviceIds: undefined, deviceTypes: undefined, eventTypes: undefined, productNumbers: undefined, labels: [] }

/** Of the first kind each lists fifteen devices; of the second most follow one kind of event in a part of a building. No two are the same. */
function filterOf(n: number, kind: 'devices' | 'labels'): Filter {
  if (kind === 'devices' || n % 7 === 0) {
    const ids = Array.from({ length: 15 }, (_, k) => `device-${(n * 31 + k * k * 577) % DEVICES}`)
    return { ...none, deviceIds: new Set(ids) }
  }
  const type = TYPES[n % (TYPES.length + 1)]
  const eventTypes = type === undefined ? undefined : new Set([type])
  const labels = [{ key: 'zone', value: `zone-${n % 250}` }]
  return { ...none, labels, eventTypes, productNumbers: new Set(['1', '2', '3', '4', '5', '6', `mine-${n}`]) }
}

const devices: readonly Device[] = Array.from({ length: DEVICES }, (_, i) => ({
  id: `device-${i}`,
  type: 'temperature',
  productNumber: `${i % 7}`,
  labels: { zone: `zone-${i % 200}`, floor: `floor-${i % 40}`, site: 'north' },
}))
/** As they come from the log: a string of its own each. */
const events = Array.from({ length: DEVICES }, (_, i) => ({
  device: Buffer.from(`device-${(i * 7919) % DEVICES}`).toString(),
  eventType: Buffer.from(TYPES[i % TYPES.length] as string).toString(),
  timeUs: i,
  frame: '',
}))

export type Matching = { readonly perSecond: number; readonly found: number }

export function measureMatching(kind: 'loop' | 'index' | 'memo', of: 'devices' | 'labels', rounds: number): Matching {
  const filters = Array.from({ length: SUBSCRIPTIONS }, (_, n) => filterOf(n, of))
  const interests = new Interests<number>(kind === 'memo')
  for (const [n, filter] of filters.entries()) interests.add(filter, n)
  // Who asks for a label has the registry asked; without the memo that holds for every event.
  interests.add({ ...none, labels: [{ key: 'nowhere', value: undefined }] }, -1)
  const deviceOf = new Map(devices.map(device => [device.id, device]))
  const one = (event: LogEvent) => {
    if (kind !== 'loop') return interests.match(event, interests.needsDevice(event) ? deviceOf.get(event.device) : undefined).length
    const device = deviceOf.get(event.device)
    return filters.reduce((sum, filter) => sum + (matches(filter, event, device) ? 1 : 0), 0)
  }
  let found = 0
  const round = (count: number) => {
    for (let i = 0; i < count; i++) found += one(events[i] as LogEvent)
  }
  const count = kind === 'loop' ? 500 : events.length
  round(count)
  found = 0
  const startedMs = performance.now()
  for (let i = 0; i < rounds; i++) round(count)
  return { perSecond: (count * rounds * 1000) / (performance.now() - startedMs), found: found / (count * rounds) }
}
