// Durable streams: named logs of a project whose messages each producer gets acknowledged and each consumer acks for itself. Events of
// devices have their own log (../log.ts); the clients of other systems, and programs, have these.
import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { checkDecoder } from '../../core/decoder.ts'
import { Failure, invalid } from '../../core/failure.ts'
import { checkStreamName, DEVICES } from '../../core/stream.ts'
import { formatTime } from '../../core/time.ts'
import { projectKey } from '../key.ts'
import type { Move } from '../log.ts'
import { Appends } from './append.ts'
import { type DecodedStream, DecodedStreams } from './decoded.ts'
import { streamKey, streamsKey } from './key.ts'
import { checkMessage, type NewMessage, sizeOf } from './message.ts'
import { Reads } from './read.ts'
import { exists, missing, type Ref, type Retention, refuseDevices, type Schema, type StreamRecord, type StreamSettings } from './record.ts'
import { defineScripts, type Scripts } from './script.ts'

export type { Ref, Retention, Schema, StreamRecord, StreamSettings } from './record.ts'
export { missing } from './record.ts'
export type { StreamStats } from './statistic.ts'

export type Appended = {
  readonly seq: number
  /** Its idempotency key was seen before: this is where the first is. */
  readonly duplicate: boolean
  /** Among the messages of its name. */
  readonly number: number | undefined
}

export type AppendOptions = {
  /** Who appends first with an owner to an empty stream has it for ever: others are refused. */
  readonly owner?: string | undefined
}

export type Offset = { readonly consumer: string; readonly name: string; readonly offset: number; readonly movedAt: string }

export type StreamPorts = {
  /** Rejects with a Failure for a payload that is not as the schema has it, and for what is no schema; in the order of the calls. */
  check?(project: string, schema: Schema, payloads: readonly Buffer[]): Promise<void>
  /** Why nothing may be appended now. */
  refusal?(): Failure | undefined
  /** Of the stream that every project has. */
  readonly devices?: Retention
}

export const DEFAULT_RETENTION: Retention = { maxAgeMs: 3 * 86_400_000, maxBytes: 0, untilAcked: true }
const MAX_STREAMS = 10_000
const MAX_MESSAGES = 1000
const MAX_BYTES = 16 * 1024 * 1024
/** What another process changed is known after this. */
const KNOWN_MS = 1000
const MAX_KNOWN = 10_000

type Known = { readonly record: StreamRecord | undefined; readonly untilMs: number }

export class DurableStreams extends Reads {
  readonly #redis: Redis & Scripts
  readonly #ports: StreamPorts
  readonly #appends: Appends
  readonly #decoded: DecodedStreams
  readonly #known = new Map<string, Known>()

  constructor(redis: Redis, ports: StreamPorts = {}) {
    const scripted = defineScripts(redis)
    super(scripted)
    this.#redis = scripted
    this.#decoded = new DecodedStreams(redis)
    this.#ports = ports
    this.#appends = new Appends(this.#redis)
  }

  /** @throws Failure `conflict` when it exists, `invalid`, `too_many`. */
  async create(project: string, name: string, settings: Partial<StreamSettings> = {}): Promise<StreamRecord> {
    if (checkStreamName(name) === DEVICES) throw exists(name)
    return this.#create(project, name, settings)
  }

  async #create(project: string, name: string, settings: Partial<StreamSettings>): Promise<StreamRecord> {
    const base = { name, uid: randomBytes(6).toString('hex'), createTime: formatTime(Date.now() * 1000) }
    const record: StreamRecord = { ...base, retention: DEFAULT_RETENTION, ...settings }
    await this.#checkSettings(project, record)
    const keys = [streamsKey(project), streamKey({ project, record })]
    const most = name === DEVICES ? Infinity : MAX_STREAMS
    const made = await this.#redis.streamCreate(2, ...keys, name, JSON.stringify(record), most).catch((error: unknown) => {
      if (/\bMANY$/.test((error as Error).message))
        throw new Failure('too_many', `at most ${MAX_STREAMS} streams in one project: remove some`, { retryAfterMs: 60_000 })
      throw error
    })
    this.#known.delete(knownKey(project, name))
    if (made === 0) throw exists(name)
    return record
  }

  /** Those who decode look only at what they were told of, so that comes first. */
  async #checkSettings(project: string, { name, schema, decoder }: StreamRecord): Promise<void> {
    if (schema) await this.#ports.check?.(project, schema, [])
    if (decoder === undefined) return
    checkDecoder(decoder)
    await this.#decoded.add({ project, stream: name })
  }

  /** Streams that have a decoder, and some that have none any more. */
  async decoded(): Promise<DecodedStream[]> {
    return this.#decoded.list()
  }

  /** It is no longer among `decoded`, unless it has a decoder again. */
  async undecoded(project: string, stream: string): Promise<void> {
    await this.#decoded.remove({ project, stream })
    if ((await this.#look(project, stream))?.decoder !== undefined) await this.#decoded.add({ project, stream })
  }

  /** The stream, made when it is missing: then `made` is called. */
  async ensure(project: string, name: string, settings: Partial<StreamSettings> = {}, made?: () => void): Promise<StreamRecord> {
    const found = await this.find(project, name)
    if (found) return found
    try {
      const record = await this.create(project, name, settings)
      made?.()
      return record
    } catch (error) {
      if (!(error instanceof Failure && error.code === 'conflict')) throw error
      return this.get(project, name)
    }
  }

  /** At most a second old; undefined when there is none of this name. */
  async find(project: string, name: string): Promise<StreamRecord | undefined> {
    const key = knownKey(project, name)
    const known = this.#known.get(key)
    if (known && known.untilMs > performance.now()) return known.record
    return this.#look(project, name)
  }

  async #look(project: string, name: string): Promise<StreamRecord | undefined> {
    const text = await this.#redis.hget(streamsKey(project), name)
    const record = text === null ? await this.#built(project, name) : this.#parse(text)
    if (this.#known.size >= MAX_KNOWN) this.#known.clear()
    this.#known.set(knownKey(project, name), { record, untilMs: performance.now() + KNOWN_MS })
    return record
  }

  #parse(text: string): StreamRecord {
    const record = JSON.parse(text) as StreamRecord
    const { devices } = this.#ports
    return record.name === DEVICES && devices ? { ...record, retention: devices } : record
  }

  /** The one that every project has is made when it is first looked for. */
  async #built(project: string, name: string): Promise<StreamRecord | undefined> {
    if (name !== DEVICES) return undefined
    const description = 'what the devices of the project send'
    const record = await this.#create(project, name, { description }).catch((error: unknown) => {
      if (error instanceof Failure && error.code === 'conflict') return undefined
      throw error
    })
    const text = record ? JSON.stringify(record) : await this.#redis.hget(streamsKey(project), name)
    return text === null ? undefined : this.#parse(text)
  }

  /** @throws Failure `not_found`. */
  async get(project: string, name: string): Promise<StreamRecord> {
    const record = await this.#look(project, name)
    if (!record) throw missing(name)
    return record
  }

  /** By name. */
  async list(project: string): Promise<StreamRecord[]> {
    const records = await this.made(project)
    if (records.some(({ name }) => name === DEVICES)) return records
    await this.get(project, DEVICES)
    return this.made(project)
  }

  /** As `list`, without what nobody has looked for yet. */
  async made(project: string): Promise<StreamRecord[]> {
    const records = Object.values(await this.#redis.hgetall(streamsKey(project))).map(text => this.#parse(text))
    return records.toSorted((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** As `list`, only the names: records may be long. */
  async streamNames(project: string): Promise<string[]> {
    const names = await this.#redis.hkeys(streamsKey(project))
    if (!names.includes(DEVICES)) {
      await this.get(project, DEVICES)
      names.push(DEVICES)
    }
    return names.toSorted()
  }

  /** Those that are still there. */
  async records(project: string, names: readonly string[]): Promise<StreamRecord[]> {
    if (names.length === 0) return []
    const texts = await this.#redis.hmget(streamsKey(project), ...names)
    return texts.flatMap(text => (text === null ? [] : [this.#parse(text)]))
  }

  /**
   * Members that are given take the place of those that were; a function is given what they are.
   * @throws Failure `not_found`, `conflict` when it changes all the time.
   */
  async update(
    project: string,
    name: string,
    settings: Partial<StreamSettings> | ((record: StreamRecord) => Partial<StreamSettings>),
  ): Promise<StreamRecord> {
    refuseDevices(name)
    for (let attempt = 0; attempt < 5; attempt++) {
      const before = await this.#redis.hget(streamsKey(project), name)
      if (before === null) throw missing(name)
      const known = JSON.parse(before) as StreamRecord
      const record: StreamRecord = { ...known, ...(typeof settings === 'function' ? settings(known) : settings) }
      await this.#checkSettings(project, record)
      if ((await this.#redis.streamUpdate(1, streamsKey(project), name, before, JSON.stringify(record))) === 1) {
        this.#known.delete(knownKey(project, name))
        return record
      }
    }
    throw new Failure('conflict', `stream ${name} was changed by somebody else: try again`)
  }

  /** With its messages, subscriptions and offsets. @throws Failure `not_found`. */
  async remove(project: string, name: string): Promise<void> {
    refuseDevices(name)
    const before = await this.#redis.hget(streamsKey(project), name)
    if (before === null) throw missing(name)
    const ref = { project, record: JSON.parse(before) as StreamRecord }
    const keys = [streamsKey(project), ...['', 'subs', 'names'].map(part => streamKey(ref, part))]
    const gone = await this.#redis.streamRemove(keys.length, ...keys, name, before)
    this.#known.delete(knownKey(project, name))
    if (gone === 0) throw missing(name)
  }

  /**
   * Resolves when Redis has them on disk; either all are appended or none. Appends are in the order of the calls. At most 1,000 messages
   * and 16 MiB.
   * @throws Failure `not_found`; `conflict` with field `owner`; `invalid` with field `schema`; `too_large`; `unavailable`.
   */
  async append(ref: Ref, messages: readonly NewMessage[], { owner = '' }: AppendOptions = {}): Promise<Appended[]> {
    refuseDevices(ref.record.name)
    this.#check(messages)
    // Without a schema nothing is waited for.
    if (ref.record.schema) await this.#fit(ref, ref.record.schema, messages)
    return messages.length === 0 ? [] : this.#appends.add(ref, messages, owner)
  }

  /**
   * Appends and in the same step moves the place of a consumer of the project's log, so that what is read there is appended once. False:
   * the place is another one, and nothing was appended.
   * @throws as `append`.
   */
  async appendMoving(ref: Ref, messages: readonly NewMessage[], move: Move): Promise<boolean> {
    this.#check(messages)
    if (ref.record.schema) await this.#fit(ref, ref.record.schema, messages)
    return this.#appends.addMoving(ref, messages, move)
  }

  #check(messages: readonly NewMessage[]): void {
    const refusal = this.#ports.refusal?.()
    if (refusal) throw refusal
    if (messages.length > MAX_MESSAGES) throw new Failure('too_large', `at most ${MAX_MESSAGES} messages at once, got ${messages.length}`)
    const bytes = messages.reduce((sum, message) => sum + sizeOf(message), 0)
    if (bytes > MAX_BYTES) throw new Failure('too_large', `at most ${MAX_BYTES} bytes at once, got ${bytes}`)
    for (const message of messages) checkMessage(message)
  }

  async #fit({ project }: Ref, schema: Schema, messages: readonly NewMessage[]): Promise<void> {
    if (messages.length === 0) return
    await this.#ports.check?.(
      project,
      schema,
      messages.map(({ payload }) => payload),
    )
  }

  /** Drops everything up to this place, and with `acked` what every subscription has acked. Returns how many were dropped. */
  async trim(ref: Ref, to: number, acked: boolean): Promise<number> {
    const keys = ['', 'log', 'names', 'dropped', 'subs'].map(part => streamKey(ref, part))
    return this.#redis.streamTrim(keys.length, ...keys, to, acked ? '1' : '0')
  }

  /** How far age and size let it be trimmed. */
  async expired(ref: Ref, nowMs: number): Promise<number> {
    const { maxAgeMs, maxBytes } = ref.record.retention
    if (maxAgeMs === 0 && maxBytes === 0) return 0
    const { oldestMs, bytes } = await this.stats(ref)
    const isOld = maxAgeMs > 0 && oldestMs !== undefined && oldestMs < nowMs - maxAgeMs
    const byAge = isOld ? await this.placeAt(ref, nowMs - maxAgeMs) : 0
    const bySize = maxBytes > 0 && bytes > maxBytes ? await this.place(ref, 'bytes', maxBytes) : 0
    return Math.max(byAge, bySize)
  }

  /** Of the messages of a name, how many the consumer has behind it; 0 at first. */
  async offset(ref: Ref, consumer: string, name: string): Promise<number> {
    const [offset, dropped] = await Promise.all([
      this.#redis.hget(streamKey(ref, 'offsets'), offsetField(consumer, name)),
      this.dropped(ref, name),
    ])
    return Math.max(Number(offset ?? 0), dropped)
  }

  /** Moves an offset by one, to this number, in one step; otherwise nothing is moved. */
  async advance(ref: Ref, consumer: string, name: string, to: number): Promise<{ moved: boolean; expected: number }> {
    const [now, at] = await this.#move(ref, consumer, name, to, true)
    return { moved: now !== -1, expected: at + 1 }
  }

  /** @throws Failure `invalid` beyond the last message of the name. */
  async setOffset(ref: Ref, consumer: string, name: string, to: number): Promise<void> {
    const [now, , last] = await this.#move(ref, consumer, name, to, false)
    if (now === -1) throw invalid('offset', `expected at most ${last}, the number of messages, got ${to}`)
  }

  #move(ref: Ref, consumer: string, name: string, to: number, byOne: boolean): Promise<[number, number, number]> {
    const keys = ['offsets', 'moves', `name:${name}`, 'dropped'].map(part => streamKey(ref, part))
    return this.#redis.streamAdvance(keys.length, ...keys, offsetField(consumer, name), to, byOne ? '1' : '0', Date.now(), name)
  }

  async offsets(ref: Ref): Promise<Offset[]> {
    const [offsets, moves] = await Promise.all(['offsets', 'moves'].map(part => this.#redis.hgetall(streamKey(ref, part))))
    return Object.entries(offsets ?? {}).map(([field, offset]) => {
      const [consumer = '', name = ''] = field.split('\n')
      return { consumer, name, offset: Number(offset), movedAt: formatTime(Number(moves?.[field] ?? 0) * 1000) }
    })
  }
}

/** Neither holds a line break. */
function offsetField(consumer: string, name: string): string {
  return `${consumer}\n${name}`
}

function knownKey(project: string, name: string): string {
  return projectKey(project, name)
}
