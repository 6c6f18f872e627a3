// For tests of doors: a project without limits, schemas and decoders, and clocks that nobody looks at.
import { Type } from 'typebox'
import { Failure } from '../../packages/core/failure.ts'
import type { Caller } from '../../packages/identity/identity.ts'
import type { Remembered } from '../../packages/state/decodermemory.ts'
import type { Refused } from '../../packages/state/quarantine.ts'
import { Accept } from './accept.ts'
import { checkedEvent, decodedFrom } from './decode/event.ts'
import type { Format } from './decode/format.ts'
import { Catalog, type Shelf } from './decoder/catalog.ts'
import { Memories } from './decoder/memory.ts'
import type { IngestPorts } from './ingest.ts'
import type { PublishPorts } from './mqtt/publishing.ts'

export const UNLIMITED: Pick<IngestPorts, 'budget' | 'clocks' | 'screen'> = {
  budget: { admits: () => true, ask: async events => events.map(() => undefined) },
  screen: (_project, decoded) => decoded,
  clocks: { observe: () => {} },
}

export function shelfOf<T>(documents: ReadonlyMap<string, T>): Shelf<T> {
  return {
    revisions: async () => new Map([...documents].map(([name, document]) => [name, JSON.stringify(document)])),
    some: async (_, names) =>
      new Map(names.flatMap(name => (documents.has(name) ? [[name, { document: documents.get(name) as T, chars: 100 }] as const] : []))),
  }
}

const EMPTY = shelfOf(new Map<string, never>())

/** No topic is a decoder's; asking what there is says that it cannot be read. */
export function undecoded(): Pick<PublishPorts, 'catalog' | 'run'> {
  const down = () => Promise.reject(new Failure('unavailable', 'there is no log'))
  return {
    catalog: new Catalog({ formats: new Map(), decoders: { revisions: down, some: down }, schemas: EMPTY, changes: down }),
    run: {
      memories: new Memories({ disk: { read: down, save: down, changedMs: down }, nowMs: () => 0, troubled: () => {} }),
      broke: () => {},
    },
  }
}

/** `a=1,b=2`: what is as before says nothing new; `forget b` tells something for later only. Each asks for more. */
const ONCE: Format = {
  name: 'once',
  version: 1,
  title: '',
  options: Type.Object({}),
  topics: ['once'],
  contentTypes: ['application/once'],
  decode: ({ bytes, memory, place: { project } }, clock) => {
    const [text, replies] = [bytes.toString(), [{ topic: 'more', payload: Buffer.of() }]]
    if (text.startsWith('forget ')) memory.set(text.slice('forget '.length), undefined)
    const found = text.startsWith('forget ') ? [] : text.split(',').map(one => one.split('='))
    const decoded = found.flatMap(([device = '', value]) => {
      if (memory.get(device) === Number(value)) return []
      memory.set(device, Number(value))
      const one = decodedFrom(() => checkedEvent({ device, eventType: 't', data: { t: { value: Number(value) } } }, project, clock), text)
      return 'event' in one ? one : { ...one, device }
    })
    return { decoded, replies }
  },
}
export const DEVELOPER: Caller = { keyId: 'k', account: 'a', roles: { p: 'developer' } }
const away = new Failure('unavailable', 'away')

/** What a door needs to take what format `once` reads, in project `p`. */
export function openTaking() {
  const rows = new Map<string, string>()
  const state = { isLogAway: false, isDiskAway: false, frames: [] as string[], refused: [] as [string, Refused][], sent: [] as string[] }
  const accept = new Accept({
    append: async (_, { frames }) => {
      if (state.isLogAway) throw away
      state.frames.push(...frames)
      return { entryId: '1-1', duplicates: 0, wake: [] }
    },
    register: async () => {},
    wake: () => {},
    counted: () => {},
    failed: () => {},
  })
  const disk = {
    read: async (): Promise<Remembered> => ({ revision: 1, isAll: true, values: new Map(rows) }),
    changedMs: async () => 0,
    save: async (_: object, changes: ReadonlyMap<string, string>) => {
      if (state.isDiskAway) throw away
      for (const [key, text] of changes) rows.set(key, text)
      return 1
    },
  }
  const ports: PublishPorts = {
    accept,
    ...UNLIMITED,
    quarantine: async (project, refused) => void state.refused.push(...refused.map(one => [project, one] as [string, Refused])),
    rejected: () => {},
    clock: { nowUs: () => 1_800_000_000_000_000, newId: () => 'id' },
    catalog: new Catalog({
      formats: new Map([['once', ONCE]]),
      decoders: EMPTY,
      schemas: EMPTY,
      changes: async () => ({ newest: 0, projects: [] }),
    }),
    run: { memories: new Memories({ disk, nowMs: () => 0, troubled: () => {} }), broke: () => {} },
    send: (project, topic) => void state.sent.push(`${project} ${topic}`),
  }
  const values = () => {
    const events = state.frames.map(frame => JSON.parse(frame) as { targetName: string; data: { t: { value: number } } })
    return events.map(({ targetName, data }) => `${targetName.split('/')[3]}=${data.t.value}`)
  }
  return { state, rows, values, ports }
}
