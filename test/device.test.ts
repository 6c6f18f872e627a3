// Devices over HTTP, end to end: lists, labels, transfer and the emulator, in the words of the contract's tables (contracts.md 1.a).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { DeviceEvent } from '../packages/core/event.ts'
import { newAccount } from './tenant.ts'
import { eventually, type Json, removeDirectories, startTelltale, stored, type Telltale } from './world.ts'

const PROJECT = '/v2/projects/default'
const DEVICES = `${PROJECT}/devices`
const nameOf = (device: string) => `projects/default/devices/${device}`

type DeviceJson = Json & { readonly name: string; readonly labels: Record<string, string>; readonly reported: Json }

let telltale: Telltale
beforeAll(async () => {
  telltale = await startTelltale()
})
afterAll(async () => {
  await telltale.remove()
  await removeDirectories()
})

const put = async (id: string, body: object) => {
  const { status, text } = await telltale.send('PUT', `${DEVICES}/${encodeURIComponent(id)}`, body)
  expect(status, text).toBe(200)
}
const idsOf = (json: Json) => (json['devices'] as DeviceJson[]).map(({ name }) => name.slice(name.lastIndexOf('/') + 1))

/** Every page of a list. */
async function listed(query: string, base = DEVICES): Promise<string[]> {
  const found: string[] = []
  for (let token = ''; ; ) {
    const { status, text, json } = await telltale.http(`${base}?${query}&pageToken=${token}`)
    expect(status, text).toBe(200)
    found.push(...idsOf(json))
    token = json['nextPageToken'] as string
    if (token === '') return found
  }
}

async function labelEvents(device: string): Promise<unknown[]> {
  return (await stored(telltale, device)).filter(({ eventType }) => eventType === 'labelsChanged').map(({ data }) => data)
}

describe('a list of devices', () => {
  beforeAll(async () => {
    await put('l-freezer', { type: 'temperature', labels: { name: 'Walk-in Freezer', zone: 'north', cold: '' }, productNumber: '102058' })
    await put('l-fridge', { type: 'temperature', labels: { name: 'Fridge', zone: 'south' }, productNumber: '102058' })
    await put('l-door', { type: 'contact', labels: { zone: 'north' }, productNumber: '102059' })
    await put('l-hall', { type: 'co2', labels: { name: 'Åsgard hall', zone: 'north' } })
    for (const [id, data] of [
      ['l-freezer', { temperature: { value: -18.4 } }],
      ['l-fridge', { temperature: { value: 4 } }],
      ['l-door', { contact: { state: 'OPEN' } }],
      ['l-fridge', { networkStatus: { signalStrength: 40, rssi: -90 } }],
      ['l-door', { networkStatus: { signalStrength: 90, rssi: -50 } }],
    ] as const)
      expect((await telltale.send('POST', `${DEVICES}/${id}:publish`, data)).status).toBe(200)
    await eventually(async () => {
      const { json } = await telltale.http(`${DEVICES}/l-door`)
      expect((json as DeviceJson).reported).toHaveProperty('networkStatus.rssi', -50)
    })
  })

  test.each([
    ['query=FREEZER', ['l-freezer']],
    ['query=l-', ['l-door', 'l-freezer', 'l-fridge', 'l-hall']],
    ['query=south', ['l-fridge']],
    ['query=contact&query=', undefined],
    [`query=${encodeURIComponent('åsgard')}`, ['l-hall']],
    ['device_ids=l-door&deviceIds=l-hall&device_ids=l-nobody', ['l-door', 'l-hall']],
    ['deviceTypes=contact&device_types=co2', ['l-door', 'l-hall']],
    ['device_types=none', []],
    ['labelFilters=cold', ['l-freezer']],
    ['label_filters=cold%3D', ['l-freezer']],
    ['label_filters=zone%3Dnorth', ['l-door', 'l-freezer', 'l-hall']],
    ['label_filters=zone%3Dnorth&labelFilters=name', ['l-freezer', 'l-hall']],
    ['label_filters=zone%3Dnorth&label_filters=zone%3Dsouth', []],
    ['label_filters=zone%3Dnorth&label_filters=zone%3Dsouth&label_match=any', ['l-door', 'l-freezer', 'l-fridge', 'l-hall']],
    ['label_filters=cold&labelFilters=zone%3Dsouth&labelMatch=any', ['l-freezer', 'l-fridge']],
    ['label_filters=zone%3Dnorth&device_types=temperature', ['l-freezer']],
    ['product_numbers=102058', ['l-freezer', 'l-fridge']],
    ['productNumbers=102058&product_numbers=102059', ['l-door', 'l-freezer', 'l-fridge']],
    ['query=l-&orderBy=-name', ['l-hall', 'l-fridge', 'l-freezer', 'l-door']],
    ['query=l-&order_by=labels.name', ['l-fridge', 'l-freezer', 'l-hall', 'l-door']],
    ['query=l-&orderBy=-labels.name', ['l-hall', 'l-freezer', 'l-fridge', 'l-door']],
    ['query=l-&orderBy=reported.temperature.value', ['l-freezer', 'l-fridge', 'l-door', 'l-hall']],
    ['query=l-&orderBy=-reported.temperature.value', ['l-fridge', 'l-freezer', 'l-door', 'l-hall']],
    ['query=l-&orderBy=-reported.networkStatus.signalStrength', ['l-door', 'l-fridge', 'l-freezer', 'l-hall']],
    ['query=l-&orderBy=-reported.networkStatus.updateTime', ['l-door', 'l-fridge', 'l-freezer', 'l-hall']],
    ['query=l-&orderBy=reported.contact.state', ['l-door', 'l-freezer', 'l-fridge', 'l-hall']],
    ['query=l-&orderBy=productNumber', ['l-freezer', 'l-fridge', 'l-door', 'l-hall']],
    ['query=l-&orderBy=-type', ['l-fridge', 'l-freezer', 'l-door', 'l-hall']],
  ])('%s', async (query, expected) => {
    if (expected === undefined) {
      expect((await telltale.http(`${DEVICES}?${query}`)).status).toBe(400)
      return
    }
    expect(await listed(query)).toEqual(expected)
    expect(await listed(`${query}&page_size=1`)).toEqual(expected)
  })

  test.each([
    ['orderBy=colour', 'orderBy'],
    ['orderBy=name&order_by=type', 'orderBy'],
    ['labelFilters==x', 'labelFilters'],
    ['labelFilters=', 'labelFilters'],
    ['label_match=some', 'labelMatch'],
    ['pageSize=0', 'pageSize'],
    ['pageSize=ten', 'pageSize'],
    ['pageToken=x', 'pageToken'],
    ['pageToken=%F0%9F%94%A5', 'pageToken'],
    ['colour=red', 'colour'],
  ])('%s is refused with its name', async (query, field) => {
    const { status, json } = await telltale.http(`${DEVICES}?${query}`)
    expect([status, json['code'], String(json['error']).split(':')[0]]).toEqual([400, 400, field])
  })

  test('a token is good for the same question only', async () => {
    const { json } = await telltale.http(`${DEVICES}?query=l-&orderBy=name&pageSize=1`)
    const token = String(json['nextPageToken'])
    expect((await telltale.http(`${DEVICES}?order_by=name&page_size=2&query=l-&page_token=${token}`)).status).toBe(200)
    for (const query of ['query=l-', 'query=l-&orderBy=-name', 'query=l&orderBy=name', 'query=l-&orderBy=name&deviceTypes=co2']) {
      const answer = await telltale.http(`${DEVICES}?${query}&pageToken=${token}`)
      expect([answer.status, answer.json['error']]).toEqual([400, expect.stringMatching(/^pageToken: /)])
    }
  })

  test('a token that was changed is refused, whatever was changed in it', async () => {
    const url = `${DEVICES}?query=l-&orderBy=reported.temperature.value`
    const { json } = await telltale.http(`${url}&pageSize=1`)
    const parts = Buffer.from(String(json['nextPageToken']), 'base64url').toString().split('\n')
    expect(parts.slice(1)).toEqual(['default', 'n', 'l-freezer', '-18.4'])
    for (const [i, other] of ['seal', 'other', 's', 'l-door', 'abc'].entries()) {
      const forged = Buffer.from(parts.with(i, other).join('\n')).toString('base64url')
      const { status, json: answer } = await telltale.http(`${url}&pageToken=${forged}`)
      expect([status, answer['error']]).toEqual([400, expect.stringMatching(/^pageToken: /)])
    }
  })

  test('a device has all its fields, and the list always a token', async () => {
    const { json } = await telltale.http(`${DEVICES}?deviceIds=l-freezer`)
    expect(json).toEqual({
      devices: [
        {
          name: nameOf('l-freezer'),
          type: 'temperature',
          productNumber: '102058',
          labels: { name: 'Walk-in Freezer', zone: 'north', cold: '' },
          reported: {
            temperature: {
              value: -18.4,
              updateTime: expect.stringMatching(/\.\d{6}Z$/),
              samples: [{ value: -18.4, sampleTime: expect.stringMatching(/\.\d{6}Z$/) }],
              isBackfilled: false,
            },
          },
        },
      ],
      nextPageToken: '',
    })
    const one = await telltale.http(`${DEVICES}/l-freezer`)
    expect(one.json).toEqual((json['devices'] as Json[])[0])
  })

  test('the wildcard project stands for all', async () => {
    expect(await listed('query=l-', '/v2/projects/-/devices')).toEqual(['l-door', 'l-freezer', 'l-fridge', 'l-hall'])
    expect(await listed('query=l-&orderBy=-type&pageSize=1', '/v2/projects/-/devices')).toEqual([
      'l-fridge',
      'l-freezer',
      'l-door',
      'l-hall',
    ])
    const { status, json } = await telltale.http('/v2/projects/-/devices/l-door')
    expect([status, json['name']]).toEqual([200, nameOf('l-door')])
    expect((await telltale.http('/v2/projects/-/devices/l-nobody')).status).toBe(404)
    expect((await telltale.http('/v2/projects/nowhere/devices')).status).toBe(404)
  })

  test('what was reported last never goes back to something older', async () => {
    const report = (value: number, timestamp: string) =>
      telltale.send('POST', `${PROJECT}/events`, { targetName: nameOf('l-late'), eventType: 'temperature', data: { value }, timestamp })
    const [older, newer] = [60_000, 30_000].map(ago => new Date(Date.now() - ago).toISOString()) as [string, string]
    const value = async () => ((await telltale.http(`${DEVICES}/l-late`)).json as DeviceJson).reported['temperature']
    await report(2, newer)
    await eventually(async () => expect(await value()).toMatchObject({ value: 2 }))
    await report(1, older)
    await telltale.stop()
    await telltale.restart()
    await report(0, older)
    await telltale.send('POST', `${DEVICES}/l-late:publish`, { batteryStatus: { percentage: 80 } })
    await eventually(async () =>
      expect(((await telltale.http(`${DEVICES}/l-late`)).json as DeviceJson).reported).toHaveProperty('batteryStatus'),
    )
    expect(await value()).toMatchObject({ value: 2 })
  })
})

describe('a label', () => {
  const LABELS = `${DEVICES}/labelled/labels`
  beforeAll(() => put('labelled', { type: 'temperature' }))

  test('is added, changed and removed, each with one event', async () => {
    const reader = await telltale.stream('device_ids=labelled')
    const added = await telltale.send('POST', LABELS, { key: 'zone', value: 'north' })
    expect([added.status, added.json]).toEqual([200, { name: `${nameOf('labelled')}/labels/zone`, key: 'zone', value: 'north' }])
    expect((await telltale.send('POST', LABELS, { key: 'zone', value: 'south' })).status).toBe(409)
    expect((await telltale.send('PATCH', `${LABELS}/zone`, { value: 'south' })).status).toBe(200)
    expect((await telltale.send('PATCH', `${LABELS}/zone`, { value: 'south' })).status).toBe(200)
    expect((await telltale.http(`${LABELS}/zone`)).json).toMatchObject({ value: 'south' })
    const removed = await telltale.http(`${LABELS}/zone`, { method: 'DELETE', headers: { 'content-type': 'application/json' } })
    expect([removed.status, removed.text]).toEqual([200, '{}'])
    for (const [method, body] of [
      ['GET', undefined],
      ['DELETE', undefined],
      ['PATCH', '{"value":"x"}'],
    ] as const)
      expect((await telltale.http(`${LABELS}/zone`, { method, ...(body === undefined ? {} : { body }) })).status).toBe(404)
    const events = await reader.have(3)
    expect(events.map(({ eventType, data }) => [eventType, data])).toEqual([
      ['labelsChanged', { added: { zone: 'north' }, modified: {}, removed: [] }],
      ['labelsChanged', { added: {}, modified: { zone: 'south' }, removed: [] }],
      ['labelsChanged', { added: {}, modified: {}, removed: ['zone'] }],
    ])
    await eventually(async () => expect(await labelEvents('labelled')).toHaveLength(3))
    reader.close()
  })

  test('may be called like a part of a program', async () => {
    for (const key of ['constructor', 'toString', 'hasOwnProperty']) {
      expect((await telltale.http(`${LABELS}/${key}`)).status).toBe(404)
      expect((await telltale.send('POST', LABELS, { key, value: '<b>' })).status).toBe(200)
      expect((await telltale.http(`${LABELS}/${key}`)).json).toMatchObject({ key, value: '<b>' })
    }
    expect(await listed('labelFilters=constructor%3D%3Cb%3E')).toEqual(['labelled'])
    expect((await telltale.http(LABELS)).json).toMatchObject({
      labels: [{ key: 'constructor' }, { key: 'hasOwnProperty' }, { key: 'toString' }],
    })
    const first = (await telltale.http(`${LABELS}?pageSize=2`)).json
    expect(first).toMatchObject({ labels: [{ key: 'constructor' }, { key: 'hasOwnProperty' }] })
    expect((await telltale.http(`${LABELS}?page_size=2&page_token=${String(first['nextPageToken'])}`)).json).toMatchObject({
      labels: [{ key: 'toString' }],
      nextPageToken: '',
    })
    expect((await telltale.http(LABELS, { method: 'POST', body: '{"key":"__proto__","value":"x"}' })).status).toBe(400)
    expect((await telltale.http(`${LABELS}/__proto__`)).status).toBe(404)
  })

  test.each([
    { key: '', value: 'x' },
    { key: 'a=b', value: 'x' },
    { key: 'a' },
    { key: 'a', value: 5 },
    { key: 'a', value: 'x', more: 1 },
    { key: 'virtual-sensor', value: '' },
    [],
    'text',
  ])('%j is refused', async body => expect((await telltale.send('POST', LABELS, body)).status).toBe(400))
})

describe('a batch update', () => {
  const update = (body: unknown) => telltale.send('POST', `${DEVICES}:batchUpdate`, body)

  test('changes what it can, and names what it cannot, without a slash in front', async () => {
    await put('b-1', { type: 't', labels: { old: '1', kept: '1' } })
    await put('b-2', { type: 't', labels: { zone: 'south' } })
    const devices = [nameOf('b-1'), `/${nameOf('b-2')}`, `/${nameOf('b-nobody')}`, 'projects/other/devices/b-1', 'b-1']
    const { status, json } = await update({ devices, addLabels: { zone: 'north' }, removeLabels: ['old', 'absent'] })
    expect([status, json]).toEqual([
      200,
      {
        batchErrors: [
          { device: nameOf('b-nobody'), status: { code: 'NOT_FOUND', message: expect.stringContaining('does not exist') } },
          { device: 'projects/other/devices/b-1', status: { code: 'INVALID_ARGUMENT', message: expect.any(String) } },
          { device: 'b-1', status: { code: 'INVALID_ARGUMENT', message: expect.any(String) } },
        ],
      },
    ])
    expect((await telltale.http(`${DEVICES}/b-1`)).json['labels']).toEqual({ kept: '1', zone: 'north' })
    expect((await telltale.http(`${DEVICES}/b-2`)).json['labels']).toEqual({ zone: 'north' })
    expect((await update({ devices: [nameOf('b-1')], addLabels: { zone: 'north' } })).json).toEqual({ batchErrors: [] })
    await eventually(async () =>
      expect(await labelEvents('b-1')).toEqual([
        { added: { old: '1', kept: '1' }, modified: {}, removed: [] },
        { added: { zone: 'north' }, modified: {}, removed: ['old'] },
      ]),
    )
  })

  test('cannot make a device one of the emulator', async () => {
    await put('b-real', { type: 't' })
    const addLabels = { 'virtual-sensor': '' }
    const { json } = await update({ devices: [nameOf('b-real')], addLabels })
    expect(json).toMatchObject({ batchErrors: [{ status: { code: 'INVALID_ARGUMENT', message: expect.stringContaining('emulator') } }] })
    expect((await telltale.http(`${DEVICES}/b-real`)).json['labels']).toEqual({})
    expect((await telltale.send('PUT', `${DEVICES}/b-real`, { type: 't', labels: addLabels })).status).toBe(400)
  })

  test.each([
    {},
    { devices: [] },
    { devices: [nameOf('b-1')] },
    { devices: [nameOf('b-1')], addLabels: {}, removeLabels: [] },
    { devices: 'b-1', addLabels: { a: 'b' } },
    { devices: [nameOf('b-1')], addLabels: { a: 1 } },
  ])('%j is refused', async body => expect((await update(body)).status).toBe(400))

  test('of a thousand devices is answered within the three seconds that clients wait', async () => {
    const events = Array.from({ length: 1000 }, (_, i) => ({ targetName: nameOf(`many-${i}`), eventType: 'co2', data: { ppm: 400 } }))
    expect((await telltale.send('POST', `${PROJECT}/events`, events)).status).toBe(200)
    const begunMs = performance.now()
    const { json } = await update({ devices: events.map(({ targetName }) => targetName), addLabels: { many: 'yes' } })
    expect(json).toEqual({ batchErrors: [] })
    expect(performance.now() - begunMs).toBeLessThan(3000)
    expect(await listed('labelFilters=many%3Dyes&pageSize=100')).toHaveLength(1000)
  })
})

describe('a device that is removed', () => {
  const rule = { name: 'removed-too-warm', select: { labels: ['removed'] }, when: { threshold: { field: 'temperature.value', above: 30 } } }
  const alarms = async (state: string) => {
    const { json } = await telltale.http(`${PROJECT}/alarms?state=${state}&pageSize=100`)
    return (json['alarms'] as Json[]).filter(({ device }) => device === 'r-1')
  }

  test('is gone with labels, last values and alarms; its history stays, and it comes back as a new one', async () => {
    await put('r-1', { type: 'temperature', labels: { removed: 'soon', zone: 'north' } })
    expect((await telltale.send('POST', `${PROJECT}/rules`, rule)).status).toBe(200)
    expect((await telltale.send('POST', `${DEVICES}/r-1:publish`, { temperature: { value: 31 } })).status).toBe(200)
    await eventually(async () => expect(await alarms('active')).toHaveLength(1))
    await eventually(async () => expect(await stored(telltale, 'r-1')).toHaveLength(2))
    const removed = await telltale.http(`${DEVICES}/r-1`, { method: 'DELETE' })
    expect([removed.status, removed.text]).toEqual([200, '{}'])
    expect((await telltale.http(`${DEVICES}/r-1`)).status).toBe(404)
    expect((await telltale.http(`${DEVICES}/r-1`, { method: 'DELETE' })).status).toBe(404)
    await eventually(async () => expect([await alarms('active'), await alarms('cleared')]).toEqual([[], [expect.anything()]]))
    await eventually(async () =>
      expect((await labelEvents('r-1')).at(-1)).toEqual({ added: {}, modified: {}, removed: ['removed', 'zone'] }),
    )
    expect((await stored(telltale, 'r-1')).filter(({ eventType }) => eventType === 'temperature')).toHaveLength(1)
    // Within a second gateways have forgotten that it was there.
    await eventually(async () => {
      await telltale.send('POST', `${DEVICES}/r-1:publish`, { co2: { ppm: 400 } })
      expect((await telltale.http(`${DEVICES}/r-1`)).json).toMatchObject({ type: 'co2', labels: {} })
    })
  })

  test('was removed by an admin of the project; a developer removes those of the emulator', async () => {
    await put('r-2', { type: 'temperature' })
    const developer = await newAccount(telltale, 'default', { 'projects/default': 'project.developer' })
    expect((await developer.call('DELETE', `${DEVICES}/r-2`)).status).toBe(403)
    expect((await telltale.http(`${DEVICES}/r-2`)).status).toBe(200)
    const { json } = await developer.call('POST', DEVICES, { type: 'temperature' })
    expect((await developer.call('DELETE', `/v2/${String(json['name'])}`)).status).toBe(200)
  })
})

describe('the emulator', () => {
  const EMULATOR = '/emulator/v2/projects/default/devices'
  const create = async (base = EMULATOR, body: object = { type: 'temperature', labels: { name: 'n' } }) => {
    const { status, text, json } = await telltale.send('POST', base, body)
    expect(status, text).toBe(200)
    return json as DeviceJson
  }
  const idOf = ({ name }: DeviceJson) => name.split('/')[3] as string

  test.each([DEVICES, EMULATOR])('creates, lists, changes and deletes devices at %s', async base => {
    const device = await create(base)
    const id = idOf(device)
    expect(id).toMatch(/^emu[0-9a-v]{20}$/)
    expect(device).toEqual({
      name: nameOf(id),
      type: 'temperature',
      productNumber: '',
      labels: { name: 'n', 'virtual-sensor': '' },
      reported: {},
    })
    expect((await telltale.http(`${base}/${id}`)).json).toEqual(device)
    const changed = await telltale.send('PUT', `${base}/${id}`, { name: device.name, type: 'humidity', labels: { name: 'm' } })
    expect([changed.status, changed.json]).toEqual([200, { ...device, type: 'humidity', labels: { name: 'm', 'virtual-sensor': '' } }])
    const published = await telltale.send('POST', `${base}/${id}:publish`, { humidity: { temperature: 20, relativeHumidity: 40 } })
    expect([published.status, published.text]).toEqual([200, '{}'])
    const deleted = await telltale.http(`${base}/${id}`, { method: 'DELETE', headers: { 'content-type': 'application/json' } })
    expect([deleted.status, deleted.text]).toEqual([200, '{}'])
    for (const answer of [
      await telltale.http(`${base}/${id}`),
      await telltale.http(`${base}/${id}`, { method: 'DELETE' }),
      await telltale.send('PUT', `${base}/${id}`, { type: 'humidity' }),
      await telltale.send('POST', `${base}/${id}:publish`, { humidity: { relativeHumidity: 40 } }),
    ])
      expect([answer.status, answer.json['code']]).toEqual([404, 404])
    await eventually(async () => expect((await stored(telltale, id)).map(({ eventType }) => eventType)).toContain('humidity'))
  })

  test('lists at its own address only devices of its own', async () => {
    await put('not-emulated', { type: 'temperature' })
    const id = idOf(await create())
    expect(await listed('', EMULATOR)).toEqual([id])
    expect(await listed('device_ids=not-emulated', EMULATOR)).toEqual([])
    expect(await listed(`device_ids=not-emulated&deviceIds=${id}`)).toEqual([id, 'not-emulated'])
    expect((await telltale.http(`${EMULATOR}/not-emulated`)).status).toBe(404)
    expect((await telltale.send('POST', `${EMULATOR}/not-emulated:publish`, { temperature: { value: 1 } })).status).toBe(404)
    const { status } = await telltale.http(`${EMULATOR}/not-emulated`, { method: 'DELETE' })
    expect([status, (await telltale.http(`${DEVICES}/not-emulated`)).status]).toEqual([404, 200])
  })

  test.each([
    [{ type: 'teapot' }, /teapot/],
    [{}, /type/],
    [{ type: 'co2', labels: { a: 1 } }, /labels/],
    [{ type: 'co2', id: 'mine' }, /id/],
  ])('refuses to create %j', async (body, message) => {
    const { status, json } = await telltale.send('POST', EMULATOR, body)
    expect([status, json['error']]).toEqual([400, expect.stringMatching(message)])
  })

  const now = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
  const sampled = { isBackfilled: false, updateTime: now }
  const LOW = 'LOW_POWER_STANDARD_MODE'
  const status = { signalStrength: 60, transmissionMode: LOW, updateTime: now }
  const minimal: readonly (readonly [object, object])[] = [
    [{ touch: {} }, { touch: { updateTime: now } }],
    [{ temperature: { value: 27 } }, { temperature: { value: 27, samples: [{ value: 27, sampleTime: now }], ...sampled } }],
    [
      { humidity: { temperature: 22, relativeHumidity: 17 } },
      {
        humidity: {
          temperature: 22,
          relativeHumidity: 17,
          samples: [{ temperature: 22, relativeHumidity: 17, sampleTime: now }],
          ...sampled,
        },
      },
    ],
    [
      { humidity: { temperature: 22, relativeHumidity: 17, samples: [{ celsius: 21, relativeHumidity: 16 }] } },
      {
        humidity: {
          temperature: 22,
          relativeHumidity: 17,
          samples: [{ temperature: 21, relativeHumidity: 16, sampleTime: now }],
          ...sampled,
        },
      },
    ],
    [{ objectPresent: { state: 'NOT_PRESENT' } }, { objectPresent: { state: 'NOT_PRESENT', updateTime: now } }],
    [{ objectPresentCount: { total: 4176 } }, { objectPresentCount: { total: 4176, updateTime: now } }],
    [{ touchCount: { total: 469 } }, { touchCount: { total: 469, updateTime: now } }],
    [{ waterPresent: { state: 'PRESENT' } }, { waterPresent: { state: 'PRESENT', updateTime: now } }],
    [{ co2: { ppm: 568 } }, { co2: { ppm: 568, updateTime: now } }],
    [{ pressure: { pascal: 93_000 } }, { pressure: { pascal: 93_000, updateTime: now } }],
    [{ motion: { state: 'MOTION_DETECTED' } }, { motion: { state: 'MOTION_DETECTED', updateTime: now } }],
    [{ deskOccupancy: { state: 'OCCUPIED' } }, { deskOccupancy: { state: 'OCCUPIED', remarks: [], updateTime: now } }],
    [{ contact: { state: 'OPEN' } }, { contact: { state: 'OPEN', updateTime: now } }],
    [{ probeWireStatus: { state: 'THREE_WIRE' } }, { probeWireStatus: { state: 'THREE_WIRE', updateTime: now } }],
    [
      {
        networkStatus: {
          signalStrength: 60,
          rssi: -70,
          cloud_connectors: [{ id: 'ccon1' }, { id: 'ccon2', signalStrength: 50, rssi: -80 }],
        },
      },
      {
        networkStatus: {
          ...status,
          rssi: -70,
          cloudConnectors: [
            { id: 'ccon1', signalStrength: 60, rssi: -70 },
            { id: 'ccon2', signalStrength: 50, rssi: -80 },
          ],
        },
      },
    ],
    [{ networkStatus: { signalStrength: 60, rssi: -70 } }, { networkStatus: { ...status, rssi: -70, cloudConnectors: [] } }],
    [{ batteryStatus: { percentage: 100 } }, { batteryStatus: { percentage: 100, updateTime: now } }],
    [
      { connectionStatus: { connection: 'ETHERNET' } },
      { connectionStatus: { connection: 'ETHERNET', available: ['ETHERNET'], updateTime: now } },
    ],
    [{ connectionStatus: { connection: 'OFFLINE' } }, { connectionStatus: { connection: 'OFFLINE', available: [], updateTime: now } }],
    [
      { ethernetStatus: { macAddress: 'f0:b5:b7:00:0a:08' } },
      { ethernetStatus: { macAddress: 'f0:b5:b7:00:0a:08', ipAddress: '', errors: [], updateTime: now } },
    ],
    [{ cellularStatus: { signalStrength: 80 } }, { cellularStatus: { signalStrength: 80, errors: [], updateTime: now } }],
  ]

  test('fills what an event lacks, on the stream and in history the same', async () => {
    const id = idOf(await create(EMULATOR, { type: 'ccon' }))
    const reader = await telltale.stream(`device_ids=${id}`)
    for (const [body] of minimal) expect((await telltale.send('POST', `${EMULATOR}/${id}:publish`, body)).text).toBe('{}')
    const events = await reader.have(minimal.length)
    expect(events.map(({ data }) => data)).toEqual(minimal.map(([, whole]) => whole))
    for (const { targetName, eventType, timestamp, data } of events) {
      expect(targetName).toBe(nameOf(id))
      expect(data[eventType]).toHaveProperty('updateTime', timestamp)
    }
    await eventually(async () => {
      const kept = (await stored(telltale, id)).filter(({ eventType }) => eventType !== 'labelsChanged')
      expect(byId(kept)).toEqual(byId(events))
    })
    reader.close()
  })

  const byId = (events: readonly DeviceEvent[]) =>
    events
      .map(({ eventId, targetName, eventType, data, timestamp }) => ({ eventId, targetName, eventType, data, timestamp }))
      .toSorted((a, b) => (a.eventId < b.eventId ? -1 : 1))

  test.each([
    [{ labelsChanged: { added: {}, modified: {}, removed: [] } }, /labelsChanged/],
    [{ temperature: {} }, /data\.temperature\.value: expected a number/],
    [{ temperature: { value: 'hot' } }, /data\.temperature\.value/],
    [{ temperature: { value: 1, samples: 5 } }, /data\.temperature\.samples/],
    [{ temperature: { value: 1, samples: [{ value: 1, sampleTime: 'now' }] } }, /samples\.0\.sampleTime/],
    [{ temperature: { value: 1, isBackfilled: 'no' } }, /isBackfilled/],
    [{ humidity: { temperature: 1 } }, /data\.humidity\.relativeHumidity/],
    [{ objectPresent: { state: 'AWAY' } }, /PRESENT or NOT_PRESENT/],
    [{ waterPresent: {} }, /PRESENT or NOT_PRESENT/],
    [{ motion: { state: 'SOME' } }, /MOTION_DETECTED or NO_MOTION_DETECTED/],
    [{ deskOccupancy: { state: 'FREE' } }, /OCCUPIED or NOT_OCCUPIED/],
    [{ contact: { state: 'open' } }, /OPEN or CLOSED/],
    [{ probeWireStatus: { state: 'FIVE_WIRE' } }, /TWO_WIRE or THREE_WIRE/],
    [{ connectionStatus: { connection: 'WIFI' } }, /SDS or ETHERNET or CELLULAR or OFFLINE/],
    [{ networkStatus: { signalStrength: 1, transmissionMode: 'LOUD' } }, /LOW_POWER_STANDARD_MODE or HIGH_POWER_BOOST_MODE/],
    [{ networkStatus: { signalStrength: 1, rssi: -70, cloudConnectors: [{}] } }, /cloudConnectors\.0\.id/],
    [{ co2: { ppm: '400' } }, /data\.co2\.ppm/],
    [{ touchCount: {} }, /data\.touchCount\.total/],
  ])('refuses %j', async (body, message) => {
    const { status, json } = await telltale.send('POST', `${DEVICES}/strict:publish`, body)
    expect([status, json['code'], json['error']]).toEqual([400, 400, expect.stringMatching(message)])
  })
})
