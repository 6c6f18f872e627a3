// Organisations: known to their admins alone, who may do everything in their projects.
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { Failure } from '../../packages/core/failure.ts'
import { formatTime } from '../../packages/core/time.ts'
import { type Caller, type Identity, permissionsOf, requireOrganization } from '../../packages/identity/identity.ts'
import type { HttpApp } from '../../packages/runtime/http.ts'
import { newId } from '../../packages/runtime/id.ts'
import { decodeToken, encodeToken, pageIn } from '../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery } from '../../packages/runtime/schema.ts'
import type { Accounts } from '../../packages/state/account.ts'
import type { Organization, Organizations } from '../../packages/state/organization.ts'
import { pageOf } from '../../packages/state/registry.ts'
import { masked, UpdateMask } from './mask.ts'

export type OrganizationPorts = {
  readonly organizations: Organizations
  readonly accounts: Accounts
  readonly identity: Identity
  nowUs(): number
}

export const MAX_PAGE = 100
export const DisplayName = Type.String({ minLength: 1, maxLength: 128, examples: ['Cold store north'] })
const Page = Type.Object(PageQuery)
export const Permissions = listOf('permissions', Type.String())

const OrganizationAnswer = Type.Object({ name: Type.String(), displayName: Type.String() })
const OrganizationBody = Type.Object({ displayName: DisplayName }, { additionalProperties: false })
const FIELDS = Object.keys(OrganizationBody.properties)
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
      request.change = { scopes: [`organizations/${organization.id}`, `projects/${home}`] }
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
      const { displayName } = masked(request.query.updateMask, request.body, FIELDS)
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
      request.change = { scopes: account ? [`projects/${account.project}`] : [] }
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
      return pageOfPermissions(permissionsOf('organization.admin'), request.query)
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

export function pageOfPermissions(all: readonly string[], query: Static<typeof Page>) {
  const { page, nextPageToken } = pageIn(all, permission => permission, query)
  return { permissions: page, nextPageToken }
}

function toJson({ id, displayName }: Organization) {
  return { name: `organizations/${id}`, displayName }
}
