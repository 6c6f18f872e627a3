// Faults on request: what devices do wrong, as transformations of their drafts. The storm itself is the transport's (`disrupt`).
import { Failure } from '../../core/failure.ts'
import type { Draft } from './fleet.ts'
import type { Fields } from './generator.ts'
import { gauss, type Random } from './random.ts'

/** Probability of each requested fault; the meaning of the number is in `FAULTS`. */
export type Faults = { readonly [name in FaultName]?: number }
type FaultName = keyof typeof FAULTS

export const FAULTS = {
  'drop-outs': { usual: 0.01, meaning: 'chance per event that the device falls silent for its next 10 to 40 events' },
  stuck: { usual: 0.005, meaning: 'chance per event that the values freeze for the next 20 to 80 events' },
  spikes: { usual: 0.01, meaning: 'chance per event that its numbers jump far out of range' },
  'wrong-clock': { usual: 0.1, meaning: 'share of devices whose clock is at 1970, 2 h slow or 2 h fast' },
  'reconnect-storm': { usual: 0.05, meaning: 'chance per second that all MQTT connections drop at once' },
} as const

/** What a device's faults have to remember between its events. */
export type FaultMemory = {
  readonly silentFor: number
  readonly frozenFor: number
  readonly frozen: { readonly [eventType: string]: Fields }
  /** Undefined: not decided yet, which happens at the device's first event. */
  readonly clockUs: ClockError | undefined
}
type ClockError =
  | { readonly kind: 'right' }
  | { readonly kind: 'shifted'; readonly byUs: number }
  | { readonly kind: 'epoch'; readonly bootUs: number }

export const noFaults: FaultMemory = { silentFor: 0, frozenFor: 0, frozen: {}, clockUs: undefined }

/** `spikes,stuck=0.01` → `{ spikes: 0.01, stuck: 0.01 }`. */
export function parseFaults(text: string): Faults {
  const faults: { [name in FaultName]?: number } = {}
  for (const part of text.split(',')) {
    const [name, value] = part.trim().split('=', 2) as [string, string | undefined]
    if (!isFaultName(name)) throw expected(`one of ${Object.keys(FAULTS).join(', ')}, got "${name}"`)
    const chance = value === undefined ? FAULTS[name].usual : Number(value)
    if (value?.trim() === '' || !(chance >= 0 && chance <= 1)) throw expected(`${name}= a number from 0 to 1, got "${value}"`)
    faults[name] = chance
  }
  return faults
}

/** The draft as the faulty device sends it; no draft when it keeps silent. */
export function nextFault(faults: Faults, memory: FaultMemory, draft: Draft, random: Random): { memory: FaultMemory; draft?: Draft } {
  // Every roll is made at every event, so that one fault's settings don't change where another strikes.
  const rolls = { silence: random(), freeze: random(), spike: random(), clock: random(), length: random(), size: gauss(random) }
  const clockUs = memory.clockUs ?? wrongClock(faults['wrong-clock'] ?? 0, draft.timeUs, rolls.clock)
  const silentFor =
    memory.silentFor > 0 ? memory.silentFor - 1 : strikes(faults['drop-outs'], rolls.silence) ? lasting(10, 40, rolls.length) : 0
  const thawed = memory.frozenFor > 0 ? memory.frozenFor - 1 : strikes(faults.stuck, rolls.freeze) ? lasting(20, 80, rolls.length) : 0
  const fields = thawed > 0 ? (memory.frozen[draft.eventType] ?? draft.fields) : draft.fields
  const frozen = thawed > 0 ? { ...memory.frozen, [draft.eventType]: fields } : {}
  const next = { silentFor, frozenFor: thawed, frozen, clockUs }
  if (silentFor > 0) return { memory: next }
  const spiked = strikes(faults.spikes, rolls.spike) ? spike(fields, rolls.size) : fields
  return { memory: next, draft: { ...draft, fields: spiked, timeUs: byClock(clockUs, draft.timeUs) } }
}

function strikes(chance: number | undefined, roll: number): boolean {
  return chance !== undefined && roll < chance
}

function lasting(least: number, most: number, roll: number): number {
  return least + Math.floor(roll * (most - least + 1))
}

function spike(fields: Fields, size: number): Fields {
  const jump = (value: number) => Number((value + Math.sign(size || 1) * (Math.abs(value) + 10) * (5 + Math.abs(size))).toFixed(2))
  return Object.fromEntries(Object.entries(fields).map(([field, value]) => [field, typeof value === 'number' ? jump(value) : value]))
}

const TWO_HOURS_US = 7200e6

function wrongClock(share: number, bootUs: number, roll: number): ClockError {
  if (roll >= share) return { kind: 'right' }
  const third = Math.floor((roll / share) * 3)
  if (third === 0) return { kind: 'epoch', bootUs }
  return { kind: 'shifted', byUs: third === 1 ? -TWO_HOURS_US : TWO_HOURS_US }
}

function byClock(clock: ClockError, timeUs: number): number {
  if (clock.kind === 'epoch') return timeUs - clock.bootUs
  return clock.kind === 'shifted' ? timeUs + clock.byUs : timeUs
}

function isFaultName(name: string): name is FaultName {
  return Object.hasOwn(FAULTS, name)
}

function expected(what: string): Failure {
  return new Failure('invalid', `--fault: expected ${what}`, { field: '--fault' })
}
