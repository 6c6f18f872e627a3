// One MQTT publish after the other: what becomes of it, of what its decoder remembers, and of who may say what of whom.
import { describe, expect, it } from 'vitest'
import type { Caller } from '../../../packages/identity/identity.ts'
import { DEVELOPER, openTaking } from '../fixture.ts'
import { rejectionsOf } from '../quarantine/rejection.ts'
import { mayLeave } from './connect.ts'
import { type PublishPorts, publish } from './publishing.ts'
import { Redeliveries } from './redelivery.ts'
import { Session } from './session.ts'

/** A door of which the log and the disk can be away. */
function openDoor(others: Partial<PublishPorts> = {}) {
  const { ports: usual, ...taking } = openTaking()
  const ports = { ...usual, ...others }
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
  return { ...taking, connect }
}

const DEVICE: Caller = { keyId: 'dev', account: 'dev', roles: {}, device: { project: 'p', id: 'a' } }

describe('a decoder that remembers', () => {
  it('hears of it again what could not be accepted', async () => {
    const { state, rows, values, connect } = openDoor()
    const { send } = connect(DEVELOPER)
    expect(await send('once', 'a=1')).toBeUndefined()
    state.isLogAway = true
    expect(await Promise.all([send('once', 'a=2', 2), send('once', 'a=2', 3)])).toMatchObject([
      { code: 'unavailable' },
      { code: 'unavailable' },
    ])
    expect(rows).toEqual(new Map([['a', '1']]))
    state.isLogAway = false
    expect(await send('once', 'a=2', 2)).toBeUndefined()
    expect(values()).toEqual(['a=1', 'a=2'])
    expect(rows).toEqual(new Map([['a', '2']]))
  })

  it('has the payload sent again when what it tells cannot be written, and no process ends of it', async () => {
    const { state, rows, values, connect } = openDoor()
    const { send } = connect(DEVELOPER)
    state.isDiskAway = true
    expect(await send('once', 'a=1')).toMatchObject({ code: 'unavailable' })
    expect(await send('once', 'a=1')).toMatchObject({ code: 'unavailable' })
    state.isDiskAway = false
    expect(await send('once', 'a=1')).toBeUndefined()
    expect([values(), rows]).toEqual([['a=1'], new Map([['a', '1']])])
  })

  it('hears nothing of other devices from a device, and does nothing for it', async () => {
    const { state, rows, values, connect } = openDoor()
    await connect(DEVELOPER).send('once', 'b=1')
    expect(state.sent).toEqual(['p topics/more'])
    const { send } = connect(DEVICE)
    for (const payload of ['b=2', 'a=1,b=2', 'forget b', 'a=x,b', 'b=x']) expect(await send('once', payload)).toBeUndefined()
    expect([state.sent.length, rows]).toEqual([1, new Map([['b', '1']])])
    await send('once', 'a=2')
    expect([state.sent.length, rows]).toEqual([
      2,
      new Map([
        ['b', '1'],
        // For itself alone.
        ['own/a/a', '2'],
        ['own\0a', expect.stringMatching(/^{"keys":1,"chars":8,"toldMs":\d+/)],
      ]),
    ])
    expect(values()).toEqual(['b=1', 'a=1', 'a=2'])
  })
})

it.each([
  ['the first time, when its memory is loaded', 1],
  ['later', 2],
])('a step that breaks behind a decoder is the answer, and the next publish has its own: %s', async (_, messages) => {
  let broken = 0
  const screen: PublishPorts['screen'] = (_project, decoded) => {
    if (broken-- > 0) throw new TypeError('broken')
    return decoded
  }
  const { values, connect } = openDoor({ screen })
  const { send } = connect(DEVELOPER)
  // Else it would be the catalog that is waited for.
  expect(await send('projects/p/topics/nobody/takes/this', '')).toBeUndefined()
  if (messages > 1) expect(await send('once', 'a=1')).toBeUndefined()
  broken = 1
  const [first, second] = await Promise.all([send('once', 'a=2', 2), send('once', 'a=3', 3)])
  expect([first?.message, second]).toEqual(['broken', undefined])
  expect(values().at(-1)).toBe('a=3')
})

describe('a device', () => {
  it.each([
    ['a', true],
    ['a:3', true],
    ['a::boot', true],
    ['b', false],
    ['a2', false],
    ['a-3', false],
    ['a:', false],
    ['a2:3', false],
  ])('sends events of %s by every form of topic: %s', async (id, may) => {
    const { state, values, connect } = openDoor()
    const { send } = connect(DEVICE)
    const named = JSON.stringify({ eventType: 't', data: { t: { value: 3 } }, targetName: `projects/p/devices/${id}` })
    await send(`d/${id}/t`, '1', 1)
    await send(`projects/p/devices/${id}/events/t`, '2', 2)
    await send('d/a/t', named, 3)
    await send('once', `${id}=4`, 4)
    const all = [1, 2, 3, 4].map(value => `${id}=${value}`)
    // In a place of its own nothing that names another device is an event of that.
    expect(values().filter(one => one.startsWith(`${id}=`))).toEqual(may ? all.filter((_, i) => i !== 2 || id === 'a') : [])
    for (const [, { device }] of state.refused) if (device !== undefined) expect(['a', may ? id : 'a']).toContain(device)
    expect(state.frames.length + state.refused.length).toBe(4)
    for (const form of [`d/${id}/t`, `projects/p/devices/${id}/events/t`, `projects/p/devices/${id}/events`])
      expect(mayLeave(DEVICE, form)).toBe(may)
  })
})

describe('a key of several projects, of which none is its own', () => {
  const caller: Caller = { keyId: 'k', account: 'a', roles: { p: 'developer', q: 'developer' } }

  it.each([
    ['of another project', 'projects/z/devices/b/events/t', /is not this key's/],
    ['that is short', 'd/b/t', /is short for one in the key's own project, .*: expected projects/],
  ])('is refused a topic %s: nobody would ever see what was acknowledged', async (_, topic, reason) => {
    const { state, connect } = openDoor()
    const { send, told } = connect(caller)
    expect(await send(topic, '1')).toMatchObject({ message: expect.stringMatching(reason) })
    expect([state.refused, told]).toEqual([[], [expect.stringMatching(reason)]])
    expect(await send('projects/q/devices/b/events/t', '{"value":1}')).toBeUndefined()
  })
})

describe('a refusal', () => {
  /** Devices that hear of it. */
  const heardOf = ({ state }: ReturnType<typeof openDoor>) =>
    state.refused.flatMap(([, one]) => rejectionsOf([one], 0).map(({ device }) => device))

  it.each<[by: string, caller: Caller, topic: string, payload: string, told: string[]]>([
    ['a developer', DEVELOPER, 'd/b/t', '{"value":"x"', ['b']],
    ['the device', DEVICE, 'd/a/t', '{"value":"x"', ['a']],
    ['another device, which hears of it', DEVICE, 'd/b/t', '{"value":1}', ['a']],
    [
      'another device in what it sends, which hears of it',
      DEVICE,
      'd/a/t',
      '{"eventType":"t","data":1,"targetName":"projects/p/devices/b"}',
      ['a'],
    ],
    ['another device by a decoder, which hears of it', DEVICE, 'once', 'b=x', ['a']],
    ['who may only look, and nobody hears of it', { keyId: 'u', account: 'u', roles: { p: 'user' } }, 'd/b/t', '{"value":1}', []],
    [
      'a stranger, and nobody hears of it',
      { keyId: 's', account: 's', roles: { q: 'developer' } },
      'projects/p/devices/b/events/t',
      '1',
      [],
    ],
  ])('of what was sent by %s', async (_, caller, topic, payload, told) => {
    const door = openDoor()
    expect(await door.connect(caller).send(topic, payload)).toBeUndefined()
    expect([door.state.refused.length > 0, heardOf(door)]).toEqual([true, told])
  })
})
