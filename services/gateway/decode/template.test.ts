// The templates that announcements use, and those that are no business of a decoder.
import { describe, expect, it } from 'vitest'
import { parseTemplate, Rendering } from './template.ts'

const JSON_PAYLOAD = '{"a":{"b":[1.5,2]},"s":"12.5","n":null,"on":"ON","x y":3}'

describe('a template', () => {
  it.each<[string, unknown]>([
    ['{{ value_json.a.b[0] }}', 1.5],
    ["{{value_json['x y']}}", 3],
    ['{{ value_json.s | float }}', 12.5],
    ['{{ value_json.s | float | round(0) }}', 13],
    ['{{ (value_json.s | float) / 10 + 1 }}', 2.25],
    ['{{ value_json.a.b[1] * 0.1 }}', 0.2],
    ['{{ value_json.missing }}', undefined],
    ['{{ value_json.n }}', undefined],
    ['{{ value_json.on.b.c }}', undefined],
    ['{{ value_json.missing | default(7) }}', 7],
    ['{{ value_json.on | float(-1) }}', -1],
    ['{{ value_json.on | lower }}', 'on'],
    ['{{ value_json.on | float }}', undefined],
    ['{{ value_json.s | float / 0 }}', undefined],
    ['{{ value_json.on | is_defined }}', 'ON'],
    ['{{ value_json.constructor }}', undefined],
    ['{{ value_json.a.b | int }}', undefined],
    ["{{value_json['s'] if value_json['s'] is defined else 0}}", '12.5'],
    ["{{value_json['t'] if value_json['t'] is defined else 0}}", undefined],
    ["{{value_json['a']['b'][0] if value_json.a is defined and value_json['a']['b'] is defined else -55}}", 1.5],
    ["{{value_json['a']['x'] if value_json.a is defined and value_json['a']['x'] is defined}}", undefined],
    ["{{'online' if value_json.s is defined else 'offline'}}", 'online'],
    ["{{value_json['gone'] if value_json['gone'] is defined else false}}", undefined],
    ['{{ value_json.t if value_json.t is defined else value_json.s }}', '12.5'],
    ['{{ value_json.s if value_json.s is defined else value_json.on }}', '12.5'],
    ['{{ value_json.t if value_json.t is defined else value_json.u if value_json.u is defined else value_json.s | float / 10 }}', 1.25],
    ['{{ value_json.t if value_json.t is defined else value_json.u if value_json.u is defined else -1 }}', undefined],
    ["{{ value_json.t if value_json.t is defined else ('0' | float) + 1 }}", undefined],
    ['{{ float(value_json.s) }}', 12.5],
    ['{{ int(value_json.on, 7) }}', 7],
    ['{{ float(value_json.missing, 0) }}', undefined],
    ['{{- value_json.s | int -}}', 12],
  ])('%s is %s', (text, expected) => expect(new Rendering(JSON_PAYLOAD).render(parseTemplate(text))).toBe(expected))

  it('may be about a payload that is no JSON', () => {
    expect(new Rendering('21.46').render(parseTemplate('{{ value | float | round(1) }}'))).toBe(21.5)
    expect(new Rendering('10').render(parseTemplate('{{ (float(value|float) * 3.6) | round(2) }}'))).toBe(36)
    expect(new Rendering('1').render(parseTemplate('{{ ((float(value) * 99)|round(0)) + 1 }}'))).toBe(100)
    expect(() => new Rendering('21.46x').render(parseTemplate('{{ value_json.a }}'))).toThrow(/^payload: not JSON/)
  })

  it.each([
    '',
    'value_json.a',
    '{% if value %}1{% endif %}',
    '{{ 1 if value_json.a else 2 }}',
    '{{ 1 if value_json.a == 2 else 2 }}',
    '{{ 1 if value_json.a is defined or value_json.b is defined }}',
    '{{ value_json.a if value_json.a is defined else }}',
    '{{ value_json.a if value_json.a is defined else -value_json.b }}',
    '{{ value_json.a if value_json.a is defined else value_json.b == 1 }}',
    `{{ ${'value if value is defined else '.repeat(20)}value }}`,
    '{{ float(value }}',
    `{{ 1 if value is defined${' and value is defined'.repeat(40)} }}`,
    '{{ states("sensor.x") }}',
    '{{ value_json.a }} {{ value_json.b }}',
    '{{ value_json.a | regex_replace("(a+)+$") }}',
    '{{ value_json[ }}',
    '{{ }}',
    `{{ ${'('.repeat(500)} }}`,
    `{{ value${' | float'.repeat(100)} }}`,
    `{{ value${' + 1'.repeat(100)} }}`,
    `{{ value_json.${'a'.repeat(2000)} }}`,
    '{{ value_json.a ; 1 }}',
  ])('is refused: %s', text => expect(() => parseTemplate(text)).toThrow(/^value_template: expected one such as/))
})
