// Several gateways on one Redis: what is published at one reaches who is connected to another, and costs nothing where nobody wants it.
import { generate } from 'mqtt-packet'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Failure } from '../../../packages/core/failure.ts'
import type { Caller } from '../../../packages/identity/identity.ts'
import { installed, openTestRedis, type TestRedis } from '../../../packages/log/fixture.ts'
import { Guesses } from '../../../packages/runtime/guess.ts'
import { newId } from '../../../packages/runtime/id.ts'
import { openLogger } from '../../../packages/runtime/logger.ts'
import { until } from '../../../test/eventually.ts'
import { connectPacket, openRaw, openWire, type Wire } from '../../../test/wire.ts'
import { Accept } from '../accept.ts'
import { Owners } from '../broker/owner.ts'
import { PREFIX } from '../broker/script.ts'
import { Sessions } from '../broker/sessions.ts'
import { Storage } from '../broker/storage.ts'
import { Catalog } from '../decoder/catalog.ts'
import { shelfOf, UNLIMITED, undecoded } from '../fixture.ts'
import { type MqttDoor, openMqtt } from './mqtt.ts'
import { sessionId } from './session.ts'

const TOPIC = 'projects/p/devices/d/state'
const NOTHING = shelfOf(new Map<string, never>())
const callers = (): Record<string, Caller> => ({
  k: { keyId: 'k', account: 'a', roles: { p: 'developer' } },
  other: { keyId: 'other', account: 'b', roles: { p: 'developer' } },
  device: { keyId: 'device', account: 'e', roles: {}, device: { project: 'p', id: 'd' } },
  several: { keyId: 'several', account: 'c', roles: { p: 'developer', q: 'developer' } },
})

describe.skipIf(!installed)('two gateways', () => {
  let server: TestRedis
  let here: MqttDoor
  let there: MqttDoor
  const known = callers()
  /** Keys whose rights cannot be looked up. */
  const unsure = new Set<string>()

  /** Of the log, which is away, but may be long in saying so. */
  let asked = 0
  let answer = Promise.resolve()

  async function openDoor(): Promise<MqttDoor> {
    const down = () => Promise.reject(new Failure('unavailable', 'there is no log'))
    const late = () => {
      asked++
      return answer.then(down)
    }
    return openMqtt(
      {
        accept: new Accept({ append: late, register: late, wake: () => {}, counted: () => {}, failed: () => {} }),
        ...UNLIMITED,
        ...undecoded(),
        catalog: new Catalog({ formats: new Map(), decoders: NOTHING, schemas: NOTHING, changes: down }),
        guesses: new Guesses(undefined),
        limits: { packetBytes: 1024 * 1024, perAddress: 0 },
        cut: () => {},
        quarantine: down,
        rejected: () => {},
        identity: {
          login: keyId => Promise.resolve(known[keyId]),
          certified: () => Promise.resolve(undefined),
          renew: async ({ keyId }) => {
            if (unsure.has(keyId)) throw new Failure('unavailable', 'Redis is away')
            return known[keyId]
          },
          watch: () => () => {},
        },
        clock: { nowUs: () => 0, newId: () => newId() },
        log: openLogger('silent'),
        follow: () => Promise.reject(new Failure('unavailable', 'there is no stream')),
        dropped: () => {},
        redis: await server.connect('producer'),
        subscriber: await server.connect(),
      },
      '127.0.0.1',
      0,
    )
  }

  beforeAll(async () => {
    server = await openTestRedis()
    here = await openDoor()
    there = await openDoor()
  })
  afterAll(async () => {
    await here?.close()
    await there?.close()
    await server?.stop()
  })

  const connect = (door: MqttDoor, clientId: string, clean = true, keyId = 'k') =>
    openWire(door.port, { keyId, secret: 's' }, clientId, clean)
  const texts = ({ received }: Wire) => received.flatMap(packet => (packet.cmd === 'publish' ? [packet.payload.toString()] : []))
  const calls = async (command: string) =>
    Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await server.redis.info('commandstats'))?.[1] ?? 0)
  const sessionKey = (clientId: string) => `${PREFIX}session:${sessionId('k', clientId)}`
  const filtersOf = async (clientId: string) =>
    (await server.redis.hkeys(sessionKey(clientId))).flatMap(name => (name.startsWith('f:') ? [name.slice(2)] : []))
  const subscribePacket = (messageId: number, filters: readonly string[], qos = 1) =>
    generate({ cmd: 'subscribe', messageId, subscriptions: filters.map(topic => ({ topic, qos })) } as never)

  async function subscribe(wire: Wire, topic: string): Promise<number> {
    wire.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos: 1 }] })
    await until('SUBACK', () => wire.received.some(({ cmd }) => cmd === 'suback'))
    const [ack] = wire.received.filter(packet => packet.cmd === 'suback')
    return ack?.cmd === 'suback' ? (ack.granted[0] as number) : -1
  }

  it('bring messages across, each once, and none where nobody wants them', async () => {
    const wire = await connect(there, 'hears')
    await subscribe(wire, 'projects/p/devices/+/state')
    await until('the other gateway knows', () => here.hasSubscribers(TOPIC))
    const sender = await connect(here, 'sends')
    const before = await calls('publish')
    for (let n = 1; n <= 20; n++) await sender.publish(n, 'projects/p/nobody', 'x')
    // What gateways tell each other every few seconds is among them.
    expect((await calls('publish')) - before).toBeLessThan(10)
    for (let n = 1; n <= 20; n++) await sender.publish(n, TOPIC, String(n))
    await until('all are there', () => texts(wire).length >= 20)
    expect(texts(wire)).toEqual(Array.from({ length: 20 }, (_, n) => String(n + 1)))
    await wire.leave()
    await until('the other gateway knows', () => !here.hasSubscribers(TOPIC))
    await sender.leave()
  })

  it('hand over a session: the old connection ends, and what waits is had at the new one', async () => {
    const first = await connect(here, 'moves', false)
    await subscribe(first, 'projects/p/moves')
    const sender = await connect(there, 'sends')
    await sender.publish(1, 'projects/p/moves', 'one')
    await until('it is there', () => texts(first).length === 1)
    const second = await connect(there, 'moves', false)
    await until('the first is cut off', () => first.hasEnded())
    await until('what was not acknowledged is there', () => texts(second).length >= 1)
    await sender.publish(2, 'projects/p/moves', 'two')
    await until('it is there', () => texts(second).length >= 2)
    expect(texts(second)).toEqual(['one', 'two'])
    await second.leave()
    await sender.leave()
  })

  it('send a session what was queued for it and not passed on, as soon as there is a reason to look', async () => {
    const topic = 'projects/p/stuck'
    const wire = await connect(here, 'stuck', false)
    await subscribe(wire, topic)
    // A gateway that died before it passed anything on.
    const dead = new Sessions({ redis: server.redis, log: openLogger('silent'), dropped: () => {}, nowMs: Date.now })
    await dead.read()
    const queue = (id: string) => dead.queue({ id, topic, qos: 1, payload: Buffer.from(id) })
    await queue('before it subscribes again')
    wire.send({ cmd: 'subscribe', messageId: 2, subscriptions: [{ topic: 'projects/p/other', qos: 1 }] })
    await until('it is there', () => texts(wire).length === 1)
    await queue('before another gateway comes')
    const third = await openDoor()
    await until('it is there', () => texts(wire).length === 2)
    expect(texts(wire)).toEqual(['before it subscribes again', 'before another gateway comes'])
    await dead.stop()
    await third.close()
    await wire.leave()
  })

  it('keep two keys with the same client id apart', async () => {
    const mine = await connect(here, 'same', false)
    const theirs = await connect(there, 'same', false, 'other')
    expect(theirs.received[0]).toMatchObject({ sessionPresent: false })
    mine.send({ cmd: 'pingreq' })
    await until('PINGRESP', () => mine.received.some(({ cmd }) => cmd === 'pingresp'))
    await mine.leave()
    await theirs.leave()
  })

  it('send nothing that was retained by a key which is gone (hazard 9)', async () => {
    known['gone'] = { keyId: 'gone', account: 'g', roles: { p: 'developer' } }
    const sender = await connect(here, 'retains', true, 'gone')
    sender.send({ cmd: 'publish', topic: 'projects/p/r/gone', payload: 'bad', qos: 1, messageId: 1, retain: true, dup: false })
    await until('PUBACK', () => sender.received.some(({ cmd }) => cmd === 'puback'))
    await sender.leave()
    delete known['gone']
    const stays = await connect(there, 'stays')
    stays.send({ cmd: 'publish', topic: 'projects/p/r/stays', payload: 'good', qos: 1, messageId: 1, retain: true, dup: false })
    await until('PUBACK', () => stays.received.some(({ cmd }) => cmd === 'puback'))
    const late = await connect(here, 'late')
    await subscribe(late, 'projects/p/r/#')
    await until('the other one is there', () => texts(late).includes('good'))
    expect(texts(late)).toEqual(['good'])
    for (const wire of [stays, late]) await wire.leave()
  })

  it('send a session no more than it may leave unacknowledged; the rest waits, and comes in order', async () => {
    const topic = 'projects/p/window'
    const silent = await connect(there, 'slow', false)
    await subscribe(silent, topic)
    await until('the other gateway knows', () => here.hasSubscribers(topic))
    const sender = await connect(here, 'sends')
    const count = 1500
    for (let n = 1; n <= count; n++)
      sender.send({ cmd: 'publish', topic, payload: String(n), qos: 1, messageId: n, retain: false, dup: false })
    await until('all are taken', () => sender.received.filter(({ cmd }) => cmd === 'puback').length === count)
    await until('the window is full', () => texts(silent).length >= 1000)
    silent.send({ cmd: 'pingreq' })
    await until('PINGRESP', () => silent.received.some(({ cmd }) => cmd === 'pingresp'))
    // What is on its way at once may be over it.
    expect(texts(silent).length).toBeLessThan(1100)
    await silent.cut()
    const back = await connect(there, 'slow', false)
    let acked = 0
    await until('all are there', () => {
      for (const packet of back.received.slice(acked))
        if (packet.cmd === 'publish') back.send({ cmd: 'puback', messageId: packet.messageId as number })
      acked = back.received.length
      return texts(back).length >= count
    })
    expect(texts(back)).toEqual(Array.from({ length: count }, (_, n) => String(n + 1)))
    for (const wire of [back, sender]) await wire.leave()
  })

  it.each([true, false])('do what one read asks in its order: SUBSCRIBE, UNSUBSCRIBE (clean session: %s) [MQTT-3.10.4-1]', async clean => {
    const wire = await connect(here, `hasty ${clean}`, clean)
    const filter = `projects/p/hasty/${clean}`
    const [on, off] = [subscribePacket(1, [filter]), generate({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: [filter] } as never)]
    const answers = () => wire.received.flatMap(({ cmd }) => (cmd === 'suback' || cmd === 'unsuback' ? [cmd] : []))
    wire.write(Buffer.concat([on, off]))
    await until('both are answered', () => answers().length === 2)
    expect(answers()).toEqual(['suback', 'unsuback'])
    expect([here.hasSubscribers(filter), await filtersOf(`hasty ${clean}`)]).toEqual([false, []])
    wire.write(Buffer.concat([on, off, on]))
    await until('all are answered', () => answers().length === 5)
    expect(answers().slice(2)).toEqual(['suback', 'unsuback', 'suback'])
    expect([here.hasSubscribers(filter), await filtersOf(`hasty ${clean}`)]).toEqual([true, clean ? [] : [filter]])
    await wire.publish(3, filter, 'heard')
    await until('it is there', () => texts(wire).includes('heard'))
    await wire.leave()
  })

  it('hear what one SUBSCRIBE asks of them in few words, and nothing where it asks for what there is', async () => {
    const wire = await connect(here, 'many', false)
    const filters = Array.from({ length: 1000 }, (_, n) => `projects/p/many/${n}`)
    const ask = async (messageId: number, all: readonly string[]) => {
      const before = [await calls('evalsha'), await calls('publish')] as const
      wire.write(subscribePacket(messageId, all))
      await until('SUBACK', () => wire.received.some(packet => packet.cmd === 'suback' && packet.messageId === messageId))
      await until('the other gateway knows', () => there.hasSubscribers('projects/p/many/999'))
      return [(await calls('evalsha')) - before[0], (await calls('publish')) - before[1]] as const
    }
    const [scripts, messages] = await ask(1, filters)
    expect(scripts).toBeLessThan(10)
    // Beats are among them.
    expect(messages).toBeLessThan(20)
    expect((await filtersOf('many')).length).toBe(1000)
    // What was queued and not passed on is looked for after each SUBSCRIBE.
    expect((await ask(2, filters))[0]).toBeLessThan(10)
    wire.write(subscribePacket(3, ['projects/p/many/0'], 0))
    await until('SUBACK', () => wire.received.some(packet => packet.cmd === 'suback' && packet.messageId === 3))
    const qos = async () => /"qos":(\d)/.exec((await server.redis.hget(sessionKey('many'), 'f:projects/p/many/0')) ?? '')?.[1]
    expect(await qos()).toBe('0')
    wire.write(Buffer.concat([1, 0].map((level, at) => subscribePacket(4 + at, ['projects/p/many/0'], level))))
    await until('SUBACK', () => wire.received.some(packet => packet.cmd === 'suback' && packet.messageId === 5))
    expect(await qos()).toBe('0')
    await wire.leave()
  })

  it('grant a session 1000 filters, also when several packets ask for more at once', async () => {
    const wire = await connect(here, 'filters', false)
    for (const messageId of [1, 2]) {
      const subscriptions = Array.from({ length: 600 }, (_, n) => ({ topic: `projects/p/filters/${messageId}/${n}`, qos: 1 as const }))
      wire.send({ cmd: 'subscribe', messageId, subscriptions })
    }
    await until('both are answered', () => wire.received.filter(({ cmd }) => cmd === 'suback').length === 2)
    const granted = wire.received.flatMap(packet => (packet.cmd === 'suback' ? (packet.granted as number[]) : []))
    expect([granted.filter(qos => qos === 1).length, granted.filter(qos => qos === 128).length]).toEqual([1000, 200])
    await wire.leave()
  })

  it('end a client for which retained messages cannot be read, so that it asks again, and nothing else', async () => {
    const sender = await connect(here, 'retains', true, 'other')
    sender.send({ cmd: 'publish', topic: 'projects/p/unsure/a', payload: 'x', qos: 1, messageId: 1, retain: true, dup: false })
    await until('PUBACK', () => sender.received.some(({ cmd }) => cmd === 'puback'))
    unsure.add('other')
    const asks = await connect(there, 'asks')
    await subscribe(asks, 'projects/p/unsure/#')
    await until('the end', () => asks.hasEnded())
    unsure.delete('other')
    const again = await connect(there, 'asks')
    await subscribe(again, 'projects/p/unsure/#')
    await until('it is there', () => texts(again).includes('x'))
    for (const wire of [sender, again]) await wire.leave()
  })

  it('refuse a short topic of a key that has several projects and none of its own', async () => {
    const wire = await connect(here, 'several', true, 'several')
    expect(await subscribe(wire, 'sensors/#')).toBe(128)
    wire.send({ cmd: 'publish', topic: 'sensors/x', payload: 'x', qos: 1, messageId: 2, retain: false, dup: false })
    await until('the end', () => wire.hasEnded())
  })

  it('announce what Telltale itself says once, whoever of them begins', async () => {
    const wire = await connect(here, 'alarms')
    await subscribe(wire, 'projects/p/alarms/#')
    await until('the other gateway knows', () => there.hasSubscribers('projects/p/alarms/hot/oven'))
    const say = (text: string, order: string) =>
      Promise.all([here, there].map(door => door.announce('projects/p/alarms/hot/oven', text, order)))
    await say('active', '1')
    await say('cleared', '2')
    await say('cleared', '2')
    await until('both are there', () => texts(wire).includes('cleared'))
    expect(texts(wire)).toEqual(['active', 'cleared'])
    await wire.leave()
  })

  describe('with a will', () => {
    const willTo = (topic: string, payload = 'offline') => ({
      will: { topic, payload: Buffer.from(payload), qos: 1 as const, retain: true },
    })
    const come = (door: MqttDoor, clientId: string, topic: string, keyId = 'k') =>
      openWire(door.port, { keyId, secret: 's' }, clientId, false, willTo(topic))
    const owners = () => server.redis.hgetall('t:{~mqtt}:owner')

    async function hears(topic: string): Promise<Wire> {
      const wire = await connect(here, `hears ${topic}`)
      await subscribe(wire, topic)
      await until('both know', () => there.hasSubscribers(topic))
      return wire
    }

    it('of a client that comes to another one publish it before that one lets the client in', async () => {
      const topic = 'projects/p/status/moves'
      const wire = await hears(topic)
      let client = await come(here, 'status', topic)
      for (const door of [there, here, there]) {
        client = await come(door, 'status', topic)
        client.send({ cmd: 'publish', topic, payload: 'online', qos: 1, messageId: 1, retain: true, dup: false })
        await until('PUBACK', () => client.received.some(({ cmd }) => cmd === 'puback'))
      }
      await until('all are there', () => texts(wire).length >= 6)
      expect(texts(wire)).toEqual(['offline', 'online', 'offline', 'online', 'offline', 'online'])
      const late = await connect(here, 'late')
      await subscribe(late, topic)
      await until('it is there', () => texts(late).length > 0)
      expect(texts(late)).toEqual(['online'])
      for (const one of [client, wire, late]) await one.leave()
    })

    it('drop it when DISCONNECT has come, also when the connection ends before what came before is taken [MQTT-3.14.4-3]', async () => {
      const topic = 'projects/p/status/leaves'
      const wire = await hears(topic)
      const client = await come(here, 'leaves', topic)
      const publish = { cmd: 'publish' as const, qos: 1 as const, dup: false, retain: false, messageId: 1 }
      const event = generate({ ...publish, topic: 'projects/p/devices/d/events/temperature', payload: '20' })
      let release = () => {}
      answer = new Promise(resolve => {
        release = resolve
      })
      const before = asked
      client.write(Buffer.concat([event, generate({ cmd: 'disconnect' })]))
      await until('the log is asked', () => asked > before)
      await client.cut()
      await until('it is gone', () => here.connections() === 1)
      release()
      const again = await connect(there, 'leaves')
      await again.publish(2, topic, 'marker')
      await until('it is there', () => texts(wire).includes('marker'))
      expect(texts(wire)).toEqual(['marker'])
      for (const one of [again, wire]) await one.leave()
    })

    it('that a gateway which is gone left behind, and that nobody may publish, end with nothing worse than that', async () => {
      const [topic, id] = ['projects/p/topics/nobody/decodes', sessionId('e', 'refused')]
      const subscriber = await server.connect()
      const gone = await Owners.open({
        redis: server.redis,
        subscriber,
        node: 'gone',
        log: openLogger('silent'),
        newId,
        close: () => expect.unreachable(),
        publish: () => expect.unreachable(),
      })
      const author = { keyId: 'device', account: 'e', device: { project: 'p', id: 'd' } }
      await gone.enter(id, true, { topic, payload: Buffer.from('x'), qos: 1, retain: false, author }, () => {})
      await gone.stop()
      subscriber.disconnect()
      const back = await connect(here, 'refused', true, 'device')
      expect(Object.keys(await owners())).not.toContain(id)
      await back.leave()
    })
  })

  it('let in one of many that come with one client id at once, and its session works [MQTT-3.1.4-2]', async () => {
    const key = { keyId: 'k', secret: 's' }
    const many = await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        const wire = await openRaw((n % 2 === 0 ? here : there).port)
        wire.send(connectPacket(key, 'crowd', false))
        return wire
      }),
    )
    await until('one is left', () => many.filter(wire => !wire.hasEnded()).length === 1)
    const left = many.find(wire => !wire.hasEnded()) as Wire
    await until('CONNACK', () => left.received.length > 0)
    await subscribe(left, 'projects/p/crowd')
    await left.publish(1, 'projects/p/crowd', 'x')
    await until('it is there', () => texts(left).length > 0)
    expect(here.connections() + there.connections()).toBe(1)
    await left.leave()
    await until('nobody is', () => here.connections() + there.connections() === 0)
  })

  it('end a client whose session was forgotten for another, so that it begins a new one', async () => {
    const wire = await connect(here, 'forgotten', false)
    await subscribe(wire, 'projects/p/forgotten')
    const ports = { redis: server.redis, subscriber: await server.connect(), node: 'third', log: openLogger('silent') }
    const third = await Storage.open({ ...ports, newId, dropped: () => {} }, () => {})
    await third.sessions.forget(sessionId('k', 'forgotten'))
    await until('the end', () => wire.hasEnded())
    await third.stop()
    const back = await connect(here, 'forgotten', false)
    expect(back.received[0]).toMatchObject({ sessionPresent: false })
    await back.leave()
  })

  it.each(['warm', 'cold'])('announce nothing that is older than what another one has announced, to nobody: %s', async rule => {
    const topic = `projects/p/alarms/${rule}/oven`
    const wire = await connect(here, `slow-${rule}`, false)
    await subscribe(wire, topic)
    await until('the other gateway knows', () => there.hasSubscribers(topic))
    // What this gateway keeps of the topic in memory may be older than what it is told to say.
    if (rule === 'cold') await here.announce(topic, 'pending', '1')
    await there.announce(topic, 'active', '2')
    await there.announce(topic, 'cleared', '3')
    await until('the last is there', () => texts(wire).includes('cleared'))
    await here.announce(topic, 'active', '2')
    await here.announce(topic, 'cleared', '3')
    await here.announce(topic, 'pending', '1')
    await there.announce(topic, 'active again', '4')
    await until('what came after it is there', () => texts(wire).includes('active again'))
    expect(texts(wire).filter(text => text !== 'pending')).toEqual(['active', 'cleared', 'active again'])
    const late = await connect(here, `late-${rule}`)
    await subscribe(late, topic)
    await until('what stands there', () => texts(late).length > 0)
    expect(texts(late)).toEqual(['active again'])
    for (const one of [wire, late]) await one.leave()
  })
})
