// Working with rules before they hurt, end to end: a freezer's stored week through backtest, explain, suggest and shadow.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand } from '../packages/cli/command.ts'
import { formatTime } from '../packages/core/time.ts'
import { eventually, type Json, removeDirectories, startTelltale, type Telltale } from './world.ts'

let telltale: Telltale
const T0 = Date.parse('2026-03-02T00:00:00Z') * 1000
const MINUTE_US = 60_000_000
const at = (minute: number) => formatTime(T0 + minute * MINUTE_US)
const RULES = '/v2/projects/default/rules'
const RULE = {
  name: 'warm',
  select: { devices: ['f1', 'f2'] },
  when: { threshold: { field: 'temperature.value', above: -15 } },
  for: '2m',
  notify: [],
}
const SPAN = { startTime: at(0), endTime: at(600) }

/** f1 is warm for an hour, by a reading a minute; f2 trembles about the limit for two. */
function readings(): Json[] {
  const event = (device: string, minute: number, value: number) => ({
    device,
    eventType: 'temperature',
    eventId: `${device}-${minute}`,
    data: { temperature: { value } },
    timestamp: at(minute),
  })
  return Array.from({ length: 600 }, (_, minute) => [
    event('f1', minute, minute >= 100 && minute < 160 ? -10 : -20),
    event('f2', minute, minute >= 200 && minute < 320 ? -15 + (Math.floor(minute / 5) % 2 ? 0.25 : -0.25) : -20),
  ]).flat()
}

beforeAll(async () => {
  telltale = await startTelltale({})
  expect((await telltale.send('POST', RULES, RULE)).status).toBe(200)
  const events = readings()
  for (let i = 0; i < events.length; i += 200)
    expect((await telltale.send('POST', '/v2/projects/default/events', events.slice(i, i + 200))).status).toBe(200)
  const newest =
    '/v2/projects/default/devices/f2/readings?eventType=temperature&startTime=2026-03-02T00:00:00Z&endTime=2026-03-03T00:00:00Z'
  await eventually(async () => expect((await telltale.http(newest)).json['readings']).toHaveLength(600))
}, 60_000)
afterAll(async () => {
  await telltale?.remove()
  await removeDirectories()
})

const folder = mkdtempSync(join(tmpdir(), 'telltale-past-'))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

async function cli(...args: string[]) {
  const out = new PassThrough()
  const err = new PassThrough()
  const { keyId, secret } = telltale.key
  const env = { TELLTALE_HTTP_URL: telltale.url(), TELLTALE_KEY_ID: keyId, TELLTALE_SECRET: secret }
  const code = await runCommand(['rules', ...args], { out, err, env, stopped: new AbortController().signal })
  return { code, out: String(out.read() ?? ''), err: String(err.read() ?? '').replaceAll(`${folder}/`, '') }
}

const YAML = `# two drafts
name: warm
select: { devices: [f1, f2] }
when:
  threshold: { field: temperature.value, above: -15, unit: "°C" }
for: 30m
---
name: cold
select: { devices: [f1] }
when: { threshold: { field: temperature.value, below: -18 } }
`
const DAY = ['--from', at(0), '--to', at(600)]

const linesOf = (text: string) =>
  text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Json)
const resultOf = (text: string) => linesOf(text).at(-1)?.['result'] as Json

describe('a backtest', () => {
  test('tells progress and then alarms, minutes in alarm and days', async () => {
    const answer = await telltale.send('POST', `${RULES}/warm:backtest`, { ...SPAN, devices: ['f1'] })
    expect(answer.headers.get('content-type')).toBe('application/x-ndjson')
    expect(linesOf(answer.text)[0]).toMatchObject({ progress: { events: 0, total: 600 } })
    expect(resultOf(answer.text)).toMatchObject({
      events: 600,
      alarms: { count: 1, list: [{ device: 'f1', since: at(100), activeSince: at(102), clearedAt: at(160) }] },
      minutesInAlarm: 58,
      days: [{ day: '2026-03-02', alarms: 1, notifications: 0, minutesInAlarm: 58 }],
      series: { eventType: 'temperature', field: 'value', levels: [-15] },
    })
  })

  test('of a rule that is not saved says what differs from the saved version, as events when asked so', async () => {
    const rule = { ...RULE, for: '30m' }
    const answer = await telltale.send('POST', `${RULES}:backtest`, { rule, against: 1, ...SPAN }, { accept: 'text/event-stream' })
    expect(answer.headers.get('content-type')).toContain('text/event-stream')
    const last =
      answer.text
        .split('\n')
        .filter(line => line.startsWith('data: '))
        .at(-1) ?? ''
    const { result } = JSON.parse(last.slice('data: '.length)) as { result: Json }
    expect(result).toMatchObject({
      alarms: { count: 1 },
      against: { alarms: { count: 13 } },
      difference: { agreements: 0, missing: 12, extra: 0, shifted: 1 },
    })
  })

  test('of two versions says what differs, whichever is the current one', async () => {
    const name = 'edited'
    for (const minutes of [2, 30, 2]) {
      const saved = await telltale.send('PUT', `${RULES}/${name}`, { ...RULE, name, enabled: false, for: `${minutes}m` })
      expect(saved.status).toBe(200)
    }
    const counts = async (body: Json) => {
      const result = resultOf((await telltale.send('POST', `${RULES}/${name}:backtest`, { ...SPAN, ...body })).text)
      return [(result['against'] as Json)['version'], (result['against'] as Json)['alarms'], result['version'], result['alarms']]
    }
    const [many, one] = [13, 1].map(count => expect.objectContaining({ count }))
    expect(await counts({ versions: [1, 2] })).toEqual([1, many, 2, one])
    expect(await counts({ versions: [2, 1] })).toEqual([2, one, 1, many])
    expect(await counts({ against: 2 })).toEqual([2, one, 3, many])
    expect((await telltale.http(`${RULES}/${name}`, { method: 'DELETE' })).status).toBe(200)
    const removed = await telltale.send('POST', `${RULES}:backtest`, { rule: { ...RULE, name }, against: 4 })
    expect(removed.json).toMatchObject({ code: 404, field: 'against' })
    expect(removed.text).toContain('its removal')
  })

  test('that asks for what is not there is refused by the field', async () => {
    const refused = async (path: string, body: Json) => (await telltale.send('POST', path, body)).json
    expect(await refused(`${RULES}:backtest`, { rule: { name: 'x', when: { threshhold: {} } } })).toMatchObject({
      code: 400,
      field: 'rule.when.threshhold',
    })
    expect(await refused(`${RULES}/warm:backtest`, { versions: [1, 7] })).toMatchObject({ code: 404, field: 'versions[1]' })
    expect(await refused(`${RULES}/warm:backtest`, { startTime: at(1), endTime: at(0) })).toMatchObject({ code: 400, field: 'startTime' })
    expect(await refused(`${RULES}/warm:backtest`, { sice: at(1) })).toMatchObject({ code: 400, field: 'sice' })
    expect(await refused(`${RULES}/none:backtest`, SPAN)).toMatchObject({ code: 404 })
  })
})

test('explain says what was seen, which timer ran and what would have turned it', async () => {
  const explain = async (query: string) => (await telltale.http(`${RULES}/warm:explain?${query}`)).json
  const then = await explain(`device=f1&time=${at(101)}`)
  expect((then['values'] as Json[]).slice(0, 3)).toMatchObject([
    { value: -10, holds: true },
    { value: -10, holds: true },
    { value: -20, holds: false },
  ])
  expect(then).toMatchObject({
    phase: 'pending',
    selected: true,
    timers: [{ kind: 'for', left: '1m', end: at(102) }],
  })
  // The judge reads the log beside the store.
  await eventually(async () => expect((await explain('device=f1'))['judged']).toBe('clear'))
  expect(await explain('device=f1')).toMatchObject({
    phase: 'clear',
    judged: 'clear',
    nearest: 'temperature.value above -15, which is 5 more',
    alarm: { state: 'cleared' },
  })
  expect((await telltale.http(`${RULES}/warm:explain?device=nobody`)).status).toBe(404)
  expect((await telltale.http(`${RULES}/warm:explain`)).status).toBe(400)
})

test('suggest finds a dead-band that ends the flapping and says what it costs', async () => {
  const { json } = await telltale.send('POST', `${RULES}/warm:suggest`, SPAN)
  expect(json).toMatchObject({ devices: ['f2', 'f1'], present: { alarms: 13, flaps: 11, addedDelay: { median: '0ms' } } })
  const [best] = json['suggestions'] as { figures: Json; rule: Json }[]
  expect(best?.figures['flaps']).toBe(0)
  expect((await telltale.send('POST', `${RULES}:backtest`, { rule: best?.rule, ...SPAN })).status).toBe(200)
})

describe('the command line', () => {
  test('backtests a saved rule, and says which alarms there were and why', async () => {
    const { code, out } = await cli('backtest', 'warm', ...DAY, '--device', 'f1')
    expect(code).toBe(0)
    expect(out).toContain('1 alarms, 58 minutes in alarm, 0 notifications')
    expect(out).toMatch(/f1 +warning +2026-03-02 01:42:00 +2026-03-02 02:40:00 +temperature\.value has been above -15 for 2m/)
  })

  test('backtests a rule of a YAML file against a version, and one of several by its name', async () => {
    const drafts = file('drafts.yaml', YAML)
    const differing = await cli('backtest', drafts, '--rule', 'warm', '--against', '1', ...DAY)
    expect(differing).toMatchObject({ code: 0, out: expect.stringContaining('1 alarms (before: 13)') })
    expect(differing.out).toContain('12 are missing in the new version, 0 are new, 1 have other times')
    const cold = await cli('backtest', drafts, '--rule', 'cold', '--json', ...DAY)
    expect(JSON.parse(cold.out)).toMatchObject({ rule: 'cold', alarms: { count: 2 } })
    const against = await cli('backtest', file('new.yaml', YAML.split('---')[0] as string), '--against-file', drafts, ...DAY)
    expect(against).toMatchObject({ code: 0, out: expect.stringContaining('1 alarms are the same; 0 are missing') })
  })

  test.each([
    ['several rules and no name', YAML, [], 'expected one of the rules in rules.yaml: warm, cold'],
    ['a name that is not there', YAML, ['--rule', 'hot'], 'rules.yaml: expected a rule hot in it, has warm, cold'],
    ['a mistake', YAML.replace('above', 'abov'), ['--rule', 'cold'], 'rules.yaml:5:42: when.threshold.abov: is unknown here'],
    ['no rule', '# nothing\n', [], 'rules.yaml: expected a rule in it'],
  ])('a file with %s is refused with its place', async (_, text, args, message) => {
    const { code, err } = await cli('backtest', file('rules.yaml', text), ...args)
    expect([code, err]).toEqual([2, expect.stringContaining(message)])
  })

  test('explains a device at a time', async () => {
    const { code, out } = await cli('explain', 'warm', 'f1', '--at', at(101))
    expect(code).toBe(0)
    expect(out).toContain('rule warm (version 1) is pending on f1.\n')
    expect(out).toContain('Held long enough to become active in 1m')
    expect(out).toMatch(/2026-03-02 01:40:00 +pending +temperature\.value -10 is above -15/)
  })

  test('suggests what would have cut the flapping', async () => {
    const { code, out } = await cli('suggest', 'warm', ...DAY)
    expect(code).toBe(0)
    expect(out).toMatch(/^now: .* 11 flaps \(tried on 2 devices/)
    expect(out).toMatch(/\n1\. .*0 flaps instead of 11/)
  })

  test('starts, shows and ends a shadow from a file', async () => {
    const began = await cli('shadow', 'warm', file('drafts.yaml', YAML))
    expect(began).toMatchObject({ code: 0, out: expect.stringContaining('0 alarms of the rule, 0 of its shadow') })
    expect((await cli('shadow', 'warm')).out).toBe(began.out)
    expect(await cli('shadow', 'warm', '--stop')).toMatchObject({ code: 0, out: 'the shadow of warm has ended\n' })
    expect(await cli('shadow', 'warm')).toMatchObject({ code: 1, err: expect.stringContaining('404') })
  })
})

test('a shadow is judged beside its rule, raises no alarm, and every difference is told', async () => {
  expect((await telltale.send('PUT', `${RULES}/none:shadow`, { ...RULE, name: 'none' })).status).toBe(404)
  const began = await telltale.send('PUT', `${RULES}/warm:shadow`, { ...RULE, name: 'warm', for: '5m' })
  expect(began.json).toMatchObject({ agreements: 0, missing: 0, disagreements: [] })
  const send = (minute: number, value: number) =>
    telltale.send('POST', '/v2/projects/default/events', {
      device: 'f1',
      eventType: 'temperature',
      eventId: `later-${minute}`,
      data: { temperature: { value } },
      timestamp: at(1000 + minute),
    })
  // Three minutes are enough for the rule, but not for its shadow; twenty are for both.
  for (const [minute, value] of [
    [0, -10],
    [3, -20],
    [10, -10],
    [30, -20],
  ] as const)
    expect((await send(minute, value)).status).toBe(200)
  await eventually(async () => {
    const { json } = await telltale.http(`${RULES}/warm:shadow`)
    expect(json).toMatchObject({
      old: { alarms: 2, active: 0 },
      new: { alarms: 1, active: 0 },
      missing: 1,
      shifted: 1,
      extra: 0,
      truncated: false,
    })
  })
  const alarms = (await telltale.http('/v2/projects/default/alarms')).json['alarms'] as { rule: string }[]
  expect(new Set(alarms.map(({ rule }) => rule))).toEqual(new Set(['warm']))
  expect((await telltale.http(RULES)).json['rules']).toHaveLength(1)
  expect((await telltale.http(`${RULES}/warm:shadow`, { method: 'DELETE' })).status).toBe(200)
  expect((await telltale.http(`${RULES}/warm:shadow`)).status).toBe(404)
  // The judge retires what it had of it, and goes on.
  expect((await send(40, -10)).status).toBe(200)
  expect((await send(43, -20)).status).toBe(200)
  await eventually(async () => {
    const [alarm] = (await telltale.http('/v2/projects/default/alarms')).json['alarms'] as { updateTime: string }[]
    expect(alarm?.updateTime).toBe(at(1043))
  })
})
