// Which devices the page holds, through the client, against a real server of lists.
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { Telltale } from '../../../packages/client/index.ts'
import type { DeviceEvent } from '../../../packages/core/event.ts'
import { MAX_DEVICES, Roster } from './roster.ts'

const opened: { close(): void }[] = []
afterEach(() => {
  for (const one of opened.splice(0)) one.close()
})

const nameOf = (n: number) => `d${String(n).padStart(6, '0')}`
const documentOf = (id: string) => ({ name: `projects/p/devices/${id}`, type: 'temperature', labels: { name: `Name of ${id}` } })

/** A project whose devices may change; `held` answers only when they are let go. */
async function serve(ids: readonly string[]) {
  const project = { ids: [...ids], held: undefined as (() => void)[] | undefined, lists: [] as URLSearchParams[], gets: [] as string[] }
  const answer = (response: ServerResponse, body: unknown, status = 200) => {
    const send = () => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    if (project.held) project.held.push(send)
    else send()
  }
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://x')
    const id = /devices\/(.+)$/.exec(pathname)?.[1]
    if (id !== undefined) {
      project.gets.push(id)
      if (id === 'broken') answer(response, { error: 'broken', code: 500 }, 500)
      else if (project.ids.includes(id)) answer(response, documentOf(id))
      else answer(response, { error: 'no such device', code: 404 }, 404)
      return
    }
    project.lists.push(searchParams)
    const found = project.ids.filter(one => one.includes(searchParams.get('query') ?? ''))
    const from = Number(searchParams.get('pageToken') ?? 0)
    const to = from + Number(searchParams.get('pageSize'))
    answer(response, { devices: found.slice(from, to).map(documentOf), nextPageToken: to < found.length ? String(to) : '' })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const problems: unknown[] = []
  const client = new Telltale({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, project: 'p', auth: 'session' })
  const guard = (work: () => Promise<unknown>) =>
    work().then(
      () => true,
      error => {
        problems.push(error)
        return false
      },
    )
  const roster = new Roster({ client, guard, changed: () => {}, reloadEveryMs: 500 })
  opened.push(roster, {
    close: () => {
      void client.close()
      server.close()
      server.closeAllConnections()
    },
  })
  return { project, roster, problems }
}

function event(id: string, value = 1): DeviceEvent {
  const timestamp = '2026-01-01T00:00:01.000000Z'
  return { eventId: 'e', targetName: `projects/p/devices/${id}`, eventType: 'temperature', data: { temperature: { value } }, timestamp }
}

const many = (count: number) => Array.from({ length: count }, (_, n) => nameOf(n))

test('of a small project all devices are there, and the filter asks nobody', async () => {
  const { project, roster } = await serve(many(250))
  await roster.load()
  expect([roster.loaded, roster.isPartial, roster.fleet.size, project.lists.length]).toEqual([true, false, 250, 3])
  roster.search('name')
  await roster.load()
  expect(project.lists.every(query => !query.has('query'))).toBe(true)
})

test('of a large project the first thousand are loaded, and other devices of the stream get no row', async () => {
  const { project, roster } = await serve(many(5000))
  roster.putEvent(event(nameOf(4000)))
  await roster.load()
  expect([roster.isPartial, roster.fleet.size, project.lists.length]).toEqual([true, MAX_DEVICES, MAX_DEVICES / 100])
  roster.putEvent(event(nameOf(4001)))
  roster.putEvent(event(nameOf(1), 22))
  expect(roster.fleet.row(nameOf(4001))).toBeUndefined()
  expect(roster.fleet.row(nameOf(1))?.latest?.value).toBe(22)
  expect(roster.fleet.size).toBe(MAX_DEVICES)
})

test('what is searched for in a large project is asked of the server, page by page, and goes with the search', async () => {
  const { project, roster } = await serve(many(5000))
  await roster.load()
  roster.search('temperature d0040')
  expect(roster.isSearching).toBe(true)
  await vi.waitFor(() => expect(roster.isSearching).toBe(false), 5000)
  expect(project.lists.at(-1)?.get('query')).toBe('d0040')
  roster.search('d004')
  await vi.waitFor(() => expect(roster.fleet.row(nameOf(4099))).toBeDefined(), 5000)
  await vi.waitFor(() => expect(roster.canSearchOn).toBe(true), 5000)
  expect(roster.fleet.size).toBe(MAX_DEVICES + 100)
  await roster.searchOn()
  expect(roster.fleet.size).toBe(MAX_DEVICES + 200)
  await roster.load()
  await vi.waitFor(() => expect(roster.fleet.size).toBe(MAX_DEVICES + 100), 5000)
  roster.search('')
  expect(roster.fleet.size).toBe(MAX_DEVICES)
})

test('a device that is looked at stays, wherever it stands', async () => {
  const { roster } = await serve(many(5000))
  await roster.load()
  expect(await roster.look(nameOf(4000))).toBe(true)
  expect(await roster.look('nobody')).toBe(false)
  await roster.load()
  expect(roster.fleet.row(nameOf(4000))?.name).toBe(`Name of ${nameOf(4000)}`)
})

test('what was missed while the devices are being loaded is loaded after it', async () => {
  const { project, roster } = await serve(many(10))
  project.held = []
  const first = roster.load()
  await vi.waitFor(() => expect(project.held).toHaveLength(1), 5000)
  await roster.load()
  project.ids.push('late')
  const held = project.held
  project.held = undefined
  for (const send of held) send()
  await first
  expect(roster.fleet.row('late')).toBeUndefined()
  await vi.waitFor(() => expect(roster.fleet.row('late')).toBeDefined(), 10_000)
  expect(project.lists).toHaveLength(2)
})

test('of new devices one that is gone is forgotten, one that cannot be asked for stays, and neither costs the others their labels', async () => {
  const { project, roster, problems } = await serve(['here', 'there'])
  for (const id of ['gone', 'broken', 'here', 'there']) roster.putEvent(event(id))
  await vi.waitFor(() => expect(roster.fleet.row('there')?.name).toBe('Name of there'), 5000)
  await vi.waitFor(() => expect(problems).toMatchObject([{ status: 500 }]), 5000)
  expect(roster.fleet.row('here')?.name).toBe('Name of here')
  expect(roster.fleet.rows().map(({ id }) => id)).toEqual(['broken', 'here', 'there'])
  roster.putEvent(event('broken'))
  await vi.waitFor(() => expect(project.gets.filter(id => id === 'broken')).toHaveLength(2), 5000)
})
