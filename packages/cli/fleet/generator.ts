// What each kind of device measures: one small pure function per event type, from the room and its own memory to the next fields.
import { drift, flip, gauss, type Random } from './random.ts'
import { type Air, presence, type Room, warmth } from './room.ts'

/** Fields below the event type, for example `{ value: 21.5 }`. */
export type Fields = { readonly [field: string]: number | string }

type Moment = { readonly timeUs: number; readonly stepS: number; readonly room: Room; readonly air: Air }
export type Memory = { readonly [key: string]: number }
type Generated = { readonly fields: Fields; readonly memory: Memory }
export type Generator = (at: Moment, memory: Memory, random: Random) => Generated

const PER_HOUR = 1 / 3600
const DAY_S = 86_400

export const generators: { readonly [eventType: string]: Generator } = {
  temperature: (at, memory, random) => ({ fields: { value: round(warmth(at.room, at.air) + 0.05 * gauss(random), 2) }, memory }),

  /** Warm air holds more water: the relative humidity falls about 2.5 % for each degree. */
  humidity(at, memory, random) {
    const temperature = warmth(at.room, at.air)
    const noise = drift(memory.noise ?? 0, 1.2, 5400, at.stepS, random)
    const relative = 44 - 2.5 * (temperature - at.room.baseC) + 4 * at.air.occupancy + noise
    const fields = { temperature: round(temperature, 2), relativeHumidity: round(clamp(relative, 5, 98), 1) }
    return { fields, memory: { noise } }
  },

  contact(at, memory, random) {
    const opened = flip(memory.on === 1, (0.05 + 18 * presence(at.timeUs)) * PER_HOUR, 1 / 40, at.stepS, random)
    return { fields: { state: opened ? 'OPEN' : 'CLOSED' }, memory: { on: opened ? 1 : 0 } }
  },

  waterPresent(at, memory, random) {
    const wet = flip(memory.on === 1, 1 / (45 * DAY_S), 1 / 1500, at.stepS, random)
    return { fields: { state: wet ? 'PRESENT' : 'NOT_PRESENT' }, memory: { on: wet ? 1 : 0 } }
  },

  motion(at, memory, random) {
    const moving = flip(memory.on === 1, (0.1 + 40 * presence(at.timeUs)) * PER_HOUR, 1 / 60, at.stepS, random)
    return { fields: { state: moving ? 'MOTION_DETECTED' : 'NO_MOTION_DETECTED' }, memory: { on: moving ? 1 : 0 } }
  },

  co2: (at, memory, random) => ({ fields: { ppm: Math.round(at.air.co2Ppm + 6 * gauss(random)) }, memory }),

  /** A fridge or rack: base load, a compressor that cycles, and what people switch on. The counter only rises. */
  power(at, memory, random) {
    const running = flip(memory.on === 1, 1 / 900, 1 / 600, at.stepS, random)
    const watts = round(Math.max(0, 60 + (running ? 130 : 0) + 220 * at.air.occupancy + 4 * gauss(random)), 1)
    const wattHours = (memory.wattHours ?? 0) + (watts * at.stepS) / 3600
    return { fields: { watts, wattHours: round(wattHours, 3) }, memory: { on: running ? 1 : 0, wattHours } }
  },

  /** Drains by about a tenth of a percent a day from where it started. */
  batteryStatus(at, memory, random) {
    const charge = Math.max(0, (memory.charge ?? 70 + 30 * random()) - (0.1 * at.stepS) / DAY_S)
    return { fields: { percentage: Math.floor(charge) }, memory: { charge } }
  },
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value))
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}
