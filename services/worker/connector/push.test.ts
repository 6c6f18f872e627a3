// Pushing to one connector that refuses some events for good: the others are not held up, and what is given up is counted.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { Log } from '../../../packages/log/log.ts'
import { type Connector, Connectors, consumerOf } from '../../../packages/state/connector.ts'
import type { Outcome } from './attempt.ts'
import { LogLane } from './lane.ts'
import { type Item, Open } from './open.ts'
import { Pusher } from './push.ts'

const TAKEN: Outcome = { ok: true, refused: false, ms: 1, detail: 'status 200 after 1 ms', retryAfterMs: undefined }
const REFUSED: Outcome = { ...TAKEN, ok: false, refused: true, detail: 'status 400 after 1 ms' }
const BROKEN: Outcome = { ...TAKEN, ok: false, detail: 'status 503 after 1 ms' }
/** So many of these have room. */
const ROOM = 64
const LARGE = (4 * 1024 * 1024) / ROOM
const NEVER = { entryId: '9-0', index: 999_999 }

describe.skipIf(installed === undefined)('a pusher', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  /** These events in a row, and a clock that can be put forward. */
  async function start(types: readonly string[], answer: (item: Item) => Outcome, size = 0, clock = () => performance.now()) {
    const [log, connectors, project] = [new Log(server.redis, []), new Connectors(server.redis), freshProject()]
    const nothing = { displayName: '', events: [], labels: [], url: '', headers: '', signatureSecret: '' }
    const connector: Connector = { id: 'a', status: 'ACTIVE', ...nothing }
    await connectors.create(project, connector, '0-0')
    const attempts: string[] = []
    const dropped: number[] = []
    let aheadMs = 0
    const laneOf = (prefix: 'l' | 'r', until: string | undefined) => {
      const events = types.map((frame, index) => ({
        place: { entryId: '1-0', index },
        event: { device: 'd', eventType: frame, timeUs: 1, frame: `${frame}-${index}`.padEnd(size, '.') },
      }))
      const read = async () => ({ gone: undefined, events: events.splice(0), next: NEVER })
      return new LogLane({ prefix, until, read, wants: () => true, missed: () => undefined }, '0-0')
    }
    const live = laneOf('l', undefined)
    const open = new Open({}, 0)
    const post = async (item: Item) => {
      attempts.push(item.key)
      return answer(item)
    }
    const ports = {
      log,
      project,
      id: 'a',
      open,
      live,
      target: '',
      post,
      giveUpMs: 1e9,
      giveUp: async () => undefined,
      dropped: (_: Item, __: string, count: number) => void dropped.push(count),
      attempted: () => undefined,
      lost: () => undefined,
      troubled: () => undefined,
      nowMs: () => clock() + aheadMs,
      wallMs: () => Date.now() + aheadMs,
      random: () => 0,
    }
    const pusher = new Pusher(ports, '0-0 0', undefined)
    onTestFinished(() => pusher.stop())
    return {
      pusher,
      open,
      attempts,
      dropped,
      laneOf,
      pass: (ms: number) => {
        aheadMs += ms
        pusher.pump()
      },
      place: async () => log.place(project, consumerOf('a')),
      progress: async () => connectors.progress(project, connector),
    }
  }

  it('gives up the oldest of those that are refused again and again when there is no more room, and counts them', async () => {
    const types = Array.from({ length: 100 }, (_, i) => (i < 10 || i >= 90 ? 'good' : 'bad'))
    const { open, pass, progress, dropped } = await start(types, ({ frame }) => (frame.startsWith('good') ? TAKEN : REFUSED), LARGE)
    await until('the last was taken', async () => {
      pass(500)
      const { dropped } = await progress()
      return dropped > 0 && dropped === 80 - open.size
    })
    expect([open.has('l1-0:10'), open.has('l1-0:89'), open.has('l1-0:99')]).toEqual([false, true, false])
    // Some at a time are said.
    expect(dropped).toEqual([1])
  })

  it('tries again what becomes due between the last look and going to sleep', async () => {
    let nowMs = 0
    const next: number[] = []
    const clock = () => {
      nowMs = next.shift() ?? nowMs
      return nowMs
    }
    const answers = [BROKEN]
    const { attempts, open, pusher, place } = await start(['any'], () => answers.shift() ?? TAKEN, 0, clock)
    pusher.pump()
    await until('it has failed, and that is noted', async () => open.nextDueMs === 500 && (await place()) === '9-0 1')
    next.push(499.9, 500.1)
    pusher.pump()
    await until('it is tried again', () => attempts.length === 2, 2000)
  })

  it('gives up none while the receiver is broken, however little room there is', async () => {
    const { attempts, open, pass, pusher, progress } = await start(
      Array.from({ length: 100 }, () => 'any'),
      () => BROKEN,
      LARGE,
    )
    // One attempt at a time, and half a minute in between.
    await until(
      'those that have room were tried again and again',
      () => {
        pass(60_000)
        return attempts.length > 3 * ROOM
      },
      20_000,
    )
    await pusher.stop()
    expect([open.size, open.hasRoom, (await progress()).dropped]).toEqual([ROOM, false, 0])
  }, 30_000)

  it('what is refused now and then does not slow down the others', async () => {
    const types = Array.from({ length: 400 }, (_, i) => (i % 2 === 0 ? 'bad' : 'good'))
    const { attempts, open, pass } = await start(types, ({ frame }) => (frame.startsWith('good') ? TAKEN : REFUSED))
    pass(0)
    await until('all were tried', () => new Set(attempts).size === 400)
    expect(open.size).toBe(200)
  })

  it('a replay ends when everything was tried, and a later one leaves out what is still open', async () => {
    const { attempts, laneOf, open, progress, pusher } = await start(['good', 'bad', 'good'], ({ key, frame }) =>
      key.startsWith('l') || frame.startsWith('good') ? TAKEN : REFUSED,
    )
    pusher.addTask('replay', 'r1', laneOf('r', '1-0'), 0)
    await until('it has ended', async () => !pusher.has('replay', 'r1'))
    expect([open.size, open.has('r1-0:1')]).toEqual([1, true])
    const { length } = attempts.filter(key => key === 'r1-0:1')
    pusher.addTask('replay', 'r2', laneOf('r', '1-0'), 0)
    await until('that too', () => !pusher.has('replay', 'r2'))
    expect([open.size, attempts.filter(key => key === 'r1-0:1').length]).toEqual([1, length])
    expect((await progress()).dropped).toBe(0)
  })
})
