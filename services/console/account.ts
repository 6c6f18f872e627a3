// Service accounts and their keys. Up to ten keys each, so that one can be exchanged for another without a pause.
import { Type } from 'typebox'
import { Failure } from '../../packages/core/failure.ts'
import { formatTime } from '../../packages/core/time.ts'
import { type Caller, covers, type Identity, newSecret, type Role, roleIn } from '../../packages/identity/identity.ts'
import { callerIn, type HttpApp } from '../../packages/runtime/http.ts'
import { newId } from '../../packages/runtime/id.ts'
import { decodeToken, encodeToken } from '../../packages/runtime/page.ts'
import { Empty, listOf, PageQuery, ProjectId } from '../../packages/runtime/schema.ts'
import type { Account, Accounts, Key } from '../../packages/state/account.ts'
import type { Members } from '../../packages/state/member.ts'
import type { Projects } from '../../packages/state/project.ts'
import { masked, UpdateMask } from './mask.ts'
import { MAX_PAGE } from './organization.ts'

export type AccountPorts = {
  readonly accounts: Accounts
  readonly members: Members
  readonly projects: Projects
  readonly identity: Identity
  nowUs(): number
}

const AccountAnswer = Type.Object({
  name: Type.String(),
  email: Type.String(),
  displayName: Type.String(),
  enableBasicAuth: Type.Boolean({
    description:
      'whether HTTP Basic with a key id and secret is taken; switched off, it ends streams and WebSockets that were opened by it. Tokens are always taken, and over MQTT key id and secret',
  }),
  createTime: Type.String(),
  updateTime: Type.String(),
})
const KeyAnswer = Type.Object({ name: Type.String(), id: Type.String(), createTime: Type.String() })
const NewKeyAnswer = Type.Object({ key: KeyAnswer, secret: Type.String({ description: 'shown now and never again' }) })
const AccountBody = Type.Object(
  {
    displayName: Type.Optional(Type.String({ maxLength: 128, examples: ['exporter'] })),
    enableBasicAuth: Type.Optional(Type.Boolean({ examples: [false] })),
  },
  { additionalProperties: false },
)
const FIELDS = Object.keys(AccountBody.properties)
const project = ProjectId
const account = Type.String({ maxLength: 64, examples: ['cr1tq0gd2kq0f5m3n780'] })
const OneAccount = Type.Object({ project, account })
const OneKey = Type.Object({ project, account, key: Type.String({ maxLength: 64, examples: ['cr1tq0gd2kq0f5m3n78g'] }) })
const ACCOUNTS = '/v2/projects/:project/serviceaccounts'
const ACCOUNT = `${ACCOUNTS}/:account` as const
const tags = ['service accounts']

export function addAccountRoutes(app: HttpApp, ports: AccountPorts): void {
  const { accounts, identity, nowUs } = ports
  app.get(
    ACCOUNTS,
    {
      schema: {
        operationId: 'listServiceAccounts',
        summary: 'Lists the service accounts that were made in a project',
        tags,
        params: Type.Object({ project }),
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('serviceAccounts', AccountAnswer) },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project)
      const { pageSize = MAX_PAGE, pageToken } = request.query
      const limit = Math.min(pageSize, MAX_PAGE)
      const page = await accounts.list(project, decodeToken(pageToken) ?? '', limit)
      return { serviceAccounts: page.accounts.map(toJson), nextPageToken: page.next === undefined ? '' : encodeToken(page.next) }
    },
  )
  app.get(
    ACCOUNT,
    {
      schema: {
        operationId: 'getServiceAccount',
        summary: 'Gets a service account',
        tags,
        params: OneAccount,
        response: { 200: AccountAnswer },
      },
    },
    async request => {
      const { project, account } = request.params
      callerIn(request, project)
      return toJson(await accounts.one(project, account))
    },
  )
  app.post(
    ACCOUNTS,
    {
      schema: {
        operationId: 'createServiceAccount',
        summary: 'Creates a service account; it may do nothing until it is made a member',
        tags,
        params: Type.Object({ project }),
        body: AccountBody,
        response: { 200: AccountAnswer },
      },
    },
    async request => {
      const { project } = request.params
      callerIn(request, project, 'admin')
      const { displayName = '', enableBasicAuth = false } = request.body
      const id = newId()
      const time = formatTime(nowUs())
      const email = `${id}@${project}.serviceaccount.telltale`
      const made: Account = { id, project, email, displayName, enableBasicAuth, createTime: time, updateTime: time }
      await accounts.create(made)
      return toJson(made)
    },
  )
  app.patch(
    ACCOUNT,
    {
      schema: {
        operationId: 'updateServiceAccount',
        summary: 'Renames a service account, or changes whether it may use HTTP Basic',
        tags,
        params: OneAccount,
        querystring: UpdateMask,
        body: AccountBody,
        response: { 200: AccountAnswer },
      },
    },
    async request => {
      const { project, account } = request.params
      const caller = callerIn(request, project, 'admin')
      const found = await accounts.one(project, account)
      const changes = masked(request.query.updateMask, request.body, FIELDS)
      if (changes.enableBasicAuth === true) await mayActAs(ports, caller, found)
      const changed = await accounts.change(project, account, before => ({ ...before, ...changes, updateTime: formatTime(nowUs()) }))
      identity.forget()
      return toJson(changed)
    },
  )
  app.delete(
    ACCOUNT,
    {
      schema: {
        operationId: 'deleteServiceAccount',
        summary: 'Deletes a service account with its keys and memberships; what it has open ends within a second',
        tags,
        params: OneAccount,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, account } = request.params
      const caller = callerIn(request, project, 'admin')
      const found = await accounts.one(project, account)
      await mayEnd(ports, caller, found)
      await accounts.remove(found)
      identity.forget()
      return {}
    },
  )
  addKeyRoutes(app, ports)
}

function addKeyRoutes(app: HttpApp, ports: AccountPorts): void {
  const { accounts, identity, nowUs } = ports
  app.get(
    `${ACCOUNT}/keys`,
    {
      schema: {
        operationId: 'listKeys',
        summary: 'Lists the keys of a service account, without their secrets',
        tags,
        params: OneAccount,
        querystring: Type.Object(PageQuery),
        response: { 200: listOf('keys', KeyAnswer) },
      },
    },
    async request => {
      const { project, account } = request.params
      callerIn(request, project)
      const found = await accounts.one(project, account)
      const after = decodeToken(request.query.pageToken) ?? ''
      const all = (await accounts.keys(account)).filter(({ id }) => id > after)
      const page = all.slice(0, request.query.pageSize)
      const last = all.length > page.length ? page.at(-1) : undefined
      return { keys: page.map(key => keyToJson(found, key)), nextPageToken: last ? encodeToken(last.id) : '' }
    },
  )
  app.get(
    `${ACCOUNT}/keys/:key`,
    { schema: { operationId: 'getKey', summary: 'Gets a key, without its secret', tags, params: OneKey, response: { 200: KeyAnswer } } },
    async request => {
      const { project, account, key } = request.params
      callerIn(request, project)
      const found = await accounts.one(project, account)
      return keyToJson(found, await accounts.key(account, key))
    },
  )
  app.post(
    `${ACCOUNT}/keys`,
    { schema: { operationId: 'createKey', summary: 'Creates a key', tags, params: OneAccount, response: { 200: NewKeyAnswer } } },
    async request => {
      const { project, account } = request.params
      const caller = callerIn(request, project, 'admin')
      const found = await accounts.one(project, account)
      await mayActAs(ports, caller, found)
      const secret = newSecret()
      const key = { id: newId(), account, secret: identity.seal(secret), createTime: formatTime(nowUs()) }
      await accounts.addKey(key)
      return { key: keyToJson(found, key), secret }
    },
  )
  app.delete(
    `${ACCOUNT}/keys/:key`,
    {
      schema: {
        operationId: 'deleteKey',
        summary: 'Deletes a key; what it has open ends within a second',
        tags,
        params: OneKey,
        response: { 200: Empty },
      },
    },
    async request => {
      const { project, account, key } = request.params
      const caller = callerIn(request, project, 'admin')
      await mayEnd(ports, caller, await accounts.one(project, account))
      await accounts.removeKey(account, key)
      identity.forget()
      return {}
    },
  )
}

/** A key of an account gives all that the account may, in other projects too: nobody makes one who may not do all that himself. */
async function mayActAs({ members }: AccountPorts, caller: Caller, account: Account): Promise<void> {
  const grants = Object.entries(await members.of(account.id))
  if (grants.every(([scope, role]) => holds(caller, scope, role as Role))) return
  throw new Failure('forbidden', `service account ${account.id} has roles elsewhere that the caller does not have`)
}

function holds(caller: Caller, scope: string, role: Role): boolean {
  const [kind, id = ''] = scope.split('/')
  return kind === 'organizations' ? caller.organizations?.includes(id) === true : covers(roleIn(caller, id), role)
}

/** Where it was made an account can be ended, whatever it is a member of; but who administers the organisation there is ended by its equals. */
async function mayEnd({ members, projects }: AccountPorts, caller: Caller, account: Account): Promise<void> {
  const [home] = await projects.several([account.project])
  const grants = await members.of(account.id)
  if (home === undefined || !Object.hasOwn(grants, `organizations/${home.organization}`)) return
  if (caller.organizations?.includes(home.organization)) return
  throw new Failure('forbidden', `service account ${account.id} administers the organization; the caller does not`)
}

function nameOf({ project, id }: Account): string {
  return `projects/${project}/serviceaccounts/${id}`
}

function toJson(account: Account) {
  const { email, displayName, enableBasicAuth, createTime, updateTime } = account
  return { name: nameOf(account), email, displayName, enableBasicAuth, createTime, updateTime }
}

function keyToJson(account: Account, { id, createTime }: Key) {
  return { name: `${nameOf(account)}/keys/${id}`, id, createTime }
}
