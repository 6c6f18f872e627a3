// Who needs the device events as a durable stream, on a real Redis: from where they are fed, and until when.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { DEVICES } from '../core/stream.ts'
import { Dispatch } from '../log/durable/dispatch.ts'
import { DurableStreams } from '../log/durable/stream.ts'
import { Subscriptions } from '../log/durable/subscription.ts'
import { batchOf, freshProject, installed, openTestRedis, type TestRedis } from '../log/fixture.ts'
import { projectKey } from '../log/key.ts'
import { Log } from '../log/log.ts'
import { Connectors, consumerOf } from './connector.ts'
import { FEED, Feeds } from './feed.ts'

describe.skipIf(installed === undefined)('the feed of a project', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  function open() {
    const { redis } = server
    const [project, log, connectors] = [freshProject(), new Log(redis, []), new Connectors(redis)]
    const feeds = new Feeds(redis, of => connectors.touch(of))
    const append = async () => (await log.append(project, batchOf(project, [{ device: 'd', timeUs: 1 }]))).entryId as string
    const place = () => log.place(project, consumerOf(FEED))
    const forget = () => redis.set(projectKey(project, 'feed'), 1)
    const isNoticed = async () => (await connectors.changes(0)).projects.some(one => one.project === project)
    return { project, log, feeds, append, place, forget, isNoticed }
  }
  const nobody = async () => false

  it('does not run, and costs those who copy nothing, while nobody needs it', async () => {
    const { append, feeds, isNoticed, place, project } = open()
    await append()
    expect([await feeds.runs(project, nobody), await isNoticed(), await place()]).toEqual([false, false, ''])
  })

  it('begins behind the newest event, and those who copy notice', async () => {
    const { append, feeds, isNoticed, place, project } = open()
    const last = await append()
    await feeds.need(project, 'latest')
    expect([await feeds.runs(project, nobody), await isNoticed(), await place()]).toEqual([true, true, `${last} 1`])
  })

  it('begins with what the log still has when that is asked for', async () => {
    const { append, feeds, log, place, project } = open()
    const gone = await append()
    await log.trim(project, await append())
    await feeds.need(project, 'oldest')
    expect(await place()).toBe(`${gone} 1`)
  })

  it('stays where it is when another one needs it', async () => {
    const { append, feeds, place, project } = open()
    const first = await append()
    await feeds.need(project, 'latest')
    await append()
    await feeds.need(project, 'latest')
    await feeds.need(project, 'oldest')
    expect(await place()).toBe(`${first} 1`)
  })

  it('ends when nobody has said lately that it is needed and nothing is subscribed', async () => {
    const { feeds, forget, project } = open()
    await feeds.need(project, 'latest')
    await forget()
    expect(await feeds.runs(project, async () => true)).toBe(true)
    expect(await feeds.runs(project, nobody)).toBe(true)
    await forget()
    expect([await feeds.runs(project, nobody), await feeds.runs(project, nobody)]).toEqual([false, false])
  })

  it('does not end when it is needed again in that moment', async () => {
    const { feeds, forget, project } = open()
    await feeds.need(project, 'latest')
    await forget()
    const late = async () => {
      await feeds.need(project, 'latest')
      return false
    }
    expect(await feeds.runs(project, late)).toBe(true)
    expect(await feeds.runs(project, nobody)).toBe(true)
  })

  it('goes on where it ended when the oldest is asked for, and else with the next event', async () => {
    const { append, feeds, forget, place, project } = open()
    const first = await append()
    await feeds.need(project, 'latest')
    await forget()
    await feeds.runs(project, nobody)
    await append()
    await feeds.need(project, 'oldest')
    expect(await place()).toBe(`${first} 2`)
    await forget()
    await feeds.runs(project, nobody)
    const last = await append()
    await feeds.need(project, 'latest')
    expect(await place()).toBe(`${last} 3`)
  })

  describe('is needed', () => {
    function openStreams() {
      const bench = open()
      const streams = new DurableStreams(server.redis)
      const subscriptions = new Subscriptions(server.redis, streams, (of, start) => bench.feeds.need(of, start))
      const dispatch = new Dispatch({
        streams,
        subscriptions,
        connect: () => server.connect(),
        troubled: error => console.warn(error.message),
      })
      onTestFinished(() => dispatch.stop())
      const refTo = async (name: string) => ({ project: bench.project, record: await streams.ensure(bench.project, name) })
      return { ...bench, dispatch, refTo, subscriptions }
    }

    it('by who subscribes: from the next event on, unless the oldest are asked for', async () => {
      const [one, other] = [openStreams(), openStreams()]
      const last = await one.append()
      await one.subscriptions.create(await one.refTo(DEVICES), 's', 'shared')
      expect(await one.place()).toBe(`${last} 1`)
      await other.append()
      await other.subscriptions.create(await other.refTo(DEVICES), 's', 'shared', 'oldest')
      expect(await other.place()).toBe('0-0 1')
    })

    it('by who waits for what comes', async () => {
      const { dispatch, feeds, project, refTo } = openStreams()
      const stop = await dispatch.watch(await refTo(DEVICES), () => undefined)
      onTestFinished(stop)
      expect(await feeds.runs(project, nobody)).toBe(true)
    })

    it('by nobody who uses another stream', async () => {
      const { dispatch, feeds, project, refTo, subscriptions } = openStreams()
      await subscriptions.create(await refTo('other'), 's', 'shared', 'oldest')
      onTestFinished(await dispatch.watch(await refTo('other'), () => undefined))
      expect(await feeds.runs(project, nobody)).toBe(false)
    })
  })
})
