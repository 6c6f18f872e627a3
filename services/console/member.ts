// Members of projects and organisations, and the roles that they can have.
import type { FastifyRequest } from 'fastify'
import { type Static, Type } from 'typebox'
import { Failure, invalid } from '../../packages/core/failure.ts'
import { formatTime } from '../../packages/core/time.ts'
import { type Caller, covers, type Identity, ROLES, type Role, type RoleRecord, roleIn } from '../../packages/identity/identity.ts'
import { callerIn, type HttpApp, verb } from '../../packages/runtime/http.ts'
import { decodeToken, encodeToken, pageIn } from '../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Account, Accounts } from '../../packages/state/account.ts'
import type { Member, Members } from '../../packages/state/member.ts'
import type { Projects } from '../../packages/state/project.ts'
import { pageOf, type Scope } from '../../packages/state/registry.ts'
import { masked, UpdateMask } from './mask.ts'
import { administratorOf, callerOf, MAX_PAGE, OrganizationId } from './organization.ts'

export type MemberPorts = {
  readonly accounts: Accounts
  readonly members: Members
  readonly projects: Projects
  readonly identity: Identity
  nowUs(): number
}

/** Where one can be a member. Both have the same routes. */
type Kind = {
  readonly word: 'Project' | 'Organization'
  readonly path: 'projects' | 'organizations'
  readonly id: typeof ProjectId
  readonly roles: Readonly<Record<string, Role>>
  /** One of them, for the document. */
  readonly usual: string
  admit(request: FastifyRequest, id: string, role: Role): void
}

const KINDS: readonly Kind[] = [
  {
    word: 'Project',
    path: 'projects',
    id: ProjectId,
    roles: { 'project.user': 'user', 'project.developer': 'developer', 'project.admin': 'admin' },
    usual: 'roles/project.developer',
    admit: callerIn,
  },
  {
    word: 'Organization',
    path: 'organizations',
    id: OrganizationId,
    roles: { 'organization.admin': 'admin' },
    usual: 'roles/organization.admin',
    admit: administratorOf,
  },
]

const MemberAnswer = Type.Object({
  name: Type.String(),
  displayName: Type.String(),
  roles: Type.Array(Type.String()),
  status: Type.Literal('ACCEPTED'),
  email: Type.String(),
  accountType: Type.Literal('SERVICE_ACCOUNT'),
  createTime: Type.String(),
})
const rolesField = ({ usual }: Kind) =>
  Type.Array(Type.String({ maxLength: 100 }), {
    minItems: 1,
    maxItems: 1,
    description: 'one role of the same kind',
    examples: [[usual]],
  })
const address = Type.String({
  maxLength: 320,
  description: 'address of a service account',
  examples: ['cr1tq0gd2kq0f5m3n780@default.serviceaccount.telltale'],
})
const createBody = (kind: Kind) =>
  Type.Object(
    {
      email: Type.Optional(address),
      serviceAccount: Type.Optional(Type.String({ maxLength: 200, description: 'or its name, projects/{project}/serviceaccounts/{id}' })),
      roles: rolesField(kind),
    },
    { additionalProperties: false },
  )
const patchBody = (kind: Kind) => Type.Object({ roles: Type.Optional(rolesField(kind)) }, { additionalProperties: false })
const memberId = Type.String({ maxLength: 64, description: 'id of the service account', examples: ['cr1tq0gd2kq0f5m3n780'] })

export function addMemberRoutes(app: HttpApp, ports: MemberPorts): void {
  addRoleRoutes(app)
  for (const kind of KINDS) addRoutesOf(app, ports, kind)
}

const RoleAnswer = Type.Object({
  name: Type.String(),
  displayName: Type.String(),
  description: Type.String(),
  permissions: Type.Array(Type.String()),
})

function addRoleRoutes(app: HttpApp): void {
  const tags = ['members']
  app.get(
    '/v2/roles',
    {
      schema: {
        operationId: 'listRoles',
        summary: 'Lists the roles that there are',
        tags,
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('roles', RoleAnswer) },
      },
    },
    async request => {
      // In the order of what they allow.
      const { page, nextPageToken } = pageIn(ROLES, one => String(ROLES.indexOf(one)), request.query)
      return { roles: page.map(roleToJson), nextPageToken }
    },
  )
  const params = Type.Object({ role: Type.String({ maxLength: 100, examples: ['project.user'] }) })
  app.get(
    '/v2/roles/:role',
    { schema: { operationId: 'getRole', summary: 'Gets a role', tags, params, response: { 200: RoleAnswer } } },
    async request => {
      const found = ROLES.find(({ name }) => name === request.params.role)
      if (!found) throw new Failure('not_found', `role ${request.params.role} does not exist`, { field: 'role' })
      return roleToJson(found)
    },
  )
}

function addRoutesOf(app: HttpApp, ports: MemberPorts, kind: Kind): void {
  const { members, identity } = ports
  const { word, path } = kind
  const all = `/v2/${path}/:parent/members` as const
  const one = `${all}/:member` as const
  const InParent = Type.Object({ parent: kind.id })
  const OneMember = Type.Object({ parent: kind.id, member: memberId })
  const tags = ['members']
  app.get(
    all,
    {
      schema: {
        operationId: `list${word}Members`,
        summary: 'Lists members',
        tags,
        params: InParent,
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('members', MemberAnswer) },
      },
    },
    async request => {
      const { parent } = request.params
      kind.admit(request, parent, 'user')
      return list(ports, kind, parent, request.query)
    },
  )
  app.get(
    one,
    { schema: { operationId: `get${word}Member`, summary: 'Gets a member', tags, params: OneMember, response: { 200: MemberAnswer } } },
    async request => {
      const { parent, member } = request.params
      kind.admit(request, parent, 'user')
      return present(ports, kind, parent, await members.one(`${path}/${parent}`, member))
    },
  )
  app.post(
    all,
    {
      schema: {
        operationId: `create${word}Member`,
        summary: 'Makes a service account a member; 409 when it is one',
        tags,
        params: InParent,
        body: createBody(kind),
        response: { 200: MemberAnswer },
      },
    },
    async request => {
      const { parent } = request.params
      kind.admit(request, parent, 'admin')
      const role = roleOf(kind, request.body.roles)
      const account = await named(ports, request.body, found => mayEnrol(ports, callerOf(request), `${path}/${parent}`, found))
      const member: Member = { account: account.id, role, createTime: formatTime(ports.nowUs()) }
      await members.add(`${path}/${parent}`, member)
      identity.forget()
      return toJson(kind, parent, member, account)
    },
  )
  app.patch(
    one,
    {
      schema: {
        operationId: `update${word}Member`,
        summary: 'Gives a member another role',
        tags,
        params: OneMember,
        querystring: UpdateMask,
        body: patchBody(kind),
        response: { 200: MemberAnswer },
      },
    },
    async request => {
      const { parent, member } = request.params
      kind.admit(request, parent, 'admin')
      const scope: Scope = `${path}/${parent}`
      const { roles } = masked(request.query.updateMask, request.body, ['roles'])
      const before = await members.one(scope, member)
      const changed = roles === undefined ? before : { ...before, role: roleOf(kind, roles) }
      if (changed !== before) await members.change(scope, changed)
      identity.forget()
      return present(ports, kind, parent, changed)
    },
  )
  app.delete(
    one,
    {
      schema: {
        operationId: `delete${word}Member`,
        summary: 'Ends a membership; what the member has open here ends within a second',
        tags,
        params: OneMember,
        response: { 200: Empty },
      },
    },
    async request => {
      const { parent, member } = request.params
      kind.admit(request, parent, 'admin')
      await members.remove(`${path}/${parent}`, member)
      identity.forget()
      return {}
    },
  )
  app.get(
    verb(one, 'getInviteUrl'),
    {
      schema: {
        operationId: `get${word}MemberInviteUrl`,
        summary: 'Always refused: service accounts need no invitation',
        tags,
        params: OneMember,
        response: { 200: Type.Object({ inviteUrl: Type.String() }) },
      },
    },
    async request => {
      const { parent, member } = request.params
      kind.admit(request, parent, 'user')
      await members.one(`${path}/${parent}`, member)
      throw new Failure('invalid', `${member} is a service account: its membership is accepted, and there is no invitation`, {
        field: 'member',
      })
    },
  )
}

async function list(
  ports: MemberPorts,
  kind: Kind,
  parent: string,
  { pageSize = MAX_PAGE, pageToken }: { pageSize?: number; pageToken?: string },
) {
  const limit = Math.min(pageSize, MAX_PAGE)
  const all = await ports.members.list(`${kind.path}/${parent}`)
  const page = pageOf(all, member => member.account, decodeToken(pageToken) ?? '', limit)
  const accounts = await ports.accounts.several(page.map(member => member.account))
  const last = page.length === limit ? page.at(-1) : undefined
  return {
    members: page.map((member, i) => toJson(kind, parent, member, accounts[i])),
    nextPageToken: last ? encodeToken(last.account) : '',
  }
}

async function present(ports: MemberPorts, kind: Kind, parent: string, member: Member) {
  const [account] = await ports.accounts.several([member.account])
  return toJson(kind, parent, member, account)
}

/**
 * A service account belongs to its home: it takes part elsewhere within its organisation, and in another one only by somebody who
 * administers its home too. Without that a stranger's events would come to whoever reads all projects of theirs.
 */
async function mayEnrol({ projects }: MemberPorts, caller: Caller, scope: Scope, account: Account): Promise<boolean> {
  if (scope === `projects/${account.project}` || covers(roleIn(caller, account.project), 'admin')) return true
  const [home] = await projects.several([account.project])
  const [kind, id = ''] = scope.split('/')
  const organization = kind === 'organizations' ? id : (await projects.one(id)).organization
  return home?.organization === organization
}

/** People have no accounts here, so an unknown address cannot be invited. One that may not be named is as unknown. */
async function named(
  { accounts }: MemberPorts,
  { email, serviceAccount }: Static<ReturnType<typeof createBody>>,
  may: (account: Account) => Promise<boolean>,
): Promise<Account> {
  if ((email === undefined) === (serviceAccount === undefined)) throw invalid('email', 'expected, or else serviceAccount')
  if (email !== undefined) {
    const found = await accounts.findByEmail(email)
    if (!found || !(await may(found))) throw invalid('email', 'no service account has this address; people sign in with the key of one')
    return found
  }
  const [, project, id] = /^projects\/([^/]+)\/serviceaccounts\/([^/]+)$/.exec(serviceAccount ?? '') ?? []
  const [found] = id === undefined ? [] : await accounts.several([id])
  if (!found || found.project !== project || !(await may(found)))
    throw invalid('serviceAccount', 'expected the name of one, projects/{project}/serviceaccounts/{id}')
  return found
}

function roleOf(kind: Kind, roles: readonly string[]): Role {
  const name = (roles[0] ?? '').replace(/^roles\//, '')
  const role = Object.hasOwn(kind.roles, name) ? kind.roles[name] : undefined
  if (!role)
    throw invalid(
      'roles',
      `expected one of ${Object.keys(kind.roles)
        .map(known => `roles/${known}`)
        .join(', ')}`,
    )
  return role
}

function toJson({ word, path }: Kind, parent: string, { account, role, createTime }: Member, known: Account | undefined) {
  return {
    name: `${path}/${parent}/members/${account}`,
    displayName: known?.displayName ?? '',
    roles: [`roles/${word.toLowerCase()}.${role}`],
    status: 'ACCEPTED' as const,
    email: known?.email ?? '',
    accountType: 'SERVICE_ACCOUNT' as const,
    createTime,
  }
}

function roleToJson({ name, displayName, description, permissions }: RoleRecord) {
  return { name: `roles/${name}`, displayName, description, permissions: [...permissions] }
}
