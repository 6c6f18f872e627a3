// What each project says of its decoders and event types, in memory: loaded when it is first needed, followed from then on.
import type { Schema } from '../../../packages/log/durable/record.ts'
import type { DecoderRecord, Documents, EventSchema, Kept } from '../../../packages/state/decoder.ts'
import type { Removed } from '../../../packages/state/deviceremoval.ts'
import type { Format } from '../decode/format.ts'
import { Mappings, mappingsOf } from './mapping.ts'
import { completed, type Options } from './option.ts'

/** Documents of one kind, such as decoders. */
export type Shelf<T> = Pick<Documents<T>, 'revisions' | 'some'>

export type CatalogPorts = {
  readonly formats: ReadonlyMap<string, Format>
  readonly decoders: Shelf<DecoderRecord>
  readonly schemas: Shelf<EventSchema>
  /** In which projects something changed since. */
  changes(since: number): Promise<Removed>
}

export type Known = {
  readonly mappings: Mappings
  /** By event type. */
  readonly schemas: ReadonlyMap<string, Schema>
}

/** As it was read, by name. */
type Read<T> = ReadonlyMap<string, Kept<T> & { readonly revision: string }>

/** A project, with what it was made of. */
type Entry = Known & { readonly decoders: Read<DecoderRecord>; readonly definitions: Read<EventSchema>; readonly chars: number }

/** Beyond them, who was loaded first is loaded again when asked for. In memory a character takes several times the room. */
const MAX_KNOWN = 10_000
const MAX_CHARS = 64 * 1024 * 1024

export class Catalog {
  readonly #ports: CatalogPorts
  readonly #known = new Map<string, Entry>()
  readonly #loading = new Map<string, Promise<Entry>>()
  /** The same options for the same record, by which formats know what they have made of them. */
  readonly #completed = new WeakMap<object, Options>()
  #chars = 0
  #newest = 0
  #last: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined

  constructor(ports: CatalogPorts) {
    this.#ports = ports
  }

  of(project: string): Known | Promise<Known> {
    return this.#known.get(project) ?? this.#load(project)
  }

  /** To be called every now and then: after it, changes that were made before it hold here. One at a time, so that no older state comes last. */
  refresh(): Promise<void> {
    if (this.#next) return this.#next
    const begin = () => {
      this.#next = undefined
      return this.#refresh()
    }
    this.#next = this.#last.then(begin, begin)
    this.#last = this.#next
    return this.#next
  }

  async #refresh(): Promise<void> {
    const { newest, projects } = await this.#ports.changes(this.#newest)
    const changed = projects === 'all' ? [...this.#known.keys(), ...this.#loading.keys()] : projects
    for (const project of new Set(changed)) {
      // It may have been read before the change.
      await this.#loading.get(project)
      const before = this.#known.get(project)
      if (before) this.#keep(project, await this.#read(project, before))
    }
    this.#newest = newest
  }

  #load(project: string): Promise<Entry> {
    const under = this.#loading.get(project)
    if (under) return under
    const loading = this.#read(project)
      .then(entry => {
        this.#keep(project, entry)
        return entry
      })
      .finally(() => this.#loading.delete(project))
    this.#loading.set(project, loading)
    return loading
  }

  #keep(project: string, entry: Entry): void {
    this.#chars += entry.chars - (this.#known.get(project)?.chars ?? 0)
    this.#known.set(project, entry)
    for (const [oldest, { chars }] of this.#known) {
      if (this.#known.size <= MAX_KNOWN && this.#chars <= MAX_CHARS) return
      if (oldest === project) continue
      this.#known.delete(oldest)
      this.#chars -= chars
    }
  }

  async #read(project: string, before?: Entry): Promise<Entry> {
    const { formats } = this.#ports
    const [decoders, definitions] = await Promise.all([
      renewed(this.#ports.decoders, project, before?.decoders),
      renewed(this.#ports.schemas, project, before?.definitions),
    ])
    const complete = (format: Format, options: Options) => this.#complete(format, options)
    const records = () => [...decoders.values()].map(({ document }) => document)
    return {
      decoders,
      definitions,
      mappings: before?.decoders === decoders ? before.mappings : new Mappings(mappingsOf(records(), formats), formats, complete),
      schemas: before?.definitions === definitions ? before.schemas : schemasOf(definitions),
      chars: charsOf(decoders) + charsOf(definitions),
    }
  }

  #complete(format: Format, options: Options): Options {
    const whole = this.#completed.get(options) ?? completed(format, options)
    this.#completed.set(options, whole)
    return whole
  }
}

/** Reads what has changed. The same as before where nothing has. */
async function renewed<T>(shelf: Shelf<T>, project: string, before: Read<T> = new Map()): Promise<Read<T>> {
  const revisions = await shelf.revisions(project)
  const isNew = (name: string, revision: string) => revision === '' || before.get(name)?.revision !== revision
  const changed = [...revisions].flatMap(([name, revision]) => (isNew(name, revision) ? [name] : []))
  if (changed.length === 0 && revisions.size === before.size) return before
  const read = await shelf.some(project, changed)
  const all = new Map<string, Kept<T> & { revision: string }>()
  for (const [name, revision] of revisions) {
    const fresh = read.get(name)
    const old = before.get(name)
    if (fresh) all.set(name, { ...fresh, revision })
    // One that was to be read and is gone is gone for good.
    else if (old && !isNew(name, revision)) all.set(name, old)
  }
  return all
}

function schemasOf(definitions: Read<EventSchema>): ReadonlyMap<string, Schema> {
  return new Map([...definitions].map(([eventType, { document }]) => [eventType, { type: 'json', definition: document.definition }]))
}

function charsOf(all: Read<unknown>): number {
  let chars = 0
  for (const one of all.values()) chars += one.chars
  return chars
}
