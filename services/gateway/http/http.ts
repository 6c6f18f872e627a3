// The HTTP door: one event, an array, or lines without end, answered when they are on disk.
import { Type } from 'typebox'
import { isEmulated } from '../../../packages/core/device.ts'
import { Failure } from '../../../packages/core/failure.ts'
import { type HttpApp, MAX_EVENTS_BYTES, publisherIn, verb } from '../../../packages/runtime/http.ts'
import { DeviceId, described, Empty, ProjectId } from '../../../packages/runtime/schema.ts'
import { addStreamed } from '../../../packages/runtime/upload.ts'
import { type TakePorts, take } from './take.ts'

export type HttpPorts = TakePorts & {
  /** Fails with `not_found` when the device is not registered. */
  known(project: string, device: string): Promise<unknown>
}

const STREAMED = { config: { streamed: true, limit: 'ingest', devices: true }, bodyLimit: MAX_EVENTS_BYTES } as const
const project = ProjectId
const EmulatedId = Type.String({ ...DeviceId, examples: ['emucr1tq0gd2kq0f5m3n780'] })
const tags = ['events']
const EventBody = Type.Object(
  {
    eventId: Type.Optional(Type.String({ description: 'yours; the same again is a repeat' })),
    targetName: Type.String({ description: 'projects/{project}/devices/{device}' }),
    eventType: Type.String(),
    data: Type.Record(Type.String(), Type.Unknown(), { description: 'keyed by the event type' }),
    timestamp: Type.Optional(Type.String({ description: 'RFC 3339; now unless said' })),
  },
  {
    description:
      'one event, an array of them, or one per line with content type application/x-ndjson, of any length; packed as header content-encoding says: gzip, deflate, br or zstd',
    examples: [{ targetName: 'projects/default/devices/freezer-1', eventType: 'temperature', data: { temperature: { value: -18.5 } } }],
  },
)
const DataBody = Type.Record(Type.String(), Type.Unknown(), {
  description: 'data of one event, keyed by its type; what is missing is filled in',
  examples: [{ temperature: { value: 21.5 } }],
})
const EventsAnswer = Type.Object({
  accepted: Type.Integer(),
  rejected: Type.Integer(),
  errors: Type.Array(
    Type.Object({ index: Type.Integer(), code: Type.String(), field: Type.Optional(Type.String()), message: Type.String() }),
    { description: 'of the first 1,000 that were rejected' },
  ),
  omitted: Type.Optional(Type.Integer({ description: 'how many were rejected besides' })),
})

export function addIngestRoutes(app: HttpApp, ports: HttpPorts): void {
  addStreamed(app, inner => addRoutes(inner, ports))
}

function addRoutes(app: HttpApp, ports: HttpPorts): void {
  app.post(
    '/v2/projects/:project/events',
    {
      ...STREAMED,
      schema: {
        operationId: 'createEvents',
        summary: 'Accepts events; answers when they are on disk',
        tags,
        params: Type.Object({ project }),
        querystring: Type.Object({
          decoder: Type.Optional(
            Type.String({ maxLength: 100, description: 'what reads the body; without it the content type decides', examples: ['json'] }),
          ),
        }),
        body: described(EventBody),
        response: { 200: EventsAnswer, 207: EventsAnswer },
      },
    },
    async (request, reply) => {
      const { project } = request.params
      const caller = publisherIn(request, project)
      return take(ports, request, reply, { caller, place: { project }, decoder: request.query.decoder })
    },
  )
  addPublish(app, ports, '/v2', 'publish')
  addPublish(app, ports, '/emulator/v2', 'publishEmulated')
}

function addPublish(app: HttpApp, ports: HttpPorts, base: string, operationId: string): void {
  app.post(
    verb(`${base}/projects/:project/devices/:device`, 'publish'),
    {
      ...STREAMED,
      schema: {
        operationId,
        summary: base === '/v2' ? 'Accepts one event of a device' : 'Lets an emulated device send an event',
        tags,
        params: Type.Object({ project, device: base === '/v2' ? DeviceId : EmulatedId }),
        body: described(DataBody),
        response: { 200: Empty },
      },
    },
    async (request, reply) => {
      const { project, device } = request.params
      const caller = publisherIn(request, project, device)
      // Devices that are there make themselves known; those of the emulator are made.
      if (isEmulated(device)) await ports.known(project, device)
      else if (base !== '/v2')
        throw new Failure('not_found', `emulated device ${device} does not exist in project ${project}`, { field: 'device' })
      return take(ports, request, reply, { caller, place: { project, device }, decoder: undefined })
    },
  )
}
