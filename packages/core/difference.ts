// What differs between two documents, by path, for people who are about to put one in place of the other.
import { joinPath } from './condition/input.ts'

/** `null` where there is nothing. */
export type Difference = { readonly path: string; readonly from: unknown; readonly to: unknown }

/** Objects are compared key by key, lists of objects place by place, lists of single values as a whole: order means nothing to who reads it. */
export function differencesOf(from: unknown, to: unknown, path = ''): Difference[] {
  if (isObject(from) && isObject(to)) {
    const keys = [...new Set([...Object.keys(from), ...Object.keys(to)])]
    return keys.flatMap(key => differencesOf(from[key], to[key], joinPath(path, key)))
  }
  if (isListOfObjects(from) && isListOfObjects(to)) {
    const length = Math.max(from.length, to.length)
    return Array.from({ length }, (_, i) => differencesOf(from[i], to[i], `${path}[${i}]`)).flat()
  }
  const same = JSON.stringify(from ?? null) === JSON.stringify(to ?? null)
  return same ? [] : [{ path, from: from ?? null, to: to ?? null }]
}

function isObject(value: unknown): value is { readonly [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isListOfObjects(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.some(isObject)
}
