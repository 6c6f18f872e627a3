// The schema of a rule beside parseRule: what one takes the other takes, and every rule in the documentation is one.
import { existsSync, readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { readDocuments } from './document.ts'
import { parseRule, ruleToJson } from './rule.ts'
import { ruleSchema } from './ruleschema.ts'

const validate = new Ajv2020({ strictRequired: false, allErrors: true, strict: true, allowUnionTypes: true }).compile(ruleSchema)
const warm = { name: 'a', when: { threshold: { field: 'temperature.value', above: 8 } } }
const silent = { absent: { eventType: 'temperature', for: '5m' } }
const docs = new URL('../../docs/rules.md', import.meta.url)

/** The YAML of the documentation, as far as it is of rules. */
function documented(): unknown[] {
  if (!existsSync(docs)) return []
  const blocks = [...readFileSync(docs, 'utf8').matchAll(/```yaml\n([\s\S]*?)```/g)].flatMap(([, text]) => readDocuments(text as string))
  return blocks.map(({ value }) => value).filter(value => typeof value === 'object' && value !== null && 'when' in value && 'name' in value)
}

describe('the schema of a rule', () => {
  it.each<object>([
    warm,
    { ...warm, when: silent },
    { ...warm, when: { all: [warm.when, { not: silent }, { any: [silent] }] } },
    { ...warm, when: { expression: 'event.eventType == "a" && reading > 8' } },
    { ...warm, when: { expression: { expression: 'reading > 8', eventTypes: ['a'], field: 'a.b', unit: 'C' } } },
    {
      ...warm,
      severity: [
        { at: 8, severity: 'warning' },
        { at: 10, severity: 'critical' },
      ],
    },
    {
      ...warm,
      schedule: {
        timezone: 'Europe/Oslo',
        active: [{ days: ['mon', 'wed-fri'], from: '22:00', to: '24:00' }, {}],
        holidays: ['2026-12-25'],
      },
    },
    {
      ...warm,
      enabled: false,
      select: { labels: ['a=b'], deviceTypes: ['x'], devices: ['y'] },
      for: '1.5h',
      keepActive: '90s',
      message: '{{rule}}',
    },
    {
      ...warm,
      notify: ['ops'],
      groupBy: ['room'],
      inhibitedBy: ['b', { rule: 'c', equal: ['site'] }],
      unacknowledgeAfter: '1d',
      late: 'amend',
    },
  ])('takes what is a rule, and its own document: %j', input => {
    expect(validate(input), JSON.stringify(validate.errors)).toBe(true)
    expect(validate(JSON.parse(JSON.stringify(ruleToJson(parseRule(input))))), JSON.stringify(validate.errors)).toBe(true)
  })

  it.each<object>([
    {},
    { name: 'a' },
    { ...warm, name: 'A' },
    { ...warm, colour: 'red' },
    { ...warm, when: {} },
    { ...warm, when: { ...warm.when, ...silent } },
    { ...warm, when: { treshold: warm.when.threshold } },
    { ...warm, when: { threshold: { field: 7 } } },
    { ...warm, when: { all: [] } },
    { ...warm, when: { any: [{ not: { absent: { eventType: 'a' } } }] } },
    { ...warm, when: { expression: 7 } },
    { ...warm, for: 5 },
    { ...warm, for: '5 minutes' },
    { ...warm, severity: 'fatal' },
    { ...warm, severity: [] },
    { ...warm, schedule: { timezone: 'UTC' } },
    { ...warm, schedule: { timezone: 'UTC', active: [{ days: 'someday' }] } },
    { ...warm, schedule: { timezone: 'UTC', active: [{ from: '7:00' }] } },
    { ...warm, notify: 'ops' },
    { ...warm, select: { labels: ['a', 'a'] } },
    { ...warm, late: 'drop' },
  ])('refuses what is none: %j', input => {
    expect(validate(input)).toBe(false)
    expect(() => parseRule(input)).toThrow()
  })

  it('takes every rule of the documentation, as parseRule does', () => {
    const rules = documented()
    expect(rules.length).toBeGreaterThan(3)
    for (const rule of rules) {
      expect(validate(rule), JSON.stringify(validate.errors)).toBe(true)
      parseRule(rule)
    }
  })

  it('has as defaults what parseRule takes when nothing is said', () => {
    const { properties } = ruleSchema as { properties: { [key: string]: { default?: unknown } } }
    const said = ruleToJson(parseRule(warm))
    for (const [key, { default: taken }] of Object.entries(properties)) if (taken !== undefined) expect(said[key], key).toEqual(taken)
  })

  it('explains every key', () => {
    const { properties } = ruleSchema as { properties: { [key: string]: object } }
    const mute = Object.entries(properties).filter(([, schema]) => !('description' in schema || '$ref' in schema))
    expect(mute.map(([key]) => key)).toEqual([])
  })
})
