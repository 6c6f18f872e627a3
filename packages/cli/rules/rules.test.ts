// `telltale rules` without a server: what is wrong in files is said where it is, and tests of rules say what came in place of what.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { runCommand } from '../command.ts'
import { paletteOf } from '../terminal.ts'
import { planLines, summaryOf } from './difference.ts'

const folder = mkdtempSync(join(tmpdir(), 'telltale-rules-'))
afterAll(() => rmSync(folder, { recursive: true }))
const EXAMPLES = fileURLToPath(new URL('../../../examples/rules', import.meta.url))

async function telltale(...args: string[]) {
  const out = new PassThrough()
  const err = new PassThrough()
  const code = await runCommand(['rules', ...args], { out, err, env: {}, stopped: new AbortController().signal })
  return { code, out: String(out.read() ?? '').replaceAll(`${folder}/`, ''), err: String(err.read() ?? '').replaceAll(`${folder}/`, '') }
}

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

const HOT = `name: hot
when:
  threshold: {field: temperature.value, above: 30}
for: 5m
`

describe('the examples', () => {
  test('have no mistakes', async () => {
    expect(await telltale('validate', EXAMPLES)).toEqual({ code: 0, out: '5 rules in 7 files: no mistakes\n', err: '' })
  })

  test('pass their tests', async () => {
    const { code, out } = await telltale('test', EXAMPLES)
    expect([code, out]).toEqual([0, expect.stringMatching(/✓ ten minutes of warmth[\s\S]*\n9 tests, all passed\n$/)])
  })
})

describe('validate', () => {
  test('shows the line and the place of each mistake, and ends with 1', async () => {
    const path = file('wrong.yaml', HOT.replace('above', 'abov').replace('5m', 'soon'))
    expect(await telltale('validate', path)).toEqual({
      code: 1,
      out: expect.stringMatching(
        /^wrong\.yaml:3:41: when\.threshold\.abov: is unknown here; did you mean "above"\? Valid: .*\n {4}threshold: \{field: .*\n {42}\^\nwrong\.yaml:4:6: for: expected a duration .*\n {2}for: soon\n {7}\^\n$/,
      ),
      err: '',
    })
  })

  test('as JSON, one mistake a line', async () => {
    const { out } = await telltale('validate', '--json', file('broken.yaml', 'name: [\n'))
    expect(JSON.parse(out.split('\n')[0] ?? '')).toMatchObject({
      file: expect.stringContaining('broken.yaml'),
      line: expect.any(Number),
      message: expect.any(String),
    })
  })

  test('the same name in two files is a mistake', async () => {
    const { code, out } = await telltale('validate', file('one.yaml', HOT), file('two.yaml', `# again\n${HOT}`))
    expect([code, out]).toEqual([1, expect.stringContaining('two.yaml:2:7: name: hot is the name of a rule in one.yaml too\n')])
  })

  test('a file that is not there is one line and exit code 2', async () => {
    expect(await telltale('validate', join(folder, 'none.yaml'))).toEqual({ code: 2, out: '', err: 'error: none.yaml: is not there\n' })
  })
})

describe('test', () => {
  const tests = (expected: string, rules = '[hot.yaml]') => `rules: ${rules}
tests:
  - name: it gets hot
    series: {temperature: 20x5 40x3}
    expect:
      - ${expected}
`

  test('says what was expected, what came and why, with the line, and ends with 1', async () => {
    file('hot.yaml', HOT)
    const { code, out } = await telltale('test', file('hot.test.yaml', tests('{at: 7m, state: active}')))
    expect(code).toBe(1)
    expect(out).toBe(`✗ it gets hot
    hot.test.yaml:6 at 7m, hot on device
      expected  active
      found     pending, warning since 5m, active at 10m
      because   temperature.value 40 is above 30, active at 2026-01-05T00:10:00.000000Z
1 test, 1 failed
`)
  })

  test('prints every change when asked to', async () => {
    file('hot.yaml', HOT)
    const { code, out } = await telltale('test', '-v', file('hot.test.yaml', tests('{at: 10m, state: active}')))
    expect([code, out]).toEqual([
      0,
      expect.stringContaining('         5m  pending, warning  hot on device: temperature.value 40 is above 30\n'),
    ])
  })

  test.each([
    [
      '{at: 7m, state: activ}',
      '[hot.yaml]',
      'hot.test.yaml:6:25: tests[0].expect[0].state: expected one of clear, pending, active; did you mean "active"?',
    ],
    ['{at: 7m, state: active}', '[hott.yaml]', 'hot.test.yaml:1:9: rules[0]: hott.yaml: is not there'],
    ['{at: 7m, state: active}', '[]', 'hot.test.yaml:1:8: rules: expected a list of files or folders of rules, such as [freezer.yaml]'],
  ])('%s %s is a mistake with its place', async (expected, rules, message) => {
    file('hot.yaml', HOT)
    const { code, out } = await telltale('test', file('hot.test.yaml', tests(expected, rules)))
    expect([code, out.split('\n')[0]]).toEqual([1, message])
  })

  test('a folder without tests is wrong usage', async () => {
    expect(await telltale('test', join(EXAMPLES, '..', '..', 'docs'))).toMatchObject({
      code: 2,
      err: expect.stringContaining('expected files of tests in it'),
    })
  })
})

test('differences are shown by path, and counted', () => {
  const out = new PassThrough()
  const changes = [
    {
      rule: 'a',
      action: 'create',
      differences: [
        { path: 'for', from: '0ms', to: '5m' },
        { path: 'when', from: null, to: { absent: { for: '1h' } } },
      ],
    },
    {
      rule: 'b',
      action: 'update',
      differences: [
        { path: 'notify', from: [], to: ['ops', 'a: b'] },
        { path: 'schedule', from: { timezone: 'UTC' }, to: null },
      ],
    },
    { rule: 'c', action: 'delete', differences: [] },
    { rule: 'd', action: 'same', differences: [] },
  ] as const
  expect(planLines(changes, paletteOf(out, {}))).toEqual([
    '+ a',
    '    for   5m',
    '    when  { absent: { for: 1h } }',
    '~ b',
    '    notify    [] → [ops, "a: b"]',
    '    schedule  { timezone: UTC } → –',
    '- c',
  ])
  expect(summaryOf(changes, true)).toBe('4 rules: 1 created, 1 updated, 1 deleted, 1 unchanged')
  expect(summaryOf([], false)).toBe('no rules')
})
