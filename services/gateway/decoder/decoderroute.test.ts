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
  beforeAll(async () => {
    server = await openTestRedis()
    identity = new Identity(await server.connect('producer'), 'x'.repeat(32))
    await identity.put('key', 'secret-of-key', 'me@example.com', { [project]: 'developer' })
    const decoders = new Decoders(server.redis)
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
    ['leaves what it remembers to the built-in one that comes back', 'zigbee2mqtt', 'zigbee2mqtt', 1],
    ['forgets what nobody can use any more', 'mine', 'zigbee2mqtt', 0],
    ['forgets what the built-in one of its name would not understand', 'zigbee2mqtt', 'homeassistant', 0],
  ])('%s', async (_, decoder, format, remembered) => {
    const url = `/v2/projects/${project}/decoders/${decoder}`
    const id = { project, decoder, format }
    await memory.save(id, new Map([['bridge', '"known"']]), 0)
    const put = await app.inject({ method: 'PUT', url, headers: { authorization }, payload: { format, topic: 'home/#' } })
    expect([put.statusCode, (await app.inject({ method: 'DELETE', url, headers: { authorization } })).statusCode]).toEqual([200, 200])
    expect((await memory.read(id, -1)).values.size).toBe(remembered)
  })
})
