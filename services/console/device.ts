// Devices as people and programs see them: list, get, put, remove.
import { type Static, Type } from 'typebox'
import { checkDeviceType, type Device, isEmulated, type LabelMatch, parseLabelFilter, VIRTUAL } from '../../packages/core/device.ts'
import { checkDevice } from '../../packages/core/event.ts'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { callerIn, type HttpApp, projectsOf } from '../../packages/runtime/http.ts'
import { DeviceId, Empty, LabelMatchParameter, listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Credentials } from '../../packages/state/credential.ts'
import type { Devices, Reported } from '../../packages/state/device.ts'
import type { DeviceClock } from '../../packages/state/deviceclock.ts'
import type { DeviceLists } from '../../packages/state/devicelist.ts'
import { type DeviceFilter, parseOrder } from '../../packages/state/devicequery.ts'
import { listDevices } from './listing.ts'

export type DevicePorts = {
  readonly devices: Devices
  readonly credentials: Credentials
  readonly lists: DeviceLists
  /** What several label filters mean to who does not say it. */
  readonly labelMatch: LabelMatch
  /** What page tokens are sealed with. */
  readonly tokenKey: string
}

export const Labels = Type.Record(Type.String(), Type.String(), { examples: [{ name: 'walk-in freezer', zone: 'north' }] })

export const DeviceAnswer = Type.Object(
  {
    name: Type.String({ description: 'projects/{project}/devices/{device}' }),
    type: Type.String(),
    productNumber: Type.String(),
    labels: Labels,
    reported: Type.Record(Type.String(), Type.Unknown(), { description: 'newest data of each event type that the device has sent' }),
    clock: Type.Optional(
      Type.Object(
        {
          state: Type.Union([Type.Literal('unset'), Type.Literal('ahead'), Type.Literal('behind')]),
          offsetSeconds: Type.Number({ description: 'by how much it is ahead of ours' }),
          since: Type.String(),
        },
        { description: 'only where the clock of the device is wrong' },
      ),
    ),
  },
  {
    examples: [
      {
        name: 'projects/default/devices/freezer-1',
        type: 'temperature',
        productNumber: '102058',
        labels: { name: 'walk-in freezer', zone: 'north' },
        reported: {
          temperature: {
            value: -18.4,
            updateTime: '2025-03-02T06:41:09.104000Z',
            samples: [{ value: -18.4, sampleTime: '2025-03-02T06:41:09.104000Z' }],
            isBackfilled: false,
          },
        },
      },
    ],
  },
)
export const DeviceBody = Type.Object(
  {
    name: Type.Optional(Type.String({ description: 'not read: the device is the one of the address' })),
    type: Type.String({ minLength: 1, maxLength: 64 }),
    labels: Type.Optional(Labels),
    productNumber: Type.Optional(Type.String({ maxLength: 64 })),
  },
  { additionalProperties: false, examples: [{ type: 'temperature', labels: { zone: 'north' }, productNumber: '102058' }] },
)
const several = (description: string, example: string) =>
  Type.Optional(Type.Array(Type.String({ maxLength: 700 }), { description, maxItems: 1000, examples: [[example]] }))
export const ListQuery = Type.Object({
  query: Type.Optional(
    Type.String({ maxLength: 200, description: 'part of the id, the type, or the key or value of a label', examples: ['freezer'] }),
  ),
  deviceIds: several('devices with one of these ids', 'freezer-1'),
  deviceTypes: several('devices of one of these types', 'temperature'),
  labelFilters: several('devices with these labels: `key`, or `key=value`', 'zone=north'),
  labelMatch: LabelMatchParameter,
  productNumbers: several('devices with one of these product numbers', '102058'),
  orderBy: Type.Optional(
    Type.String({
      maxLength: 300,
      description:
        'name, type, productNumber, labels.{key} or reported.{eventType}.{field}; with `-` in front descending. Devices without the value come last.',
      examples: ['-reported.temperature.value'],
    }),
  ),
  ...PageQuery,
})
export const project = ProjectId
export const tags = ['devices']
export const One = Type.Object({ project, device: DeviceId })
const MAX_PAGE = 100

export function addDeviceRoutes(app: HttpApp, ports: DevicePorts): void {
  const { devices } = ports
  app.get(
    '/v2/projects/:project/devices',
    {
      schema: {
        operationId: 'listDevices',
        summary: 'Lists devices, of all projects with `-`; a page may be shorter than asked for and not be the last',
        tags,
        params: Type.Object({ project }),
        querystring: ListQuery,
        response: { 200: listOf('devices', DeviceAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      if (project !== '-') callerIn(request, project)
      return list(ports, project, project === '-' ? projectsOf(request) : [project], request.query)
    },
  )
  app.get(
    '/v2/projects/:project/devices/:device',
    {
      schema: {
        operationId: 'getDevice',
        summary: 'Gets a device; project `-` looks for it in all',
        tags,
        params: One,
        response: { 200: DeviceAnswer },
      },
    },
    async request => {
      const { project, device } = request.params
      if (project === '-') return anywhere(devices, projectsOf(request), device)
      callerIn(request, project)
      return present(devices, project, await devices.one(project, device))
    },
  )
  app.put(
    '/v2/projects/:project/devices/:device',
    {
      schema: {
        operationId: 'putDevice',
        summary: 'Creates or replaces a device',
        tags,
        params: One,
        body: DeviceBody,
        response: { 200: DeviceAnswer },
      },
      // A fleet introduces itself device by device, as it does by its events.
      config: { limit: 'ingest' },
    },
    async request => {
      const { project, device } = request.params
      callerIn(request, project, 'developer')
      return put(devices, project, device, request.body)
    },
  )
  app.delete(
    '/v2/projects/:project/devices/:device',
    {
      schema: {
        operationId: 'deleteDevice',
        summary: 'Removes a device; its history stays, and a sensor that goes on sending comes back as a new one',
        tags,
        params: One,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, device } = request.params
      // Those of the emulator are taken away by who may make them.
      callerIn(request, project, isEmulated(device) ? 'developer' : 'admin')
      await remove(ports, project, device)
      return {}
    },
  )
}

/** One page of the devices of these projects, which may become more from page to page while `asked` stays the same. */
export async function list(
  { devices, lists, tokenKey, labelMatch }: DevicePorts,
  asked: string,
  projects: readonly string[],
  query: Static<typeof ListQuery>,
  emulated = false,
) {
  const { pageSize = MAX_PAGE, pageToken, orderBy, ...given } = query
  const filters = { ...given, labelMatch: given.labelMatch ?? labelMatch }
  const question = JSON.stringify([asked, emulated, orderBy ?? '', Object.entries(filters).toSorted(([a], [b]) => (a < b ? -1 : 1))])
  const { found, nextPageToken } = await listDevices(lists, {
    projects,
    filter: filterOf(filters, emulated),
    order: parseOrder(orderBy === '' ? undefined : orderBy),
    limit: Math.min(pageSize, MAX_PAGE),
    token: pageToken,
    question,
    tokenKey,
  })
  const reported = await reportedOf(devices, found)
  return { devices: found.map(({ project, device }, i) => toJson(project, device, reported[i])), nextPageToken }
}

type Seen = { readonly reported: Reported; readonly clock: DeviceClock | undefined }

async function reportedOf(devices: Devices, found: readonly { readonly project: string; readonly device: Device }[]): Promise<Seen[]> {
  const known = new Map<string, Seen>()
  for (const project of new Set(found.map(one => one.project))) {
    const ids = found.filter(one => one.project === project).map(({ device }) => device.id)
    const [all, clocks] = await Promise.all([devices.reported(project, ids), devices.clocks(project, ids)])
    for (const [i, reported] of all.entries()) known.set(`${project}/${ids[i]}`, { reported, clock: clocks[i] })
  }
  return found.map(({ project, device }) => known.get(`${project}/${device.id}`) ?? { reported: {}, clock: undefined })
}

type Filters = Omit<Static<typeof ListQuery>, 'pageSize' | 'pageToken' | 'orderBy'>

function filterOf(
  { query = '', deviceIds, deviceTypes, labelFilters = [], labelMatch, productNumbers }: Filters,
  emulated: boolean,
): DeviceFilter {
  const labels = labelFilters.map(parseLabelFilter)
  if (labels.some(({ key }) => key === '')) throw invalid('labelFilters', 'expected key or key=value')
  const setOf = (values: readonly string[] | undefined) => (values === undefined || values.length === 0 ? undefined : new Set(values))
  return {
    ids: setOf(deviceIds),
    types: setOf(deviceTypes),
    productNumbers: setOf(productNumbers),
    labels,
    labelMatch,
    keyword: query === '' ? undefined : query.toLowerCase(),
    emulated,
  }
}

/** With its credentials: these first, so that what was cut off can be asked for again. */
export async function remove({ devices, credentials }: DevicePorts, project: string, id: string): Promise<void> {
  await devices.one(project, id)
  await credentials.removeAll(project, id)
  await devices.remove(project, id)
}

/** Creates or replaces a device. Those of the emulator are created by it alone, and stay recognisable. */
export async function put(devices: Devices, project: string, id: string, body: Static<typeof DeviceBody>) {
  const { type, labels = {}, productNumber = '' } = body
  const device: Device = { id: checkDevice(id), type, labels, productNumber }
  if (!isEmulated(id)) {
    await devices.put(project, device)
    return present(devices, project, device)
  }
  checkDeviceType(type)
  const virtual = { ...device, labels: { ...labels, ...VIRTUAL } }
  await devices.one(project, id)
  await devices.put(project, virtual)
  return present(devices, project, virtual)
}

async function anywhere(devices: Devices, projects: readonly string[], id: string) {
  for (const project of projects) {
    const [device] = await devices.get(project, [id])
    if (device) return present(devices, project, device)
  }
  throw new Failure('not_found', `device ${id} does not exist in any of your projects`, { field: 'device' })
}

export async function present(devices: Devices, project: string, device: Device) {
  const [seen] = await reportedOf(devices, [{ project, device }])
  return toJson(project, device, seen)
}

function toJson(project: string, device: Device, seen: Seen | undefined) {
  const { id, type, labels, productNumber } = device
  const clock = seen?.clock && { clock: seen.clock }
  return { name: `projects/${project}/devices/${id}`, type, productNumber, labels, reported: seen?.reported ?? {}, ...clock }
}
