// Rules as files and as versions, against a real server: nothing is saved half, nobody undoes others, and every mistake is said where it is.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { runCommand } from '../packages/cli/command.ts'
import { parseDocuments } from '../packages/core/document.ts'
import { ruleToJson } from '../packages/core/rule.ts'
import { done } from './tenant.ts'
import { EVENTS, eventually, newDirectory, ROOT, removeDirectories, startTelltale, type Telltale, temperature } from './world.ts'

let telltale: Telltale
/** So that no test meets the rules of another. */
let count = 0
beforeAll(async () => {
  telltale = await startTelltale()
})
afterAll(async () => {
  await telltale?.remove()
  await removeDirectories()
})
beforeEach(() => {
  count++
})

const rules = '/v2/projects/default/rules'
const YAML = { 'content-type': 'application/yaml' }
const hot = (above: number, more: object = {}) => ({ when: { threshold: { field: 'temperature.value', above } }, ...more })
const named = (name: string) => `${name}-${count}`
const text = (name: string, above: number, more = '') =>
  `# ${name}\nname: ${name}\nwhen:\n  threshold: {field: temperature.value, above: ${above}}\n${more}`

const cli = (...args: string[]) => answering(undefined, ...args)

/** `answer`: what a person at a terminal types; undefined where nobody is. */
async function answering(answer: string | undefined, ...args: string[]) {
  const typed = Object.assign(new PassThrough(), { isTTY: answer !== undefined })
  typed.end(answer)
  const out = new PassThrough()
  const err = new PassThrough()
  const { keyId, secret } = telltale.key
  const env = { TELLTALE_HTTP_URL: telltale.url(), TELLTALE_KEY_ID: keyId, TELLTALE_SECRET: secret }
  const code = await runCommand(['rules', ...args], { in: typed, out, err, env, stopped: new AbortController().signal })
  return { code, out: String(out.read() ?? ''), err: String(err.read() ?? '') }
}

describe('a rule', () => {
  test('is kept in every version, with who saved it and when', async () => {
    const path = `${rules}/${named('hot')}`
    await done(telltale.send('PUT', path, hot(30)))
    await done(telltale.send('PUT', path, hot(40)))
    expect((await done(telltale.send('PUT', path, hot(40))))['version']).toBe(2)
    const first = await done(telltale.http(`${path}/versions?page_size=1`))
    expect(first['versions']).toEqual([
      {
        version: 2,
        by: expect.stringContaining('@'),
        time: expect.stringMatching(/^20\d\d-/),
        rule: expect.objectContaining({ version: 2 }),
      },
    ])
    const { versions } = await done(telltale.http(`${path}/versions?page_token=${String(first['nextPageToken'])}`))
    expect(versions).toMatchObject([{ version: 1, rule: { when: { threshold: { above: 30 } } } }])
    await done(telltale.http(path, { method: 'DELETE' }))
    expect((await done(telltale.http(`${path}/versions`)))['versions']).toMatchObject([
      { version: 3, rule: null },
      { version: 2 },
      { version: 1 },
    ])
    expect((await done(telltale.send('POST', rules, { name: named('hot'), ...hot(1) })))['version']).toBe(4)
  })

  test('is not replaced by who has not seen what it is by now', async () => {
    const path = `${rules}/${named('hot')}`
    await done(telltale.send('PUT', `${path}?if_version=0`, hot(30)))
    expect(await telltale.send('PUT', `${path}?ifVersion=0`, hot(40))).toMatchObject({
      status: 409,
      json: { field: 'ifVersion', error: `ifVersion: rule ${named('hot')} is at version 1 by now, expected version 0` },
    })
    expect((await done(telltale.send('PUT', `${path}?ifVersion=1`, hot(40))))['version']).toBe(2)
  })

  test('is read as YAML by who asks for it, and means the same', async () => {
    const path = `${rules}/${named('hot')}`
    const saved = await done(telltale.send('PUT', path, hot(30, { for: '5m', message: 'too "hot": {{value}}' })))
    const { headers, text: yaml } = await telltale.http(path, { headers: { accept: 'application/yaml' } })
    expect(headers.get('content-type')).toBe('application/yaml; charset=utf-8')
    const [{ rule }] = parseDocuments(yaml) as [ReturnType<typeof parseDocuments>[number]]
    expect(rule && JSON.parse(JSON.stringify({ ...ruleToJson(rule), resource: saved['resource'] }))).toEqual(saved)
    expect(yaml).not.toMatch(/enabled|groupBy|version/)
  })

  test('names only channels and rules that there are, and says which one was meant', async () => {
    const path = `${rules}/${named('hot')}`
    await done(telltale.send('PUT', path, hot(30)))
    const other = `${rules}/${named('cold')}`
    await done(telltale.send('PUT', `/v2/projects/default/devices/${named('d')}`, { type: 'temperature', labels: { building: 'b' } }))
    const answers = await Promise.all([
      telltale.send('PUT', other, hot(1, { notify: ['nobody'] })),
      telltale.send('PUT', other, hot(1, { inhibitedBy: [named('hott')] })),
      telltale.send('PUT', path, hot(1, { inhibitedBy: [named('hot')] })),
      telltale.send('PUT', path, hot(1, { groupBy: ['bulding'] })),
    ])
    expect(answers.map(({ status, json }) => [status, json['field'], json['error']])).toEqual([
      [400, 'notify[0]', expect.stringMatching(/^notify\[0\]: channel nobody does not exist; /)],
      [400, 'inhibitedBy[0]', expect.stringContaining(`did you mean "${named('hot')}"?`)],
      [400, 'inhibitedBy[0]', expect.stringContaining('would silence each other')],
      [400, 'groupBy[0]', expect.stringContaining('did you mean "building"?')],
    ])
  })

  test('that goes clears its alarms, also when channels are told, and its name is free again', async () => {
    const path = `${rules}/${named('hot')}`
    const device = named('oven')
    await done(telltale.send('PUT', path, hot(30, { select: { devices: [device] } })))
    const alarms = async () =>
      ((await done(telltale.http('/v2/projects/default/alarms')))['alarms'] as { rule: string; state: string; reason: string }[]).filter(
        one => one.rule === named('hot'),
      )
    await done(telltale.send('POST', EVENTS, [temperature(device, 50)]))
    await eventually(async () => expect(await alarms()).toMatchObject([{ state: 'active' }]))
    await done(telltale.http(`${path}?notify=true`, { method: 'DELETE' }))
    expect((await done(telltale.send('PUT', path, hot(90))))['version']).toBe(3)
    await eventually(async () => expect(await alarms()).toMatchObject([{ state: 'cleared', reason: 'rule deleted' }]))
  })
})

describe('a text', () => {
  test('is checked without being saved, and mistakes have their line and column', async () => {
    const name = named('hot')
    const validate = async (body: string) => await done(telltale.http(`${rules}:validate`, { method: 'POST', body, headers: YAML }))
    expect(await validate(text(name, 30))).toMatchObject({
      valid: true,
      errors: [],
      rule: { name },
      yaml: expect.stringContaining(`name: ${name}\n`),
    })
    expect(await validate(text(name, 30).replace('above', 'abov'))).toMatchObject({
      valid: false,
      errors: [{ field: 'when.threshold.abov', line: 4, column: 41, message: expect.stringContaining('did you mean "above"?') }],
    })
    expect(await validate(text(name, 30, 'notify: [nobody]\n'))).toMatchObject({
      valid: false,
      errors: [{ field: 'notify[0]', line: 5, column: 10 }],
    })
    for (const body of ['', '[]', 'null', '{', '[{}, {}]', '\u0000', '"x"', '- - - a'])
      expect(await validate(body)).toMatchObject({ valid: false, errors: [{ message: expect.any(String) }] })
    expect((await telltale.http(`${rules}/${name}`)).status).toBe(404)
  })

  test('may be checked by editors: the schema needs no login and takes what the server takes', async () => {
    const response = await fetch(`${telltale.url()}/v2/rules.schema.json`)
    const isRule = new Ajv2020({ strict: false }).compile((await response.json()) as object)
    const examples = await Promise.all(
      ['freezer-warm', 'freezer-silent', 'gateway-offline', 'office-co2', 'pipe-freezing'].map(name =>
        readFile(join(ROOT, 'examples/rules', `${name}.yaml`), 'utf8'),
      ),
    )
    for (const { rule } of examples.flatMap(parseDocuments))
      expect([rule?.name, isRule(rule && JSON.parse(JSON.stringify(ruleToJson(rule)))), isRule.errors]).toEqual([rule?.name, true, null])
    expect(isRule({ name: 'x', when: { threshold: { field: 'temperature.value', abov: 3 } } })).toBe(false)
  })

  test('is not named where it was removed, nor in a circle, nor made too big', async () => {
    const [a, b] = [named('a'), named('b')]
    const put = (name: string, more: object) => telltale.send('PUT', `${rules}/${name}`, hot(30, more))
    await done(put(a, {}))
    await done(put(b, { inhibitedBy: [a] }))
    expect(await put(a, { inhibitedBy: [b] })).toMatchObject({ status: 400, json: { field: 'inhibitedBy[0]' } })
    await done(telltale.http(`${rules}/${a}`, { method: 'DELETE' }))
    const again = await put(b, { inhibitedBy: [a], for: '1m' })
    expect(again).toMatchObject({ status: 400, json: { field: 'inhibitedBy[0]' } })
    expect(JSON.stringify(again.json)).toContain(`rule ${a} was removed: leave it out here`)
    const devices = Array.from({ length: 900 }, (_, i) => `${'d'.repeat(60)}${i}`)
    expect(await put(b, { select: { devices } })).toMatchObject({ status: 400, json: { field: 'rule' } })
    expect(await telltale.send('PUT', `${rules}/${b}:shadow`, hot(30, { select: { devices } }))).toMatchObject({ status: 400 })
    expect((await done(telltale.send('PUT', `${rules}/${b}:shadow`, hot(30))))['by']).toContain('@')
    await done(telltale.http(`${rules}/${b}`, { method: 'DELETE' }))
    expect((await telltale.http(`${rules}/${b}:shadow`)).status).toBe(404)
  })

  test('of tests may not keep the server busy: what is too much is refused', async () => {
    const many = Array.from({ length: 100 }, (_, i) => ({ name: `r${i}`, ...hot(i) }))
    const test = { name: 't', series: { temperature: '5x9000' }, changes: [] }
    const tests = [test, test]
    expect(await telltale.send('POST', `${rules}:test`, { rules: many, tests })).toMatchObject({ status: 400, json: { field: 'tests' } })
    const flapping = { name: 't', series: { temperature: '99 -1 '.repeat(1500).trim() }, changes: [] }
    const listed = await done(telltale.send('POST', `${rules}:test`, { rule: { name: 'r', ...hot(9) }, tests: [flapping] }))
    const [one] = listed['tests'] as [{ changes: unknown[]; failures: unknown[]; truncated: boolean }]
    expect([one.changes.length, one.failures.length, one.truncated]).toEqual([1000, 1000, true])
  })

  test('of tests is run by the engine', async () => {
    const one = { name: 'it gets hot', series: { temperature: '20 40' }, expect: [{ at: '1m', state: 'active' }] }
    const run = (tests: unknown[]) => telltale.send('POST', `${rules}:test`, { rule: { name: 'hot', ...hot(30) }, tests })
    expect((await run([one])).json).toMatchObject({
      passed: true,
      tests: [{ name: 'it gets hot', failures: [], changes: [{ at: '1m', kind: 'active' }] }],
    })
    const { json } = await run([{ ...one, series: { temperature: '20 30' } }])
    expect(json).toMatchObject({
      passed: false,
      tests: [{ failures: [{ path: 'tests[0].expect[0]', expected: 'active', found: 'clear' }] }],
    })
    expect(await run([{ ...one, expect: 3 }])).toMatchObject({ status: 400, json: { field: 'tests[0].expect' } })
  })
})

describe('a set', () => {
  const names = async () =>
    ((await done(telltale.http(rules)))['rules'] as { name: string; version: number }[]).map(({ name, version }) => `${name}@${version}`)

  test('may be of ten thousand, and others are answered meanwhile', async () => {
    const set = Array.from({ length: 10_000 }, (_, i) => ({
      name: `${named('many')}-${i}`,
      ...hot(i),
      enabled: false,
      inhibitedBy: i < 9990 ? [1, 2, 3].map(k => `${named('many')}-${i + k}`) : [],
    }))
    let slowestMs = 0
    let waiting = true
    const asking = (async () => {
      while (waiting) {
        const began = performance.now()
        await done(telltale.http(`${rules}?page_size=1`))
        slowestMs = Math.max(slowestMs, performance.now() - began)
      }
    })()
    const { changes } = await done(telltale.send('POST', `${rules}:apply`, { rules: set, dryRun: true }))
    waiting = false
    await asking
    expect(changes).toHaveLength(10_000)
    console.info(`others waited ${Math.round(slowestMs)} ms at most for a plan of 10,000 rules`)
    expect(slowestMs).toBeLessThan(5000)
  })

  test('is applied as a whole or not at all', async () => {
    const before = await names()
    const set = [
      { name: named('a'), ...hot(1) },
      { name: named('b'), ...hot(2), inhibitedBy: ['none'] },
    ]
    const refused = await telltale.send('POST', `${rules}:apply`, { rules: set })
    expect(refused).toMatchObject({ status: 400, json: { field: 'rules[1].inhibitedBy[0]' } })
    expect(await names()).toEqual(before)
    const twice = await telltale.send('POST', `${rules}:apply`, { rules: [set[0], set[0]] })
    expect(twice).toMatchObject({ status: 400, json: { field: 'rules[1].name' } })
    for (const body of [null, [], {}, { rules: {} }, { rules: [null] }, { rules: [], remove: 'yes' }, { rules: [], dryrun: true }])
      expect([body, (await telltale.send('POST', `${rules}:apply`, body)).status]).toEqual([body, 400])
    expect(await names()).toEqual(before)
  })

  test('is not applied by who has seen another', async () => {
    const set = { rules: [{ name: named('a'), ...hot(1) }] }
    const { revision } = await done(telltale.send('POST', `${rules}:apply`, { ...set, dryRun: true }))
    await done(telltale.send('PUT', `${rules}/${named('other')}`, hot(1)))
    expect((await telltale.send('POST', `${rules}:apply`, { ...set, ifRevision: revision })).status).toBe(409)
    expect((await telltale.http(`${rules}/${named('a')}`)).status).toBe(404)
  })

  test('of a folder is compared, applied, pulled and removed from the command line', async () => {
    const folder = await newDirectory()
    const [a, b] = [named('a'), named('b')]
    await writeFile(join(folder, 'a.yaml'), text(a, 30))
    await writeFile(join(folder, 'both.yaml'), `${text(b, 1)}---\n${text(`${b}b`, 2)}`)
    expect(await cli('diff', folder)).toMatchObject({
      code: 2,
      out: expect.stringMatching(new RegExp(`^\\+ ${a}\n {4}when {2}\\{ threshold: .*\n[\\s\\S]*3 rules: 3 to create\n$`)),
    })
    expect((await telltale.http(`${rules}/${a}`)).status).toBe(404)
    for (const no of ['n\n', '\n', ''])
      expect(await answering(no, 'apply', folder)).toMatchObject({ code: 1, out: expect.stringContaining('[y/N] nothing was changed\n') })
    expect((await telltale.http(`${rules}/${a}`)).status).toBe(404)
    expect(await answering('y\n', 'apply', folder)).toMatchObject({ code: 0, out: expect.stringContaining('3 rules: 3 created\n') })
    expect(await cli('diff', folder)).toEqual({ code: 0, out: '3 rules: 3 unchanged\n', err: '' })

    await writeFile(join(folder, 'a.yaml'), text(a, 31, 'notify: [nobody]\n'))
    expect(await cli('apply', folder)).toMatchObject({
      code: 1,
      out: expect.stringMatching(/a\.yaml:5:10: notify\[0\]: channel nobody does not exist; [^\n]*\n {2}notify: \[nobody\]\n {11}\^\n$/),
    })

    await writeFile(join(folder, 'a.yaml'), text(a, 31))
    const changed = await cli('apply', '--dry-run', folder)
    expect(changed).toMatchObject({ code: 2, out: `~ ${a}\n    when.threshold.above  30 → 31\n3 rules: 1 to update, 2 unchanged\n` })
    // Meanwhile somebody changes it in the console, and the folder learns that.
    await done(telltale.send('PUT', `${rules}/${a}`, hot(33)))
    expect(await cli('pull', folder)).toMatchObject({ code: 1, err: 'error: --yes: expected, because 1 file would be written over\n' })
    expect(await cli('pull', folder, '--yes')).toMatchObject({ code: 0 })
    expect(await readFile(join(folder, 'a.yaml'), 'utf8')).toBe(`name: ${a}\nwhen:\n  threshold: {field: temperature.value, above: 33}\n`)
    expect(await readFile(join(folder, 'both.yaml'), 'utf8')).toContain(`# ${b}\n`)
    expect(await cli('diff', folder)).toMatchObject({ code: 0 })

    expect(await cli('versions', a)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/\n *2 .* when\.threshold\.above 30 → 33\n *1 .* made\n$/),
    })
    expect(await cli('get', a, '--at', '1')).toMatchObject({ code: 0, out: expect.stringContaining('above: 30') })
    expect((await cli('list')).out).toMatch(new RegExp(`\n${a} +2 +on +warning +threshold`))

    const alone = await newDirectory()
    await writeFile(join(alone, 'a.yaml'), text(a, 33))
    const others = (await names()).length - 1
    expect(await cli('apply', alone, '--remove')).toMatchObject({
      code: 1,
      err: `error: --yes: expected, because ${others} rules are deleted\n`,
    })
    expect(await cli('apply', alone, '--remove', '--yes')).toMatchObject({
      code: 0,
      out: expect.stringContaining(`${others} deleted, 1 unchanged\n`),
    })
    expect(await names()).toEqual([`${a}@2`])
    expect(await cli('delete', a)).toMatchObject({ code: 1 })
    expect(await cli('delete', a, '--yes', '--notify')).toMatchObject({ code: 0, out: `deleted ${a}\n` })
    expect(await cli('get', a)).toMatchObject({ code: 1, err: expect.stringContaining(`rule ${a} does not exist`) })
  })
})
