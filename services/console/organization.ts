// Organisations: known to their admins alone, who may do everything in their projects.
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { Failure } from '../../packages/core/failure.ts'
import { formatTime } from '../../packages/core/time.ts'
import { type Caller, type Identity, permissionsOf, requireOrganization } from '../../packages/identity/identity.ts'
import type { HttpApp } from '../../packages/runtime/http.ts'
import { newId } from '../../packages/runtime/id.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery } from '../../packages/runtime/schema.ts'
import type { Accounts } from '../../packages/state/account.ts'
import type { Organization, Organizations } from '../../packages/state/organization.ts'
import { pageOf } from '../../packages/state/registry.ts'

export type OrganizationPorts = {
  readonly organizations: Organizations
  readonly accounts: Accounts
  readonly identity: Identity
  nowUs(): number
}

export const MAX_PAGE = 100
export const DisplayName = Type.String({ minLength: 1, maxLength: 128, examples: ['Cold store north'] })
export const Permissions = listOf('permissions', Type.String())

const OrganizationAnswer = Type.Object({ name: Type.String(), displayName: Type.String() })
const OrganizationBody = Type.Object({ displayName: DisplayName }, { additionalProperties: false })
export const OrganizationId = Type.String({ maxLength: 63, examples: ['default'] })
const One = Type.Object({ organization: OrganizationId })
const tags = ['organizations']

export function addOrganizationRoutes(app: HttpApp, ports: OrganizationPorts): void {
  const { organizations, identity } = ports
  app.get(
    '/v2/organizations',
    {
      schema: {
        operationId: 'listOrganizations',
        summary: 'Lists the organizations that the caller administers',
        tags,
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('organizations', OrganizationAnswer) },
      },
    },
    async request => {
      const { pageSize = MAX_PAGE, pageToken } = request.query
      const limit = Math.min(pageSize, MAX_PAGE)
      const ids = pageOf(request.caller?.organizations ?? [], id => id, decodeToken(pageToken) ?? '', limit)
      const last = ids.length === limit ? ids.at(-1) : undefined
      return { organizations: (await organizations.several(ids)).map(toJson), nextPageToken: last === undefined ? '' : encodeToken(last) }
    },
  )
  app.get(
    '/v2/organizations/:organization',
    {
      schema: { operationId: 'getOrganization', summary: 'Gets an organization', tags, params: One, response: { 200: OrganizationAnswer } },
    },
    async request => {
      const { organization } = request.params
      administratorOf(request, organization)
      return toJson(await organizations.one(organization))
    },
  )
  app.post(
    '/v2/organizations',
    {
      schema: {
        operationId: 'createOrganization',
        summary: 'Creates an organization, with the caller as its admin; for admins of another one',
        tags,
        body: OrganizationBody,
        response: { 200: OrganizationAnswer },
      },
    },
    async request => {
      const { organization, home } = await create(ports, callerOf(request), request.body.displayName)
      request.auditScopes = [`organizations/${organization.id}`, `projects/${home}`]
      return toJson(organization)
    },
  )
  app.patch(
    '/v2/organizations/:organization',
    {
      schema: {
        operationId: 'updateOrganization',
        summary: 'Renames an organization',
        tags,
        params: One,
        querystring: UpdateMask,
        body: OrganizationBody,
        response: { 200: OrganizationAnswer },
      },
    },
    async request => {
      const { organization } = request.params
      administratorOf(request, organization)
      const { displayName } = masked(request.query.updateMask, request.body)
      return toJson(
        displayName === undefined ? await organizations.one(organization) : await organizations.rename(organization, displayName),
      )
    },
  )
  app.delete(
    '/v2/organizations/:organization',
    {
      schema: {
        operationId: 'deleteOrganization',
        summary: 'Deletes an organization without projects',
        tags,
        params: One,
        response: { 200: Empty },
      },
    },
    async request => {
      const { organization } = request.params
      const caller = administratorOf(request, organization)
      const account = await ports.accounts.findByEmail(caller.account)
      await organizations.remove(organization)
      // Its own audit went with it.
      request.auditScopes = account ? [`projects/${account.project}`] : []
      identity.forget()
      return {}
    },
  )
  app.get(
    '/v2/organizations/:organization/permissions',
    {
      schema: {
        operationId: 'listOrganizationPermissions',
        summary: 'Lists what the caller may do in an organization',
        tags,
        params: One,
        querystring: Type.Object(PageQuery),
        response: { 200: Permissions },
      },
    },
    async request => {
      administratorOf(request, request.params.organization)
      return { permissions: [...permissionsOf('organization.admin')], nextPageToken: '' }
    },
  )
}

async function create({ organizations, accounts, identity, nowUs }: OrganizationPorts, caller: Caller, displayName: string) {
  const account = await accounts.findByEmail(caller.account)
  if (!account || !caller.organizations) throw new Failure('forbidden', 'this needs the role organization.admin in some organization')
  const organization = { id: newId(), displayName }
  await organizations.create(organization, account.id, formatTime(nowUs()))
  identity.forget()
  return { organization, home: account.project }
}

export function callerOf(request: FastifyRequest): Caller {
  if (!request.caller) throw new Failure('unauthenticated', 'credentials missing')
  return request.caller
}

/** The caller, who administers this organisation. */
export function administratorOf(request: FastifyRequest, organization: string): Caller {
  const caller = callerOf(request)
  requireOrganization(caller, organization)
  return caller
}

/** Some clients name the fields that a PATCH is about. */
export const UpdateMask = Type.Object({
  updateMask: Type.Optional(
    Type.String({ maxLength: 200, description: 'fields that are changed, separated by commas; absent: those in the body' }),
  ),
})

/** The fields of a PATCH that its mask names; all without a mask. */
export function masked<Body extends object>(mask: string | undefined, body: Body): Partial<Body> {
  if (mask === undefined) return body
  const names = new Set(mask.split(',').map(name => name.trim()))
  return Object.fromEntries(Object.entries(body).filter(([name]) => names.has(name))) as Partial<Body>
}

function toJson({ id, displayName }: Organization) {
  return { name: `organizations/${id}`, displayName }
}
