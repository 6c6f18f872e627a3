// The filters that one connection was granted, and what they say of a topic: with which QoS it is sent, and in which form.
import { FilterTree } from './filter.ts'
import type { Grant } from './lasting.ts'

/** Beyond it SUBSCRIBE is refused. */
export const MAX_FILTERS = 1000
/** A client hears the same few topics again and again. */
const MAX_TOPICS = 100

export class Grants {
  readonly #filters = new Map<string, Grant>()
  /** Of filters with wildcards; others are their topic. */
  readonly #wild = new FilterTree<Grant>()
  /** SUBSCRIBE asks for all its filters at once. */
  readonly #reserved = new Set<string>()
  readonly #topics = new Map<string, Grant | undefined>()

  /** Holds a place for a filter that is about to be granted; until `set` or `release`. @returns whether there is one. */
  reserve(filter: string): boolean {
    if (this.#filters.has(filter) || this.#reserved.has(filter)) return true
    if (this.#filters.size + this.#reserved.size >= MAX_FILTERS) return false
    this.#reserved.add(filter)
    return true
  }

  release(filter: string): void {
    this.#reserved.delete(filter)
  }

  /** Undefined: that it is not granted. */
  has(filter: string, grant: Grant | undefined): boolean {
    const found = this.#filters.get(filter)
    return found?.qos === grant?.qos && found?.short === grant?.short
  }

  set(filter: string, grant: Grant): void {
    this.#reserved.delete(filter)
    this.delete(filter)
    this.#filters.set(filter, grant)
    if (isWild(filter)) this.#wild.add(filter, grant)
    this.#topics.clear()
  }

  delete(filter: string): void {
    const grant = this.#filters.get(filter)
    if (!grant) return
    this.#filters.delete(filter)
    if (isWild(filter)) this.#wild.delete(filter, grant)
    this.#topics.clear()
  }

  /** Of overlapping filters the highest QoS counts, once [MQTT-3.3.5-1]; the short form, if one of them has it. */
  of(topic: string): Grant | undefined {
    if (this.#topics.has(topic)) return this.#topics.get(topic)
    let found = this.#filters.get(topic)
    this.#wild.each(topic, ({ qos, short }) => {
      found = found ? { qos: Math.max(found.qos, qos) as Grant['qos'], short: found.short || short } : { qos, short }
    })
    if (this.#topics.size >= MAX_TOPICS) this.#topics.delete(this.#topics.keys().next().value as string)
    this.#topics.set(topic, found)
    return found
  }
}

function isWild(filter: string): boolean {
  return filter.includes('+') || filter.includes('#')
}
