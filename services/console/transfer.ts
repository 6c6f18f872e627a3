// Devices that move to another project, with labels and what they reported last; their history stays (docs/decisions/0013).
import { Type } from 'typebox'
import { invalid } from '../../packages/core/failure.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { DeviceError, inBatches, statusOf } from './batch.ts'
import { type DevicePorts, project, tags } from './device.ts'

const TransferBody = Type.Object(
  { devices: Type.Array(Type.String({ maxLength: 300 }), { maxItems: 1000 }) },
  { additionalProperties: false, examples: [{ devices: ['projects/workshop/devices/freezer-2'] }] },
)
const TransferAnswer = Type.Object({ transferredDevices: Type.Array(Type.String()), transferErrors: Type.Array(DeviceError) })
const NAME = /^projects\/([^/]+)\/devices\/([^/]+)$/

export function addTransferRoutes(app: HttpApp, { devices, credentials }: Pick<DevicePorts, 'devices' | 'credentials'>): void {
  app.post(
    verb('/v2/projects/:project/devices', 'transfer'),
    {
      schema: {
        operationId: 'transferDevices',
        summary: 'Moves devices of other projects into this one; those that could not be moved are named in the answer',
        tags,
        params: Type.Object({ project }),
        body: TransferBody,
        response: { 200: TransferAnswer },
      },
    },
    async request => {
      const { project: target } = request.params
      callerIn(request, target, 'admin')
      const names = [...new Set(request.body.devices.map(name => name.replace(/^\//, '')))]
      const outcomes = await inBatches(request.log, names, async name => {
        const [source, id] = placeOf(name)
        callerIn(request, source, 'admin')
        if (source === target) throw invalid('devices', `${name} is in project ${target} already`)
        await devices.transfer(source, target, id)
        // Whoever has them belongs to the project that it left.
        await credentials.removeAll(source, id)
      })
      const sources = names.flatMap((name, i) => (outcomes[i] ? [] : [placeOf(name)[0]]))
      request.change = { scopes: [...new Set([target, ...sources])].map(project => `projects/${project}` as const) }
      return {
        transferredDevices: names.flatMap((name, i) => (outcomes[i] ? [] : [`projects/${target}/devices/${placeOf(name)[1]}`])),
        transferErrors: outcomes.flatMap((failure, i) => (failure ? [statusOf(names[i] as string, failure)] : [])),
      }
    },
  )
}

function placeOf(name: string): [project: string, device: string] {
  const [, source, id] = NAME.exec(name) ?? []
  if (source === undefined || id === undefined)
    throw invalid('devices', `expected projects/{project}/devices/{device}, got ${name.slice(0, 200)}`)
  return [source, id]
}
