// What was measured, one by one, as events: what one device measured at one time stands together, because readers of humidity want the
// temperature beside it. Used by formats whose payloads hold many devices and times.
import { type Clock, checkedEvent, type Decoded, decodedFrom, oncePerElement } from './event.ts'
import { textOf } from './json.ts'
import { type Measure, type Measured, told } from './measure.ts'

export type Sensed = {
  readonly device: string
  /** Undefined: arrival. */
  readonly timeUs: number | undefined
  /** The time is counted from arrival. */
  readonly isRelative?: boolean | undefined
  readonly measure: Measure
  /** Beside the value. */
  readonly fields?: Readonly<Record<string, unknown>> | undefined
  /** As it was sent. */
  readonly element: unknown
}

/** Every one of them becomes an event or a refusal; none replaces another. */
export function gathered(all: readonly Sensed[], project: string, clock: Clock): Decoded[] {
  return oncePerElement(groupsOf(all).flatMap(group => decodedGroup(group, project, clock)))
}

/** A name that comes again for the same device and time begins another group; what has fields of its own stands alone. */
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

type Part = Measure & { readonly of: Sensed }

function decodedGroup(group: readonly Sensed[], project: string, clock: Clock): Decoded[] {
  const { kept, refused } = told(group.map((of): Part => ({ ...of.measure, of })))
  const eventOf = ({ of }: Part, one: Measured) => {
    const { device, timeUs, isRelative } = of
    const found = { device, timeUs, isRelative, eventType: one.eventType, data: withFields(one, of.fields) }
    // Only what went wrong is serialised.
    return decodedFrom(
      () => checkedEvent(found, project, clock),
      () => sent(of.element),
    )
  }
  return [
    ...kept.map(({ measure, measured }) => eventOf(measure, measured)),
    ...refused.map(({ measure, failure }) => ({ failure, element: sent(measure.of.element) })),
  ]
}

function sent(element: unknown): string {
  return typeof element === 'string' ? element : textOf(element)
}

function withFields({ eventType, data }: Measured, fields: Sensed['fields']): Measured['data'] {
  return fields === undefined ? data : { [eventType]: { ...(data[eventType] as object), ...fields } }
}
