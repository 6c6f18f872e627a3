// Replaying the quarantine: what was refused is decoded by today's decoders as if it arrived then. What becomes of it is accepted first and
// leaves the quarantine afterwards, so a crash in between makes no hole; and it keeps its identity, so that it makes no duplicate.
import { Failure } from '../../../packages/core/failure.ts'
import { contentId } from '../../../packages/core/id.ts'
import type { Again, Quarantine, QuarantinedPayload, QuarantineRecord } from '../../../packages/state/quarantine.ts'
import type { Accept } from '../accept.ts'
import type { Clock, Decoded, Incoming } from '../decode/event.ts'
import type { Format } from '../decode/format.ts'
import type { Catalog, Known } from '../decoder/catalog.ts'
import { claimant, type Made, type RunPorts, runDecoder } from '../decoder/decoderun.ts'
import type { Draft } from '../decoder/kept.ts'
import { builtInMapping, type Decoder } from '../decoder/mapping.ts'
import type { IngestPorts } from '../ingest.ts'
import { mayTell, ownOnly } from '../own.ts'
import { marksOf, withoutAccepted } from '../part.ts'

export type ReplayPorts = {
  readonly quarantine: Pick<Quarantine, 'after' | 'find' | 'remove' | 'accepted'>
  readonly formats: ReadonlyMap<string, Format>
  readonly catalog: Pick<Catalog, 'of'>
  readonly run: RunPorts
  readonly accept: Pick<Accept, 'add'>
  /** As at the doors; `screen` alone takes nothing of a budget. */
  checked(project: string, decoded: readonly Decoded[]): readonly Decoded[] | Promise<readonly Decoded[]>
  readonly screen: IngestPorts['screen']
}

export type Selection = {
  /** These, in place of all that the rest selects. */
  readonly ids?: readonly string[] | undefined
  readonly decoder?: string | undefined
  readonly source?: string | undefined
  readonly afterMs?: number | undefined
  readonly beforeMs?: number | undefined
  /** Id of the last one that was looked at. */
  readonly from: string
}

export type StillRefused = {
  readonly id: string
  readonly source: string
  readonly code: string
  readonly field: string
  readonly message: string
}

export type Replayed = {
  /** Looked at, of those that were selected. */
  records: number
  /** Events. */
  accepted: number
  /** Records that left and were no events: announcements, whose decoder knows now what they tell. */
  learned: number
  /** Records that stay. */
  refused: number
  readonly errors: StillRefused[]
  /** Id after which it goes on; undefined: nothing is left. */
  next: string | undefined
}

/** In one call. */
const MAX_LOOKED_AT = 10_000
const MAX_RECORDS = 1000
const MAX_BYTES = 32 * 1024 * 1024
const MAX_MS = 10_000
const MAX_ERRORS = 100
/** So many wait for the log at a time: what devices send has to go in between. */
const MAX_WAITING = 500
const PAGE = 100

export async function replay(ports: ReplayPorts, project: string, selection: Selection, isDry: boolean): Promise<Replayed> {
  const replayed: Replayed = { records: 0, accepted: 0, learned: 0, refused: 0, errors: [], next: undefined }
  const endMs = performance.now() + MAX_MS
  let [from, lookedAt, bytes] = [startOf(selection), 0, 0]
  const known = await ports.catalog.of(project)
  for (;;) {
    const page = selection.ids ? await namedOf(ports, project, selection.ids) : await ports.quarantine.after(project, from, PAGE)
    const selected: QuarantineRecord[] = []
    for (const record of page) {
      if (bytes > MAX_BYTES && !selection.ids) break
      from = record.id
      lookedAt++
      if (!isSelected(record, selection)) continue
      selected.push(record)
      bytes += record.size
    }
    await takeAll(ports, project, known, selected, replayed, { isDry, isNamed: selection.ids !== undefined })
    const isLast =
      selection.ids !== undefined || (page.length < PAGE && page.at(-1)?.id === from) || page.length === 0 || isPast(from, selection)
    if (isLast) return replayed
    if (lookedAt >= MAX_LOOKED_AT || replayed.records >= MAX_RECORDS || bytes > MAX_BYTES || performance.now() > endMs)
      return { ...replayed, next: from }
  }
}

function startOf({ from, afterMs }: Selection): string {
  if (from !== '') return from
  // As an exclusive bound: nothing is called that.
  return afterMs === undefined || afterMs <= 0 ? '' : `${afterMs - 1}-18446744073709551615`
}

async function namedOf(ports: ReplayPorts, project: string, ids: readonly string[]): Promise<QuarantineRecord[]> {
  const found = await Promise.all([...new Set(ids)].toSorted(byAge).map(id => ports.quarantine.find(project, id)))
  return found.flatMap(one => (one ? [one.record] : []))
}

function byAge(a: string, b: string): number {
  const [[aMs = 0, aSeq = 0], [bMs = 0, bSeq = 0]] = [a, b].map(id => id.split('-').map(Number)) as [number[], number[]]
  return aMs - bMs || aSeq - bSeq
}

function msOf(id: string): number {
  return Number(id.split('-')[0])
}

function isPast(id: string, { beforeMs }: Selection): boolean {
  return beforeMs !== undefined && id !== '' && msOf(id) >= beforeMs
}

function isSelected({ id, source, decoder }: QuarantineRecord, selection: Selection): boolean {
  if (isPast(id, selection)) return false
  if (selection.decoder !== undefined && decoder?.name !== selection.decoder) return false
  return selection.source === undefined || source === selection.source
}

type How = { readonly isDry: boolean; readonly isNamed: boolean }

/** What is to be done about one record. */
type Attempt = {
  readonly record: QuarantineRecord
  /** What it told for later, and saw of what others did. */
  readonly draft?: Draft | undefined
  readonly events: readonly { readonly event: Incoming; readonly key: string }[]
  readonly failures: readonly Failure[]
  /** What of it was accepted before, and is now. */
  readonly accepted: readonly string[]
  readonly marks: readonly string[]
}

/** Decoded one after the other, accepted in their order, some together. */
async function takeAll(
  ports: ReplayPorts,
  project: string,
  known: Known,
  records: readonly QuarantineRecord[],
  replayed: Replayed,
  how: How,
): Promise<void> {
  let open: Attempt[] = []
  const settle = async () => {
    const attempts = open
    open = []
    if (!how.isDry) await accepted(ports, project, attempts)
    for (const attempt of attempts) count(attempt, replayed)
  }
  for (const { id } of records) {
    const kept = await ports.quarantine.find(project, id)
    if (!kept) continue
    const attempt = await attemptOf(ports, project, known, kept, how)
    open.push(attempt)
    // The next one may need what this one told.
    if ((attempt.draft && attempt.draft.changes.size > 0) || open.reduce((sum, { events }) => sum + events.length, 0) >= MAX_WAITING)
      await settle()
  }
  await settle()
}

function count({ record, events, failures, accepted }: Attempt, replayed: Replayed): void {
  replayed.records++
  replayed.accepted += events.length
  if (events.length + failures.length + accepted.length === 0) replayed.learned++
  if (failures.length > 0) replayed.refused++
  for (const { code, field = '', message } of failures)
    if (replayed.errors.length < MAX_ERRORS) replayed.errors.push({ id: record.id, source: record.source, code, field, message })
}

/** First the log, then what decoders remember (they refuse what they have seen before), and the quarantine last. */
async function accepted(ports: ReplayPorts, project: string, attempts: readonly Attempt[]): Promise<void> {
  const events = attempts.flatMap(one => one.events)
  for (let from = 0; from < events.length; from += MAX_WAITING)
    await Promise.all(events.slice(from, from + MAX_WAITING).map(({ event, key }) => added(ports, event, key)))
  for (const { draft, record } of attempts) if (draft) await ports.run.memories.commitAgain(draft, msOf(record.id))
  await letGo(ports, project, attempts)
}

function added({ accept }: ReplayPorts, event: Incoming, key: string): Promise<void> {
  return new Promise((resolve, reject) => accept.add(event, key, true, failure => (failure ? reject(failure) : resolve())))
}

async function letGo({ quarantine }: ReplayPorts, project: string, attempts: readonly Attempt[]): Promise<void> {
  for (const { record, events, failures, accepted, marks } of attempts)
    if (failures.length > 0 && events.length > 0) await quarantine.accepted(project, record.id, [...accepted, ...marks])
  const done = attempts.filter(({ failures }) => failures.length === 0).map(({ record }) => record.id)
  await quarantine.remove(project, done)
}

async function attemptOf(ports: ReplayPorts, project: string, known: Known, kept: QuarantinedPayload, how: How): Promise<Attempt> {
  const { record, again, accepted } = kept
  const refused = (failure: Failure): Attempt => ({ record, events: [], failures: [failure], accepted, marks: [] })
  if (!again) return refused(new Failure('unsupported', unrepeatable(record)))
  // What a device may send is known; of others only that they might not.
  if (record.code === 'forbidden' && again.sender === undefined && !how.isNamed)
    return refused(new Failure('forbidden', 'its sender may not send it: name it in `ids` to accept it all the same'))
  try {
    const { decoded, draft, separable } = await decodeAgain(ports, project, known, kept, again, how)
    const left = withoutAccepted(decoded, accepted)
    return {
      record,
      accepted,
      draft,
      events: left.flatMap(({ one, index, part }) => eventIn(one, record, again, separable ? index : part)),
      marks: marksOf(left.map(({ one }) => one)),
      failures: left.flatMap(({ one }) => ('event' in one ? [] : [one.failure])),
    }
  } catch (error) {
    if (error instanceof Failure && error.code !== 'unavailable') return refused(error)
    throw error
  }
}

/** Events that a consumer could not digest are in the log: another copy of them would be judged, stored and followed twice. */
function unrepeatable({ source }: QuarantineRecord): string {
  return source.startsWith('log of ')
    ? 'it was accepted, and is in the log: only one consumer could not digest it, and the others would have it twice'
    : 'it cannot be decoded again: not all of it was kept, or it was sent to another project'
}

async function decodeAgain(
  ports: ReplayPorts,
  project: string,
  known: Known,
  { record, bytes }: QuarantinedPayload,
  again: Again,
  { isDry, isNamed }: How,
): Promise<{ readonly decoded: readonly Decoded[]; readonly draft: Draft | undefined; readonly separable: boolean }> {
  const decoder = await decoderOf(ports, project, known, record, again)
  const topic = again.topic?.split('/') ?? []
  const id = isNamed ? undefined : again.sender
  const given = { project, bytes, topic, place: again.place, sender: id, isReplay: again.isTold === true }
  const made = await runDecoder(ports.run, decoder, given, clockOf(record, again))
  const sender = { roles: {}, ...(id === undefined ? {} : { device: { project, id } }) }
  checkUnderstood(made)
  const own = ownOnly(sender, made.decoded)
  // Elements are kept by themselves; what they become today has the order that it has.
  const separable = decoder.format.separable === true || again.isElement === true
  if (isDry) return { decoded: await ports.screen(project, own), draft: undefined, separable }
  const isTold = made.draft.touched && mayTell(sender, made.decoded).tell
  return { decoded: await ports.checked(project, own), draft: isTold ? made.draft : undefined, separable }
}

/** What becomes nothing at all leaves the quarantine only where its decoder knows what it tells. @throws Failure. */
function checkUnderstood({ decoded, draft }: Made): void {
  if (decoded.length === 0 && draft.changes.size === 0 && draft.missed.length > 0)
    throw new Failure(
      'not_found',
      'nothing becomes of it today: its decoder does not know what it is about, because nobody has announced it',
    )
}

/** As it was chosen then, among those of today. */
async function decoderOf(
  { formats, run }: ReplayPorts,
  project: string,
  { mappings }: Known,
  { contentType }: QuarantineRecord,
  { topic, asked, format, builtIn, options, sender }: Again,
): Promise<Decoder> {
  if (builtIn !== undefined) return builtInDecoder(formats, builtIn)
  if (format !== undefined) return withOptions(mappings.ofFormat(format), options)
  if (asked !== undefined) return mappings.named(asked)
  if (topic !== undefined) {
    const found = mappings.ofTopic(topic) ?? (await claimant(run, mappings.claiming, project, topic, sender))
    if (found) return found
    throw new Failure('not_found', `no decoder takes topic ${JSON.stringify(topic.slice(0, 200))} today`, { field: 'topic' })
  }
  const found = contentType === '' ? builtInDecoder(formats, 'json') : mappings.ofContentType(contentType)
  if (found) return found
  throw new Failure('unsupported', `no decoder takes content type ${contentType} today`, { field: 'contentType' })
}

function builtInDecoder(formats: ReadonlyMap<string, Format>, name: string): Decoder {
  const format = formats.get(name)
  if (!format) throw new Failure('unsupported', `there is no format ${name} today`, { field: 'decoder' })
  return { mapping: builtInMapping(format), format }
}

function withOptions({ mapping, format }: Decoder, options: Again['options']): Decoder {
  return { format, mapping: { ...mapping, options: { ...mapping.options, ...options } } }
}

/** The time of arrival; and the same ids each time, so that what is replayed twice is stored once. */
function clockOf(record: QuarantineRecord, again: Again): Clock {
  const { arrivedUs = msOf(record.id) * 1000, sentUs } = again
  let count = 0
  const newId = () => contentId(arrivedUs, `${identityOf(record, again)}\t${count++}`)
  return { nowUs: () => arrivedUs, newId, sentUs }
}

/** Of the delivery where that may be a repeat; else the record's own: who sends the same value again means another one. */
function identityOf({ id }: QuarantineRecord, { delivery, mayRepeat }: Again): string {
  return mayRepeat ? delivery : id
}

/** With the key that it would have had then, and has each time. */
function eventIn(one: Decoded, record: QuarantineRecord, again: Again, part: number | string | undefined): Attempt['events'] {
  if (!('event' in one)) return []
  const { event } = one
  const identity = identityOf(record, again)
  return [{ event, key: event.key ?? (again.isElement && part === 0 ? identity : `${identity}.${part}`) }]
}
