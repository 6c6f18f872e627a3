// What a client is sent, packet by packet: with which QoS, under which packet id, and in turn.
import type { Client } from 'aedes'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installed, openTestRedis, type TestRedis, until } from '../../../packages/log/fixture.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { Redeliveries } from '../mqtt/redelivery.ts'
import { Session, sessionId } from '../mqtt/session.ts'
import { catchUp, type Forwarded, forward } from './forward.ts'
import type { Lasting } from './lasting.ts'
import type { Qos } from './message.ts'
import { Sessions } from './sessions.ts'

const log = openLogger('silent')
const TOPIC = 'projects/p/a'

describe.skipIf(!installed)('a message for a session', () => {
  let server: TestRedis
  let sessions: Sessions
  beforeAll(async () => {
    server = await openTestRedis()
    sessions = new Sessions({ redis: server.redis, log, dropped: () => {}, nowMs: () => 0 })
  })
  afterAll(async () => {
    await sessions?.stop()
    await server?.stop()
  })

  async function begin(name: string, qos: Qos): Promise<{ session: Session; lasting: Lasting; client: Client }> {
    const id = sessionId('k', name)
    const identity = { renew: async () => undefined, watch: () => () => {} }
    const caller = { keyId: 'k', account: 'a', roles: { p: 'developer' as const } }
    const session = new Session({ identity, ended: () => {} }, caller, new Redeliveries(() => 0).connect(id, true))
    const lasting = await sessions.open(id, 'p')
    session.lasting = lasting
    session.grants.set(TOPIC, { qos, short: false })
    // As much of aedes' client as is looked at.
    const client = { id, connected: true, closed: false, _nextId: 7, close: () => {} } as unknown as Client
    return { session, lasting, client }
  }

  const packet = (more: Partial<Forwarded>): Forwarded => ({ topic: TOPIC, payload: Buffer.from('x'), qos: 2, retain: false, ...more })

  it.each<readonly [string, Qos, Qos, Qos]>([
    ['QoS 1 although QoS 0 is granted now', 0, 1, 1],
    ['QoS 1 although QoS 2 is granted now', 2, 1, 1],
    ['QoS 2 although QoS 1 is granted now', 1, 2, 2],
  ])('is sent again with %s', async (name, granted, sentQos, expected) => {
    const { session, client } = await begin(name, granted)
    const again = packet({ dup: true, properties: { id: 'm', queued: true, sentQos } })
    expect(forward(client, session, again, log)).toMatchObject({ qos: expected, dup: true })
  })

  it('is sent again with the QoS it was sent with when nothing is granted any more', async () => {
    const { session, client } = await begin('gone', 1)
    session.grants.delete(TOPIC)
    const again = packet({ dup: true, properties: { id: 'm', queued: true, sentQos: 1 } })
    expect(forward(client, session, again, log)?.qos).toBe(1)
  })

  it('keeps its packet id to itself: a retained one gets another, and its PUBACK acknowledges nothing else [MQTT-2.3.1-4]', async () => {
    const { session, lasting, client } = await begin('retained', 1)
    await lasting.sentAs(7, 'waits')
    await lasting.sentAs(8, 'waits too')
    const sent = [1, 2].map(() => forward(client, session, packet({ retain: true, qos: 1 }), log)?.messageId)
    expect(sent).toEqual([9, 10])
    for (const id of sent) await lasting.done(id as number)
    expect([lasting.packetIdOf('waits'), lasting.packetIdOf('waits too')]).toEqual([7, 8])
  })

  it('that is retained waits for room when as many as may be are not acknowledged', async () => {
    const { session, lasting, client } = await begin('slow', 1)
    const ids = Array.from({ length: 1000 }, () => forward(client, session, packet({ retain: true, qos: 1 }), log)?.messageId as number)
    let hasRoom = false
    const room = lasting.retainedRoom().then(() => {
      hasRoom = true
    })
    await server.redis.ping()
    expect(hasRoom).toBe(false)
    for (const id of ids) await lasting.done(id)
    await room
  })

  it('is never left to a reader that has just ended', async () => {
    const { lasting, client } = await begin('stall', 1)
    const readersLeft: boolean[] = []
    let isCurrent = false
    Object.defineProperty(lasting, 'isCurrent', {
      get: () => isCurrent,
      set: (is: boolean) => {
        isCurrent = is
        // What is forwarded next, at the earliest.
        if (is) queueMicrotask(() => void readersLeft.push(lasting.isReading))
      },
    })
    catchUp(client, lasting, log)
    await until('it has read', () => readersLeft.length > 0)
    expect(readersLeft).toEqual([false])
  })
})
