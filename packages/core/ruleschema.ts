// The JSON Schema (2020-12) of a rule, for editors that complete and check while a person types; parseRule remains the judge.
import { conditionSchema } from './condition/condition.ts'
import { durationSchema } from './condition/input.ts'
import type { Schema } from './condition/kind.ts'
import { DEFAULT_MESSAGE, MAX_TEMPLATE_CHARS } from './message.ts'
import { MAX_TITLE_CHARS } from './rule.ts'
import { scheduleSchema } from './schedule.ts'
import { SEVERITIES } from './severity.ts'

const name: Schema = { type: 'string', pattern: '^[a-z0-9][a-z0-9_-]{0,62}$' }
const severity: Schema = { enum: SEVERITIES }

/** Every `default` in it is what parseRule takes when the key is left out, as ruleToJson says it. */
export const ruleSchema: Schema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Telltale rule',
  type: 'object',
  additionalProperties: false,
  required: ['name', 'when'],
  properties: {
    name: { ...name, description: 'what the rule is called, in addresses and in alarms', examples: ['freezer-warm'] },
    version: { type: 'integer', minimum: 1, description: 'set by the server' },
    title: {
      type: 'string',
      maxLength: MAX_TITLE_CHARS,
      default: '',
      description: 'what people call it; messages have it as {{title}}',
      examples: ['Freezer too warm'],
    },
    enabled: { type: 'boolean', default: true, description: 'false: it is kept, and judges nothing' },
    select: selectSchema(),
    when: { $ref: '#/$defs/condition' },
    for: { ...durationSchema, default: '0ms', description: 'how long the condition must hold, in event time, before the alarm is active' },
    keepActive: { ...durationSchema, default: '0ms', description: 'how long it must be clear before an active alarm clears' },
    severity: severitySchema(),
    schedule: scheduleSchema,
    message: {
      type: 'string',
      minLength: 1,
      maxLength: MAX_TEMPLATE_CHARS,
      default: DEFAULT_MESSAGE.text,
      description: 'what people read; names between double braces are replaced',
      examples: ['{{device.labels.name}} is {{value}}{{unit}} (limit {{limit}}) since {{since}}'],
    },
    notify: { ...list(name), description: 'names of channels', examples: [['ops']] },
    groupBy: { ...list(), description: 'label keys: devices with the same values of them share one alarm', examples: [['room']] },
    inhibitedBy: inhibitedBySchema(),
    unacknowledgeAfter: {
      ...durationSchema,
      default: '0ms',
      description: 'how long an acknowledgement counts; 0ms: until the alarm clears',
    },
    late: {
      enum: ['ignore', 'amend'],
      default: 'ignore',
      description: 'what an event beyond the allowed lateness does to alarms that have been',
    },
  },
  $defs: { condition: conditionSchema() },
}

function selectSchema(): Schema {
  const description = 'which devices: AND between the keys, OR inside device types and devices, AND inside labels; all when left out'
  return {
    type: 'object',
    description,
    additionalProperties: false,
    default: { deviceTypes: [], labels: [], devices: [] },
    properties: {
      deviceTypes: { ...list(), examples: [['temperature']] },
      labels: { ...list(), description: '"key" (there is one) or "key=value"', examples: [['zone=cold', 'site']] },
      devices: { ...list(), description: 'device ids' },
    },
  }
}

function severitySchema(): Schema {
  const rung: Schema = {
    type: 'object',
    additionalProperties: false,
    required: ['at', 'severity'],
    properties: { at: { type: 'number', description: 'this severity from this value on' }, severity },
  }
  return {
    description: 'how grave an alarm is, or a ladder of severities from the least to the gravest',
    default: 'warning',
    anyOf: [severity, { type: 'array', minItems: 1, maxItems: SEVERITIES.length, items: rung }],
    examples: ['critical', [{ at: -15, severity: 'warning' }]],
  }
}

function inhibitedBySchema(): Schema {
  const one: Schema = {
    type: 'object',
    additionalProperties: false,
    required: ['rule', 'equal'],
    properties: { rule: name, equal: { ...list(), maxItems: 10, description: 'labels in which both devices must agree' } },
  }
  const description =
    'while an alarm of one of these rules is active on the same device, nobody is told of this one; with { rule, equal: [labels] } on a device with the same values of these labels; of a rule with groupBy on the group that the device belongs to'
  return { type: 'array', maxItems: 20, default: [], description, items: { anyOf: [name, one] }, examples: [['gateway-offline']] }
}

function list(items: Schema = { type: 'string', minLength: 1, maxLength: 256 }): Schema {
  return { type: 'array', maxItems: 1000, uniqueItems: true, default: [], items }
}
