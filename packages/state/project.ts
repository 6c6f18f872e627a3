// Which projects there are.
import type { Redis } from 'ioredis'

const KEY = 't:projects'

export class Projects {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  async add(project: string): Promise<void> {
    await this.#redis.sadd(KEY, project)
  }

  async list(): Promise<string[]> {
    return this.#redis.smembers(KEY)
  }
}
