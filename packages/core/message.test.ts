// Templates of messages: what the names stand for, what is refused, and that text stays text.
import { describe, expect, it } from 'vitest'
import { MAX_MESSAGE_CHARS, type MessageFacts, parseMessage, renderMessage } from './message.ts'

const facts: MessageFacts = {
  rule: 'freezer-warm',
  title: 'Freezer too warm',
  severity: 'critical',
  state: 'active',
  value: -12.4,
  unit: '°C',
  limit: -15,
  reason: 'temperature.value -12.4 is above -15',
  since: '2026-11-21T09:00:00.000000Z',
  updateTime: '2026-11-21T09:05:00.000000Z',
  device: {
    id: 'd1',
    type: 'temperature',
    productNumber: '100',
    labels: JSON.parse('{"name":"Freezer 3","a.b":"dotted","__proto__":"plain"}'),
  },
}

function render(template: string, change: Partial<MessageFacts> = {}): string {
  return renderMessage(parseMessage(template), { ...facts, ...change })
}

describe('a message', () => {
  it.each([
    [
      '{{device.labels.name}} is {{value}}{{unit}} (limit {{limit}}) since {{since}}',
      'Freezer 3 is -12.4°C (limit -15) since 2026-11-21T09:00:00.000000Z',
    ],
    [
      '{{rule}} {{severity}} {{state}} {{updateTime}}: {{reason}}',
      'freezer-warm critical active 2026-11-21T09:05:00.000000Z: temperature.value -12.4 is above -15',
    ],
    ['{{device.id}}/{{ device.type }}/{{device.productNumber}}', 'd1/temperature/100'],
    ['{{title}}', 'Freezer too warm'],
    ['no names, } and { and }} stay', 'no names, } and { and }} stay'],
    ['[{{device.labels.a.b}}][{{device.labels.__proto__}}]', '[dotted][plain]'],
    ['[{{device.labels.missing}}][{{device.labels.constructor}}]', '[][]'],
    ['<b>{{state}}</b>&amp;\n', '<b>active</b>&amp;\n'],
  ])('%j reads %j', (template, text) => expect(render(template)).toBe(text))

  it('calls a device without a name by its id', () =>
    expect(render('{{device.labels.name}}', { device: { ...facts.device, labels: {} } })).toBe('d1'))

  it('leaves out what there is not', () =>
    expect(render('[{{value}}{{unit}}{{limit}}]', { value: null, unit: null, limit: null })).toBe('[]'))

  it('never reads a value as a template', () => expect(render('{{value}}', { value: '{{reason}}' })).toBe('{{reason}}'))

  it.each([
    ['{{}}', /expected no "\{\{\}\}"; valid names: rule, title, severity,.* device\.labels\.KEY/],
    ['{{device.labels.}}', /expected no/],
    ['{{device.labels}}', /expected no/],
    ['{{constructor}}', /expected no/],
    ['{{value', /expected "\}\}" after "\{\{value"/],
    ['{{{value}}}', /expected no "\{\{\{value\}\}"/],
    ['', /1 to 2000 characters/],
    ['x'.repeat(2001), /1 to 2000 characters/],
  ])('with %j is refused when it is saved', (template, message) => {
    expect(() => parseMessage(template)).toThrow(message)
    expect(() => parseMessage(template, 'here')).toThrow(expect.objectContaining({ code: 'invalid', field: 'here' }))
  })

  it('is cut where it grows too long, between characters', () => {
    const labels = { name: 'x'.repeat(MAX_MESSAGE_CHARS - 2), more: '🌡'.repeat(100_000) }
    const text = render('{{device.labels.name}}{{device.labels.more}}{{device.labels.more}}', { device: { ...facts.device, labels } })
    expect(text).toBe(`${labels.name}…`)
  })

  it('is as long as it may be without being cut', () => {
    const labels = { name: 'x'.repeat(MAX_MESSAGE_CHARS) }
    expect(render('{{device.labels.name}}', { device: { ...facts.device, labels } })).toBe(labels.name)
  })
})
