// What the rules of a project read of an event: all that is kept of it for the case that a late one makes it be judged again.
import type { Condition } from './condition/condition.ts'
import type { Field } from './condition/field.ts'
import type { EventData } from './event.ts'
import type { RecentEvent } from './recent.ts'
import type { Rule } from './rule.ts'

/** Paths below the event type; undefined: all there is. */
export type Reads = {
  readonly paths: readonly (readonly string[])[] | undefined
  /** When there is but one path, of one key, as most often; beside it a unit may stand. */
  readonly only: string | undefined
}

export const READS_ALL: Reads = { paths: undefined, only: undefined }
const UNIT = 'unit'
const NOTHING: EventData = Object.freeze({})

export function readsOf(rules: Iterable<Rule>, eventType: string): Reads {
  const byText = new Map<string, readonly string[]>()
  for (const { when } of rules) {
    const fields = fieldsOf(when)
    if (fields === 'all') return READS_ALL
    for (const field of fields) for (const path of pathsOf(field, eventType)) byText.set(path.join('.'), path)
  }
  const paths = [...byText.values()]
  const [first, second] = paths
  return { paths, only: paths.length === 2 && first?.length === 1 && second?.join('.') === UNIT ? first[0] : undefined }
}

/** Judging what is kept comes to the same as judging the whole. */
export function keepEvent(event: RecentEvent, reads: Reads): RecentEvent {
  const { eventType, data, timeUs, eventId, entryId, listeningSinceUs } = event
  if (reads.paths === undefined) return event
  const inner = Object.hasOwn(data, eventType) ? data[eventType] : undefined
  if (reads.paths.length === 0 || inner === undefined || inner === null)
    return { eventType, timeUs, eventId, entryId, listeningSinceUs, data: NOTHING }
  if (reads.only !== undefined && isPlain(inner) && Object.hasOwn(inner, reads.only) && !Object.hasOwn(inner, UNIT))
    return new SingleValue(event, reads.only, inner[reads.only])
  return { eventType, timeUs, eventId, entryId, listeningSinceUs, data: { [eventType]: pruned(inner, reads.paths) } }
}

function isPlain(value: unknown): value is EventData {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Two objects less: half a million events are in memory at times. */
class SingleValue implements RecentEvent {
  readonly eventType: string
  readonly timeUs: number
  readonly eventId: string
  readonly entryId: string
  readonly listeningSinceUs: number
  private readonly key: string
  private readonly value: unknown

  constructor({ eventType, timeUs, eventId, entryId, listeningSinceUs }: RecentEvent, key: string, value: unknown) {
    this.eventType = eventType
    this.timeUs = timeUs
    this.eventId = eventId
    this.entryId = entryId
    this.listeningSinceUs = listeningSinceUs
    this.key = key
    this.value = value
  }

  get data(): EventData {
    return { [this.eventType]: { [this.key]: this.value } }
  }
}

function fieldsOf(condition: Condition): readonly Field[] | 'all' {
  switch (condition.kind) {
    case 'expression':
      return 'all'
    case 'absent':
      return []
    case 'window':
      return condition.source.kind === 'events' ? [] : [condition.source.field]
    case 'all':
    case 'any':
    case 'not': {
      const parts = condition.parts.map(fieldsOf)
      return parts.some(part => part === 'all') ? 'all' : parts.flatMap(part => (part === 'all' ? [] : part))
    }
    default:
      return [condition.field]
  }
}

/** A unit may stand beside the reading; it is kept for rules that do not look at it, too: they may be edited so that they do. */
function pathsOf({ sources }: Field, eventType: string): (readonly string[])[] {
  const paths = sources.filter(source => source.eventType === eventType).map(({ path }) => path)
  return [...paths, ...paths.map(path => [...path.slice(0, -1), UNIT])]
}

function pruned(value: unknown, paths: readonly (readonly string[])[]): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || paths.some(path => path.length === 0)) return value
  const keys = [...new Set(paths.map(([key]) => key as string))].filter(key => Object.hasOwn(value, key))
  return Object.fromEntries(keys.map(key => [key, pruned((value as EventData)[key], below(key, paths))]))
}

function below(key: string, paths: readonly (readonly string[])[]): (readonly string[])[] {
  return paths.filter(([first]) => first === key).map(path => path.slice(1))
}
