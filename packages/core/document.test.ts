// Rules as text: which are understood, where a mistake stands, what is refused before it costs anything, and what is written.
import { describe, expect, it } from 'vitest'
import { parseDocuments, readDocuments, ruleToYaml } from './document.ts'
import { parseRule } from './rule.ts'

const WARM = `# the big one
name: freezer-warm
select: { deviceTypes: [temperature], labels: ["zone=cold", "site"], devices: [] }
when:
  threshold: { field: temperature.value, above: -15, clearBelow: -16.5, unit: "°C" } # hysteresis
for: 5m
keepActive: 2m
severity: [{ at: -15, severity: warning }, { at: -5, severity: critical }]
schedule: { timezone: Europe/Oslo, active: [{ days: mon-fri, from: "07:00", to: 19:00 }], holidays: [2026-12-25] }
message: "{{device.labels.name}} is {{value}}{{unit}}"
notify: [ops]
`
const SILENT = 'name: silent\nwhen: { absent: { eventType: temperature, for: 1h } }\n'

function mistakes(text: string): string[] {
  return parseDocuments(text).flatMap(({ errors = [] }) => errors.map(({ line, column, message }) => `${line}:${column} ${message}`))
}

describe('a text', () => {
  it.each<[string, string, string[]]>([
    ['one rule', WARM, ['freezer-warm']],
    ['several documents', `${WARM}---\n${SILENT}...\n---\n# nothing\n---\n`, ['freezer-warm', 'silent']],
    ['a list', `- name: a\n  when: { threshold: { field: a.b, above: 1 } }\n- ${SILENT.replace('\n', '\n  ')}`, ['a', 'silent']],
    ['JSON', JSON.stringify([{ name: 'a', when: { threshold: { field: 'a.b', above: 1 } } }]), ['a']],
    ['an alias', `- name: a\n  when: &w { threshold: { field: a.b, above: 1 } }\n- { name: b, when: *w }\n`, ['a', 'b']],
    ['nothing', '# only words\n', []],
  ])('with %s holds its rules', (_, text, names) => {
    expect(parseDocuments(text).map(({ rule, errors }) => rule?.name ?? errors)).toEqual(names)
  })

  it('is YAML 1.2: no and on are texts, a time of day and a date too', () => {
    const [parsed] = parseDocuments(`${SILENT}notify: [no, on]\n`)
    expect(parsed?.rule?.notify).toEqual(['no', 'on'])
    expect(parseDocuments(WARM)[0]?.rule?.schedule).toMatchObject({ active: [{ fromMinute: 420, toMinute: 1140 }] })
  })

  it.each<[string, string, string[]]>([
    ['a value', WARM.replace('-16.5', 'cold'), ['5:66 when.threshold.clearBelow: expected a number']],
    ['an unknown key', WARM.replace('keepActive', 'keepactive'), [expect.stringMatching(/^7:1 keepactive: .*did you mean "keepActive"/)]],
    ['a key below', WARM.replace('clearBelow', 'clear.below'), [expect.stringMatching(/^5:54 when.threshold.clear.below: is unknown/)]],
    [
      'what is missing',
      WARM.replace('above: -15, clearBelow: -16.5, ', ''),
      [expect.stringMatching(/^5:14 when.threshold: expected "above"/)],
    ],
    [
      'a missing key of a block',
      'name: a\nwhen:\n  absent:\n    for: 5m\n',
      [expect.stringMatching(/^3:3 when.absent.eventType: expected a text/)],
    ],
    ['an item of a list', WARM.replace('[ops]', '[ops, Night]'), [expect.stringMatching(/^11:15 notify\[1\]: expected 1 to 63/)]],
    ['an item of an item', WARM.replace('at: -5', 'at: -25'), [expect.stringMatching(/^8:50 severity\[1\].at: expected higher/)]],
    ['a schedule', WARM.replace('mon-fri', 'mon-xyz'), [expect.stringMatching(/^9:53 schedule.active\[0\].days: expected a day/)]],
    ['a number for a text', `${SILENT}groupBy: [1]\n`, ['3:11 groupBy[0]: expected a text of 1 to 256 characters, so in quotes: "1"']],
    ['the name that is missing', `\n${SILENT.replace('name', '# name')}`, [expect.stringMatching(/^3:1 name: expected 1 to 63/)]],
    ['no object', '- 7\n', [expect.stringMatching(/^1:3 rule: expected an object/)]],
    ['a long key', `${SILENT}${'x'.repeat(90)}: 1\n`, [expect.stringMatching(/^3:1 x{64}: is unknown/)]],
    ['a name that is there', `${SILENT}---\n${SILENT}`, ['4:7 name: expected another than that of the rule on line 1']],
  ])('says where a mistake stands: %s', (_, text, expected) => expect(mistakes(text)).toEqual(expected))

  it('says one mistake for each key', () => {
    const text = 'name: A\nwhen: { threshold: { field: a.b } }\nfor: 5\nsevrity: info\nseverity: [{ at: 1, severity: info }]\nnotify: [1]\n'
    expect(mistakes(text).map(mistake => mistake.split(': ')[0])).toEqual([
      '4:1 sevrity',
      '2:20 when.threshold',
      '1:7 name',
      '3:6 for',
      '6:10 notify[0]',
    ])
    expect(mistakes('{}').map(mistake => mistake.split(': ')[0])).toEqual(['1:1 when', '1:1 name'])
  })

  it('keeps the rules that are right beside those that are not', () => {
    const parsed = parseDocuments(`${WARM}---\nname: [\n---\n${SILENT}`)
    expect(parsed.map(({ rule, errors }) => rule?.name ?? errors?.length)).toEqual(['freezer-warm', expect.any(Number), 'silent'])
  })

  it.each<[string, string, RegExp]>([
    ['a key that stands twice', `${SILENT}name: again\n`, /^3:1 name: stands here twice/],
    ['a key that stands twice below', 'name: a\nwhen:\n  absent: { for: 5m, for: 6m }\n', /^3:22 when.absent.for: stands here twice/],
    ['a key twice in JSON', '[{"a": 1, "a": 2}]', /^1:11 \[0\].a: stands here twice/],
    ['an open quote', 'name: "a\n', /^2:1 /],
    ['a wrong indent', 'name: a\n when: b\n', /^1:7 Nested/],
    ['a tag', 'name: !!js/function a\n', /^1:7 .*tag/],
    [
      'aliases upon aliases',
      `a: &a [${'x,'.repeat(9)}]\n${'bcdefg'
        .split('')
        .map((c, i) => `${c}: &${c} [${`*${'abcdef'[i]},`.repeat(9)}]\n`)
        .join('')}`,
      /fewer aliases/,
    ],
    ['a deep list', '['.repeat(100_000), /at most 32 levels/],
    ['a deep object', '{a: '.repeat(50_000), /at most 32 levels/],
    ['a deep block', '- '.repeat(50_000), /at most 32 levels/],
    ['deep keys', '? '.repeat(50_000), /at most 32 levels/],
    ['a long text', `# ${'x'.repeat(256 * 1024)}`, /at most 256 KB/],
    ['too many rules', '- 1\n'.repeat(1001), /at most 1000 rules/],
  ])('refuses %s', (_, text, expected) => {
    const begin = performance.now()
    expect(mistakes(text)[0]).toMatch(expected)
    expect(performance.now() - begin).toBeLessThan(3000)
  })

  it('survives what refers to itself', () => {
    expect(mistakes('&a { name: a, when: *a }')[0]).toMatch(/^1:6 when.name: is unknown/)
  })

  it('may hold something else than rules', () => {
    const [piece] = readDocuments('rule: x\ntests:\n  - at: 5m\n')
    expect(piece?.value).toEqual({ rule: 'x', tests: [{ at: '5m' }] })
    expect(piece?.locate('tests[0].at', 'wrong')).toEqual({ field: 'tests[0].at', message: 'wrong', line: 3, column: 9 })
  })
})

describe('a rule as text', () => {
  const same = (text: string) =>
    ruleToYaml(parseRule(parseDocuments(text)[0]?.rule === undefined ? undefined : readDocuments(text)[0]?.value))

  it('is what one would write', () => {
    expect(same(WARM)).toBe(`name: freezer-warm
select:
  deviceTypes: [temperature]
  labels: [zone=cold, site]
when:
  threshold: {field: temperature.value, above: -15, clearBelow: -16.5, unit: °C}
for: 5m
keepActive: 2m
severity:
  - {at: -15, severity: warning}
  - {at: -5, severity: critical}
schedule:
  timezone: Europe/Oslo
  active:
    - {days: mon-fri, from: "07:00", to: "19:00"}
  holidays: ["2026-12-25"]
message: "{{device.labels.name}} is {{value}}{{unit}}"
notify: [ops]
`)
  })

  it.each<[string, object]>([
    ['the least', {}],
    [
      'everything',
      { enabled: false, late: 'amend', unacknowledgeAfter: '1d', groupBy: ['a'], inhibitedBy: ['b', { rule: 'c', equal: ['d'] }] },
    ],
    ['an odd message', { message: 'no: "{{value}}"\n# yes\n' }],
    ['odd texts', { select: { labels: ['on', '1=2', 'a: b', '*', 'x=#'], devices: ['07:00', 'null', '~', '-'.repeat(2), '0x1'] } }],
    ['always open but for holidays', { schedule: { timezone: 'UTC', active: [{}], holidays: ['2026-12-25'] } }],
  ])('comes back the same: %s', (_, input) => {
    const rule = parseRule({ name: 'a', when: { absent: { eventType: 'temperature', for: '1h' } }, ...input })
    expect(parseDocuments(ruleToYaml(rule))).toEqual([{ rule }])
  })
})
