// What the tests of sessions share: everything in Redis that belongs to sessions is counted again from its keys, and held against the counts.
import type { Redis } from 'ioredis'
import { expect } from 'vitest'
import { MESSAGE_BYTES, PREFIX } from './lua.ts'

export type Audit = { readonly total: number; readonly bodies: number; readonly references: number; readonly released: number }

/** Of a holder: references of each message and its length, alive or lost, and what all of it takes. */
type Book = { readonly shares: Map<string, number>; readonly lengths: Promise<Map<string, number>>; bytes: number; released: number }

/** @returns what is there, which is what the counts say. */
export async function audit(redis: Redis): Promise<Audit> {
  const books = new Map<string, Book>()
  const bookOf = (of: string): Book => {
    const book = books.get(of) ?? { shares: new Map(), lengths: lengthsOf(redis, of), bytes: 0, released: 0 }
    books.set(of, book)
    return book
  }
  const refer = (of: string, ids: readonly string[]) => {
    const { shares } = bookOf(of)
    for (const id of ids) shares.set(id, (shares.get(id) ?? 0) + 1)
  }
  for (const trash of await redis.zrange(`${PREFIX}trash`, 0, '-1')) {
    const [number, of] = trash.split('\n') as [string, string]
    refer(of, await redis.zrange(`${PREFIX}trash:${number}`, 0, '-1'))
  }
  const filters = new Map<string, number>()
  for (const id of await redis.zrange(`${PREFIX}sessions`, 0, '-1')) {
    const { holder = '', bytes, ...rest } = await redis.hgetall(`${PREFIX}session:${id}`)
    const granted = Object.entries(rest).filter(([name]) => name.startsWith('f:'))
    const taken = granted.reduce((sum, [name, grant]) => sum + name.length + grant.length + MESSAGE_BYTES, 0)
    filters.set(holder, (filters.get(holder) ?? 0) + taken)
    const ids = await redis.zrange(`${PREFIX}queue:${id}`, 0, '-1')
    const released = await redis.zcard(`${PREFIX}released:${id}`)
    refer(holder, ids)
    bookOf(holder).released += released
    const lengths = await bookOf(holder).lengths
    const waits = ids.reduce((bytes, one) => bytes + MESSAGE_BYTES + (lengths.get(one) ?? Number.NaN), 0)
    expect(Number(bytes), id).toBe(waits + released * MESSAGE_BYTES)
    expect(Number((await redis.zscore(`${PREFIX}holds:${holder}`, id)) ?? 0), id).toBe(waits)
    const sent = await redis.hkeys(`${PREFIX}sent:${id}`)
    expect(sent.filter(one => !ids.includes(one))).toEqual([])
  }
  for (const [of, book] of books) await check(redis, of, book)
  expect(await pairsOf(redis, `${PREFIX}filters`)).toEqual(new Map([...filters].filter(([, bytes]) => bytes > 0)))
  const all = [...books.values()]
  const sum = (of: (book: Book) => number) => all.reduce((total, book) => total + of(book), 0)
  const total = Number((await redis.get(`${PREFIX}total`)) ?? 0)
  expect(total).toBe(sum(({ bytes }) => bytes))
  return {
    total,
    bodies: sum(({ shares }) => shares.size),
    references: sum(({ shares }) => [...shares.values()].reduce((a, b) => a + b, 0)),
    released: sum(({ released }) => released),
  }
}

/** What is in Redis for sessions, but for what stays when there are none. */
export async function leftOver(redis: Redis): Promise<string[]> {
  const stays = ['layout', 'changes'].map(name => PREFIX + name)
  return (await redis.keys(`${PREFIX}*`)).filter(name => !stays.includes(name))
}

async function pairsOf(redis: Redis, key: string): Promise<Map<string, number>> {
  const flat = await redis.zrange(key, 0, '-1', 'WITHSCORES')
  return new Map(Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] as string, Number(flat[2 * i + 1])]))
}

async function lengthsOf(redis: Redis, of: string): Promise<Map<string, number>> {
  const [bodies, lost] = await Promise.all([redis.hgetall(`${PREFIX}body:${of}`), redis.hgetall(`${PREFIX}lost:${of}`)])
  const alive = Object.entries(bodies).map(([id, body]) => [id, Buffer.byteLength(body)] as const)
  return new Map([...alive, ...Object.entries(lost).map(([id, bytes]) => [id, Number(bytes)] as const)])
}

/** Every message that is waited for has a body or is known as lost, and no other has. */
async function check(redis: Redis, of: string, book: Book): Promise<void> {
  const [bodies, lost, shares] = await Promise.all(['body', 'lost', 'share'].map(name => redis.hgetall(`${PREFIX}${name}:${of}`)))
  expect(Object.fromEntries(Object.entries(shares ?? {}).map(([id, many]) => [id, Number(many)]))).toEqual(Object.fromEntries(book.shares))
  expect([...Object.keys(bodies ?? {}), ...Object.keys(lost ?? {})].sort()).toEqual([...book.shares.keys()].sort())
  const references = [...book.shares.values()].reduce((a, b) => a + b, 0)
  const bytes = Object.values(bodies ?? {}).reduce((sum, body) => sum + Buffer.byteLength(body), 0)
  book.bytes = bytes + (references + book.released) * MESSAGE_BYTES
  expect(Number((await redis.zscore(`${PREFIX}holders`, of)) ?? 0), of).toBe(book.bytes)
}
