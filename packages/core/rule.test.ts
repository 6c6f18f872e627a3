// Rules as people write them: what is understood, what is refused and where, and which devices are picked.
import { describe, expect, it } from 'vitest'
import { parseLabelFilter } from './device.ts'
import { DEFAULT_MESSAGE } from './message.ts'
import { eventTypesOf, parseRule, ruleToJson, selects } from './rule.ts'

const threshold = { field: 'temperature.value', above: -15 }
const warm = { name: 'freezer-warm', when: { threshold } }

describe('a rule', () => {
  it('needs a name and a condition and has a default for all else', () => {
    expect(parseRule(warm)).toEqual({
      name: 'freezer-warm',
      version: 1,
      title: '',
      enabled: true,
      select: { deviceTypes: [], labels: [], devices: [] },
      when: {
        kind: 'threshold',
        field: {
          text: 'temperature.value',
          eventTypes: ['temperature'],
          sources: [{ eventType: 'temperature', path: ['value'] }],
          key: 'temperature.value',
        },
        above: -15,
        isOutside: false,
      },
      holdMs: 0,
      keepActiveMs: 0,
      severity: 'warning',
      ladder: [],
      schedule: undefined,
      message: DEFAULT_MESSAGE,
      notify: [],
      groupBy: [],
      inhibitedBy: [],
      unacknowledgeAfterMs: 0,
      late: 'ignore',
    })
  })

  it('says everything that can be said', () => {
    const rule = parseRule({
      ...warm,
      version: 7,
      enabled: false,
      select: { deviceTypes: ['temperature'], labels: ['zone=cold', 'site'], devices: ['a', '__proto__'] },
      for: '5m',
      keepActive: '1.5m',
      severity: 'critical',
      message: '{{value}}',
      notify: ['ops', 'night'],
    })
    expect(rule).toMatchObject({
      version: 7,
      enabled: false,
      holdMs: 300_000,
      keepActiveMs: 90_000,
      severity: 'critical',
      notify: ['ops', 'night'],
    })
    expect(rule.select.labels).toEqual(['zone=cold', 'site'].map(parseLabelFilter))
  })

  it('takes its name from where it is saved, and may not contradict it', () => {
    expect(parseRule({ when: warm.when }, 'cold').name).toBe('cold')
    expect(parseRule(warm, 'freezer-warm').name).toBe('freezer-warm')
    expect(() => parseRule(warm, 'cold')).toThrow(/^name: expected "cold"/)
  })

  it.each<[string, unknown]>([
    ['the least', warm],
    ['a selector', { ...warm, select: { labels: ['a', 'b=', 'c=d=e', '__proto__=1'], devices: [], deviceTypes: ['co2'] } }],
    ['both levels', { ...warm, when: { threshold: { field: 'a.b.c', above: 8, below: 2, clearBelow: 7.5, clearAbove: 2, unit: '°C' } } }],
    ['a band', { ...warm, when: { threshold: { field: 'co2.ppm', inside: [400, 800], clearBelow: 350, clearAbove: 900, unit: 'vol%' } } }],
    ['another', { ...warm, when: { threshold: { field: 'a.b', outside: [2, 8], clearAbove: 3, unit: 'cows' } } }],
    ['silence', { name: 'constructor', when: { absent: { eventType: 'networkStatus', for: '1.5h' } } }],
    [
      'the rest',
      { ...warm, version: 3, enabled: false, for: '90s', keepActive: '36h', severity: 'info', message: '{{ rule }}!', notify: ['x'] },
    ],
  ])('comes back the same from its own document: %s', (_, input) => {
    const rule = parseRule(input)
    expect(parseRule(JSON.parse(JSON.stringify(ruleToJson(rule))))).toEqual(rule)
  })

  it('is refused with the path of every mistake and what was expected', () => {
    const select = (value: unknown) => ({ ...warm, select: value })
    const level = (value: object) => ({ ...warm, when: { threshold: { ...threshold, ...value } } })
    const silence = (value: object) => ({ ...warm, when: { absent: value } })
    const refused: [unknown, RegExp][] = [
      [undefined, /^rule: expected an object/],
      [[], /^rule: expected an object/],
      ['{}', /^rule: expected an object/],
      [{ when: warm.when }, /^name: expected 1 to 63/],
      [{ ...warm, name: 'Freezer' }, /^name: /],
      [{ ...warm, name: '__proto__' }, /^name: /],
      [{ ...warm, name: 7 }, /^name: /],
      [{ ...warm, sevrity: 'info' }, /^sevrity: is unknown here; did you mean "severity"\? Valid: name, /],
      [{ ...warm, keep_active: '5m' }, /^keep_active: .*did you mean "keepActive"/],
      [{ ...warm, colour: 'red' }, /^colour: is unknown here; Valid: name, /],
      [{ ...warm, [`x${'y'.repeat(5000)}`]: 1 }, /^xy{63}: is unknown here; Valid/],
      [JSON.parse('{"name":"a","when":{},"__proto__":{"for":"5m"}}'), /^__proto__: is unknown/],
      [{ ...warm, schedule: {} }, /^schedule.timezone: expected a text/],
      [{ ...warm, version: 0 }, /^version: /],
      [{ ...warm, version: '1' }, /^version: /],
      [{ ...warm, enabled: 'yes' }, /^enabled: expected true or false/],
      [{ ...warm, for: 5 }, /^for: expected a duration/],
      [{ ...warm, for: '5 minutes' }, /^for: expected a duration/],
      [{ ...warm, for: '-5m' }, /^for: /],
      [{ ...warm, for: '400d' }, /^for: .*at most 366d/],
      [{ ...warm, keepActive: null }, /^keepActive: expected a duration/],
      [{ ...warm, severity: 'fatal' }, /^severity: expected one of info, warning, critical/],
      [{ ...warm, severity: [] }, /^severity: expected at least one/],
      [{ ...warm, severity: [{ at: '-15', severity: 'warning' }] }, /^severity\[0\].at: expected a number/],
      [
        {
          ...warm,
          severity: [
            { at: -15, severity: 'critical' },
            { at: -20, severity: 'critical' },
          ],
        },
        /^severity\[1\].at: expected higher/,
      ],
      [
        {
          ...warm,
          severity: [
            { at: -15, severity: 'critical' },
            { at: -5, severity: 'info' },
          ],
        },
        /^severity\[1\].severity: expected graver/,
      ],
      [{ ...warm, groupBy: ['site=x'] }, /^groupBy\[0\]: expected the key/],
      [{ ...warm, inhibitedBy: [{ rule: 'gateway-offline' }] }, /^inhibitedBy\[0\].equal: expected a list/],
      [{ ...warm, late: 'maybe' }, /^late: expected one of ignore, amend/],
      [{ ...warm, message: '' }, /^message: expected a text/],
      [{ ...warm, message: 7 }, /^message: expected a text/],
      [{ ...warm, message: '{{valeu}}' }, /^message: expected no "\{\{valeu\}\}"; valid names: rule, /],
      [{ ...warm, notify: 'ops' }, /^notify: expected a list/],
      [{ ...warm, notify: ['ops', 'Ops'] }, /^notify\[1\]: expected 1 to 63/],
      [{ ...warm, notify: ['ops', 'sms', 'ops'] }, /^notify\[2\]: expected each only once/],
      [{ ...warm, notify: [1] }, /^notify\[0\]: expected a text/],
      [select([]), /^select: expected an object/],
      [select({ label: ['a'] }), /^select\.label: .*did you mean "labels"/],
      [select({ labels: null }), /^select\.labels: expected a list/],
      [select({ labels: ['a', '=b'] }), /^select\.labels\[1\]: expected "key" or "key=value"/],
      [select({ deviceTypes: [''] }), /^select\.deviceTypes\[0\]: expected a text/],
      [select({ devices: ['a/b'] }), /^select\.devices\[0\]: expected 1 to 128/],
      [select({ devices: Array.from({ length: 1001 }, (_, index) => `d${index}`) }), /^select\.devices: expected a list of at most 1000/],
      [{ name: 'a' }, /^when: expected an object/],
      [{ name: 'a', when: {} }, /^when: expected exactly one condition of threshold, /],
      [{ name: 'a', when: { threshold, absent: { eventType: 'a', for: '1h' } } }, /^when: expected exactly one/],
      [{ name: 'a', when: { treshold: threshold } }, /^when\.treshold: .*did you mean "threshold"/],
      [{ name: 'a', when: { constructor: threshold } }, /^when\.constructor: is unknown/],
      [level({ abov: 3 }), /^when\.threshold\.abov: .*did you mean "above"/],
      [level({ above: '3' }), /^when\.threshold\.above: expected a number/],
      [level({ above: Number.NaN }), /^when\.threshold\.above: expected a number/],
      [level({ above: undefined }), /^when\.threshold: expected "above", "below", or both/],
      [level({ below: -15 }), /^when\.threshold\.below: expected less than above/],
      [level({ clearBelow: -14 }), /^when\.threshold\.clearBelow: expected at most above \(-15\)/],
      [level({ below: -30, clearBelow: -30 }), /^when\.threshold\.clearBelow: expected more than below/],
      [level({ clearAbove: -20 }), /^when\.threshold\.clearAbove: expected only together with "below"/],
      [level({ above: undefined, below: 2, clearBelow: 1 }), /^when\.threshold\.clearBelow: expected only together with "above"/],
      [level({ below: -30, clearAbove: -31 }), /^when\.threshold\.clearAbove: expected at least below/],
      [level({ below: -30, clearAbove: -15 }), /^when\.threshold\.clearAbove: expected less than -15/],
      [level({ below: -30, clearBelow: -20, clearAbove: -20 }), /^when\.threshold\.clearAbove: expected less than -20/],
      [level({ above: undefined, inside: [8, 2] }), /^when\.threshold\.inside\[1\]: expected more than 8/],
      [level({ above: undefined, inside: [8] }), /^when\.threshold\.inside: expected two numbers, \[low, high\]/],
      [level({ above: undefined, outside: [2, '8'] }), /^when\.threshold\.outside\[1\]: expected a number/],
      [level({ inside: [2, 8] }), /^when\.threshold: expected "above", "below", or both .*"outside" or "inside"/],
      [level({ above: undefined, inside: [2, 8], outside: [2, 8] }), /^when\.threshold: expected "above"/],
      [level({ above: undefined, inside: [2, 8], clearBelow: 3 }), /^when\.threshold\.clearBelow: expected at most 2/],
      [level({ above: undefined, inside: [2, 8], clearAbove: 7 }), /^when\.threshold\.clearAbove: expected at least 8/],
      [level({ above: undefined, outside: [2, 8], clearBelow: 9 }), /^when\.threshold\.clearBelow: expected at most above \(8\)/],
      [level({ unit: '' }), /^when\.threshold\.unit: /],
      [level({ unit: 'x'.repeat(33) }), /^when\.threshold\.unit: expected a text of 1 to 32/],
      [
        level({ unit: 'psi' }),
        /^when\.threshold\.unit: psi is a unit of pressure, but temperature\.value is in °C \(temperature\); expected one of °C, °F, K$/,
      ],
      [level({ unit: 'celcius' }), /^when\.threshold\.unit: "celcius" is no unit known here, but temperature\.value is in °C/],
      [
        level({ field: 'pressure.pascal', unit: 'kPaa' }),
        /^when\.threshold\.unit: "kPaa" .*did you mean "kPa"\? expected one of Pa, hPa, kPa/,
      ],
      [level({ field: 'temperature' }), /^when\.threshold\.field: .*for example "temperature\.value"/],
      [level({ field: 'co2.' }), /^when\.threshold\.field: .*for example "co2\.ppm"/],
      [level({ field: '1a.b' }), /^when\.threshold\.field: expected 1 to 64/],
      [level({ field: '.value' }), /^when\.threshold\.field: /],
      [level({ field: 'a.b.c.d.e.f.g.h.i' }), /^when\.threshold\.field: /],
      [level({ field: undefined }), /^when\.threshold\.field: expected a text/],
      [silence({ eventType: 'a b', for: '1h' }), /^when\.absent\.eventType: /],
      [silence({ eventType: 'a' }), /^when\.absent\.for: expected a duration/],
      [silence({ eventType: 'a', for: '0s' }), /^when\.absent\.for: expected a duration longer than 0/],
    ]
    for (const [input, message] of refused) {
      const path = message.source.slice(1, message.source.indexOf(':')).replaceAll('\\', '')
      expect(() => parseRule(input), message.source).toThrow(message)
      if (/^[a-z.[\]\d]+$/i.test(path)) expect(() => parseRule(input)).toThrow(expect.objectContaining({ code: 'invalid', field: path }))
    }
  })
})

describe('the selector of a rule', () => {
  const device = { id: 'd1', type: 'temperature', labels: JSON.parse('{"zone":"cold","site":"Oslo","__proto__":"x"}'), productNumber: '' }

  it.each<[object | undefined, boolean]>([
    [undefined, true],
    [{}, true],
    [{ deviceTypes: [], labels: [], devices: [] }, true],
    [{ deviceTypes: ['co2', 'temperature'] }, true],
    [{ deviceTypes: ['co2'] }, false],
    [{ devices: ['d0', 'd1'] }, true],
    [{ devices: ['d0'] }, false],
    [{ labels: ['zone=cold', 'site'] }, true],
    [{ labels: ['zone=cold', 'floor'] }, false],
    [{ labels: ['__proto__=x'] }, true],
    [{ labels: ['constructor'] }, false],
    [{ deviceTypes: ['temperature'], devices: ['d0'] }, false],
    [{ deviceTypes: ['temperature'], devices: ['d1'], labels: ['zone=warm'] }, false],
    [{ deviceTypes: ['temperature'], devices: ['d1'], labels: ['zone'] }, true],
  ])('%j picks a cold thermometer in Oslo: %s', (select, picked) => expect(selects(parseRule({ ...warm, select }), device)).toBe(picked))
})

describe('the event types that a rule reads', () => {
  it.each<[object, string[]]>([
    [{ threshold }, ['temperature']],
    [{ threshold: { field: 'acme.box.level', below: 1 } }, ['acme', 'acme.box']],
    [{ absent: { eventType: 'acme.box', for: '1h' } }, ['acme.box']],
  ])('of %j are %j', (when, types) => expect(eventTypesOf(parseRule({ name: 'a', when }))).toEqual(types))
})
