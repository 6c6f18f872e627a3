// Credentials of devices: with one a device publishes its own events and may do nothing else. Up to ten each, so that one can be exchanged
// for another without a pause.
import { Type } from 'typebox'
import { checkDevice } from '../../packages/core/event.ts'
import { formatTime } from '../../packages/core/time.ts'
import { type Identity, newSecret } from '../../packages/identity/identity.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { newId } from '../../packages/runtime/id.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { DeviceId, Empty, listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Credential, Credentials } from '../../packages/state/credential.ts'

export type CredentialPorts = {
  readonly credentials: Credentials
  readonly identity: Identity
  nowUs(): number
}

const CredentialAnswer = Type.Object({ name: Type.String(), id: Type.String(), createTime: Type.String() })
const NewCredentialAnswer = Type.Object({
  ...CredentialAnswer.properties,
  secret: Type.String({ description: 'shown now and never again; the password over MQTT, of the user name that `id` is' }),
})
const CREDENTIALS = '/v2/projects/:project/devices/:device/credentials'
const One = Type.Object({ project: ProjectId, device: DeviceId })
const tags = ['devices']

export function addCredentialRoutes(app: HttpApp, { credentials, identity, nowUs }: CredentialPorts): void {
  app.get(
    CREDENTIALS,
    {
      schema: {
        operationId: 'listCredentials',
        summary: 'Lists the credentials of a device, without their secrets',
        tags,
        params: One,
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('credentials', CredentialAnswer) },
      },
    },
    async request => {
      const { project, device } = request.params
      callerIn(request, project)
      const after = decodeToken(request.query.pageToken) ?? ''
      const all = (await credentials.list(project, device)).filter(({ id }) => id > after)
      const page = all.slice(0, request.query.pageSize)
      const last = all.length > page.length ? page.at(-1) : undefined
      return { credentials: page.map(one => toJson(project, device, one)), nextPageToken: last ? encodeToken(last.id) : '' }
    },
  )
  app.post(
    CREDENTIALS,
    {
      schema: {
        operationId: 'createCredential',
        summary: 'Creates a credential for a device, which need not have sent anything yet',
        tags,
        params: One,
        response: { 200: NewCredentialAnswer },
      },
    },
    async request => {
      const { project, device } = request.params
      callerIn(request, project, 'developer')
      checkDevice(device)
      const secret = newSecret()
      const made = { id: `dev${newId()}`, project, device, secret: identity.seal(secret), createTime: formatTime(nowUs()) }
      await credentials.add(made)
      return { ...toJson(project, device, made), secret }
    },
  )
  app.delete(
    `${CREDENTIALS}/:credential`,
    {
      schema: {
        operationId: 'deleteCredential',
        summary: 'Deletes a credential of a device; what it has open ends within a second',
        tags,
        params: Type.Object({ ...One.properties, credential: Type.String({ maxLength: 64, examples: ['devcr1tq0gd2kq0f5m3n78g'] }) }),
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, device, credential } = request.params
      callerIn(request, project, 'developer')
      await credentials.remove(project, device, credential)
      identity.forget()
      return {}
    },
  )
}

function toJson(project: string, device: string, { id, createTime }: Credential) {
  return { name: `projects/${project}/devices/${device}/credentials/${id}`, id, createTime }
}
