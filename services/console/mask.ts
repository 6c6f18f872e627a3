// Field masks: the fields that a PATCH is about, as some clients name them beside its body.
import { Type } from 'typebox'
import { invalid } from '../../packages/core/failure.ts'
import { camel } from '../../packages/runtime/schema.ts'

export const UpdateMask = Type.Object({
  updateMask: Type.Optional(
    Type.String({ maxLength: 500, description: 'fields that are changed, separated by commas; absent or empty: those in the body' }),
  ),
})

/** The fields of a PATCH that its mask names; all without a mask. A mask that names anything else would leave it silently undone. */
export function masked<Body extends object>(mask: string | undefined, body: Body, known: readonly string[]): Partial<Body> {
  if (mask === undefined || mask.trim() === '') return body
  const paths = mask.split(',').map(path => camel(path.trim()))
  const unknown = paths.find(path => !known.includes(path))
  if (unknown !== undefined) throw invalid('updateMask', `unknown path ${unknown.slice(0, 100)}; known here: ${known.join(', ')}`)
  return picked(body, paths) as Partial<Body>
}

function picked(value: object, paths: readonly string[]): object {
  const fields = Object.entries(value).flatMap(([name, inner]): [string, unknown][] => {
    if (paths.includes(name)) return [[name, inner]]
    const inside = paths.filter(path => path.startsWith(`${name}.`)).map(path => path.slice(name.length + 1))
    return inside.length > 0 && typeof inner === 'object' && inner !== null ? [[name, picked(inner, inside)]] : []
  })
  return Object.fromEntries(fields)
}
