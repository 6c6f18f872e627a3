// Refused input with its reason and original bytes: listed by people, never dropped silently.
import type { Redis } from 'ioredis'
import { projectKey } from '../log/key.ts'

export type Refused = {
  /** Where it came from: an MQTT topic or an HTTP route. */
  readonly source: string
  readonly keyId: string
  readonly field: string
  readonly reason: string
  readonly payload: Buffer
}

export type QuarantineRecord = Omit<Refused, 'payload'> & {
  readonly id: string
  readonly time: string
  readonly payload: string
  /** How `payload` stands in JSON: as text when it is UTF-8, else base64. */
  readonly encoding: 'utf8' | 'base64'
}

/** The oldest go when a project has more refusals than this. */
const MAX_RECORDS = 10_000
const MAX_BYTES = 16 * 1024

export class Quarantine {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  /** Resolves when Redis has it on disk. Payloads beyond 16 KiB are kept up to there. */
  async add(project: string, refused: readonly Refused[]): Promise<void> {
    const pipeline = this.#redis.pipeline()
    for (const { source, keyId, field, reason, payload } of refused) {
      const fields = ['source', source, 'keyId', keyId, 'field', field, 'reason', reason, 'payload', payload.subarray(0, MAX_BYTES)]
      pipeline.xadd(projectKey(project, 'quarantine'), 'MAXLEN', '~', MAX_RECORDS, '*', ...fields)
    }
    for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error
  }

  /** Lets go of the oldest beyond this much memory. Of a sample Redis would take the oldest: all are counted, at most some thousand. */
  async trim(project: string, maxBytes: number): Promise<void> {
    const key = projectKey(project, 'quarantine')
    const bytes = Number((await this.#redis.memory('USAGE', key, 'SAMPLES', 0)) ?? 0)
    if (bytes <= maxBytes) return
    await this.#redis.xtrim(key, 'MAXLEN', Math.floor(((await this.#redis.xlen(key)) * maxBytes) / bytes))
  }

  /** Newest first; `before` is the id of the last record of the page before. */
  async list(project: string, before: string, limit: number): Promise<QuarantineRecord[]> {
    const rows = await this.#redis.xrevrangeBuffer(
      projectKey(project, 'quarantine'),
      before === '' ? '+' : `(${before}`,
      '-',
      'COUNT',
      limit,
    )
    return rows.map(([id, fields]) => toRecord(id.toString(), fields))
  }
}

function toRecord(id: string, fields: readonly Buffer[]): QuarantineRecord {
  const byName = new Map<string, Buffer>()
  for (let i = 0; i < fields.length; i += 2) byName.set((fields[i] as Buffer).toString(), fields[i + 1] as Buffer)
  const text = (name: string) => byName.get(name)?.toString() ?? ''
  const bytes = byName.get('payload') ?? Buffer.alloc(0)
  const utf8 = Buffer.from(bytes.toString('utf8')).equals(bytes)
  return {
    id,
    time: new Date(Number(id.split('-')[0])).toISOString(),
    source: text('source'),
    keyId: text('keyId'),
    field: text('field'),
    reason: text('reason'),
    payload: bytes.toString(utf8 ? 'utf8' : 'base64'),
    encoding: utf8 ? 'utf8' : 'base64',
  }
}
