// Decoders that run beside each other: what one learns while another waits is not lost.
import { Type } from 'typebox'
import { expect, it } from 'vitest'
import type { Memory, Payload } from '../decode/format.ts'
import { decodeJson } from '../decode/json.ts'
import { type Made, runDecoder } from './decoderun.ts'
import { Memories } from './memory.ts'

const clock = { nowUs: () => 0, newId: () => 'id' }
const mapping = { name: 'd', format: 'f', topics: [], contentTypes: [], options: {}, enabled: true, builtIn: true }

/** Keeps a list of what came. */
function decoderOf(wait: (one: string) => Promise<void> | undefined) {
  const learn = (one: string, memory: Memory) => {
    // Something that is not there is asked of the other gateways.
    if (one === 'waits') memory.get('none')
    memory.set('all', [...((memory.get('all') ?? []) as string[]), one])
    return { decoded: [] }
  }
  const format = {
    name: 'f',
    version: 1,
    title: '',
    options: Type.Object({}),
    topics: [],
    contentTypes: [],
    decode: ({ bytes, memory }: { bytes: Buffer; memory: Memory }) => {
      const output = learn(bytes.toString(), memory)
      return wait(bytes.toString())?.then(() => output) ?? output
    },
  }
  return { mapping, format }
}

function gateway() {
  const rows = new Map<string, string>()
  const time = { nowMs: 0 }
  let open: (revision: number) => void = () => {}
  let revision = 0
  const disk = {
    read: async (_: unknown, known: number) => {
      if (known >= 0) await new Promise<number>(resolve => (open = resolve))
      return { revision, isAll: known < 0, values: new Map<string, string>() }
    },
    changedMs: async () => 0,
    save: async (_: unknown, changes: ReadonlyMap<string, string>) => {
      for (const [key, text] of changes) rows.set(key, text)
      return ++revision
    },
  }
  const memories = new Memories({ disk, nowMs: () => time.nowMs, troubled: () => {} })
  const take = async (one: string, wait: (one: string) => Promise<void> | undefined = () => undefined) => {
    const given = { project: 'p', bytes: Buffer.from(one), topic: [], place: {} }
    const tell = ({ draft }: Made) => memories.hold(draft)
    const { hold } = await runDecoder({ memories, broke: () => {} }, decoderOf(wait), given, clock, tell)
    await new Promise<void>((resolve, reject) => {
      if (hold) hold.settle(undefined, failure => (failure ? reject(failure) : resolve()))
      else resolve()
    })
  }
  return { take, rows, time, memories, answer: () => open(revision) }
}

it.each([
  ['nobody else says it', '{"value":1}', {}, 'template'],
  ['the route says it', '{"value":1}', { device: 'route' }, 'route'],
  ['the payload says it', '{"device":"payload","data":{"value":1}}', {}, 'payload'],
  [
    'both say it',
    '{"device":"payload","data":{"value":1}}',
    { device: 'route' },
    'device: expected the device of the topic or route, route',
  ],
])('the device of a mapping is that of events of which %s', async (_, text, place, expected) => {
  const { memories } = gateway()
  const format = {
    ...decoderOf(() => undefined).format,
    decode: (payload: Payload) => ({ decoded: decodeJson(payload.bytes, payload.place, clock) }),
  }
  const given = { project: 'p', bytes: Buffer.from(text), topic: ['a', 'template'], place: { eventType: 'level', ...place } }
  const decoder = { mapping: { ...mapping, device: '{2}' }, format }
  const { decoded } = await runDecoder({ memories, broke: () => {} }, decoder, given, clock)
  expect(decoded.map(one => ('event' in one ? one.event.device : one.failure.message))).toEqual([expected])
})

it('what another payload tells while one waits for what other gateways have learnt is kept', async () => {
  const { take, rows, time, answer } = gateway()
  await take('a')
  time.nowMs = 1000
  const waits = take('waits')
  await take('quick')
  answer()
  await waits
  expect(JSON.parse(rows.get('all') ?? '')).toEqual(['a', 'quick', 'waits'])
})

it('what another payload tells while a decoder thinks is kept', async () => {
  const { take, rows } = gateway()
  await take('a')
  let go: () => void = () => {}
  const thinks = new Promise<void>(resolve => (go = resolve))
  const slow = take('slow', () => thinks)
  await take('quick')
  go()
  await slow
  expect(JSON.parse(rows.get('all') ?? '')).toEqual(['a', 'quick', 'slow'])
})

it.each([
  ['at once', undefined],
  ['later', () => Promise.resolve()],
])('what payloads tell that come together to a gateway that has just begun is all kept, by decoders that answer %s', async (_, wait) => {
  const { take, rows } = gateway()
  await Promise.all(['a', 'b', 'c'].map(one => take(one, wait)))
  expect(JSON.parse(rows.get('all') ?? '').toSorted()).toEqual(['a', 'b', 'c'])
})
