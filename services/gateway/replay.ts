// Replaying the quarantine: what was refused is decoded by today's decoders as if it arrived then. What becomes of it is accepted first and
// leaves the quarantine afterwards, so a crash in between makes no hole; and it keeps its identity, so that it makes no duplicate.
import { Failure } from '../../packages/core/failure.ts'
import { contentId } from '../../packages/core/id.ts'
import type { Again, Quarantine, QuarantinedPayload, QuarantineRecord } from '../../packages/state/quarantine.ts'
import type { Accept } from './accept.ts'
import type { Catalog, Known } from './catalog.ts'
import type { Clock, Decoded, Incoming } from './decode/event.ts'
import type { Format } from './decode/format.ts'
import { claimant, type RunPorts, runDecoder } from './decoderun.ts'
import { contentOf, type IngestPorts } from './ingest.ts'
import { builtInMapping, type Decoder } from './mapping.ts'

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
const PAGE = 100

export async function replay(ports: ReplayPorts, project: string, selection: Selection, isDry: boolean): Promise<Replayed> {
  const replayed: Replayed = { records: 0, accepted: 0, refused: 0, errors: [], next: undefined }
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
  readonly events: readonly { readonly event: Incoming; readonly key: string }[]
  readonly failures: readonly Failure[]
  /** What of it was accepted before. */
  readonly accepted: readonly string[]
}

/** Decoded one after the other, accepted together in their order. */
async function takeAll(
  ports: ReplayPorts,
  project: string,
  known: Known,
  records: readonly QuarantineRecord[],
  replayed: Replayed,
  how: How,
): Promise<void> {
  const attempts: Attempt[] = []
  for (const { id } of records) {
    const kept = await ports.quarantine.find(project, id)
    if (kept) attempts.push(await attemptOf(ports, project, known, kept, how))
  }
  if (!how.isDry) {
    await Promise.all(attempts.flatMap(({ events }) => events.map(({ event, key }) => added(ports, event, key))))
    await letGo(ports, project, attempts)
  }
  for (const { record, events, failures } of attempts) {
    replayed.records++
    replayed.accepted += events.length
    if (failures.length > 0) replayed.refused++
    for (const { code, field = '', message } of failures)
      if (replayed.errors.length < MAX_ERRORS) replayed.errors.push({ id: record.id, source: record.source, code, field, message })
  }
}

function added({ accept }: ReplayPorts, event: Incoming, key: string): Promise<void> {
  return new Promise((resolve, reject) => accept.add(event, key, true, failure => (failure ? reject(failure) : resolve())))
}

async function letGo({ quarantine }: ReplayPorts, project: string, attempts: readonly Attempt[]): Promise<void> {
  for (const { record, events, failures, accepted } of attempts)
    if (failures.length > 0 && events.length > 0)
      await quarantine.accepted(project, record.id, [...accepted, ...events.map(({ event }) => contentOf(event))])
  const done = attempts.filter(({ failures }) => failures.length === 0).map(({ record }) => record.id)
  await quarantine.remove(project, done)
}

async function attemptOf(ports: ReplayPorts, project: string, known: Known, kept: QuarantinedPayload, how: How): Promise<Attempt> {
  const { record, again, accepted } = kept
  const refused = (failure: Failure): Attempt => ({ record, events: [], failures: [failure], accepted })
  if (!again) return refused(new Failure('unsupported', unrepeatable(record)))
  if (record.code === 'forbidden' && !how.isNamed)
    return refused(new Failure('forbidden', 'its sender may not send it: name it in `ids` to accept it all the same'))
  try {
    const decoded = await decodeAgain(ports, project, known, kept, again, how)
    const left = withoutAccepted(decoded, accepted)
    return {
      record,
      accepted,
      events: left.flatMap(({ one, index }) => ('event' in one ? [{ event: one.event, key: keyOf(one.event, again, index) }] : [])),
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
    : 'it is not known any more how it came'
}

async function decodeAgain(
  ports: ReplayPorts,
  project: string,
  known: Known,
  { record, bytes }: QuarantinedPayload,
  again: Again,
  { isDry }: How,
): Promise<readonly Decoded[]> {
  const decoder = await decoderOf(ports, project, known, record, again)
  const topic = again.topic?.split('/') ?? []
  const made = await runDecoder(ports.run, decoder, { project, bytes, topic, place: again.place }, clockOf(record, again))
  if (isDry) return ports.screen(project, made.decoded)
  // It is older than what is known: it adds to that, and changes nothing of it.
  await ports.run.memories.commit(made.draft, false)
  return ports.checked(project, made.decoded)
}

/** As it was chosen then, among those of today. */
async function decoderOf(
  { formats, run }: ReplayPorts,
  project: string,
  { mappings }: Known,
  { contentType }: QuarantineRecord,
  { topic, asked }: Again,
): Promise<Decoder> {
  if (asked !== undefined) return mappings.named(asked)
  if (topic !== undefined) {
    const found = mappings.ofTopic(topic) ?? (await claimant(run, mappings.claiming, project, topic))
    if (found) return found
    throw new Failure('not_found', `no decoder takes topic ${JSON.stringify(topic.slice(0, 200))} today`, { field: 'topic' })
  }
  const json = formats.get('json') as Format
  const found = contentType === '' ? { mapping: builtInMapping(json), format: json } : mappings.ofContentType(contentType)
  if (found) return found
  throw new Failure('unsupported', `no decoder takes content type ${contentType} today`, { field: 'contentType' })
}

/** The time of arrival; and the same ids each time, so that what is replayed twice is stored once. */
function clockOf({ id }: QuarantineRecord, { delivery, index }: Again): Clock {
  const arrivedUs = msOf(id) * 1000
  let count = 0
  return { nowUs: () => arrivedUs, newId: () => contentId(arrivedUs, `${delivery}\t${index ?? ''}\t${count++}`) }
}

type Placed = { readonly one: Decoded; readonly index: number }

/** Each that was accepted stands for one that is. */
function withoutAccepted(decoded: readonly Decoded[], accepted: readonly string[]): Placed[] {
  const counts = new Map<string, number>()
  for (const content of accepted) counts.set(content, (counts.get(content) ?? 0) + 1)
  return decoded.flatMap((one, index) => {
    const content = 'event' in one ? contentOf(one.event) : ''
    const count = counts.get(content) ?? 0
    if (count > 0) counts.set(content, count - 1)
    return count > 0 ? [] : [{ one, index }]
  })
}

/** As it would have been then. */
function keyOf({ key }: Incoming, { delivery, index }: Again, at: number): string {
  return key ?? `${delivery}.${index ?? at}`
}
