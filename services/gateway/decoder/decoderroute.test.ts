// The decoders resource, without sockets, on a real Redis: what decoders remember lives as long as somebody needs it.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Identity } from '../../../packages/identity/identity.ts'
import { freshProject, installed, openTestRedis, type TestRedis } from '../../../packages/log/fixture.ts'
import { type HttpApp, openHttp } from '../../../packages/runtime/http.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { Decoders } from '../../../packages/state/decoder.ts'
import { DecoderMemory } from '../../../packages/state/decodermemory.ts'
import { FORMATS } from '../decode/formats.ts'
import { Catalog } from './catalog.ts'
import { addDecoderRoutes } from './decoderroute.ts'

const authorization = `Basic ${Buffer.from('key:secret-of-key').toString('base64')}`

describe.skipIf(installed === undefined)('a decoder that is deleted', () => {
  const project = freshProject()
  let server: TestRedis
  let app: HttpApp
  let memory: DecoderMemory
  let identity: Identity
  let decoders: Decoders
  const KNOWN = new Map([['bridge', '"known"']])
  const put = async (url: string, format: string) => {
    const answer = await app.inject({ method: 'PUT', url, headers: { authorization }, payload: { format, topic: 'home/#' } })
    expect([answer.statusCode, answer.json()]).toEqual([200, expect.not.objectContaining({ uid: expect.anything() })])
  }
  beforeAll(async () => {
    server = await openTestRedis()
    identity = new Identity(await server.connect('producer'), 'x'.repeat(32))
    await identity.put('key', 'secret-of-key', 'me@example.com', { [project]: 'developer' })
    decoders = new Decoders(server.redis)
    memory = new DecoderMemory(server.redis)
    const catalog = new Catalog({
      formats: FORMATS,
      decoders: decoders.decoders,
      schemas: decoders.schemas,
      changes: since => decoders.changes.since(since),
    })
    app = await openHttp({ identity, log: openLogger('silent'), version: '1', limits: { manage: undefined, ingest: undefined } })
    addDecoderRoutes(app, { formats: FORMATS, decoders, catalog, memory })
  })
  afterAll(async () => {
    await app?.close()
    await identity?.close()
    await server?.stop()
  })

  it.each([
    ['forgets what nobody can use any more', 'mine', 'zigbee2mqtt'],
    ['forgets what the built-in one of its name would not understand', 'zigbee2mqtt', 'homeassistant'],
  ])('%s', async (_, decoder, format) => {
    const url = `/v2/projects/${project}/decoders/${decoder}`
    const id = { project, decoder, format }
    await put(url, format)
    const { uid } = await decoders.decoders.one(project, decoder)
    const own = { ...id, uid }
    const known = await memory.save(own, KNOWN, 0)
    expect((await app.inject({ method: 'DELETE', url, headers: { authorization } })).statusCode).toBe(200)
    expect((await memory.read(own, -1)).values.size).toBe(0)
    // A gateway that was about to save it.
    await expect(memory.save(own, KNOWN, known)).rejects.toMatchObject({ code: 'not_found' })
    expect((await memory.read(own, -1)).values.size).toBe(0)
    await put(url, format)
    const again = await decoders.decoders.one(project, decoder)
    expect((await memory.read({ ...id, uid: again.uid }, -1)).values.size).toBe(0)
    await memory.save({ ...id, uid: again.uid }, KNOWN, 0)
    expect(again.uid).not.toBe(uid)
  })

  it('leaves nothing to the built-in one that comes back, which learns anew', async () => {
    const url = `/v2/projects/${project}/decoders/tasmota`
    const id = { project, decoder: 'tasmota', format: 'tasmota' }
    const known = await memory.save(id, KNOWN, 0)
    await put(url, 'tasmota')
    expect((await memory.read(id, -1)).values.size).toBe(1)
    expect((await app.inject({ method: 'DELETE', url, headers: { authorization } })).statusCode).toBe(200)
    expect(await memory.read(id, known)).toEqual({ revision: 0, isAll: true, values: new Map() })
    await memory.save(id, KNOWN, known)
    expect((await memory.read(id, known)).values.size).toBe(1)
  })

  it('is no other one while it is changed, and is when it gets another format', async () => {
    const url = `/v2/projects/${project}/decoders/changing`
    const uid = async () => (await decoders.decoders.one(project, 'changing')).uid
    await put(url, 'zigbee2mqtt')
    const first = { project, decoder: 'changing', format: 'zigbee2mqtt', uid: await uid() }
    await memory.save(first, KNOWN, 0)
    await put(url, 'zigbee2mqtt')
    expect([await uid(), (await memory.read(first, -1)).values.size]).toEqual([first.uid, 1])
    await put(url, 'homeassistant')
    expect(await uid()).not.toBe(first.uid)
    await expect(memory.save(first, KNOWN, 0)).rejects.toMatchObject({ code: 'not_found' })
  })
})
