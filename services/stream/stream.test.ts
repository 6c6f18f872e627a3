// Streams on a real log, behind whichever door: all projects as one, and every way in which a stream ends.
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DeviceEvent } from '../../packages/core/event.ts'
import { type Caller, Identity } from '../../packages/identity/identity.ts'
import { batchOf, freshProject, installed, openTestRedis, type TestRedis, until } from '../../packages/log/fixture.ts'
import { Followers } from '../../packages/log/follow.ts'
import { projectKey } from '../../packages/log/key.ts'
import { Log } from '../../packages/log/log.ts'
import { newId } from '../../packages/runtime/id.ts'
import { Accounts } from '../../packages/state/account.ts'
import { Devices } from '../../packages/state/device.ts'
import { Members } from '../../packages/state/member.ts'
import { type Format, LAST_INDEX, type Subject } from './frame.ts'
import { AllCursors } from './place.ts'
import { parseQueryText } from './query.ts'
import { socketSink } from './sink.ts'
import { STREAM_OF, type StreamPorts, Streams } from './stream.ts'
import { beginAll } from './wildcard.ts'

describe.skipIf(installed === undefined)('streams', () => {
  let server: TestRedis
  let identity: Identity
  let log: Log
  let followers: Followers
  const all: Streams[] = []

  beforeAll(async () => {
    server = await openTestRedis()
    identity = new Identity(server.redis, 'a secret key of more than thirty-two characters')
    log = new Log(await server.connect(), [])
    followers = new Followers({ log, connect: () => server.connect(), troubled: error => expect(error).toBeUndefined() })
  })
  afterAll(async () => {
    for (const streams of all) await streams.stop()
    await identity.close()
    await server.stop()
  })

  function open(more: Partial<StreamPorts> = {}): Streams {
    const streams = new Streams({
      log,
      store: { past: () => Promise.reject(new Error('nothing was trimmed')) },
      devices: new Devices(server.redis),
      follow: (project, stream, follower) => followers.follow(project, stream, follower),
      renew: caller => identity.renew(caller),
      watch: (caller, ended, project) => identity.watch(caller, ended, project),
      opened: () => {},
      followed: () => () => {},
      troubled: error => expect(error).toBeUndefined(),
      delivered: () => {},
      nowUs: () => Date.now() * 1000,
      newId: () => newId(),
      cursorKey: 'key',
      maxAgeMs: 0,
      maxPerKey: 100,
      ...more,
    })
    all.push(streams)
    return streams
  }

  async function callerOf(...projects: string[]): Promise<Caller> {
    const keyId = newId()
    await identity.put(keyId, 'secret of sixteen', `${keyId}@test`, Object.fromEntries(projects.map(project => [project, 'user' as const])))
    const caller = await identity.verify(keyId, 'secret of sixteen')
    if (!caller) throw new Error('no caller')
    return caller
  }

  type Reading = { text(): string; ids(): string[]; cursors(): string[]; ended(): boolean; leave(): void }

  async function read(
    streams: Streams,
    caller: Caller,
    project: string,
    query = '',
    how: { format?: Format; subject?: Subject } = {},
  ): Promise<Reading> {
    const { format = 'ndjson', subject = 'event' } = how
    const ready = await streams.open({ caller, project, subject, query: parseQueryText(query) })
    const out = new PassThrough()
    let text = ''
    let ended = false
    out.setEncoding('latin1').on('data', (part: string) => {
      text += part
    })
    out.on('end', () => {
      ended = true
    })
    const leave = ready.begin(socketSink(out, format, ready.frames))
    out.once('close', leave)
    return {
      text: () => text,
      ids: () => [...text.matchAll(/"eventId":"([^"]+)"/g)].map(([, id]) => id as string),
      cursors: () => [...text.matchAll(/(?:"cursor":"|^id: )([^"\n]+)/gm)].map(([, cursor]) => cursor as string),
      ended: () => ended,
      leave,
    }
  }

  const send = (project: string, ...ids: string[]) =>
    log.append(
      project,
      batchOf(
        project,
        ids.map(id => ({ device: 'd', timeUs: 1, id })),
      ),
    )

  describe('of all projects', () => {
    it('are one stream, whose cursor goes on in each of them', async () => {
      const [a, b, c] = [freshProject(), freshProject(), freshProject()]
      const caller = await callerOf(a, b, c)
      await send(a, 'before')
      const streams = open()
      const first = await read(streams, caller, '-')
      await send(a, 'a1', 'a2', 'a3')
      await send(b, 'b1')
      await until('all are there', () => first.ids().length === 4)
      await send(a, 'a4')
      await until('a4 is there', () => first.ids().length === 5)
      first.leave()
      await send(b, 'b2')
      await send(c, 'c1')
      const seen = first.ids()
      for (const [i, cursor] of first.cursors().entries()) {
        const again = await read(streams, caller, '-', `cursor=${encodeURIComponent(cursor)}`)
        const missing = ['a1', 'a2', 'a3', 'b1', 'a4', 'b2', 'c1'].filter(id => !seen.slice(0, i + 1).includes(id))
        await until('what was missing is there', () => again.ids().length >= missing.length)
        expect(again.ids().toSorted()).toEqual(missing.toSorted())
        again.leave()
      }
    })

    it('resume from a time, by SSE too, and filter', async () => {
      const [a, b] = [freshProject(), freshProject()]
      const caller = await callerOf(a, b)
      const since = new Date(Date.now() - 1000).toISOString()
      await send(a, 'x1')
      await log.append(
        b,
        batchOf(b, [
          { device: 'e', timeUs: 1, id: 'x2' },
          { device: 'f', timeUs: 1, id: 'x3' },
        ]),
      )
      const reading = await read(open(), caller, '-', `since=${since}&device_ids=d&device_ids=e`, { format: 'sse' })
      await until('both are there', () => reading.ids().length === 2)
      expect(reading.ids().toSorted()).toEqual(['x1', 'x2'])
      expect(reading.cursors()).toHaveLength(2)
    })

    it('take in a project that becomes visible, from where the stream began', async () => {
      const [a, b] = [freshProject(), freshProject()]
      const caller = await callerOf(a)
      const reading = await read(open(), caller, '-')
      await send(b, 'early')
      await identity.put(caller.keyId, 'secret of sixteen', caller.account, { [a]: 'user', [b]: 'user' })
      await until('the new project is followed', () => reading.ids().includes('early'), 6000)
      await send(b, 'later')
      await until('and goes on', () => reading.ids().includes('later'))
      expect(reading.ids()).toEqual(['early', 'later'])
    })

    it('refuse cursors of other streams, forged ones, and those ahead of the log', async () => {
      const a = freshProject()
      const caller = await callerOf(a)
      const streams = open()
      const reading = await read(streams, caller, '-')
      await send(a, 'f1')
      await until('it is there', () => reading.ids().length === 1)
      const cursor = reading.cursors()[0] as string
      const refused = (text: string, subject: Subject = 'event') =>
        expect(read(streams, caller, '-', `cursor=${encodeURIComponent(text)}`, { subject }), text).rejects.toThrow(/^cursor: /)
      for (const text of [
        'x',
        'e.',
        `${cursor}~`,
        `${cursor}.0.0.0`,
        `${cursor}${cursor.slice(cursor.indexOf('~'))}`,
        cursor.replace(/^e\.\w+/, 'e.zzzzzzzz'),
        cursor.replace(/^e\.\w+/, 'e.1'),
        cursor.replace(/~.*-/, '-'),
        cursor.replace(/(~\w+\.\w+)\.\w+/, '$1.1'),
        cursor.slice(0, cursor.indexOf('~')),
      ])
        await refused(text)
      await refused(cursor, 'alarm')
      await refused(cursor.replace(/(~\w+\.)\w+/, '$1zzzzzzzz'))
      const own = await read(streams, caller, a)
      await send(a, 'f2')
      await until('it is there', () => own.cursors().length === 1)
      await refused(own.cursors()[0] as string)
      await expect(read(streams, caller, a, `cursor=${encodeURIComponent(cursor)}`)).rejects.toThrow(/^cursor: /)
    })

    it('begin again from now, not from when they first began', async () => {
      const [busy, silent, invisible] = [freshProject(), freshProject(), freshProject()]
      await send(silent, 'long ago')
      const sentMs = await log.clockMs()
      await until('it is long ago', async () => (await log.clockMs()) > sentMs)
      const cursors = new AllCursors('key', 'event')
      const query = parseQueryText('')
      const begin = await beginAll(log, 'event', cursors, [busy, silent], query)
      await send(busy, 'since')
      await until('it is later', async () => (await log.clockMs()) > begin.baseMs + 1)
      const nowMs = await log.clockMs()
      const cursor = cursors.format(cursors.head(begin), { tag: cursors.tagOf(invisible), place: { entryId: '7-7', index: 3 } })
      const again = await beginAll(log, 'event', cursors, [busy, silent], { ...query, cursor })
      expect(again.baseMs).toBeGreaterThanOrEqual(nowMs)
      expect(Object.fromEntries(again.places)).toEqual({
        [cursors.tagOf(busy)]: { entryId: `${begin.baseMs - 1}-${Number.MAX_SAFE_INTEGER}`, index: LAST_INDEX },
        [cursors.tagOf(invisible)]: { entryId: '7-7', index: 3 },
      })
      const last = await beginAll(log, 'event', cursors, [busy, silent], { ...query, cursor: cursors.format(cursors.head(again)) })
      expect(last.places).toEqual(again.places)
    })

    it('name their own cursors in a gap, from which they go on', async () => {
      const [a, b] = [freshProject(), freshProject()]
      const caller = await callerOf(a, b)
      const first = await read(open(), caller, '-')
      await send(a, 'g1')
      await until('it is there', () => first.ids().length === 1)
      const gone = (await send(a, 'g2')).entryId as string
      await log.trim(a, (await send(a, 'g3')).entryId as string)
      const behind = { entryId: gone, index: LAST_INDEX }
      const streams = open({ store: { past: async ({ after }) => ({ gap: { after, to: behind }, events: [], next: behind }) } })
      const again = await read(streams, caller, '-', `cursor=${first.cursors()[0]}`)
      await until('what is left is there', () => again.ids().length === 2)
      const { event, cursor } = (JSON.parse(again.text().split('\n')[0] ?? '') as { result: { event: DeviceEvent; cursor: string } }).result
      const { from, to } = event.data['gap'] as { from: string; to: string }
      const placesOf = (text: string | undefined) => text?.replace(/^[^~]*|-\w+$/g, '')
      expect([event.targetName, placesOf(from), cursor]).toEqual([`projects/${a}`, placesOf(first.cursors()[0]), to])
      await expect(read(streams, caller, '-', `cursor=${from}`)).resolves.toBeDefined()
      const behindIt = await read(streams, caller, '-', `cursor=${to}`)
      await until('what is left is there again', () => behindIt.ids().length === 1)
      expect(behindIt.ids()).toEqual(['g3'])
    })

    it('are at most 500', async () => {
      const caller: Caller = {
        keyId: 'many',
        account: 'm',
        roles: Object.fromEntries(Array.from({ length: 501 }, (_, i) => [`p${i}`, 'user' as const])),
      }
      await expect(read(open(), caller, '-')).rejects.toThrow('project: "-" stands for at most 500 projects, and you see 501: name one')
    })
  })

  it.each(['event', 'alarm'] as const)('come back from a ping, whatever else has gone by and is gone meanwhile (%s)', async subject => {
    const project = freshProject()
    const caller = await callerOf(project)
    const key = projectKey(project, subject === 'event' ? 'log' : 'alarmlog')
    const add = async (device: string) => server.redis.xadd(key, '*', 'i', `${device}\ttype\t1`, 'f', `{"eventId":"${device}"}`)
    const streams = open()
    const query = 'device_ids=seldom&ping_interval=1s'
    const readings = await Promise.all([project, '-'].map(name => read(streams, caller, name, query, { subject })))
    await add('seldom')
    await until('it is there', () => readings.every(({ ids }) => ids().includes('seldom')))
    await add('often')
    await until('a ping has come', () => readings.every(({ text }) => text().split('"ping"').length === 3), 3000)
    await log.trim(project, '99999999999999-0', STREAM_OF[subject])
    for (const [i, name] of [project, '-'].entries()) {
      readings[i]?.leave()
      const again = await read(streams, caller, name, `${query}&cursor=${readings[i]?.cursors().at(-1)}`, { subject })
      readings[i] = again
    }
    await add('seldom')
    await until('it is there', () => readings.every(({ ids }) => ids().includes('seldom')))
    for (const { text } of readings) expect(text()).not.toMatch(/"gap"|error/)
  })

  it('have the first entry of the very millisecond in which they begin', async () => {
    const project = freshProject()
    const caller = await callerOf(project)
    const key = projectKey(project, 'log')
    const add = (ms: number, id: string) => server.redis.xadd(key, `${ms}-0`, 'i', 'd\ttype\t1', 'f', `{"eventId":"${id}"}`)
    const all = await read(open(), caller, '-', 'ping_interval=1s')
    await until('a ping has come', () => all.cursors().length > 0)
    await add(Number.parseInt(/^e\.(\w+)/.exec(all.cursors()[0] ?? '')?.[1] ?? '', 36), 'first')
    await until('it is there', () => all.ids().includes('first'))
    const sinceMs = Date.now() + 10_000
    const streams = open({ nowUs: () => (sinceMs + 1) * 1000 })
    const since = await read(streams, caller, project, `since=${new Date(sinceMs).toISOString()}`)
    await add(sinceMs, 'second')
    await until('it is there', () => since.ids().includes('second'))
    expect(since.ids()).toEqual(['second'])
  })

  it('are followed no more some time after the last follower has left, and again for the next', async () => {
    const [a, b] = [freshProject(), freshProject()]
    const caller = await callerOf(a, b)
    const following = new Set<string>()
    let stops = 0
    const streams = open({
      lingerMs: 50,
      follow: async (project, stream, follower) => {
        const followed = await followers.follow(project, stream, follower)
        following.add(project)
        return {
          ...followed,
          stop: async () => {
            stops++
            following.delete(project)
            await followed.stop()
          },
        }
      },
    })
    const [one, all] = await Promise.all([read(streams, caller, a), read(streams, caller, '-')])
    const other = await read(streams, caller, a)
    expect([...following].toSorted()).toEqual([a, b].toSorted())
    all.leave()
    other.leave()
    await until('one is not followed', () => following.size === 1)
    expect([...following]).toEqual([a])
    one.leave()
    await until('none is', () => following.size === 0)
    for (let i = 0; i < 10; i++) {
      const again = await read(streams, caller, a)
      await send(a, `again ${i}`)
      await until('it is followed again', () => again.ids().length === 1)
      again.leave()
      if (i % 2 === 0) await until('it is over again', () => following.size === 0)
    }
    expect(stops).toBeGreaterThan(3)
  })

  it('go on from the log while the store does not answer others', async () => {
    const project = freshProject()
    const caller = await callerOf(project)
    const [gone, kept] = [await send(project, 's1'), await send(project, 's2')]
    await log.trim(project, kept.entryId as string)
    await send(project, 's3')
    const streams = open({ store: { past: () => new Promise(() => {}) } })
    const { frames } = await streams.open({ caller, project, subject: 'event', query: parseQueryText('') })
    const from = (entryId: string | undefined) => `cursor=${frames.cursor(entryId ?? '', 0)}`
    await Promise.all(Array.from({ length: 10 }, () => read(streams, caller, project, from(gone.entryId))))
    const reading = await read(streams, caller, project, from(kept.entryId))
    await until('it goes on', () => reading.ids().length === 1)
    expect(reading.ids()).toEqual(['s3'])
  })

  describe('end', () => {
    it('when they have lasted long enough', async () => {
      const project = freshProject()
      const reading = await read(open({ maxAgeMs: 100 }), await callerOf(project), project)
      await until('it ended', () => reading.ended())
      expect(reading.text()).toMatch(
        /^\{"error":\{"code":408,.*"httpStatus":"Request Timeout","message":"closing stream","details":\[\]\}\}\n$/,
      )
    })

    it('by age spread over the last tenth of it, and never later', async () => {
      const project = freshProject()
      const caller = await callerOf(project)
      const streams = open({ maxAgeMs: 1500 })
      const startedMs = performance.now()
      const readings = await Promise.all(Array.from({ length: 40 }, () => read(streams, caller, project)))
      const openMs = performance.now() - startedMs
      const ends = await Promise.all(
        readings.map(async ({ ended }) => {
          await until('it ended', ended, 3000)
          return performance.now() - startedMs
        }),
      )
      expect(Math.min(...ends)).toBeGreaterThan(1345)
      expect(Math.max(...ends) - Math.min(...ends)).toBeGreaterThan(openMs + 50)
      expect(Math.max(...ends)).toBeLessThan(1500 + openMs + 100)
    })

    it('shortly after the token expired, in a way after which clients come back with a new one', async () => {
      const project = freshProject()
      const caller = { ...(await callerOf(project)), expiresMs: Date.now() + 100 }
      const startedMs = performance.now()
      const reading = await read(open(), caller, project)
      await until('it ended', () => reading.ended())
      expect(performance.now() - startedMs).toBeLessThan(3000)
      expect(JSON.parse(reading.text())).toMatchObject({
        error: { code: 408, message: 'closing stream: the access token expired; come back with a new one' },
      })
    })

    it.each(['ndjson', 'sse'] as const)('within a second of losing the right to them (%s)', async format => {
      const [project, other] = [freshProject(), freshProject()]
      const caller = await callerOf(project, other)
      const streams = open()
      const [one, left, every] = await Promise.all([
        read(streams, caller, project, '', { format }),
        read(streams, caller, other, '', { format }),
        read(streams, caller, '-', '', { format }),
      ])
      const members = new Members(server.redis)
      const [member] = (await members.list(`projects/${project}`)) as { account: string }[]
      await members.remove(`projects/${project}`, member?.account ?? '')
      const startedMs = performance.now()
      await until('they ended', () => one.ended() && every.ended())
      expect(performance.now() - startedMs).toBeLessThan(1500)
      expect(one.text()).toMatch(/\{"error":\{"code":401,.*taken away/)
      expect(every.text()).toMatch(/\{"error":\{"code":408,.*"closing stream: the role in project/)
      expect(left.ended()).toBe(false)
    })

    it('of one project and of all alike when the key is revoked: nobody comes back', async () => {
      const project = freshProject()
      const caller = await callerOf(project)
      const streams = open()
      const [one, every] = await Promise.all([read(streams, caller, project), read(streams, caller, '-')])
      const accounts = new Accounts(server.redis)
      await accounts.removeKey(caller.keyId, caller.keyId)
      await until('they ended', () => one.ended() && every.ended())
      for (const reading of [one, every]) expect(reading.text()).toMatch(/\{"error":\{"code":401,.*"the key was revoked"/)
    })

    it('when the server stops, spread over seconds, and SSE clients are told when to come back', async () => {
      const project = freshProject()
      const caller = await callerOf(project)
      const streams = open({ maxPerKey: 1000 })
      const readings = await Promise.all(Array.from({ length: 300 }, () => read(streams, caller, project, '', { format: 'sse' })))
      const startedMs = performance.now()
      const stopped = streams.stop()
      await expect(read(streams, caller, project)).rejects.toMatchObject({ code: 'unavailable' })
      await stopped
      const tookMs = performance.now() - startedMs
      expect(tookMs).toBeGreaterThan(800)
      expect(tookMs).toBeLessThan(5000)
      await until('all ended', () => readings.every(reading => reading.ended()))
      const retries = new Set<string>()
      for (const reading of readings) {
        const [, first, last] = /^retry: (\d+)\n\nretry: (\d+)\n\ndata: \{"error":\{"code":408,.*\n\n$/.exec(reading.text()) ?? []
        expect(Number(first)).toBeGreaterThanOrEqual(1000)
        retries.add(last as string)
      }
      expect(retries.size).toBeGreaterThan(100)
    })
  })

  it('are counted per key, and one more than may be is refused until another ends', async () => {
    const project = freshProject()
    const caller = await callerOf(project)
    const streams = open({ maxPerKey: 2 })
    const [first] = await Promise.all([read(streams, caller, project), read(streams, caller, project)])
    await expect(read(streams, caller, project)).rejects.toMatchObject({ code: 'too_many', retryAfterMs: expect.any(Number) })
    await read(streams, await callerOf(project), project)
    first?.leave()
    first?.leave()
    await read(streams, caller, project)
    await expect(read(streams, caller, project)).rejects.toMatchObject({ code: 'too_many' })
  })
})
