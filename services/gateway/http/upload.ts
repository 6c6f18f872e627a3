// A body of lines on its way to the log: part by part, the next decoded while one is being written. Every part is on disk, in the log or in
// the quarantine, before the one behind it is begun: what was accepted is always the beginning of the body.
import { Failure } from '../../../packages/core/failure.ts'
import type { Decoded } from '../decode/event.ts'
import type { Decoder } from '../decoder/mapping.ts'
import { append, checked, type IngestPorts, type Source } from '../ingest.ts'
import type { DeliveryKeys } from './delivery.ts'
import { type Body, type BodyPorts, decodeBody } from './forhttp.ts'
import { numberAt, type Part } from './line.ts'

export type Problem = {
  readonly index: number
  readonly code: string
  readonly field: string | undefined
  readonly message: string
}

/** What became of the elements of a body, or of a part of it. */
export type Tally = {
  accepted: number
  rejected: number
  /** The first of them. */
  readonly errors: Problem[]
  /** Of a body of lines: where the first of them stands, from 1. */
  badLine?: number
}

export type UploadPorts = IngestPorts & BodyPorts

export type Uploading = {
  readonly chosen: Decoder
  readonly body: Omit<Body, 'bytes'>
  readonly from: Omit<Source, 'deliveryKey' | 'mayRepeat'>
  /** Undefined: nothing of it is a repeat. */
  readonly keys: DeliveryKeys | undefined
  /** What of it this sender may not send is none of its events. */
  allow(decoded: Decoded): Decoded
  /** Told of each part when it is on disk. */
  told(part: Tally): void
  /** A part cannot be written: nothing more is to come. */
  failed(reason: Failure): void
}

/** So many reasons are given in one answer. */
export const MAX_ERRORS = 1000

/**
 * Takes all parts. @returns what became of them, and why it ended before its end.
 * @throws what ended the connection: nobody is there to be answered. What had come whole is on disk.
 */
export async function takeParts(
  ports: UploadPorts,
  parts: AsyncIterable<Part>,
  uploading: Uploading,
): Promise<{ readonly tally: Tally; readonly failure: Failure | undefined }> {
  const tally: Tally = { accepted: 0, rejected: 0, errors: [] }
  /** Resolves with what went wrong. */
  let writing: Promise<unknown> = Promise.resolve(undefined)
  const write = async (part: Part, decoded: readonly Decoded[]) => {
    const outcome = await settled(ports, part, decoded, uploading)
    const index = tally.accepted + tally.rejected
    const told = tallyOf(outcome, index)
    add(tally, told)
    const [bad] = outcome.flatMap((failure, i) => (failure ? [part.lines[i]] : []))
    if (bad) tally.badLine ??= numberAt(part, bad.from)
    uploading.told(told)
  }
  let ended: unknown
  try {
    for await (const part of parts) {
      const decoded = part.lines.length === 0 ? [] : await decodePart(ports, part, uploading)
      const error = await writing
      if (error !== undefined) throw error
      if (decoded.length === 0) uploading.keys?.ofPart(part).done()
      else
        writing = write(part, decoded).then(
          () => undefined,
          (reason: unknown) => {
            if (reason instanceof Failure) uploading.failed(reason)
            return reason
          },
        )
    }
  } catch (error) {
    ended = error
  }
  const failure = (await writing) ?? ended
  if (failure === undefined || failure instanceof Failure) return { tally, failure }
  throw failure
}

function add(tally: Tally, part: Tally): void {
  tally.accepted += part.accepted
  tally.rejected += part.rejected
  for (const error of part.errors) if (tally.errors.length < MAX_ERRORS) tally.errors.push(error)
}

/** @param first index of the first of them. */
export function tallyOf(outcomes: readonly (Failure | undefined)[], first = 0): Tally {
  const errors: Problem[] = []
  let rejected = 0
  for (const [i, failure] of outcomes.entries()) {
    if (!failure) continue
    rejected++
    if (errors.length < MAX_ERRORS) errors.push({ index: first + i, code: failure.code, field: failure.field, message: failure.message })
  }
  return { accepted: outcomes.length - rejected, rejected, errors }
}

async function settled(
  ports: UploadPorts,
  part: Part,
  decoded: readonly Decoded[],
  { from, keys }: Uploading,
): Promise<readonly (Failure | undefined)[]> {
  const own = keys?.ofPart(part)
  const delivery = ports.clock.newId()
  const deliveryKey = own?.keyOf ?? ((index: number) => `${delivery}.${index}`)
  const source = { ...from, deliveryKey, mayRepeat: () => own !== undefined }
  const fit = await checked(ports, from.project, decoded)
  const bytes = fit.reduce((sum, one) => sum + ('event' in one ? one.event.frame.length : 0), 0)
  // From here on in one go: it is appended whole or not at all.
  ports.accept.begin(from.project, fit.length, bytes)
  return new Promise((resolve, reject) =>
    append(ports, fit, source, (failure, outcomes) => {
      own?.done()
      if (failure) reject(failure)
      else resolve(outcomes)
    }),
  )
}

async function decodePart(ports: UploadPorts, part: Part, uploading: Uploading): Promise<readonly Decoded[]> {
  if (part.isTooLong)
    return [
      {
        failure: new Failure('too_large', 'line: at most 262144 bytes', { field: 'line' }),
        element: part.bytes.subarray(0, part.lines[0]?.to),
        isCut: true,
      },
    ]
  const decoded = await decodeBytes(ports, part.bytes, uploading)
  const whole = decoded instanceof Failure || decoded.length !== part.lines.length ? await decodeLines(ports, part, uploading) : decoded
  return whole.map(one => uploading.allow(one))
}

/** One by one: what is wrong with one line is no fault of the others. */
async function decodeLines(ports: UploadPorts, part: Part, uploading: Uploading): Promise<Decoded[]> {
  const decoded: Decoded[] = []
  for (const { from, to } of part.lines) {
    const line = part.bytes.subarray(from, to)
    const found = await decodeBytes(ports, line, uploading)
    if (found instanceof Failure) decoded.push({ failure: found, element: line })
    else decoded.push(...found)
  }
  return decoded
}

async function decodeBytes(ports: UploadPorts, bytes: Buffer, { chosen, body }: Uploading): Promise<readonly Decoded[] | Failure> {
  try {
    const { decoded, replies, draft } = await decodeBody(ports, chosen, { ...body, bytes })
    if (draft.touched || replies.length > 0) throw new Error(`format ${chosen.format.name} has lines, and remembers or asks`)
    return decoded
  } catch (error) {
    if (error instanceof Failure && error.code !== 'unavailable') return error
    throw error
  }
}
