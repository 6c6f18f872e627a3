// One request with events: which format reads it, how it is packed, whether it is read whole or line by line, and what its sender hears.
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Failure } from '../../../packages/core/failure.ts'
import type { Caller } from '../../../packages/identity/identity.ts'
import { MAX_EVENTS_BYTES } from '../../../packages/runtime/http.ts'
import { Upload } from '../../../packages/runtime/upload.ts'
import type { Again } from '../../../packages/state/quarantine.ts'
import type { Place } from '../decode/event.ts'
import type { Catalog } from '../decoder/catalog.ts'
import { ingestTold, type Made, type TellPorts, type Told, tell } from '../decoder/decoderun.ts'
import type { Decoder } from '../decoder/mapping.ts'
import { type Done, type Outcome, refusal, type Source, setAside } from '../ingest.ts'
import { allowed, mayTell, senderOf } from '../own.ts'
import { answerTally, Progress } from './answer.ts'
import { KNOWN_ENCODINGS, type Unpackers, wholeOf } from './body.ts'
import { DeliveryKeys, idempotencyKeyOf } from './delivery.ts'
import { decodeBody, forHttp, mediaTypeOf, sourceOfBody } from './forhttp.ts'
import { partsOf } from './line.ts'
import { type Tally, takeParts, tallyOf, type Uploading, type UploadPorts } from './upload.ts'
import type { Sender } from './zstd.ts'

export type TakePorts = UploadPorts &
  TellPorts & {
    readonly catalog: Pick<Catalog, 'of'>
    readonly unpackers: Unpackers
    /** Says when the caller's rights in the project have ended. */
    watch(caller: Caller, ended: (reason: string) => void, project: string): () => void
  }

export type Sent = {
  readonly caller: Caller
  readonly place: Place
  readonly decoder: string | undefined
  readonly again?: Pick<Again, 'format' | 'options'>
}

/** A body as the answer to it needs it. */
export type Taken = { readonly tally: Tally; readonly failure?: Failure | undefined; readonly isLate: boolean }

/** Answers in JSON, or line by line as the body comes, where the sender accepts that. */
export async function take(ports: TakePorts, request: FastifyRequest, reply: FastifyReply, sent: Sent): Promise<FastifyReply> {
  const chosen = await forHttp(ports, sent.place.project, mediaTypeOf(request.headers['content-type']), sent.decoder)
  const progress = acceptsLines(request) ? new Progress(reply) : undefined
  const taken = await takeBody(ports, request, reply, { ...sent, chosen }, part => progress?.told(part))
  if (!taken) return reply.hijack()
  const { tally, failure, isLate } = taken
  if (progress?.hasBegun) {
    progress.end(tally, failure)
    return reply
  }
  if (failure && tally.accepted + tally.rejected === 0 && !isLate) throw failure
  if (sent.place.device !== undefined && !failure && tally.rejected === 0) return reply.send({})
  return answerTally(reply, tally, failure, isLate ? LATE : undefined)
}

const LATE = 408

function acceptsLines({ headers: { accept } }: FastifyRequest): boolean {
  return accept?.split(',').some(one => mediaTypeOf(one) === 'application/x-ndjson') === true
}

/**
 * Everything that was sent is on disk, or the failure says why not. Undefined when the sender has gone.
 * @throws Failure before anything was taken.
 */
export async function takeBody(
  ports: TakePorts,
  request: FastifyRequest,
  reply: FastifyReply,
  sent: Sent & { readonly chosen: Decoder },
  told: (part: Tally) => void = () => {},
): Promise<Taken | undefined> {
  const upload = new Upload(request)
  try {
    const key = idempotencyKeyOf(request.headers['idempotency-key'])
    const { place, decoder: asked, chosen } = sent
    const again = { ...sent.again, ...senderOf(sent.caller) }
    const body = { project: place.project, place, contentType: mediaTypeOf(request.headers['content-type']), asked, again }
    const from = { project: place.project, source: sourceOf(request), keyId: sent.caller.keyId, ...sourceOfBody(chosen, body) }
    const keys = key === undefined ? undefined : new DeliveryKeys(from.keyId, from.source, key)
    const job = { ...sent, body, from, keys, allow: allowed(sent.caller) }
    const taken = sent.chosen.format.lines
      ? await takeLines(ports, request, upload, job, told)
      : { tally: await takeWhole(ports, request, upload, job) }
    if (taken.failure) await leave(upload, reply)
    return { ...taken, isLate: upload.isLate }
  } catch (error) {
    if (upload.isGone) return undefined
    await leave(upload, reply)
    if (error instanceof Failure && error.code === 'unsupported') void reply.header('accept-encoding', KNOWN_ENCODINGS)
    throw error
  } finally {
    upload.close()
  }
}

/** What is still coming is not read. */
async function leave(upload: Upload, reply: FastifyReply): Promise<void> {
  await upload.linger()
  if (upload.isWhole) return
  if (reply.sent || reply.raw.headersSent) upload.hangUp(reply.raw)
  else if (reply.raw.req.httpVersionMajor === 1) void reply.header('connection', 'close')
}

type Job = Omit<Uploading, 'told' | 'failed'> & Sent

async function takeLines(
  ports: TakePorts,
  request: FastifyRequest,
  upload: Upload,
  job: Job,
  told: (part: Tally) => void,
): Promise<Omit<Taken, 'isLate'>> {
  const { lines } = job.chosen.format
  if (!lines) throw new Error('a format without lines')
  const unpack = ports.unpackers.of(request.headers['content-encoding'], senderOfBody(job))
  let unwatch: (() => void) | undefined
  const uploading: Uploading = {
    ...job,
    failed: reason => upload.stop(reason),
    told: part => {
      upload.moved()
      if (!upload.isWhole)
        unwatch ??= ports.watch(job.caller, reason => upload.stop(new Failure('unauthenticated', reason)), job.place.project)
      told(part)
    },
  }
  try {
    const bytes = upload.bytes({ asLongAsItMoves: true })
    const taken = await takeParts(ports, partsOf(unpack ? unpack(bytes) : bytes, lines), uploading)
    if (taken.failure ?? (taken.tally.accepted + taken.tally.rejected > 0 ? true : undefined)) return taken
    throw new Failure('invalid', 'body: expected at least one event, got no line', { field: 'body' })
  } finally {
    unwatch?.()
  }
}

function senderOfBody({ caller, place }: Job): Sender {
  return { project: place.project, keyId: caller.keyId }
}

async function takeWhole(ports: TakePorts, request: FastifyRequest, upload: Upload, job: Job): Promise<Tally> {
  const length = Number(request.headers['content-length'] ?? 0)
  if (length > MAX_EVENTS_BYTES) throw new Failure('too_large', `body: at most ${MAX_EVENTS_BYTES} bytes, got ${length}`, { field: 'body' })
  const unpack = ports.unpackers.of(request.headers['content-encoding'], senderOfBody(job))
  const bytes = upload.bytes()
  const payload = await wholeOf(unpack ? unpack(bytes) : bytes, MAX_EVENTS_BYTES)
  let keyOf: ((index: number) => string) | undefined
  const deliveryKey = (index: number) => {
    keyOf ??= job.keys?.ofWhole(payload) ?? keysOf(ports.clock.newId())
    return keyOf(index)
  }
  const source = { ...job.from, payload, deliveryKey, mayRepeat: () => job.keys !== undefined }
  const made = await decode(ports, job, payload)
  if (made instanceof Failure) {
    await new Promise<void>((resolve, reject) =>
      setAside(ports, job.place.project, [refusal(source, made, payload)], failure => (failure ? reject(failure) : resolve())),
    )
    throw made
  }
  const outcomes = await new Promise<readonly Outcome[]>((resolve, reject) =>
    ingestMade(ports, job, made, source, (failure, each) => (failure ? reject(failure) : resolve(each))),
  )
  return tallyOf(outcomes)
}

function ingestMade(ports: TakePorts, { allow }: Job, { decoded, hold }: Told, source: Source, settled: Done): void {
  void ingestTold(ports, hold, decoded.map(allow), source, settled)
}

function keysOf(delivery: string): (index: number) => string {
  return index => `${delivery}.${index}`
}

/** Without the query: it may hold a token or a password. */
function sourceOf({ method, originalUrl }: FastifyRequest): string {
  return `${method} ${originalUrl.split('?', 1)[0]}`
}

async function decode(ports: TakePorts, { chosen, body, caller, place }: Job, bytes: Buffer): Promise<Told | Failure> {
  if (bytes.length === 0)
    return new Failure('invalid', 'body: expected one event, an array of events, or one event per line', { field: 'body' })
  try {
    const told = (made: Made) => tell(ports, place.project, made, mayTell(caller, made.decoded))
    return await decodeBody(ports, chosen, { ...body, bytes }, told)
  } catch (error) {
    if (error instanceof Failure && error.code !== 'unavailable') return error
    throw error
  }
}
