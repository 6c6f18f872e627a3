// `telltale audit verify`: reads the whole history of alarms and checks its chain here, so that nobody has to take the server's word.
import { createHash } from 'node:crypto'
import type { Command } from 'commander'
import type { Telltale } from '../../client/index.ts'
import { GENESIS, type Head, type HistoryRecord, verify } from '../../core/chain.ts'
import { invalid } from '../../core/failure.ts'
import { addSub, type Common, type Run, runWith } from '../run.ts'
import { paletteOf, printable, type Terminal, writeLine } from '../terminal.ts'

const PAGE = 1000

/** A head that was noted earlier: where it stood is known if it was noted with its number. */
type Noted = { readonly seq: number | undefined; readonly hash: string }
type VerifyOptions = Common & { readonly head?: Noted }

export type Report = {
  readonly records: number
  /** Before the oldest record that is kept: taken as the server says. */
  readonly base: Head
  readonly first: Place | null
  readonly last: Place | null
  readonly head: Head
  readonly broken: { readonly seq: number; readonly reason: string } | null
  /** Of --head; null: none was given. */
  readonly noted: 'found' | 'missing' | 'too old' | null
}
type Place = { readonly seq: number; readonly time: string }
/** Pages of history, oldest first. */
export type HistoryPage = { readonly records: readonly HistoryRecord[]; readonly base: Head; readonly head: Head }

export function addAudit(command: Command, terminal: Terminal, ended: (ok: boolean) => void): void {
  command.description('check what is recorded')
  addSub(command, 'verify', 'check the chain of the history of alarms, here and not at the server; 1 when a record was removed or edited')
    .option('--head <hash>', 'a head that was printed earlier, with or without its number: it must still stand in the chain', notedOf)
    .action(async (options: VerifyOptions) => {
      await runWith(terminal, 'alarm history', options, async run => {
        const report = await verifyPages(pagesOf(run.client), options.head)
        ended(report.broken === null && (report.noted === null || report.noted === 'found'))
        await print(run, report, options.head)
      })
    })
}

function notedOf(text: string): Noted {
  const [, seq, hash = ''] = /^(?:(\d{1,15}):)?([0-9a-f]{64})$/.exec(text) ?? []
  if (hash === '') throw invalid('--head', `expected a head as this command prints it, 64 characters of 0-9 a-f, got "${text}"`)
  return { seq: seq === undefined ? undefined : Number(seq), hash }
}

async function* pagesOf(client: Telltale): AsyncGenerator<HistoryPage, undefined> {
  for (let pageToken = ''; ; ) {
    const { records, base, head, nextPageToken } = await client.alarms.records({ pageSize: PAGE, pageToken })
    // What the records hold is checked by their hashes.
    yield { records: records as readonly unknown[] as readonly HistoryRecord[], base, head }
    pageToken = nextPageToken
    if (pageToken === '') return
  }
}

/** Ends at the first record that is not in its place. */
export async function verifyPages(pages: AsyncIterable<HistoryPage>, noted?: Noted): Promise<Report> {
  const walk = new Walk(noted)
  for await (const page of pages) if (!walk.take(page)) break
  return walk.report()
}

class Walk {
  readonly #noted: Noted | undefined
  #base: Head | undefined
  #head: Head = GENESIS
  #end: Head = GENESIS
  #records = 0
  #first: Place | null = null
  #last: Place | null = null
  #broken: Report['broken'] = null
  #found = false

  constructor(noted: Noted | undefined) {
    this.#noted = noted
  }

  /** False when something is wrong. */
  take({ records, base, head: end }: HistoryPage): boolean {
    if (this.#base === undefined) this.#begin(base)
    this.#end = end
    const { verified, head, broken } = verify(records, this.#head, digest)
    const good = records.slice(0, verified)
    const [first] = good
    const last = good.at(-1)
    if (first) this.#first ??= placeOf(first)
    if (last) this.#last = placeOf(last)
    this.#found ||= good.some(record => this.#isNoted(record))
    this.#records += verified
    this.#head = head
    // Of two servers, or of one that was set back, the head may be another one than the record with its number.
    const other = good.find(({ seq, hash }) => seq === end.seq && hash !== end.hash)
    this.#broken = broken ?? (other ? { seq: other.seq, reason: `record ${other.seq} is not the one the chain ends with` } : null)
    return this.#broken === null
  }

  report(): Report {
    const cut = verify([], this.#head, digest, this.#end).broken
    // Records that came since the end was asked for are no mistake.
    if (cut && this.#end.seq > this.#head.seq) this.#broken ??= cut
    const base = this.#base ?? GENESIS
    return {
      records: this.#records,
      base,
      first: this.#first,
      last: this.#last,
      head: this.#head,
      broken: this.#broken,
      noted: this.#noted === undefined ? null : this.#found ? 'found' : (this.#noted.seq ?? base.seq) < base.seq ? 'too old' : 'missing',
    }
  }

  #begin(base: Head): void {
    this.#base = base
    this.#head = base
    this.#found = this.#isNoted(base)
    if (base.seq === 0 && base.hash !== GENESIS.hash) this.#broken = { seq: 0, reason: 'the chain does not begin with nothing' }
  }

  #isNoted({ seq, hash }: Head): boolean {
    return hash === this.#noted?.hash && (this.#noted.seq === undefined || this.#noted.seq === seq)
  }
}

function placeOf({ seq, time }: HistoryRecord): Place {
  return { seq, time }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

async function print({ terminal, json, print: printJson }: Run, report: Report, noted: Noted | undefined): Promise<void> {
  if (json) return printJson(report, '')
  const { out, env } = terminal
  const palette = paletteOf(out, env)
  for (const line of factsOf(report)) await writeLine(out, printable(line))
  if (report.noted !== null) await writeLine(out, notedLine(report, noted))
  if (report.broken === null) return writeLine(out, palette.green('the chain is whole'))
  await writeLine(out, palette.red(`broken: ${printable(report.broken.reason)}`))
}

function factsOf({ records, base, first, last, head }: Report): string[] {
  const place = ({ seq, time }: Place) => `record ${seq} of ${time}`
  return [
    `records  ${records} checked`,
    ...(base.seq === 0 ? [] : [`before   ${base.seq} records that are not kept any more`]),
    ...(first ? [`first    ${place(first)}`] : []),
    ...(last ? [`last     ${place(last)}`] : []),
    `head     ${head.seq}:${head.hash}`,
  ]
}

const NOTED = {
  found: 'still stands in the chain',
  missing: 'does not stand in the chain: history before it was rewritten, or it was cut off',
  'too old': 'is of a record that is not kept any more: nothing can be said',
} as const

function notedLine({ noted }: Report, given: Noted | undefined): string {
  return `noted    ${given?.hash ?? ''} ${NOTED[noted ?? 'missing']}`
}
