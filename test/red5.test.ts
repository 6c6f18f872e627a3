// The Red5 dialect on the real program: two processes in two regions on one Redis, asked by clients that send no credentials.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connectRedis, parseRedisUrl } from '../packages/redis/index.ts'
import { type SharedRedis, startSharedRedis } from './redis.ts'
import { eventually, type Json, removeDirectories, startTelltale, type Telltale, temperature, until } from './world.ts'

const KEY = { keyId: 'red5', secret: 'a-secret-for-both-of-them' }
const API = '/streammanager/api/4.0'
/** Far more than it takes: four seconds without a heartbeat. */
const GONE_MS = 20_000

/** As a browser of Red5’s testbed asks, cross-origin. */
async function ask(telltale: Telltale, path: string): Promise<{ status: number; json: Json & Json[] }> {
  const response = await fetch(`${telltale.url()}${path}`, {
    headers: { origin: 'https://testbed.example', 'content-type': 'application/json' },
  })
  expect([response.headers.get('access-control-allow-origin'), response.headers.get('content-type')]).toEqual([
    '*',
    expect.stringContaining('application/json'),
  ])
  return { status: response.status, json: (await response.json()) as Json & Json[] }
}

describe('two processes in two regions', () => {
  let redis: SharedRedis
  let north: Telltale
  let west: Telltale

  beforeAll(async () => {
    redis = await startSharedRedis()
    const env = {
      TELLTALE_REDIS_URL: redis.url,
      TELLTALE_SECRET_KEY: 'the same thirty-two characters everywhere',
      TELLTALE_ADMIN_KEY_ID: KEY.keyId,
      TELLTALE_ADMIN_SECRET: KEY.secret,
    }
    const start = (region: string, advertise: string) =>
      startTelltale({ env: { ...env, TELLTALE_REGION: region, TELLTALE_ADVERTISE: advertise }, key: KEY })
    north = await start('eu-north-1', 'north.example')
    west = await start('eu-west-1', 'west.example:8443')
  })
  afterAll(async () => {
    for (const telltale of [north, west]) await telltale.remove()
    await redis.stop()
    await removeDirectories()
  })

  const addresses = async () => {
    const { json } = await ask(north, `${API}/event/default/devices?action=broadcast&endpoints=10`)
    return json.map(({ serverAddress }) => String(serverAddress)).toSorted()
  }

  test('send publishers and viewers to each other, and list the project’s device stream where it is published', async () => {
    await eventually(async () => expect(await addresses()).toEqual(['north.example', 'west.example:8443']))
    expect(await ask(north, `${API}/event/default/devices?action=subscribe`)).toMatchObject({ status: 404 })
    expect((await west.send('POST', '/v2/projects/default/events', temperature('oven', 20))).status).toBe(200)
    const devices = { name: 'devices', scope: 'default', type: 'origin', serverAddress: 'west.example:8443', region: 'eu-west-1' }
    await eventually(async () => expect((await ask(north, `${API}/event/list`)).json).toEqual([devices]))
    const found = await ask(north, '/streammanager/api/2.0/event/default/devices?action=subscribe&region=eu-north-1')
    expect(found.json).toEqual({ name: 'devices', scope: '/default', serverAddress: 'north.example', region: 'eu-north-1' })
  })

  test('count who follows, by whatever door', async () => {
    const readers = [await north.stream('', {}), await west.stream('', { path: '/v2/projects/-/devices:stream' })]
    await eventually(async () =>
      expect((await ask(west, `${API}/event/default/devices/stats`)).json).toMatchObject({ currentSubscribers: 2 }),
    )
    for (const reader of readers) reader.close()
    await eventually(async () =>
      expect((await ask(west, `${API}/event/default/devices/stats`)).json).toMatchObject({ currentSubscribers: 0 }),
    )
  })

  test('let the operator see and take out a node by the secret of the first key', async () => {
    const node = await ask(north, `${API}/admin/node/west.example?accessToken=${KEY.secret}`)
    expect(node.json).toMatchObject({ address: 'west.example:8443', availabilityZone: 'eu-west-1', state: 'inservice', role: 'origin' })
    expect(await ask(north, `${API}/admin/node/west.example?accessToken=wrong`)).toMatchObject({ status: 400 })
    expect(north.program().said() + north.program().complained()).not.toContain('accessToken')
  })

  test('a node that is killed is gone within seconds, with what was published there, and comes back when it is started again', async () => {
    await west.send('POST', '/v2/projects/default/events', temperature('oven', 21))
    await eventually(async () => expect((await ask(north, `${API}/event/list`)).json).toHaveLength(1))
    await west.kill()
    await until('it is gone', async () => (await addresses()).join() === 'north.example', GONE_MS)
    expect((await ask(north, `${API}/event/list`)).json).toEqual([])
    expect(await ask(north, `${API}/admin/node/west.example?accessToken=${KEY.secret}`)).toMatchObject({ status: 404 })
    await west.restart()
    await eventually(async () => expect(await addresses()).toEqual(['north.example', 'west.example:8443']))
  }, 60_000)

  test('entries are cleared by the admin of their project', async () => {
    await north.send('POST', '/v2/projects/default/events', temperature('oven', 22))
    await eventually(async () => expect((await ask(north, `${API}/event/list`)).json).toHaveLength(1))
    const cleared = await fetch(`${north.url()}${API}/admin/event?accessToken=${KEY.secret}`, { method: 'DELETE' })
    expect([cleared.status, await cleared.json()]).toEqual([200, { count: 1, timestamp: expect.any(Number) }])
    expect((await ask(north, `${API}/event/list`)).json).toEqual([])
  })

  test('a node that is stopped leaves at once', async () => {
    const client = await connectRedis(parseRedisUrl(redis.url), { name: 'test', patience: 'producer', log: console })
    const alive = () => client.zcard('t:{~nodes}:beats')
    expect(await alive()).toBe(2)
    expect(await west.stop()).toBe(0)
    expect(await alive()).toBe(1)
    client.disconnect()
  })
})
