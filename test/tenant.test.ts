// Tenants: organisations, projects and members; nobody learns of what is not theirs; every change stands in the audit.
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { address, STREAMS, speakMacrometa } from './macrometa.ts'
import { callWith, done, idOf, newAccount, newProject, type Somebody, text } from './tenant.ts'
import { eventually, type Json, type Key, removeDirectories, startTelltale, type Telltale } from './world.ts'

let telltale: Telltale
beforeAll(async () => {
  telltale = await startTelltale()
})
afterAll(async () => {
  await telltale.remove()
  await removeDirectories()
})

const basicOf = ({ keyId, secret }: Key) => `Basic ${Buffer.from(`${keyId}:${secret}`).toString('base64')}`
const listed = async (path: string, key: string) => (await done(telltale.http(path)))[key] as Json[]

describe('a project', () => {
  test('is made, found, renamed and deleted in the shape of the dialect', async () => {
    const made = await done(telltale.send('POST', '/v2/projects', { displayName: 'Cold store', organization: 'organizations/default' }))
    const id = idOf(made['name'])
    expect(made).toEqual({
      name: `projects/${id}`,
      displayName: 'Cold store',
      organization: 'organizations/default',
      organizationDisplayName: 'Default',
      sensorCount: 0,
      cloudConnectorCount: 0,
      inventory: false,
    })
    expect(id).toMatch(/^[0-9a-v]{20}$/)
    expect(await done(telltale.http(`/v2/projects/${id}`))).toEqual(made)
    expect(await listed('/v2/projects?query=OLD%20st', 'projects')).toEqual([made])
    expect(await listed('/v2/projects?query=nothing', 'projects')).toEqual([])
    expect(await listed('/v2/projects?organization=organizations/default', 'projects')).toContainEqual(made)
    expect(await listed('/v2/projects?organization=organizations/other', 'projects')).toEqual([])
    expect(await done(telltale.send('PATCH', `/v2/projects/${id}`, { displayName: 'Warm store' }))).toMatchObject({
      displayName: 'Warm store',
    })
    expect(await done(telltale.http(`/v2/projects/${id}`, { method: 'DELETE' }))).toEqual({})
    expect((await telltale.http(`/v2/projects/${id}`)).status).toBe(404)
  })

  test('that is made while everything runs is judged, stored, streamed and announced', async () => {
    const project = await newProject(telltale)
    const stream = await telltale.stream('', { path: `/v2/projects/${project}/devices:stream` })
    const alarms = await telltale.stream('', { path: `/v2/projects/${project}/alarms:stream` })
    const client = await telltale.mqtt()
    const announced: string[] = []
    client.on('message', topic => announced.push(topic))
    const hot = { select: { devices: ['kettle'] }, when: { threshold: { field: 'temperature.value', above: 90 } } }
    await done(telltale.send('PUT', `/v2/projects/${project}/rules/hot`, hot))
    await done(telltale.send('POST', `/v2/projects/${project}/devices/kettle:publish`, { temperature: { value: 99 } }))
    const [event] = await stream.have(1)
    expect(event).toMatchObject({ targetName: `projects/${project}/devices/kettle`, eventType: 'temperature' })
    await eventually(() => expect(alarms.alarms()).toMatchObject([{ rule: 'hot', device: 'kettle', state: 'active' }]))
    await eventually(async () => expect(await listed(`/v2/projects/${project}/devices/kettle/events`, 'events')).toHaveLength(1))
    await eventually(async () =>
      expect(await listed(`/v2/projects/${project}/devices`, 'devices')).toMatchObject([{ reported: { temperature: { value: 99 } } }]),
    )
    await client.subscribeAsync(`projects/${project}/alarms/#`, { qos: 1 })
    await eventually(() => expect(announced).toContain(`projects/${project}/alarms/hot/kettle`))
    await done(telltale.send('PUT', `/v2/projects/${project}/devices/gate`, { type: 'ccon' }))
    expect(await done(telltale.http(`/v2/projects/${project}`))).toMatchObject({ sensorCount: 1, cloudConnectorCount: 1 })
    for (const reader of [stream, alarms]) reader.close()
    await client.endAsync()
  })

  test('with devices is not deleted, and goes on', async () => {
    const project = await newProject(telltale)
    await done(telltale.send('POST', `/v2/projects/${project}/devices/d1:publish`, { temperature: { value: 1 } }))
    const { status, json } = await telltale.http(`/v2/projects/${project}`, { method: 'DELETE' })
    expect([status, json['error']]).toEqual([400, expect.stringContaining('devices')])
    await done(telltale.send('POST', `/v2/projects/${project}/devices/d1:publish`, { temperature: { value: 2 } }))
  })

  test('into which something comes while it is being deleted stays', async () => {
    const project = await newProject(telltale)
    const sender = request(`${telltale.url()}/v2/projects/${project}/devices/late:publish`, {
      method: 'POST',
      headers: { authorization: basicOf(telltale.key), expect: '100-continue' },
    })
    const answered = once(sender, 'response')
    sender.flushHeaders()
    await once(sender, 'continue')
    const deleted = telltale.http(`/v2/projects/${project}`, { method: 'DELETE' })
    await eventually(async () => expect((await telltale.http(`/v2/projects/${project}`)).status).toBe(404), 900)
    sender.end('{"temperature":{"value":1}}')
    const [{ statusCode }] = (await answered) as [IncomingMessage]
    expect([statusCode, (await deleted).status]).toEqual([200, 400])
    expect(await done(telltale.http(`/v2/projects/${project}/devices/late`))).toMatchObject({ name: expect.stringMatching(/late$/) })
  })

  test('is deleted with its accounts, whatever they are elsewhere in the organization', async () => {
    const project = await newProject(telltale)
    const somebody = await newAccount(telltale, project, { 'projects/default': 'project.user' })
    expect((await somebody.call('GET', '/v2/projects/default')).status).toBe(200)
    await done(telltale.http(`/v2/projects/${project}`, { method: 'DELETE' }))
    expect((await somebody.call('GET', '/v2/projects/default')).status).toBe(401)
    expect((await telltale.http(`/v2/projects/default/members/${somebody.id}`)).status).toBe(404)
  })

  test('with data connectors is not deleted', async () => {
    const project = await newProject(telltale)
    const connector = { type: 'HTTP_PUSH', displayName: 'c', httpConfig: { url: 'https://hook.example/in' } }
    await done(telltale.send('POST', `/v2/projects/${project}/dataconnectors`, connector))
    const { status, json } = await telltale.http(`/v2/projects/${project}`, { method: 'DELETE' })
    expect([status, json['error']]).toEqual([400, expect.stringContaining('data connectors')])
  })

  test('lists in pages', async () => {
    const mine = await newProject(telltale, 'paged')
    const names = [mine, await newProject(telltale, 'paged'), await newProject(telltale, 'paged')].toSorted()
    const first = await done(telltale.http('/v2/projects?query=paged&page_size=2'))
    const second = await done(telltale.http(`/v2/projects?query=paged&page_size=2&page_token=${text(first, 'nextPageToken')}`))
    expect([first, second].flatMap(page => (page['projects'] as Json[]).map(one => idOf(one['name'])))).toEqual(names)
    expect(second['nextPageToken']).toBe('')
  })
})

describe('an organization', () => {
  test('belongs to who made it, with everything in its projects', async () => {
    const made = await done(telltale.send('POST', '/v2/organizations', { displayName: 'Dairy' }))
    const path = `/v2/${text(made, 'name')}`
    expect(made).toEqual({ name: expect.stringMatching(/^organizations\/[0-9a-v]{20}$/), displayName: 'Dairy' })
    expect(await listed('/v2/organizations', 'organizations')).toContainEqual(made)
    expect(await done(telltale.send('PATCH', path, { displayName: 'Dairy 2' }))).toMatchObject({ displayName: 'Dairy 2' })
    const project = idOf((await done(telltale.send('POST', '/v2/projects', { displayName: 'P', organization: made['name'] })))['name'])
    const admin = await newAccount(telltale, project, { [made['name'] as string]: 'organization.admin' })
    expect((await done(admin.call('GET', '/v2/organizations')))['organizations']).toMatchObject([{ name: made['name'] }])
    expect((await done(admin.call('GET', '/v2/projects')))['projects']).toMatchObject([{ name: `projects/${project}` }])
    await done(admin.call('POST', `/v2/projects/${project}/devices/d1:publish`, { temperature: { value: 1 } }))
    const another = await done(admin.call('POST', '/v2/projects', { displayName: 'Q', organization: made['name'] }))
    await done(admin.call('PATCH', `/v2/${text(another, 'name')}`, { displayName: 'Q2' }))
    expect((await done(admin.call('GET', `/v2/projects/${project}/permissions`)))['permissions']).toContain('project.create')
    expect((await done(admin.call('GET', `${path}/permissions`)))['permissions']).toContain('organization.update')
    for (const list of [`/v2/projects/${project}/permissions`, `${path}/permissions`]) {
      const first = await done(admin.call('GET', `${list}?pageSize=2`))
      expect(first['permissions']).toHaveLength(2)
      const second = await done(admin.call('GET', `${list}?pageSize=1&pageToken=${text(first, 'nextPageToken')}`))
      expect(first['permissions']).not.toContain((second['permissions'] as string[])[0])
    }
    expect((await admin.call('DELETE', path)).status).toBe(409)
    expect((await admin.call('GET', '/v2/organizations/default')).status).toBe(404)
    const foreign = await admin.call('POST', '/v2/projects', { displayName: 'R', organization: 'organizations/default' })
    expect([foreign.status, foreign.json['error']]).toEqual([404, 'organization default does not exist'])
  })

  test('without projects is deleted, and only admins of one make others', async () => {
    const brief = text(await done(telltale.send('POST', '/v2/organizations', { displayName: 'Brief' })), 'name')
    expect(await done(telltale.http(`/v2/${brief}`, { method: 'DELETE' }))).toEqual({})
    expect((await telltale.http(`/v2/${brief}`)).status).toBe(404)
    const projectAdmin = await newAccount(telltale, 'default', { 'projects/default': 'project.admin' })
    expect((await projectAdmin.call('POST', '/v2/organizations', { displayName: 'Mine' })).status).toBe(403)
    expect((await done(projectAdmin.call('GET', '/v2/organizations')))['organizations']).toEqual([])
  })
})

describe('a member', () => {
  test('is made, shown, changed and removed in the shape of the dialect', async () => {
    const somebody = await newAccount(telltale, 'default')
    const members = '/v2/projects/default/members'
    const made = await done(telltale.send('POST', members, { email: somebody.email, roles: ['roles/project.user'] }))
    expect(made).toEqual({
      name: `projects/default/members/${somebody.id}`,
      displayName: 'somebody',
      roles: ['roles/project.user'],
      status: 'ACCEPTED',
      email: somebody.email,
      accountType: 'SERVICE_ACCOUNT',
      createTime: expect.stringMatching(/\.\d{6}Z$/),
    })
    expect(await done(telltale.http(`/v2/${text(made, 'name')}`))).toEqual(made)
    expect(await listed(members, 'members')).toContainEqual(made)
    expect((await telltale.send('POST', members, { email: somebody.email, roles: ['roles/project.admin'] })).status).toBe(409)
    const patched = await done(telltale.send('PATCH', `/v2/${text(made, 'name')}`, { roles: ['roles/project.developer'] }))
    expect(patched).toEqual({ ...made, roles: ['roles/project.developer'] })
    await done(somebody.call('POST', '/v2/projects/default/devices/d1:publish', { temperature: { value: 1 } }))
    const invitation = await telltale.http(`/v2/${text(made, 'name')}:getInviteUrl`)
    expect([invitation.status, invitation.json['error']]).toEqual([400, expect.stringContaining('no invitation')])
    expect(await done(telltale.http(`/v2/${text(made, 'name')}`, { method: 'DELETE' }))).toEqual({})
    expect((await somebody.call('GET', '/v2/projects/default')).status).toBe(404)
    expect((await telltale.http(`/v2/${text(made, 'name')}`)).status).toBe(404)
  })

  test.each([
    [{ email: 'person@example.com', roles: ['roles/project.user'] }, 'email'],
    [{ roles: ['roles/project.user'] }, 'email'],
    [{ serviceAccount: 'projects/default/serviceaccounts/nobody', roles: ['roles/project.user'] }, 'serviceAccount'],
    [{ email: 'admin@localhost', roles: ['roles/project.owner'] }, 'roles'],
    [{ email: 'admin@localhost', roles: ['roles/organization.admin'] }, 'roles'],
    [{ email: 'admin@localhost', roles: ['constructor'] }, 'roles'],
    [{ email: 'admin@localhost', roles: [] }, 'body.roles'],
    [{ email: 'admin@localhost', roles: ['roles/project.user', 'roles/project.admin'] }, 'body.roles'],
    [{ email: 'admin@localhost' }, 'body.roles'],
  ])('is not made of %j', async (body, field) => {
    const { status, json } = await telltale.send('POST', '/v2/projects/default/members', body)
    expect([status, json['field']]).toEqual([400, field])
  })

  test('has the roles that are listed', async () => {
    const roles = await listed('/v2/roles', 'roles')
    expect(roles.map(role => role['name'])).toEqual([
      'roles/project.user',
      'roles/project.developer',
      'roles/project.admin',
      'roles/organization.admin',
    ])
    expect(await done(telltale.http('/v2/roles/project.user'))).toEqual(roles[0])
    expect((await telltale.http('/v2/roles/constructor')).status).toBe(404)
  })
})

describe('a stranger', () => {
  let theirs: string
  let stranger: Somebody
  let organization: string
  beforeAll(async () => {
    organization = text(await done(telltale.send('POST', '/v2/organizations', { displayName: 'Strangers' })), 'name')
    theirs = idOf((await done(telltale.send('POST', '/v2/projects', { displayName: 'Theirs', organization })))['name'])
    stranger = await newAccount(telltale, theirs, { [organization]: 'organization.admin' })
  })

  test('makes nobody a member of theirs who belongs to others: they exist as little as those who do not', async () => {
    const project = await newProject(telltale)
    const victim = await newAccount(telltale, project, { [`projects/${project}`]: 'project.user' })
    for (const [scope, role] of [
      [`projects/${theirs}`, 'project.user'],
      [organization, 'organization.admin'],
    ]) {
      const ask = (who: object) => stranger.call('POST', `/v2/${scope}/members`, { ...who, roles: [`roles/${role}`] })
      for (const [known, unknown] of [
        [{ email: victim.email }, { email: 'nobody@nowhere' }],
        [{ serviceAccount: victim.name }, { serviceAccount: `projects/${project}/serviceaccounts/nobody` }],
      ] as const) {
        const [answer, wanted] = [await ask(known), await ask(unknown)]
        expect([answer.status, answer.text]).toEqual([400, wanted.text])
      }
    }
    expect(Object.keys((await done(victim.call('GET', '/v2/projects')))['projects'] as Json[])).toHaveLength(1)
    // Who administers both may, and who administers the home ends it whatever it is there.
    await done(telltale.send('POST', `/v2/projects/${theirs}/members`, { email: victim.email, roles: ['roles/project.admin'] }))
    const warden = await newAccount(telltale, project, { [`projects/${project}`]: 'project.admin' })
    await done(warden.call('DELETE', `/v2/${victim.name}/keys/${victim.keyId}`))
    await done(warden.call('DELETE', `/v2/${victim.name}`))
    expect((await stranger.call('GET', `/v2/projects/${theirs}/members/${victim.id}`)).status).toBe(404)
  })

  test('who administers an organization of theirs is ended at home all the same', async () => {
    const project = await newProject(telltale)
    const guest = await newAccount(telltale, project, { [organization]: 'organization.admin' })
    const warden = await newAccount(telltale, project, { [`projects/${project}`]: 'project.admin' })
    await done(warden.call('DELETE', `/v2/${guest.name}`))
    expect((await stranger.call('GET', `/v2/${organization}/members/${guest.id}`)).status).toBe(404)
  })

  test('of another project of the same organization is made a member there, as programs of the dialect do', async () => {
    const [one, other] = [await newProject(telltale), await newProject(telltale)]
    const guest = await newAccount(telltale, one)
    const admin = await newAccount(telltale, other, { [`projects/${other}`]: 'project.admin' })
    await done(admin.call('POST', `/v2/projects/${other}/members`, { email: guest.email, roles: ['roles/project.user'] }))
    expect((await guest.call('GET', `/v2/projects/${other}`)).status).toBe(200)
  })
})

describe('a role', () => {
  const roles = ['user', 'developer', 'admin'] as const
  const people = new Map<string, Somebody>()
  let project: string
  beforeAll(async () => {
    project = await newProject(telltale)
    for (const role of roles) people.set(role, await newAccount(telltale, project, { [`projects/${project}`]: `project.${role}` }))
  })

  /** The least role that may do it. */
  test.each([
    ['GET', '', 'user'],
    ['GET', '/members', 'user'],
    ['GET', '/serviceaccounts', 'user'],
    ['GET', '/permissions', 'user'],
    ['POST', '/devices/d1:publish', 'developer', { temperature: { value: 1 } }],
    ['PATCH', '', 'admin', { displayName: 'renamed' }],
    ['POST', '/serviceaccounts', 'admin', {}],
    ['PATCH', '/serviceaccounts/nobody', 'admin', { displayName: 'x' }],
    ['DELETE', '/serviceaccounts/nobody', 'admin'],
    ['POST', '/serviceaccounts/nobody/keys', 'admin'],
    ['DELETE', '/serviceaccounts/nobody/keys/k', 'admin'],
    ['POST', '/members', 'admin', { email: 'nobody', roles: ['roles/project.user'] }],
    ['PATCH', '/members/nobody', 'admin', {}],
    ['DELETE', '/members/nobody', 'admin'],
    ['DELETE', '', 'admin'],
    ['GET', '/audit', 'admin'],
  ] as const)('may %s %s from %s on', async (method, path, least, body?: object) => {
    for (const role of roles) {
      const { status } = (await people.get(role)?.call(method, `/v2/projects/${project}${path}`, body)) ?? { status: 0 }
      const allowed = roles.indexOf(role) >= roles.indexOf(least)
      expect([role, allowed ? status !== 403 : status]).toEqual([role, allowed ? true : 403])
      expect(status).toBeLessThan(500)
    }
  })

  test('of an admin of one project makes nobody more than that', async () => {
    const admin = people.get('admin') as Somebody
    const stronger = await newAccount(telltale, project, { [`projects/${project}`]: 'project.user', 'projects/default': 'project.user' })
    // A key of it, or Basic for it, would be a way into the other project.
    expect((await admin.call('POST', `/v2/${stronger.name}/keys`)).status).toBe(403)
    expect((await admin.call('PATCH', `/v2/${stronger.name}`, { enableBasicAuth: true })).status).toBe(403)
    // Ending it is no gain.
    expect((await admin.call('DELETE', `/v2/${stronger.name}/keys/${stronger.keyId}`)).status).toBe(200)
    const homeAdmin = await newAccount(telltale, 'default', { 'projects/default': 'project.admin' })
    const first = `/v2/projects/default/serviceaccounts/${telltale.key.keyId}`
    expect((await homeAdmin.call('POST', `${first}/keys`)).status).toBe(403)
    expect((await homeAdmin.call('DELETE', first)).status).toBe(403)
    expect((await homeAdmin.call('DELETE', `${first}/keys/${telltale.key.keyId}`)).status).toBe(403)
  })

  test('of an account in one project gives no hold on its keys to another in which it is a member', async () => {
    const other = await newProject(telltale)
    const guest = await newAccount(telltale, project, { [`projects/${other}`]: 'project.user' })
    const admin = await newAccount(telltale, other, { [`projects/${other}`]: 'project.admin' })
    expect((await admin.call('GET', `/v2/projects/${other}/members/${guest.id}`)).status).toBe(200)
    for (const at of [other, project]) expect((await admin.call('GET', `/v2/projects/${at}/serviceaccounts/${guest.id}`)).status).toBe(404)
    expect((await admin.call('POST', `/v2/projects/${other}/serviceaccounts/${guest.id}/keys`)).status).toBe(404)
  })
})

test('what belongs to others answers on every route as what does not exist', async () => {
  const project = await newProject(telltale)
  await done(telltale.send('POST', `/v2/projects/${project}/devices/d1:publish`, { temperature: { value: 1 } }))
  const resident = await newAccount(telltale, project, { [`projects/${project}`]: 'project.admin' })
  const outsider = await (await newAccount(telltale, 'default', { 'projects/default': 'project.admin' })).token()
  const fill = (path: string, id: string) =>
    path
      .replace(/\{(project|organization|parent)\}/, id)
      .replace(/\{(account|member)\}/, resident.id)
      .replace('{key}', resident.keyId)
      .replace('{device}', 'd1')
      .replace(/\{\w+\}/g, 'x')
  const asked = async (method: string, path: string, id: string, body: object | undefined) => {
    const { status, text } = await callWith(telltale, outsider, method, fill(path, id), body)
    return { status, text: text.replaceAll(id, 'ID') }
  }
  const differing: unknown[] = []
  for (const [method, path] of await routes()) {
    const theirs = path.includes('/organizations/') ? 'default' : project
    for (const body of method === 'GET' ? [undefined] : [{}, bodyFor(path)]) {
      const found = await asked(method, path, theirs, body)
      const wanted = await asked(method, path, 'cr1tq0gd2kq0f5m3n780', body)
      const refused = found.status === 404 || found.status === 400
      if (JSON.stringify(found) !== JSON.stringify(wanted) || !refused) differing.push([method, path, found, wanted])
    }
  }
  expect(differing).toEqual([])
  // It still works for who belongs there.
  expect((await resident.call('GET', `/v2/projects/${project}/devices/d1`)).status).toBe(200)
})

/** All that are about one project or organisation, as the API's own document lists them. */
async function routes(): Promise<(readonly [method: string, path: string])[]> {
  const { paths } = (await done(telltale.http('/openapi.json'))) as { paths: Record<string, object> }
  const all = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map(method => [method.toUpperCase(), path] as const))
  const found = all.filter(([, path]) => /^\/(emulator\/)?v2\/(projects|organizations)\/\{/.test(path))
  expect(found.length).toBeGreaterThan(40)
  return found
}

/** Something that passes the schema of routes that this test knows, so that the refusal comes from the handler. */
function bodyFor(path: string): object {
  if (path.endsWith('/members')) return { email: 'admin@localhost', roles: ['roles/project.user'] }
  if (path.endsWith('/members/{member}')) return { roles: ['roles/project.user'] }
  if (path.endsWith('/events')) return { targetName: 'x', eventType: 'temperature', data: { temperature: { value: 1 } } }
  if (path.endsWith(':publish')) return { temperature: { value: 1 } }
  return { displayName: 'x' }
}

describe('what is open', () => {
  test('ends within a second when the key, the account or the role of its caller goes', async () => {
    const project = await newProject(telltale)
    const ends: [string, (who: Somebody) => string][] = [
      ['key', who => `/v2/${who.name}/keys/${who.keyId}`],
      ['account', who => `/v2/${who.name}`],
      ['role', who => `/v2/projects/${project}/members/${who.id}`],
    ]
    for (const [what, path] of ends) {
      const somebody = await newAccount(telltale, project, { [`projects/${project}`]: 'project.developer' })
      const stream = await telltale.stream('', {
        path: `/v2/projects/${project}/devices:stream`,
        headers: { authorization: `Bearer ${await somebody.token()}` },
      })
      const client = await telltale.mqtt({ username: somebody.keyId, password: somebody.secret })
      await done(telltale.http(path(somebody), { method: 'DELETE' }))
      const since = performance.now()
      await eventually(() => expect([what, stream.hasEnded(), client.connected]).toEqual([what, true, false]), 3000)
      expect(performance.now() - since).toBeLessThan(1000)
      await client.endAsync(true)
    }
  })
})

describe('the audit', () => {
  test('has who changed what, with which result, and no secret', async () => {
    const project = await newProject(telltale, 'Audited')
    const somebody = await newAccount(telltale, project, { [`projects/${project}`]: 'project.developer' })
    await somebody.call('DELETE', `/v2/projects/${project}/members/x?token=leak`)
    await done(telltale.send('POST', `/v2/projects/${project}/devices/d1:publish`, { temperature: { value: 1 } }))
    const { text, json } = await telltale.http(`/v2/projects/${project}/audit`)
    const records = json['records'] as Json[]
    expect(records.map(({ method, path, status, resource }) => [method, path, status, resource])).toEqual([
      ['DELETE', `/v2/projects/${project}/members/x`, 403, ''],
      ['POST', `/v2/projects/${project}/members`, 200, `projects/${project}/members/${somebody.id}`],
      ['POST', `/v2/${somebody.name}/keys`, 200, `${somebody.name}/keys/${somebody.keyId}`],
      ['POST', `/v2/projects/${project}/serviceaccounts`, 200, somebody.name],
      ['POST', '/v2/projects', 200, `projects/${project}`],
    ])
    expect(records[0]).toMatchObject({ keyId: somebody.keyId, account: somebody.email, time: expect.stringMatching(/Z$/) })
    expect(records[0]?.['requestId']).not.toBe('')
    for (const secret of [somebody.secret, telltale.key.secret, 'leak']) expect(text).not.toContain(secret)
  })

  test('is read in pages by admins', async () => {
    const project = await newProject(telltale)
    for (let i = 0; i < 5; i++) await done(telltale.send('PATCH', `/v2/projects/${project}`, { displayName: `${i}` }))
    const seen: unknown[] = []
    for (let token = ''; ; ) {
      const page = await done(telltale.http(`/v2/projects/${project}/audit?page_size=2&page_token=${token}`))
      seen.push(...(page['records'] as Json[]).map(record => record['id']))
      token = page['nextPageToken'] as string
      if (token === '') break
    }
    expect([seen.length, new Set(seen).size]).toEqual([6, 6])
    const forged = Buffer.from('1-1) FLUSHALL').toString('base64url')
    expect((await telltale.http(`/v2/projects/${project}/audit?page_token=${forged}`)).status).toBe(400)
  })

  test('of an organization has the projects that were made and deleted in it', async () => {
    const project = await newProject(telltale)
    await done(telltale.http(`/v2/projects/${project}`, { method: 'DELETE' }))
    const [deleted, made] = await listed('/v2/organizations/default/audit', 'records')
    expect(deleted).toMatchObject({ method: 'DELETE', path: `/v2/projects/${project}`, status: 200 })
    expect(made).toMatchObject({ method: 'POST', path: '/v2/projects', resource: `projects/${project}` })
  })

  test('of the project at home has the organizations that an account made and deleted', async () => {
    const maker = await newAccount(telltale, await newProject(telltale), { 'organizations/default': 'organization.admin' })
    const brief = text(await done(maker.call('POST', '/v2/organizations', { displayName: 'Brief' })), 'name')
    await done(maker.call('DELETE', `/v2/${brief}`))
    const home = maker.name.split('/').slice(0, 2).join('/')
    expect((await listed(`/v2/${home}/audit`, 'records')).slice(0, 2)).toMatchObject([
      { method: 'DELETE', path: `/v2/${brief}`, status: 200, account: maker.email },
      { method: 'POST', path: '/v2/organizations', status: 200, resource: brief },
    ])
  })

  test('has a change however its path is written', async () => {
    const project = await newProject(telltale)
    const written = project.replace(/./g, character => `%${character.charCodeAt(0).toString(16)}`)
    await done(telltale.send('PATCH', `/v2/projects/${written}`, { displayName: 'x' }))
    await done(telltale.send('PUT', `/v2/projects/${written}/devices/d1`, { type: 'ccon' }))
    expect((await listed(`/v2/projects/${project}/audit`, 'records')).map(({ method }) => method)).toEqual(['PUT', 'PATCH', 'POST'])
  })

  test('of a project has the devices that left it', async () => {
    const [source, target] = [await newProject(telltale), await newProject(telltale)]
    await done(telltale.send('POST', `/v2/projects/${source}/devices/d1:publish`, { temperature: { value: 1 } }))
    const developer = await newAccount(telltale, source, {
      [`projects/${source}`]: 'project.developer',
      [`projects/${target}`]: 'project.admin',
    })
    const moved = { devices: [`projects/${source}/devices/d1`] }
    const path = `/v2/projects/${target}/devices:transfer`
    expect((await done(developer.call('POST', path, moved)))['transferredDevices']).toEqual([])
    await done(telltale.send('POST', path, moved))
    const [record] = await listed(`/v2/projects/${source}/audit`, 'records')
    expect(record).toMatchObject({ method: 'POST', path, status: 200, account: 'admin@localhost' })
  })

  test('has the streams that were made and changed, in whichever dialect, and none of what was appended', async () => {
    const project = await newProject(telltale)
    const { keyId, secret, token } = await newAccount(telltale, project, { [`projects/${project}`]: 'project.developer' })
    const streams = `/v2/projects/${project}/streams`
    await done(telltale.send('POST', streams, { name: 'a/b' }))
    await done(telltale.send('POST', `${streams}/a%2Fb/subscriptions`, { name: 's' }))
    await done(telltale.send('POST', `${streams}/a%2Fb/messages`, { text: 'x' }))
    const macrometa = speakMacrometa(() => telltale)
    const authorization = macrometa.apiKey({ keyId, secret }, project)
    for (const [method, path] of [
      ['POST', 'm'],
      ['POST', 'c8globals.m/publish'],
      ['POST', 'clearbacklog'],
      ['POST', 'm'],
    ] as const)
      await macrometa.ask(method, `${STREAMS}/${path}`, { authorization, body: 'x' })
    const socket = `${address('consumer', 'c8globals.m', { subscription: 's' }).replace('/default/', `/${project}/`)}subscriptionType=Shared`
    const consumer = await macrometa.open(socket, authorization)
    consumer.send({ type: 'unsubscribe' })
    await consumer.closed
    await macrometa.ask('DELETE', `${STREAMS}/c8globals.m`, { authorization })
    const headers = { authorization: `Bearer ${await token()}`, 'content-type': 'application/json; charset=utf-8' }
    const signIn = JSON.stringify({ username: `${keyId}@${project}`, connection_token: secret })
    const { jwt } = (
      await telltale.http('/auth/authenticate', { method: 'POST', headers: { 'content-type': 'application/json' }, body: signIn })
    ).json
    const json = { authorization: `Bearer ${String(jwt)}`, 'content-type': 'application/json' }
    for (let i = 0; i < 2; i++)
      await done(telltale.http('/stations/station/produce/single', { method: 'POST', headers: json, body: '{"a":1}' }))
    const [event, producer] = ['/api/v1/streams/events/events', { 'x-producer-id': 'b2a5a5a0-7d1f-4f0e-9c63-0f4a4d6f6e11' }]
    for (let i = 0; i < 2; i++) {
      const body = JSON.stringify({
        event: { name: 'began', version: 1 },
        system: { id: '1', name: 'gateway', time: '2026-03-02 06:41:09', timezone: 'UTC' },
        trigger: { type: 'user', name: 'somebody' },
        payload: { a: 1 },
      })
      await done(telltale.http(event, { method: 'POST', headers: { ...headers, ...producer }, body }))
    }
    const made = (await listed(`/v2/projects/${project}/audit`, 'records')).filter(
      ({ path }) => !/members|account|keys|projects$/.test(String(path)),
    )
    const resource = (name: string) => `projects/${project}/streams/${name}`
    expect(made.map(one => [one['method'], one['path'], one['status'], one['resource']]).toReversed()).toEqual([
      ['POST', streams, 200, resource('a%2Fb')],
      ['POST', `${streams}/a%2Fb/subscriptions`, 200, resource('a%2Fb/subscriptions/s')],
      ['POST', `${STREAMS}/m`, 200, resource('m')],
      ['POST', `${STREAMS}/clearbacklog`, 200, `projects/${project}`],
      ['POST', `${STREAMS}/m`, 409, resource('m')],
      ['UNSUBSCRIBE', socket.split('?')[0], 200, resource('m/subscriptions/s')],
      ['DELETE', `${STREAMS}/c8globals.m`, 200, resource('m')],
      ['POST', '/stations/station/produce/single', 200, resource('station')],
      ['POST', event, 200, resource('events')],
    ])
  })

  test('is not written by outsiders', async () => {
    const project = await newProject(telltale)
    const outsider = await newAccount(telltale, 'default', { 'projects/default': 'project.admin' })
    expect((await outsider.call('PATCH', `/v2/projects/${project}`, { displayName: 'x' })).status).toBe(404)
    expect(await listed(`/v2/projects/${project}/audit`, 'records')).toHaveLength(1)
  })
})
