// How long messages of a project's streams are kept: what was set for all of one kind, for those that are made later too.
import type { Redis } from 'ioredis'
import { projectKey } from '../log/key.ts'

export class Lifetimes {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  /** Undefined where nothing was set. */
  async get(project: string, kind: string): Promise<number | undefined> {
    const found = await this.#redis.hget(keyOf(project), kind)
    return found === null ? undefined : Number(found)
  }

  async set(project: string, kind: string, ms: number): Promise<void> {
    await this.#redis.hset(keyOf(project), kind, ms)
  }
}

function keyOf(project: string): string {
  return projectKey(project, 'lifetimes')
}
