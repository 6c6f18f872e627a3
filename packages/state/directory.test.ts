// The directory on a real Redis: nodes come with their first heartbeat and go with their last, and what they hold goes with them.
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../log/fixture.ts'
import { Directory } from './directory.ts'
import { Heartbeat } from './heartbeat.ts'
import { type NodeFacts, Nodes } from './node.ts'
import { type Leave, Presence } from './presence.ts'

/** Far more than a dead node takes to disappear. */
const GONE_MS = 15_000

describe.skipIf(installed === undefined)('the directory', () => {
  let server: TestRedis
  let nodes: Nodes
  beforeAll(async () => {
    server = await openTestRedis()
    nodes = new Nodes(server.redis)
  })
  afterAll(() => server.stop())

  let count = 0
  async function startNode(change: Partial<NodeFacts> = {}) {
    const presence = new Presence((await nodes.list()).nowMs)
    const crossings: string[] = []
    const facts: NodeFacts = {
      id: `node-${++count}`,
      address: '10.0.0.1',
      region: 'local',
      roles: ['gateway', 'stream'],
      connections: 0,
      capacity: 100,
      startedMs: presence.nowMs(),
      trafficMs: 0,
      ...change,
    }
    const load = { connections: facts.connections }
    const heartbeat = new Heartbeat({
      nodes,
      presence,
      facts: () => ({ ...facts, ...load }),
      troubled: error => expect(error).toBeUndefined(),
      paceMs: 50,
      crossed: (isAbove, percent, threshold) => crossings.push(`${isAbove} ${percent} ${threshold}`),
    })
    await heartbeat.start()
    onTestFinished(() => heartbeat.stop())
    return { id: facts.id, presence, heartbeat, load, crossings }
  }
  const listed = async () => (await nodes.list()).nodes.map(({ id }) => id)
  /** Read anew, where a test must see what has just changed. */
  const read = () => new Directory(nodes).snapshot()
  const found = async (project: string, stream: string) => (await read()).find(project, stream)
  const is = (project: string, stream: string, live: boolean) =>
    until(`${stream} is ${live ? '' : 'not '}published`, async () => ((await found(project, stream)) !== undefined) === live)
  const keys = () => server.redis.keys('t:{~nodes}:*')
  /** What a process that was killed leaves: a node that says nothing any more. */
  const dead = async (id: string, put: readonly (readonly [string, string])[] = []) => {
    const facts = { id, address: 'gone', region: 'local', roles: ['stream'], connections: 0, capacity: 1, startedMs: 0, trafficMs: 0 }
    await nodes.beat(facts, { put, removed: [], anew: false })
  }

  it('has a node from its first heartbeat, with what it says of itself, until it stops', async () => {
    const node = await startNode({ address: '10.0.4.11', region: 'eu-north-1', connections: 7, capacity: 9 })
    const [one] = (await nodes.list()).nodes.filter(({ id }) => id === node.id)
    expect(one).toMatchObject({ address: '10.0.4.11', region: 'eu-north-1', connections: 7, capacity: 9, terminating: false })
    await node.heartbeat.stop()
    expect(await listed()).not.toContain(node.id)
    await node.heartbeat.stop()
  })

  it('loses a node that says nothing any more within seconds, and what it held, while others stay', async () => {
    const project = freshProject()
    const staying = await startNode()
    await dead('killed', [[`${project}/cam`, `${Date.now()} 0 1 3`]])
    expect(await listed()).toContain('killed')
    await is(project, 'cam', true)
    await until('the dead node is gone', async () => !(await listed()).includes('killed'), GONE_MS)
    expect(await found(project, 'cam')).toBeUndefined()
    expect(await listed()).toContain(staying.id)
    await until('nothing is left of it', async () => !(await keys()).includes('t:{~nodes}:presence:killed'), GONE_MS)
    expect(await server.redis.hexists('t:{~nodes}:records', 'killed')).toBe(0)
  })

  it('sends nobody to a node again that was to end, though it was taken for dead meanwhile', async () => {
    const staying = await startNode()
    await dead('late')
    await nodes.terminate('late')
    const isEnding = async (id: string) => (await nodes.list()).nodes.find(node => node.id === id)?.terminating
    expect([await isEnding('late'), await isEnding(staying.id)]).toEqual([true, false])
    await until('it is forgotten', async () => (await server.redis.hexists('t:{~nodes}:records', 'late')) === 0, GONE_MS)
    await dead('late')
    expect(await isEnding('late')).toBe(true)
    await nodes.leave('late')
    expect(await server.redis.exists('t:{~nodes}:ending')).toBe(0)
  })

  it('has nothing in Redis when all nodes have stopped', async () => {
    const node = await startNode()
    node.presence.connected(freshProject(), 'cam')
    await until('it is written', async () => (await keys()).includes(`t:{~nodes}:presence:${node.id}`))
    await node.heartbeat.stop()
    await until('the others are gone', async () => (await listed()).length === 0, GONE_MS)
    expect(await keys()).toEqual([])
  })

  it('has a stream while a producer is connected, at the node where it is, with the time at which that began', async () => {
    const project = freshProject()
    const [first, second] = [await startNode({ address: 'a' }), await startNode({ address: 'b' })]
    const beforeMs = first.presence.nowMs()
    const leave = first.presence.connected(project, 'room/cam')
    await is(project, 'room/cam', true)
    const leaveToo = second.presence.connected(project, 'room/cam')
    const one = await found(project, 'room/cam')
    expect([one?.origin.address, one?.connected, one?.project, one?.stream]).toEqual(['a', true, project, 'room/cam'])
    expect(one?.sinceMs).toBeGreaterThanOrEqual(beforeMs)
    leave()
    leave()
    await until('the second node has it alone', async () => (await found(project, 'room/cam'))?.origin.address === 'b')
    leaveToo()
    await is(project, 'room/cam', false)
  })

  it('counts those who follow on all nodes, whether it is published or not', async () => {
    const project = freshProject()
    const [first, second] = [await startNode(), await startNode()]
    const leaves: Leave[] = [first, first, second].map(({ presence }) => presence.followed(project, 'cam'))
    const leave = second.presence.connected(project, 'cam')
    await until('three follow', async () => (await found(project, 'cam'))?.followers === 3)
    leaves.pop()?.()
    await until('two follow', async () => (await found(project, 'cam'))?.followers === 2)
    leave()
    await is(project, 'cam', false)
    expect(first.presence.connections).toBe(2)
  })

  it('has a stream for a while after something was produced without a connection', async () => {
    const project = freshProject()
    const { presence } = await startNode()
    presence.produced(project, 'log')
    await is(project, 'log', true)
    expect(await found(project, 'log')).toMatchObject({ connected: false, followers: 0 })
  })

  it('says everything anew when Redis has lost it', async () => {
    const project = freshProject()
    const { id, presence } = await startNode()
    for (const name of ['a', 'b']) presence.connected(project, name)
    await is(project, 'b', true)
    await server.redis.del(`t:{~nodes}:presence:${id}`)
    for (const name of ['a', 'b']) await is(project, name, true)
  })

  it('takes thousands of streams of one node', async () => {
    const project = freshProject()
    const { presence } = await startNode()
    const leaves = Array.from({ length: 3500 }, (_, i) => presence.connected(project, `stream-${i}`))
    const ours = async () => (await read()).streams.filter(stream => stream.project === project).length
    await until('all are there', async () => (await ours()) === leaves.length, GONE_MS)
    for (const leave of leaves) leave()
    await until('all are gone', async () => (await ours()) === 0, GONE_MS)
  })

  it('says thousands of streams anew when Redis has lost them, and then no more; nor is left there what is gone', async () => {
    const project = freshProject()
    const { id, presence } = await startNode()
    const leaves = Array.from({ length: 3000 }, (_, i) => presence.connected(project, `stream-${i}`))
    const key = `t:{~nodes}:presence:${id}`
    const has = (count: number) => until(`Redis has ${count}`, async () => (await server.redis.hlen(key)) === count, GONE_MS)
    await has(3000)
    await server.redis.del(key)
    await has(3000)
    await server.redis.hset(key, `${project}/ghost`, '1 0 1 0')
    for (const leave of leaves.slice(1)) leave()
    await has(1)
    expect(Object.keys(await nodes.held(id))).toEqual([`${project}/stream-0`])
  })

  it('clears everything until the next heartbeat, or what is idle, or what is connected until it connects again', async () => {
    const project = freshProject()
    const { id, presence } = await startNode()
    const directory = new Directory(nodes)
    const clear = (how: 'all' | 'idle' | 'connected') => directory.clear(new Set([project]), how)
    const leave = presence.connected(project, 'cam')
    presence.produced(project, 'log')
    await Promise.all(['cam', 'log'].map(name => is(project, name, true)))
    expect(await directory.clear(new Set(['another']), 'connected')).toBe(0)

    expect(await clear('idle')).toBe(1)
    await is(project, 'log', false)
    expect(await found(project, 'cam')).toBeDefined()

    expect(await clear('all')).toBe(1)
    await is(project, 'cam', true)

    expect(await clear('connected')).toBe(1)
    const { nowMs } = await nodes.list()
    await until('a heartbeat has come since', async () => (await nodes.list()).nodes.every(({ beatMs }) => beatMs > nowMs))
    expect(await found(project, 'cam')).toBeUndefined()
    leave()
    await until('the producer is known to have left', async () => !Object.hasOwn(await nodes.held(id), `${project}/cam`))
    presence.connected(project, 'cam')
    await is(project, 'cam', true)
  })

  it('loses nothing when two clear at the same time, and keeps no mark that nothing is left of', async () => {
    const project = freshProject()
    const { id, presence } = await startNode()
    presence.connected(project, 'cam')
    await is(project, 'cam', true)
    const directory = new Directory(nodes)
    await nodes.mark({ 'old idleMs': '1' }, {})
    await Promise.all([directory.clear(new Set([project]), 'connected'), directory.clear(new Set([project]), 'all')])
    const { nowMs } = await nodes.list()
    await until('a heartbeat has come since', async () => (await nodes.list()).nodes.some(node => node.id === id && node.beatMs > nowMs))
    expect(await found(project, 'cam')).toBeUndefined()
    expect(Object.keys(await nodes.marks())).not.toContain('old idleMs')
    const marks = await nodes.marks()
    await nodes.mark({ [`${project} sinceMs`]: '1' }, { [`${project} idleMs`]: 'another' })
    expect(await nodes.marks()).toEqual(marks)
  })

  it('asks Redis no more often than twice a second, whoever asks', async () => {
    const counted = { lists: 0 }
    const directory = new Directory(
      new Proxy(nodes, {
        get(target, name) {
          if (name === 'list') counted.lists++
          const value: unknown = Reflect.get(target, name, target)
          return typeof value === 'function' ? (value.bind(target) as unknown) : value
        },
      }),
    )
    const [one, another] = await Promise.all([directory.snapshot(), directory.snapshot()])
    expect([one === another, counted.lists]).toEqual([true, 1])
    await until('it is read anew', async () => (await directory.snapshot()) !== one)
    expect(counted.lists).toBe(2)
  })

  it('tells when the load of a node rises above its threshold, which can be changed, and when it is below again', async () => {
    await nodes.setThreshold('origin', 20)
    const { load, crossings } = await startNode({ connections: 10 })
    load.connections = 21
    await until('it is above', () => crossings.length === 1)
    await nodes.setThreshold('origin', 50)
    await until('it is below', () => crossings.length === 2)
    expect(crossings).toEqual(['true 21 20', 'false 21 50'])
    expect([await nodes.threshold('origin'), await nodes.threshold('edge')]).toEqual([50, 60])
  })
})
