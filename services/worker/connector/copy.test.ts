// Copying into a stream that now and then takes nothing, on a real Redis: everything once and in order, and what is said meanwhile.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import { DEVICES } from '../../../packages/core/stream.ts'
import { installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { projectKey } from '../../../packages/log/key.ts'
import { summarise } from '../../../packages/state/attempt.ts'
import { COPIER, consumerOf } from '../../../packages/state/connector.ts'
import { Devices } from '../../../packages/state/device.ts'
import { Feeds } from '../../../packages/state/feed.ts'
import { ids, openBench } from './fixture.ts'
import { ProjectPush } from './project.ts'

describe.skipIf(installed === undefined)('a copier', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  async function open() {
    let failure: Failure | undefined
    let meanwhile = async (): Promise<void> => undefined
    const bench = await openBench(server, {
      async append(of, stream, messages, move) {
        if (failure) throw failure
        await meanwhile()
        return streams.appendMoving({ project: of, record: await streams.get(of, stream) }, messages, move)
      },
    })
    const { project, streams } = bench
    const record = await streams.create(project, 's')
    const read = async () => streams.read({ project, record }, 0, 1000)
    return {
      ...bench,
      record,
      read,
      refuse: (message: string | undefined) => {
        failure = message === undefined ? undefined : new Failure('unavailable', message)
      },
      meanwhile: (run: () => Promise<void>) => {
        meanwhile = run
      },
      /** Ids of the events in the stream. */
      copied: async () => (await read()).map(({ properties }) => properties['eventId'] ?? ''),
      copier: () => bench.connector('c', { url: '', stream: 's' }),
    }
  }

  it('copies each event once and in order, as it was accepted, with what is known of it', async () => {
    const { append, connector, copied, project, push, read } = await open()
    await new Devices(server.redis).put(project, { id: 'd', type: 'probe', labels: { zone: 'a' }, productNumber: '' })
    await connector('c', { url: '', stream: 's', labels: ['zone', 'absent'] })
    await push.update()
    const all = ids('e', 900)
    for (let i = 0; i < all.length; i += 100) await append(all.slice(i, i + 100))
    await until('all of them', async () => (await copied()).length >= all.length)
    expect(await copied()).toEqual(all)
    const [first] = await read()
    expect(first).toMatchObject({ key: 'd', eventTimeUs: 1, producer: COPIER })
    expect(first?.properties).toEqual({ device: 'd', eventType: 'temperature', eventId: 'e-0', 'label.zone': 'a' })
    expect(JSON.parse(String(first?.payload))).toMatchObject({ eventId: 'e-0', data: { temperature: { value: 20 } } })
  })

  it('copies only the types asked for, and its place moves past the others', async () => {
    const { append, connector, copied, log, project, push } = await open()
    await connector('c', { url: '', stream: 's', events: ['humidity'] })
    await push.update()
    await append(['wanted'], 'humidity')
    const last = await append(ids('other', 10))
    await until('the place', async () => (await log.place(project, consumerOf('c'))).startsWith(`${last} `))
    expect(await copied()).toEqual(['wanted'])
  })

  it('waits while the stream takes nothing, says so, and loses nothing', async () => {
    const { append, copied, copier, log, progress, project, push, refuse } = await open()
    await copier()
    refuse('stream s does not exist')
    await push.update()
    const place = await log.place(project, consumerOf('c'))
    await append(ids('held', 700))
    await until('it is said', async () => (await progress('c')).failing?.detail === 'stream s does not exist')
    expect(entryOf(await log.place(project, consumerOf('c')))).toBe(entryOf(place))
    refuse('stream s is full')
    await until('it is said', async () => (await progress('c')).failing?.detail === 'stream s is full')
    refuse(undefined)
    await until('all of them', async () => (await copied()).length >= 700)
    expect([await copied(), (await progress('c')).failing]).toEqual([ids('held', 700), undefined])
  })

  it('waits while there is no such stream, and copies everything into the next of that name', async () => {
    const { append, copier, progress, project, push, record, streams } = await open()
    await copier()
    await push.update()
    await append(['before'])
    await until('the first', async () => (await streams.read({ project, record }, 0, 10)).length === 1)
    await streams.remove(project, 's')
    await append(ids('held', 30))
    await until('it is said', async () => (await progress('c')).failing?.detail === 'stream s does not exist')
    const next = { project, record: await streams.create(project, 's') }
    await until('all of them', async () => (await streams.read(next, 0, 100)).length === 30)
  })

  it('waits while one of its events is not as the schema of the stream has it', async () => {
    const { append, copied, copier, progress, project, push, streams } = await open()
    await copier()
    await streams.update(project, 's', { schema: { type: 'json', definition: {} } })
    await push.update()
    await append(['odd'])
    await until('it is said', async () => (await progress('c')).failing?.detail === 'not so')
    await streams.update(project, 's', { schema: undefined })
    await until('it is there', async () => (await copied()).length === 1)
  })

  it('goes on where another one stopped', async () => {
    const { append, copied, copier, ports, progress, project, push, refuse } = await open()
    await copier()
    await push.update()
    await append(ids('first', 20))
    await until('the first', async () => (await copied()).length === 20)
    refuse('full')
    await append(ids('second', 20))
    await until('it waits', async () => (await progress('c')).failing !== undefined)
    await push.stop()
    refuse(undefined)
    const next = new ProjectPush(ports, project, () => undefined)
    onTestFinished(() => next.stop())
    await next.update()
    await until('the second', async () => (await copied()).length === 40 && (await progress('c')).failing === undefined)
    expect(await copied()).toEqual([...ids('first', 20), ...ids('second', 20)])
  })

  it('copies nothing twice when another one was faster meanwhile', async () => {
    const { append, copied, copier, meanwhile, ports, project, push, troubles } = await open()
    await copier()
    const other = new ProjectPush(ports, project, () => undefined)
    onTestFinished(() => other.stop())
    let isFirst = true
    meanwhile(async () => {
      if (!isFirst) return
      isFirst = false
      await other.update()
      await until('the other has it', async () => (await copied()).length === 5)
    })
    await append(ids('e', 5))
    await push.update()
    await until('the slower one noticed', () => troubles() === 1)
    expect(await copied()).toEqual(ids('e', 5))
  })

  it('copies a range again when that is asked for, beside what is new', async () => {
    const { append, connectors, copied, copier, log, progress, project, push } = await open()
    await append(ids('old', 40))
    const last = await log.last(project)
    await copier()
    await push.update()
    await connectors.request(project, 'c', 'replay', { id: 'r1', range: { after: '0-0', until: last, startTime: '', endTime: '' } })
    await push.update()
    await append(['new'])
    await until('it is done', async () => (await progress('c')).tasks.replay?.done === true)
    await until('all of them', async () => (await copied()).length === 41)
    expect((await copied()).filter(id => id !== 'new')).toEqual(ids('old', 40))
    expect((await progress('c')).tasks.replay?.events).toBe(40)
  })

  it('counts what it has copied', async () => {
    const { append, copied, copier, project, push } = await open()
    await copier()
    await push.update()
    await append(ids('e', 30))
    await until('all of them', async () => (await copied()).length === 30)
    await push.stop()
    expect(await summarise(server.redis, project, 'c', Date.now())).toMatchObject({ successCount: 30, errorCount: 0 })
  })

  it('drops what came while it was disabled', async () => {
    const { append, change, copied, copier, push } = await open()
    await copier()
    await push.update()
    await change('c', { status: 'USER_DISABLED' })
    await push.update()
    await append(['dropped'])
    await change('c', { status: 'ACTIVE' })
    await push.update()
    await append(['taken'])
    await until('the last', async () => (await copied()).length > 0)
    expect(await copied()).toEqual(['taken'])
  })

  it('feeds the stream of the devices while it is needed', async () => {
    const feeds = new Feeds(server.redis, async () => undefined)
    let isSubscribed = true
    const { append, project, push, streams } = await openBench(server, { isFed: of => feeds.runs(of, async () => isSubscribed) })
    const ref = { project, record: await streams.get(project, DEVICES) }
    expect(await push.update()).toBe('none')
    await append(['before'])
    await feeds.need(project, 'latest')
    expect(await push.update()).toBe('active')
    await append(['one'])
    await until('it is there', async () => (await streams.stats(ref)).lastSeq === 1)
    await server.redis.set(projectKey(project, 'feed'), 1)
    expect(await push.update()).toBe('active')
    isSubscribed = false
    await server.redis.set(projectKey(project, 'feed'), 1)
    expect(await push.update()).toBe('none')
    await append(['after'])
    expect((await streams.read(ref, 0, 10)).map(({ properties }) => properties['eventId'])).toEqual(['one'])
  })
})

function entryOf(place: string): string {
  return place.split(' ')[0] ?? ''
}
