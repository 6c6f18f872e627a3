// For the tests of formats: what a format makes of payloads, in short, and the same payloads damaged.
import { Value } from 'typebox/value'
import { Failure } from '../../../packages/core/failure.ts'
import type { Format, Memory, Output, Payload } from './format.ts'

export type Sample = readonly [topic: string, payload: string | Buffer]

type Short = { readonly events: readonly unknown[]; readonly failures: readonly string[] }

/** Of arrival in these tests. */
export const ARRIVAL = '2026-12-31T12:00:00.000000Z'
const clock = { nowUs: () => Date.parse(ARRIVAL) * 1000, newId: () => 'id' }

/** @param values as JSON, as it is kept. */
export function memoryOf(values = new Map<string, string>()): Memory & { readonly size: () => number; readonly keys: () => string[] } {
  const notes = new Map<string, unknown>()
  const get = (key: string) => (values.has(key) ? JSON.parse(values.get(key) as string) : undefined)
  const sizeOf = (key: string) => (values.has(key) ? key.length + (values.get(key)?.length ?? 0) : 0)
  let chars = [...values.keys()].reduce((sum, key) => sum + sizeOf(key), 0)
  return {
    get,
    set: (key, value) => {
      chars -= sizeOf(key)
      if (value === undefined) values.delete(key)
      else values.set(key, JSON.stringify(value))
      chars += sizeOf(key)
    },
    fullness: more => Math.max((values.size + more.keys) / 10_000, (chars + more.chars) / (4 * 1024 * 1024)),
    entries: prefix => [...values.keys()].flatMap(key => (key.startsWith(prefix) ? [[key, get(key)] as const] : [])),
    noted: key => notes.get(key),
    note: (key, value) => void notes.set(key, value),
    isReplay: false,
    size: () => values.size,
    keys: () => [...values.keys()],
  }
}

/** Of formats that remember nothing. */
export const NO_MEMORY: Memory = {
  get: () => undefined,
  set: () => {},
  fullness: () => 0,
  entries: () => [],
  noted: () => undefined,
  note: () => {},
  isReplay: false,
}

export type Decoding = { readonly options?: Record<string, unknown>; readonly memory?: Memory }

export function payloadOf(format: Format, [topic, payload]: Sample, { options = {}, memory = memoryOf() }: Decoding = {}): Payload {
  return {
    bytes: Buffer.from(payload),
    topic: topic === '' ? [] : topic.split('/'),
    place: { project: 'p' },
    options: Value.Default(format.options, { ...options }) as Record<string, unknown>,
    memory,
  }
}

/** Each event as `device type fields`, and `@ time` where it is not that of arrival. */
export async function decodeShort(format: Format, sample: Sample, decoding: Decoding = {}): Promise<Short> {
  const { decoded } = await format.decode(payloadOf(format, sample, decoding), clock)
  const events = decoded.flatMap(one => ('event' in one ? [shortOf(one.event.device, JSON.parse(one.event.frame))] : []))
  return { events, failures: decoded.flatMap(one => ('failure' in one ? [one.failure.message] : [])) }
}

function shortOf(
  device: string,
  { eventType, data, timestamp }: { eventType: string; data: Record<string, object>; timestamp: string },
): unknown {
  const { updateTime: _u, samples: _s, isBackfilled: _b, ...fields } = data[eventType] as Record<string, unknown>
  return [device, eventType, fields, ...(timestamp === ARRIVAL ? [] : [timestamp])]
}

/** How much longer eight times as much takes: 8 where work goes with the size, 64 where it goes with its square. */
export function growth(work: (size: number) => unknown, size: number): number {
  return took(() => work(8 * size)) / took(() => work(size))
}

/** Milliseconds: the best of some, because others use the machine as well. */
export function took(work: () => unknown): number {
  let bestMs = Number.POSITIVE_INFINITY
  for (let i = 0; i < 5; i++) {
    const startMs = performance.now()
    work()
    bestMs = Math.min(bestMs, performance.now() - startMs)
  }
  return bestMs
}

/** The events alone; a failure fails the test. */
export async function eventsOf(format: Format, sample: Sample, decoding: Decoding = {}): Promise<readonly unknown[]> {
  const { events, failures } = await decodeShort(format, sample, decoding)
  if (failures.length > 0) throw new Error(failures.join('; '))
  return events
}

/** A format may only ever answer or fail with a `Failure`, and quickly. Seeded: the same run each time. */
export async function survives(format: Format, samples: readonly Sample[], count = 2000, decoding: Decoding = {}): Promise<void> {
  const dice = diceOf(count)
  const memory = decoding.memory ?? memoryOf()
  for (let i = 0; i < count; i++) {
    const [topic, payload] = samples[i % samples.length] as Sample
    const bytes = damaged(Buffer.from(payload), dice)
    await outcomeOf(format, payloadOf(format, [dice(20) === 0 ? `${topic}/x` : topic, bytes], { ...decoding, memory }))
  }
}

async function outcomeOf(format: Format, payload: Payload): Promise<Output | Failure> {
  try {
    return await format.decode(payload, clock)
  } catch (error) {
    if (error instanceof Failure) return error
    throw new Error(`${payload.topic.join('/')} ${payload.bytes.toString()}`, { cause: error })
  }
}

function diceOf(seed: number): (sides: number) => number {
  let state = seed | 1
  return sides => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7f_ff_ff_ff
    return (state >> 8) % sides
  }
}

const PIECES = [
  'null',
  '{}',
  '[]',
  '""',
  '1e999',
  '-1',
  'true',
  '"__proto__"',
  ':',
  ',',
  '{"a":',
  '\u0000',
  '99999999999999999999',
  '"\\ud800"',
]

function damaged(bytes: Buffer, dice: (sides: number) => number): Buffer {
  let damage = bytes
  for (let times = 1 + dice(3); times > 0; times--) {
    const at = dice(damage.length + 1)
    const [head, tail] = [damage.subarray(0, at), damage.subarray(at)]
    const kind = dice(5)
    if (kind === 0) damage = Buffer.concat([head, Buffer.from([dice(256)]), tail.subarray(1)])
    else if (kind === 1) damage = Buffer.concat([head, tail.subarray(1 + dice(8))])
    else if (kind === 2) damage = head
    else if (kind === 3) damage = Buffer.concat([head, Buffer.from(PIECES[dice(PIECES.length)] as string), tail])
    else damage = replaced(damage, dice)
  }
  return damage
}

/** A value of JSON for another one: still JSON, and of another shape. */
function replaced(bytes: Buffer, dice: (sides: number) => number): Buffer {
  const text = bytes.toString('latin1')
  const values = [...text.matchAll(/(?<=[:[,]\s?)("[^"]*"|-?[\d.]+|true|false)/g)]
  const value = values[dice(values.length || 1)]
  if (value === undefined) return bytes
  const piece = PIECES[dice(PIECES.length)] as string
  return Buffer.from(text.slice(0, value.index) + piece + text.slice(value.index + value[0].length), 'latin1')
}
