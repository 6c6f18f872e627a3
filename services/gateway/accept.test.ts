// Group commit: events gather for a moment, are appended together in their order, and everybody is told once how it went.
import { describe, expect, it } from 'vitest'
import { Failure } from '../../packages/core/failure.ts'
import type { AppendBatch, AppendOutcome } from '../../packages/log/log.ts'
import { Accept, type AcceptPorts } from './accept.ts'
import type { Incoming } from './decode/event.ts'

const done: AppendOutcome = { entryId: '1-1', duplicates: 0, wake: [] }

/** A log that answers when it is told to. */
function logOf(change: Partial<AcceptPorts> = {}) {
  const appended: { project: string; batch: AppendBatch; answer: (outcome: AppendOutcome | Error) => void }[] = []
  const seen = { registered: [] as string[][], woken: [] as string[], counts: [] as number[][], failures: [] as unknown[] }
  const accept = new Accept({
    append: (project, batch) =>
      new Promise((resolve, reject) => {
        appended.push({ project, batch, answer: outcome => (outcome instanceof Error ? reject(outcome) : resolve(outcome)) })
      }),
    register: async (_, devices) => void seen.registered.push([...devices].map(([id, type]) => `${id}:${type}`)),
    wake: (project, consumer) => void seen.woken.push(`${project}/${consumer}`),
    counted: (...counts) => void seen.counts.push(counts),
    failed: error => void seen.failures.push(error),
    ...change,
  })
  return { accept, appended, seen }
}

const event = (device: string, frame = '{}', project = 'p'): Incoming => ({
  project,
  device,
  eventType: 'temperature',
  timeUs: 1,
  frame,
  sent: {},
  key: undefined,
  sentUs: undefined,
  arrivedUs: 1,
  shape: 'temperature\nvalue',
})
const appendedBy = (appended: { length: number }, count: number) =>
  expect.poll(() => appended.length, { timeout: 2000, interval: 1 }).toBe(count)

describe('accepting', () => {
  it('appends what came within a moment as one batch, in its order, and tells nobody before it is safe', async () => {
    const { accept, appended, seen } = logOf()
    const settled: string[] = []
    for (const name of ['a', 'b', 'a'])
      accept.add(event(name, `{"of":"${name}"}`), `key ${settled.length}${name}${Math.random()}`, true, () => settled.push(name))
    await appendedBy(appended, 1)
    expect(appended[0]?.batch).toMatchObject({ index: ['a\ttemperature\t1', 'b\ttemperature\t1', 'a\ttemperature\t1'], modes: 'ccc' })
    expect(settled).toEqual([])
    appended[0]?.answer({ ...done, wake: ['judge', 'store'] })
    await accept.drain()
    expect(settled).toEqual(['a', 'b', 'a'])
    expect(seen).toMatchObject({ registered: [['a:temperature', 'b:temperature']], woken: ['p/judge', 'p/store'], counts: [[3, 0]] })
  })

  it('appends what is begun as one, with what came before if there is room', async () => {
    const { accept, appended } = logOf()
    const add = (count: number, frame = '{}') => {
      accept.begin('p', count, count * frame.length)
      for (let i = 0; i < count; i++) accept.add(event('a', frame), `${Math.random()}`, true, () => {})
    }
    for (const count of [3, 497, 3, 498]) add(count)
    expect(appended.map(({ batch }) => batch.keys.length)).toEqual([500, 3])
    add(17, 'x'.repeat(60_000))
    expect(appended.map(({ batch }) => batch.keys.length)).toEqual([500, 3, 498])
    await appendedBy(appended, 4)
  })

  it('appends a full batch at once, without waiting for the moment to end', () => {
    const { accept, appended } = logOf()
    for (let i = 0; i < 1100; i++) accept.add(event('a'), `${i}`, true, () => {})
    expect(appended.map(({ batch }) => batch.keys.length)).toEqual([500, 500])
    const large = logOf()
    for (let i = 0; i < 20; i++) large.accept.add(event('a', 'x'.repeat(60_000)), `${i}`, true, () => {})
    expect(large.appended.map(({ batch }) => batch.keys.length)).toEqual([18])
  })

  it('keeps projects apart', async () => {
    const { accept, appended } = logOf()
    for (const project of ['p', 'q', '__proto__']) accept.add(event('a', '{}', project), project, true, () => {})
    await appendedBy(appended, 3)
    expect(appended.map(({ project }) => project)).toEqual(['p', 'q', '__proto__'])
  })

  it('keeps a device in order over batches of which the first is slow', async () => {
    const { accept, appended } = logOf()
    const settled: number[] = []
    accept.add(event('a'), '1', true, () => settled.push(1))
    await appendedBy(appended, 1)
    accept.add(event('a'), '2', true, () => settled.push(2))
    await appendedBy(appended, 2)
    expect(appended.map(({ batch }) => batch.keys)).toEqual([['1'], ['2']])
    for (const { answer } of appended) answer(done)
    await accept.drain()
    expect(settled).toEqual([1, 2])
  })

  it('drops a repeat within one batch, and tells its sender that it is safe', async () => {
    const { accept, appended, seen } = logOf()
    let told = 0
    for (const [key, suspect] of [
      ['k', true],
      ['k', true],
      ['k', false],
      ['l', true],
    ] as const)
      accept.add(event(`${key}${suspect}`), key, suspect, failure => {
        if (!failure) told++
      })
    await appendedBy(appended, 1)
    expect(appended[0]?.batch).toMatchObject({ keys: ['k', 'k', 'l'], modes: 'cac' })
    expect(appended[0]?.batch.index).toHaveLength(3)
    appended[0]?.answer({ ...done, duplicates: 1 })
    await accept.drain()
    expect([told, seen.counts]).toEqual([4, [[2, 2]]])
  })

  it('tells every sender of a batch why it is not safe, and whoever operates it once', async () => {
    const { accept, appended, seen } = logOf()
    const failures: (Failure | undefined)[] = []
    for (let i = 0; i < 3; i++) accept.add(event('a'), `${i}`, true, failure => failures.push(failure))
    await appendedBy(appended, 1)
    appended[0]?.answer(new Failure('unavailable', 'Redis cannot be reached'))
    await accept.drain()
    expect(failures.map(failure => failure?.message)).toEqual(Array(3).fill('Redis cannot be reached'))
    expect(seen.failures).toHaveLength(1)
  })

  it('calls an unknown error unavailable, because the sender should try again', async () => {
    const { accept, appended } = logOf()
    let failure: Failure | undefined
    accept.add(event('a'), 'k', true, given => {
      failure = given
    })
    await appendedBy(appended, 1)
    appended[0]?.answer(new Error('what'))
    await accept.drain()
    expect(failure).toMatchObject({ code: 'unavailable', message: 'the log cannot be written', retryAfterMs: 1000 })
  })

  it('promises nothing for a device that could not be registered, and registers it again next time', async () => {
    let refusals = 1
    const { accept, appended } = logOf({
      register: () => (refusals-- > 0 ? Promise.reject(new Failure('unavailable', 'not now')) : Promise.resolve()),
    })
    const outcomes: (string | undefined)[] = []
    const send = async (count: number) => {
      accept.add(event('a'), 'k', true, failure => outcomes.push(failure?.message))
      await appendedBy(appended, count)
      appended[count - 1]?.answer(done)
      await accept.drain()
    }
    await send(1)
    await send(2)
    expect(outcomes).toEqual(['not now', undefined])
    expect(refusals).toBe(-1)
  })

  it('registers a device once', async () => {
    const { accept, appended, seen } = logOf()
    for (let i = 1; i <= 2; i++) {
      accept.add(event('a'), `${i}`, true, () => {})
      await appendedBy(appended, i)
      appended[i - 1]?.answer(done)
      await accept.drain()
    }
    expect(seen.registered).toEqual([['a:temperature']])
  })

  it('refuses at once while it is over its budget, and goes on afterwards', async () => {
    const { accept, appended } = logOf()
    const outcomes: (string | undefined)[] = []
    const add = () => accept.add(event('a'), `${outcomes.length}`, true, failure => outcomes.push(failure?.message))
    accept.refusal = new Failure('unavailable', 'the log is full')
    add()
    expect(outcomes).toEqual(['the log is full'])
    accept.refusal = undefined
    add()
    await appendedBy(appended, 1)
    appended[0]?.answer(done)
    await accept.drain()
    expect(outcomes).toEqual(['the log is full', undefined])
  })

  it('lets no more than a hundred thousand events wait for a log that does not answer', () => {
    const { accept } = logOf()
    const refused: (string | undefined)[] = []
    for (let i = 0; i < 100_005; i++) accept.add(event('a'), `${i}`, true, failure => refused.push(failure?.message))
    expect(refused).toEqual(Array(5).fill('too many events are waiting for the log'))
  })

  it('settles everything before it is drained', async () => {
    const { accept, appended } = logOf()
    let settled = false
    accept.add(event('a'), 'k', true, () => {
      settled = true
    })
    const drained = accept.drain()
    expect(appended).toHaveLength(1)
    appended[0]?.answer(done)
    await drained
    expect(settled).toBe(true)
  })

  it('registers a device again after removals in its project, and not after those in another', async () => {
    const { accept, seen } = logOf({ append: async () => done })
    const send = async (project: string) => {
      accept.add(event('a', '{}', project), `${Math.random()}`, true, () => {})
      await accept.drain()
    }
    for (const project of ['p', 'q']) await send(project)
    accept.forget(['q', 'unknown'])
    for (const project of ['p', 'q']) await send(project)
    expect(seen.registered).toHaveLength(3)
    accept.forget('all')
    for (const project of ['p', 'q']) await send(project)
    expect(seen.registered).toHaveLength(5)
  })
})
