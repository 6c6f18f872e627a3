// Which event type each metric of a Sparkplug birth has: as its name says, and a type of its own where another metric of the same node or device
// means the same. Decided at birth and remembered, so that a message with one of them alone does not write into the series of the other.
import { Failure } from '../../../packages/core/failure.ts'
import { contentKey } from '../../../packages/core/id.ts'
import { eventTypeOf, typeOf } from './measure.ts'
import type { Known, Learnt } from './sparkplugmemory.ts'
import { type Metric, TYPES } from './sparkplugproto.ts'
import { valueIn } from './sparkplugvalue.ts'

/** @param metrics of the birth. @param before what an earlier birth said: its names mean what they meant. */
export function withTypes(
  learnt: readonly Learnt[],
  metrics: readonly Metric[],
  before: (key: { readonly name: string }) => Known | undefined,
): Learnt[] {
  const samples = new Map(metrics.map(metric => [metric.name, metric]))
  const types = new Types()
  const earlier = new Map(learnt.flatMap(({ name }) => [before({ name })].flatMap(one => (one ? [[name, one] as const] : []))))
  for (const [name, { eventType }] of earlier) if (eventType !== undefined) types.take(name, eventType)
  for (const isEarlier of [true, false])
    for (const one of learnt) if (earlier.has(one.name) === isEarlier) types.add(one.name, naturalType(one, samples.get(one.name)))
  return learnt.map(one => ({ ...one, eventType: types.own(one.name) }))
}

class Types {
  /** Whose each is. */
  readonly #owners = new Map<string, string>()
  readonly #lower = new Set<string>()
  readonly #own = new Map<string, string>()

  /** Undefined: as its name says. */
  own(name: string): string | undefined {
    return this.#own.get(name)
  }

  take(name: string, eventType: string): void {
    this.#own.set(name, eventType)
    this.#hold(name, eventType)
  }

  add(name: string, eventType: string): void {
    if (this.#own.has(name)) return
    const owner = this.#owners.get(eventType)
    if (owner === undefined) this.#hold(name, eventType)
    else if (owner !== name) this.take(name, this.#freeType(name))
  }

  #hold(name: string, eventType: string): void {
    this.#owners.set(eventType, name)
    this.#lower.add(eventType.toLowerCase())
  }

  /** Its name, and more where that differs in case alone from what is taken. */
  #freeType(name: string): string {
    const own = eventTypeOf(name)
    return this.#lower.has(own.toLowerCase()) ? `${own.slice(0, OWN_CHARS)}_${contentKey(name).slice(0, MARK_CHARS)}` : own
  }
}

const MARK_CHARS = 8
/** Of the 64 that an event type may have. */
const OWN_CHARS = 55

function naturalType({ name, unit }: Known, metric: Metric | undefined): string {
  const value = metric === undefined ? undefined : sampleOf(metric)
  return typeof value === 'object' || value === undefined ? eventTypeOf(name) : typeOf({ name, value, unit })
}

/** The value that the birth gives, or one as it will be. */
function sampleOf(metric: Metric): ReturnType<typeof valueIn> {
  const { datatype, name = '' } = metric
  try {
    const value = valueIn(metric, datatype, name)
    if (value !== undefined) return value
  } catch (error) {
    if (!(error instanceof Failure)) throw error
  }
  if (datatype === TYPES.Boolean) return false
  return datatype !== undefined && datatype >= TYPES.Int8 && datatype <= TYPES.Double ? 1 : undefined
}
