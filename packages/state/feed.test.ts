// Who needs the device events as a durable stream, on a real Redis: from where they are fed, and until when.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
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
})
