// Projects: what a tenant's devices, rules and members belong to.
import { setTimeout as pause } from 'node:timers/promises'
import { type Static, Type } from 'typebox'
import { Failure, invalid } from '../../packages/core/failure.ts'
import {
  type Caller,
  type Identity,
  permissionsOf,
  REVOKED_WITHIN_MS,
  requireOrganization,
  roleIn,
} from '../../packages/identity/identity.ts'
import { callerIn, type HttpApp, projectsOf } from '../../packages/runtime/http.ts'
import { newId } from '../../packages/runtime/id.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Organizations } from '../../packages/state/organization.ts'
import type { Project, Projects } from '../../packages/state/project.ts'
import { masked, UpdateMask } from './mask.ts'
import { callerOf, DisplayName, MAX_PAGE, Permissions, pageOfPermissions } from './organization.ts'

export type ProjectPorts = {
  readonly projects: Projects
  readonly organizations: Organizations
  readonly identity: Identity
  counts(project: string): Promise<{ readonly sensors: number; readonly cloudConnectors: number }>
  /** What keeps a project from being deleted, in words; undefined when it is empty. */
  contents(project: string): Promise<string | undefined>
}

const ProjectAnswer = Type.Object({
  name: Type.String(),
  displayName: Type.String(),
  organization: Type.String(),
  organizationDisplayName: Type.String(),
  sensorCount: Type.Integer(),
  cloudConnectorCount: Type.Integer(),
  inventory: Type.Boolean({ description: 'where an organization keeps what is in no use yet' }),
})
const organization = Type.String({ maxLength: 100, description: 'name of an organization', examples: ['organizations/default'] })
const CreateBody = Type.Object({ displayName: DisplayName, organization }, { additionalProperties: false })
const PatchBody = Type.Object({ displayName: Type.Optional(DisplayName) }, { additionalProperties: false })
const FIELDS = Object.keys(PatchBody.properties)
const ListQuery = Type.Object({
  organization: Type.Optional(organization),
  query: Type.Optional(Type.String({ maxLength: 200, description: 'part of the display name of the project or its organization' })),
  ...PageQuery,
})
const One = Type.Object({ project: ProjectId })
const tags = ['projects']

export function addProjectRoutes(app: HttpApp, ports: ProjectPorts): void {
  const { projects, identity } = ports
  app.get(
    '/v2/projects',
    {
      schema: {
        operationId: 'listProjects',
        summary: 'Lists the projects that the caller is a member of',
        tags,
        querystring: ListQuery,
        response: { 200: listOf('projects', ProjectAnswer) },
      },
    },
    async request => list(ports, projectsOf(request), request.query),
  )
  app.get(
    '/v2/projects/:project',
    { schema: { operationId: 'getProject', summary: 'Gets a project', tags, params: One, response: { 200: ProjectAnswer } } },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      return present(ports, await projects.one(project))
    },
  )
  app.post(
    '/v2/projects',
    {
      schema: {
        operationId: 'createProject',
        summary: 'Creates a project; for admins of its organization',
        tags,
        body: CreateBody,
        response: { 200: ProjectAnswer },
      },
    },
    async request => {
      const { displayName, organization } = request.body
      const id = organizationIn(organization)
      requireOrganization(callerOf(request), id)
      const project = await projects.add(newId(), displayName, id)
      request.change = { scopes: [`organizations/${id}`, `projects/${project.id}`] }
      identity.forget()
      return present(ports, project)
    },
  )
  app.patch(
    '/v2/projects/:project',
    {
      schema: {
        operationId: 'updateProject',
        summary: 'Renames a project',
        tags,
        params: One,
        querystring: UpdateMask,
        body: PatchBody,
        response: { 200: ProjectAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'admin')
      const { displayName } = masked(request.query.updateMask, request.body, FIELDS)
      return present(ports, displayName === undefined ? await projects.one(project) : await projects.rename(project, displayName))
    },
  )
  app.delete(
    '/v2/projects/:project',
    { schema: { operationId: 'deleteProject', summary: 'Deletes a project without devices', tags, params: One, response: { 200: Empty } } },
    async request => {
      const { project } = request.params
      const caller = callerIn(request, project, 'admin')
      const { organization } = await projects.one(project)
      await remove(ports, project, caller.organizations?.includes(organization) === true)
      // Its own audit went with it.
      request.change = { scopes: [`organizations/${organization}`] }
      await projects.empty(project)
      return {}
    },
  )
  app.get(
    '/v2/projects/:project/permissions',
    {
      schema: {
        operationId: 'listProjectPermissions',
        summary: 'Lists what the caller may do in a project',
        tags,
        params: One,
        querystring: Type.Object(PageQuery),
        response: { 200: Permissions },
      },
    },
    async request => {
      const { project } = request.params
      const caller = callerIn(request, project)
      return pageOfPermissions(permissionsIn(caller, await projects.one(project)), request.query)
    },
  )
}

/** Nothing that was accepted is deleted with it: it is looked at once more when nobody can send there any longer. */
async function remove(ports: ProjectPorts, project: string, organizationAdmin: boolean): Promise<void> {
  const { projects, identity } = ports
  await checkEmpty(ports, project)
  await projects.checkRemovable(project, organizationAdmin)
  const token = newId()
  await projects.close(project, token)
  identity.forget()
  try {
    await pause(REVOKED_WITHIN_MS)
    await checkEmpty(ports, project)
    await projects.remove(project, token, organizationAdmin)
  } catch (error) {
    await projects.reopen(project, token)
    throw error
  } finally {
    identity.forget()
  }
}

/** 400, as its clients know it. */
async function checkEmpty({ contents }: ProjectPorts, project: string): Promise<void> {
  const found = await contents(project)
  if (found !== undefined) throw new Failure('invalid', `project ${project} still has ${found}: delete them, or transfer them, first`)
}

function permissionsIn(caller: Caller, { id, organization }: Project): readonly string[] {
  if (caller.organizations?.includes(organization)) return permissionsOf('organization.admin')
  return permissionsOf(`project.${roleIn(caller, id) ?? 'user'}`)
}

async function list(
  ports: ProjectPorts,
  ids: readonly string[],
  { organization, query, pageSize = MAX_PAGE, pageToken }: Static<typeof ListQuery>,
) {
  const after = decodeToken(pageToken) ?? ''
  const limit = Math.min(pageSize, MAX_PAGE)
  const within = organization === undefined ? undefined : organizationIn(organization)
  const all = await ports.projects.several(ids.filter(id => id > after))
  const mine = all.filter(project => within === undefined || project.organization === within)
  const names = await organizationNames(ports, mine)
  const sought = query?.toLowerCase() ?? ''
  const found = mine.filter(project =>
    [project.displayName, names.get(project.organization) ?? ''].some(name => name.toLowerCase().includes(sought)),
  )
  const page = found.slice(0, limit)
  const last = found.length > limit ? page.at(-1) : undefined
  return {
    projects: await Promise.all(page.map(project => toJson(ports, project, names))),
    nextPageToken: last ? encodeToken(last.id) : '',
  }
}

async function organizationNames({ organizations }: ProjectPorts, projects: readonly Project[]): Promise<Map<string, string>> {
  const found = await organizations.several([...new Set(projects.map(project => project.organization))])
  return new Map(found.map(({ id, displayName }) => [id, displayName]))
}

function organizationIn(name: string): string {
  const id = /^(?:organizations\/)?([A-Za-z0-9_-]{1,63})$/.exec(name)?.[1]
  if (id === undefined) throw invalid('organization', 'expected a name such as organizations/default')
  return id
}

async function present(ports: ProjectPorts, project: Project) {
  return toJson(ports, project, await organizationNames(ports, [project]))
}

async function toJson(ports: ProjectPorts, { id, displayName, organization, inventory }: Project, names: ReadonlyMap<string, string>) {
  const { sensors, cloudConnectors } = await ports.counts(id)
  return {
    name: `projects/${id}`,
    displayName,
    organization: `organizations/${organization}`,
    organizationDisplayName: names.get(organization) ?? '',
    sensorCount: sensors,
    cloudConnectorCount: cloudConnectors,
    inventory,
  }
}
