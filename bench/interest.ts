// Matching alone: 10,000 different subscriptions, of which some fifteen match each event.
import type { Device } from '../packages/core/device.ts'
import type { LogEvent } from '../packages/log/entry.ts'
import type { Filter } from '../services/stream/filter.ts'
import { Interests } from '../services/stream/interest.ts'

const SUBSCRIPTIONS = 10_000
const DEVICES = 10_000
const TYPES = ['temperature', 'humidity', 'touch', 'networkStatus']

const none: Filter = {
  deviceIds: undefined,
  deviceTypes: undefined,
  eventTypes: undefined,
  productNumbers: undefined,
  labels: [],
  labelMatch: 'all',
}

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

export type Matching = { readonly events: number; readonly found: number }

/** @returns what matches so many events. */
export function prepareMatching(kind: 'index' | 'memo', of: 'devices' | 'labels'): (count: number) => Matching {
  const interests = new Interests<number>(kind === 'memo')
  for (let n = 0; n < SUBSCRIPTIONS; n++) interests.add(filterOf(n, of), n)
  // Who asks for a label has the registry asked; where changes are not told, that is for every event.
  interests.add({ ...none, labels: [{ key: 'nowhere', value: undefined }] }, -1)
  const deviceOf = new Map(devices.map(device => [device.id, device]))
  return count => {
    let found = 0
    for (let i = 0; i < count; i++) {
      const event = events[i % events.length] as LogEvent
      found += interests.match(event, interests.needsDevice(event) ? deviceOf.get(event.device) : undefined).length
    }
    return { events: count, found: found / count }
  }
}
