// One MQTT publish after the other: what becomes of it, of what its decoder remembers, and of who may say what of whom.
import { Type } from 'typebox'
import { describe, expect, it } from 'vitest'
import { Failure } from '../../packages/core/failure.ts'
import type { Caller } from '../../packages/identity/identity.ts'
import type { Remembered } from '../../packages/state/decodermemory.ts'
import type { Refused } from '../../packages/state/quarantine.ts'
import { until } from '../../test/eventually.ts'
import { Accept } from './accept.ts'
import { Catalog } from './catalog.ts'
import { checkedEvent } from './decode/event.ts'
import type { Format } from './decode/format.ts'
import { UNLIMITED } from './fixture.ts'
import { Memories } from './memory.ts'
import { type PublishPorts, publish } from './publishing.ts'
import { Redeliveries } from './redelivery.ts'
import { Session } from './session.ts'

/** `once/{device}`: a payload that is the same as the one before it says nothing new; `once` itself asks for more. */
const ONCE: Format = {
  name: 'once',
  version: 1,
  title: '',
  options: Type.Object({}),
  topics: ['once/+'],
  contentTypes: [],
  decode: ({ bytes, topic, memory, place: { project } }, clock) => {
    const [device = '', value] = [topic[1], Number(bytes.toString())]
    const replies = [{ topic: 'once', payload: Buffer.from('more') }]
    if (memory.get(device) === value) return { decoded: [], replies }
    memory.set(device, value)
    return { decoded: [{ event: checkedEvent({ device, eventType: 't', data: { t: { value } } }, project, clock) }], replies }
  },
}
const DEVELOPER: Caller = { keyId: 'k', account: 'a', roles: { p: 'developer' } }
const away = new Failure('unavailable', 'away')

/** A door with a log and a disk that can be away. */
function openDoor() {
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
    revision: async () => 1,
    load: async (): Promise<Remembered> => ({ revision: 1, values: new Map(rows) }),
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
      decoders: async () => [],
      schemas: async () => [],
      changes: async () => ({ newest: 0, projects: [] }),
    }),
    run: { memories: new Memories({ disk, nowMs: () => 0, troubled: () => {} }), broke: () => {} },
    send: (project, topic) => void state.sent.push(`${project} ${topic}`),
  }
  const connect = (caller: Caller) => {
    const identity = { renew: async () => caller, watch: () => () => {} }
    const session = new Session({ identity, ended: () => {} }, caller, new Redeliveries(Date.now).connect('k\nc', false))
    const told: string[] = []
    const send = (topic: string, payload: string, messageId = 1) => {
      const packet = { topic, payload: Buffer.from(payload), qos: 1, dup: false, messageId } as const
      const refused = (_client: unknown, _session: unknown, of: string, reason: string) => void told.push(`${of}: ${reason}`)
      return new Promise<Error | undefined>(resolve =>
        publish(ports, refused, { id: 'k\nc' }, session, packet, error => resolve(error ?? undefined)),
      )
    }
    return { send, told }
  }
  return { state, rows, connect }
}

describe('a decoder that remembers', () => {
  it('hears of it again what could not be accepted', async () => {
    const { state, rows, connect } = openDoor()
    const { send } = connect(DEVELOPER)
    expect(await send('once/a', '1')).toBeUndefined()
    state.isLogAway = true
    expect(await Promise.all([send('once/a', '2', 2), send('once/a', '2', 3)])).toMatchObject([
      { code: 'unavailable' },
      { code: 'unavailable' },
    ])
    expect(rows).toEqual(new Map([['a', '1']]))
    state.isLogAway = false
    expect(await send('once/a', '2', 2)).toBeUndefined()
    expect(state.frames.map(frame => JSON.parse(frame).data.t.value)).toEqual([1, 2])
    expect(rows).toEqual(new Map([['a', '2']]))
  })

  it('has the payload sent again when what it tells cannot be written, and no process ends of it', async () => {
    const { state, rows, connect } = openDoor()
    const { send } = connect(DEVELOPER)
    state.isDiskAway = true
    expect(await send('once/a', '1')).toMatchObject({ code: 'unavailable' })
    expect(await send('once/a', '1')).toMatchObject({ code: 'unavailable' })
    state.isDiskAway = false
    expect(await send('once/a', '1')).toBeUndefined()
    await until('it is in the log', () => state.frames.length === 1)
    expect(rows).toEqual(new Map([['a', '1']]))
  })
})
