// What the devices of one room share: its climate, the people in it, and what they breathe out.
import { drift, type Random } from './random.ts'

export type Room = {
  readonly name: string
  readonly floor: number
  readonly baseC: number
  /** Half of the distance between the coldest and the warmest hour. */
  readonly swingC: number
  readonly people: number
}

export type Air = {
  readonly timeUs: number
  readonly noiseC: number
  /** People in the room, a fraction of its capacity. */
  readonly occupancy: number
  readonly co2Ppm: number
  /** How far from the usual the day is: makes no two days alike. */
  readonly habit: number
}

const OUTDOOR_PPM = 420
const PPM_PER_PERSON = 110
const AIR_CHANGE_S = 1800

export function stillAir(timeUs: number): Air {
  return { timeUs, noiseC: 0, occupancy: 0, co2Ppm: OUTDOOR_PPM, habit: 0 }
}

export function nextAir(room: Room, air: Air, timeUs: number, random: Random): Air {
  const stepS = Math.max(0, timeUs - air.timeUs) / 1e6
  const habit = drift(air.habit, 0.2, 3600, stepS, random)
  const occupancy = Math.min(1, Math.max(0, presence(timeUs) * (1 + habit)))
  const settledPpm = OUTDOOR_PPM + PPM_PER_PERSON * room.people * occupancy
  const kept = Math.exp(-stepS / AIR_CHANGE_S)
  return {
    timeUs,
    noiseC: drift(air.noiseC, 0.3, 2400, stepS, random),
    occupancy,
    co2Ppm: settledPpm + (air.co2Ppm - settledPpm) * kept,
    habit,
  }
}

/** Coldest at 03:00, warmest at 15:00 UTC. */
export function warmth(room: Room, air: Air): number {
  const hour = hourOf(air.timeUs)
  return room.baseC + room.swingC * Math.sin((2 * Math.PI * (hour - 9)) / 24) + air.noiseC + 0.6 * air.occupancy
}

/** How much of the building's people are in, 0 to 1, by UTC hour and weekday: the machine's own zone would change the series. */
export function presence(timeUs: number): number {
  const hour = hourOf(timeUs)
  const weekday = new Date(timeUs / 1000).getUTCDay()
  if (weekday === 0 || weekday === 6) return 0.02
  const arrived = ramp(hour, 7, 9.5)
  const left = ramp(hour, 15.5, 18.5)
  const lunch = 0.35 * Math.exp(-((hour - 12.25) ** 2) / 0.3)
  return Math.max(0.02, arrived - left - lunch)
}

function hourOf(timeUs: number): number {
  return (timeUs % 86_400e6) / 3_600e6
}

function ramp(hour: number, from: number, to: number): number {
  return Math.min(1, Math.max(0, (hour - from) / (to - from)))
}
