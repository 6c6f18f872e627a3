// The audit: who changed what, when and with which result. Kept per project and organisation, the oldest go; never a body or secret.
import type { Redis } from 'ioredis'
import { formatTime } from '../core/time.ts'
import { compareIds } from '../log/entry.ts'
import { projectKey } from '../log/key.ts'
import { registryKey, type Scope } from './registry.ts'

export type AuditEntry = {
  readonly keyId: string
  /** E-mail address of the service account. */
  readonly account: string
  readonly method: string
  /** Path without the query, which may hold a token. */
  readonly path: string
  /** Name of the resource that was made or changed, where the answer says it. */
  readonly resource: string
  readonly status: number
  readonly requestId: string
}

export type AuditRecord = AuditEntry & { readonly id: string; readonly time: string }

const MAX_RECORDS = 10_000
/** Of what comes often, or was refused, which anybody with a key brings about at will: it pushes out only its own kind. */
const MAX_FREQUENT = 1000
const MAX_PATH = 500

export class Audit {
  readonly #redis: Redis

  constructor(redis: Redis) {
    this.#redis = redis
  }

  /** Resolves when Redis has it on disk. @param isFrequent a change that whole fleets make. */
  async add(scope: Scope, entry: AuditEntry, isFrequent = false): Promise<void> {
    const { path, resource, status, ...rest } = entry
    const fields = { ...rest, path: path.slice(0, MAX_PATH), resource: resource.slice(0, MAX_PATH), status: String(status) }
    const [kind, max] = isFrequent || status >= 400 ? (['frequent', MAX_FREQUENT] as const) : (['audit', MAX_RECORDS] as const)
    await this.#redis.xadd(auditKey(scope, kind), 'MAXLEN', '~', max, '*', ...Object.entries(fields).flat())
  }

  /** Newest first; `before` is the id of the last record of the page before. */
  async list(scope: Scope, before: string, limit: number): Promise<AuditRecord[]> {
    const isFrequent = before.endsWith(FREQUENT)
    const id = isFrequent ? before.slice(0, -FREQUENT.length) : before
    // Of two at one place the frequent one is the second.
    const [changed, frequent] = await Promise.all([
      this.#redis.xrevrange(auditKey(scope, 'audit'), id === '' ? '+' : `(${id}`, '-', 'COUNT', limit),
      this.#redis.xrevrange(auditKey(scope, 'frequent'), id === '' ? '+' : isFrequent ? `(${id}` : id, '-', 'COUNT', limit),
    ])
    const rows = [...changed.map(row => ({ row, mark: '' })), ...frequent.map(row => ({ row, mark: FREQUENT }))]
    const newest = rows.toSorted((a, b) => compareIds(b.row[0], a.row[0])).slice(0, limit)
    return newest.map(({ row: [place, fields], mark }) => toRecord(`${place}${mark}`, fields))
  }
}

/** Ends the id of a record of what is frequent. */
const FREQUENT = 'r'

/** Whether it may be the id of a record. */
export function isRecordId(text: string): boolean {
  return /^\d{1,15}-\d{1,15}r?$/.test(text)
}

function auditKey(scope: Scope, name: 'audit' | 'frequent'): string {
  const [kind, id = ''] = scope.split('/')
  return kind === 'projects' ? projectKey(id, name) : registryKey(`${name}:${id}`)
}

function toRecord(id: string, fields: readonly string[]): AuditRecord {
  const byName = new Map(fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1] as string] as const] : [])))
  const text = (name: keyof AuditEntry) => byName.get(name) ?? ''
  return {
    id,
    time: formatTime(Number(id.split('-', 1)[0]) * 1000),
    keyId: text('keyId'),
    account: text('account'),
    method: text('method'),
    path: text('path'),
    resource: text('resource'),
    status: Number(text('status')),
    requestId: text('requestId'),
  }
}
