// state: a field has a certain value, or has changed from one to another and has not changed on.
import { invalid } from '../failure.ts'
import { type Field, fieldSchema, readField } from './field.ts'
import { type Fields, joinPath, readObject } from './input.ts'
import type { ConditionKind, Memory, Verdict } from './kind.ts'
import { anyOf, readScalars, type Scalar, scalarIn, scalarsSchema, scalarsToJson, strange, strangeIn, told } from './scalar.ts'

export type State = {
  readonly kind: 'state'
  readonly field: Field
  /** Empty: it is about changes. */
  readonly equals: readonly Scalar[]
  readonly changes: Changes | undefined
}

/** Empty: any value that is not on the other side. */
type Changes = { readonly from: readonly Scalar[]; readonly to: readonly Scalar[] }

type StateMemory = Memory & { readonly kind: 'state'; readonly of: string; readonly last: Scalar }

const UNTOLD: Verdict = { holds: undefined, value: undefined, limit: undefined, memory: undefined }

export const state: ConditionKind<State, StateMemory> = {
  name: 'state',
  schema: {
    type: 'object',
    description: 'a field equals a value (or one of several), or has changed from one to another; texts are compared exactly',
    additionalProperties: false,
    required: ['field'],
    oneOf: [{ required: ['equals'] }, { required: ['changes'] }],
    properties: {
      field: { ...fieldSchema, examples: ['contact.state', 'objectPresent.state'] },
      equals: { ...scalarsSchema, description: 'holds while the field has this value, or one of these' },
      changes: {
        type: 'object',
        description:
          'holds from the event that brings the change, until one brings a value that is not `to` (without `to`: until it is back at `from`; ' +
          'with neither: until one brings the same value again). The first value of a device is no change.',
        additionalProperties: false,
        properties: {
          from: { ...scalarsSchema, description: 'what it was before; left out: anything but `to`' },
          to: { ...scalarsSchema, description: 'what it has become; left out: anything but `from`' },
        },
        examples: [{ from: 'CLOSED', to: 'OPEN' }, { to: ['OFFLINE'] }, {}],
      },
    },
  },
  parse(input, path) {
    const fields = readObject(input, path, ['field', 'equals', 'changes'])
    if ((fields.equals === undefined) === (fields.changes === undefined)) throw invalid(path, 'expected either "equals" or "changes"')
    const equals = fields.equals === undefined ? [] : readScalars(fields.equals, joinPath(path, 'equals'))
    return { kind: 'state', field: readField(fields, path), equals, changes: parseChanges(fields, path) }
  },
  toJson({ field, equals, changes }) {
    if (changes === undefined) return { field: field.text, equals: scalarsToJson(equals) }
    const side = (list: readonly Scalar[]) => (list.length === 0 ? undefined : scalarsToJson(list))
    return { field: field.text, changes: { from: side(changes.from), to: side(changes.to) } }
  },
  eventTypes: condition => condition.field.eventTypes,
  unit: () => undefined,
  worse: () => undefined,
  levels: () => [],
  judge(condition, memory, held, input) {
    if (input.kind === 'time') return memory === undefined ? UNTOLD : { holds: undefined, value: undefined, limit: undefined, memory }
    const value = scalarIn(condition.field, input.eventType, input.data)
    if (value === undefined)
      return { holds: undefined, value: strangeIn(condition.field, input.eventType, input.data), limit: undefined, memory }
    if (condition.changes === undefined)
      return { holds: condition.equals.includes(value), value: told(value), limit: undefined, memory: undefined }
    const last = memory?.of === condition.field.key ? memory.last : undefined
    const holds = held === undefined ? isChange(condition.changes, last, value) : staysChanged(condition.changes, last, value)
    const kept: StateMemory | undefined = last === value ? memory : { kind: 'state', of: condition.field.key, last: value }
    return { holds, value: told(value), limit: undefined, memory: kept }
  },
  dueUs: () => Number.POSITIVE_INFINITY,
  describe({ field, equals, changes }, { holds, value }) {
    if (holds === undefined) return strange(field, value as string | undefined)
    if (changes !== undefined) return `${field.text} is ${value}, ${holds ? 'after a change' : 'no change'}${sides(changes)}`
    return `${field.text} is ${value}${holds ? '' : `, not ${anyOf(equals)}`}`
  },
  lasting({ field, equals, changes }, holds, _cause, duration) {
    if (changes === undefined) return `${field.text} has ${holds ? '' : 'not '}been ${anyOf(equals)} for ${duration}`
    return `a change of ${field.text}${sides(changes)} has ${holds ? 'stood' : 'been over'} for ${duration}`
  },
  nearest({ field, equals, changes }, _verdict, held) {
    if (changes === undefined) return `${field.text} ${held === undefined ? '' : 'other than '}${anyOf(equals)}`
    if (held === undefined) return `a change of ${field.text}${sides(changes)}`
    const { from, to } = changes
    if (to.length > 0) return `${field.text} other than ${anyOf(to)}`
    return from.length > 0 ? `${field.text} back at ${anyOf(from)}` : `${field.text} the same twice`
  },
}

function parseChanges(fields: Fields, path: string): Changes | undefined {
  if (fields.changes === undefined) return undefined
  const place = joinPath(path, 'changes')
  const sides = readObject(fields.changes, place, ['from', 'to'])
  const read = (key: string) => (sides[key] === undefined ? [] : readScalars(sides[key], joinPath(place, key)))
  const changes = { from: read('from'), to: read('to') }
  const both = changes.to.find(value => changes.from.includes(value))
  if (both !== undefined) throw invalid(joinPath(place, 'to'), `expected nothing that is in "from" as well, as ${both} is`)
  return changes
}

function isChange({ from, to }: Changes, last: Scalar | undefined, value: Scalar): boolean {
  if (last === undefined || last === value) return false
  const left = from.length === 0 ? !to.includes(last) : from.includes(last)
  return left && (to.length === 0 ? !from.includes(value) : to.includes(value))
}

function staysChanged({ from, to }: Changes, last: Scalar | undefined, value: Scalar): boolean {
  if (to.length > 0) return to.includes(value)
  return from.length > 0 ? !from.includes(value) : value !== last
}

function sides({ from, to }: Changes): string {
  return `${from.length === 0 ? '' : ` from ${anyOf(from)}`}${to.length === 0 ? '' : ` to ${anyOf(to)}`}`
}
