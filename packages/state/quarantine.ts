// Refused input with its reason and original bytes: listed by people, decoded again after a fix, never dropped silently. Bounded by bytes, by
// number and by age; the oldest go first.
import type { Redis } from 'ioredis'
import type { FailureCode } from '../core/failure.ts'
import { projectKey } from '../log/key.ts'
import { ACCEPTED, ADD, LOSE, MAX_DROPPED, REMOVE } from './quarantinescript.ts'

/** What found nothing good in it. */
export type DecodedBy = { readonly name: string; readonly format: string; readonly version: number }

/** By what the same payload is decoded again. */
export type Again = {
  /** What the topic or route says of the event. */
  readonly place: {
    readonly device?: string | undefined
    readonly eventType?: string | undefined
    readonly elseDevice?: string | undefined
    readonly saidBy?: string | undefined
  }
  /** In the project's own space, of what came on a mapped topic. */
  readonly topic?: string
  /** The decoder that the sender asked for by its name. */
  readonly asked?: string
  /** Format that the route is for, whatever else the project reads its content type with. */
  readonly format?: string
  /** Format as it is, whatever the project has made of it. */
  readonly builtIn?: string
  /** Of the request, before those of the decoder. */
  readonly options?: Readonly<Record<string, unknown>>
  /** Device that sent it with a credential of its own: nothing of others is accepted from it. */
  readonly sender?: string
  /** It was decoded when it came, and told its decoder what was not known: that is no repeat of another one. */
  readonly isTold?: true
  /** Else that of the record. */
  readonly arrivedUs?: number
  /** When it was sent, for what gives no time of its own. */
  readonly sentUs?: number
  /** Identity of the delivery; of an element by itself: its own. */
  readonly delivery: string
  readonly isElement?: true
  /** Its sender may have sent it before: nothing is kept twice of it. Else what is the same was sent more than once. */
  readonly mayRepeat: boolean
}

export type Problem = { readonly code: FailureCode; readonly field: string; readonly message: string; readonly device?: string | undefined }

export type Refused = {
  /** Where it came from: an MQTT topic or an HTTP route. */
  readonly source: string
  readonly keyId: string
  readonly field: string
  readonly reason: string
  readonly payload: Buffer
  /** `invalid` unless said. */
  readonly code?: FailureCode
  /** As the MQTT client calls itself. */
  readonly clientId?: string
  readonly contentType?: string
  readonly decoder?: DecodedBy
  /** Whose it is, where that is known. */
  readonly device?: string | undefined
  /** Undefined: it cannot be decoded again. */
  readonly again?: Again
  /** What of the payload was accepted, in the words of whoever adds it: it is not accepted again. */
  readonly accepted?: readonly string[]
  /** All that was wrong, of a payload that is kept as a whole. */
  readonly problems?: readonly Problem[]
}

export type QuarantineRecord = {
  readonly id: string
  readonly time: string
  readonly source: string
  readonly keyId: string
  readonly clientId: string
  readonly contentType: string
  readonly decoder: DecodedBy | null
  readonly device: string
  readonly code: string
  readonly field: string
  readonly reason: string
  /** Of the whole payload, in bytes. */
  readonly size: number
  readonly payload: string
  /** How `payload` stands in JSON: as text when it is UTF-8, else base64. */
  readonly encoding: 'utf8' | 'base64'
}

/** For decoding it again. */
export type QuarantinedPayload = {
  readonly record: QuarantineRecord
  readonly bytes: Buffer
  readonly again: Again | undefined
  readonly accepted: readonly string[]
}

const MAX_RECORDS = 100_000
/** So much of each payload is listed. */
const SHOWN_BYTES = 1024
/** What a record takes besides its payload, about. */
const RECORD_BYTES = 600
const REMOVED_AT_ONCE = 500
/** In one call: nobody else is served meanwhile. */
const MAX_ADDED = 100
const MAX_ADDED_BYTES = 1024 * 1024
const DEFAULT_MAX_BYTES = 64 * 1024 * 1024

type Scripts = {
  telltaleQuarantine(keys: 5, ...args: (string | number | Buffer)[]): Promise<number>
  telltaleRelease(keys: 5, ...args: (string | number)[]): Promise<number>
  telltaleLose(keys: 5, ...args: (string | number)[]): Promise<number>
  telltaleAccepted(keys: 5, ...args: string[]): Promise<unknown>
}

export class Quarantine {
  readonly #redis: Redis & Scripts
  readonly #maxBytes: number

  /** @param maxBytes of one project. */
  constructor(redis: Redis, maxBytes = DEFAULT_MAX_BYTES) {
    redis.defineCommand('telltaleQuarantine', { lua: ADD })
    redis.defineCommand('telltaleRelease', { lua: REMOVE })
    redis.defineCommand('telltaleLose', { lua: LOSE })
    redis.defineCommand('telltaleAccepted', { lua: ACCEPTED })
    this.#redis = redis as Redis & Scripts
    this.#maxBytes = maxBytes
  }

  /** Resolves when Redis has it on disk, with how many older ones had to go for it. */
  async add(project: string, refused: readonly Refused[]): Promise<number> {
    const limits = [this.#maxBytes, MAX_RECORDS]
    const batches = batchesOf(refused)
    const lost = await Promise.all(batches.map(batch => this.#redis.telltaleQuarantine(5, ...keysOf(project), ...limits, ...batch.flat())))
    return lost.reduce((sum, count) => sum + count, 0) + (lost.includes(MAX_DROPPED) ? await this.#lose(project) : 0)
  }

  /** Lets go of what came before this, and of the oldest beyond the limits. Returns how many of these. */
  async trim(project: string, beforeMs = 0): Promise<number> {
    for (let count = REMOVED_AT_ONCE; beforeMs > 0 && count === REMOVED_AT_ONCE; ) {
      const rows = await this.#redis.xrange(keysOf(project)[0], '-', `(${beforeMs}-0`, 'COUNT', REMOVED_AT_ONCE)
      count = rows.length
      await this.remove(
        project,
        rows.map(([id]) => id),
      )
    }
    return this.#lose(project)
  }

  async #lose(project: string): Promise<number> {
    for (let lost = 0; ; ) {
      const count = await this.#redis.telltaleLose(5, ...keysOf(project), this.#maxBytes, MAX_RECORDS)
      lost += count
      if (count < MAX_DROPPED) return lost
    }
  }

  /** Returns how many there were. */
  async remove(project: string, ids: readonly string[]): Promise<number> {
    return ids.length === 0 ? 0 : this.#redis.telltaleRelease(5, ...keysOf(project), ...ids)
  }

  /** Newest first, each with the beginning of its payload; `before` is the id of the last record of the page before. */
  async list(project: string, before: string, limit: number): Promise<QuarantineRecord[]> {
    const end = before === '' ? '+' : `(${before}`
    const rows = await this.#redis.xrevrangeBuffer(keysOf(project)[0], end, '-', 'COUNT', limit)
    return rows.map(([id, fields]) => recordOf(id.toString(), namedIn(fields)))
  }

  /** Oldest first, after an id. */
  async after(project: string, id: string, limit: number): Promise<QuarantineRecord[]> {
    const start = id === '' ? '-' : `(${id}`
    const rows = await this.#redis.xrangeBuffer(keysOf(project)[0], start, '+', 'COUNT', limit)
    return rows.map(([found, fields]) => recordOf(found.toString(), namedIn(fields)))
  }

  /** With the whole payload; undefined when it is not there any more. */
  async find(project: string, id: string): Promise<QuarantinedPayload | undefined> {
    const [records, payloads, accepted] = keysOf(project)
    const [[row], whole, known] = await Promise.all([
      this.#redis.xrangeBuffer(records, id, id),
      this.#redis.hgetBuffer(payloads, id),
      this.#redis.hget(accepted, id),
    ])
    if (!row) return undefined
    const named = namedIn(row[1])
    const again = named.get('again')?.toString() ?? ''
    return {
      record: recordOf(id, named, whole ?? undefined),
      bytes: whole ?? named.get('payload') ?? Buffer.alloc(0),
      again: again === '' ? undefined : (JSON.parse(again) as Again),
      accepted: known === null ? [] : (JSON.parse(known) as string[]),
    }
  }

  /** Of a record that stays: this of it is accepted now. */
  async accepted(project: string, id: string, contents: readonly string[]): Promise<void> {
    await this.#redis.telltaleAccepted(5, ...keysOf(project), id, JSON.stringify(contents))
  }
}

function keysOf(project: string): [records: string, payloads: string, accepted: string, bytes: string, deliveries: string] {
  const key = (name: string) => projectKey(project, `quarantine${name}`)
  return [key(''), key(':payloads'), key(':accepted'), key(':bytes'), key(':deliveries')]
}

type Arguments = (string | number | Buffer)[]

/** Few and small enough for one call, in their order. */
function batchesOf(refused: readonly Refused[]): Arguments[][] {
  const batches: Arguments[][] = []
  let bytes = 0
  for (const one of refused) {
    const last = batches.at(-1)
    bytes += one.payload.length
    if (last && last.length < MAX_ADDED && bytes <= MAX_ADDED_BYTES) last.push(argumentsOf(one))
    else {
      batches.push([argumentsOf(one)])
      bytes = one.payload.length
    }
  }
  return batches
}

function argumentsOf(one: Refused): Arguments {
  const { payload, accepted = [], again } = one
  const known = accepted.length > 0 ? JSON.stringify(accepted) : ''
  const fields = fieldsOf(one)
  const size = RECORD_BYTES + payload.length
  const whole = payload.length > SHOWN_BYTES ? payload : ''
  return [size, whole, known, again?.delivery ?? '', Number(again?.mayRepeat === true), fields.length, ...fields]
}

function fieldsOf({ payload, decoder, again, code = 'invalid', clientId = '', contentType = '', device = '', ...one }: Refused) {
  const { source, keyId, field, reason } = one
  const by = decoder ? ['decoder', decoder.name, 'format', decoder.format, 'version', decoder.version] : []
  const texts = { source, keyId, clientId, contentType, device, code, field, reason, size: payload.length }
  const more = again ? ['again', JSON.stringify(again)] : []
  return [...Object.entries(texts).flat(), ...by, ...more, 'payload', payload.subarray(0, SHOWN_BYTES)]
}

function namedIn(fields: readonly Buffer[]): Map<string, Buffer> {
  const byName = new Map<string, Buffer>()
  for (let i = 0; i < fields.length; i += 2) byName.set((fields[i] as Buffer).toString(), fields[i + 1] as Buffer)
  return byName
}

function recordOf(id: string, named: ReadonlyMap<string, Buffer>, whole?: Buffer): QuarantineRecord {
  const text = (name: string) => named.get(name)?.toString() ?? ''
  const shown = named.get('payload') ?? Buffer.alloc(0)
  return {
    id,
    time: new Date(Number(id.split('-')[0])).toISOString(),
    source: text('source'),
    keyId: text('keyId'),
    clientId: text('clientId'),
    contentType: text('contentType'),
    decoder: named.has('decoder') ? { name: text('decoder'), format: text('format'), version: Number(text('version')) } : null,
    device: text('device'),
    code: text('code') || 'invalid',
    field: text('field'),
    reason: text('reason'),
    size: named.has('size') ? Number(text('size')) : shown.length,
    ...shownIn(whole ?? shown, whole === undefined && Number(text('size')) > shown.length),
  }
}

/** As it stands in JSON. A text that was cut may end inside of a character. */
export function shownIn(bytes: Buffer, isCut = false): Pick<QuarantineRecord, 'payload' | 'encoding'> {
  const text = bytes.toString('utf8')
  if (Buffer.from(text).equals(bytes)) return { payload: text, encoding: 'utf8' }
  const shorter = isCut
    ? [1, 2, 3].map(cut => bytes.subarray(0, -cut)).find(one => Buffer.from(one.toString('utf8')).equals(one))
    : undefined
  if (shorter) return { payload: shorter.toString('utf8'), encoding: 'utf8' }
  return { payload: bytes.toString('base64'), encoding: 'base64' }
}
