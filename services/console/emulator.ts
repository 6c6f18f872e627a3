// Devices that are not there: created and removed here, publishing what they are told to; everywhere else devices like any other.
import { Type } from 'typebox'
import { checkDeviceType, isEmulated, VIRTUAL } from '../../packages/core/device.ts'
import { Failure } from '../../packages/core/failure.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { newId } from '../../packages/runtime/id.ts'
import { DeviceId, Empty, listOf, ProjectId } from '../../packages/runtime/schema.ts'
import { DeviceAnswer, DeviceBody, type DevicePorts, Labels, ListQuery, list, present, put, remove } from './device.ts'

const EmulatedId = Type.String({ ...DeviceId, examples: ['emucr1tq0gd2kq0f5m3n780'] })

/** As it is made: it has sent nothing yet. */
const MadeAnswer = Type.Object(DeviceAnswer.properties, {
  examples: [
    {
      name: 'projects/default/devices/emucr1tq0gd2kq0f5m3n780',
      type: 'temperature',
      productNumber: '',
      labels: { name: 'a freezer that is not there', ...VIRTUAL },
      reported: {},
    },
  ],
})

/** The emulator has an address of its own; what it makes can also be made and removed among all devices (contracts.md 1.a.1). */
export function addEmulatorRoutes(app: HttpApp, ports: DevicePorts): void {
  addCreation(app, ports, '/v2', '')
  addCreation(app, ports, '/emulator/v2', 'Emulator')
  addOwnRoutes(app, ports)
  addRemoval(app, ports)
}

function addCreation(app: HttpApp, { devices }: DevicePorts, base: string, suffix: string): void {
  const project = ProjectId
  const tags = ['emulator']
  const CreateBody = Type.Object(
    { name: Type.Optional(Type.String({ description: 'not read' })), type: Type.String({ maxLength: 64 }), labels: Type.Optional(Labels) },
    { additionalProperties: false, examples: [{ type: 'temperature', labels: { name: 'a freezer that is not there' } }] },
  )
  app.post(
    `${base}/projects/:project/devices`,
    {
      schema: {
        operationId: `createEmulatedDevice${suffix}`,
        summary: 'Creates an emulated device',
        tags,
        params: Type.Object({ project }),
        body: CreateBody,
        response: { 200: MadeAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'developer')
      const { type, labels } = request.body
      const device = { id: `emu${newId()}`, type: checkDeviceType(type), labels: { ...labels, ...VIRTUAL }, productNumber: '' }
      await devices.create(project, device)
      return present(devices, project, device)
    },
  )
}

function addOwnRoutes(app: HttpApp, ports: DevicePorts): void {
  const { devices } = ports
  const tags = ['emulator']
  const One = Type.Object({ project: ProjectId, device: EmulatedId })
  app.get(
    '/emulator/v2/projects/:project/devices',
    {
      schema: {
        operationId: 'listEmulatedDevices',
        summary: 'Lists emulated devices',
        tags,
        params: Type.Object({ project: ProjectId }),
        querystring: ListQuery,
        response: { 200: listOf('devices', DeviceAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      return list(ports, project, [project], request.query, true)
    },
  )
  app.get(
    '/emulator/v2/projects/:project/devices/:device',
    {
      schema: { operationId: 'getEmulatedDevice', summary: 'Gets an emulated device', tags, params: One, response: { 200: DeviceAnswer } },
    },
    async request => {
      const { project, device } = request.params
      callerIn(request, project)
      return present(devices, project, await devices.one(project, emulated(project, device)))
    },
  )
  app.put(
    '/emulator/v2/projects/:project/devices/:device',
    {
      schema: {
        operationId: 'putEmulatedDevice',
        summary: 'Replaces type and labels of an emulated device',
        tags,
        params: One,
        body: DeviceBody,
        response: { 200: DeviceAnswer },
      },
    },
    async request => {
      const { project, device } = request.params
      callerIn(request, project, 'developer')
      return put(devices, project, emulated(project, device), request.body)
    },
  )
}

function addRemoval(app: HttpApp, ports: DevicePorts): void {
  app.delete(
    '/emulator/v2/projects/:project/devices/:device',
    {
      schema: {
        operationId: 'deleteEmulatedDevice',
        summary: 'Removes an emulated device; its history stays',
        tags: ['emulator'],
        params: Type.Object({ project: ProjectId, device: EmulatedId }),
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, device } = request.params
      callerIn(request, project, 'developer')
      await remove(ports, project, emulated(project, device))
      return {}
    },
  )
}

function emulated(project: string, id: string): string {
  if (!isEmulated(id)) throw new Failure('not_found', `emulated device ${id} does not exist in project ${project}`, { field: 'device' })
  return id
}
