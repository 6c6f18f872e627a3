// The part of behaviour.test.ts that is about topics: matching, order, and the short ones.
import type { IConnectPacket } from 'mqtt-packet'
import { describe, expect, test } from 'vitest'
import type { Wire } from '../wire.ts'
import { until } from '../world.ts'
import { arrived, fresh, has, publish, publishes, settled, subscribe, texts } from './client.ts'

export type Clients = { client(clientId?: string, clean?: boolean, more?: Partial<IConnectPacket>): Promise<Wire> }

export function statementsOnTopics({ client }: Clients): void {
  describe('topics', () => {
    test.each([
      ['sport/tennis/+', ['sport/tennis/a', 'sport/tennis/'], ['sport/tennis', 'sport/tennis/a/b']],
      ['sport/#', ['sport', 'sport/', 'sport/a/b'], ['sports/a']],
      ['+/+', [], []],
      ['/finance', ['/finance'], ['finance']],
      ['x/+/y', ['x//y', 'x/a/y'], ['x/y', 'x/a/b/y']],
      ['Case', ['Case'], ['case']],
    ])('are matched as the specification has it: %s [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-4]', async (filter, matching, others) => {
      const project = `projects/default/topics/${fresh('m')}/`
      const [wire, late, sender] = [await client(), await client(), await client()]
      await subscribe(wire, [`${project}${filter}`, 0])
      for (const [n, topic] of [...others, ...matching].entries()) {
        publish(sender, `${project}${topic}`, topic, { qos: 1, messageId: n + 1, retain: true })
        await until('PUBACK', () => has(sender, 'puback', n + 1))
      }
      await settled(wire, sender)
      const expected = filter === '+/+' ? [] : matching
      expect(texts(wire)).toEqual([...expected, 'fence'])
      await subscribe(late, [`${project}${filter}`, 0])
      await settled(late, sender)
      expect(texts(late).toSorted()).toEqual([...expected, 'fence'].toSorted())
    })

    test('that begin with $ are matched by no wildcard, and nobody may have them [MQTT-4.7.2-1]', async () => {
      const wire = await client()
      expect(await subscribe(wire, ['#', 0], ['+/#', 0], ['+/x', 0], ['$SYS/#', 0], ['$SYS/+/new/clients', 0])).toEqual([
        128, 128, 128, 128, 128,
      ])
    })

    test('keep the order of their publisher, for each QoS [MQTT-4.6.0-5]', async () => {
      const [wire, sender, topic] = [await client(), await client(), fresh('t')]
      await subscribe(wire, [topic, 1])
      for (let n = 0; n < 200; n++) publish(sender, topic, `0.${n}`)
      for (let n = 0; n < 200; n++) publish(sender, topic, `1.${n}`, { qos: 1, messageId: n + 1 })
      await arrived(wire, 400)
      for (const qos of ['0', '1']) {
        const numbers = texts(wire).flatMap(text => (text.startsWith(`${qos}.`) ? [Number(text.slice(2))] : []))
        expect(numbers).toEqual(Array.from({ length: 200 }, (_, n) => n))
      }
    })
  })

  describe('a short topic', () => {
    test('is the project’s own: short in, short out; in its long form for whoever asks for that', async () => {
      const name = fresh('zigbee2mqtt')
      const [short, long, sender] = [await client(), await client(), await client()]
      await subscribe(short, [`${name}/#`, 1])
      await subscribe(long, [`projects/default/topics/${name}/+`, 1])
      await sender.publish(1, `${name}/lamp`, 'on')
      await sender.publish(2, `projects/default/topics/${name}/lamp`, 'off')
      await arrived(short, 2)
      await arrived(long, 2)
      expect(publishes(short).map(({ topic, payload }) => [topic, payload.toString()])).toEqual([
        [`${name}/lamp`, 'on'],
        [`${name}/lamp`, 'off'],
      ])
      expect(new Set(publishes(long).map(({ topic }) => topic))).toEqual(new Set([`projects/default/topics/${name}/lamp`]))
    })

    test('is short also when it waited, is retained or is a will', async () => {
      const [id, name] = [fresh(), fresh('tele')]
      const first = await client(id, false)
      await subscribe(first, [`${name}/+`, 1])
      await first.leave()
      const sender = await client()
      await sender.publish(1, `${name}/waits`, 'waits')
      publish(sender, `${name}/kept`, 'kept', { qos: 1, messageId: 2, retain: true })
      await until('PUBACK', () => has(sender, 'puback', 2))
      const again = await client(id, false)
      await arrived(again, 2)
      const will = { topic: `${name}/LWT`, payload: Buffer.from('Offline'), qos: 1 as const, retain: false }
      await (await client(fresh(), true, { will })).cut()
      await arrived(again, 3)
      expect(publishes(again).map(({ topic }) => topic)).toEqual([`${name}/waits`, `${name}/kept`, `${name}/LWT`])
      const late = await client()
      await subscribe(late, [`${name}/#`, 1])
      expect(await arrived(late, 1)).toMatchObject([{ topic: `${name}/kept`, retain: true }])
    })
  })
}
