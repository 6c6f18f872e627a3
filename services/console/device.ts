// Devices as people and programs see them: list, get, put, labels.
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import type { Device } from '../../packages/core/device.ts'
import { checkDevice } from '../../packages/core/event.ts'
import { Failure } from '../../packages/core/failure.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { encodeToken, pageSize, pageToken, type Query } from '../../packages/runtime/page.ts'
import type { Devices, LabelChange, Reported } from '../../packages/state/device.ts'

export type DevicePorts = {
  readonly devices: Devices
  /** Puts a `labelsChanged` event into the log, so that everybody who follows it learns of the change in its place. */
  labelsChanged(project: string, device: string, change: LabelChange): Promise<void>
}

const Labels = Type.Record(Type.String(), Type.String())
const DeviceBody = Type.Object(
  {
    name: Type.Optional(Type.String()),
    type: Type.String({ minLength: 1, maxLength: 64 }),
    labels: Type.Optional(Labels),
    productNumber: Type.Optional(Type.String()),
  },
  { additionalProperties: false },
)
const BatchBody = Type.Object(
  {
    devices: Type.Array(Type.String(), { maxItems: 1000 }),
    addLabels: Type.Optional(Labels),
    removeLabels: Type.Optional(Type.Array(Type.String())),
  },
  { additionalProperties: false },
)

type One = { Params: { project: string; device: string } }
type All = { Params: { project: string }; Querystring: Query }

const MAX_PAGE = 100

export function addDeviceRoutes(app: HttpApp, ports: DevicePorts): void {
  const { devices } = ports
  app.get<All>('/v2/projects/:project/devices', async request => {
    const { project } = request.params
    callerIn(request, project)
    const limit = pageSize(request.query, MAX_PAGE, MAX_PAGE)
    const page = await devices.list(project, pageToken(request.query) ?? '', limit)
    const reported = await devices.reported(
      project,
      page.map(device => device.id),
    )
    const last = page.length === limit ? page.at(-1) : undefined
    return { devices: page.map((device, i) => toJson(project, device, reported[i])), nextPageToken: last ? encodeToken(last.id) : '' }
  })
  app.get<One>('/v2/projects/:project/devices/:device', async request => {
    const { project, device } = request.params
    callerIn(request, project)
    return present(devices, project, await devices.one(project, device))
  })
  app.put<One & { Body: unknown }>('/v2/projects/:project/devices/:device', { schema: { body: DeviceBody } }, async request => {
    const { project, device: id } = request.params
    callerIn(request, project, 'developer')
    const { type, labels = {}, productNumber = '' } = Value.Parse(DeviceBody, request.body)
    const device: Device = { id: checkDevice(id), type, labels, productNumber }
    await ports.labelsChanged(project, id, await devices.put(project, device))
    return present(devices, project, device)
  })
  app.post<All & { Body: unknown }>(
    verb('/v2/projects/:project/devices', 'batchUpdate'),
    { schema: { body: BatchBody } },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'developer')
      const { devices: names, addLabels, removeLabels } = Value.Parse(BatchBody, request.body)
      if (!addLabels && !removeLabels) throw new Failure('invalid', 'addLabels: expected addLabels or removeLabels', { field: 'addLabels' })
      const errors = []
      for (const name of names) {
        const failure = await relabel(ports, project, name, addLabels ?? {}, removeLabels ?? [])
        if (failure)
          errors.push({
            device: name,
            status: { code: failure.code === 'not_found' ? 'NOT_FOUND' : 'INVALID_ARGUMENT', message: failure.message },
          })
      }
      return { batchErrors: errors }
    },
  )
}

async function relabel(
  ports: DevicePorts,
  project: string,
  name: string,
  add: Device['labels'],
  remove: readonly string[],
): Promise<Failure | undefined> {
  const prefix = `projects/${project}/devices/`
  if (!name.startsWith(prefix)) return new Failure('invalid', `devices: expected ${prefix}{device}, got ${name.slice(0, 200)}`)
  const id = name.slice(prefix.length)
  try {
    await ports.labelsChanged(project, id, await ports.devices.relabel(project, id, add, remove))
    return undefined
  } catch (error) {
    if (error instanceof Failure && (error.code === 'not_found' || error.code === 'invalid')) return error
    throw error
  }
}

async function present(devices: Devices, project: string, device: Device) {
  const [reported] = await devices.reported(project, [device.id])
  return toJson(project, device, reported)
}

function toJson(project: string, device: Device, reported: Reported | undefined) {
  const { id, type, labels, productNumber } = device
  return { name: `projects/${project}/devices/${id}`, type, productNumber, labels, reported: reported ?? {} }
}
