// Queries as callers may spell them, and what a body that does not fit its schema is told.
import { Type } from 'typebox'
import { describe, expect, it } from 'vitest'
import { checkOf, described, queryReader } from './schema.ts'

const read = queryReader(
  Type.Object({
    deviceIds: Type.Optional(Type.Array(Type.String())),
    sizes: Type.Optional(Type.Array(Type.Integer())),
    pageSize: Type.Optional(Type.Integer({ minimum: 1 })),
    share: Type.Optional(Type.Number()),
    global: Type.Optional(Type.Boolean()),
    state: Type.Optional(Type.Union([Type.Literal('on'), Type.Literal('off')])),
  }),
)
const errorOf = (checked: ReturnType<typeof read>) =>
  'error' in checked ? checked.error.message : `accepted ${JSON.stringify(checked.value)}`

describe('a query', () => {
  it.each([
    [{}, {}],
    [{ deviceIds: 'a' }, { deviceIds: ['a'] }],
    [{ device_ids: ['a', 'b'] }, { deviceIds: ['a', 'b'] }],
    [{ device_ids: 'a', deviceIds: ['b', 'c'] }, { deviceIds: ['a', 'b', 'c'] }],
    [{ deviceIds: 'a,b' }, { deviceIds: ['a,b'] }],
    [{ sizes: ['1', '2'] }, { sizes: [1, 2] }],
    [{ page_size: '10' }, { pageSize: 10 }],
    [{ share: '-0.5' }, { share: -0.5 }],
    [{ global: 'True' }, { global: true }],
    [{ global: 'false', token: 'secret' }, { global: false }],
    [{ state: 'on' }, { state: 'on' }],
  ])('%j is read as %j', (query, value) => {
    expect(read(query)).toEqual({ value })
  })

  it.each([
    [{ pageSize: '1', page_size: '1' }, 'pageSize: expected one value, got several'],
    [{ pageSize: ['1', '2'] }, 'pageSize: expected one value, got several'],
    [{ page_size: '0' }, 'pageSize: must be >= 1'],
    [{ pageSize: '1.5' }, 'pageSize: must be integer'],
    [{ pageSize: '1e3' }, 'pageSize: must be integer'],
    [{ pageSize: '' }, 'pageSize: must be integer'],
    [{ sizes: ['1', 'x'] }, 'sizes.1: must be integer'],
    [{ global: 'yes' }, 'global: must be boolean'],
    [{ state: 'maybe' }, 'state: expected on or off'],
    [{ deviceId: 'a' }, 'deviceId: unknown parameter; known here: deviceIds, sizes, pageSize, share, global, state'],
    [{ ['__proto__']: 'a' }, '__proto__: unknown parameter'],
    [{ constructor: 'a' }, 'constructor: unknown parameter'],
  ])('%j is refused', (query, message) => {
    expect(errorOf(read(query as unknown as Record<string, string>))).toContain(message)
  })
})

describe('a body', () => {
  const schema = Type.Object(
    { url: Type.String({ maxLength: 5 }), headers: Type.Optional(Type.Record(Type.String(), Type.String())) },
    { additionalProperties: false },
  )
  const check = checkOf(schema, 'body')

  it.each([
    [undefined, 'body.url: expected a string, but it is missing'],
    [null, 'body.url: expected a string, but it is missing'],
    [[], 'body: must be object'],
    [{}, 'body.url: expected a string, but it is missing'],
    [{ url: 1 }, 'body.url: must be string'],
    [{ url: 'too long' }, 'body.url: must not have more than 5 characters'],
    [{ url: 'a', uri: 'b' }, 'body.uri: unknown field'],
    [{ url: 'a', headers: { 'x/y': 1 } }, 'body.headers.x~1y: must be string'],
  ])('%j is refused by its field', (body, message) => {
    expect(errorOf(check(body))).toBe(message)
  })

  it.each([
    [Type.Integer(), 'a whole number'],
    [Type.Boolean(), 'true or false'],
    [Type.Array(Type.String()), 'an array'],
    [Type.Union([Type.Literal('on'), Type.Literal('off')]), 'on or off'],
    [Type.Union([Type.String(), Type.Number()]), 'a string or a number'],
    [Type.Unknown(), 'a value'],
  ])('is told what was expected where a field is missing: %j', (field, kind) => {
    const inner = Type.Array(Type.Object({ field }))
    const nested = Type.Object({ list: inner, map: Type.Record(Type.String(), Type.Object({ 'a/b': field })) })
    expect(errorOf(checkOf(nested, 'body')({ list: [{}], map: {} }))).toBe(`body.list.0.field: expected ${kind}, but it is missing`)
    expect(errorOf(checkOf(nested, 'body')({ list: [], map: { x: {} } }))).toBe(`body.map.x.a/b: expected ${kind}, but it is missing`)
  })

  const closed = { additionalProperties: false }
  const one = Type.Object({ kind: Type.Literal('one') }, closed)
  const two = Type.Object({ kind: Type.Literal('two'), text: Type.String(), size: Type.Optional(Type.Integer()) }, closed)
  const either = checkOf(Type.Object({ either: Type.Union([one, two, Type.Null()]) }), 'body')
  it.each([
    [{ kind: 'two' }, 'body.either.text: expected a string, but it is missing'],
    [{ kind: 'two', text: 'a', size: 'b' }, 'body.either.size: must be integer'],
    [{ kind: 'two', text: 'a', more: 1 }, 'body.either.more: unknown field'],
    [{ kind: 'one', text: 'a' }, 'body.either.text: unknown field'],
    [{ kind: 'three' }, 'body.either.kind: expected one or two'],
  ])('of several kinds is told what is wrong with the one that it is: %j', (value, message) => {
    expect(errorOf(either({ either: value }))).toBe(message)
  })

  it('of nothing is an empty object', () => {
    expect(checkOf(Type.Object({ comment: Type.Optional(Type.String()) }), 'body')(undefined)).toEqual({ value: {} })
  })

  it('that its handler checks is let through', () => {
    expect(checkOf(described(schema), 'body')(7)).toEqual({ value: 7 })
  })
})
