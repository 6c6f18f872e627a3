// Which streams have a decoder, in all projects: those who decode ask this once a second, and are mostly told that there are none.
import type { Redis } from 'ioredis'

export type DecodedStream = { readonly project: string; readonly stream: string }

/** Set of `{project}\t{stream}`. */
const KEY = 't:decoded'

export class DecodedStreams {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  async add(stream: DecodedStream): Promise<void> {
    await this.#redis.sadd(KEY, memberOf(stream))
  }

  async remove(stream: DecodedStream): Promise<void> {
    await this.#redis.srem(KEY, memberOf(stream))
  }

  async list(): Promise<DecodedStream[]> {
    return (await this.#redis.smembers(KEY)).map(member => {
      const tab = member.indexOf('\t')
      return { project: member.slice(0, tab), stream: member.slice(tab + 1) }
    })
  }
}

/** Neither holds a tab. */
function memberOf({ project, stream }: DecodedStream): string {
  return `${project}\t${stream}`
}
