// Who pushes for which project, on a real Redis: changes are seen at once, and only by those that they concern.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { projectKey } from '../../../packages/log/key.ts'
import { type Change, Connectors } from '../../../packages/state/connector.ts'
import { Connecting } from './connector.ts'
import { openBench } from './fixture.ts'
import type { ConnectorPorts } from './project.ts'

describe.skipIf(installed === undefined)('the data connectors of a process', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  /** Which projects were looked at, in order. */
  class Watched extends Connectors {
    readonly listed: string[] = []
    override list(project: string) {
      this.listed.push(project)
      return super.list(project)
    }
  }

  function start(ports: ConnectorPorts) {
    const connecting = new Connecting(ports, 1)
    connecting.start()
    onTestFinished(() => connecting.stop())
    return connecting.open(0)
  }

  it('follow what is changed, and look only at the projects in which something has', async () => {
    const watched = new Watched(server.redis)
    const [one, other] = [await openBench(server), await openBench(server)]
    start({ ...one.ports, connectors: watched })
    await one.connector('a')
    await other.connector('b')
    const { projects } = await watched.changes(0)
    const isSeen = async ({ project, version }: Change) => Number(await server.redis.get(projectKey(project, 'connectorsSeen'))) >= version
    await until('both were looked at', async () => (await Promise.all(projects.map(isSeen))).every(Boolean))
    expect([one, other].every(({ project }) => watched.listed.includes(project))).toBe(true)
    await one.append(['one'])
    await until('it is pushed', () => one.receiver.taken('/a').includes('one'))
    watched.listed.length = 0
    await watched.change(one.project, 'a', before => ({ ...before, status: 'USER_DISABLED' }), '0-0')
    expect(watched.listed).not.toContain(other.project)
    await one.append(['two'])
    await watched.change(one.project, 'a', before => ({ ...before, status: 'ACTIVE' }), await one.log.last(one.project))
    await one.append(['three'])
    await until('the next is pushed', () => one.receiver.taken('/a').includes('three'))
    expect(one.receiver.taken('/a')).toEqual(['one', 'three'])
  })

  it('forget a project without any, and leave nothing behind that stays', async () => {
    const { connector, connectors, ports, project } = await openBench(server)
    start(ports)
    await connector('a')
    await connectors.remove(project, 'a')
    await until('it is forgotten', async () => (await connectors.changes(0)).projects.every(one => one.project !== project))
    expect(await server.redis.ttl(projectKey(project, 'connectorsSeen'))).toBeGreaterThan(0)
  })

  it('are found again by whoever gets their partition', async () => {
    const { append, connector, ports, receiver } = await openBench(server)
    await connector('a')
    await start(ports).stop()
    start(ports)
    await append(['one'])
    await until('it is pushed', () => receiver.taken('/a').includes('one'))
  })
})

describe.skipIf(installed === undefined)('the changes of connectors', () => {
  let server: TestRedis
  beforeAll(async () => {
    server = await openTestRedis()
  })
  afterAll(() => server.stop())

  it('are told by project, the last one first, and not forgotten when there was another one since', async () => {
    const one = await openBench(server)
    const other = await openBench(server)
    await one.connector('a')
    const { version, projects } = await one.connectors.changes(0)
    await other.connector('b')
    const later = await one.connectors.changes(version)
    expect(later.projects.map(({ project }) => project)).toEqual([other.project])
    await one.connector('c')
    for (const change of projects) await one.connectors.forget(change)
    expect((await one.connectors.changes(0)).projects.map(({ project }) => project)).toEqual([one.project, other.project])
  })
})
