// What decoders remember between payloads, on disk: of one project and mapping, JSON values by key, with a revision by which a gateway
// sees that another one has learnt something.
import type { Redis } from 'ioredis'
import { projectKey } from '../log/key.ts'

/** The empty key is the revision's. ARGV: key, value (empty: it is forgotten), and so on. */
const SAVE = `
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[1], ARGV[i]) else redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return redis.call('HINCRBY', KEYS[1], '', 1)`

type Scripts = { telltaleRemember(keys: 1, key: string, ...pairs: readonly string[]): Promise<number> }

/** Of which project, mapping and format; another format means other things by the same keys. */
export type MemoryId = { readonly project: string; readonly decoder: string; readonly format: string }

export type Remembered = { readonly revision: number; readonly values: ReadonlyMap<string, string> }

/** Lua unpacks some thousands. */
const PAIRS = 1000

export class DecoderMemory {
  readonly #redis: Redis & Scripts

  constructor(redis: Redis) {
    redis.defineCommand('telltaleRemember', { lua: SAVE })
    this.#redis = redis as Redis & Scripts
  }

  /** Counts what was saved; 0: nothing is remembered. */
  async revision(id: MemoryId): Promise<number> {
    return Number((await this.#redis.hget(keyOf(id), '')) ?? 0)
  }

  async load(id: MemoryId): Promise<Remembered> {
    const { '': revision = '0', ...rows } = await this.#redis.hgetall(keyOf(id))
    return { revision: Number(revision), values: new Map(Object.entries(rows)) }
  }

  /** JSON texts by key, empty ones for what is forgotten. Resolves with the new revision when they are on disk; more than some are saved in parts. */
  async save(id: MemoryId, changes: ReadonlyMap<string, string>): Promise<number> {
    const pairs = [...changes]
    const saving: Promise<number>[] = []
    for (let i = 0; i < pairs.length; i += PAIRS)
      saving.push(this.#redis.telltaleRemember(1, keyOf(id), ...pairs.slice(i, i + PAIRS).flat()))
    return (await Promise.all(saving)).at(-1) ?? 0
  }

  async forget(id: MemoryId): Promise<void> {
    await this.#redis.unlink(keyOf(id))
  }
}

function keyOf({ project, decoder, format }: MemoryId): string {
  return projectKey(project, `memory:${decoder}:${format}`)
}
