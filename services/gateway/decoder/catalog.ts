// What each project says of its decoders and event types, in memory: loaded when it is first needed, followed from then on.
import type { Schema } from '../../../packages/log/durable/record.ts'
import type { DecoderRecord, EventSchema } from '../../../packages/state/decoder.ts'
import type { Removed } from '../../../packages/state/deviceremoval.ts'
import type { Format } from '../decode/format.ts'
import { Mappings, mappingsOf } from './mapping.ts'
import { completed } from './option.ts'

export type CatalogPorts = {
  readonly formats: ReadonlyMap<string, Format>
  decoders(project: string): Promise<(readonly [name: string, record: DecoderRecord])[]>
  schemas(project: string): Promise<(readonly [eventType: string, schema: EventSchema])[]>
  /** In which projects something changed since. */
  changes(since: number): Promise<Removed>
}

export type Known = {
  readonly mappings: Mappings
  /** By event type. */
  readonly schemas: ReadonlyMap<string, Schema>
}

/** Beyond it, who was loaded first is loaded again when asked for. */
const MAX_KNOWN = 10_000

export class Catalog {
  readonly #ports: CatalogPorts
  readonly #known = new Map<string, Known>()
  readonly #loading = new Map<string, Promise<Known>>()
  #newest = 0

  constructor(ports: CatalogPorts) {
    this.#ports = ports
  }

  of(project: string): Known | Promise<Known> {
    return this.#known.get(project) ?? this.#load(project)
  }

  /** To be called every now and then: after it, changes that were made before it hold here. */
  async refresh(): Promise<void> {
    const { newest, projects } = await this.#ports.changes(this.#newest)
    const changed = projects === 'all' ? [...this.#known.keys(), ...this.#loading.keys()] : projects
    for (const project of new Set(changed)) {
      // It may have been read before the change.
      await this.#loading.get(project)
      if (this.#known.has(project)) this.#known.set(project, await this.#read(project))
    }
    this.#newest = newest
  }

  #load(project: string): Promise<Known> {
    const under = this.#loading.get(project)
    if (under) return under
    const loading = this.#read(project)
      .then(known => {
        this.#known.set(project, known)
        const [oldest] = this.#known.keys()
        if (this.#known.size > MAX_KNOWN && oldest !== undefined) this.#known.delete(oldest)
        return known
      })
      .finally(() => this.#loading.delete(project))
    this.#loading.set(project, loading)
    return loading
  }

  async #read(project: string): Promise<Known> {
    const { formats } = this.#ports
    const [decoders, schemas] = await Promise.all([this.#ports.decoders(project), this.#ports.schemas(project)])
    const records = decoders.map(([, record]) => record)
    return {
      mappings: new Mappings(mappingsOf(records, formats), formats, completed),
      schemas: new Map(schemas.map(([eventType, { definition }]) => [eventType, { type: 'json', definition }])),
    }
  }
}
