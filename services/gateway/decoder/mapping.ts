// Which decoder takes a topic, a content type or a name: the mappings of one project, its own before those that the formats bring along.
// Pure. A topic that nothing matches costs one look at its first level.
import { nearest } from '../../../packages/core/condition/input.ts'
import { Failure } from '../../../packages/core/failure.ts'
import type { DecoderRecord } from '../../../packages/state/decoder.ts'
import type { Format } from '../decode/format.ts'

export type Mapping = DecoderRecord & { readonly builtIn: boolean }

/** A mapping with what it names; `options` are whole. */
export type Decoder = { readonly mapping: Mapping; readonly format: Format }

type Formats = ReadonlyMap<string, Format>

/** A level of topic filters; the decoders of filters that end here, and of those that end in `#` behind it. */
type Node = { readonly literal: Map<string, Node>; plus?: Node; readonly here: Decoder[]; readonly below: Decoder[] }

/** As it stands in every project that says nothing else. */
export function builtInMapping({ name, topics, contentTypes }: Format): Mapping {
  return { name, format: name, topics, contentTypes, options: {}, enabled: true, builtIn: true }
}

/** All mappings by name: a project's own one takes the place of the built-in one of its name. */
export function mappingsOf(own: readonly DecoderRecord[], formats: Formats): Mapping[] {
  const byName = new Map<string, Mapping>([...formats.values()].map(format => [format.name, builtInMapping(format)]))
  for (const record of own) byName.set(record.name, { ...record, builtIn: false })
  return [...byName.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

export class Mappings {
  /** Enabled, of a format that there is; the best first where several would do. */
  readonly all: readonly Decoder[]
  /** Those that learn topics from what is announced to them. */
  readonly claiming: readonly Decoder[]
  readonly #byName: ReadonlyMap<string, Decoder>
  readonly #byContentType = new Map<string, Decoder>()
  readonly #root: Node = newNode()

  /** @param complete fills in what the options of a mapping leave out. */
  constructor(
    mappings: readonly Mapping[],
    formats: Formats,
    complete: (format: Format, options: Mapping['options']) => Mapping['options'],
  ) {
    const usable = mappings.filter(({ enabled, format }) => enabled && formats.has(format))
    this.all = usable
      .map(mapping => {
        const format = formats.get(mapping.format) as Format
        return { mapping: { ...mapping, options: complete(format, mapping.options) }, format }
      })
      .toSorted(byOwnerAndName)
    this.claiming = this.all.filter(({ format }) => format.claims !== undefined)
    this.#byName = new Map(this.all.map(one => [one.mapping.name, one]))
    for (const one of this.all) {
      for (const type of one.mapping.contentTypes) if (!this.#byContentType.has(type)) this.#byContentType.set(type, one)
      for (const filter of one.mapping.topics) add(this.#root, filter.split('/'), one)
    }
  }

  /** More literal levels win, then own before built-in, then the name. */
  ofTopic(topic: string): Decoder | undefined {
    const root = this.#root
    const end = topic.indexOf('/')
    const first = end === -1 ? topic : topic.slice(0, end)
    if (!root.literal.has(first) && !root.plus && root.below.length === 0) return undefined
    let best: Decoder | undefined
    let most = -1
    const offer = (decoders: readonly Decoder[], literals: number) => {
      const [one] = decoders
      if (!one || literals < most || (literals === most && best && byOwnerAndName(best, one) <= 0)) return
      best = one
      most = literals
    }
    walk(root, topic.split('/'), 0, 0, offer)
    return best
  }

  ofContentType(type: string): Decoder | undefined {
    return this.#byContentType.get(type)
  }

  /**
   * The one that reads this format for whoever has no topic: that of its name, else one that is chosen by content type, or by name alone.
   * @throws Failure `unsupported` where there is none, or it is switched off.
   */
  ofFormat(name: string): Decoder {
    const named = this.#byName.get(name)
    if (named?.format.name === name) return named
    const others = this.all.filter(({ format }) => format.name === name)
    const found = others.find(({ mapping }) => mapping.contentTypes.length > 0) ?? others.find(({ mapping }) => mapping.topics.length === 0)
    if (found) return found
    throw new Failure('unsupported', `no decoder of format ${name} is switched on in this project`, { field: 'decoder' })
  }

  /** @throws Failure `not_found` that names the one that was meant. */
  named(name: string): Decoder {
    const found = this.#byName.get(name)
    if (found) return found
    const near = nearest(name.slice(0, 64), [...this.#byName.keys()])
    const hint = near === undefined ? '' : `; did you mean ${near}?`
    throw new Failure('not_found', `decoder ${name.slice(0, 100)} does not exist, or is switched off${hint}`, { field: 'decoder' })
  }
}

function newNode(): Node {
  return { literal: new Map(), here: [], below: [] }
}

/** Kept in their order: the first of a node is the best of it. */
function add(root: Node, levels: readonly string[], decoder: Decoder): void {
  let node = root
  for (const level of levels) {
    if (level === '#') {
      node.below.push(decoder)
      return
    }
    const next: Node = (level === '+' ? node.plus : node.literal.get(level)) ?? newNode()
    if (level === '+') node.plus = next
    else node.literal.set(level, next)
    node = next
  }
  node.here.push(decoder)
}

type Offer = (decoders: readonly Decoder[], literals: number) => void

/** Visits each node at most once. `#` also stands for no level at all [MQTT-4.7.1-2]. */
function walk(node: Node, levels: readonly string[], at: number, literals: number, offer: Offer): void {
  offer(node.below, literals)
  const level = levels[at]
  if (level === undefined) {
    offer(node.here, literals)
    return
  }
  const literal = node.literal.get(level)
  if (literal) walk(literal, levels, at + 1, literals + 1, offer)
  if (node.plus) walk(node.plus, levels, at + 1, literals, offer)
}

function byOwnerAndName({ mapping: a }: Decoder, { mapping: b }: Decoder): number {
  if (a.builtIn !== b.builtIn) return a.builtIn ? 1 : -1
  return a.name < b.name ? -1 : Number(a.name > b.name)
}

/** Where a topic stands: in the space of which project, and how it is called there. */
export type Mounted = { readonly project: string; readonly topic: string }

const MOUNT = /^projects\/([^/]+)\/topics\/(.+)$/s

/** Undefined for what is no topic of a project's own space. @param own project that short topics mean; empty: none. */
export function mounted(topic: string, own: string): Mounted | undefined {
  if (topic.startsWith('projects/')) {
    const [, project, rest] = MOUNT.exec(topic) ?? []
    return project === undefined || rest === undefined ? undefined : { project, topic: rest }
  }
  if (own === '' || topic.startsWith('d/') || topic.startsWith('$')) return undefined
  return { project: own, topic }
}

export function mountedTopic({ project, topic }: Mounted): string {
  return `projects/${project}/topics/${topic}`
}

/** What a template says of a topic: `{2}` is its second level. Undefined where it has no such level. */
export function filledIn(template: string, topic: readonly string[]): string | undefined {
  let isWhole = true
  const text = template.replace(/\{(\d{1,2})\}/g, (_, digits: string) => {
    const level = topic[Number(digits) - 1]
    isWhole &&= level !== undefined && level !== ''
    return level ?? ''
  })
  return isWhole ? text : undefined
}
