// What the rules of a project read of an event: all that is kept of it for the case that a late one makes it be judged again.
import type { Condition } from './condition/condition.ts'
import type { Field } from './condition/field.ts'
import type { EventData } from './event.ts'
import type { Rule } from './rule.ts'

/** Paths below the event type, or all there is. */
export type Reads = readonly (readonly string[])[] | 'all'

const NOTHING: EventData = Object.freeze({})

export function readsOf(rules: Iterable<Rule>, eventType: string): Reads {
  const paths = new Map<string, readonly string[]>()
  for (const { when } of rules) {
    const fields = fieldsOf(when)
    if (fields === 'all') return 'all'
    for (const field of fields) for (const path of pathsOf(field, eventType)) paths.set(path.join('.'), path)
  }
  return [...paths.values()]
}

/** Judging what is kept comes to the same as judging the whole. */
export function keptOf(data: EventData, eventType: string, reads: Reads): EventData {
  if (reads === 'all') return data
  const inner = Object.hasOwn(data, eventType) ? data[eventType] : undefined
  if (reads.length === 0 || inner === undefined || inner === null) return NOTHING
  return { [eventType]: pruned(inner, reads) }
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

/** A unit may stand beside the reading. */
function pathsOf({ sources, measure }: Field, eventType: string): (readonly string[])[] {
  const paths = sources.filter(source => source.eventType === eventType).map(({ path }) => path)
  return measure === undefined ? paths : [...paths, ...paths.map(path => [...path.slice(0, -1), 'unit'])]
}

function pruned(value: unknown, paths: readonly (readonly string[])[]): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || paths.some(path => path.length === 0)) return value
  const [only] = paths as readonly [readonly string[]]
  // By far the most frequent.
  if (paths.length === 1 && only.length === 1) {
    const key = only[0] as string
    return Object.hasOwn(value, key) ? { [key]: (value as EventData)[key] } : NOTHING
  }
  const keys = [...new Set(paths.map(([key]) => key as string))].filter(key => Object.hasOwn(value, key))
  return Object.fromEntries(keys.map(key => [key, pruned((value as EventData)[key], below(key, paths))]))
}

function below(key: string, paths: readonly (readonly string[])[]): (readonly string[])[] {
  return paths.filter(([first]) => first === key).map(path => path.slice(1))
}
