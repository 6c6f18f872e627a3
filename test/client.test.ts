// The client's promises against a real server: publishing loses and doubles nothing, a stream has every event once, through crashes.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import jwt from 'jsonwebtoken'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Telltale as Client, GapError, type NewEvent, type Receipt, TelltaleError } from '../packages/client/index.ts'
import { eventually, removeDirectories, startTelltale, stored, type Telltale, temperatureOf, until } from './world.ts'

let telltale: Telltale
const clients: Client[] = []

beforeAll(async () => {
  telltale = await startTelltale()
})
afterAll(async () => {
  await Promise.all(clients.map(client => client.close()))
  await telltale.remove()
  await removeDirectories()
})

function clientOf(server: Telltale = telltale): Client {
  const client = new Client({ url: server.url(), ...server.key, project: 'default' })
  clients.push(client)
  return client
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const warm = (device: string, value: number): NewEvent => ({ device, data: { temperature: { value } } })
const openStreams = async () => Number(/^telltale_streams_open (\d+)/m.exec((await telltale.http('/metrics')).text)?.[1])

/** Of one stream: others may still be open, and are not waited for. */
function opening(): { readonly onOpen: () => void; readonly isOpen: () => boolean } {
  let open = false
  return {
    onOpen: () => {
      open = true
    },
    isOpen: () => open,
  }
}

describe('publishing', () => {
  test('resolves when the event is on disk, with its id', async () => {
    const { eventId } = await clientOf().publish(warm('one', 21.5))
    const [event] = await eventually(async () => {
      const found = await stored(telltale, 'one')
      expect(found).toHaveLength(1)
      return found
    })
    expect(event).toMatchObject({ eventId, data: { temperature: { value: 21.5, isBackfilled: false } } })
    expect(eventId).toMatch(/^[0-9a-v]{20}$/)
  })

  test('rejects with the reason and the field when the server refuses it', async () => {
    const wrong = { device: 'one', eventType: 'temperature', data: { temperature: { value: 1 } }, timestamp: 'yesterday' } as const
    const error = await clientOf()
      .publish(wrong)
      .catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(TelltaleError)
    expect(error).toMatchObject({ status: 400, code: 'invalid', field: 'timestamp' })
  })

  test('of many, tells what became of each', async () => {
    const receipts = await clientOf().publish([warm('many', 1), { device: 'no/such', data: { co2: { ppm: 1 } } }, warm('many', 2)])
    expect(receipts.map(({ error }) => error?.code)).toEqual([undefined, 'invalid', undefined])
    await eventually(async () => expect((await stored(telltale, 'many')).map(temperatureOf)).toEqual([1, 2]))
  })

  test('the same eventId twice is one event', async () => {
    const client = clientOf()
    const event = { ...warm('twice', 1), eventId: 'my-own-id' }
    await client.publish(event)
    await client.publish(event)
    await client.publish(warm('twice', 2))
    await eventually(async () => expect((await stored(telltale, 'twice')).map(temperatureOf)).toEqual([1, 2]))
  })

  test('flush waits for what was not awaited, and close takes no more', async () => {
    const client = clientOf()
    const receipts: Promise<Receipt>[] = Array.from({ length: 50 }, (_, value) => client.publish(warm('flushed', value)))
    await client.flush()
    await eventually(async () => expect(await stored(telltale, 'flushed')).toHaveLength(50))
    await Promise.all(receipts)
    await client.close()
    await expect(client.publish(warm('flushed', 50))).rejects.toMatchObject({ code: 'unavailable' })
  })

  test('wrong credentials and an unknown project reject at once', async () => {
    const url = telltale.url()
    const stranger = new Client({ url, project: 'default', keyId: 'nobody', secret: 'x' })
    await expect(stranger.publish(warm('one', 1))).rejects.toMatchObject({ status: 401, code: 'unauthenticated' })
    const elsewhere = new Client({ url, ...telltale.key, project: 'elsewhere' })
    await expect(elsewhere.publish(warm('one', 1))).rejects.toMatchObject({ status: 404, code: 'not_found' })
  })
})

describe('through kill -9 of the server', () => {
  test('every published event is stored once, in order, and a stream that was open all the time has each once', async () => {
    const client = clientOf()
    const stopping = new AbortController()
    const seen: unknown[] = []
    let losses = 0
    const { onOpen, isOpen } = opening()
    const stream = client.stream({ devices: ['pump'], ping: '1s', signal: stopping.signal, onOpen, onLost: () => losses++ })
    const reading = (async () => {
      for await (const event of stream) seen.push(temperatureOf(event))
    })()
    await until('the stream is open', isOpen)
    const total = 1000
    let acked = 0
    const publishing = (async () => {
      for (let value = 0; value < total; value += 10) {
        const receipts = await client.publish(Array.from({ length: 10 }, (_, i) => warm('pump', value + i)))
        expect(receipts.filter(({ error }) => error !== undefined)).toEqual([])
        acked += receipts.length
      }
    })()
    for (const at of [200, 600]) {
      await until(`${at} are acknowledged`, () => acked >= at)
      await telltale.kill()
      await telltale.restart()
    }
    await until('everything is acknowledged', () => acked === total, 40_000)
    await publishing
    const values = Array.from({ length: total }, (_, value) => value)
    await until(`everything has come, after ${losses} losses`, () => seen.length >= total, 20_000)
    stopping.abort()
    await reading
    expect(seen).toEqual(values)
    expect(losses).toBeGreaterThanOrEqual(2)
    await eventually(async () => expect((await stored(telltale, 'pump')).map(temperatureOf)).toEqual(values), 20_000)
  }, 90_000)

  test('what came between the last ping and the next connection is not missed by a stream that had seen nothing yet', async () => {
    const client = clientOf()
    let pings = 0
    const stream = client.stream({ devices: ['quiet'], ping: '1s', onPing: () => pings++ })
    const first = stream.next()
    await until('a ping has come', () => pings > 0)
    await telltale.kill()
    await telltale.restart()
    const publisher = clientOf()
    await publisher.publish(warm('quiet', 7))
    const { value } = await first
    expect(temperatureOf(value as Parameters<typeof temperatureOf>[0])).toBe(7)
    await stream.return()
  }, 60_000)
})

describe('a stream', () => {
  test('begins after a cursor of an earlier one, with its filters', async () => {
    const client = clientOf()
    const { onOpen, isOpen } = opening()
    const first = client.stream({ devices: ['resumed'], eventTypes: ['temperature'], onOpen })
    const next = first.next()
    await until('it is open', isOpen)
    for (let value = 0; value < 5; value++) await client.publish(warm('resumed', value))
    await client.publish({ device: 'resumed', data: { co2: { ppm: 700 } } })
    expect(temperatureOf((await next).value as Parameters<typeof temperatureOf>[0])).toBe(0)
    await first.return()
    const values: number[] = []
    for await (const event of client.stream({ devices: ['resumed'], eventTypes: ['temperature'], cursor: first.cursor })) {
      if (event.eventType === 'temperature') values.push(event.data.temperature.value)
      if (values.length === 4) break
    }
    expect(values).toEqual([1, 2, 3, 4])
  })

  test('lets go of its connection by break, by return while it waits, by its signal and by close', async () => {
    await until('nothing is open', async () => (await openStreams()) === 0)
    const client = clientOf()
    const since = new Date(Date.now() - 3_600_000)
    await client.publish(warm('let-go', 1))
    for await (const _ of client.stream({ since })) break
    await until('break has closed it', async () => (await openStreams()) === 0)

    const waiting = client.stream({ devices: ['nobody'] })
    const never = waiting.next()
    await until('it is open', async () => (await openStreams()) === 1)
    await waiting.return()
    expect(await never).toEqual({ done: true, value: undefined })
    await until('return has closed it', async () => (await openStreams()) === 0)

    const stopping = new AbortController()
    const aborted = client.stream({ devices: ['nobody'], signal: stopping.signal }).next()
    await until('it is open', async () => (await openStreams()) === 1)
    stopping.abort()
    expect(await aborted).toEqual({ done: true, value: undefined })
    await until('the signal has closed it', async () => (await openStreams()) === 0)

    // fetch forgets a signal whose request has been collected.
    const forgetting = new AbortController()
    const forgotten = client.stream({ devices: ['nobody'], ping: '1s', signal: forgetting.signal })
    let pings = 0
    const none = client.stream({ devices: ['nobody'], ping: '1s', signal: forgetting.signal, onPing: () => pings++ }).next()
    const last = forgotten.next()
    await until('they are open, and garbage is collected', async () => {
      collectGarbage()
      return pings >= 3 && (await openStreams()) === 2
    })
    forgetting.abort()
    expect(await Promise.all([none, last])).toEqual([
      { done: true, value: undefined },
      { done: true, value: undefined },
    ])
    await until('the signal has closed them', async () => (await openStreams()) === 0)

    const closed = client.stream({ devices: ['nobody'] }).next()
    await until('it is open', async () => (await openStreams()) === 1)
    await client.close()
    expect(await closed).toEqual({ done: true, value: undefined })
    await until('close has closed it', async () => (await openStreams()) === 0)
  })

  test('may ask for the newest only when it does not keep up, or for gaps', async () => {
    const client = clientOf()
    for (const slow of ['latest', 'drop', 'disconnect'] as const) {
      const stream = client.stream({ devices: ['newest'], since: new Date(Date.now() - 60_000), slow })
      await client.publish(warm('newest', 1))
      expect(temperatureOf((await stream.next()).value as Parameters<typeof temperatureOf>[0])).toBe(1)
      await stream.return()
    }
    await expect(client.stream({ slow: 'never' as 'drop' }).next()).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('slowPolicy'),
    })
  })

  test('that the server refuses is an error, not another attempt', async () => {
    const client = clientOf()
    await expect(client.stream({ cursor: 'forged' }).next()).rejects.toMatchObject({ status: 400, code: 'invalid' })
    const stranger = new Client({ url: telltale.url(), project: 'default', keyId: 'nobody', secret: 'x' })
    await expect(stranger.stream().next()).rejects.toMatchObject({ status: 401 })
    const nowhere = new Client({ url: 'http://127.0.0.1:1', project: 'default', ...telltale.key })
    await expect(nowhere.stream().next()).rejects.toMatchObject({ status: 0, code: 'unavailable' })
  })

  test('of alarms has their changes', async () => {
    const client = clientOf()
    const { onOpen, isOpen } = opening()
    const alarms = client.alarms.stream({ ping: '1s', onOpen })
    const first = alarms.next()
    await until('it is open', isOpen)
    await client.rules.put('hot', { when: { threshold: { field: 'temperature.value', above: 30 } }, select: { devices: ['oven'] } })
    await client.publish(warm('oven', 31))
    const { value: alarm } = await first
    expect(alarm).toMatchObject({ rule: 'hot', device: 'oven' })
    await alarms.return()
  })
})

describe('a server with a small log and small limits', () => {
  let small: Telltale
  beforeAll(async () => {
    const limits = { TELLTALE_RATE_LIMIT: '5/1s', TELLTALE_INGEST_RATE_LIMIT: '5/1s' }
    small = await startTelltale({ env: { TELLTALE_LOG_MAX_SIZE: '1mb', TELLTALE_STREAM_MAX_AGE: '1s', ...limits } })
  })
  afterAll(() => small.remove())

  test('says 429, and calls and publishes wait as long as it says', async () => {
    const client = clientOf(small)
    for (let n = 0; n < 8; n++) await client.devices.list()
    const receipts = []
    for (let value = 0; value < 8; value++) receipts.push(await client.publish(warm('limited', value)))
    expect(receipts).toHaveLength(8)
    await eventually(async () => expect((await stored(small, 'limited')).map(temperatureOf)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]))
  }, 30_000)

  test('ends streams by age, and neither loses nor doubles an event by that', async () => {
    const client = clientOf(small)
    let losses = 0
    const { onOpen, isOpen } = opening()
    const stream = client.stream({ devices: ['aged'], ping: '1s', onOpen, onLost: () => losses++ })
    const values: unknown[] = []
    const reading = (async () => {
      for await (const event of stream) if (values.push(temperatureOf(event)) === 40) break
    })()
    await until('it is open', isOpen)
    for (let value = 0; value < 40; value += 2) await client.publish([warm('aged', value), warm('aged', value + 1)])
    await reading
    expect(values).toEqual(Array.from({ length: 40 }, (_, value) => value))
    expect(losses).toBeGreaterThan(0)
  }, 40_000)

  test('what is gone from the log comes from the store; gone from both is a gap, as an error that says where to go on or as an item', async () => {
    const client = clientOf(small)
    const { onOpen, isOpen } = opening()
    const first = client.stream({ devices: ['gone'], ping: '1s', onOpen })
    const next = first.next()
    await until('it is open', isOpen)
    await client.publish(warm('gone', 0))
    await next
    await first.return()
    const from = first.cursor
    const filler = 'x'.repeat(20_000)
    const more = (n: number) => ({ device: 'gone', eventType: 'temperature', data: { temperature: { value: n, filler } } }) as const
    for (let n = 1; n <= 200; n += 20) await client.publish(Array.from({ length: 20 }, (_, i) => more(n + i)))
    const values: unknown[] = []
    for await (const event of client.stream({ devices: ['gone'], cursor: from })) {
      values.push(temperatureOf(event))
      if (values.at(-1) === 200) break
    }
    expect(values).toEqual(Array.from({ length: 200 }, (_, i) => i + 1))
    // The log forgets by size, the store by age.
    await small.stop()
    await small.restart({ TELLTALE_RETENTION: '1s' })
    const gap = await eventually(async () => {
      const stream = client.stream({ devices: ['gone'], cursor: from })
      const thrown: unknown = await stream.next().then(
        () => stream.return(),
        (error: unknown) => error,
      )
      if (!(thrown instanceof GapError)) throw new Error(`the log is not trimmed yet: ${JSON.stringify(thrown).slice(0, 300)}`)
      return { thrown, cursor: stream.cursor }
    }, 45_000)
    expect(gap.cursor).toBe(gap.thrown.to)
    const left: unknown[] = []
    for await (const item of client.stream({ devices: ['gone'], cursor: from, gaps: 'yield' })) {
      left.push(item.eventType === 'gap' ? 'gap' : temperatureOf(item))
      if (left.at(-1) === 200) break
    }
    expect(left[0]).toBe('gap')
    expect(left.slice(1)).toEqual(Array.from({ length: left.length - 1 }, (_, i) => 200 - (left.length - 2) + i))
  }, 90_000)
})

describe('with access tokens instead of the secret', () => {
  const withTokens = (more: object = {}) => {
    const { keyId, secret } = telltale.key
    const login = { keyId, secret, auth: 'token', email: 'admin@localhost' } as const
    const client = new Client({ url: telltale.url(), project: 'default', ...login, ...more })
    clients.push(client)
    return client
  }

  test('an assertion is exchanged for one, and everything works with it', async () => {
    const client = withTokens()
    await client.publish(warm('tokens', 1))
    await client.devices.list()
    const stream = client.stream({ devices: ['tokens'], since: new Date(Date.now() - 3_600_000) })
    expect(await stream.next()).toMatchObject({ value: { data: { temperature: { value: 1 } } } })
    await stream.return()
  })

  test('a token that the server refuses is asked for once more, and a second refusal is an error', async () => {
    const { access_token: good } = await tokenOf(telltale)
    const given = ['outdated', good]
    const client = new Client({ url: telltale.url(), project: 'default', getToken: () => given.shift() ?? 'none' })
    expect((await client.devices.list()).devices.length).toBeGreaterThan(0)
    expect(given).toEqual([])
    const wrong = new Client({ url: telltale.url(), project: 'default', token: 'outdated' })
    await expect(wrong.devices.list()).rejects.toMatchObject({ status: 401 })
    await expect(wrong.stream().next()).rejects.toMatchObject({ status: 401 })
    await expect(wrong.publish(warm('tokens', 2))).rejects.toMatchObject({ status: 401 })
  })

  test('a key that the token endpoint does not know is said so', async () => {
    const client = withTokens({ secret: 'wrong' })
    await expect(client.devices.list()).rejects.toMatchObject({ status: 401, message: expect.stringContaining('signature') })
    await expect(client.stream().next()).rejects.toMatchObject({ status: 401 })
    await expect(client.publish(warm('tokens', 3))).rejects.toMatchObject({ status: 401 })
  })

  test('accounts and their keys are made, used and removed', async () => {
    const client = clientOf()
    const account = await client.serviceAccounts.create({ displayName: 'line 3', enableBasicAuth: true })
    const id = account.name.split('/').at(-1) ?? ''
    const { key, secret } = await client.serviceAccounts.createKey(id)
    expect((await client.serviceAccounts.keys(id)).map(one => one.id)).toEqual([key.id])
    expect((await client.serviceAccounts.list()).serviceAccounts.map(({ name }) => name)).toContain(account.name)
    const own = withTokens({ keyId: key.id, secret, email: account.email })
    // Nobody has given it a role in the project.
    await expect(own.devices.list()).rejects.toMatchObject({ code: expect.stringMatching(/^(not_found|forbidden)$/) })
    await client.serviceAccounts.removeKey(id, key.id)
    await client.serviceAccounts.remove(id)
    await expect(client.serviceAccounts.get(id)).rejects.toMatchObject({ code: 'not_found' })
  })
})

async function tokenOf(server: Telltale): Promise<{ access_token: string }> {
  const aud = `${server.url()}/oauth2/token`
  const now = Math.floor(Date.now() / 1000)
  const claims = { iss: 'admin@localhost', aud, iat: now, exp: now + 600 }
  const assertion = jwt.sign(claims, server.key.secret, { header: { alg: 'HS256', kid: server.key.keyId } })
  const form = new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion })
  const answer = await fetch(aud, { method: 'POST', body: form })
  return (await answer.json()) as { access_token: string }
}

describe('management', () => {
  test('devices are put, found page by page, labelled and read', async () => {
    const client = clientOf()
    await client.devices.put('labelled', { type: 'temperature', labels: { room: 'a' } })
    expect(await client.devices.relabel(['labelled', 'missing'], { addLabels: { name: 'Freezer' }, removeLabels: ['room'] })).toMatchObject(
      [{ device: 'projects/default/devices/missing', status: { code: 'NOT_FOUND' } }],
    )
    expect((await client.devices.get('labelled')).labels).toEqual({ name: 'Freezer' })
    const names: string[] = []
    for await (const page of client.devices.pages({ pageSize: 2 })) names.push(...page.map(({ name }) => name))
    expect(names).toContain('projects/default/devices/labelled')
    expect(new Set(names).size).toBe(names.length)
    await client.devices.remove('labelled')
    await expect(client.devices.get('labelled')).rejects.toMatchObject({ status: 404 })
    await expect(client.devices.get('nobody')).rejects.toMatchObject({ status: 404, code: 'not_found', help: expect.any(String) })
  })

  test('history is whole events, readings and windows', async () => {
    const client = clientOf()
    await client.publish([warm('kept', 1), warm('kept', 3)])
    await eventually(async () => expect((await client.history.events('kept')).events.map(temperatureOf)).toEqual([3, 1]))
    const { readings } = await client.history.readings('kept', { eventType: 'temperature' })
    expect(readings.map(({ value }) => value)).toEqual([1, 3])
    const pages = []
    for await (const page of client.history.windowPages('kept', { eventType: 'temperature', window: '1d' })) pages.push(...page)
    expect(pages).toMatchObject([{ count: 2, mean: 2, min: 1, max: 3 }])
  })

  test('rules, alarms and channels', async () => {
    const client = clientOf()
    await client.rules.create('cold', { when: { threshold: { field: 'temperature.value', below: 0 } }, select: { devices: ['ice'] } })
    await expect(client.rules.create('cold', { when: { threshold: { field: 'temperature.value', below: 0 } } })).rejects.toMatchObject({
      code: 'conflict',
    })
    await client.publish(warm('ice', -1))
    const alarm = await eventually(async () => {
      const [found] = (await client.alarms.list({ state: ['active'] })).alarms.filter(({ rule }) => rule === 'cold')
      if (found === undefined) throw new Error('no alarm yet')
      return found
    })
    expect((await client.alarms.acknowledge(alarm.alarmId, 'seen')).acknowledgement).toMatchObject({ comment: 'seen' })
    expect(await client.alarms.get(alarm.alarmId)).toMatchObject({ state: 'active', value: -1 })
    await client.rules.remove('cold')
    expect((await client.rules.list()).map(({ name }) => name)).not.toContain('cold')
    const made = await client.channels.put('ops', { type: 'webhook', url: 'https://example.com/hook' })
    expect(made.secret).toMatch(/^whsec_/)
    expect((await client.channels.list()).map(({ name }) => name)).toContain('ops')
    await client.channels.remove('ops')
  })
})
