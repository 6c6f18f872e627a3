// Channels: where notifications go. Secrets are sealed at rest and never shown again.
import type { Redis } from 'ioredis'
import { Failure } from '../core/failure.ts'
import { projectKey } from '../log/key.ts'

export type Channel = {
  readonly name: string
  readonly type: 'webhook'
  readonly url: string
  readonly headerNames: readonly string[]
  /** Own headers as JSON, sealed: they may hold tokens. */
  readonly headers: string
  /** Sealed; see packages/identity. */
  readonly secret: string
  /** `dt`: as data connectors sign what they push (contracts.md 1.a.9), and not at all with an empty secret. Undefined: Standard Webhooks. */
  readonly signature?: 'dt'
  /** The rule that it was made with, and that it goes with; undefined: it stands for itself. */
  readonly owner?: Owner
}

/** What DT's clients call the level of the rule's receivers (contracts.md 1.a.12). */
export type Owner = { readonly rule: string; readonly level: string; readonly escalateAfter: string | null }

export class Channels {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  async list(project: string): Promise<Channel[]> {
    const rows = await this.#redis.hgetall(projectKey(project, 'channels'))
    return Object.keys(rows)
      .sort()
      .map(name => JSON.parse(rows[name] as string) as Channel)
  }

  /** Undefined when there is none of that name. */
  async find(project: string, name: string): Promise<Channel | undefined> {
    const row = await this.#redis.hget(projectKey(project, 'channels'), name)
    return row === null ? undefined : (JSON.parse(row) as Channel)
  }

  async one(project: string, name: string): Promise<Channel> {
    const channel = await this.find(project, name)
    if (!channel) throw missing(project, name)
    return channel
  }

  async save(project: string, channel: Channel): Promise<void> {
    await this.#redis.hset(projectKey(project, 'channels'), channel.name, JSON.stringify(channel))
  }

  async remove(project: string, name: string): Promise<void> {
    if ((await this.#redis.hdel(projectKey(project, 'channels'), name)) === 0) throw missing(project, name)
  }

  /** Those that were made with a rule, but for these. */
  async removeOf(project: string, rule: string, except: readonly string[] = []): Promise<void> {
    const owned = (await this.list(project)).filter(({ owner }) => owner?.rule === rule)
    const names = owned.map(({ name }) => name).filter(name => !except.includes(name))
    if (names.length > 0) await this.#redis.hdel(projectKey(project, 'channels'), ...names)
  }
}

function missing(project: string, name: string): Failure {
  return new Failure('not_found', `channel ${name} does not exist in project ${project}`, { field: 'channel' })
}
