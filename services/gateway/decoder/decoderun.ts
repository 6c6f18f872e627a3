// Runs a decoder over one payload, with what it remembers. What it does at once is done at once; it is run again where what it remembers had
// to be fetched first.
import { Failure } from '../../../packages/core/failure.ts'
import type { MemoryId } from '../../../packages/state/decodermemory.ts'
import type { Clock, Decoded, Place } from '../decode/event.ts'
import type { Memory, Output, Payload, Reply, Size } from '../decode/format.ts'
import { type Done, type IngestPorts, ingestInTurn, type Source } from '../ingest.ts'
import { Draft, Kept } from './kept.ts'
import { type Decoder, filledIn } from './mapping.ts'
import type { Hold, Memories } from './memory.ts'
import { memoryFor } from './ownmemory.ts'

export type Given = {
  readonly project: string
  readonly bytes: Buffer
  /** Levels, in the project's own space. */
  readonly topic: readonly string[]
  readonly place: Omit<Place, 'project'>
  /** The device that sends it by a credential of its own: what it tells is for itself alone. */
  readonly sender?: string | undefined
  /** It told once before what it tells: in the quarantine is what was refused of it. */
  readonly isReplay?: boolean
}

/** `draft`: what the payload told for later; nothing of it holds until it is held. */
export type Made = { readonly decoded: readonly Decoded[]; readonly replies: readonly Reply[]; readonly draft: Draft }

/** `hold` goes into `ingestTold`, whatever happens. */
export type Told = Made & { readonly hold: Hold | undefined }

export type RunPorts = {
  readonly memories: Memories
  /** Told of a decoder that broke on a payload, which is a mistake in it. */
  broke(decoder: Decoder, error: unknown): void
}

export type TellPorts = {
  readonly run: Pick<RunPorts, 'memories'>
  /** Publishes under `projects/{project}/`. */
  send(project: string, topic: string, payload: Buffer): void
}

export type MayTell = { readonly tell: boolean; readonly ask: boolean }

/** What a payload told is known from now on, and what it asks is sent, where its sender may do so. To be given to `runDecoder`. */
export function tell({ run, send }: TellPorts, project: string, { replies, draft }: Made, may: MayTell): Hold | undefined {
  if (!may.tell) draft.forget()
  if (may.ask) for (const { topic, payload } of replies) send(project, `topics/${topic}`, payload)
  return run.memories.hold(draft)
}

/** As `ingestInTurn`; settles when what the payload told is on disk as well, which is after its events are. */
export function ingestTold(
  ports: IngestPorts,
  hold: Hold | undefined,
  decoded: readonly Decoded[],
  from: Source,
  settled: Done,
): Promise<void> | undefined {
  if (!hold) return ingestInTurn(ports, decoded, from, settled)
  try {
    const whose = hold.isTold ? { ...from, isTold: true } : from
    return ingestInTurn(ports, decoded, whose, (failure, outcomes) => hold.settle(failure, also => settled(also, outcomes)))
  } catch (error) {
    // Everybody behind it would wait for ever.
    hold.settle(new Failure('unavailable', 'the event cannot be taken', { cause: error }), () => {})
    throw error
  }
}

type Attempt = { readonly output: Output } | { readonly failure: Failure }

/** What a decoder was told by its memory may be otherwise by the time that it has answered: then what it set rests on nothing. */
class Seen implements Memory {
  readonly draft: Draft
  readonly #entries = new Map<string, unknown>()

  constructor(draft: Draft) {
    this.draft = draft
  }

  get(key: string): unknown {
    this.#look(key)
    return this.draft.get(key)
  }

  set(key: string, value: unknown): void {
    this.#look(key)
    this.draft.set(key, value)
  }

  fullness(more: Size): number {
    return this.draft.fullness(more)
  }

  get isReplay(): boolean {
    return this.draft.isReplay
  }

  entries(prefix: string): readonly (readonly [key: string, value: unknown])[] {
    const entries = this.draft.entries(prefix)
    for (const [key] of entries) this.#look(key)
    return entries
  }

  noted(key: string): unknown {
    return this.draft.noted(key)
  }

  note(key: string, value: unknown): void {
    this.draft.note(key, value)
  }

  get isStale(): boolean {
    if (this.draft.isStale) return true
    for (const [key, entry] of this.#entries) if (this.draft.kept.values.get(key) !== entry) return true
    return false
  }

  #look(key: string): void {
    if (!this.#entries.has(key)) this.#entries.set(key, this.draft.kept.values.get(key))
  }
}

/** Others can come between only where something is waited for. */
const MAX_RUNS = 10

/**
 * @param tell is called in the same tick in which the decoder has answered by what is known: between them nobody learns anything.
 * @throws Failure: `unavailable` when it must be tried again; any other when nothing in it can be read. Also as a rejection.
 */
export function runDecoder(ports: RunPorts, decoder: Decoder, given: Given, clock: Clock, tell: Tell = tellNobody): Told | Promise<Told> {
  const id = idOf(given.project, decoder)
  const job = { ports, decoder, given, clock, tell }
  if (decoder.format.isLasting?.(given.topic) === true) return ports.memories.load(id).then(now => run(job, now, false))
  const kept = ports.memories.find(id)
  if (kept) return run(job, kept, true)
  // Most decoders remember nothing, and need nothing loaded.
  const blank = new Seen(new Draft(new Kept(id, 0)))
  const loaded = () => ports.memories.load(id).then(now => run(job, now, false))
  const first = attempt(job, blank)
  if (first instanceof Promise) return first.then(one => (blank.draft.touched ? loaded() : toldOf(job, one, blank)))
  return blank.draft.touched ? loaded() : toldOf(job, first, blank)
}

function idOf(project: string, { mapping: { name, uid }, format }: Decoder): MemoryId {
  return { project, decoder: name, format: format.name, uid }
}

type Tell = (made: Made) => Hold | undefined

/** Of what is only tried. */
function tellNobody(): undefined {
  return undefined
}

type Job = {
  readonly ports: RunPorts
  readonly decoder: Decoder
  readonly given: Given
  readonly clock: Clock
  readonly tell: Tell
}

/** @param mayLook whether it is run once more when others have learnt something that it misses. */
function run(job: Job, kept: Kept, mayLook: boolean, runs = 1): Told | Promise<Told> {
  const seen = new Seen(new Draft(kept, job.given.isReplay))
  const again = (mayLookAgain: boolean) => {
    if (runs === MAX_RUNS) throw new Failure('unavailable', 'what the decoder remembers changes all the time', { retryAfterMs: 1000 })
    return run(job, kept, mayLookAgain, runs + 1)
  }
  const finished = (one: Attempt): Told | Promise<Told> => {
    if (seen.isStale) return again(mayLook)
    const { draft } = seen
    const looking = mayLook && draft.touched ? job.ports.memories.look(kept, draft.missed) : undefined
    if (!looking) return toldOf(job, one, seen)
    return looking.then(isMore => (isMore || seen.isStale ? again(false) : toldOf(job, one, seen)))
  }
  const first = attempt(job, seen)
  return first instanceof Promise ? first.then(finished) : finished(first)
}

function attempt({ ports, decoder, given, clock }: Job, memory: Memory): Attempt | Promise<Attempt> {
  const { format, mapping } = decoder
  const { project, bytes, topic } = given
  const own = memoryFor(memory, given.sender, clock.nowUs() / 1000)
  const refused = (error: unknown): Attempt => ({ failure: error instanceof Failure ? error : broken(ports, decoder, error) })
  try {
    const payload: Payload = { bytes, topic, place: placeOf(decoder, given, project), options: mapping.options, memory: own }
    const output = format.decode(payload, clock)
    return output instanceof Promise ? output.then(one => ({ output: one }), refused) : { output }
  } catch (error) {
    return refused(error)
  }
}

/** What the mapping says of the topic: below what the route says, and of the device below what the payload says. */
function placeOf({ mapping }: Decoder, { place, topic }: Given, project: string): Place {
  const device = mapping.device === undefined ? undefined : filledIn(mapping.device, topic)
  const eventType = mapping.eventType === undefined ? undefined : filledIn(mapping.eventType, topic)
  return { project, ...place, elseDevice: device ?? place.elseDevice, eventType: place.eventType ?? eventType }
}

/** One payload that a decoder breaks on holds up none of the others. */
function broken(ports: RunPorts, decoder: Decoder, error: unknown): Failure {
  ports.broke(decoder, error)
  const message = `payload: decoder ${decoder.mapping.name} broke on it: ${error instanceof Error ? error.message : String(error)}`
  return new Failure('invalid', message, { field: 'payload', cause: error })
}

function toldOf({ tell }: Job, attempt: Attempt, { draft }: Seen): Told {
  if ('failure' in attempt) throw attempt.failure
  const made = { decoded: attempt.output.decoded, replies: attempt.output.replies ?? [], draft }
  return { ...made, hold: tell(made) }
}

/** Of the decoders that learn topics from what is announced, the one that knows this; undefined where none does. */
export function claimant(
  ports: Pick<RunPorts, 'memories'>,
  decoders: readonly Decoder[],
  project: string,
  topic: string,
  sender?: string,
): Decoder | undefined | Promise<Decoder | undefined> {
  const [decoder, ...others] = decoders
  if (!decoder) return undefined
  const { memories } = ports
  const next = () => claimant(ports, others, project, topic, sender)
  const ask = (kept: Kept, mayLook: boolean): ReturnType<typeof claimant> => {
    const draft = new Draft(kept)
    const isClaimed = decoder.format.claims?.(topic, memoryFor(draft, sender)) === true
    const looking = mayLook ? memories.look(kept, isClaimed ? [] : draft.missed) : undefined
    if (isClaimed) return decoder
    return looking ? looking.then(isMore => (isMore ? ask(kept, false) : next())) : next()
  }
  const id = idOf(project, decoder)
  const kept = memories.find(id)
  return kept ? ask(kept, true) : memories.load(id).then(now => ask(now, false))
}
