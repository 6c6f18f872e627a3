// Reading durable streams: by place, by time, by name, and what there is to say about one.
import type { Redis } from 'ioredis'
import { streamKey } from './key.ts'
import { type Message, parseRow } from './message.ts'
import { missing, type Ref } from './record.ts'
import type { Scripts } from './script.ts'
import { type StreamStats, statsOf } from './statistic.ts'

const MAX_READ = 1000
const MAX_READ_BYTES = 2 * 1024 * 1024
const NAMED_AT_ONCE = 16

export class Reads {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis & Scripts) {
    this.#redis = redis
  }

  /**
   * Strictly after a place (0: from the oldest kept), oldest first: at most 1,000, and at most about 2 MiB but one at least. Fewer than
   * asked for may come although there are more: only an empty answer says that there are none.
   */
  async read(ref: Ref, afterSeq: number, count: number): Promise<Message[]> {
    return this.#range(ref, 'XRANGE', `${afterSeq + 1}-0`, '+', count)
  }

  /** Strictly before a place, newest first; as `read`. */
  async readBack(ref: Ref, beforeSeq: number, count: number): Promise<Message[]> {
    return beforeSeq <= 1 ? [] : this.#range(ref, 'XREVRANGE', `${beforeSeq - 1}-0`, '-', count)
  }

  async #range(ref: Ref, command: string, from: string, to: string, count: number): Promise<Message[]> {
    const log = streamKey(ref, 'log')
    const rows = await this.#redis.streamReadBuffer(1, log, command, from, to, Math.min(count, MAX_READ), MAX_READ_BYTES)
    return rows.map(parseRow)
  }

  /** The place before the first message that was published at this time or later. @throws Failure `not_found`. */
  async placeAt(ref: Ref, ms: number): Promise<number> {
    return this.place(ref, 'time', ms)
  }

  protected async place(ref: Ref, by: 'time' | 'bytes', value: number): Promise<number> {
    return this.#redis.streamPlace(2, streamKey(ref), streamKey(ref, 'log'), by, value).catch((error: unknown) => {
      throw /\bGONE$/.test((error as Error).message) ? missing(ref.record.name) : error
    })
  }

  /** @throws Failure `not_found`. */
  async stats(ref: Ref): Promise<StreamStats> {
    const stats = statsOf(await this.#redis.streamStatsBuffer(2, streamKey(ref), streamKey(ref, 'log')))
    if (!stats) throw missing(ref.record.name)
    return stats
  }

  /** Who appended first, with an owner. */
  async owner(ref: Ref): Promise<string | undefined> {
    return (await this.#redis.hget(streamKey(ref), 'owner')) ?? undefined
  }

  /** How many were ever appended. @throws Failure `not_found`. */
  async last(ref: Ref): Promise<number> {
    const last = await this.#redis.hget(streamKey(ref), 'last')
    if (last === null) throw missing(ref.record.name)
    return Number(last)
  }

  /** Messages of one name with a number after this one, in order, as `read`. What was dropped since is left out. */
  async readNamed(ref: Ref, name: string, after: number, count: number): Promise<Message[]> {
    const dropped = await this.dropped(ref, name)
    const from = Math.max(0, after - dropped)
    const seqs = await this.#redis.lrange(streamKey(ref, `name:${name}`), from, from + Math.min(count, MAX_READ) - 1)
    const found: Message[] = []
    let bytes = 0
    for (let at = 0; at < seqs.length && bytes < MAX_READ_BYTES; at += NAMED_AT_ONCE) {
      const some = await Promise.all(seqs.slice(at, at + NAMED_AT_ONCE).map(seq => this.#range(ref, 'XRANGE', `${seq}-0`, `${seq}-0`, 1)))
      for (const message of some.flat()) {
        found.push(message)
        bytes += message.payload.length
      }
    }
    return found
  }

  /** Of a name, how many are gone from the front. */
  protected async dropped(ref: Ref, name: string): Promise<number> {
    return Number((await this.#redis.hget(streamKey(ref, 'dropped'), name)) ?? 0)
  }

  /** How many there were ever of this name. */
  async nameLast(ref: Ref, name: string): Promise<number> {
    const [dropped, left] = await Promise.all([this.dropped(ref, name), this.#redis.llen(streamKey(ref, `name:${name}`))])
    return dropped + left
  }

  /** How many messages there are of each name. */
  async names(ref: Ref): Promise<{ name: string; last: number }[]> {
    const names = (await this.#redis.smembers(streamKey(ref, 'names'))).toSorted()
    return Promise.all(names.map(async name => ({ name, last: await this.nameLast(ref, name) })))
  }
}
