// Labels: of one device each by itself, or of many devices at once. Every change is an event in the log, put there with the change.
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { pageIn } from '../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery } from '../../packages/runtime/schema.ts'
import type { Devices } from '../../packages/state/device.ts'
import { DeviceError, inBatches, statusOf } from './batch.ts'
import { Labels, One, project, tags } from './device.ts'
import { masked, UpdateMask } from './mask.ts'

const KEY = Type.String({ maxLength: 128, examples: ['zone'] })
const VALUE = Type.String({ maxLength: 512, examples: ['north'] })
const Label = Type.Object({
  name: Type.String({ description: 'projects/{project}/devices/{device}/labels/{key}' }),
  key: KEY,
  value: VALUE,
})
const NewLabel = Type.Object({ key: KEY, value: VALUE }, { additionalProperties: false, examples: [{ key: 'zone', value: 'north' }] })
const LabelValue = Type.Object({ key: Type.Optional(KEY), value: VALUE }, { additionalProperties: false, examples: [{ value: 'south' }] })
const OneLabel = Type.Object({ ...One.properties, key: KEY })
const BatchBody = Type.Object(
  {
    devices: Type.Array(Type.String({ maxLength: 300 }), { maxItems: 1000 }),
    addLabels: Type.Optional(Labels),
    removeLabels: Type.Optional(Type.Array(Type.String({ maxLength: 128 }), { maxItems: 1000 })),
  },
  {
    additionalProperties: false,
    examples: [{ devices: ['projects/default/devices/freezer-1'], addLabels: { zone: 'north' }, removeLabels: ['spare'] }],
  },
)

export function addLabelRoutes(app: HttpApp, devices: Devices): void {
  addReading(app, devices)
  addWriting(app, devices)
  app.post(
    verb('/v2/projects/:project/devices', 'batchUpdate'),
    {
      schema: {
        operationId: 'batchUpdateDevices',
        summary: 'Adds and removes labels of many devices; those that could not be changed are named in the answer',
        tags,
        params: Type.Object({ project }),
        body: BatchBody,
        response: { 200: Type.Object({ batchErrors: Type.Array(DeviceError) }) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'developer')
      const { devices: names, addLabels = {}, removeLabels = [] } = request.body
      if (Object.keys(addLabels).length === 0 && removeLabels.length === 0)
        throw invalid('addLabels', 'expected at least one label in addLabels or removeLabels')
      const outcomes = await inBatches(request.log, names, name =>
        devices.relabel(project, deviceIn(project, name), addLabels, removeLabels),
      )
      return { batchErrors: outcomes.flatMap((failure, i) => (failure ? [statusOf(names[i] as string, failure)] : [])) }
    },
  )
}

function addReading(app: HttpApp, devices: Devices): void {
  app.get(
    '/v2/projects/:project/devices/:device/labels',
    {
      schema: {
        operationId: 'listLabels',
        summary: 'Lists the labels of a device',
        tags,
        params: One,
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('labels', Label) },
      },
    },
    async request => {
      const { labels } = await deviceOf(devices, request, request.params)
      const { page, nextPageToken } = pageIn(Object.entries(labels), ([key]) => key, request.query)
      return { labels: page.map(([key, value]) => toJson(request.params, key, value)), nextPageToken }
    },
  )
  app.get(
    '/v2/projects/:project/devices/:device/labels/:key',
    { schema: { operationId: 'getLabel', summary: 'Gets a label', tags, params: OneLabel, response: { 200: Label } } },
    async request => {
      const { key } = request.params
      const { labels } = await deviceOf(devices, request, request.params)
      return toJson(request.params, key, existing(labels, key))
    },
  )
}

function addWriting(app: HttpApp, devices: Devices): void {
  app.post(
    '/v2/projects/:project/devices/:device/labels',
    { schema: { operationId: 'createLabel', summary: 'Adds a label', tags, params: One, body: NewLabel, response: { 200: Label } } },
    async request => {
      const { project, device } = request.params
      callerIn(request, project, 'developer')
      const { key, value } = request.body
      await devices.edit(project, device, labels => {
        if (Object.hasOwn(labels, key)) throw new Failure('conflict', `label ${key} already exists`, { field: 'key' })
        return { ...labels, [key]: value }
      })
      return toJson(request.params, key, value)
    },
  )
  app.patch(
    '/v2/projects/:project/devices/:device/labels/:key',
    {
      schema: {
        operationId: 'updateLabel',
        summary: 'Changes a label',
        tags,
        params: OneLabel,
        querystring: UpdateMask,
        body: LabelValue,
        response: { 200: Label },
      },
    },
    async request => {
      const { project, device, key } = request.params
      callerIn(request, project, 'developer')
      const { key: named = key } = request.body
      if (named !== key) throw invalid('body.key', `expected the label of the address, ${key}: a key cannot be changed`)
      const { value } = masked(request.query.updateMask, request.body, Object.keys(LabelValue.properties))
      if (value === undefined) return toJson(request.params, key, existing((await devices.one(project, device)).labels, key))
      await devices.edit(project, device, labels => {
        existing(labels, key)
        return { ...labels, [key]: value }
      })
      return toJson(request.params, key, value)
    },
  )
  app.delete(
    '/v2/projects/:project/devices/:device/labels/:key',
    { schema: { operationId: 'deleteLabel', summary: 'Removes a label', tags, params: OneLabel, response: { 200: Empty } } },
    async request => {
      const { project, device, key } = request.params
      callerIn(request, project, 'developer')
      await devices.edit(project, device, labels => {
        existing(labels, key)
        return Object.fromEntries(Object.entries(labels).filter(([name]) => name !== key))
      })
      return {}
    },
  )
}

type Named = { readonly project: string; readonly device: string }

function deviceOf(devices: Devices, request: FastifyRequest, { project, device }: Named) {
  callerIn(request, project)
  return devices.one(project, device)
}

function existing(labels: Readonly<Record<string, string>>, key: string): string {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined
  if (value === undefined) throw new Failure('not_found', `label ${key} does not exist`, { field: 'key' })
  return value
}

function toJson({ project, device }: Named, key: string, value: string) {
  return { name: `projects/${project}/devices/${device}/labels/${key}`, key, value }
}

function deviceIn(project: string, name: string): string {
  const prefix = `projects/${project}/devices/`
  const plain = name.startsWith('/') ? name.slice(1) : name
  if (!plain.startsWith(prefix)) throw invalid('devices', `expected ${prefix}{device}, got ${name.slice(0, 200)}`)
  return plain.slice(prefix.length)
}
