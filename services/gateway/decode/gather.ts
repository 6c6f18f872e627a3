// What was measured, one by one, as events: what one device measured at one time stands together, because readers of humidity want the
// temperature beside it. Used by formats whose payloads hold many devices and times.
import { Failure } from '../../../packages/core/failure.ts'
import { type Clock, checkedEvent, type Decoded } from './event.ts'
import { textOf } from './json.ts'
import { eventTypeOf, type Measure, type Measured, measured } from './measure.ts'

export type Sensed = {
  readonly device: string
  /** Undefined: arrival. */
  readonly timeUs: number | undefined
  readonly measure: Measure
  /** Beside the value. */
  readonly fields?: Readonly<Record<string, unknown>> | undefined
  /** As it was sent. */
  readonly element: unknown
}

/** Every one of them becomes part of an event or a refusal; none replaces another. */
export function gathered(all: readonly Sensed[], project: string, clock: Clock): Decoded[] {
  return groupsOf(all).flatMap(group => decodedGroup(group, project, clock))
}

/** A name that comes again for the same device and time begins another group. */
function groupsOf(all: readonly Sensed[]): readonly (readonly Sensed[])[] {
  const groups = new Map<string, Sensed[]>()
  const counts = new Map<string, number>()
  for (const one of all) {
    const place = `${one.device}\t${one.timeUs ?? ''}`
    const name = `${place}\t${one.measure.name}`
    const count = counts.get(name) ?? 0
    counts.set(name, count + 1)
    const key = `${place}\t${one.fields === undefined ? count : name + String(count)}`
    const group = groups.get(key)
    if (group) group.push(one)
    else groups.set(key, [one])
  }
  return [...groups.values()]
}

function decodedGroup(group: readonly Sensed[], project: string, clock: Clock): Decoded[] {
  const [{ device, timeUs, fields }] = group as [Sensed]
  const [refused, kept] = partition(group)
  const events = kept.map(({ eventType, data }): Decoded => {
    try {
      return { event: checkedEvent({ device, timeUs, eventType, data: withFields(eventType, data, fields) }, project, clock) }
    } catch (error) {
      if (error instanceof Failure) return { failure: error, element: sent(group.map(one => one.element)) }
      throw error
    }
  })
  return [...events, ...refused]
}

/** Readings of one line share it. */
function sent(elements: readonly unknown[]): string {
  const different = [...new Set(elements)]
  if (different.every(one => typeof one === 'string')) return different.join('\n')
  return textOf(different.length === 1 ? different[0] : different)
}

function withFields(eventType: string, data: Measured['data'], fields: Sensed['fields']): Measured['data'] {
  return fields === undefined ? data : { [eventType]: { ...(data[eventType] as object), ...fields } }
}

/** One whose unit is wrong does not take the others with it, and two that mean the same both stay. */
function partition(group: readonly Sensed[]): [refused: Decoded[], kept: readonly Measured[]] {
  try {
    const events = measured(group.map(one => one.measure))
    if (events.length === group.length) return [[], events]
  } catch (error) {
    if (!(error instanceof Failure)) throw error
  }
  return oneByOne(group)
}

function oneByOne(group: readonly Sensed[]): [refused: Decoded[], kept: readonly Measured[]] {
  const refused: Decoded[] = []
  const types = new Set<string>()
  const good: Measure[] = []
  const others: Measured[] = []
  for (const { measure, element } of group) {
    try {
      const alone = measured([measure])
      const eventType = alone[0]?.eventType ?? ''
      if (!types.has(eventType)) good.push(measure)
      else others.push(...(eventTypeOf(measure.name) === eventType ? alone : [underOwnName(measure)]))
      types.add(eventType)
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      refused.push({ failure: error, element: sent([element]) })
    }
  }
  return [refused, [...measured(good), ...others]]
}

function underOwnName({ name, value, unit }: Measure): Measured {
  const eventType = eventTypeOf(name)
  return { eventType, data: { [eventType]: unit === undefined ? { value } : { value, unit } } }
}
