// Alarms from the reading to the people: judged in event time, seen everywhere, told until they have arrived, never lost by a restart.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand } from '../packages/cli/command.ts'
import type { AlarmReceipt } from '../packages/client/index.ts'
import type { AlarmDocument } from '../packages/state/alarm.ts'
import type { Reader } from './reader.ts'
import { type Receiver, SECRET, startReceiver } from './receiver.ts'
import { eventually, type Json, removeDirectories, startTelltale, type Telltale, until } from './world.ts'

const PROJECT = '/v2/projects/default'
const ALARMS = { path: `${PROJECT}/alarms:stream` }

let telltale: Telltale
let receiver: Receiver
let ndjson: Reader

beforeAll(async () => {
  receiver = await startReceiver()
  telltale = await startTelltale({ env: { TELLTALE_WEBHOOK_ALLOW_PRIVATE: '127.0.0.0/8' } })
  ndjson = await telltale.stream('', ALARMS)
})
afterAll(async () => {
  ndjson.close()
  await telltale.remove()
  await receiver.stop()
  await removeDirectories()
})

async function rule(name: string, device: string, body: Json): Promise<void> {
  const { status, text } = await telltale.send('PUT', `${PROJECT}/rules/${name}`, { select: { devices: [device] }, ...body })
  if (status !== 200) throw new Error(text)
}

async function channel(name: string, url: string): Promise<void> {
  const { status, text } = await telltale.send('PUT', `${PROJECT}/channels/${name}`, { type: 'webhook', url, secret: SECRET })
  if (status !== 200) throw new Error(text)
}

/** Readings at seconds after a base time, in one request. */
async function readings(device: string, base: number, series: readonly (readonly [second: number, value: number])[]): Promise<void> {
  const events = series.map(([second, value]) => ({
    targetName: `projects/default/devices/${device}`,
    eventType: 'temperature',
    data: { temperature: { value } },
    timestamp: new Date(base + second * 1000).toISOString(),
  }))
  const { status, text } = await telltale.send('POST', `${PROJECT}/events`, events)
  if (status !== 200) throw new Error(text)
}

/** A reading of now. */
async function reading(device: string, value: number): Promise<void> {
  const { status, text } = await telltale.send('POST', `${PROJECT}/devices/${device}:publish`, { temperature: { value } })
  if (status !== 200) throw new Error(text)
}

const changesOf = (reader: Reader, device: string) => reader.alarms().filter(alarm => alarm.device === device)
const statesOf = (alarms: readonly AlarmDocument[]) => alarms.map(({ state }) => state)

async function changes(device: string, states: readonly string[], limitMs = 15_000): Promise<AlarmDocument[]> {
  await eventually(() => expect(statesOf(changesOf(ndjson, device))).toEqual(states), limitMs)
  return changesOf(ndjson, device)
}

async function listed(device: string): Promise<AlarmDocument[]> {
  const { json } = await telltale.http(`${PROJECT}/alarms?page_size=1000`)
  return (json['alarms'] as AlarmDocument[]).filter(alarm => alarm.device === device)
}

const hot = { when: { threshold: { field: 'temperature.value', above: 30, clearBelow: 28, unit: '°C' } } }

describe('a threshold with hysteresis and a hold time', () => {
  // Not a minute old, so not late.
  const base = Date.now() - 50_000
  const at = (second: number) => new Date(base + second * 1000).toISOString().replace('Z', '000Z')
  let sse: Reader

  beforeAll(async () => {
    sse = await telltale.stream('', { ...ALARMS, sse: true })
    const message = '{{device.id}} is {{value}} {{unit}} (limit {{limit}}) since {{since}}'
    await rule('hot', 'boiler', { ...hot, for: '10s', severity: 'critical', message })
    await readings('boiler', base, [
      [0, 25],
      [1, 31],
      [5, 29],
      [11, 31],
      [12, 28],
      [13, 27.5],
      [14, 31],
      [15, 25],
    ])
  })
  afterAll(() => sse.close())

  test('goes from pending to active to cleared at the times of the readings', async () => {
    const states = ['pending', 'active', 'cleared', 'pending', 'cleared']
    const [pending, active, cleared, again, dropped] = await changes('boiler', states)
    expect(pending).toMatchObject({
      rule: 'hot',
      severity: 'critical',
      since: at(1),
      activeSince: null,
      value: 31,
      limit: 30,
      unit: '°C',
      late: false,
    })
    expect(active).toMatchObject({
      since: at(1),
      activeSince: at(11),
      updateTime: at(11),
      episode: 1,
      reason: expect.stringContaining('for 10s'),
    })
    expect(active?.message).toBe(`boiler is 31 °C (limit 30) since ${at(1)}`)
    expect(cleared).toMatchObject({ clearedAt: at(13), value: 27.5, limit: 28, episode: 1 })
    expect(again).toMatchObject({ since: at(14), episode: 2 })
    expect(dropped).toMatchObject({ clearedAt: at(15), activeSince: null, episode: 2 })
    expect(new Set([pending, active, cleared, again, dropped].map(alarm => alarm?.alarmId)).size).toBe(1)
  })

  test('is the same over SSE, and the last of it in the list and under its own address', async () => {
    await eventually(() => expect(changesOf(sse, 'boiler')).toEqual(changesOf(ndjson, 'boiler')))
    expect(sse.headers['content-type']).toBe('text/event-stream')
    const [alarm] = await listed('boiler')
    expect(alarm).toEqual(changesOf(ndjson, 'boiler').at(-1))
    expect((await telltale.http(`/v2/${alarm?.name}`)).json).toEqual(alarm)
    const { json } = await telltale.http(`${PROJECT}/alarms?state=active`)
    expect(JSON.stringify(json)).not.toContain('boiler')
  })

  test('a batch that is two hours old gives the same changes, marked late', async () => {
    await rule('hot-late', 'late-boiler', { ...hot, for: '10s' })
    const then = Date.now() - 7_200_000
    const series = [25, 31, 29, 31, 28, 27.5, 31, 25].map((value, i) => [[0, 1, 5, 11, 12, 13, 14, 15][i] ?? 0, value] as const)
    await readings('late-boiler', then, series)
    const late = await changes('late-boiler', ['pending', 'active', 'cleared', 'pending', 'cleared'])
    const shape = (from: number) => (alarm: AlarmDocument) => {
      const { state, updateTime, value, limit, episode, reason } = alarm
      return { state, value, limit, episode, reason, second: Math.round((Date.parse(updateTime) - from) / 1000) }
    }
    expect(late.map(shape(then))).toEqual(changesOf(ndjson, 'boiler').map(shape(base)))
    expect(late.every(alarm => alarm.late)).toBe(true)
  })
})

test('a device that falls silent raises an alarm, which clears when it is heard again', async () => {
  await rule('silent', 'quiet', { when: { absent: { eventType: 'temperature', for: '2s' } } })
  await reading('quiet', 20)
  const [active] = await changes('quiet', ['active'])
  expect(active?.reason).toMatch(/^no temperature event for 2s, the last one was at /)
  await reading('quiet', 20)
  const [, cleared] = await changes('quiet', ['active', 'cleared'])
  expect(cleared?.reason).toBe('a temperature event has come')
})

test('an alarm stands retained on MQTT, and its changes follow', async () => {
  await rule('retained', 'kettle', hot)
  await reading('kettle', 31)
  await changes('kettle', ['active'])
  const client = await telltale.mqtt()
  const heard: { topic: string; state: string; retain: boolean }[] = []
  client.on('message', (topic, payload, { retain }) => {
    heard.push({ topic, state: (JSON.parse(payload.toString()) as AlarmDocument).state, retain })
  })
  await client.subscribeAsync('projects/default/alarms/+/kettle', { qos: 1 })
  const topic = 'projects/default/alarms/retained/kettle'
  await eventually(() => expect(heard).toEqual([{ topic, state: 'active', retain: true }]))
  await reading('kettle', 20)
  await eventually(() => expect(heard.slice(1)).toEqual([{ topic, state: 'cleared', retain: false }]))
  await client.endAsync()
})

test('a person acknowledges one episode: the next one is unacknowledged again', async () => {
  await rule('seen', 'oven', hot)
  await reading('oven', 31)
  const [active] = await changes('oven', ['active'])
  expect(active?.acknowledgement).toBeNull()
  const { status, json } = await telltale.send('POST', `/v2/${active?.name}:acknowledge`, { comment: 'on my way — é' })
  expect(status).toBe(200)
  const acknowledgement = { by: 'admin@localhost', comment: 'on my way — é', time: expect.any(String) }
  expect(json).toMatchObject({ state: 'active', acknowledgement })
  const [, seen] = await changes('oven', ['active', 'active'])
  expect(seen?.acknowledgement).toEqual(json['acknowledgement'])
  expect(await listed('oven')).toMatchObject([{ acknowledgement }])
  await reading('oven', 20)
  await reading('oven', 32)
  const states = await changes('oven', ['active', 'active', 'cleared', 'active'])
  expect(states[2]?.acknowledgement).toEqual(json['acknowledgement'])
  expect(states[3]?.acknowledgement).toBeNull()
  expect((await telltale.send('POST', `${PROJECT}/alarms/nothing:acknowledge`, {})).status).toBe(404)
  expect((await telltale.send('POST', `/v2/${active?.name}:acknowledge`, { remark: 'x' })).json['error']).toMatch(
    /^body.remark: unknown field$/,
  )
})

test('deleting a rule clears its alarm, says why, and tells nobody', async () => {
  await channel('deleted', `${receiver.url}/deleted`)
  await rule('doomed', 'lamp', { ...hot, notify: ['deleted'] })
  await reading('lamp', 31)
  await changes('lamp', ['active'])
  await eventually(() => expect(receiver.taken().filter(({ path }) => path === '/deleted')).toHaveLength(1))
  expect((await telltale.http(`${PROJECT}/rules/doomed`, { method: 'DELETE' })).status).toBe(200)
  const [, cleared] = await changes('lamp', ['active', 'cleared'])
  expect(cleared?.reason).toBe('rule deleted')
  expect(receiver.attempts.filter(({ path }) => path === '/deleted')).toHaveLength(1)
})

describe('a rule that cannot be is refused with the field', () => {
  const when = hot.when
  const wrong: [string, unknown, RegExp][] = [
    ['a misspelt condition', { when: { treshold: {} } }, /^when\.treshold: is unknown here; did you mean "threshold"\?/],
    ['no condition', {}, /^when: expected an object/],
    ['two conditions', { when: { ...when, absent: { eventType: 'temperature', for: '5m' } } }, /^when: expected exactly one condition/],
    ['no level', { when: { threshold: { field: 'temperature.value' } } }, /^when\.threshold: expected "above", "below"/],
    [
      'a clear level beyond the limit',
      { when: { threshold: { field: 'temperature.value', above: 1, clearBelow: 2 } } },
      /^when\.threshold\.clearBelow: expected at most above/,
    ],
    [
      'a field without a path',
      { when: { threshold: { field: 'temperature', above: 1 } } },
      /^when\.threshold\.field: expected an event type and the path/,
    ],
    ['a duration that is none', { when, for: 10 }, /^for: expected a duration/],
    ['a severity that is none', { when, severity: 'bad' }, /^severity: expected one of/],
    ['a device that cannot be', { when, select: { devices: ['a/b'] } }, /^select\.devices\[0\]: expected 1 to 128/],
    ['a channel that nobody made', { when, notify: ['nobody'] }, /^notify\[0\]: channel nobody does not exist/],
  ]
  test.each(wrong)('%s', async (_what, body, message) => {
    const { status, json } = await telltale.send('PUT', `${PROJECT}/rules/wrong`, body)
    expect(status).toBe(400)
    expect(json['error']).toMatch(message)
    expect((await telltale.http(`${PROJECT}/rules/wrong`)).status).toBe(404)
  })
})

describe('a channel', () => {
  test.each(['Connection', 'proxy-authorization', 'Transfer-Encoding', 'webhook-id', 'Host', 'x y'])(
    'may not set the header %s',
    async name => {
      const { status, json } = await telltale.send('PUT', `${PROJECT}/channels/headers`, {
        type: 'webhook',
        url: `${receiver.url}/x`,
        headers: { [name]: '1' },
      })
      expect([status, json['error']]).toEqual([400, `headers.${name}: not a header that may be set here`])
    },
  )

  test('shows of its headers only the names, whoever asks', async () => {
    const body = { type: 'webhook', url: `${receiver.url}/x`, headers: { 'x-api-key': 'sesame-open' } }
    expect((await telltale.send('PUT', `${PROJECT}/channels/sealed`, body)).text).not.toContain('sesame')
    const { json, text } = await telltale.http(`${PROJECT}/channels`)
    expect(text).not.toContain('sesame')
    expect(json['channels']).toContainEqual(expect.objectContaining({ name: 'sealed', headers: ['x-api-key'] }))
  })
})

describe('notifications', () => {
  const attemptsAt = (path: string) => receiver.attempts.filter(attempt => attempt.path === path)

  test('a refused delivery is tried again with growing pauses, under the same id, signed each time', async () => {
    await channel('failing', `${receiver.url}/failing`)
    await rule('failing', 'pump', { ...hot, notify: ['failing'] })
    receiver.answer(500)
    await reading('pump', 31)
    await until('two attempts were refused', () => attemptsAt('/failing').length === 2)
    receiver.answer(200)
    await until('a third attempt is taken', () => attemptsAt('/failing').length === 3)
    const attempts = attemptsAt('/failing')
    expect(attempts.map(({ status, valid, type }) => [status, valid, type])).toEqual([
      [500, true, 'alarm.active'],
      [500, true, 'alarm.active'],
      [200, true, 'alarm.active'],
    ])
    expect(new Set(attempts.map(({ id }) => id)).size).toBe(1)
    const [first = 0, second = 0] = attempts.slice(1).map(({ atMs }, i) => atMs - (attempts[i]?.atMs ?? 0))
    expect(first).toBeGreaterThanOrEqual(490)
    expect(second).toBeGreaterThanOrEqual(990)
    expect(attempts[2]?.alarm).toEqual((await listed('pump'))[0])
  })

  test('the changes of one alarm reach a channel in their order, also through refusals', async () => {
    await channel('ordered', `${receiver.url}/ordered`)
    await rule('ordered', 'valve', { ...hot, notify: ['ordered'] })
    receiver.answer(503)
    for (const value of [31, 20, 32, 21]) await reading('valve', value)
    await until('an attempt was refused', () => attemptsAt('/ordered').length > 0)
    receiver.answer(200)
    const taken = () => receiver.taken().filter(({ path }) => path === '/ordered')
    await eventually(() => expect(taken()).toHaveLength(4), 15_000)
    expect(taken().map(({ type, alarm }) => `${type} ${alarm.value}`)).toEqual([
      'alarm.active 31',
      'alarm.cleared 20',
      'alarm.active 32',
      'alarm.cleared 21',
    ])
    expect(new Set(taken().map(({ id }) => id)).size).toBe(4)
  })

  test('a dead receiver gets everything when it is back, and delays no other channel', async () => {
    const dying = await startReceiver()
    await channel('dying', `${dying.url}/dying`)
    await channel('living', `${receiver.url}/living`)
    await rule('both', 'fan', { ...hot, notify: ['dying', 'living'] })
    await dying.die()
    const startedMs = Date.now()
    await reading('fan', 31)
    await until('the living channel is told', () => attemptsAt('/living').length === 1)
    expect((attemptsAt('/living')[0]?.atMs ?? 0) - startedMs).toBeLessThan(1500)
    await reading('fan', 20)
    await until('the living channel is told the rest', () => attemptsAt('/living').length === 2)
    await dying.revive()
    await eventually(() => expect(dying.taken().map(({ type }) => type)).toEqual(['alarm.active', 'alarm.cleared']), 15_000)
    await dying.stop()
  })

  test('a receiver that never answers delays no other channel, however much there is for it', async () => {
    const hanging = await startReceiver()
    hanging.answer(0)
    await channel('hanging', `${hanging.url}/hanging`)
    await channel('quick', `${receiver.url}/quick`)
    const devices = Array.from({ length: 60 }, (_, i) => `crowd-${i}`)
    await telltale.send('PUT', `${PROJECT}/rules/crowd`, { ...hot, select: { devices }, notify: ['hanging'] })
    await rule('quick', 'alone', { ...hot, notify: ['quick'] })
    const events = devices.map(device => ({
      targetName: `projects/default/devices/${device}`,
      eventType: 'temperature',
      data: { value: 31 },
    }))
    expect((await telltale.send('POST', `${PROJECT}/events`, events)).status).toBe(200)
    await until('the hanging receiver is being asked', () => hanging.attempts.length > 0)
    const startedMs = Date.now()
    await reading('alone', 31)
    await until('the quick channel is told', () => attemptsAt('/quick').length === 1, 5000)
    expect((attemptsAt('/quick')[0]?.atMs ?? 0) - startedMs).toBeLessThan(1500)
    hanging.answer(200)
    await hanging.stop()
    await telltale.http(`${PROJECT}/rules/crowd`, { method: 'DELETE' })
    await telltale.http(`${PROJECT}/channels/hanging`, { method: 'DELETE' })
  })
})

describe('what people do about an alarm', () => {
  const command = async (...args: string[]) => {
    const { keyId, secret } = telltale.key
    const env = { TELLTALE_HTTP_URL: telltale.url(), TELLTALE_KEY_ID: keyId, TELLTALE_SECRET: secret }
    const [out, err] = [new PassThrough(), new PassThrough()]
    const code = await runCommand(args, { out, err, env, stopped: new AbortController().signal })
    return { code, out: String(out.read() ?? ''), err: String(err.read() ?? '') }
  }
  const act = async (alarm: AlarmDocument | undefined, verb: string, body: Json) => {
    const { status, json, text } = await telltale.send('POST', `/v2/${alarm?.name}:${verb}`, body)
    if (status !== 200) throw new Error(text)
    return json as unknown as AlarmDocument
  }
  const found = async (query: string) => {
    const { json } = await telltale.http(`${PROJECT}/alarms?page_size=1000&${query}`)
    return (json['alarms'] as AlarmDocument[]).map(({ device }) => device)
  }
  let alarm: AlarmDocument | undefined
  beforeAll(async () => {
    await rule('attended', 'vat', { ...hot, unacknowledgeAfter: '4h', severity: 'critical' })
    await reading('vat', 31)
    ;[alarm] = await changes('vat', ['active'])
  })

  test('shows in it, in lists that ask for it, and in its history with who did it', async () => {
    const acknowledged = await act(alarm, 'acknowledge', { comment: 'seen' })
    const { time = '', lapses } = acknowledged.acknowledgement ?? {}
    expect(Date.parse(lapses ?? '') - Date.parse(time)).toBe(4 * 3_600_000)
    expect(await act(alarm, 'assign', { to: 'kari@example.com' })).toMatchObject({
      assignee: { to: 'kari@example.com', by: 'admin@localhost' },
    })
    await act(alarm, 'comment', { comment: 'compressor is loud' })
    const { snooze, suppressedBy } = await act(alarm, 'snooze', { for: '2h' })
    expect(Date.parse(snooze?.until ?? '') - Date.parse(snooze?.time ?? '')).toBe(2 * 3_600_000)
    expect(suppressedBy).toEqual({ kind: 'snooze', name: 'admin@localhost', until: snooze?.until })
    expect(await listed('vat')).toMatchObject([{ acknowledgement: { lapses }, snooze, suppressedBy }])

    const all = 'rule=attended&rule=other&device=vat&severity=critical&state=active'
    expect(await found(`${all}&acknowledged=true&assignee=kari@example.com&suppressed=true&start_time=${alarm?.serverTime}`)).toEqual([
      'vat',
    ])
    for (const other of ['rule=other', 'device=x', 'severity=info', 'acknowledged=false', 'assignee=', 'suppressed=false'])
      expect(await found(`rule=attended&${other}`.replace('rule=attended&rule', 'rule')), other).not.toContain('vat')
    expect(await found('start_time=2200-01-01T00:00:00Z')).toEqual([])

    await act(alarm, 'snooze', { until: null })
    await act(alarm, 'assign', { to: null })
    expect(await act(alarm, 'unacknowledge', {})).toMatchObject({ acknowledgement: null, assignee: null, snooze: null, suppressedBy: null })
    const { json } = await telltale.http(`/v2/${alarm?.name}/history`)
    const records = json['records'] as { kind: string; by?: string; comment?: string }[]
    expect(records.map(({ kind }) => kind)).toEqual(
      ['active', 'acknowledged', 'assigned', 'commented', 'snoozed', 'unsnoozed', 'assigned', 'unacknowledged'].toReversed(),
    )
    expect(records[4]).toMatchObject({ by: 'admin@localhost', comment: 'compressor is loud' })
    const { json: first } = await telltale.http(`/v2/${alarm?.name}/history?page_size=3`)
    const { json: second } = await telltale.http(`/v2/${alarm?.name}/history?page_token=${String(first['nextPageToken'])}`)
    expect([...(first['records'] as unknown[]), ...(second['records'] as unknown[])]).toEqual(records)
  })

  test.each<[string, Json, RegExp]>([
    ['snooze', {}, /^body: expected one of "for" and "until"/],
    ['snooze', { for: '2h', until: null }, /^body: expected one of "for" and "until"/],
    ['snooze', { for: '31d' }, /^for: expected a duration such as 30m or 2h, at most 30d/],
    ['snooze', { until: 'tomorrow' }, /^until: expected an RFC 3339 time/],
    ['snooze', { until: '2020-01-01T00:00:00Z' }, /^until: expected a time to come/],
    ['assign', { comment: 'to nobody' }, /^body\.to: expected/],
    ['comment', { comment: '' }, /^body\.comment: /],
    ['unacknowledge', { comment: 'x' }, /^body\.comment: unknown field/],
  ])('%s %j is refused', async (verb, body, message) => {
    const { status, json } = await telltale.send('POST', `/v2/${alarm?.name}:${verb}`, body)
    expect([status, json['error']]).toEqual([400, expect.stringMatching(message)])
  })

  test('leaves receipts from the event to whoever has seen it, with each attempt to tell a channel', async () => {
    await channel('receipted', `${receiver.url}/receipted`)
    await rule('receipted', 'tank', { ...hot, notify: ['receipted'] })
    receiver.answer(500)
    await reading('tank', 31)
    await until('an attempt was refused', () => receiver.attempts.some(({ path }) => path === '/receipted'))
    receiver.answer(200)
    const [active] = await changes('tank', ['active'])
    await act(active, 'acknowledge', { comment: 'on my way' })
    const receipt = await eventually(async () => {
      const { json } = await telltale.http(`/v2/${active?.name}/receipts`)
      const [one] = json['receipts'] as AlarmReceipt[]
      expect(one).toMatchObject({ event: { stored: true }, deliveries: [{ state: 'delivered' }] })
      return one as AlarmReceipt
    }, 15_000)
    expect(receipt).toMatchObject({
      kind: 'active',
      episode: 1,
      event: { timestamp: active?.updateTime },
      acknowledged: { by: 'admin@localhost', comment: 'on my way' },
      deliveries: [
        {
          channel: 'receipted',
          attempts: [
            { outcome: 'retry', status: 500 },
            { outcome: 'delivered', status: 200 },
          ],
        },
      ],
    })
    expect(receiver.taken().find(({ path }) => path === '/receipted')?.id).toBe(receipt.deliveries[0]?.id)
    const { event, judgedTime, deliveries } = receipt
    const times = [event?.timestamp, event?.acceptedTime, judgedTime, ...(deliveries[0]?.attempts.map(({ time }) => time) ?? [])]
    // The event has microseconds, the log milliseconds.
    const ms = times.map(time => Date.parse(time ?? ''))
    expect(ms).toEqual(ms.toSorted((a, b) => a - b))
  })

  test('a silence keeps it from being told of until the silence ends, and what is told then has its receipt', async () => {
    await channel('hushed', `${receiver.url}/hushed`)
    await rule('hushed', 'vault', { ...hot, notify: ['hushed'] })
    const create = ['silences', 'create', 'rule=hushed', 'device=vault|cellar', '--until', '1h', '--reason', 'moving house']
    const { code, out } = await command(...create, '--json')
    expect([code, JSON.parse(out)]).toMatchObject([0, { state: 'active', author: 'admin@localhost', reason: 'moving house' }])
    const { id } = JSON.parse(out) as { id: string }
    await reading('vault', 31)
    const [active] = await changes('vault', ['active'])
    expect(active?.suppressedBy).toMatchObject({ kind: 'silence', name: id })
    expect((await command(...create, '--preview')).out).toBe('1 alarms would be silenced now\n  hushed on vault: active\n')
    expect((await telltale.http(`${PROJECT}/silences/${id}`)).json).toMatchObject({ id, matching: 1 })
    expect((await command('silences', 'list')).out).toContain('device=vault|cellar')
    expect(receiver.attempts.filter(({ path }) => path === '/hushed')).toEqual([])
    expect((await command('silences', 'end', id)).out).toBe(`ended ${id}\n`)
    await until('the channel is told after all', () => receiver.taken().some(({ path }) => path === '/hushed'))
    await eventually(async () => {
      const { json } = await telltale.http(`/v2/${active?.name}/receipts`)
      expect(json['receipts']).toMatchObject([
        { kind: 'unsilenced', event: null, deliveries: [{ channel: 'hushed', state: 'delivered' }] },
        { kind: 'active', deliveries: [] },
      ])
    })
    const kinds = (await command('alarms', 'history', active?.alarmId ?? '', '--json')).out.trim().split('\n')
    expect(kinds.map(line => (JSON.parse(line) as { kind: string }).kind)).toEqual(['unsilenced', 'silenced', 'active'])
    expect((await telltale.http(`${PROJECT}/silences/${id}`)).status).toBe(404)
  })

  test.each<[Json, RegExp]>([
    [{ matchers: [{ field: 'rule', equals: 'x' }] }, /^endTime: expected an RFC 3339 time/],
    [{ matchers: [], endTime: '2200-01-01T00:00:00Z' }, /^matchers: expected a list of 1 to 20/],
    [
      { matchers: [{ field: 'site', equals: 'x' }], startTime: '2199-12-31T00:00:00Z', endTime: '2200-01-01T00:00:00Z' },
      /^matchers\[0\]\.field: expected one of rule, device/,
    ],
    [
      { matchers: [{ field: 'rule', equals: 'x' }], startTime: '2020-01-01T00:00:00Z', endTime: '2020-01-02T00:00:00Z' },
      /^endTime: expected a time to come/,
    ],
  ])('a silence %j is refused', async (body, message) => {
    const { status, json } = await telltale.send('POST', `${PROJECT}/silences`, body)
    expect([status, json['error']]).toEqual([400, expect.stringMatching(message)])
  })

  test('is in a chain that the command line checks by itself', async () => {
    expect((await command('alarms', 'comment', alarm?.alarmId ?? '', 'by hand')).out).toBe('attended on vat: comment added\n')
    expect((await command('alarms', 'history', alarm?.alarmId ?? '')).out).toContain('by hand')
    expect((await command('alarms', 'list', '--rule', 'receipted')).out).toContain('tank')
    expect((await command('alarms', 'show', alarm?.alarmId ?? '')).out).toMatch(/^rule +attended \(version 1\)$/m)
    const [tank] = await listed('tank')
    expect((await command('alarms', 'receipts', tank?.alarmId ?? '')).out).toMatch(/delivered +\S+Z .*status 200/)

    const whole = await command('audit', 'verify')
    expect([whole.code, whole.err]).toEqual([0, ''])
    const head = /^head +(\d+:[0-9a-f]{64})$/m.exec(whole.out)?.[1] ?? ''
    await act(alarm, 'comment', { comment: 'later' })
    expect(await command('audit', 'verify', '--head', head)).toMatchObject({
      code: 0,
      out: expect.stringContaining('still stands in the chain'),
    })
    const { socket } = JSON.parse(await readFile(join(telltale.dir, 'redis/running.json'), 'utf8')) as { socket: string }
    const redis = new Redis({ path: socket })
    await redis.xdel('t:{default}:history', '3-0')
    redis.disconnect()
    const { code, out } = await command('audit', 'verify', '--json')
    expect([code, JSON.parse(out)]).toMatchObject([1, { records: 2, broken: { seq: 3, reason: 'record 3 is missing' } }])
  })
})

test('a restart in the middle of a hold time does not start it anew', async () => {
  await rule('held', 'freezer', { ...hot, for: '4s' })
  await reading('freezer', 31)
  const [pending] = await changes('freezer', ['pending'])
  ndjson.close()
  expect(await telltale.stop()).toBe(0)
  await telltale.restart()
  ndjson = await telltale.stream(`since=${new Date(Date.parse(pending?.since ?? '') - 1000).toISOString()}`, ALARMS)
  const [, active] = await changes('freezer', ['pending', 'active'])
  const holdMs = Date.parse(active?.activeSince ?? '') - Date.parse(pending?.since ?? '')
  expect(holdMs).toBe(4000)
  expect(Date.parse(active?.serverTime ?? '') - Date.parse(pending?.since ?? '')).toBeLessThan(9000)
})

test('by default a channel on a private address is refused, by number when it is saved and by name when it is called', async () => {
  const guarded = await startTelltale()
  try {
    const save = (url: string) => guarded.send('PUT', `${PROJECT}/channels/inside`, { type: 'webhook', url, secret: SECRET })
    for (const host of ['127.0.0.1', '10.0.0.1', '[::1]', '169.254.169.254', '0x7f.1', '[::ffff:127.0.0.1]']) {
      const { status, json } = await save(`http://${host}:${receiver.port}/inside`)
      expect([status, json['error']], host).toEqual([
        400,
        expect.stringMatching(/^url: .* is not a public address; TELLTALE_WEBHOOK_ALLOW_PRIVATE can allow it/),
      ])
    }
    expect((await save(`http://localhost:${receiver.port}/inside`)).status).toBe(200)
    await guarded.send('PUT', `${PROJECT}/rules/inside`, { ...hot, notify: ['inside'] })
    await guarded.send('POST', `${PROJECT}/devices/x:publish`, { temperature: { value: 31 } })
    await until('the delivery is given up', () => guarded.program().complained().includes('localhost is not a public address'))
    expect((await guarded.http('/metrics')).text).toContain('telltale_notification_attempts_total{outcome="refused"} 1')
    expect(receiver.attempts.filter(({ path }) => path === '/inside')).toEqual([])
  } finally {
    await guarded.remove()
  }
})
