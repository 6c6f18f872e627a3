// Devices of several projects: moved from one to the other, and found through the wildcard project, each by who may (contracts.md 1.a.2, 1.a.6).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newAccount, newProject } from './tenant.ts'
import { eventually, type Json, removeDirectories, startTelltale, stored, type Telltale } from './world.ts'

let telltale: Telltale
let other: string
let third: string
beforeAll(async () => {
  telltale = await startTelltale()
  other = await newProject(telltale, 'other')
  third = await newProject(telltale, 'third')
})
afterAll(async () => {
  await telltale.remove()
  await removeDirectories()
})

const path = (project: string, device: string) => `/v2/projects/${project}/devices/${device}`
const nameOf = (project: string, device: string) => `projects/${project}/devices/${device}`
const put = async (project: string, device: string, body: object = { type: 'temperature' }) => {
  const { status, text } = await telltale.send('PUT', path(project, device), body)
  expect(status, text).toBe(200)
}
const transfer = (target: string, ...devices: string[]) => telltale.send('POST', `/v2/projects/${target}/devices:transfer`, { devices })
const namesIn = (json: Json) => (json['devices'] as Json[]).map(({ name }) => name)

describe('a transfer', () => {
  test('moves labels and reported values; history, alarms and new events of the old place stay behind', async () => {
    await put('default', 'moving', { type: 'temperature', labels: { zone: 'north' }, productNumber: '102058' })
    await telltale.send('POST', `/v2/projects/default/rules`, {
      name: 'hot',
      when: { threshold: { field: 'temperature.value', above: 30 } },
    })
    await telltale.send('POST', `${path('default', 'moving')}:publish`, { temperature: { value: 35 } })
    const alarms = async () => ((await telltale.http('/v2/projects/default/alarms')).json['alarms'] as Json[]).map(({ state }) => state)
    await eventually(async () => expect(await alarms()).toEqual(['active']))
    await eventually(async () =>
      expect((await telltale.http(path('default', 'moving'))).json['reported']).toHaveProperty('temperature.value', 35),
    )
    const reader = await telltale.stream('device_ids=moving', { path: `/v2/projects/${other}/devices:stream` })
    const { status, json } = await transfer(other, nameOf('default', 'moving'))
    expect([status, json]).toEqual([200, { transferredDevices: [nameOf(other, 'moving')], transferErrors: [] }])
    expect((await telltale.http(path('default', 'moving'))).status).toBe(404)
    expect((await telltale.http(path(other, 'moving'))).json).toMatchObject({
      name: nameOf(other, 'moving'),
      labels: { zone: 'north' },
      productNumber: '102058',
      reported: { temperature: { value: 35 } },
    })
    await eventually(async () => expect(await alarms()).toEqual(['cleared']))
    const [event] = await reader.have(1)
    expect([event?.targetName, event?.data]).toEqual([nameOf(other, 'moving'), { added: { zone: 'north' }, modified: {}, removed: [] }])
    await eventually(async () =>
      expect((await stored(telltale, 'moving')).map(({ data }) => data)).toContainEqual({ added: {}, modified: {}, removed: ['zone'] }),
    )
    // The sensor still sends to its old address: that is a new device, without the labels of the one that left.
    await eventually(async () => {
      await telltale.send('POST', `${path('default', 'moving')}:publish`, { temperature: { value: 1 } })
      expect((await telltale.http(path('default', 'moving'))).json).toMatchObject({ labels: {} })
    })
    const again = await transfer(other, nameOf('default', 'moving'))
    expect(again.json).toEqual({
      transferredDevices: [],
      transferErrors: [
        { device: nameOf('default', 'moving'), status: { code: 'INVALID_ARGUMENT', message: expect.stringContaining('already exists') } },
      ],
    })
    reader.close()
  })

  test('names what it cannot move, and moves the rest', async () => {
    await put('default', 'willing')
    const { status, json } = await transfer(
      other,
      nameOf('default', 'nobody'),
      'devices/x',
      nameOf(other, 'moving'),
      nameOf('default', 'willing'),
      // Once more, as a list that people put together may have it.
      `/${nameOf('default', 'willing')}`,
      nameOf('nowhere', 'x'),
    )
    const errors = (json['transferErrors'] as { device: string; status: { code: string } }[]).map(one => [one.device, one.status.code])
    expect([status, json['transferredDevices'], errors]).toEqual([
      200,
      [nameOf(other, 'willing')],
      [
        [nameOf('default', 'nobody'), 'NOT_FOUND'],
        ['devices/x', 'INVALID_ARGUMENT'],
        [nameOf(other, 'moving'), 'INVALID_ARGUMENT'],
        [nameOf('nowhere', 'x'), 'NOT_FOUND'],
      ],
    ])
    expect((await transfer('nowhere', nameOf(other, 'willing'))).status).toBe(404)
  })

  test('is for those who are admins of both projects', async () => {
    await put('default', 'guarded')
    const reads = await newAccount(telltale, 'default', { 'projects/default': 'project.developer', [`projects/${other}`]: 'project.admin' })
    const take = (target: string) =>
      reads.call('POST', `/v2/projects/${target}/devices:transfer`, { devices: [nameOf('default', 'guarded')] })
    expect((await take('default')).status).toBe(403)
    expect((await take(third)).status).toBe(404)
    const { status, json } = await take(other)
    expect([status, json['transferredDevices'], json['transferErrors']]).toEqual([
      200,
      [],
      [expect.objectContaining({ device: nameOf('default', 'guarded') })],
    ])
    expect((await telltale.http(path('default', 'guarded'))).status).toBe(200)
  })
})

describe('the wildcard project', () => {
  beforeAll(async () => {
    for (const [i, project] of ['default', other, third].entries())
      for (let n = 0; n < 5; n++) await put(project, `w-${n}`, { type: 'co2', labels: n === 4 ? {} : { name: `w${(i + n) % 3}` } })
  })

  async function walk(query: string, call = (url: string) => telltale.http(url)): Promise<unknown[]> {
    const found: unknown[] = []
    for (let token = ''; ; ) {
      const { status, text, json } = await call(`/v2/projects/-/devices?${query}&pageToken=${token}`)
      expect(status, text).toBe(200)
      found.push(...namesIn(json))
      token = json['nextPageToken'] as string
      if (token === '') return found
    }
  }
  const projects = () => ['default', other, third].toSorted()
  const numbers = [0, 1, 2, 3, 4]

  test.each([1, 2, 7, 100])('lists the devices of all projects in any order, %i at a time', async pageSize => {
    const byName = projects().flatMap(project => numbers.map(n => nameOf(project, `w-${n}`)))
    expect(await walk(`query=w-&pageSize=${pageSize}`)).toEqual(byName)
    expect(await walk(`query=w-&orderBy=-name&pageSize=${pageSize}`)).toEqual(byName.toReversed())
    const labelOf = (project: string, n: number) => (n === 4 ? 'without' : `w${(['default', other, third].indexOf(project) + n) % 3}`)
    const byLabel = ['w0', 'w1', 'w2', 'without'].flatMap(label =>
      numbers.flatMap(n => projects().flatMap(project => (labelOf(project, n) === label ? [nameOf(project, `w-${n}`)] : []))),
    )
    expect(await walk(`query=w-&orderBy=labels.name&pageSize=${pageSize}`)).toEqual(byLabel)
  })

  test('goes on when a project is added between two pages', async () => {
    const { json } = await telltale.http('/v2/projects/-/devices?query=w-&orderBy=labels.name&pageSize=2')
    await newProject(telltale, 'added')
    const next = await telltale.http(`/v2/projects/-/devices?query=w-&orderBy=labels.name&pageToken=${String(json['nextPageToken'])}`)
    expect([next.status, namesIn(next.json)]).toEqual([200, expect.any(Array)])
    expect(namesIn(next.json)).toHaveLength(13)
  })

  test('shows nobody what he may not see', async () => {
    const somebody = await newAccount(telltale, 'default', { [`projects/${other}`]: 'project.user' })
    expect(await walk('query=w-', url => somebody.call('GET', url))).toEqual(numbers.map(n => nameOf(other, `w-${n}`)))
    expect((await somebody.call('GET', '/v2/projects/-/devices/w-1')).json['name']).toBe(nameOf(other, 'w-1'))
    expect((await somebody.call('GET', '/v2/projects/-/devices/guarded')).status).toBe(404)
    expect((await somebody.call('GET', '/v2/projects/default/devices')).status).toBe(404)
  })
})
