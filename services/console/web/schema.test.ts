// What the form is made of.
import { expect, test } from 'vitest'
import { conditionsIn } from './schema.ts'

const condition = {
  oneOf: [
    { type: 'object', required: ['threshold'], properties: { threshold: { $ref: '#/$defs/threshold' } } },
    { type: 'object', properties: { all: { type: 'array', description: 'all hold', items: { $ref: '#/$defs/condition' } } } },
    { type: 'object', properties: { not: { $ref: '#/$defs/condition' } } },
    {
      type: 'object',
      properties: { count: { type: 'object', properties: { per: { type: 'object', properties: { day: { type: 'integer' } } } } } },
    },
  ],
}
const threshold = {
  type: 'object',
  description: 'beyond a level',
  required: ['field'],
  properties: {
    field: { type: 'string', description: 'a reading', examples: ['temperature.value'] },
    above: { type: 'number' },
    side: { enum: ['up', 'down'] },
    strict: { type: 'boolean', default: false },
    values: { type: 'array', items: { type: 'string' } },
    equals: { anyOf: [{ type: 'string' }, { type: 'number' }] },
    band: { type: 'array', items: { type: 'number' } },
    function: { anyOf: [{ enum: ['mean', 'max'] }, { type: 'string', pattern: 'p.*' }] },
    odd: {},
  },
}
const schema = { properties: { when: { $ref: '#/$defs/condition' } }, $defs: { condition, threshold } }

test('conditions come with their fields, what these are, and an example', () => {
  const [first] = conditionsIn(schema)
  expect(first).toMatchObject({ name: 'threshold', description: 'beyond a level' })
  expect(first?.fields.map(({ name, kind }) => [name, kind])).toEqual([
    ['field', 'text'],
    ['above', 'number'],
    ['side', 'choice'],
    ['strict', 'flag'],
    ['values', 'list'],
    ['equals', 'scalar'],
    ['band', 'numbers'],
    ['function', 'text'],
    ['odd', 'json'],
  ])
  expect(first?.fields[0]).toMatchObject({ required: true, description: 'a reading', example: 'temperature.value' })
  expect(first?.fields[2]).toMatchObject({ required: false, choices: ['up', 'down'] })
  expect(first?.fields[7]).toMatchObject({ choices: ['mean', 'max'] })
})

test('conditions of conditions are known as such, and groups have fields of their own', () => {
  const [, all, not, count] = conditionsIn(schema)
  expect([all?.kind, not?.kind]).toEqual(['conditions', 'condition'])
  expect(count?.fields[0]).toMatchObject({ name: 'per', kind: 'group', fields: [{ name: 'day', kind: 'number' }] })
})

test('the properties of one object do as well as branches, and no schema is no condition', () => {
  expect(conditionsIn({ properties: { when: { properties: { absent: { type: 'object' } } } } }).map(({ name }) => name)).toEqual(['absent'])
  expect(conditionsIn({})).toEqual([])
  expect(conditionsIn({ properties: { when: { $ref: '#/$defs/gone' } } })).toEqual([])
})

test('a condition that may be a bare text as well has the fields of its long form', () => {
  const expression = { anyOf: [{ type: 'string' }, { type: 'object', properties: { expression: { type: 'string' } } }] }
  expect(conditionsIn({ properties: { when: { properties: { expression } } } })[0]?.fields.map(({ name }) => name)).toEqual(['expression'])
})
