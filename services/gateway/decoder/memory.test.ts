// What decoders remember: in memory and on disk, by one gateway and by several, within limits; and decoders that are run with it.
import { Type } from 'typebox'
import { describe, expect, it } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import type { Format, Memory } from '../decode/format.ts'
import { claimant, runDecoder } from './decoderun.ts'
import type { Decoder } from './mapping.ts'
import { Memories } from './memory.ts'

const id = { project: 'p', decoder: 'd', format: 'f' }

/** A disk that several gateways share, and that can be away. */
function disk() {
  const state = {
    rows: new Map<string, string>(),
    changed: new Map<string, number>(),
    revision: 0,
    loads: 0,
    reads: 0,
    isAway: false,
    isGone: false,
  }
  const ask = async <T>(answer: () => T): Promise<T> => {
    if (state.isAway) throw new Failure('unavailable', 'away')
    return answer()
  }
  const port = {
    read: (_: typeof id, known: number) =>
      ask(() => {
        if (known < 0) state.loads++
        state.reads++
        const since = [...state.changed].flatMap(([key, revision]) => (revision > known ? [[key, state.rows.get(key) ?? ''] as const] : []))
        return { revision: state.revision, isAll: known < 0, values: new Map(known < 0 ? state.rows : since) }
      }),
    changedMs: (_: typeof id, keys: readonly string[]) => ask(() => Math.min(...keys.map(key => state.changed.get(key) ?? 0))),
    save: (_: typeof id, changes: ReadonlyMap<string, string>, known: number) =>
      ask(() => {
        if (state.isGone) throw new Failure('not_found', 'deleted')
        const isKnown = known === state.revision++
        for (const [key, text] of changes) {
          if (text === '') state.rows.delete(key)
          else state.rows.set(key, text)
          state.changed.set(key, state.revision)
        }
        return isKnown ? state.revision : known
      }),
  }
  return { state, port }
}

function gateway(port: ReturnType<typeof disk>['port']) {
  const time = { nowMs: 0 }
  const memories = new Memories({ disk: port, nowMs: () => time.nowMs, troubled: () => {} })
  return { memories, time, ports: { memories, broke: () => {} } }
}

/** Runs this as a decoder. */
function decoderOf(decode: (memory: Memory) => unknown, isAsync = false): Decoder {
  const output = (memory: Memory) => ({ decoded: [], replies: [{ topic: JSON.stringify(decode(memory) ?? null), payload: Buffer.of() }] })
  const format: Format = {
    name: 'f',
    version: 1,
    title: '',
    options: Type.Object({}),
    topics: [],
    contentTypes: [],
    decode: ({ memory }) => (isAsync ? Promise.resolve().then(() => output(memory)) : output(memory)),
    claims: (topic, memory) => memory.get(topic) === true,
  }
  const mapping = { name: 'd', format: 'f', topics: [], contentTypes: [], options: {}, enabled: true, builtIn: true }
  return { mapping, format }
}
const given = { project: 'p', bytes: Buffer.of(), topic: ['a'], place: {} }
const clock = { nowUs: () => 0, newId: () => 'id' }
type Gateway = ReturnType<typeof gateway>

async function run({ ports, memories }: Gateway, decode: (memory: Memory) => unknown, isAsync = false): Promise<unknown> {
  const { replies, draft } = await runDecoder(ports, decoderOf(decode, isAsync), given, clock)
  await memories.commit(draft)
  return JSON.parse(replies[0]?.topic ?? '')
}

describe.each([
  ['at once', false],
  ['later', true],
])('a decoder that answers %s', (_, isAsync) => {
  it('finds what an earlier payload told, also after a restart', async () => {
    const { port } = disk()
    const one = gateway(port)
    await run(one, memory => memory.set('alias', { name: 'Temp' }), isAsync)
    expect(await run(one, memory => memory.get('alias'), isAsync)).toEqual({ name: 'Temp' })
    expect(await run(gateway(port), memory => memory.get('alias'), isAsync)).toEqual({ name: 'Temp' })
    await run(one, memory => memory.set('alias', undefined), isAsync)
    expect(await run(gateway(port), memory => memory.get('alias'), isAsync)).toBeNull()
  })

  it('misses what another gateway learns for a second at most, and only what it has looked for in it', async () => {
    const { port } = disk()
    const [one, other] = [gateway(port), gateway(port)]
    for (let i = 0; i < 2; i++) expect(await run(other, memory => memory.get('a'), isAsync)).toBeNull()
    await run(one, memory => [memory.set('a', 1), memory.set('b', 1)], isAsync)
    other.time.nowMs = 999
    expect(await run(other, memory => memory.get('a'), isAsync)).toBeNull()
    expect(await run(other, memory => memory.get('b'), isAsync)).toBe(1)
    await run(one, memory => memory.set('a', 2), isAsync)
    other.time.nowMs = 1999
    expect(await run(other, memory => memory.get('a'), isAsync)).toBe(1)
    other.time.nowMs = 2000
    await run(other, memory => memory.get('none'), isAsync)
    expect(await run(other, memory => memory.get('a'), isAsync)).toBe(2)
  })
})

describe('two gateways', () => {
  const get = (key: string) => (memory: Memory) => memory.get(key)

  it('keep what both have told of different things, and the later of what both told of one', async () => {
    const { port, state } = disk()
    const [one, other] = [gateway(port), gateway(port)]
    await Promise.all([run(one, get('a')), run(other, get('a'))])
    await Promise.all([
      run(one, memory => [memory.set('a', 1), memory.set('both', 1)]),
      run(other, memory => [memory.set('b', 2), memory.set('both', 2)]),
    ])
    for (const { time } of [one, other]) time.nowMs = 1000
    const all = (memory: Memory) => ['a', 'b', 'both'].map(key => memory.get(key))
    await Promise.all([run(one, get('none')), run(other, get('none'))])
    expect([await run(one, all), await run(other, all)]).toEqual([
      [1, 2, 2],
      [1, 2, 2],
    ])
    expect(Object.fromEntries(state.rows)).toEqual({ a: '1', b: '2', both: '2' })
    // Each once, when it began.
    expect(state.loads).toBe(2)
  })

  it('of which one was idle: it asks what the other has learnt before it decodes anything', async () => {
    const { port } = disk()
    const [one, idle] = [gateway(port), gateway(port)]
    await run(one, memory => memory.set('a', 1))
    expect(await run(idle, get('a'))).toBe(1)
    await run(one, memory => memory.set('a', 2))
    idle.time.nowMs = 2000
    expect(await run(idle, get('a'))).toBe(2)
    await run(one, memory => memory.set('a', undefined))
    idle.time.nowMs = 4000
    expect(await run(idle, get('a'))).toBeNull()
  })

  it('of which one gets a payload that others rest on: it asks first, each time', async () => {
    const { port } = disk()
    const [one, other] = [gateway(port), gateway(port)]
    const decoder = decoderOf(memory => memory.get('a') ?? null)
    const lasting = { ...decoder, format: { ...decoder.format, isLasting: ([level]: readonly string[]) => level === 'birth' } }
    const of = async (topic: string) => {
      const { replies } = await runDecoder(other.ports, lasting, { ...given, topic: [topic] }, clock)
      return JSON.parse(replies[0]?.topic ?? '')
    }
    await run(one, memory => memory.set('a', 1))
    await of('birth')
    await run(one, memory => memory.set('a', 2))
    expect([await of('data'), await of('birth'), await of('data')]).toEqual([1, 2, 2])
  })
})

describe('what is noted', () => {
  it('is seen by the next payload of this process, and by nobody else, and asks nothing of the disk', async () => {
    const { port, state } = disk()
    const one = gateway(port)
    await run(one, memory => memory.set('a', 1))
    const count = (memory: Memory) => {
      memory.note('seq', ((memory.noted('seq') as number | undefined) ?? 0) + 1)
      return memory.noted('seq')
    }
    expect([await run(one, count), await run(one, count)]).toEqual([1, 2])
    expect(await run(one, memory => memory.noted('seq'))).toBe(2)
    expect([await run(gateway(port), memory => memory.noted('seq') ?? null), state.revision]).toEqual([null, 1])
  })

  it('is nothing of a payload that is only tried, or decoded again', async () => {
    const one = gateway(disk().port)
    const made = await runDecoder(
      one.ports,
      decoderOf(memory => memory.note('seq', 5)),
      given,
      clock,
    )
    await one.memories.commitAgain(made.draft, 0)
    expect(await run(one, memory => memory.noted('seq') ?? null)).toBeNull()
  })

  it('is bounded: who noted longest ago goes first', async () => {
    const one = gateway(disk().port)
    for (let part = 0; part < 11; part++)
      await run(one, memory => {
        for (let i = 0; i < 1000; i++) memory.note(`k${part * 1000 + i}`, i)
      })
    expect(await run(one, memory => [memory.noted('k999') ?? null, memory.noted('k1000')])).toEqual([null, 0])
  })
})

describe('what a payload tells that is decoded again', () => {
  /** At revision 1 of the disk `a` was told, at 2 `b` and `shared`. @param arrived when the payload did. */
  async function again(arrived: number) {
    const one = gateway(disk().port)
    await run(one, memory => memory.set('a', 'known'))
    await run(one, memory => [memory.set('b', 'known'), memory.set('shared', 'known')])
    const made = await runDecoder(
      one.ports,
      decoderOf(memory => ['a', 'shared', 'new'].map(key => memory.set(key, 'again'))),
      given,
      clock,
    )
    return { one, tell: () => one.memories.commitAgain(made.draft, arrived) }
  }
  const all = (memory: Memory) => ['a', 'shared', 'new'].map(key => memory.get(key))

  it.each([
    ['holds where nobody has told it anew since', 1, ['again', 'again', 'again']],
    ['only adds to what was told anew', 0, ['known', 'known', 'again']],
  ])('%s', async (_, arrived, expected) => {
    const { one, tell } = await again(arrived)
    await tell()
    expect(await run(one, all)).toEqual(expected)
  })

  it('only adds where something changed meanwhile', async () => {
    const { one, tell } = await again(1)
    await run(one, memory => memory.set('shared', 'changed'))
    await tell()
    expect(await run(one, all)).toEqual(['known', 'changed', 'again'])
  })
})

describe('what is remembered', () => {
  it('is loaded only for decoders that ask', async () => {
    const { port, state } = disk()
    const one = gateway(port)
    expect(
      runDecoder(
        one.ports,
        decoderOf(() => 1),
        given,
        clock,
      ),
    ).not.toBeInstanceOf(Promise)
    expect(state.loads).toBe(0)
  })

  it('is not saved again when it is the same', async () => {
    const { port, state } = disk()
    const one = gateway(port)
    for (let i = 0; i < 3; i++) await run(one, memory => memory.set('a', { b: [1] }))
    expect(state.revision).toBe(1)
  })

  it('is nothing of a payload that is refused', async () => {
    const { port, state } = disk()
    const one = gateway(port)
    const refused = run(one, memory => {
      memory.set('a', 1)
      throw new Failure('invalid', 'no')
    })
    await expect(refused).rejects.toThrow('no')
    expect(await run(one, memory => memory.get('a'))).toBeNull()
    expect(state.revision).toBe(0)
  })

  it('is saved with the next payload when the disk was away, as it is then', async () => {
    const { port, state } = disk()
    const one = gateway(port)
    await run(one, memory => memory.set('a', 1))
    state.isAway = true
    await expect(run(one, memory => memory.set('a', 2))).rejects.toThrow('away')
    await expect(run(one, memory => memory.set('a', 3))).rejects.toThrow('away')
    state.isAway = false
    expect(await run(one, memory => memory.get('a'))).toBe(3)
    expect(state.rows.get('a')).toBe('3')
  })

  it('is older than what is known, when it is of a payload that is decoded again', async () => {
    const { port } = disk()
    const one = gateway(port)
    await run(one, memory => memory.set('a', 'new'))
    const again = await runDecoder(
      one.ports,
      decoderOf(memory => [memory.set('a', 'old'), memory.set('b', 'old')]),
      given,
      clock,
    )
    await one.memories.commit(again.draft, false)
    expect(await run(one, memory => [memory.get('a'), memory.get('b')])).toEqual(['new', 'old'])
  })

  it.each([
    ['too many things', (memory: Memory) => Array.from({ length: 10_001 }, (_, i) => memory.set(`k${i}`, i))],
    ['too large things', (memory: Memory) => Array.from({ length: 50 }, (_, i) => memory.set(`k${i}`, 'x'.repeat(100_000)))],
    ['a key without end', (memory: Memory) => memory.set('k'.repeat(501), 1)],
    ['no key', (memory: Memory) => memory.set('', 1)],
  ])('is not %s', async (_, decode) => {
    const { port, state } = disk()
    const refused = run(gateway(port), decode)
    await expect(refused).rejects.toMatchObject({ code: expect.stringMatching(/too_large/), field: 'payload' })
    expect(state.revision).toBe(0)
  })

  it('makes topics a decoder’s own that no mapping takes', async () => {
    const { port } = disk()
    const one = gateway(port)
    const decoder = decoderOf(memory => memory.set('my/lamp', true))
    const ask = (topic: string) => claimant(one.ports, [decoder], 'p', topic)
    expect(await ask('my/lamp')).toBeUndefined()
    const made = await runDecoder(one.ports, decoder, given, clock)
    await one.memories.commit(made.draft)
    expect(ask('my/lamp')).toBe(decoder)
    expect(await ask('other')).toBeUndefined()
    expect(ask('other')).toBeUndefined()
  })

  it('is found by the first who needs it, when another gateway was told a moment ago', async () => {
    const { port, state } = disk()
    const [one, other] = [gateway(port), gateway(port)]
    const decoder = decoderOf(memory => memory.set('my/lamp', true))
    const ask = (topic: string) => claimant(other.ports, [decoder], 'p', topic)
    await ask('first')
    const made = await runDecoder(one.ports, decoder, given, clock)
    await one.memories.commit(made.draft)
    const topics = Array.from({ length: 100 }, (_, i) => `other/${i}`)
    const before = state.reads
    const found = await Promise.all([...topics, 'my/lamp'].map(async topic => ask(topic)))
    expect([found.filter(one => one !== undefined), found.at(-1)]).toEqual([[decoder], decoder])
    // One that was under way, and one for all who came meanwhile.
    expect(state.reads - before).toBeLessThanOrEqual(2)
  })

  it('is looked for in other gateways so often at most, however much is asked for', async () => {
    const { port, state } = disk()
    const one = gateway(port)
    for (let i = 0; i < 200; i++) await run(one, memory => memory.get(`k${i}`))
    expect(state.reads).toBeLessThanOrEqual(21)
    one.time.nowMs = 1000
    for (let i = 0; i < 200; i++) await run(one, memory => memory.get('k'))
    expect(state.reads).toBeLessThanOrEqual(22)
  })

  it('is nothing of a decoder that was deleted meanwhile: it is sent again, and read by itself', async () => {
    const { port, state } = disk()
    const one = gateway(port)
    await run(one, memory => memory.set('a', 1))
    state.isGone = true
    state.rows.clear()
    await expect(run(one, memory => memory.set('a', 2))).rejects.toMatchObject({ code: 'unavailable' })
    expect(await run(one, memory => memory.get('a'))).toBeNull()
    expect(state.rows.size).toBe(0)
  })

  it('is found by what its keys have in common', async () => {
    const one = gateway(disk().port)
    const under = (prefix: string) => (memory: Memory) => memory.entries(prefix).map(([key]) => key)
    await run(one, memory => ['topic/a\0x', 'topic/a\0y', 'topic/ab\0x', 'topic/a'].map(key => memory.set(key, 1)))
    expect(await run(one, under('topic/a\0'))).toEqual(['topic/a\0x', 'topic/a\0y'])
    expect(await run(one, under('topic/a\0y'))).toEqual(['topic/a\0y'])
    expect(await run(one, memory => [memory.set('topic/a\0x', undefined), under('topic/a\0')(memory)])).toEqual([null, ['topic/a\0y']])
    expect([await run(one, under('topic/a\0')), await run(one, under('topic/'))]).toMatchObject([{ length: 1 }, { length: 3 }])
  })
})

describe('what a payload told whose events are not safe yet', () => {
  const failure = new Failure('unavailable', 'the log cannot be written')
  const get = (memory: Memory) => memory.get('a')

  /** A payload of that gateway, decoded; `settle` says what became of its events. */
  async function deliver({ ports, memories }: Gateway, decode: (memory: Memory) => unknown, heard: string[], name: string) {
    const { replies, draft } = await runDecoder(ports, decoderOf(decode), given, clock)
    const hold = memories.hold(draft)
    return {
      found: JSON.parse(replies[0]?.topic ?? ''),
      settle: (failed?: Failure) =>
        new Promise<void>(resolve => {
          const done = (why: Failure | undefined) => {
            heard.push(why ? `${name} again` : name)
            resolve()
          }
          if (hold) hold.settle(failed, done)
          else done(failed)
        }),
    }
  }

  it('is seen by the next at once, and is not on disk', async () => {
    const { port, state } = disk()
    const one = gateway(port)
    const first = await deliver(one, memory => memory.set('a', 1), [], 'first')
    expect((await deliver(one, get, [], 'second')).found).toBe(1)
    expect(state.rows.size).toBe(0)
    await first.settle()
    expect(state.rows.get('a')).toBe('1')
  })

  it('is taken back with them, and so is what was decoded with it', async () => {
    const { port, state } = disk()
    const one = gateway(port)
    await run(one, memory => memory.set('a', 0))
    const heard: string[] = []
    const first = await deliver(one, memory => memory.set('a', 1), heard, 'first')
    const seen = await deliver(one, get, heard, 'seen')
    const last = await deliver(one, memory => memory.set('b', memory.get('a')), heard, 'last')
    expect(seen.found).toBe(1)
    const seenTold = seen.settle()
    expect(heard).toEqual([])
    await first.settle(failure)
    await seenTold
    await last.settle()
    expect(heard).toEqual(['first again', 'seen again', 'last again'])
    expect(await run(one, memory => [memory.get('a'), memory.get('b') ?? null])).toEqual([0, null])
    expect(state.rows).toEqual(new Map([['a', '0']]))
  })

  it('holds back who saw it until it is on disk', async () => {
    const { port } = disk()
    const one = gateway(port)
    const heard: string[] = []
    const first = await deliver(one, memory => memory.set('a', 1), heard, 'first')
    const seen = await deliver(one, get, heard, 'seen')
    const told = seen.settle()
    await first.settle()
    await told
    expect(heard).toEqual(['first', 'seen'])
    await (await deliver(one, get, heard, 'later')).settle()
    expect(heard).toEqual(['first', 'seen', 'later'])
  })

  it('is taken back to what another gateway has learnt meanwhile', async () => {
    const { port, state } = disk()
    const [one, other] = [gateway(port), gateway(port)]
    await run(one, memory => [memory.set('a', 1), memory.set('b', 1), memory.set('c', 1)])
    const first = await deliver(one, memory => [memory.set('a', 2), memory.set('c', 2)], [], 'first')
    await run(other, memory => [memory.set('a', 3), memory.set('b', 3), memory.set('c', undefined)])
    one.time.nowMs = 1000
    const all = (memory: Memory) => [memory.get('a'), memory.get('b'), memory.get('c') ?? null, memory.get('d') ?? null]
    expect((await deliver(one, all, [], 'second')).found).toEqual([2, 3, 2, null])
    await first.settle(failure)
    expect(await run(one, all)).toEqual([3, 3, null, null])
    expect(state.rows.get('a')).toBe('3')
  })

  it('is what another gateway told later, when that was read while it was on its way to the disk', async () => {
    const { port } = disk()
    let release = () => {}
    const released = new Promise<void>(resolve => {
      release = resolve
    })
    const slow = {
      ...port,
      save: async (...args: Parameters<typeof port.save>) => {
        const upTo = await port.save(...args)
        await released
        return upTo
      },
    }
    const [one, other] = [gateway(slow), gateway(port)]
    await run(one, memory => memory.get('a'))
    const { draft } = await runDecoder(
      one.ports,
      decoderOf(memory => memory.set('a', 1)),
      given,
      clock,
    )
    const saved = one.memories.commit(draft)
    await run(other, memory => memory.set('a', 2))
    const kept = one.memories.find(id) ?? (await one.memories.load(id))
    expect(await one.memories.look(kept, ['sought'])).toBe(true)
    release()
    await saved
    await one.memories.look(kept, ['sought again'])
    expect(kept.values.get('a')?.value).toBe(2)
  })

  it('is no part of what is decoded while it is taken back', async () => {
    const { port } = disk()
    const one = gateway(port)
    const heard: string[] = []
    await run(one, memory => memory.set('z', 1))
    const first = await deliver(one, memory => memory.set('a', 1), heard, 'first')
    const { draft } = await runDecoder(one.ports, decoderOf(get), given, clock)
    await first.settle(failure)
    one.memories.hold(draft)?.settle(undefined, why => heard.push(why ? 'slow again' : 'slow'))
    expect(heard).toEqual(['first again', 'slow again'])
  })

  it('is saved together with what others told while the disk was busy', async () => {
    const { port, state } = disk()
    const one = gateway(port)
    await run(one, memory => memory.set('a', 0))
    const all = await Promise.all(Array.from({ length: 50 }, (_, i) => deliver(one, memory => memory.set('a', i + 1), [], String(i))))
    await Promise.all(all.map(({ settle }) => settle()))
    expect([state.rows.get('a'), state.revision]).toEqual(['50', 3])
  })
})

describe('a decoder that breaks', () => {
  it('refuses the payload, and says so', async () => {
    const broken: unknown[] = []
    const { memories } = gateway(disk().port)
    const ports = { memories, broke: (_: Decoder, error: unknown) => void broken.push(error) }
    const decoder = decoderOf(() => {
      throw new TypeError('x is not a function')
    })
    expect(() => runDecoder(ports, decoder, given, clock)).toThrow('payload: decoder d broke on it: x is not a function')
    expect(broken).toHaveLength(1)
  })
})
