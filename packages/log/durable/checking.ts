// Checks of payloads against the schemas of streams: in the order of the calls of a project, and in turn among projects. Whoever has the
// slowest schema waits for it himself, and the others no longer than for one call of his.
import { Failure } from '../../core/failure.ts'
import type { Schema } from './record.ts'
import { textOf } from './schema.ts'
import { type Answer, checkMs, OPEN_MS, SchemaThread } from './schemathread.ts'

/** A schema as one project has it. */
type Entry = {
  readonly id: number
  readonly key: string
  readonly project: string
  readonly text: string
  /** By number: where it is open. */
  thread: number
  /** What everybody is told until then. */
  told: { readonly failure: Failure; readonly untilMs: number } | undefined
}

type Call = { readonly entry: Entry; readonly payloads: readonly Buffer[]; readonly bytes: number; settle(failure?: Error): void }

/** With one schema. */
type Group = readonly [Call, ...Call[]]

type Line = { readonly calls: Call[]; bytes: number }

/** After it took too long, a schema rests so many times as long, so that a thousand such payloads cost little more than one. */
const REST_FACTOR = 20
const OPEN_REST_MS = 20_000
/** Of definitions that are kept open. */
const MAX_KEPT_CHARS = 4 * 1024 * 1024
const MAX_KEPT_CHARS_OF_ONE = 1024 * 1024
/** Beyond this producers are told to wait. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024
const MAX_WAITING_BYTES_OF_ONE = 20 * 1024 * 1024
const MAX_GROUP_CALLS = 100
const MAX_GROUP_BYTES = 256 * 1024
/** What a call takes besides its payloads. */
const CALL_BYTES = 1024

export class Schemas {
  readonly #thread: SchemaThread
  /** By project and text; who was asked for last is last. */
  readonly #entries = new Map<string, Entry>()
  readonly #bySchema = new WeakMap<Schema, Entry>()
  /** By project; whose turn is next is first. */
  readonly #lines = new Map<string, Line>()
  /** Projects that gave a definition that takes too long give no other for a while. */
  readonly #slow = new Map<string, number>()
  #dropped: number[] = []
  #lastId = 0
  #waitingBytes = 0
  #isRunning = false

  constructor(thread = new SchemaThread()) {
    this.#thread = thread
  }

  /**
   * Resolves when all payloads are as the schema has it; when there are none, whether it is a schema.
   * @throws Failure `invalid`: field `schema` for a payload, and its message names every field that is missing or wrong, or a field in
   * `schema` for a definition that is none; `unavailable` when that cannot be told now, with the field `schema` when it is for a schema of the project.
   */
  async check(project: string, schema: Schema, payloads: readonly Buffer[]): Promise<void> {
    const entry = this.#entryOf(project, schema)
    const line = this.#lines.get(project) ?? { calls: [], bytes: 0 }
    if (line.bytes > MAX_WAITING_BYTES_OF_ONE || this.#waitingBytes > MAX_WAITING_BYTES)
      throw new Failure('unavailable', 'too much is waiting to be checked', { retryAfterMs: 1000 })
    const bytes = payloads.reduce((sum, { length }) => sum + length, CALL_BYTES)
    line.bytes += bytes
    this.#waitingBytes += bytes
    await new Promise<void>((resolve, reject) => {
      line.calls.push({ entry, payloads, bytes, settle: failure => (failure ? reject(failure) : resolve()) })
      this.#lines.set(project, line)
      if (!this.#isRunning) void this.#run()
    })
  }

  /** What waits is refused. The thread also ends with its process. */
  async close(): Promise<void> {
    await this.#thread.close()
  }

  #entryOf(project: string, schema: Schema): Entry {
    const known = this.#bySchema.get(schema)
    const isKnown = known?.project === project
    const text = isKnown ? known.text : wholeText(schema)
    const key = isKnown ? known.key : `${project}\t${text}`
    const entry = this.#entries.get(key) ?? { id: ++this.#lastId, key, project, text, thread: 0, told: undefined }
    const isNew = !this.#entries.delete(key)
    this.#entries.set(key, entry)
    this.#bySchema.set(schema, entry)
    if (isNew) this.#forget(project)
    return entry
  }

  /** What was not asked for longest; first of whose is too much. */
  #forget(project: string): void {
    const all = [...this.#entries.values()]
    this.#drop(
      all.filter(entry => entry.project === project),
      MAX_KEPT_CHARS_OF_ONE,
    )
    this.#drop([...this.#entries.values()], MAX_KEPT_CHARS)
  }

  #drop(oldestFirst: readonly Entry[], maxChars: number): void {
    let chars = oldestFirst.reduce((sum, { text }) => sum + text.length, 0)
    for (const entry of oldestFirst) {
      if (chars <= maxChars) return
      chars -= entry.text.length
      this.#entries.delete(entry.key)
      this.#close(entry)
    }
  }

  #close(entry: Entry): void {
    if (entry.thread !== 0) this.#dropped.push(entry.id)
    entry.thread = 0
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    for (let next = this.#next(); next; next = this.#next()) {
      const [project, line] = next
      const group = groupOf(line.calls)
      for (const outcome of await this.#outcomes(group)) this.#settle(line, outcome)
      if (line.calls.length === 0) this.#lines.delete(project)
      const [{ entry }] = group
      if (this.#entries.get(entry.key) !== entry) this.#close(entry)
    }
    this.#isRunning = false
  }

  /** Who has had a turn goes to the end. */
  #next(): readonly [project: string, line: Line] | undefined {
    const [next] = this.#lines
    if (next) {
      this.#lines.delete(next[0])
      this.#lines.set(...next)
    }
    return next
  }

  #settle(line: Line, outcome: Error | undefined): void {
    const call = line.calls.shift()
    line.bytes -= call?.bytes ?? 0
    this.#waitingBytes -= call?.bytes ?? 0
    call?.settle(outcome)
  }

  /** Of the first calls of a group; at least one. */
  async #outcomes(group: Group): Promise<(Error | undefined)[]> {
    const [{ entry }] = group
    try {
      const told = this.#told(entry)
      if (told) return group.map(({ payloads }) => asSaid(told, payloads))
      const answers = await this.#ask(entry, group)
      return answers.map((answer, i) => this.#judged(entry, answer, group[i] as Call))
    } catch (error) {
      // The thread ended over it.
      if (error instanceof Failure) this.#tell(entry, error, OPEN_REST_MS)
      return [error as Error]
    }
  }

  #told(entry: Entry): Failure | undefined {
    const nowMs = performance.now()
    if (entry.told && entry.told.untilMs > nowMs) return entry.told.failure
    entry.told = undefined
    const slowUntilMs = this.#slow.get(entry.project) ?? 0
    if (entry.thread === this.#thread.number || slowUntilMs <= nowMs) return undefined
    const message = 'another schema of this project takes too long to read'
    return new Failure('unavailable', message, { field: 'schema', retryAfterMs: slowUntilMs - nowMs })
  }

  #tell(entry: Entry, failure: Failure, forMs: number): void {
    entry.told = { failure, untilMs: performance.now() + forMs }
  }

  async #ask(entry: Entry, group: Group): Promise<Answer[]> {
    const drop = this.#dropped
    this.#dropped = []
    const { number } = this.#thread
    const text = entry.thread === number ? undefined : entry.text
    entry.thread = number
    const payloads = group.flatMap(call => call.payloads)
    const calls = group.map(call => call.payloads.map(({ length }) => length))
    return this.#thread.run({ id: entry.id, text, bytes: joined(payloads), calls, drop })
  }

  /** What the answer comes to; what holds for the next calls too is remembered. */
  #judged(entry: Entry, { part, isLate, refusal, error }: Answer, { payloads, bytes }: Call): Error | undefined {
    if (error !== undefined) return new Error(error)
    if (part === undefined) return undefined
    if (part === 'definition') entry.thread = 0
    if (isLate)
      return part === 'definition' ? asSaid(this.#slowToOpen(entry), payloads) : this.#slowToCheck(entry, checkMs(bytes - CALL_BYTES))
    const { code = 'invalid', message = '', field } = refusal ?? {}
    const failure = new Failure(code, message, field === undefined ? {} : { field })
    if (part === 'definition') this.#tell(entry, failure, Infinity)
    return asSaid(failure, payloads)
  }

  #slowToOpen(entry: Entry): Failure {
    const nowMs = performance.now()
    for (const [project, untilMs] of this.#slow) if (untilMs <= nowMs) this.#slow.delete(project)
    this.#slow.set(entry.project, nowMs + OPEN_REST_MS)
    const message = `schema.definition: takes longer than ${OPEN_MS} ms to read: expected a simpler one`
    const failure = new Failure('invalid', message, { field: 'schema.definition' })
    this.#tell(entry, failure, OPEN_REST_MS)
    return failure
  }

  #slowToCheck(entry: Entry, ms: number): Failure {
    const retryAfterMs = ms * REST_FACTOR
    const message = 'the schema of this stream takes too long to check'
    this.#tell(entry, new Failure('unavailable', message, { field: 'schema', retryAfterMs }), retryAfterMs)
    return new Failure('invalid', `Schema validation has failed: not decided within ${ms} ms`, { field: 'schema' })
  }
}

/** From the front, those that go well together: they have the same schema. */
function groupOf(calls: readonly Call[]): Group {
  const [first, ...others] = calls.slice(0, MAX_GROUP_CALLS) as [Call, ...Call[]]
  let { bytes } = first
  const end = others.findIndex(call => {
    bytes += call.bytes
    return call.entry !== first.entry || bytes > MAX_GROUP_BYTES
  })
  return [first, ...(end === -1 ? others : others.slice(0, end))]
}

/** In memory of its own, which can be given away. */
function joined(payloads: readonly Buffer[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(payloads.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const payload of payloads) {
    bytes.set(payload, at)
    at += payload.length
  }
  return bytes
}

/** Whoever appends has not given the definition. */
function asSaid(failure: Failure, payloads: readonly Buffer[]): Failure {
  if (payloads.length === 0 || !failure.field?.startsWith('schema.')) return failure
  const message = `the schema of this stream cannot be read now: ${failure.message}`
  return new Failure('unavailable', message, { field: failure.field, retryAfterMs: OPEN_REST_MS, cause: failure })
}

function wholeText(schema: Schema): string {
  // As long, and as deep, as it may be.
  textOf(schema)
  return JSON.stringify(schema)
}
