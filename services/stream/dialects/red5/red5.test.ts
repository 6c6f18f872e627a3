// The Red5 dialect row by row, without sockets: contracts.md 5, over nodes and streams that are in a real Redis.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { Identity } from '../../../../packages/identity/identity.ts'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../../../../packages/log/fixture.ts'
import { type HttpApp, openHttp, type Rate } from '../../../../packages/runtime/http.ts'
import { openLogger } from '../../../../packages/runtime/logger.ts'
import { Audit } from '../../../../packages/state/audit.ts'
import { Directory } from '../../../../packages/state/directory.ts'
import { Heartbeat } from '../../../../packages/state/heartbeat.ts'
import { type NodeFacts, Nodes } from '../../../../packages/state/node.ts'
import { FIRST_ORGANIZATION, Organizations } from '../../../../packages/state/organization.ts'
import { Presence } from '../../../../packages/state/presence.ts'
import { Projects } from '../../../../packages/state/project.ts'
import { addRed5, type Red5Ports } from './red5.ts'

type Body = Readonly<Record<string, unknown>>

const VERSIONS = ['1.0', '2.0', '3.0', '3.1', '4.0']
const OPERATOR = 'the secret of the operator'
const TENANT = 'the secret of a tenant'
const limits = { manage: undefined, ingest: undefined }

describe.skipIf(installed === undefined)('the Red5 dialect', () => {
  let server: TestRedis
  let identity: Identity
  let nodes: Nodes
  let app: HttpApp
  const [ours, theirs] = [freshProject(), freshProject()]
  const presences: Presence[] = []
  const heartbeats: Heartbeat[] = []

  async function openApp(change: Partial<Red5Ports> = {}, manage?: Rate): Promise<HttpApp> {
    const opened = await openHttp({ identity, log: openLogger('silent'), version: '1', limits: { ...limits, manage } })
    const ports = { directory: new Directory(nodes), identity, audit: new Audit(server.redis), open: [ours], ...change }
    addRed5(opened, ports)
    return opened
  }

  async function startNode(id: string, change: Partial<NodeFacts>): Promise<void> {
    const presence = new Presence((await nodes.list()).nowMs)
    const fixed = { id, address: id, region: 'local', roles: ['gateway', 'stream'], connections: 0, capacity: 100, trafficMs: 0 }
    const facts = () => ({ ...fixed, startedMs: 1, ...change })
    const heartbeat = new Heartbeat({
      nodes,
      presence,
      facts,
      troubled: error => expect(error).toBeUndefined(),
      crossed: () => {},
      paceMs: 50,
    })
    await heartbeat.start()
    presences.push(presence)
    heartbeats.push(heartbeat)
  }

  beforeAll(async () => {
    server = await openTestRedis()
    nodes = new Nodes(server.redis)
    identity = new Identity(await server.connect('producer'), 'a secret key of more than thirty-two characters')
    await new Organizations(server.redis).add({ id: FIRST_ORGANIZATION, displayName: 'Default' })
    await new Organizations(server.redis).add({ id: 'tenants', displayName: 'Tenants' })
    await new Projects(server.redis).add(ours)
    await new Projects(server.redis).add(theirs, 'Theirs', 'tenants')
    await identity.put('operator', OPERATOR, 'operator@test', { [ours]: 'admin' }, [FIRST_ORGANIZATION])
    await identity.settleAdminKey('operator')
    await identity.put('tenant', TENANT, 'tenant@test', { [theirs]: 'admin' })
    await identity.put('reader', TENANT, 'reader@test', { [theirs]: 'user' })
    await startNode('10.0.4.11', { region: 'eu-north-1', connections: 10 })
    await startNode('10.0.4.12', { region: 'eu-west-1', connections: 20 })
    await startNode('10.0.9.1:8080', { region: 'us-east-1', connections: 1, roles: ['stream'] })
    presences[0]?.connected(ours, 'dock-cam')
    presences[0]?.connected(ours, 'yard/gate')
    presences[1]?.connected(theirs, 'secret-cam')
    presences[1]?.followed(ours, 'dock-cam')
    presences[0]?.produced(ours, 'devices')
    app = await openApp({ open: 'all' })
    await until('all are published', async () => (await list('2.0')).length === 4)
    await until('one follows', async () => (await call('/2.0/event/list/stats')).body.some((one: Body) => one['currentSubscribers'] === 1))
    await app.close()
    app = await openApp()
  })
  afterAll(async () => {
    await app.close()
    for (const heartbeat of heartbeats) await heartbeat.stop()
    await identity.close()
    await server.stop()
  })

  type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'OPTIONS'
  async function call(path: string, method: Method = 'GET', headers: Record<string, string> = {}, payload?: string, at = app) {
    const answer = await at.inject({ method, url: `/streammanager/api${path}`, headers, ...(payload === undefined ? {} : { payload }) })
    const { statusCode: status, body: text } = answer
    return { status, headers: answer.headers, text, body: text === '' ? undefined : JSON.parse(text) }
  }
  const list = async (version: string) => (await call(`/${version}/event/list`)).body as Body[]
  const names = (entries: readonly Body[]) => entries.map(({ scope, name }) => `${String(scope)} ${String(name)}`).toSorted()
  const refused = (status: number, message: unknown = expect.any(String)) => ({
    status,
    headers: { 'content-type': expect.stringContaining('application/json') },
    body: { errorMessage: message, timestamp: expect.any(Number) },
  })
  const admin = (path: string, method: Method = 'GET', token = OPERATOR) =>
    call(`${path}${path.includes('?') ? '&' : '?'}accessToken=${encodeURIComponent(token)}`, method)

  describe('sends a publisher', () => {
    it.each(VERSIONS)('to the least busy node, whether the stream is there or not: %s', async version => {
      const { status, body } = await call(`/${version}/event/anything/new-cam?action=broadcast`)
      const where = { name: 'new-cam', serverAddress: '10.0.9.1:8080', region: 'us-east-1' }
      expect([status, body]).toEqual([
        200,
        version === '4.0' ? { ...where, scope: 'anything', type: 'origin' } : { ...where, scope: '/anything' },
      ])
    })

    it.each([
      ['region=eu-west-1', '10.0.4.12', 'eu-west-1'],
      ['region=eu-south-1', '10.0.4.11', 'eu-north-1'],
      ['region=ap-south-1', '10.0.9.1:8080', 'us-east-1'],
      ['geozone=eu', '10.0.4.11', 'eu-north-1'],
      ['region=eu-west-1&strict=True', '10.0.4.12', 'eu-west-1'],
      ['transcode=true', '10.0.9.1:8080', 'us-east-1'],
      ['_=1700000000', '10.0.9.1:8080', 'us-east-1'],
    ])('by %s', async (query, serverAddress, region) => {
      expect((await call(`/2.0/event/live/cam?action=broadcast&${query}`)).body).toMatchObject({ serverAddress, region })
    })

    it('to a gateway with the project’s device stream', async () => {
      expect((await call(`/2.0/event/${ours}/devices?action=broadcast`)).body).toMatchObject({ serverAddress: '10.0.4.11' })
    })

    it('to several nodes in order, when asked for more than one', async () => {
      const { body } = await call('/4.0/event/live/cam?action=broadcast&endpoints=2&region=eu-west-1')
      expect(body.map(({ serverAddress }: Body) => serverAddress)).toEqual(['10.0.4.12', '10.0.4.11'])
      expect((await call('/4.0/event/live/cam?action=broadcast&endpoints=100')).body).toHaveLength(3)
      expect((await call('/4.0/event/live/cam?action=broadcast&endpoints=1')).body).toMatchObject({ name: 'cam' })
    })

    it('nowhere, when only another region has nodes and that is not wanted', async () => {
      expect(await call('/2.0/event/live/cam?action=broadcast&region=ap-south-1&strict=true')).toMatchObject(refused(400))
    })
  })

  describe('sends a viewer', () => {
    it.each(VERSIONS)('of a live stream to an edge: %s', async version => {
      const { status, body } = await call(`/${version}/event/${ours}/dock-cam?action=subscribe&region=eu-north-1`)
      const where = { name: 'dock-cam', serverAddress: '10.0.4.11', region: 'eu-north-1' }
      expect([status, body]).toEqual([200, version === '4.0' ? { ...where, scope: ours, type: 'edge' } : { ...where, scope: `/${ours}` }])
    })

    it('of a stream in a nested scope, and of one whose scope was written with its slash', async () => {
      expect((await call(`/2.0/event/${ours}/yard/gate?action=subscribe`)).body).toMatchObject({ scope: `/${ours}/yard`, name: 'gate' })
      expect((await call(`/2.0/event//${ours}/dock-cam?action=subscribe`)).body).toMatchObject({ scope: `/${ours}`, name: 'dock-cam' })
    })

    it('of nothing else anywhere', async () => {
      for (const stream of [`${ours}/unknown`, 'unknown/dock-cam', `${ours}/yard`, `${theirs}/secret-cam`])
        expect(await call(`/2.0/event/${stream}?action=subscribe`)).toMatchObject(refused(404, 'stream is not publishing'))
    })
  })

  describe('lists', () => {
    it.each(VERSIONS)('every live stream at its origin: %s', async version => {
      const slash = version === '4.0' ? '' : '/'
      const entries = await list(version)
      expect(names(entries)).toEqual([`${slash}${ours} devices`, `${slash}${ours} dock-cam`, `${slash}${ours}/yard gate`].toSorted())
      for (const entry of entries) {
        expect(entry).toMatchObject({ serverAddress: '10.0.4.11', region: 'eu-north-1' })
        expect([entry['type'], entry['currentSubscribers']]).toEqual([version === '4.0' ? 'origin' : undefined, undefined])
      }
    })

    it('them with how many follow and since when, and one alone', async () => {
      const entries: Body[] = (await call('/2.0/event/list/stats')).body
      const cam = entries.find(({ name }) => name === 'dock-cam')
      expect(cam).toEqual((await call(`/2.0/event/${ours}/dock-cam/stats`)).body)
      expect(cam).toMatchObject({ scope: `/${ours}`, serverAddress: '10.0.4.11', currentSubscribers: 1 })
      expect(Math.abs(Number(cam?.['startTime']) - Date.now())).toBeLessThan(60_000)
      expect(await call(`/2.0/event/${ours}/unknown/stats`)).toMatchObject(refused(404))
      expect(await call(`/2.0/event/${theirs}/secret-cam/stats`)).toMatchObject(refused(404))
    })

    it('nobody’s streams without a key, where a key is wanted; with one those of its projects', async () => {
      const closed = await openApp({ open: [] })
      onTestFinished(() => closed.close())
      const seen = async (path: string, headers: Record<string, string> = {}) =>
        names((await call(path, 'GET', headers, undefined, closed)).body)
      expect(await seen('/2.0/event/list')).toEqual([])
      const basic = { authorization: `Basic ${Buffer.from(`reader:${TENANT}`).toString('base64')}` }
      expect(await seen('/2.0/event/list', basic)).toEqual([`/${theirs} secret-cam`])
      expect(await seen(`/2.0/event/list?accessToken=${encodeURIComponent(`tenant:${TENANT}`)}`)).toEqual([`/${theirs} secret-cam`])
      expect(await seen(`/2.0/event/list?accessToken=${encodeURIComponent(OPERATOR)}`)).toHaveLength(3)
      expect(await call('/2.0/event/list?accessToken=wrong', 'GET', {}, undefined, closed)).toMatchObject(refused(400))
      expect(await call(`/2.0/event/${theirs}/secret-cam?action=subscribe`, 'GET', basic, undefined, closed)).toMatchObject({ status: 200 })
    })
  })

  describe('refuses', () => {
    it.each([
      ['an action that is missing', `/2.0/event/live/cam`, 400],
      ['an action that nobody knows', '/2.0/event/live/cam?action=watch', 400],
      ['an action given twice', '/2.0/event/live/cam?action=broadcast&action=subscribe', 400],
      ['a malformed region', '/2.0/event/live/cam?action=broadcast&region=eu%20north', 400],
      ['an empty region', '/2.0/event/live/cam?action=broadcast&region=', 400],
      ['a region beside a geozone', '/4.0/event/live/cam?action=broadcast&region=eu&geozone=eu', 400],
      ['a flag that is none', '/4.0/event/live/cam?action=broadcast&strict=maybe', 400],
      ['no endpoints', '/4.0/event/live/cam?action=broadcast&endpoints=0', 400],
      ['too many endpoints', '/4.0/event/live/cam?action=broadcast&endpoints=101', 400],
      ['a long name', `/2.0/event/live/${'x'.repeat(256)}?action=broadcast`, 400],
      ['an address that is not decodable', '/2.0/event/live/%zz?action=broadcast', 400],
      ['an address that is not UTF-8', '/2.0/event/live/%ff?action=broadcast', 400],
      ['a scope without a stream', '/2.0/event/live', 404],
      ['nothing at all', '/2.0', 404],
      ['another version', '/5.0/event/list', 404],
      ['another entity', '/2.0/cluster/list', 404],
      ['an unknown admin call', `/2.0/admin/nodes?accessToken=${encodeURIComponent(OPERATOR)}`, 404],
    ])('%s, in its own shape', async (_, path, status) => expect(await call(path)).toMatchObject(refused(status)))

    it('other methods, and never looks at a body', async () => {
      expect(await call('/2.0/event/list', 'POST', { 'content-type': 'application/json' }, '{"broken')).toMatchObject(refused(404))
      expect(await call('/2.0/event/list', 'DELETE', { 'content-type': 'application/json' }, '')).toMatchObject(refused(404))
      expect(await call('/2.0/event/list', 'GET', { 'content-type': 'application/json' })).toMatchObject({ status: 200 })
      expect(await call('/2.0/event/list', 'PUT', { 'content-type': 'a/b', 'content-encoding': 'gzip' }, 'x')).toMatchObject(refused(400))
      expect(await call('/2.0/event/list', 'HEAD')).toMatchObject({ status: 200, text: '' })
    })

    it('nothing that a browser elsewhere asks for', async () => {
      const asked = { origin: 'https://page.example', 'access-control-request-method': 'DELETE' }
      const { headers } = await call('/2.0/admin/event', 'OPTIONS', asked)
      expect([headers['access-control-allow-origin'], headers['access-control-allow-methods']]).toEqual([
        '*',
        expect.stringContaining('DELETE'),
      ])
      for (const path of ['/2.0/event/list', '/2.0/event/live'])
        expect((await call(path, 'GET', { origin: 'https://page.example' })).headers['access-control-allow-origin']).toBe('*')
    })
  })

  describe('lets admins', () => {
    const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` })

    it('in by the secret of the first key, by key id and secret, by token and by header; others not', async () => {
      const caller = await identity.verify('operator', OPERATOR)
      if (!caller) throw new Error('no caller')
      const threshold = '/2.0/admin/alarm/scaleout/default?type=edge'
      for (const token of [OPERATOR, `operator:${OPERATOR}`]) expect((await admin(threshold, 'GET', token)).status).toBe(200)
      expect((await call(threshold, 'GET', basic(`operator:${OPERATOR}`))).status).toBe(200)
      for (const token of ['wrong', TENANT, `operator:${TENANT}`, `tenant:${TENANT}`, 'a.b.c', ''])
        expect(await admin(threshold, 'GET', token), token).toMatchObject(refused(400, expect.stringMatching(/^accessToken: /)))
      expect(await call(threshold)).toMatchObject(refused(400, expect.stringMatching(/^accessToken: /)))
      expect(await call(`${threshold}&accessToken=a&accessToken=b`)).toMatchObject(refused(400))
    })

    it('read and change the scale-out threshold of each type', async () => {
      const path = '/2.0/admin/alarm/scaleout/default'
      const alarm = { type: 'SCALEOUTALARM', metric: 'CONNECTIONS', unit: 'PERCENTAGE', comparator: 'GREATERTHAN', targetType: 'GROUP' }
      expect((await admin(`${path}?type=edge`)).body).toEqual({ id: 1, ...alarm, threshold: 60 })
      expect((await admin(`${path}?type=edge&threshold=75`, 'POST')).body).toEqual({ id: 1, ...alarm, threshold: 75 })
      expect((await admin(`${path}?type=edge`)).body).toMatchObject({ threshold: 75 })
      expect((await admin(`${path}?type=origin`)).body).toMatchObject({ threshold: 60 })
      expect((await admin(`${path}?type=edge`, 'POST')).body).toMatchObject({ threshold: 60 })
      for (const query of ['', '?type=relay', '?type=edge&threshold=0', '?type=edge&threshold=101', '?type=edge&threshold=x'])
        expect(await admin(`${path}${query}`, 'POST')).toMatchObject(refused(400))
    })

    it('see a node by address, host or identifier', async () => {
      const node = {
        identifier: '10.0.4.11',
        role: 'origin',
        availabilityZone: 'eu-north-1',
        address: '10.0.4.11',
        state: 'inservice',
        launchConfig: 'default',
        capacity: 100,
        group: 'default',
        totalConnections: 10,
        parents: [],
        lastTrafficTime: 0,
        lastPing: expect.any(Number),
      }
      for (const path of ['', '/stats']) expect((await admin(`/2.0/admin/node/10.0.4.11${path}`)).body).toEqual(node)
      for (const host of ['10.0.9.1', '10.0.9.1:8080', '10.0.9.1%3A8080'])
        expect((await admin(`/2.0/admin/node/${host}`)).body).toMatchObject({ address: '10.0.9.1:8080', role: 'edge' })
      expect(await admin('/2.0/admin/node/10.9.9.9')).toMatchObject(refused(404))
    })

    it('cannot be guessed at by the bare secret, whatever the guesses look like', async () => {
      const guarding = await openApp({}, { requests: 1000, windowMs: 60_000 })
      const path = '/2.0/admin/node/10.0.4.11?accessToken='
      const guess = async (text: string) => (await call(`${path}${encodeURIComponent(text)}`, 'GET', {}, undefined, guarding)).status
      for (let i = 0; i < 20; i++) expect(await guess(`guess ${i}.a.b`)).toBe(400)
      expect([await guess('another guess'), await guess(OPERATOR), await guess(`operator:${OPERATOR}`)]).toEqual([429, 429, 200])
      await guarding.close()
    })

    it('take a node out, so that nobody is sent there any more', async () => {
      await startNode('10.0.7.7', { region: 'ap-south-1', connections: 5 })
      const region = '/2.0/event/live/cam?action=broadcast&region=ap-south-1'
      await until('it is there', async () => (await call(region)).body.serverAddress === '10.0.7.7')
      expect(await admin('/2.0/admin/node/10.0.7.7', 'DELETE')).toMatchObject(refused(400))
      expect((await admin('/2.0/admin/node/10.0.7.7?force=true', 'DELETE')).body).toMatchObject({ state: 'terminating' })
      expect((await call(region)).body.serverAddress).not.toBe('10.0.7.7')
      expect((await admin('/2.0/admin/node/10.0.7.7')).body).toMatchObject({ state: 'terminating' })
      const records = await new Audit(server.redis).list(`organizations/${FIRST_ORGANIZATION}`, '', 1)
      expect(records).toMatchObject([{ account: 'operator@test', method: 'DELETE', path: '/streammanager/api/2.0/admin/node/10.0.7.7' }])
    })

    /** Of the tenant: what the others look at stays. */
    const clear = (version: string, query = '') => admin(`/${version}/admin/event${query}`, 'DELETE', `tenant:${TENANT}`)
    const seen = async () =>
      names((await call(`/2.0/event/list?accessToken=${encodeURIComponent(`tenant:${TENANT}`)}`)).body).filter(name =>
        name.includes(theirs),
      )

    it('clear their entries: until 4.0 all, which come back with the next heartbeat', async () => {
      for (const version of ['1.0', '2.0', '3.1']) {
        await until('it is listed', async () => (await seen()).length === 1)
        expect((await clear(version)).body).toEqual({ count: 1, timestamp: expect.any(Number) })
      }
      await until('it is back', async () => (await seen()).length === 1)
      expect(names(await list('2.0'))).toHaveLength(3)
    })

    it('clear their entries: since 4.0 the idle, or all until their producers connect again', async () => {
      presences[1]?.produced(theirs, 'idle-log')
      await until('both are listed', async () => (await seen()).length === 2)
      expect((await clear('4.0')).body).toMatchObject({ count: 1 })
      expect(await seen()).toEqual([`/${theirs} secret-cam`])
      expect((await clear('4.0', '?includeActive=true')).body).toMatchObject({ count: 1 })
      expect(await seen()).toEqual([])
      expect(await clear('4.0', '?includeActive=1')).toMatchObject(refused(400))
    })

    it('do nothing where they are no admins', async () => {
      expect(await admin('/2.0/admin/event', 'DELETE', `reader:${TENANT}`)).toMatchObject(refused(400))
      expect(await admin('/2.0/admin/node/10.0.4.11', 'DELETE', `tenant:${TENANT}`)).toMatchObject(refused(400))
      expect(await call('/2.0/admin/event', 'DELETE')).toMatchObject(refused(400))
    })
  })
})
