// Pulling on a real Redis, from two processes: each has a dispatcher and pulls of its own.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Failure } from '../../packages/core/failure.ts'
import { Dispatch } from '../../packages/log/durable/dispatch.ts'
import { DurableStreams, type Ref } from '../../packages/log/durable/stream.ts'
import { type Subscription, Subscriptions, type SubscriptionType } from '../../packages/log/durable/subscription.ts'
import { freshProject, installed, openTestRedis, type TestRedis, until } from '../../packages/log/fixture.ts'
import { Pulls } from './pull.ts'
import type { PullOptions } from './puller.ts'

describe.skipIf(installed === undefined)('pulling', () => {
  let server: TestRedis
  let streams: DurableStreams
  let subscriptions: Subscriptions
  const dispatches: Dispatch[] = []

  beforeAll(async () => {
    server = await openTestRedis()
    streams = new DurableStreams(server.redis)
    subscriptions = new Subscriptions(server.redis, streams)
  })
  afterAll(async () => {
    await Promise.all(dispatches.map(dispatch => dispatch.stop()))
    await server.stop()
  })

  function newProcess(): { dispatch: Dispatch; pulls: Pulls } {
    const troubled = (error: Error) => console.warn(error.message)
    const dispatch = new Dispatch({ streams, subscriptions, connect: () => server.connect(), troubled })
    dispatches.push(dispatch)
    return { dispatch, pulls: new Pulls({ dispatch, subscriptions }) }
  }

  async function fresh(type: SubscriptionType, count = 0, project = freshProject()): Promise<[Ref, Subscription]> {
    const ref = { project, record: await streams.create(project, 'readings') }
    if (count > 0)
      await streams.append(
        ref,
        Array.from({ length: count }, (_, i) => ({ payload: Buffer.from(String(i + 1)), key: `k${i % 5}` })),
      )
    return [ref, await subscriptions.create(ref, 's', type)]
  }

  type Asked = Partial<PullOptions> & { readonly keyId?: string }
  const pull = async (pulls: Pulls, [ref, subscription]: [Ref, Subscription], { keyId = 'key', ...options }: Asked = {}) => {
    const gone = new AbortController().signal
    const all = { most: 1, waitMs: 0, leaseMs: 30_000, gone, check: async () => {}, ...options }
    return (await pulls.pull(keyId, ref, subscription, all)).map(({ message, redeliveries }) => [message.seq, redeliveries])
  }

  test('a thousand leases of one subscription are one consumer, and keep nobody else from pulling', async () => {
    const { pulls } = newProcess()
    const greedy = await fresh('shared')
    const leases = Array.from({ length: 1100 }, (_, i) => 1000 + i)
    for (let i = 0; i < leases.length; i += 400)
      await Promise.all(leases.slice(i, i + 400).map(leaseMs => pull(pulls, greedy, { leaseMs })))
    const [ref] = greedy
    expect((await subscriptions.stats(ref, 's')).consumers).toHaveLength(1)
    expect(await pull(pulls, await fresh('shared', 1))).toEqual([[1, 0]])
  })

  test('each pull has its own lease', async () => {
    const { pulls } = newProcess()
    const pulled = await fresh('shared', 3)
    expect(await pull(pulls, pulled, { leaseMs: 60_000 })).toEqual([[1, 0]])
    expect(await pull(pulls, pulled, { leaseMs: 1000 })).toEqual([[2, 0]])
    expect(await pull(pulls, pulled)).toEqual([[3, 0]])
    expect(await pull(pulls, pulled, { waitMs: 20_000, most: 3 })).toEqual([[2, 1]])
  })

  test.each(['exclusive', 'failover', 'shared', 'key_shared'] as const)('of a %s subscription any process may be the next', async type => {
    const [here, there] = [newProcess(), newProcess()]
    const pulled = await fresh(type, 10)
    const [ref] = pulled
    const seen: number[] = []
    for (let round = 0; round < 4; round++) {
      for (const [one, other] of [
        [here, there],
        [there, here],
      ] as const) {
        // Of keys that belong to the consumer which the other still is for a second, messages wait for that.
        const [[seq] = []] = await pull(one.pulls, pulled, { waitMs: 10_000 })
        if (seq === undefined) throw new Error('nothing came')
        seen.push(seq)
        await other.dispatch.ack(ref, 's', [seq])
      }
    }
    expect(new Set(seen).size).toBe(8)
    if (type === 'exclusive' || type === 'failover') expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(await subscriptions.stats(ref, 's')).toMatchObject({ acked: 8, backlog: 2, redelivered: 0 })
  })

  test.each(['exclusive', 'shared'] as const)('of a %s subscription nothing stays behind that came too late', async type => {
    const processes = [newProcess(), newProcess()]
    const pulled = await fresh(type)
    const [ref] = pulled
    const seen = new Set<number>()
    const appending = (async () => {
      for (let i = 0; i < 300; i++) await streams.append(ref, [{ payload: Buffer.from(String(i)) }])
    })()
    // Far less than a lease.
    const endMs = performance.now() + 15_000
    for (let round = 0; seen.size < 300 && performance.now() < endMs; round++) {
      const { pulls, dispatch } = processes[round % 2] as (typeof processes)[0]
      const seqs = (await pull(pulls, pulled, { most: 500, waitMs: 1000 })).map(([seq]) => seq as number)
      for (const seq of seqs) seen.add(seq)
      if (seqs.length > 0) await dispatch.ack(ref, 's', seqs)
    }
    await appending
    expect(seen.size).toBe(300)
    expect(await subscriptions.stats(ref, 's')).toMatchObject({ acked: 300, backlog: 0 })
  })

  test('what was pulled stays pulled when nobody pulls any more, and when the process stops', async () => {
    const [here, there] = [newProcess(), newProcess()]
    const pulled = await fresh('shared', 3)
    const [ref] = pulled
    expect(await pull(here.pulls, pulled)).toEqual([[1, 0]])
    await until('it is no consumer any more', async () => (await subscriptions.stats(ref, 's')).consumers.length === 0)
    expect(await pull(here.pulls, pulled)).toEqual([[2, 0]])
    await here.pulls.stop()
    await here.dispatch.stop()
    expect(await pull(there.pulls, pulled, { most: 10 })).toEqual([[3, 0]])
    await there.dispatch.ack(ref, 's', [1, 2, 3])
    expect(await subscriptions.stats(ref, 's')).toMatchObject({ acked: 3, backlog: 0, timed: 0 })
    await expect(pull(here.pulls, pulled)).rejects.toMatchObject({ code: 'unavailable' })
  })

  test('what came for who hung up, or may not any more, is given to others at once', async () => {
    const { pulls } = newProcess()
    const pulled = await fresh('exclusive', 1)
    const refusal = new Failure('unauthenticated', 'revoked')
    const check = () => Promise.reject(refusal)
    await expect(pull(pulls, pulled, { check })).rejects.toBe(refusal)
    const gone = new AbortController()
    const hungUp = pull(pulls, pulled, {
      gone: gone.signal,
      check: async () => gone.abort(),
    })
    expect(await hungUp).toEqual([])
    expect(await pull(pulls, pulled)).toEqual([[1, 2]])
  })

  test('who waits is answered when it hangs up, when its rights end, and when the process stops', async () => {
    const { pulls } = newProcess()
    const pulled = await fresh('exclusive')
    const [ref] = pulled
    const [hangsUp, revoked] = [new AbortController(), new AbortController()]
    const refusal = new Failure('forbidden', 'revoked')
    const wait = (gone: AbortController) => pull(pulls, pulled, { waitMs: 20_000, gone: gone.signal })
    const answers = Promise.allSettled([wait(hangsUp), wait(revoked), wait(new AbortController())])
    await until('they wait', async () => (await subscriptions.stats(ref, 's')).consumers.length === 1)
    hangsUp.abort()
    revoked.abort(refusal)
    await pulls.stop()
    expect(await answers).toMatchObject([
      { status: 'fulfilled', value: [] },
      { status: 'rejected', reason: refusal },
      { status: 'fulfilled', value: [] },
    ])
  })

  test('one key waits with so many pulls at the same time and no more; others go on', async () => {
    const { pulls } = newProcess()
    const pulled = await fresh('shared')
    const gone = Array.from({ length: 500 }, () => new AbortController())
    const waiting = gone.map(({ signal }) => pull(pulls, pulled, { keyId: 'greedy', waitMs: 20_000, gone: signal }))
    await expect(pull(pulls, pulled, { keyId: 'greedy' })).rejects.toMatchObject({ code: 'too_many' })
    expect(await pull(pulls, pulled, { keyId: 'modest' })).toEqual([])
    for (const one of gone) one.abort()
    await Promise.all(waiting)
    expect(await pull(pulls, pulled, { keyId: 'greedy' })).toEqual([])
  })
})
