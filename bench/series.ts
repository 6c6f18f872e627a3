// Recorded weeks of sensors with labelled incidents, made by us in the shapes of public data sets (machine temperatures, occupancy, power,
// pressure). The same numbers on every machine: one seed for each series.
import { createRandom, drift, gauss, type Random } from '../packages/cli/fleet/random.ts'

export type Incident = { readonly name: string; readonly fromUs: number; readonly toUs: number }
/** `arrivalUs`: by the clock of the server, which need not be that of the device. */
export type Reading = { readonly timeUs: number; readonly arrivalUs: number; readonly value: number }
export type Series = {
  readonly name: string
  readonly weeks: number
  readonly readings: readonly Reading[]
  readonly incidents: readonly Incident[]
}

const MINUTE_US = 60_000_000
const HOUR = 60
const DAY = 24 * HOUR
const WEEK = 7 * DAY
/** A Monday, midnight. */
const START_US = Date.UTC(2026, 0, 5) * 1000

type Plan = {
  readonly name: string
  readonly weeks: number
  /** Minutes between readings. */
  readonly every: number
  readonly incidents: readonly (readonly [name: string, from: number, minutes: number])[]
  /** `since`: minutes into the incident, if there is one. Undefined: the device says nothing. */
  readonly value: (minute: number, random: Random, incident?: { readonly name: string; readonly since: number }) => number | undefined
}

/** Day of the series, hour of the day. */
function on(day: number, hour: number): number {
  return day * DAY + hour * HOUR
}

function record({ name, weeks, every, incidents, value }: Plan): Series {
  const random = createRandom('detection', name)
  const readings: Reading[] = []
  for (let minute = 0; minute < weeks * WEEK; minute += every) {
    const running = incidents.find(([, from, minutes]) => minute >= from && minute < from + minutes)
    const found = value(minute, random, running === undefined ? undefined : { name: running[0], since: minute - running[1] })
    const timeUs = START_US + minute * MINUTE_US + Math.floor(random() * 5_000_000)
    if (found !== undefined) readings.push({ timeUs, arrivalUs: timeUs, value: Number(found.toFixed(2)) })
  }
  const labels = incidents.map(([label, from, minutes]) => ({
    name: label,
    fromUs: START_US + from * MINUTE_US,
    toUs: START_US + (from + minutes) * MINUTE_US,
  }))
  return { name, weeks, readings, incidents: labels }
}

/** -18 °C, a compressor that cycles, doors that are opened by day (no incidents), and three ways to lose the goods. */
function freezer(): Series {
  let door = 0
  let wander = 0
  return record({
    name: 'freezer, °C',
    weeks: 6,
    every: 5,
    incidents: [
      ['compressor failed', on(16, 2), 8 * HOUR],
      ['door left ajar', on(22, 15), 3 * HOUR],
      ['compressor failed', on(30, 20), 6 * HOUR],
      ['door left ajar', on(36, 9), 4 * HOUR],
      ['compressor weak', on(39, 0), 24 * HOUR],
    ],
    value(minute, random, incident) {
      wander = drift(wander, 0.3, 6 * 3600, 300, random)
      const hour = (minute / HOUR) % 24
      door = door * Math.exp(-5 / 12) + (hour > 7 && hour < 19 && random() < 0.02 ? 2 + 4 * random() : 0)
      const calm = -18 + 0.6 * Math.sin((2 * Math.PI * minute) / 42) + wander + door + 0.1 * gauss(random)
      if (incident === undefined) return calm
      const rise = { 'compressor failed': 26, 'door left ajar': 9, 'compressor weak': 3.5 }[incident.name] ?? 0
      return calm + rise * (1 - Math.exp(-incident.since / (4 * HOUR)))
    },
  })
}

/** Heated on workdays by day; what is wrong is only wrong at that time of the day or week. */
function office(): Series {
  let wander = 0
  return record({
    name: 'office, °C',
    weeks: 9,
    every: 10,
    incidents: [
      ['heating failed', on(43, 6), 12 * HOUR],
      ['heated at night', on(46, 22), 6 * HOUR],
      ['heated on Sunday', on(48, 8), 10 * HOUR],
      ['heating failed', on(52, 6), 12 * HOUR],
      ['heated at night', on(58, 23), 5 * HOUR],
    ],
    value(minute, random, incident) {
      wander = drift(wander, 0.3, 12 * 3600, 600, random)
      const day = Math.floor(minute / DAY) % 7
      const hour = (minute / HOUR) % 24
      const open = day < 5 ? 1 / (1 + Math.exp(-(hour - 7) * 2)) / (1 + Math.exp((hour - 19) * 1.2)) : 0
      const heat = incident === undefined ? open : incident.name === 'heating failed' ? 0 : 1 - Math.exp(-incident.since / 40)
      return 17 + 5 * heat + wander + 0.15 * gauss(random)
    },
  })
}

/** Slow drift and noise; shifts, noise that grows, and single spikes that are no incidents. */
function pump(): Series {
  let wander = 0
  return record({
    name: 'pump, bar',
    weeks: 4,
    every: 2,
    incidents: [
      ['leak', on(10, 3), 5 * HOUR],
      ['cavitation', on(15, 13), 4 * HOUR],
      ['blocked', on(20, 18), 3 * HOUR],
      ['leak', on(25, 11), 5 * HOUR],
    ],
    value(minute, random, incident) {
      wander = drift(wander, 0.05, 24 * 3600, 120, random)
      const spike = random() < 0.0005 ? 1.5 * (random() - 0.5) : 0
      const calm = 6 + (0.3 * minute) / (4 * WEEK) + wander + spike
      const noise = 0.04 * gauss(random)
      if (incident?.name === 'cavitation') return calm + 8 * noise
      const shift = incident === undefined ? 0 : incident.name === 'leak' ? -0.5 : 0.7
      return calm + noise + shift * (1 - Math.exp(-(incident?.since ?? 0) / 20))
    },
  })
}

/** A house: a base load, mornings and evenings, other weekends. */
function power(): Series {
  return record({
    name: 'power, kW',
    weeks: 9,
    every: 10,
    incidents: [
      ['pump runs all night', on(44, 0), 5 * HOUR],
      ['cold store off', on(50, 17), 4 * HOUR],
      ['pump runs all night', on(57, 0), 5 * HOUR],
      ['cold store off', on(60, 18), 3 * HOUR],
    ],
    value(minute, random, incident) {
      const weekend = Math.floor(minute / DAY) % 7 > 4
      const hour = (minute / HOUR) % 24
      const bump = (at: number, width: number) => Math.exp(-(((hour - at) / width) ** 2))
      const load = 1 + (weekend ? 2 * bump(13, 4) : 1.5 * bump(7.5, 1.2)) + 3 * bump(19, 2)
      const noisy = load * (1 + 0.08 * gauss(random))
      return incident === undefined ? noisy : incident.name === 'cold store off' ? noisy * 0.25 : noisy + 1.8
    },
  })
}

/** A sensor that repeats itself or says nothing, with single lost readings and a clock that jumps back for a while. */
function cellar(): Series {
  let wander = 0
  let last = 0
  const series = record({
    name: 'cellar, %RH',
    weeks: 4,
    every: 5,
    incidents: [
      ['stuck', on(9, 4), 12 * HOUR],
      ['silent', on(13, 10), 6 * HOUR],
      ['stuck', on(18, 16), 10 * HOUR],
      ['silent', on(23, 1), 8 * HOUR],
    ],
    value(minute, random, incident) {
      wander = drift(wander, 4, 24 * 3600, 300, random)
      const lost = random() < 0.03
      const value = 62 + wander + 3 * Math.sin((2 * Math.PI * minute) / DAY) + 0.3 * gauss(random)
      if (incident?.name === 'silent' || lost) return undefined
      if (incident?.name !== 'stuck') last = value
      return last
    },
  })
  // Two hours in which its clock is 20 minutes slow, after a battery change.
  const [fromUs, toUs] = [START_US + on(16, 8) * MINUTE_US, START_US + on(16, 10) * MINUTE_US]
  const slow = (timeUs: number) => (timeUs >= fromUs && timeUs < toUs ? timeUs - 20 * MINUTE_US : timeUs)
  return { ...series, readings: series.readings.map(reading => ({ ...reading, timeUs: slow(reading.timeUs) })) }
}

export function recordAll(): readonly Series[] {
  return [freezer(), office(), pump(), power(), cellar()]
}
