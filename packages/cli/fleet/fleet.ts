// The simulated building: which rooms and devices there are, and the next draft of an event from any of them.
import type { Device } from '../../core/device.ts'
import { type Fields, generators, type Memory } from './generator.ts'
import { createRandom, type Random } from './random.ts'
import { type Air, nextAir, type Room, stillAir } from './room.ts'

/** An event before it has an id and a frame. */
export type Draft = { readonly device: string; readonly eventType: string; readonly fields: Fields; readonly timeUs: number }

type Kit = Omit<Room, 'floor'> & { readonly kinds: readonly Kind[] }
type Kind = keyof typeof KINDS

/** Kind of device → its type on the wire and the event type it sends. */
const KINDS = {
  temperature: { type: 'temperature', eventType: 'temperature' },
  humidity: { type: 'humidity', eventType: 'humidity' },
  door: { type: 'contact', eventType: 'contact' },
  leak: { type: 'waterDetector', eventType: 'waterPresent' },
  motion: { type: 'motion', eventType: 'motion' },
  co2: { type: 'co2', eventType: 'co2' },
  power: { type: 'power', eventType: 'power' },
} as const

/** One floor. The first nine devices show every kind. */
const FLOOR: readonly Kit[] = [
  { name: 'Meeting room', baseC: 21.5, swingC: 1.2, people: 8, kinds: ['temperature', 'humidity', 'co2', 'motion'] },
  { name: 'Cold store', baseC: 3.5, swingC: 0.4, people: 0, kinds: ['temperature', 'door', 'power'] },
  { name: 'Kitchen', baseC: 22, swingC: 1.6, people: 4, kinds: ['temperature', 'leak', 'humidity'] },
  { name: 'Server room', baseC: 19, swingC: 0.5, people: 0, kinds: ['temperature', 'power'] },
  { name: 'Office', baseC: 21, swingC: 1.8, people: 12, kinds: ['temperature', 'co2', 'motion', 'humidity'] },
  { name: 'Entrance', baseC: 18, swingC: 2.5, people: 2, kinds: ['door', 'motion'] },
]

/** Every twentieth event of a battery-driven device is its battery status. */
const BATTERY_EVERY = 20

type Place = { readonly room: Room; readonly random: Random; air: Air | undefined }
type Member = { readonly device: Device; readonly kind: Kind; readonly place: Place; readonly random: Random; turns: number; memory: Known }
type Known = Map<string, { readonly timeUs: number; readonly memory: Memory }>

export class Fleet {
  readonly devices: readonly Device[]
  readonly #members: readonly Member[]

  constructor(size: number, seed: string) {
    this.#members = members(size, seed)
    this.devices = this.#members.map(member => member.device)
  }

  /** The next event of the device at `index`; times must not go backwards within a room. */
  next(index: number, timeUs: number): Draft {
    const member = this.#members[index % this.#members.length] as Member
    const { place, device, kind } = member
    const air = nextAir(place.room, place.air ?? stillAir(timeUs), timeUs, place.random)
    place.air = air
    const battery = kind !== 'power' && (member.turns++ + index) % BATTERY_EVERY === BATTERY_EVERY - 1
    const eventType = battery ? 'batteryStatus' : KINDS[kind].eventType
    const before = member.memory.get(eventType) ?? { timeUs, memory: {} }
    const at = { timeUs, stepS: Math.max(0, timeUs - before.timeUs) / 1e6, room: place.room, air }
    const generate = generators[eventType as keyof typeof generators] as (typeof generators)[string]
    const { fields, memory } = generate(at, before.memory, member.random)
    member.memory.set(eventType, { timeUs, memory })
    return { device: device.id, eventType, fields, timeUs }
  }
}

function members(size: number, seed: string): Member[] {
  const made: Member[] = []
  for (let floor = 1; made.length < size; floor++)
    for (const kit of FLOOR) {
      const room = { ...kit, floor }
      const place = { room, random: createRandom(seed, `${floor}/${kit.name}`), air: undefined }
      for (const kind of kit.kinds) if (made.length < size) made.push(member(place, kind, seed))
    }
  return made
}

function member(place: Place, kind: Kind, seed: string): Member {
  const { name, floor } = place.room
  const id = `sim-${floor}-${name.toLowerCase().replaceAll(' ', '-')}-${kind}`
  const title = kind === 'co2' ? 'CO₂' : kind
  const labels = { name: `${name} ${title}, floor ${floor}`, room: name, floor: String(floor), simulated: 'true' }
  const device = { id, type: KINDS[kind].type, labels, productNumber: '' }
  return { device, kind, place, random: createRandom(seed, id), turns: 0, memory: new Map() }
}
